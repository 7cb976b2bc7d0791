//! The spellings of one window give one answer.

use super::support::{script, with_rides};

/// Each query in each of its spellings.
const SPELLINGS: [(&str, &[&str]); 4] = [
    (
        "tumble",
        &[
            "SELECT w['start'], w['end'], k, n FROM \
             (SELECT tumble(INTERVAL '10 seconds') AS w, k, count(*) AS n FROM rides GROUP BY w, k)",
            "SELECT window.start, window.\"end\", k, n FROM \
             (SELECT TUMBLE(ts, INTERVAL '10' SECOND) AS window, k, count(*) AS n FROM rides GROUP BY 1, 2)",
            "SELECT window_start, window_end, k, count(*) FROM \
             TABLE(TUMBLE(TABLE rides, DESCRIPTOR(ts), INTERVAL '10' SECONDS)) GROUP BY window_start, window_end, k",
            "SELECT r.window_start, r.window_end, r.k, count(*) FROM \
             tumble(rides, ts, '10 seconds') AS r GROUP BY r.window_start, r.window_end, r.k",
            "SELECT window_start, window_time + INTERVAL '1 millisecond', k, count(*) FROM \
             Tumble(DATA => TABLE rides, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10 seconds') \
             GROUP BY window_start, window_time, k",
            "SELECT date_bin(INTERVAL '10 seconds', ts), date_bin(INTERVAL '10 seconds', ts) + INTERVAL '10 seconds', \
             k, count(*) FROM rides WHERE ts IS NOT NULL GROUP BY 1, 2, 3",
        ],
    ),
    (
        "hop",
        &[
            "SELECT w['start'], w['end'], k, n FROM \
             (SELECT hop(INTERVAL '4 seconds', INTERVAL '10 seconds') AS w, k, count(*) AS n FROM rides GROUP BY w, k)",
            "SELECT w['start'], w['end'], k, count(*) FROM \
             (SELECT k, hop(ts, '4 seconds', '10 seconds') AS w FROM rides) GROUP BY w, k",
            "SELECT window_start, window_end, k, count(*) FROM \
             TABLE(HOP(TABLE rides, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND)) GROUP BY 1, 2, 3",
            "SELECT window_start, window_end, k, count(*) FROM \
             HOP(rides, ts, INTERVAL '4 seconds', INTERVAL '10 seconds') GROUP BY 1, 2, 3",
            "SELECT window_start, window_end, k, count(*) FROM \
             hop(SIZE => INTERVAL '10 seconds', SLIDE => INTERVAL '4 seconds', DATA => rides, TIMECOL => ts) GROUP BY 1, 2, 3",
            // What it means: each window that starts at a multiple of the slide, and the rows in it.
            "SELECT s, s + INTERVAL '10 seconds', k, count(*) FROM rides JOIN \
             (SELECT arrow_cast(value * 4000, 'Timestamp(ms)') AS s FROM range(-50, 1000)) \
             ON s <= ts AND ts < s + INTERVAL '10 seconds' GROUP BY 1, 2, 3",
        ],
    ),
    (
        "cumulate",
        &[
            "SELECT w['start'], w['end'], n FROM \
             (SELECT cumulate(INTERVAL '5 seconds', INTERVAL '20 seconds') AS w, count(*) AS n FROM rides GROUP BY w)",
            "SELECT window_start, window_end, count(*) FROM \
             TABLE(CUMULATE(TABLE rides, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND)) GROUP BY 1, 2",
        ],
    ),
    (
        "session",
        &[
            "SELECT w['start'], w['end'], k, n FROM \
             (SELECT session(INTERVAL '10 seconds') AS w, k, count(*) AS n FROM rides GROUP BY w, k)",
            "SELECT session(ts, INTERVAL '10 seconds')['start'], session(ts, INTERVAL '10 seconds')['end'], k, count(*) \
             FROM rides GROUP BY k, session(ts, INTERVAL '10 seconds')",
            "SELECT window_start, window_end, k, count(*) FROM \
             TABLE(SESSION(TABLE rides PARTITION BY k, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY 1, 2, 3",
            "SELECT window_start, window_end, k, count(*) FROM \
             SESSION(rides PARTITION BY (k), ts, INTERVAL '10 seconds') GROUP BY 1, 2, 3",
            "SELECT window_start, window_end, k, count(*) FROM session(DATA => TABLE rides PARTITION BY k, \
             TIMECOL => DESCRIPTOR(ts), GAP => INTERVAL '10 seconds') GROUP BY 1, 2, 3",
            // What it means, in other words: a session begins at a row whose predecessor is further away.
            "SELECT min(ts), max(ts) + INTERVAL '10 seconds', k, count(*) FROM \
             (SELECT ts, k, sum(first) OVER (PARTITION BY k ORDER BY ts ROWS UNBOUNDED PRECEDING) AS id FROM \
             (SELECT ts, k, CASE WHEN ts <= lag(ts) OVER (PARTITION BY k ORDER BY ts) + INTERVAL '10 seconds' \
             THEN 0 ELSE 1 END AS first FROM rides WHERE ts IS NOT NULL)) GROUP BY k, id",
        ],
    ),
];

#[tokio::test]
async fn all_spellings_of_a_window_give_the_same_rows() {
    for (window, spellings) in SPELLINGS {
        let session = with_rides();
        let answers = script(&session, &spellings.join(";\n")).await.unwrap();
        assert_eq!(answers.len(), spellings.len());
        assert!(answers[0].len() > 3, "{window}: {:?}", answers[0]);
        for (spelling, answer) in spellings.iter().zip(&answers) {
            assert_eq!(answer, &answers[0], "{window}: {spelling}");
        }
    }
}

#[tokio::test]
async fn a_table_function_reads_tables_views_ctes_and_queries() {
    let session = with_rides();
    let answers = script(
        &session,
        "CREATE VIEW early AS SELECT ts, v FROM rides WHERE v < 6;
         CREATE VIEW windows AS SELECT * FROM TUMBLE(TABLE early, DESCRIPTOR(ts), INTERVAL '10' SECOND);
         SELECT window_start, sum(v) FROM windows GROUP BY window_start;
         SELECT window_start, sum(v) FROM TUMBLE(datafusion.public.early, ts, INTERVAL '10 seconds') GROUP BY window_start;
         WITH early AS (SELECT ts AS t, v FROM rides WHERE v < 6)
         SELECT window_start, sum(v) FROM TUMBLE(TABLE early, DESCRIPTOR(t), INTERVAL '10' SECOND) GROUP BY window_start;
         SELECT window_start, sum(v) FROM TUMBLE((SELECT * FROM rides WHERE v < 6), ts, '10 seconds') GROUP BY window_start;
         SELECT a.window_start, sum(a.v) FROM TUMBLE(early, ts, '10 seconds') AS a
         JOIN TUMBLE(early, ts, '10 seconds') AS b ON a.window_start = b.window_start AND a.v = b.v GROUP BY a.window_start",
    );
    let answers = answers.await.unwrap();
    let expected = [
        "1969-12-31T23:58:50 1",
        "1970-01-01T00:00:00 5",
        "1970-01-01T00:00:10 9",
    ];
    assert_eq!(answers.len(), 5);
    for answer in answers {
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn a_table_function_adds_the_bounds_and_the_last_time_of_the_window() {
    let session = with_rides();
    let query = "SELECT * FROM HOP(rides, ts, '5 seconds', '10 seconds') WHERE v = 2 OR v = 100";
    let answers = script(&session, query).await.unwrap();
    // The row without a time is in no window.
    assert_eq!(
        answers[0],
        [
            "1970-01-01T00:00:00 a 2 1969-12-31T23:59:55 1970-01-01T00:00:05 1970-01-01T00:00:04.999",
            "1970-01-01T00:00:00 a 2 1970-01-01T00:00:00 1970-01-01T00:00:10 1970-01-01T00:00:09.999",
        ]
    );
    let tumbled = script(
        &session,
        "SELECT * FROM TUMBLE(rides, ts, '1 day') WHERE k = 'a'",
    )
    .await
    .unwrap();
    assert_eq!(tumbled[0].len(), 6);
}

#[tokio::test]
async fn windows_of_windows_are_over_the_time_of_the_window() {
    let session = with_rides();
    let expected = [
        "1969-12-31T23:58:00 1",
        "1970-01-01T00:00:00 7",
        "1970-01-01T00:01:00 2",
        "1970-01-01T01:00:00 1",
    ];
    for query in [
        // The window until 00:01:00 belongs to the minute before.
        "SELECT tumble(window_time(w), INTERVAL '1 minute')['start'], sum(n) FROM \
         (SELECT tumble(INTERVAL '10 seconds') AS w, count(*) AS n FROM rides GROUP BY w) GROUP BY 1",
        // It is an event time, so that it need not be named.
        "SELECT tumble(INTERVAL '1 minute')['start'], sum(n) FROM (SELECT window_time(w) AS t, n FROM \
         (SELECT tumble(INTERVAL '10 seconds') AS w, count(*) AS n FROM rides GROUP BY w)) GROUP BY 1",
        "WITH ten AS (SELECT window_time AS t, count(*) AS n FROM TUMBLE(rides, ts, '10 seconds') GROUP BY window_time) \
         SELECT window_start, sum(n) FROM TUMBLE(TABLE ten, DESCRIPTOR(t), '1 minute') GROUP BY window_start",
        "SELECT tumble(ts, INTERVAL '1 minute')['start'], count(*) FROM rides GROUP BY 1",
    ] {
        assert_eq!(
            script(&session, query).await.unwrap()[0],
            expected,
            "{query}"
        );
    }
}
