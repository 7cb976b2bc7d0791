//! Bad input is refused before anything runs: the message names file, line and column, or the key of the command
//! line, the exit code is not 0, and there is no output file.

use super::support::{Ran, Scene};

/// Comes before each faulty text, so that its line is 4 or later, and would leave a file if it ran.
const BEFORE: &str = "\
CREATE TABLE out (a BIGINT) WITH (connector = 'filesystem', path = 'out', format = 'json');
CREATE TABLE ticks WITH (connector = 'rate', rows_per_second = 1000);
INSERT INTO out VALUES (1);
";

/// A faulty text, where its fault is, and what is said.
struct Fault {
    text: &'static str,
    place: (u64, u64),
    says: &'static [&'static str],
}

const fn fault(text: &'static str, place: (u64, u64), says: &'static [&'static str]) -> Fault {
    Fault { text, place, says }
}

fn check(faults: &[Fault]) {
    for Fault {
        text,
        place: (line, column),
        says,
    } in faults
    {
        let scene = Scene::new();
        let ran = scene.run(&format!("{BEFORE}{text}"), &["--json"]);
        assert_eq!(ran.code, Some(1), "{text}: {ran:?}");
        let place = format!("error: app.sql:{line}:{column}: ");
        assert!(
            ran.stderr.starts_with(&place),
            "{text}: not at {place}: {}",
            ran.stderr
        );
        for said in *says {
            assert!(
                ran.stderr.contains(said),
                "{text}: not {said:?}: {}",
                ran.stderr
            );
        }
        let summary = ran.any_summary();
        assert_eq!(summary["status"], "failed", "{text}");
        assert!(
            summary["error"].as_str().unwrap().contains("app.sql"),
            "{summary}"
        );
        assert!(scene.data_files("out").is_empty(), "{text}: something ran");
    }
}

#[test]
fn unknown_words_are_refused_with_their_place() {
    check(&[
        fault(
            "SET neptune.job.class = 'strem';",
            (4, 25),
            &["unknown job class 'strem'", "'stream'"],
        ),
        fault(
            "CREATE JOB j WITH (class = 'strem') AS SELECT 1;",
            (4, 28),
            &[
                "`class`",
                "'strem'",
                "'stream', 'batch'",
                "did you mean 'stream'?",
            ],
        ),
        fault(
            "SET neptune.scheduler.policy = 'neptun';",
            (4, 32),
            &[
                "unknown scheduling policy 'neptun'",
                "fifo, fair, static, priority, kill, neptune",
            ],
        ),
        fault(
            "SET neptune.job.clas = 'batch';",
            (4, 5),
            &[
                "unknown setting 'neptune.job.clas'",
                "did you mean `neptune.job.class`?",
            ],
        ),
        fault(
            "SET datafusion.execution.batchsize = 1;",
            (4, 5),
            &["datafusion.execution.batch_size"],
        ),
        fault(
            "SET neptune.yield.target = 'soon';",
            (4, 28),
            &["neptune", "soon", "'500 us'"],
        ),
        fault(
            "SET neptune.slots = 3;",
            (4, 21),
            &["before the session starts"],
        ),
        fault(
            "CREATE TABLE t (a INT) WITH (connector = 'filesystm', path = 'x');",
            (4, 42),
            &[
                "unknown connector 'filesystm'",
                "did you mean 'filesystem'?",
            ],
        ),
        fault(
            "CREATE TABLE t (a INT)\n  WITH (connector = 'filesystem', path = 'x', format = 'jsn');",
            (5, 56),
            &[
                "unknown format 'jsn'",
                "json, csv, parquet",
                "did you mean 'json'?",
            ],
        ),
        fault(
            "CREATE TABLE t (a INT)\n  WITH (connector = 'filesystem', pth = 'x', path = 'y', format = 'json');",
            (5, 35),
            &["'pth'", "did you mean 'path'?"],
        ),
        fault(
            "CREATE JOB j WITH (klass = 'batch') AS SELECT 1;",
            (4, 20),
            &["unknown option `klass`", "did you mean `class`?"],
        ),
        fault(
            "CREATE JOB j WITH (priority = 'high') AS SELECT 1;",
            (4, 31),
            &["`priority`", "'high'", "whole number"],
        ),
        fault(
            "INSERT INTO out SELECT a FROM nowhere;",
            (4, 31),
            &["nowhere", "not found"],
        ),
        fault(
            "INSERT INTO nowhere SELECT 1;",
            (4, 1),
            &["nowhere", "not found"],
        ),
        fault("INSERT INTO out SELECT b FROM out;", (4, 24), &["b"]),
        fault("INSERT INTO out\nSELECT nothing(1);", (5, 8), &["nothing"]),
        fault("SELECT 1;\nSELCT 2;", (5, 1), &["SELCT"]),
    ]);
}

#[test]
fn what_a_job_cannot_do_is_refused_with_its_place() {
    check(&[
        fault(
            "SELECT * FROM ticks;",
            (4, 1),
            &["reads a stream", "INSERT INTO"],
        ),
        fault(
            "CREATE JOB j WITH (every = '1 s') AS INSERT INTO out SELECT value FROM ticks;",
            (4, 20),
            &["reads a stream", "trigger = '50 ms'"],
        ),
        fault(
            "CREATE JOB j WITH (trigger = 'end') AS INSERT INTO out SELECT value FROM ticks;",
            (4, 20),
            &["reads a stream", "wait for the end"],
        ),
        fault(
            "CREATE JOB j WITH (trigger = '50 ms') AS INSERT INTO out SELECT 2;",
            (4, 20),
            &["reads no stream", "every = '30 s'"],
        ),
        fault(
            "CREATE JOB j WITH (every = '1000 years') AS INSERT INTO out SELECT 2;",
            (4, 28),
            &["every", "ten years"],
        ),
        fault(
            "CREATE JOB j WITH (trigger = '1000 years') AS INSERT INTO out SELECT value FROM ticks;",
            (4, 30),
            &["trigger", "ten years"],
        ),
        fault(
            "CREATE JOB j WITH (every = '1 s', trigger = 'end') AS INSERT INTO out SELECT 2;",
            (4, 20),
            &["either `every` or `trigger`"],
        ),
        fault(
            "CREATE JOB j WITH (max_rows_per_trigger = 5) AS INSERT INTO out SELECT 2;",
            (4, 20),
            &["`max_rows_per_trigger`", "reads none"],
        ),
        fault(
            "CREATE JOB j WITH (max_rows_per_trigger = 0) AS INSERT INTO out SELECT value FROM ticks;",
            (4, 43),
            &["at least 1"],
        ),
        fault(
            "CREATE JOB j WITH (trigger = 'often') AS INSERT INTO out SELECT value FROM ticks;",
            (4, 30),
            &["'often'", "'50 ms'", "available_now"],
        ),
        fault(
            "INSERT OVERWRITE out SELECT value FROM ticks;",
            (4, 18),
            &["OVERWRITE"],
        ),
        fault(
            "CREATE JOB j AS SELECT 1;\nCREATE JOB j AS SELECT 2;",
            (5, 12),
            &["there is a job 'j' already"],
        ),
        fault(
            "CREATE TABLE own (a BIGINT);\nINSERT INTO own SELECT value FROM ticks;",
            (5, 13),
            &["'own' cannot take the rows of a stream", "connector"],
        ),
        fault(
            "INSERT INTO ticks SELECT now(), 1;",
            (4, 13),
            &["cannot be written", "only reads"],
        ),
        fault(
            "CREATE TABLE out (a INT) WITH (connector = 'noop');",
            (4, 14),
            &["exists already"],
        ),
        fault(
            "CREATE TABLE copied AS SELECT * FROM out;",
            (4, 1),
            &["'out'", "filled by a job", "memory"],
        ),
        fault("SUSPEND JOB j;", (4, 1), &["shell"]),
    ]);
}

#[test]
fn columns_that_do_not_fit_are_refused_with_their_place() {
    const TABLE: &str =
        "CREATE TABLE t (a BIGINT NOT NULL, b TEXT, c BIGINT[]) WITH (connector = 'memory');\n";
    let text = |insert: &str| -> &'static str { format!("{TABLE}{insert}").leak() };
    check(&[
        fault(
            text("INSERT INTO t SELECT 1, 'x';"),
            (5, 13),
            &["2 columns", "takes 3", "a, b, c"],
        ),
        fault(
            text("INSERT INTO t (a, b) SELECT 1;"),
            (5, 13),
            &["1 columns", "takes 2: a, b"],
        ),
        fault(
            text("INSERT INTO t (a, d) SELECT 1, 2;"),
            (5, 19),
            &["no column 'd'"],
        ),
        fault(
            text("INSERT INTO t (a, a) SELECT 1, 2;"),
            (5, 19),
            &["'a' is named twice"],
        ),
        fault(
            text("INSERT INTO t (b) SELECT 'x';"),
            (5, 13),
            &["'a'", "NOT NULL"],
        ),
        fault(
            text("INSERT INTO t (b, a) SELECT 'x', [1, 2];"),
            (5, 13),
            &["column 'a'", "List", "Int64"],
        ),
        fault(
            "CREATE TABLE t WITH (connector = 'memory');\nINSERT INTO t SELECT x.a, y.a FROM (SELECT 1 AS a) AS x, (SELECT 2 AS a) AS y;",
            (5, 13),
            &["two columns the name 'a'", "AS"],
        ),
        fault(
            "CREATE TABLE t WITH (connector = 'memory');\nSELECT a FROM t;",
            (5, 1),
            &["'t' is read before its columns are known", "column list"],
        ),
        fault(
            "CREATE TABLE t (a INT) WITH (connector = 'filesystem', path = 'in', format = 'json', type = 'sink');\nSELECT a FROM t;",
            (4, 63),
            &["'t'", "type = 'sink'"],
        ),
        fault(
            "CREATE TABLE t WITH (connector = 'noop');\nSELECT * FROM t;",
            (4, 14),
            &["only writes"],
        ),
    ]);
}

#[test]
fn missing_files_are_refused_with_the_place_of_their_path() {
    check(&[
        fault(
            "CREATE TABLE t (a INT) WITH (connector = 'single_file', path = 'gone.csv');\nSELECT * FROM t;",
            (4, 64),
            &["'t'", "gone.csv", "No such file"],
        ),
        fault(
            "CREATE TABLE t WITH (connector = 'single_file', path = 'gone.csv');\nINSERT INTO out SELECT a FROM t;",
            (4, 56),
            &["gone.csv", "No such file"],
        ),
        fault(
            "CREATE TABLE t (a INT)\n  WITH (connector = 'filesystem', path = 'gone', format = 'json');\n\
             CREATE JOB j WITH (class = 'stream') AS INSERT INTO out SELECT a FROM t;",
            (5, 42),
            &["gone", "No such file"],
        ),
        fault(
            "CREATE TABLE t (a INT)\n  WITH (connector = 'filesystem', path = 'gone', format = 'json');\n\
             CREATE JOB j WITH (trigger = 'end') AS SELECT a FROM t;",
            (5, 42),
            &["gone", "No such file"],
        ),
    ]);
}

#[test]
fn the_command_line_is_refused_by_key() {
    let scene = Scene::new();
    for (args, code, says) in [
        (
            &["--policy", "quick"][..],
            2,
            &["--policy", "quick", "priority"][..],
        ),
        (
            &["--set", "neptune.nothing=1"],
            1,
            &["neptune.nothing", "neptune.job.class"],
        ),
        (
            &["--set", "neptune.job.class=quick"],
            1,
            &["neptune.job.class", "quick", "stream"],
        ),
        (&["--set", "nothing=1"], 1, &["nothing"]),
        (
            &["--set", "datafusion.execution.batch_size=many"],
            1,
            &["datafusion.execution.batch_size", "many"],
        ),
        (&["--set", "neptune.job.class"], 2, &["KEY=VALUE"]),
        (&["--slots", "0"], 2, &["--slots"]),
        (&["--until", "later"], 2, &["--until", "60 s"]),
        (&["--scale=-1"], 2, &["--scale"]),
        (&["--event-log", "no/such/dir/log"], 1, &["no/such/dir/log"]),
    ] {
        let Ran {
            code: ended,
            stderr,
            ..
        } = scene.run(BEFORE, args);
        assert_eq!(ended, Some(code), "{args:?}: {stderr}");
        for said in says {
            assert!(stderr.contains(said), "{args:?}: not {said:?}: {stderr}");
        }
        assert!(
            scene.data_files("out").is_empty(),
            "{args:?}: something ran"
        );
    }
    let missing = scene.command(&["run", "gone.sql"]).wait();
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.starts_with("error: gone.sql: "),
        "{missing:?}"
    );
}
