//! Stream jobs whose process is killed at random moments and started again until they end by themselves: their rows are those
//! of the same query as a batch job, each once.
//!
//! `NEPTUNE_TEST_KILLS` says how often each job is killed, `NEPTUNE_TEST_SEED` when.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use super::input::{Random, table, write_files};
use super::support::{Ran, Running, Scene};

/// Kills of each job, unless `NEPTUNE_TEST_KILLS` says otherwise.
const KILLS: u32 = 25;
const FILES: u64 = 40;
const ROWS: u64 = 15;
/// The shortest of the longest times that a process is left alone after it has taken its checkpoint.
const LONGEST: Duration = Duration::from_millis(80);

/// A query over the streams `a` and `b`.
struct Work {
    columns: &'static str,
    query: &'static str,
    mode: &'static str,
    sink: &'static str,
}

const FILESYSTEM: &str = "connector = 'filesystem', path = 'out', format = 'json'";
const SINGLE_FILE: &str = "connector = 'single_file', path = 'out/all.csv'";

const WINDOWS: Work = Work {
    columns: "start TIMESTAMP, k BIGINT, n BIGINT, ids BIGINT",
    query: "SELECT window.start, k, n, ids FROM (SELECT tumble(INTERVAL '7 seconds') AS window, k, \
            count(*) AS n, sum(id) AS ids FROM a GROUP BY window, k)",
    mode: "append",
    sink: FILESYSTEM,
};

#[test]
fn a_count_in_windows_survives_kills() {
    survives(&WINDOWS);
}

#[test]
fn appending_to_a_single_file_survives_kills() {
    survives(&Work {
        sink: SINGLE_FILE,
        ..WINDOWS
    });
}

#[test]
fn sessions_survive_kills() {
    survives(&Work {
        columns: "start TIMESTAMP, finish TIMESTAMP, k BIGINT, n BIGINT, ids BIGINT",
        query: "SELECT window.start, window.\"end\", k, n, ids FROM (SELECT session(INTERVAL '2 seconds') AS window, k, \
                count(*) AS n, sum(id) AS ids FROM a GROUP BY window, k)",
        ..WINDOWS
    });
}

#[test]
fn a_job_without_state_survives_kills() {
    survives(&Work {
        columns: "ts TIMESTAMP, k BIGINT, id BIGINT",
        query: "SELECT ts, k, id * 2 FROM a WHERE id % 3 <> 0",
        ..WINDOWS
    });
}

#[test]
fn first_rows_of_each_key_survive_kills() {
    survives(&Work {
        columns: "k BIGINT, part BIGINT",
        query: "SELECT DISTINCT k, id / 20 FROM a",
        ..WINDOWS
    });
}

#[test]
fn an_outer_join_of_two_streams_survives_kills() {
    survives(&Work {
        columns: "l BIGINT, r BIGINT",
        query: "SELECT a.id, b.id FROM a LEFT JOIN b ON a.k = b.k \
                AND b.ts >= a.ts AND b.ts <= a.ts + INTERVAL '1 second'",
        ..WINDOWS
    });
}

#[test]
fn a_result_that_is_given_whole_survives_kills() {
    survives(&Work {
        columns: "k BIGINT, n BIGINT, ids BIGINT, first BIGINT, last BIGINT",
        query: "SELECT k, count(*), sum(id), min(id), max(id) FROM a GROUP BY k",
        mode: "complete",
        ..WINDOWS
    });
}

fn survives(work: &Work) {
    let kills = std::env::var("NEPTUNE_TEST_KILLS").ok();
    let wanted: u32 = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let mut random = Random::from_seed();
    let scene = Scene::new();
    for name in ["a", "b"] {
        write_files(&scene, name, 0..FILES, ROWS, &mut random);
    }
    let ran = scene.run(&script(work, "class = 'batch'"), &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let expected = rows(&scene);
    assert!(expected.len() >= 4, "{expected:?}");
    let job = format!(
        "class = 'stream', trigger = '5 ms', max_files_per_trigger = 1, output_mode = '{}', checkpoint = 'ckpt', \
         checkpoint_fsync = 'false'",
        work.mode
    );
    let script = script(work, &job);
    let (mut kills, mut rounds) = (0, 0);
    while kills < wanted {
        fs::remove_dir_all(scene.path("out")).unwrap();
        let _ = fs::remove_dir_all(scene.path("ckpt"));
        rounds += 1;
        kills += until_it_ends(&scene, work, &script, &expected, &mut random);
        assert_eq!(rows(&scene), expected, "round {rounds} after {kills} kills");
    }
    println!("{kills} kills in {rounds} rounds");
}

/// Starts it until it ends by itself; gives how often it was killed.
fn until_it_ends(
    scene: &Scene,
    work: &Work,
    script: &str,
    expected: &[String],
    random: &mut Random,
) -> u32 {
    let same_slots = random.below(2) == 0;
    let mut kills = 0;
    loop {
        let slots = match same_slots {
            true => 2,
            false => 1 + random.below(4),
        };
        let running = scene.start(script, &["--slots", &slots.to_string()]);
        let Some(ran) = killed(scene, running, kills, random) else {
            kills += 1;
            if same_slots && work.mode == "append" {
                // No row is ever there twice, nor one that is not right. A micro-batch that is run again by another number
                // of tasks cuts its rows into other files, which come one after the other.
                within(&rows(scene), expected);
            }
            continue;
        };
        assert_eq!(ran.code, Some(0), "after {kills} kills: {ran:?}");
        return kills;
    }
}

/// Kills it at a random moment; what it left, if it ended before that.
fn killed(scene: &Scene, mut running: Running, kills: u32, random: &mut Random) -> Option<Ran> {
    // Most of the moments are after the start, where something is going on.
    let longest = LONGEST * (1 + kills / 8);
    if random.below(6) > 0 {
        let owner = format!("process {}", running.id());
        let is_open =
            || fs::read_to_string(scene.path("ckpt/lock")).is_ok_and(|text| text == owner);
        if !running.has_ended_before(is_open) {
            pause(random, longest);
        }
    } else {
        pause(random, longest * 3);
    }
    running.kill()
}

fn pause(random: &mut Random, longest: Duration) {
    let end = Instant::now() + longest.mul_f64(random.below(1000) as f64 / 1000.0);
    // A sleep ends where the kernel's clock ticks.
    std::thread::sleep(end.saturating_duration_since(Instant::now()) / 2);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

fn script(work: &Work, job: &str) -> String {
    let (a, b) = (table("a", true), table("b", true));
    let Work {
        columns,
        query,
        sink,
        ..
    } = work;
    format!(
        "{a}{b}CREATE TABLE out ({columns}) WITH ({sink});\nCREATE JOB work WITH ({job}) AS INSERT INTO out {query};\n"
    )
}

fn rows(scene: &Scene) -> Vec<String> {
    let mut rows = scene.lines("out");
    rows.sort();
    rows
}

/// Asserts that no row is there more often than it should be.
fn within(rows: &[String], expected: &[String]) {
    let mut left: HashMap<&String, i64> = HashMap::new();
    for row in expected {
        *left.entry(row).or_default() += 1;
    }
    for row in rows {
        let count = left.entry(row).or_default();
        *count -= 1;
        assert!(*count >= 0, "a row too many: {row}");
    }
}
