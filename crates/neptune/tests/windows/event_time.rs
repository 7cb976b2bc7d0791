//! How far the mark of an event time column goes through a plan, in the planner and in the rows.

use neptune::datafusion::arrow::datatypes::Field;
use neptune_stream::event_time::is_event_time;

use super::support::{ask, script, with_rides};

/// Queries whose column `t` is the event time, or is not any more.
const QUERIES: [(&str, bool); 27] = [
    ("SELECT ts AS t FROM rides", true),
    (
        "SELECT ts AS t FROM rides WHERE v > 3 ORDER BY v LIMIT 5",
        true,
    ),
    ("SELECT r.ts AS t FROM rides AS r", true),
    (
        "WITH c AS (SELECT ts AS u, v FROM rides) SELECT u AS t FROM c",
        true,
    ),
    ("SELECT t FROM marked", true),
    (
        "SELECT a.ts AS t FROM rides a JOIN rides b ON a.v = b.v",
        true,
    ),
    (
        "SELECT b.ts AS t FROM rides a LEFT JOIN rides b ON a.v = b.v",
        true,
    ),
    (
        "SELECT ts AS t FROM rides WHERE v IN (SELECT v FROM rides)",
        true,
    ),
    ("SELECT DISTINCT ts AS t FROM rides", true),
    ("SELECT ts AS t, count(*) FROM rides GROUP BY ts", true),
    (
        "SELECT ts AS t, row_number() OVER (PARTITION BY k ORDER BY ts) FROM rides",
        true,
    ),
    ("SELECT ts AS t, unnest([1, 2]) FROM rides", true),
    ("SELECT CAST(ts AS TIMESTAMP) AS t FROM rides", true),
    (
        "SELECT ts AS t FROM rides UNION ALL SELECT ts FROM rides",
        true,
    ),
    (
        "SELECT window_time(w) AS t FROM (SELECT tumble('1 minute') AS w FROM rides GROUP BY w)",
        true,
    ),
    (
        "SELECT window_time(tumble('1 minute')) AS t FROM rides",
        true,
    ),
    (
        "SELECT window_time AS t FROM (SELECT *, window_time(hop('5 s', '10 s')) AS window_time FROM rides)",
        true,
    ),
    // The inputs of a union need not agree.
    (
        "SELECT ts AS t FROM rides UNION ALL SELECT ts + INTERVAL '1 s' FROM rides",
        true,
    ),
    (
        "SELECT ts + INTERVAL '1 s' AS t FROM rides UNION ALL SELECT ts FROM rides",
        true,
    ),
    ("SELECT ts + INTERVAL '1 second' AS t FROM rides", false),
    ("SELECT CAST(ts AS BIGINT) AS t FROM rides", false),
    ("SELECT CAST(ts AS TEXT) AS t FROM rides", false),
    ("SELECT date_trunc('minute', ts) AS t FROM rides", false),
    ("SELECT coalesce(ts, now()) AS t FROM rides", false),
    ("SELECT CASE WHEN v > 1 THEN ts END AS t FROM rides", false),
    ("SELECT max(ts) AS t FROM rides", false),
    ("SELECT tumble('1 minute')['end'] AS t FROM rides", false),
];

#[tokio::test]
async fn the_mark_goes_with_plain_columns_and_not_with_what_is_computed() {
    let session = with_rides();
    script(
        &session,
        "CREATE VIEW marked AS SELECT ts AS t FROM rides WHERE v > 1",
    )
    .await
    .unwrap();
    for (query, kept) in QUERIES {
        let planned = session.context().sql(query).await.unwrap();
        let marked = |fields: &[&Field]| {
            let field = fields.iter().find(|field| field.name() == "t").unwrap();
            is_event_time(field)
        };
        let at_first: Vec<&Field> = planned
            .schema()
            .fields()
            .iter()
            .map(AsRef::as_ref)
            .collect();
        assert_eq!(marked(&at_first), kept, "{query}");
        // The physical plan agrees, or DataFusion refuses it; and it can be grouped.
        let physical = planned
            .clone()
            .create_physical_plan()
            .await
            .unwrap()
            .schema();
        let physical: Vec<&Field> = physical.fields().iter().map(AsRef::as_ref).collect();
        assert_eq!(marked(&physical), kept, "{query}");
    }
}

#[tokio::test]
async fn queries_over_marked_columns_can_be_grouped() {
    let session = with_rides();
    script(
        &session,
        "CREATE VIEW marked AS SELECT ts AS t FROM rides WHERE v > 1",
    )
    .await
    .unwrap();
    for (query, kept) in QUERIES {
        let grouped = format!("SELECT t, count(*) FROM ({query}) GROUP BY t");
        assert!(!ask(&session, &grouped).await.is_empty(), "{grouped}");
        if kept {
            let windows = format!(
                "SELECT tumble('1 minute'), max(t) FROM ({query}) GROUP BY tumble('1 minute')"
            );
            assert!(!ask(&session, &windows).await.is_empty(), "{windows}");
        }
    }
}

#[tokio::test]
async fn the_type_of_the_event_time_reaches_what_is_planned_above() {
    let session = with_rides();
    // The event time is in milliseconds; without it the windows would be in nanoseconds.
    let answers = script(
        &session,
        "CREATE TABLE minutes (s TIMESTAMP, n BIGINT) WITH (connector = 'memory');
         INSERT INTO minutes SELECT tumble('1 minute')['start'], count(*) FROM rides GROUP BY tumble('1 minute');
         CREATE VIEW counted AS SELECT tumble('1 minute') AS w, count(*) AS n FROM rides GROUP BY w;
         SELECT arrow_typeof(w['start']), sum(n) FROM counted GROUP BY 1;
         SELECT count(*) FROM minutes JOIN counted ON s = w['start'] AND minutes.n = counted.n;
         SELECT count(*) FROM counted WHERE w['start'] IN (SELECT s FROM minutes) AND w['start'] < '1970-01-01T00:00:30';
         SELECT tumble('1 minute')['start'] FROM rides WHERE v = 1 UNION SELECT s FROM minutes;",
    );
    let answers = answers.await.unwrap();
    assert_eq!(answers[0], ["Timestamp(ms) 11"]);
    assert_eq!(answers[1], ["4"]);
    assert_eq!(answers[2], ["2"]);
    assert_eq!(answers[3].len(), 4);
}
