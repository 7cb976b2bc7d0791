//! What a run says: the summary as JSON, results, and plain lines where there is no terminal.

use std::collections::BTreeSet;

use serde_json::Value;

use super::support::{Scene, job};

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn numbers(value: &Value, names: &[&str]) {
    for name in names {
        assert!(value[name].is_number(), "{name} in {value}");
    }
}

#[test]
fn the_last_line_is_one_object_with_every_field() {
    let sql = "\
CREATE TABLE few WITH (connector = 'rate', rows_per_second = 100000, rows = 50);
CREATE TABLE kept (value BIGINT) WITH (connector = 'memory');
CREATE JOB pump WITH (class = 'stream', trigger = '10 ms') AS INSERT INTO kept SELECT value FROM few;
INSERT INTO kept VALUES (50), (51);
CREATE JOB verdict WITH (trigger = 'end') AS
  SELECT count(*) AS rows, CAST(sum(value) AS DOUBLE) / 2 AS half, CAST(NULL AS BIGINT) AS none FROM kept;
";
    let ran = Scene::new().run(sql, &["--json"]);
    let summary = ran.summary();
    assert_eq!(
        keys(&summary),
        BTreeSet::from(["status", "wall_s", "jobs", "app"])
    );
    assert_eq!(summary["status"], "ok");
    numbers(&summary, &["wall_s"]);
    let names: Vec<&Value> = summary["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["name"])
        .collect();
    assert_eq!(names, ["pump", "insert_kept", "verdict"]);
    for entry in summary["jobs"].as_array().unwrap() {
        numbers(
            entry,
            &[
                "rows_in",
                "rows_out",
                "late_rows",
                "micro_batches",
                "suspensions",
            ],
        );
        numbers(&entry["latency_ms"], &["p50", "p99"]);
        numbers(&entry["suspend_ms"], &["p50", "p99", "max"]);
        assert_eq!(entry["state"], "finished");
    }
    let pump = job(&summary, "pump");
    assert_eq!(pump["class"], "stream");
    assert_eq!(
        (&pump["rows_in"], &pump["rows_out"]),
        (&50.into(), &50.into()),
        "{summary}"
    );
    assert!(pump["latency_ms"]["p99"].as_f64() >= pump["latency_ms"]["p50"].as_f64());
    let insert = job(&summary, "insert_kept");
    assert_eq!(
        (&insert["class"], &insert["rows_out"]),
        (&"batch".into(), &2.into())
    );
    let sum = (0..52).sum::<u64>() as f64;
    let app = &summary["app"];
    assert_eq!(
        (&app["rows"], &app["half"]),
        (&52.into(), &(sum / 2.0).into()),
        "{summary}"
    );
    assert!(
        keys(app).contains("none") && app["none"].is_null(),
        "{summary}"
    );
}

#[test]
fn without_a_terminal_progress_is_plain_lines_on_standard_error() {
    let sql = "\
CREATE TABLE few WITH (connector = 'rate', rows_per_second = 100000, rows = 50);
CREATE TABLE sink WITH (connector = 'noop');
CREATE JOB pump WITH (class = 'stream') AS INSERT INTO sink SELECT value FROM few;
";
    let ran = Scene::new().run(sql, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stdout, "", "only results go there");
    assert!(
        !ran.stderr.contains('\x1b'),
        "no control characters: {:?}",
        ran.stderr
    );
    let last = ran
        .stderr
        .lines()
        .rfind(|line| line.starts_with("pump "))
        .unwrap();
    for word in ["stream", "finished", "50"] {
        assert!(last.contains(word), "no {word}: {last}");
    }
    assert!(
        ran.stderr.lines().last().unwrap().starts_with("ok after "),
        "{ran:?}"
    );
}

#[test]
fn a_query_sees_the_inserts_before_it_and_none_after_it() {
    let sql = "\
CREATE TABLE kept (a BIGINT) WITH (connector = 'memory');
CREATE TABLE few WITH (connector = 'rate', rows_per_second = 1000, rows = 100);
INSERT INTO kept SELECT v FROM generate_series(1, 50000) AS t(v);
INSERT INTO kept SELECT v FROM generate_series(1, 5) AS t(v);
CREATE JOB pump WITH (class = 'stream', trigger = '5 ms') AS INSERT INTO kept SELECT value FROM few;
SELECT count(*) AS first_count FROM kept;
INSERT INTO kept VALUES (1);
COPY (SELECT count(*) AS n FROM kept) TO 'counted.csv';
INSERT INTO kept VALUES (2);
SELECT count(*) AS second_count FROM kept;
";
    let scene = Scene::new();
    let ran = scene.run(sql, &["--json"]);
    let counts: Vec<&str> = ran
        .stdout
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| 5")?
                .strip_suffix("        |")
                .or(line.strip_prefix("| 5"))
        })
        .map(|rest| rest.trim_end_matches([' ', '|']))
        .collect();
    assert_eq!(counts, ["0105", "0107"], "{}", ran.stdout);
    assert_eq!(scene.read("counted.csv"), "n\n50106\n");
    assert_eq!(job(&ran.summary(), "copy")["rows_out"], 1);
}

#[test]
fn inserts_into_one_table_do_not_replace_each_other() {
    for table in [
        "connector = 'memory'",
        "connector = 'shared'",
        "connector = 'filesystem', path = 'out', format = 'parquet'",
        "connector = 'single_file', path = 'out.csv'",
    ] {
        let sql = format!(
            "\
CREATE TABLE t (a BIGINT) WITH ({table});
INSERT INTO t VALUES (1);
INSERT INTO t VALUES (2);
SET neptune.job.name = 'mine';
INSERT INTO t VALUES (3);
INSERT INTO t VALUES (4);
CREATE JOB insert_t AS INSERT INTO t VALUES (5);
SELECT 'sum ' || sum(a) || ' of ' || count(*) AS found FROM t;
"
        );
        let ran = Scene::new().run(&sql, &["--json"]);
        assert!(
            ran.stdout.contains("| sum 15 of 5 |"),
            "{table}: {}",
            ran.stdout
        );
        let summary = ran.summary();
        let names: BTreeSet<&str> = summary["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.len(), 5, "{summary}");
        assert_eq!(job(&summary, "insert_t")["rows_out"], 1);
    }
}

#[test]
fn results_are_tables_with_their_columns_even_without_rows() {
    let sql = "\
CREATE VIEW v AS SELECT 1 AS a, 'x' AS b;
SELECT * FROM v WHERE a > 1;
CREATE JOB named AS SELECT a + 1 AS more FROM v;
SHOW TABLES;
EXPLAIN SELECT * FROM v;
SET timezone = 'UTC';
SHOW neptune.job.class;
";
    let ran = Scene::new().run(sql, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for shown in [
        "| a | b |",
        "named:\n",
        "| more |",
        "| 2    |",
        "| v ",
        "logical_plan",
        "| neptune.job.class | batch |",
    ] {
        assert!(ran.stdout.contains(shown), "no {shown:?}: {}", ran.stdout);
    }
}

#[test]
fn generated_data_sets_follow_the_scale_and_are_made_once() {
    let scene = Scene::new();
    let sql = "\
CREATE TABLE history WITH (connector = 'shop', part = 'history', path = 'data', rows = 100000, seed = 3);
CREATE TABLE events WITH (
  connector = 'shop', part = 'events', rows = 100000, seed = 3, rows_per_second = 1000000, events = 40);
CREATE TABLE kept (event_id BIGINT) WITH (connector = 'memory');
CREATE JOB pump WITH (class = 'stream') AS INSERT INTO kept SELECT event_id FROM events;
CREATE JOB verdict WITH (trigger = 'end') AS
  SELECT (SELECT count(*) FROM history) AS past, (SELECT max(event_id) FROM history) AS last,
    min(event_id) AS first, count(*) AS live FROM kept;
";
    for making in [true, false] {
        let ran = scene.run(sql, &["--json", "--scale", "0.02"]);
        let summary = ran.summary();
        let app = &summary["app"];
        assert_eq!(
            (&app["past"], &app["live"]),
            (&2000.into(), &40.into()),
            "{summary}"
        );
        let last = app["last"].as_u64().unwrap();
        assert_eq!(app["first"].as_u64().unwrap(), last + 1, "{summary}");
        let made = ran.stderr.contains("generating events: 2000 of 2000");
        assert_eq!(made, making, "{ran:?}");
    }
}
