//! Files read and written by applications: malformed rows, files that come, files that stay away.

use serde_json::Value;

use super::support::{Ran, Scene, job};

/// Two sound records before the malformed one, which is on line 3, and one after it.
const NDJSON: &str = "{\"id\": 1, \"qty\": 2}\n{\"id\": 2, \"qty\": 3}\n{\"id\": 3, \"qty\": \"many\"}\n{\"id\": 4, \"qty\": 5}\n";
const CSV: &str = "id,qty\n1,2\n3,many\n4,5\n";

fn read(format: &str, class: &str, options: &str) -> (Scene, Ran) {
    let scene = Scene::new();
    let text = if format == "csv" { CSV } else { NDJSON };
    scene.file(&format!("in/data.{format}"), text);
    let sql = format!(
        "\
CREATE TABLE orders (id BIGINT, qty BIGINT)
  WITH (connector = 'filesystem', path = 'in', format = '{format}'{options});
CREATE TABLE out (id BIGINT, qty BIGINT) WITH (connector = 'filesystem', path = 'out', format = 'json');
CREATE JOB copy WITH (class = '{class}'{trigger}) AS INSERT INTO out SELECT * FROM orders;
",
        trigger = if class == "stream" { ", trigger = 'available_now'" } else { "" },
    );
    let ran = scene.run(&sql, &["--json"]);
    (scene, ran)
}

fn ids(lines: &[String]) -> Vec<u64> {
    let mut ids: Vec<u64> = lines
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["id"]
                .as_u64()
                .unwrap()
        })
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_malformed_row_fails_the_job_with_file_line_and_column_and_leaves_no_output() {
    for class in ["batch", "stream"] {
        for format in ["json", "csv"] {
            let (scene, ran) = read(format, class, "");
            assert_eq!(ran.code, Some(1), "{ran:?}");
            let place = format!("in/data.{format}', line 3, column 'qty'");
            assert!(
                ran.stderr.contains(&place),
                "{class}: not {place}: {}",
                ran.stderr
            );
            assert!(!ran.stderr.contains("External error"), "{}", ran.stderr);
            let summary = ran.any_summary();
            let error = job(&summary, "copy")["error"].as_str().unwrap();
            assert!(error.starts_with("malformed record in "), "{error}");
            assert!(scene.data_files("out").is_empty(), "{class} {format}");
        }
    }
}

#[test]
fn a_malformed_row_is_skipped_or_set_aside_where_that_is_asked_for() {
    let letters = ", on_error = 'dead_letter', dead_letter_path = 'bad/letters.jsonl'";
    for class in ["batch", "stream"] {
        for (format, sound) in [("json", &[1, 2, 4][..]), ("csv", &[1, 4])] {
            for options in [", on_error = 'skip'", letters] {
                let (scene, ran) = read(format, class, options);
                let summary = ran.summary();
                let copy = job(&summary, "copy");
                assert_eq!(
                    copy["malformed_rows"], 1,
                    "{class} {format}{options}: {summary}"
                );
                assert_eq!(
                    copy["rows_out"],
                    sound.len(),
                    "{class} {format}{options}: {summary}"
                );
                assert_eq!(ids(&scene.lines("out")), sound, "{class} {format}{options}");
                if options != letters {
                    continue;
                }
                let letter: Value = serde_json::from_str(&scene.read("bad/letters.jsonl")).unwrap();
                assert_eq!(
                    (&letter["line"], &letter["column"]),
                    (&3.into(), &"qty".into())
                );
                assert!(
                    letter["record"].as_str().unwrap().contains("many"),
                    "{letter}"
                );
            }
        }
    }
}

#[test]
fn no_null_gets_into_a_column_that_is_not_null() {
    for (table, rows) in [
        (
            "connector = 'filesystem', path = 'out', format = 'json'",
            "generate_series(1, 3) AS t(v)",
        ),
        (
            "connector = 'single_file', path = 'out/all.csv'",
            "(VALUES (1), (2)) AS t(v)",
        ),
        ("connector = 'shared'", "few"),
    ] {
        let scene = Scene::new();
        let sql = format!(
            "\
CREATE TABLE few (v BIGINT) WITH (connector = 'memory');
CREATE TABLE out (a BIGINT NOT NULL, b BIGINT) WITH ({table});
INSERT INTO few VALUES (1), (2);
INSERT INTO out VALUES (1, NULL);
SELECT count(*) FROM out WHERE a = 1;
INSERT INTO out SELECT CASE WHEN v < 2 THEN v END, v FROM {rows};
"
        );
        let ran = scene.run(&sql, &["--json"]);
        assert_eq!(ran.code, Some(1), "{table}: {ran:?}");
        let summary = ran.any_summary();
        assert_eq!(
            job(&summary, "insert_out")["state"],
            "finished",
            "{summary}"
        );
        let error = job(&summary, "insert_out_2")["error"].as_str().unwrap();
        assert!(
            error.contains("NULL for column 'a' of table 'out'"),
            "{error}"
        );
        assert!(scene.data_files("out").len() <= 1, "{table}");
    }
}

#[test]
fn once_takes_one_micro_batch_and_available_now_all_that_is_there() {
    for (trigger, files) in [("once", 1), ("available_now", 3)] {
        let scene = Scene::new();
        for n in 1..=3 {
            scene.file(&format!("in/{n}.json"), &format!("{{\"id\": {n}}}\n"));
        }
        let sql = format!(
            "\
CREATE TABLE orders (id BIGINT) WITH (connector = 'filesystem', path = 'in', format = 'json');
CREATE TABLE out (id BIGINT) WITH (connector = 'filesystem', path = 'out', format = 'json');
CREATE JOB copy WITH (class = 'stream', trigger = '{trigger}', max_files_per_trigger = 1) AS
  INSERT INTO out SELECT id FROM orders;
"
        );
        let summary = scene.run(&sql, &["--json"]).summary();
        let copy = job(&summary, "copy");
        assert_eq!(copy["state"], "finished", "{summary}");
        assert_eq!(copy["micro_batches"], files, "{trigger}: {summary}");
        assert_eq!(scene.lines("out").len(), files, "{trigger}");
    }
}

#[test]
fn files_that_come_are_picked_up_once_each() {
    let scene = Scene::new();
    scene.file("in/1.json", "{\"id\": 1}\n");
    let sql = "\
CREATE TABLE orders (id BIGINT) WITH (connector = 'filesystem', path = 'in', format = 'json', type = 'source');
CREATE TABLE out (id BIGINT) WITH (connector = 'filesystem', path = 'out', format = 'json');
CREATE JOB copy WITH (class = 'stream', trigger = '10 ms') AS INSERT INTO out SELECT id FROM orders;
";
    let mut running = scene.start(sql, &["--json"]);
    running.until("the first file", || ids(&scene.lines("out")) == [1]);
    for n in 2..=4_u64 {
        // Under another name first, as a writer should.
        scene.file("in/.next", &format!("{{\"id\": {n}}}\n"));
        std::fs::rename(scene.path("in/.next"), scene.path(&format!("in/{n}.json"))).unwrap();
        let expected: Vec<u64> = (1..=n).collect();
        running.until("one more file", || ids(&scene.lines("out")) == expected);
    }
    running.signal("INT");
    let summary = running.wait().summary();
    assert_eq!(job(&summary, "copy")["rows_in"], 4, "{summary}");
}

#[test]
fn jobs_form_a_chain_through_a_directory() {
    let scene = Scene::new();
    let sql = "\
CREATE TABLE few WITH (connector = 'rate', rows_per_second = 1000, rows = 200);
CREATE TABLE middle (value BIGINT) WITH (connector = 'filesystem', path = 'middle', format = 'json');
CREATE TABLE out (value BIGINT) WITH (connector = 'filesystem', path = 'out', format = 'csv', header = false);
CREATE JOB first WITH (class = 'stream', trigger = '20 ms') AS INSERT INTO middle SELECT value FROM few;
CREATE JOB second WITH (class = 'stream', trigger = '20 ms') AS
  INSERT INTO out SELECT value + 1000 FROM middle WHERE value % 2 = 0;
";
    let mut running = scene.start(sql, &["--json"]);
    running.until("all rows", || scene.lines("out").len() == 100);
    running.signal("INT");
    assert_eq!(running.wait().code, Some(0));
    let mut values: Vec<u64> = scene
        .lines("out")
        .iter()
        .map(|line| line.parse().unwrap())
        .collect();
    values.sort_unstable();
    assert_eq!(values, (0..100).map(|n| 1000 + 2 * n).collect::<Vec<_>>());
}

#[test]
fn a_stream_is_joined_with_the_lines_of_a_csv_file() {
    let scene = Scene::new();
    scene.file("names.csv", "id,name\n1,one\n2,two\n3,three\n");
    let sql = "\
CREATE TABLE few WITH (connector = 'rate', rows_per_second = 100000, rows = 6);
CREATE TABLE names WITH (connector = 'single_file', path = 'names.csv');
CREATE TABLE out WITH (connector = 'single_file', path = 'out.csv');
CREATE JOB label WITH (class = 'stream') AS
  INSERT INTO out SELECT value, name FROM few LEFT JOIN names ON names.id = few.value;
SELECT name, value FROM out WHERE name IS NOT NULL ORDER BY value;
";
    let ran = scene.run(sql, &["--json"]);
    let summary = ran.summary();
    assert_eq!(job(&summary, "label")["rows_out"], 6, "{summary}");
    assert_eq!(
        scene.read("out.csv").lines().count(),
        7,
        "{}",
        scene.read("out.csv")
    );
    for row in [
        "| one   | 1     |",
        "| two   | 2     |",
        "| three | 3     |",
    ] {
        assert!(ran.stdout.contains(row), "no {row}: {}", ran.stdout);
    }
}

#[test]
fn a_stream_prints_its_rows_to_the_console() {
    let sql = "\
CREATE TABLE few WITH (connector = 'rate', rows_per_second = 100000, rows = 3);
CREATE TABLE screen WITH (connector = 'console');
CREATE JOB show WITH (class = 'stream') AS INSERT INTO screen SELECT value * 10 AS tens FROM few;
";
    let ran = Scene::new().run(sql, &["--json"]);
    assert_eq!(job(&ran.summary(), "show")["rows_out"], 3);
    for shown in [
        "-- screen: job show, micro-batch ",
        "| tens |",
        "| 0    |",
        "| 10   |",
        "| 20   |",
    ] {
        assert!(ran.stdout.contains(shown), "no {shown}: {}", ran.stdout);
    }
}
