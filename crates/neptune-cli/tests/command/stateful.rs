//! Queries over streams from the command line: what cannot be one is refused at its place, and what can runs.

use super::support::Scene;

const TABLES: &str = "\
CREATE TABLE a WITH (connector = 'rate', rows_per_second = 100000, rows = 10);
CREATE TABLE b WITH (connector = 'rate', rows_per_second = 100000, rows = 10);
CREATE TABLE dim (value BIGINT, name TEXT) WITH (connector = 'memory');
CREATE TABLE sink WITH (connector = 'noop');
SET neptune.job.class = 'stream';
";

#[test]
fn a_query_that_is_never_final_is_refused() {
    for (query, says) in [
        (
            "SELECT value % 2, count(*) FROM a GROUP BY value % 2",
            "output_mode = 'update'",
        ),
        ("SELECT max(value) FROM a", "never final"),
        ("SELECT value FROM a ORDER BY value", "ORDER BY"),
        ("SELECT value FROM a LIMIT 5", "LIMIT"),
        (
            "SELECT value, row_number() OVER (ORDER BY value) FROM a",
            "window function",
        ),
        (
            "SELECT a.value FROM a LEFT JOIN b ON a.value = b.value",
            "outer join of two streams",
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
            "rows of a table",
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
        assert!(
            ran.stderr.contains(says),
            "{query}: not {says:?}: {}",
            ran.stderr
        );
    }
}

#[test]
fn what_is_not_available_yet_is_refused() {
    let ran = Scene::new().run(
        &format!("{TABLES}CREATE TABLE k WITH (connector = 'kafka');"),
        &[],
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for said in ["error: app.sql:6:34: ", "'kafka' is not available yet"] {
        assert!(ran.stderr.contains(said), "not {said:?}: {}", ran.stderr);
    }
}

#[test]
fn what_needs_state_runs_in_its_output_mode() {
    for (options, query, rows) in [
        (
            "output_mode = 'update'",
            "SELECT value % 2 AS k, count(*) AS n FROM a GROUP BY value % 2",
            None,
        ),
        (
            "output_mode = 'complete'",
            "SELECT value FROM (SELECT value, count(*) AS n FROM a GROUP BY value) AS x ORDER BY value LIMIT 3",
            None,
        ),
        (
            "checkpoint = 'ckpt'",
            "SELECT DISTINCT value % 3 AS v FROM a",
            Some(3),
        ),
        (
            "output_mode = 'append'",
            "SELECT value FROM a UNION SELECT value FROM b",
            Some(10),
        ),
        (
            "max_rows_per_trigger = 3",
            "SELECT a.value FROM a JOIN b ON a.value = b.value",
            Some(10),
        ),
        (
            "max_rows_per_trigger = 3",
            "SELECT x.value FROM a AS x JOIN a AS y ON x.value = y.value + 1",
            Some(9),
        ),
    ] {
        let sql = format!("{TABLES}CREATE JOB j WITH ({options}) AS INSERT INTO sink {query};");
        let summary = Scene::new().run(&sql, &["--json"]).summary();
        assert_eq!(summary["status"], "ok", "{query}: {summary}");
        if let Some(rows) = rows {
            assert_eq!(summary["jobs"][0]["rows_out"], rows, "{query}: {summary}");
        }
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
