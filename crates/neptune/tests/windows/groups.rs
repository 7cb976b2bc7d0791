//! Queries that group by windows in the ways that SQL allows.

use super::support::{ask, with_rides};

#[tokio::test]
async fn windows_stand_wherever_group_keys_do() {
    let session = with_rides();
    let by_minute = [
        "1969-12-31T23:58:00 1",
        "1970-01-01T00:00:00 7",
        "1970-01-01T00:01:00 2",
        "1970-01-01T01:00:00 1",
    ];
    for query in [
        "SELECT tumble(ts, '1 minute')['start'] AS s, count(*) FROM rides GROUP BY s ORDER BY s",
        "SELECT window['start'] AS s, n FROM (SELECT tumble('1 minute') AS window, count(*) AS n FROM rides GROUP BY window) ORDER BY s",
        "SELECT tumble('1 minute')['start'], count(*) FROM rides GROUP BY tumble('1 minute') ORDER BY tumble('1 minute')",
        "SELECT tumble('1 minute')['start'], count(*) AS n FROM rides GROUP BY ALL ORDER BY 1",
        "SELECT date_trunc('minute', tumble('10 seconds')['start']) AS m, count(*) FROM rides GROUP BY m ORDER BY m",
        "SELECT DISTINCT tumble('1 minute')['start'] AS s, count(*) OVER (PARTITION BY tumble('1 minute')) \
         FROM rides WHERE tumble('1 minute') IS NOT NULL ORDER BY s",
        "SELECT s, count(*) FROM (SELECT tumble('1 minute')['start'] AS s FROM rides WHERE ts IS NOT NULL) GROUP BY s ORDER BY s",
        // The window of the inner query has the name of the outer one's, and is not meant.
        "SELECT w['start'] AS s, n FROM (SELECT tumble('1 minute') AS w, count(*) AS n FROM \
         (SELECT ts, tumble('1 minute') FROM rides) GROUP BY tumble('1 minute')) ORDER BY s",
    ] {
        assert_eq!(ask(&session, query).await, by_minute, "{query}");
    }
}

#[tokio::test]
async fn having_and_order_by_see_the_window() {
    let session = with_rides();
    let query = "SELECT tumble('10 seconds') AS w, count(*) AS n FROM rides GROUP BY w \
                 HAVING w['start'] >= TIMESTAMP '1970-01-01T00:00:10' AND count(*) > 1 ORDER BY w['end'] DESC";
    assert_eq!(
        ask(&session, query).await,
        [
            "{start: 1970-01-01T00:01:00, end: 1970-01-01T00:01:10} 2",
            "{start: 1970-01-01T00:00:20, end: 1970-01-01T00:00:30} 2",
            "{start: 1970-01-01T00:00:10, end: 1970-01-01T00:00:20} 2",
        ]
    );
    let query = "SELECT session('10 seconds') AS w, k, sum(v) AS s FROM rides GROUP BY w, k HAVING sum(v) > 10 ORDER BY s, w";
    assert_eq!(
        ask(&session, query).await,
        [
            "{start: 1970-01-01T01:00:00, end: 1970-01-01T01:00:10} a 11",
            "{start: 1970-01-01T00:00:09, end: 1970-01-01T00:00:30} b 14",
            "{start: 1970-01-01T00:00:59, end: 1970-01-01T00:01:15} b 18",
        ]
    );
}

#[tokio::test]
async fn aggregates_of_every_kind_are_computed_per_window() {
    let session = with_rides();
    let query = "SELECT hop('30 seconds', '60 seconds')['start'] AS s, count(DISTINCT k), sum(v) FILTER (WHERE k = 'b'), \
                 array_agg(v ORDER BY v), max(ts) FROM rides WHERE v < 9 GROUP BY s ORDER BY s";
    assert_eq!(
        ask(&session, query).await,
        [
            "1969-12-31T23:58:00 1  [1] 1969-12-31T23:58:59",
            "1969-12-31T23:58:30 1  [1] 1969-12-31T23:58:59",
            "1969-12-31T23:59:30 2 14 [2, 3, 4, 5, 6, 7] 1970-01-01T00:00:25",
            "1970-01-01T00:00:00 2 22 [2, 3, 4, 5, 6, 7, 8] 1970-01-01T00:00:59",
            "1970-01-01T00:00:30 1 8 [8] 1970-01-01T00:00:59",
        ]
    );
    let query = "SELECT tumble('1 hour')['start'] AS s, k, count(*), grouping(k) FROM rides \
                 GROUP BY ROLLUP (tumble('1 hour')['start'], k) ORDER BY s NULLS LAST, k NULLS LAST";
    assert_eq!(
        ask(&session, query).await,
        [
            "1969-12-31T23:00:00 a 1 0",
            "1969-12-31T23:00:00  1 1",
            "1970-01-01T00:00:00 a 4 0",
            "1970-01-01T00:00:00 b 5 0",
            "1970-01-01T00:00:00  9 1",
            "1970-01-01T01:00:00 a 1 0",
            "1970-01-01T01:00:00  1 1",
            "  11 1",
        ]
    );
    let query =
        "SELECT count(DISTINCT tumble('1 minute')), max(tumble('1 minute')['end']) FROM rides";
    assert_eq!(ask(&session, query).await, ["4 1970-01-01T01:01:00"]);
}

#[tokio::test]
async fn rows_between_hops_and_rows_without_a_time_are_in_no_window() {
    let session = with_rides();
    let query = "SELECT hop('1 minute', '10 seconds')['start'] AS s, array_agg(v ORDER BY v) FROM rides GROUP BY s ORDER BY s";
    assert_eq!(
        ask(&session, query).await,
        [
            "1970-01-01T00:00:00 [2, 3]",
            "1970-01-01T00:01:00 [9, 10]",
            "1970-01-01T01:00:00 [11]"
        ]
    );
    // Seen row by row, a window may be unknown, with its bounds.
    let query = "SELECT tumble('1 day') IS NULL, tumble('1 day')['start'] IS NULL, window_time(tumble('1 day')) IS NULL \
                 FROM rides WHERE v IN (1, 100) ORDER BY v";
    assert_eq!(
        ask(&session, query).await,
        ["false false false", "true true true"]
    );
}

#[tokio::test]
async fn windows_keep_unit_and_zone_of_their_time() {
    let session = with_rides();
    for unit in ["s", "ms", "us", "ns"] {
        for zone in ["", ", \"+02:00\""] {
            let time = format!("arrow_cast(ts, 'Timestamp({unit}{zone})')");
            let query = format!(
                "SELECT arrow_typeof(w['start']), arrow_typeof(w['end']), sum(n) FROM \
                 (SELECT tumble({time}, '1 day') AS w, count(*) AS n FROM rides GROUP BY w) GROUP BY 1, 2"
            );
            let expected = format!("Timestamp({unit}{zone})").replace("us", "µs");
            assert_eq!(
                ask(&session, &query).await,
                [format!("{expected} {expected} 11")]
            );
            let query = format!(
                "SELECT session({time}, '1 minute')['end'] = max({time}) + INTERVAL '1 minute', count(*) \
                 FROM rides WHERE k = 'b' GROUP BY session({time}, '1 minute')"
            );
            assert_eq!(ask(&session, &query).await, ["true 5"], "{query}");
        }
    }
    // Days begin at midnight UTC, whatever the zone.
    let query = "SELECT DISTINCT tumble(arrow_cast(ts + INTERVAL '2 hours', 'Timestamp(ms, \"+02:00\")'), '1 day')['start'] AS s FROM rides \
                 WHERE ts IS NOT NULL ORDER BY s";
    assert_eq!(
        ask(&session, query).await,
        ["1969-12-31T02:00:00+02:00", "1970-01-01T02:00:00+02:00"]
    );
}

#[tokio::test]
async fn times_near_the_limits_do_not_panic() {
    let session = with_rides();
    for time in [i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX] {
        let time = format!("arrow_cast({time}, 'Timestamp(s)')");
        for call in [
            format!("tumble({time}, '1 day')"),
            format!("hop({time}, '7 hours', '1 day')"),
            format!("session({time}, '1 day')"),
        ] {
            let query = format!(
                "SELECT count(*) FROM (SELECT {call} AS w, count(*) FROM rides WHERE v = 1 GROUP BY w)"
            );
            let rows = ask(&session, &query).await;
            let windows: i64 = rows[0].parse().unwrap();
            assert!((1..=4).contains(&windows), "{query}: {windows}");
        }
    }
}
