//! Session windows over many rows, partitions and batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use neptune::Session;
use neptune::datafusion::arrow::array::{Int64Array, RecordBatch, TimestampMillisecondArray};
use neptune::datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use neptune::datafusion::datasource::MemTable;

use super::support::{ask, try_ask};

/// Pseudo-random numbers, always the same.
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    })
}

/// Keys and times in milliseconds.
fn rows(seed: u64, count: usize) -> Vec<(i64, i64)> {
    let mut numbers = numbers(seed);
    let row = |numbers: &mut dyn Iterator<Item = u64>| {
        let mut next = || numbers.next().unwrap() as i64;
        (next() % 7, next() % 100_000 - 50_000)
    };
    (0..count).map(|_| row(&mut numbers)).collect()
}

/// A session with these rows as table `events`.
fn with_events(rows: &[(i64, i64)], settings: &[(&str, &str)]) -> Session {
    let mut builder = Session::builder().slots(2);
    for (key, value) in settings {
        builder = builder.set(key, value).unwrap();
    }
    let session = builder.build().unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, false),
        Field::new(
            "ts",
            DataType::Timestamp(TimeUnit::Millisecond, None),
            false,
        ),
    ]));
    let parts = rows.chunks(rows.len().div_ceil(3)).map(|part| {
        let batches = part.chunks(100).map(|rows| {
            let k: Int64Array = rows.iter().map(|row| Some(row.0)).collect();
            let ts: TimestampMillisecondArray = rows.iter().map(|row| Some(row.1)).collect();
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(k), Arc::new(ts)]).unwrap()
        });
        batches.collect()
    });
    let table = MemTable::try_new(Arc::clone(&schema), parts.collect()).unwrap();
    session
        .context()
        .register_table("events", Arc::new(table))
        .unwrap();
    session
}

/// Key, start, end and number of rows of each session, each row a line.
fn model(rows: &[(i64, i64)], gap: i64) -> Vec<String> {
    let mut by_key: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (key, time) in rows {
        by_key.entry(*key).or_default().push(*time);
    }
    let mut sessions = Vec::new();
    for (key, mut times) in by_key {
        times.sort_unstable();
        for session in times.chunk_by(|last, next| next - last <= gap) {
            let (first, last) = (session[0], session[session.len() - 1]);
            sessions.push(format!("{key} {first} {} {}", last + gap, session.len()));
        }
    }
    sessions.sort();
    sessions
}

#[tokio::test]
async fn sessions_are_those_of_a_simple_model_however_rows_are_divided() {
    for (seed, partitions, batch) in [
        (1, "1", "8192"),
        (2, "4", "8192"),
        (3, "2", "7"),
        (4, "5", "64"),
    ] {
        let rows = rows(seed, 2_000);
        let settings = [
            ("datafusion.execution.target_partitions", partitions),
            ("datafusion.execution.batch_size", batch),
        ];
        let session = with_events(&rows, &settings);
        for gap in [1, 50, 400, 100_000] {
            let query = format!(
                "SELECT k, CAST(w['start'] AS BIGINT), CAST(w['end'] AS BIGINT), n FROM \
                 (SELECT k, session(ts, INTERVAL '{gap} milliseconds') AS w, count(*) AS n FROM events GROUP BY k, w)"
            );
            assert_eq!(
                ask(&session, &query).await,
                model(&rows, gap),
                "{seed} {gap}"
            );
        }
        let one: Vec<_> = rows.iter().map(|row| (0, row.1)).collect();
        let query = "SELECT 0, CAST(w['start'] AS BIGINT), CAST(w['end'] AS BIGINT), n FROM \
                     (SELECT session(ts, INTERVAL '60 milliseconds') AS w, count(*) AS n FROM events GROUP BY w)";
        assert_eq!(ask(&session, query).await, model(&one, 60), "{seed}");
    }
}

#[tokio::test]
async fn a_session_too_large_for_memory_is_refused_not_held() {
    let rows: Vec<_> = (0..300_000).map(|time| (0, time)).collect();
    let query =
        "SELECT count(w) FROM (SELECT session_window(ts, INTERVAL '1 second', k) AS w FROM events)";
    let session = with_events(&rows, &[("datafusion.execution.batch_size", "1024")]);
    assert_eq!(ask(&session, query).await, ["300000"]);
    let settings = [
        ("datafusion.execution.batch_size", "1024"),
        (
            "datafusion.execution.sort_spill_reservation_bytes",
            "100000",
        ),
        ("neptune.memory.limit", "3000000"),
    ];
    let session = with_events(&rows, &settings);
    let short = "SELECT count(w) FROM (SELECT session_window(ts, INTERVAL '1 second', ts) AS w FROM events)";
    assert_eq!(ask(&session, short).await, ["300000"]);
    let error = try_ask(&session, query).await.unwrap_err().to_string();
    assert!(error.contains("SessionWindowExec"), "{error}");
    // And what it held is free again.
    assert_eq!(ask(&session, short).await, ["300000"]);
}
