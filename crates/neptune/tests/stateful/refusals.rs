//! Queries that cannot be streams, or not in their output mode: why, and what to do instead.

use super::support::Scene;

/// What a query is run as, the query, and parts of what is said about it.
const REFUSED: &[(&str, &str, &[&str])] = &[
    (
        "append",
        "SELECT k, count(*) AS n FROM a GROUP BY k",
        &[
            "never final",
            "'append'",
            "tumble(INTERVAL '1 minute')",
            "output_mode = 'update'",
        ],
    ),
    (
        "append",
        "SELECT count(*) AS n FROM a",
        &["never final", "output_mode = 'update'"],
    ),
    (
        "append",
        "SELECT tumble(ts, INTERVAL '1 minute') AS w, count(*) AS n FROM timeless GROUP BY 1",
        &["never final", "WATERMARK"],
    ),
    (
        "update",
        "SELECT max(n) AS n FROM (SELECT k, count(*) AS n FROM a GROUP BY k) AS x",
        &["never final", "what lies above it needs final rows"],
    ),
    (
        "append",
        "SELECT id FROM a ORDER BY id",
        &["ORDER BY and LIMIT", "'complete'", "ROW_NUMBER()"],
    ),
    (
        "append",
        "SELECT id FROM a LIMIT 5",
        &["ORDER BY and LIMIT"],
    ),
    (
        "update",
        "SELECT k, count(*) AS n FROM a GROUP BY k ORDER BY n LIMIT 3",
        &["ORDER BY and LIMIT", "'complete'"],
    ),
    (
        "append",
        "SELECT id, row_number() OVER (PARTITION BY k ORDER BY ts) AS n FROM a",
        &["window function", "PARTITION BY", "partition by the window"],
    ),
    (
        "append",
        "SELECT id, row_number() OVER (PARTITION BY w) AS n, rank() OVER (ORDER BY id) AS m FROM \
         (SELECT tumble(INTERVAL '1 minute') AS w, id FROM a) AS t",
        &["window function", "PARTITION BY"],
    ),
    (
        "update",
        "SELECT k, n, rank() OVER (ORDER BY n) AS m FROM (SELECT k, count(*) AS n FROM a GROUP BY k) AS x",
        &["never final"],
    ),
    (
        "append",
        "SELECT a.id FROM a LEFT JOIN b ON a.k = b.k",
        &["outer join of two streams", "BETWEEN", "WATERMARK"],
    ),
    (
        "append",
        "SELECT a.id FROM a FULL JOIN b ON a.k = b.k AND a.ts < b.ts",
        &["outer join of two streams", "bound the times"],
    ),
    (
        "append",
        "SELECT t.id FROM timeless AS t LEFT JOIN a ON t.ts = a.ts",
        &["outer join of two streams", "WATERMARK"],
    ),
    (
        "append",
        "SELECT id FROM a WHERE k IN (SELECT k FROM b)",
        &["EXISTS, IN", "window on both sides"],
    ),
    (
        "append",
        "SELECT id FROM a WHERE id > (SELECT max(id) FROM b)",
        &["stream"],
    ),
    (
        "append",
        "SELECT name FROM dim LEFT JOIN a ON dim.k = a.k",
        &[
            "outer join that keeps the rows of a table",
            "stream on the left",
        ],
    ),
    (
        "append",
        "SELECT k FROM a UNION ALL SELECT k FROM dim",
        &["UNION of a stream with a table", "INSERT of their own"],
    ),
    (
        "update",
        "SELECT k, count(*) AS n FROM a GROUP BY k UNION ALL SELECT k, 1 FROM b",
        &["UNION of streams", "two INSERTs"],
    ),
    (
        "complete",
        "SELECT id FROM a",
        &["'complete'", "no aggregate", "output_mode = 'append'"],
    ),
    (
        "complete",
        "SELECT a.id FROM a JOIN b ON a.ts = b.ts",
        &["'complete'", "no aggregate"],
    ),
    (
        "complete",
        "SELECT a.id, n FROM a JOIN (SELECT k, count(*) AS n FROM b GROUP BY k) AS x ON a.k = x.k",
        &["join of streams", "window"],
    ),
    (
        "retract",
        "SELECT id FROM a",
        &["output_mode", "'retract'", "'append'", "'complete'"],
    ),
];

fn scene() -> Scene {
    let mut scene = Scene::new();
    for (name, more) in [
        ("a", ", WATERMARK FOR ts"),
        ("b", ", WATERMARK FOR ts"),
        ("timeless", ""),
    ] {
        scene.files(
            name,
            &[&[r#"{"id": 1, "ts": "2024-01-01T00:00:00", "k": "x"}"#]],
        );
        scene.stream(
            name,
            &format!("id BIGINT, ts TIMESTAMP, k TEXT{more}"),
            true,
        );
    }
    scene.add("CREATE TABLE dim (k TEXT, name TEXT) WITH (connector = 'memory');");
    scene.sink("out");
    scene
}

#[tokio::test]
async fn what_cannot_be_a_stream_is_refused_with_its_place_and_a_way_out() {
    let before = scene().sql.lines().count();
    for (mode, query, says) in REFUSED {
        let mut scene = scene();
        scene.add(&format!(
            "CREATE JOB j WITH (class = 'stream', output_mode = '{mode}') AS INSERT INTO out {query};"
        ));
        let error = scene.load(1).await.expect_err(query);
        let place = format!("app.sql:{}:", before + 1);
        assert!(
            error.contains(&place),
            "{mode} {query}: not at {place}\n{error}"
        );
        for said in *says {
            assert!(
                error.contains(said),
                "{mode} {query}: not {said:?}\n{error}"
            );
        }
        assert!(!scene.path("out").exists(), "{mode} {query}: it ran");
    }
}

#[tokio::test]
async fn options_of_streams_are_refused_for_batch_jobs() {
    for option in [
        "output_mode = 'update'",
        "checkpoint = 'here'",
        "idle_timeout = '5 s'",
    ] {
        let mut scene = scene();
        scene.add(&format!(
            "CREATE JOB j WITH (class = 'batch', {option}) AS INSERT INTO out SELECT id FROM a;"
        ));
        let error = scene.load(1).await.expect_err(option);
        let name = option.split(' ').next().unwrap();
        for said in [name, "reads none"] {
            assert!(error.contains(said), "{option}: not {said:?}\n{error}");
        }
    }
}
