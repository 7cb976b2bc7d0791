//! How an application comes to its end: by itself, in time, on Ctrl-C, and by a failure.

use std::process::{Command, Stdio};

use super::support::{Scene, job};

/// A stream without end into files, and a job that counts them at the end.
const ENDLESS: &str = "\
CREATE TABLE ticks WITH (connector = 'rate', rows_per_second = 1000);
CREATE TABLE out (value BIGINT) WITH (connector = 'filesystem', path = 'out', format = 'csv', header = false);
CREATE JOB pump WITH (class = 'stream', trigger = '20 ms') AS INSERT INTO out SELECT value FROM ticks;
CREATE JOB verdict WITH (trigger = 'end') AS SELECT count(*) AS rows, count(DISTINCT value) AS values FROM out;
";

#[test]
fn ctrl_c_ends_gracefully_and_says_what_was_done() {
    for signal in ["INT", "TERM"] {
        let scene = Scene::new();
        let mut running = scene.start(ENDLESS, &["--json"]);
        running.until("two files", || scene.data_files("out").len() >= 2);
        running.signal(signal);
        let ran = running.wait();
        let summary = ran.summary();
        assert!(
            ran.stderr
                .contains("interrupted: finishing what is under way"),
            "{ran:?}"
        );
        let pump = job(&summary, "pump");
        assert_eq!(pump["state"], "stopped", "{summary}");
        // What it says is what is there, whole.
        let rows = scene.lines("out").len();
        assert_eq!(pump["rows_out"], rows, "{summary}");
        assert_eq!(job(&summary, "verdict")["state"], "finished", "{summary}");
        assert_eq!(summary["app"]["rows"], rows, "{summary}");
        assert_eq!(summary["app"]["values"], rows, "{summary}");
    }
}

#[test]
fn ctrl_c_gives_up_a_batch_pass_and_leaves_nothing_of_it() {
    let scene = Scene::new();
    scene.file("started/.keep", "");
    let sql = "\
CREATE TABLE started (a BIGINT) WITH (connector = 'filesystem', path = 'started', format = 'json');
CREATE TABLE out (a BIGINT) WITH (connector = 'filesystem', path = 'out', format = 'json');
INSERT INTO started VALUES (1);
SELECT 1;
INSERT INTO out SELECT a.value FROM generate_series(1, 3000000) AS a(value)
  CROSS JOIN generate_series(1, 3000000) AS b(value);
";
    let mut running = scene.start(sql, &["--json"]);
    running.until("a file", || !scene.data_files("started").is_empty());
    running.until("the query's end", || !scene.read(".stdout").is_empty());
    running.signal("INT");
    let summary = running.wait().summary();
    assert_eq!(job(&summary, "insert_started")["state"], "finished");
    assert_eq!(job(&summary, "insert_out")["state"], "stopped", "{summary}");
    assert_eq!(job(&summary, "insert_out")["rows_out"], 0);
    assert!(scene.data_files("out").is_empty());
}

#[test]
fn a_query_is_interrupted_too_and_a_second_ctrl_c_gives_up_at_once() {
    const LONG: &str = "SELECT count(*) FROM generate_series(1, 3000000) AS a(v) CROSS JOIN generate_series(1, 3000000) AS b(v)";
    let before = "SELECT 1;\n";
    let begun = |scene: &Scene| !scene.read(".stdout").is_empty();

    let scene = Scene::new();
    let mut running = scene.start(&format!("{before}{LONG};"), &["--json"]);
    running.until("the first query's end", || begun(&scene));
    running.signal("INT");
    assert_eq!(running.wait().summary()["status"], "ok");

    // What runs at the end is not interrupted by the first.
    let scene = Scene::new();
    let at_end = format!("{before}CREATE JOB last WITH (trigger = 'end') AS {LONG};");
    let mut running = scene.start(&at_end, &[]);
    running.until("the first query's end", || begun(&scene));
    running.signal("INT");
    running.until("the note", || scene.read(".stderr").contains("interrupted"));
    running.signal("INT");
    assert_eq!(running.wait().code, Some(130));
}

#[test]
fn until_stops_in_time_what_does_not_end_by_itself() {
    let scene = Scene::new();
    let ran = scene.run(ENDLESS, &["--json", "--until", "1 s"]);
    let summary = ran.summary();
    assert!(ran.stderr.contains("the time is up: stopping"), "{ran:?}");
    assert!(summary["wall_s"].as_f64().unwrap() >= 1.0, "{summary}");
    assert_eq!(
        summary["app"]["rows"],
        job(&summary, "pump")["rows_out"],
        "{summary}"
    );
}

#[test]
fn jobs_at_the_end_read_tables_that_no_job_came_to_write() {
    let summary = Scene::new()
        .run(ENDLESS, &["--json", "--until", "1 ns"])
        .summary();
    assert_eq!(job(&summary, "verdict")["state"], "finished", "{summary}");
    assert_eq!(
        summary["app"]["rows"],
        job(&summary, "pump")["rows_out"],
        "{summary}"
    );
}

#[test]
fn repeated_jobs_run_again_and_again() {
    let sql = "\
CREATE TABLE stamps (at TIMESTAMP) WITH (connector = 'memory');
CREATE JOB often WITH (every = '20 ms') AS INSERT INTO stamps SELECT now();
CREATE JOB verdict WITH (trigger = 'end') AS
  SELECT count(*) AS passes, count(DISTINCT at) AS times FROM stamps;
";
    let summary = Scene::new()
        .run(sql, &["--json", "--until", "1 s"])
        .summary();
    let often = job(&summary, "often");
    let passes = often["micro_batches"].as_u64().unwrap();
    assert!(passes > 2, "{summary}");
    assert_eq!(summary["app"]["passes"], passes, "{summary}");
    // Each pass has its own time.
    assert_eq!(summary["app"]["times"], passes, "{summary}");
}

#[test]
fn an_application_ends_by_itself_after_one_pass_of_its_repeated_jobs() {
    let sql = "\
CREATE TABLE few WITH (connector = 'rate', rows_per_second = 1000000, rows = 1000);
CREATE TABLE sink WITH (connector = 'noop');
CREATE JOB pump WITH (class = 'stream') AS INSERT INTO sink SELECT * FROM few;
CREATE JOB slow WITH (every = '1 h') AS
  INSERT INTO sink SELECT count(*) FROM generate_series(1, 200000) AS t(v) GROUP BY v % 7;
";
    let summary = Scene::new().run(sql, &["--json"]).summary();
    assert_eq!(job(&summary, "pump")["state"], "finished", "{summary}");
    assert_eq!(job(&summary, "pump")["rows_out"], 1000, "{summary}");
    assert_eq!(job(&summary, "slow")["micro_batches"], 1, "{summary}");
    assert_eq!(job(&summary, "slow")["state"], "stopped", "{summary}");
}

#[test]
fn a_failed_job_stops_the_others_gracefully() {
    let scene = Scene::new();
    let sql = format!(
        "{ENDLESS}\
CREATE TABLE few WITH (connector = 'rate', rows_per_second = 10, rows = 5);
CREATE TABLE bad (a BIGINT) WITH (connector = 'filesystem', path = 'bad', format = 'json');
CREATE JOB breaks WITH (class = 'stream') AS INSERT INTO bad SELECT 10 / (2 - value) FROM few;
"
    );
    let ran = scene.run(&sql, &["--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let summary = ran.any_summary();
    assert_eq!(summary["status"], "failed");
    let breaks = job(&summary, "breaks");
    assert_eq!(breaks["state"], "failed", "{summary}");
    assert!(
        breaks["error"].as_str().unwrap().contains("Divide by zero"),
        "{summary}"
    );
    assert!(ran.stderr.contains("error: job breaks: "), "{ran:?}");
    assert_eq!(job(&summary, "pump")["state"], "stopped", "{summary}");
    assert_eq!(
        job(&summary, "pump")["rows_out"],
        scene.lines("out").len(),
        "{summary}"
    );
    assert_eq!(job(&summary, "verdict")["state"], "waiting", "{summary}");
    // The micro-batches before the bad row stay.
    assert_eq!(breaks["rows_out"], scene.lines("bad").len(), "{summary}");
}

#[test]
fn a_failed_query_says_why() {
    let ran = Scene::new().run("SELECT 1 / v FROM (VALUES (1), (0)) AS t(v);", &["--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("error: job query: "), "{ran:?}");
    assert!(ran.stderr.contains("Divide by zero"), "{ran:?}");
    let summary = ran.any_summary();
    assert_eq!(job(&summary, "query")["state"], "failed", "{summary}");
}

#[test]
fn nobody_reading_the_output_is_no_reason_to_panic() {
    let scene = Scene::new();
    scene.file("app.sql", "SELECT 1;");
    let mut child = Command::new(env!("CARGO_BIN_EXE_neptune"))
        .args(["run", "app.sql", "--json"])
        .current_dir(scene.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}
