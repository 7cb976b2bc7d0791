//! Checkpoints that are in use, of another query, damaged, or on a full disk: the command says so, or goes on with the right
//! rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::input::{Random, table, write_files};
use super::support::{Ran, Scene};

/// How many damaged checkpoints are tried.
const DAMAGES: usize = 40;
const HALF: u64 = 12;
const ROWS: u64 = 15;

const COUNT: &str = "SELECT window.start, k, n, ids FROM (SELECT tumble(INTERVAL '7 seconds') AS window, k, \
                     count(*) AS n, sum(id) AS ids FROM a GROUP BY window, k)";

/// A script with one job, `class` and all other options in `job`.
fn script(query: &str, bounded: bool, job: &str) -> String {
    let source = table("a", bounded);
    format!(
        "{source}CREATE TABLE out (start TIMESTAMP, k BIGINT, n BIGINT, ids BIGINT)\n  \
         WITH (connector = 'filesystem', path = 'out', format = 'json');\n\
         CREATE JOB work WITH ({job}) AS INSERT INTO out {query};\n"
    )
}

/// The same with a checkpoint and one file in each micro-batch.
fn lasting(query: &str, bounded: bool) -> String {
    let job = "class = 'stream', max_files_per_trigger = 1, checkpoint = 'ckpt', checkpoint_fsync = 'false'";
    script(query, bounded, job)
}

fn rows(scene: &Scene) -> Vec<String> {
    let mut rows = scene.lines("out");
    rows.sort();
    rows
}

/// The rows of the batch job over the same files.
fn answer(scene: &Scene) -> Vec<String> {
    let ran = scene.run(&script(COUNT, true, "class = 'batch'"), &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let expected = rows(scene);
    fs::remove_dir_all(scene.path("out")).unwrap();
    assert!(expected.len() > 20, "{expected:?}");
    expected
}

/// A job that was killed when it had read the first half of its files, and all rows it will have given in the end. A process
/// id stands for the process that had it.
fn half_done(random: &mut Random) -> (Scene, Vec<String>) {
    let scene = Scene::new();
    write_files(&scene, "a", 0..2 * HALF, ROWS, random);
    let expected = answer(&scene);
    let held_back: Vec<PathBuf> = (HALF..2 * HALF)
        .map(|file| scene.path(&format!("a/{file:04}.json")))
        .collect();
    for file in &held_back {
        fs::rename(file, hidden(file)).unwrap();
    }
    let mut running = scene.start(&lasting(COUNT, false), &[]);
    let last = scene.path(&format!("ckpt/commits/{}", HALF - 1));
    running.until("the last commit", || last.exists());
    assert!(running.kill().is_none());
    for file in &held_back {
        fs::rename(hidden(file), file).unwrap();
    }
    (scene, expected)
}

fn hidden(file: &Path) -> PathBuf {
    file.with_extension("tmp")
}

#[test]
fn a_second_process_is_refused_and_told_of_the_first() {
    let mut random = Random::from_seed();
    let scene = Scene::new();
    write_files(&scene, "a", 0..HALF, ROWS, &mut random);
    let sql = lasting(COUNT, false);
    let mut first = scene.start(&sql, &[]);
    let has_read = |file: u64| {
        let name = format!("a/{file:04}.json");
        let commits = files_below(&scene.path("ckpt/commits"));
        commits.iter().any(|commit| {
            // One that is being written may get its name meanwhile.
            let bytes = fs::read(commit).unwrap_or_default();
            bytes
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        })
    };
    first.until("its first commit", || scene.path("ckpt/commits/0").exists());
    first.until("its commits", || has_read(HALF - 1));
    let second = scene.run(&sql, &[]);
    assert_eq!(second.code, Some(1), "{second:?}");
    let says = format!("ckpt is in use by process {}", first.id());
    assert!(second.stderr.contains(&says), "not {says}: {second:?}");
    // The first one is not disturbed.
    write_files(&scene, "a", HALF..HALF + 1, ROWS, &mut random);
    first.until("a commit after that", || has_read(HALF));
    first.signal("INT");
    assert_eq!(first.wait().code, Some(0));
    // And now its checkpoint is free.
    let ran = scene.run(&lasting(COUNT, true), &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let found = rows(&scene);
    fs::remove_dir_all(scene.path("out")).unwrap();
    assert_eq!(found, answer(&scene));
}

#[test]
fn a_changed_query_is_refused_with_what_has_changed() {
    let mut random = Random::from_seed();
    let (scene, expected) = half_done(&mut random);
    write_files(&scene, "z", 0..1, ROWS, &mut random);
    let before = rows(&scene);
    for (from, to, says) in [
        ("7 seconds", "8 seconds", &["7000000000", "8000000000"][..]),
        ("sum(id)", "max(id)", &["sum(a.id)", "max(a.id)"]),
        (
            "FROM a ",
            "FROM (SELECT * FROM a UNION ALL SELECT * FROM z) ",
            &["source z", "is new"],
        ),
    ] {
        let query = COUNT.replace(from, to);
        assert_ne!(query, COUNT);
        let sql = format!("{}{}", table("z", true), lasting(&query, true));
        let changed = scene.run(&sql, &[]);
        assert_eq!(changed.code, Some(1), "{query}: {changed:?}");
        let written = ["ckpt was written by a different query", "new checkpoint"];
        for says in written.iter().chain(says) {
            assert!(
                changed.stderr.contains(says),
                "{query}: not {says}: {changed:?}"
            );
        }
        assert_eq!(rows(&scene), before, "{query}");
    }
    let ran = scene.run(&lasting(COUNT, true), &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(rows(&scene), expected);
}

/// Damages one file of a copy of the scene; gives the file and what was done.
fn damage(scene: &Scene, random: &mut Random) -> (String, String) {
    let mut files = files_below(&scene.path("ckpt"));
    files.sort();
    let file = &files[random.below(files.len() as u64) as usize];
    let mut bytes = fs::read(file).unwrap();
    let at = random.below(bytes.len().max(1) as u64) as usize;
    let what = match (random.below(3), bytes.len()) {
        (0, 1..) => {
            bytes[at] ^= 1 << random.below(8);
            format!("a flipped bit of byte {at}")
        }
        (1, 1..) => {
            bytes.truncate(at);
            format!("the end cut off at {at}")
        }
        _ => {
            bytes.push(0);
            "a byte too many".to_owned()
        }
    };
    fs::write(file, bytes).unwrap();
    let file = file.strip_prefix(scene.path("")).unwrap();
    (file.display().to_string(), what)
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => files_below(&path),
                false => vec![path],
            }
        })
        .collect()
}

fn copy(scene: &Scene) -> Scene {
    let copy = Scene::new();
    // With the times of the files, by which they are ordered.
    let copied = Command::new("cp")
        .arg("-a")
        .arg(scene.path("."))
        .arg(copy.path(""))
        .status();
    assert!(copied.unwrap().success());
    copy
}

#[test]
fn a_damaged_checkpoint_is_refused_by_the_name_of_its_file_or_gives_the_right_rows() {
    let mut random = Random::from_seed();
    let (scene, expected) = half_done(&mut random);
    let (mut refused, mut right) = (0, 0);
    for _ in 0..DAMAGES {
        let scene = copy(&scene);
        let before = rows(&scene);
        let (file, what) = damage(&scene, &mut random);
        let ran = scene.run(&lasting(COUNT, true), &[]);
        match ran.code {
            Some(0) => {
                assert_eq!(rows(&scene), expected, "{file}: {what}");
                right += 1;
            }
            Some(1) => {
                assert!(ran.stderr.contains(&file), "{file}: {what}: {ran:?}");
                assert_eq!(rows(&scene), before, "{file}: {what}");
                refused += 1;
            }
            _ => panic!("{file}: {what}: {ran:?}"),
        }
    }
    println!("{refused} refused, {right} right");
    assert!(refused > 0 && right > 0, "{refused} {right}");
}

#[test]
fn a_deleted_file_of_a_checkpoint_is_refused_or_gives_the_right_rows() {
    let mut random = Random::from_seed();
    let (scene, expected) = half_done(&mut random);
    for file in files_below(&scene.path("ckpt")) {
        let name = file.strip_prefix(scene.path("ckpt")).unwrap();
        // One in three is enough of those that are alike; without its metadata a checkpoint is not one.
        if name == Path::new("metadata.json") || random.below(3) > 0 {
            continue;
        }
        let scene = copy(&scene);
        fs::remove_file(scene.path("ckpt").join(name)).unwrap();
        let ran = scene.run(&lasting(COUNT, true), &[]);
        match ran.code {
            Some(0) => assert_eq!(rows(&scene), expected, "without {}", name.display()),
            Some(1) => assert!(ran.stderr.contains("ckpt/"), "{}: {ran:?}", name.display()),
            _ => panic!("without {}: {ran:?}", name.display()),
        }
    }
}

/// Runs it where no file may grow beyond `blocks` of 512 bytes.
fn limited(scene: &Scene, blocks: u32) -> Ran {
    scene
        .start_limited(&lasting(COUNT, true), blocks, &[])
        .wait()
}

#[test]
fn where_a_file_cannot_be_written_the_job_says_which_and_goes_on_later() {
    let (scene, expected) = half_done(&mut Random::from_seed());
    let mut failed = 0;
    for blocks in 0..8 {
        let scene = copy(&scene);
        let ran = limited(&scene, blocks);
        if ran.code == Some(0) {
            assert_eq!(rows(&scene), expected, "{blocks} blocks");
            continue;
        }
        assert_eq!(ran.code, Some(1), "{blocks} blocks: {ran:?}");
        // Where no block may be written there is no room for a message either.
        let told = blocks == 0 || ran.stderr.contains("File too large");
        assert!(told, "{blocks} blocks: {ran:?}");
        failed += 1;
        let ran = scene.run(&lasting(COUNT, true), &[]);
        assert_eq!(ran.code, Some(0), "after {blocks} blocks: {ran:?}");
        assert_eq!(rows(&scene), expected, "after {blocks} blocks");
    }
    assert!(failed > 1, "{failed}");
}
