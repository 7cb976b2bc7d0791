//! What is refused, where, and with what remedy.

use super::support::{script, try_ask, with_rides};

#[tokio::test]
async fn calls_that_mean_nothing_are_refused_with_a_remedy() {
    let session = with_rides();
    for (query, reason) in [
        ("SELECT tumble() FROM rides", "tumble"),
        (
            "SELECT tumble(ts, '1 s', '2 s') FROM rides",
            "tumble has 3 arguments: write tumble(width) or tumble(time, width)",
        ),
        (
            "SELECT tumble(v, '1 minute') FROM rides",
            "of type Int64, not TIMESTAMP: cast it",
        ),
        (
            "SELECT tumble(ts, INTERVAL '1 month') FROM rides",
            "the width of tumble has months or years",
        ),
        (
            "SELECT tumble(ts, INTERVAL '0 seconds') FROM rides",
            "the width of tumble must be longer than zero",
        ),
        (
            "SELECT tumble(ts, INTERVAL '-5 seconds') FROM rides",
            "must be longer than zero",
        ),
        (
            "SELECT tumble(ts, INTERVAL '5 microseconds') FROM rides",
            "counts in milliseconds",
        ),
        (
            "SELECT tumble(ts, 5) FROM rides",
            "not an interval: write INTERVAL '10 minutes'",
        ),
        (
            "SELECT tumble(ts, CASE WHEN v > 1 THEN INTERVAL '1 second' END) FROM rides",
            "must be a literal such as INTERVAL '10 minutes'",
        ),
        (
            "SELECT hop(ts, '1 ms', '1 day') FROM rides",
            "more than 10000 windows: use a longer slide",
        ),
        (
            "SELECT cumulate(ts, '3 s', '10 s') FROM rides",
            "the width of cumulate must be a multiple of its step",
        ),
        (
            "SELECT window_time(ts) FROM rides",
            "not a window as tumble, hop or session give one",
        ),
        (
            "SELECT session(ts, '1 minute') FROM rides",
            "session cannot be in the SELECT list unless it is in GROUP BY too",
        ),
        (
            "SELECT v FROM rides WHERE session(ts, '1 minute') IS NULL",
            "session cannot be in WHERE or HAVING",
        ),
        (
            "SELECT v FROM rides WHERE hop(ts, '1 s', '2 s') IS NULL",
            "hop cannot be in WHERE or HAVING: it gives a row several windows",
        ),
        (
            "SELECT v FROM rides ORDER BY hop(ts, '1 s', '2 s')",
            "hop cannot be in ORDER BY",
        ),
        (
            "SELECT max(hop(ts, '1 s', '2 s')) FROM rides",
            "hop cannot be in an aggregate function",
        ),
        (
            "SELECT count(*) OVER (PARTITION BY hop(ts, '1 s', '2 s')) FROM rides",
            "hop cannot be in a window function",
        ),
        (
            "SELECT 1 FROM rides a JOIN rides b ON hop(a.ts, '1 s', '2 s') = hop(b.ts, '1 s', '2 s')",
            "hop cannot be in the condition of a join",
        ),
        (
            "SELECT count(*) FROM rides GROUP BY hop(ts, '1 s', '2 s'), tumble(ts, '1 s')",
            "hop and tumble stand side by side",
        ),
        (
            "SELECT hop(ts, '1 s', '2 s'), hop(ts, '1 s', '3 s') FROM rides",
            "hop and hop stand side by side",
        ),
        (
            "SELECT count(*) FROM rides GROUP BY ROLLUP (session(ts, '1 s'), k)",
            "session must be a group key of its own",
        ),
        (
            "SELECT count(*) FROM rides GROUP BY concat(k, CAST(session(ts, '1 s')['start'] AS TEXT))",
            "session must be a group key of its own",
        ),
        (
            "SELECT count(*) FROM rides GROUP BY session_window(ts, '1 s', k)",
            "use session(time, gap)",
        ),
        (
            "SELECT count(*) FROM rides GROUP BY tumble(window_time(hop(ts, '1 s', '2 s')), '1 s')",
            "hop cannot be inside of tumble",
        ),
        (
            "SELECT tumble('1 minute') FROM (SELECT v FROM rides)",
            "declare it with WATERMARK FOR",
        ),
        (
            "SELECT tumble('1 minute') FROM rides a, rides b",
            "2 event time columns, a.ts and b.ts",
        ),
    ] {
        let error = try_ask(&session, query).await.expect_err(query).to_string();
        assert!(error.contains(reason), "{query}\n{error}");
    }
}

#[tokio::test]
async fn faults_of_table_functions_are_put_at_their_place() {
    let session = with_rides();
    for (query, place, reason) in [
        ("\nTUMBLE(rides, tz, '1 s')", "2:15", "No field named tz"),
        (
            "\nTUMBLE(TABLE rode, DESCRIPTOR(ts), '1 s')",
            "2:14",
            "table 'datafusion.public.rode' not found",
        ),
        (
            "\n  TUMBLE(rides, ts)",
            "2:3",
            "TUMBLE lacks its argument SIZE",
        ),
        (
            "HOP(rides, ts, '1 s', '2 s', '3 s')",
            "1:44",
            "HOP has too many arguments",
        ),
        (
            "TABLE(HOP(rides, ts, slide => '1 s', width => '2 s'))",
            "1:52",
            "HOP has no argument width",
        ),
        (
            "HOP(rides, ts, '1 s', SLIDE => '2 s')",
            "1:46",
            "argument SLIDE of HOP is given twice",
        ),
        (
            "TUMBLE(rides, DESCRIPTOR(ts, v), '1 s')",
            "1:29",
            "DESCRIPTOR takes one column, the time",
        ),
        (
            "TUMBLE(1 + 1, ts, '1 s')",
            "1:22",
            "the first argument of TUMBLE must be a table",
        ),
        ("SESSION(*, ts, '1 s')", "1:15", "SESSION cannot take *"),
        (
            "TUMBLE(TABLE rides, DESCRIPTOR(ts) '1 s')",
            "1:50",
            "expected `)`",
        ),
    ] {
        let query = format!("SELECT * FROM {query}");
        let error = script(&session, &query).await.expect_err(&query);
        assert!(
            error.starts_with(&format!("app.sql:{place}: ")) && error.contains(reason),
            "{query}\n{error}"
        );
    }
}
