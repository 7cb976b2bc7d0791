//! Queries that need state between micro-batches are refused at their place until there is state, and what needs none is
//! not.

use super::support::Scene;

const TABLES: &str = "\
CREATE TABLE a WITH (connector = 'rate', rows_per_second = 100000, rows = 10);
CREATE TABLE b WITH (connector = 'rate', rows_per_second = 100000, rows = 10);
CREATE TABLE dim (value BIGINT, name TEXT) WITH (connector = 'memory');
CREATE TABLE sink WITH (connector = 'noop');
SET neptune.job.class = 'stream';
";

#[test]
fn a_query_with_state_over_a_stream_is_refused() {
    for (query, says) in [
        (
            "SELECT value % 2, count(*) FROM a GROUP BY value % 2",
            "GROUP BY",
        ),
        ("SELECT max(value) FROM a", "aggregate"),
        ("SELECT DISTINCT value FROM a", "DISTINCT"),
        ("SELECT value FROM a UNION SELECT value FROM b", "DISTINCT"),
        ("SELECT value FROM a ORDER BY value", "ORDER BY"),
        ("SELECT value FROM a LIMIT 5", "LIMIT"),
        (
            "SELECT value, row_number() OVER (ORDER BY value) FROM a",
            "window function",
        ),
        (
            "SELECT a.value FROM a JOIN b ON a.value = b.value",
            "join of two streams",
        ),
        (
            "SELECT x.value FROM a AS x JOIN a AS y ON x.value = y.value",
            "join of two streams",
        ),
        (
            "SELECT dim.name FROM a RIGHT JOIN dim ON a.value = dim.value",
            "outer join",
        ),
        (
            "SELECT a.value FROM a FULL JOIN dim ON a.value = dim.value",
            "outer join",
        ),
        (
            "SELECT name FROM dim WHERE value IN (SELECT value FROM a)",
            "subquery",
        ),
    ] {
        let sql = format!("{TABLES}\n  INSERT INTO sink\n  {query};");
        let ran = Scene::new().run(&sql, &[]);
        assert_eq!(ran.code, Some(1), "{query}: {ran:?}");
        assert!(
            ran.stderr.starts_with("error: app.sql:7:3: "),
            "{query}: {}",
            ran.stderr
        );
        for said in [says, "not available yet"] {
            assert!(
                ran.stderr.contains(said),
                "{query}: not {said:?}: {}",
                ran.stderr
            );
        }
    }
}

#[test]
fn event_time_output_modes_and_checkpoints_are_refused() {
    for (statement, place, says) in [
        (
            "CREATE TABLE t (ts TIMESTAMP, WATERMARK FOR ts) WITH (connector = 'memory');",
            (6, 45),
            "event time",
        ),
        (
            "CREATE TABLE t (ts TIMESTAMP) WITH (connector = 'memory', event_time_field = 'ts');",
            (6, 78),
            "event time",
        ),
        (
            "CREATE JOB j WITH (output_mode = 'update') AS INSERT INTO sink SELECT * FROM a;",
            (6, 34),
            "output_mode",
        ),
        (
            "CREATE JOB j WITH (checkpoint = 'ckpt') AS INSERT INTO sink SELECT * FROM a;",
            (6, 33),
            "checkpoint",
        ),
        (
            "CREATE TABLE k WITH (connector = 'kafka');",
            (6, 34),
            "'kafka' is not available yet",
        ),
    ] {
        let ran = Scene::new().run(&format!("{TABLES}{statement}"), &[]);
        assert_eq!(ran.code, Some(1), "{statement}: {ran:?}");
        let place = format!("error: app.sql:{}:{}: ", place.0, place.1);
        assert!(
            ran.stderr.starts_with(&place),
            "{statement}: not at {place}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(says), "{statement}: {}", ran.stderr);
    }
}

#[test]
fn what_needs_no_state_runs() {
    for query in [
        "SELECT value + 1 AS v FROM a WHERE value % 2 = 0",
        "SELECT value FROM a UNION ALL SELECT value FROM b",
        "SELECT a.value, dim.name FROM a LEFT JOIN dim ON a.value = dim.value",
        "SELECT a.value, dim.name FROM a JOIN dim ON a.value = dim.value",
        "SELECT value FROM a WHERE value NOT IN (SELECT value FROM dim WHERE value IS NOT NULL)",
        "SELECT value FROM a WHERE value > (SELECT coalesce(max(value), 0) FROM dim)",
        "SELECT unnest([value, value + 1]) AS v FROM a",
        "SELECT value FROM (SELECT value, count(*) OVER () FROM dim) AS d",
    ] {
        let ran = Scene::new().run(&format!("{TABLES}INSERT INTO sink {query};"), &["--json"]);
        assert_eq!(ran.summary()["status"], "ok", "{query}");
    }
}
