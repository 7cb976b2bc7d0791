//! Ranges of offsets inside queries: exactly their rows, however they are cut.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::collect;
use neptune_stream::source::{
    GeneratorSource, RateGenerator, RowTimes, Source, StreamTable, generator_fn,
};
use neptune_stream::{Limits, Offset, OffsetRange};
use proptest::prelude::*;

use crate::helpers::{
    ManualClock, context, id_and_name, numbers, query, rows, scratch, table, write,
};

fn rate(rows_per_second: u64) -> (GeneratorSource, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let source = GeneratorSource::new("r", Arc::new(RateGenerator::new()), rows_per_second);
    (source.with_clock(clock.clone()), clock)
}

fn over(source: impl Source + 'static, start: u64, end: u64) -> Arc<StreamTable> {
    let stream = StreamTable::new(Arc::new(source), None);
    stream.set_range(OffsetRange::new(Offset::Rows(start), Offset::Rows(end)));
    Arc::new(stream)
}

#[tokio::test]
async fn rows_become_available_with_time() {
    let (source, clock) = rate(1_000);
    clock.0.store(5_000_000, Ordering::SeqCst);
    for (micros, rows) in [(0, 0), (999, 0), (1_000, 1), (2_500, 2), (1_000_000, 1_000)] {
        clock.0.store(5_000_000 + micros, Ordering::SeqCst);
        assert_eq!(
            source.latest_offset().await.unwrap(),
            Offset::Rows(rows),
            "{micros} µs"
        );
    }
    // A clock that was set back takes nothing away but gives nothing either.
    clock.0.store(0, Ordering::SeqCst);
    assert_eq!(source.latest_offset().await.unwrap(), Offset::Rows(0));

    let (source, clock) = rate(10);
    let source = source.with_rows(Some(25)).with_start_micros(0);
    clock.0.store(i64::MAX, Ordering::SeqCst);
    assert_eq!(source.latest_offset().await.unwrap(), Offset::Rows(25));
    assert!(source.is_bounded());
    assert_eq!(source.final_offset(), Some(Offset::Rows(25)));
    let limits = Limits {
        max_rows: Some(10),
        max_files: None,
    };
    let end = source.limit_end(&Offset::Rows(20), &Offset::Rows(25), &limits);
    assert_eq!(end, Offset::Rows(25));
}

#[tokio::test]
async fn due_times_do_not_drift() {
    let times = RowTimes {
        start_micros: 1_700_000_000_000_000,
        rows_per_second: 3,
    };
    let start = times.start_micros * 1_000;
    for (row, nanos) in [
        (0, 0),
        (1, 333_333_333),
        (3, 1_000_000_000),
        (3_000_000_001, 1_000_000_000_333_333_333),
    ] {
        assert_eq!(times.due_nanos(row), start + nanos);
    }
    assert_eq!(times.due_nanos(u64::MAX), i64::MAX);
}

#[tokio::test]
async fn a_query_sees_exactly_the_range() {
    for (sql, expected) in [
        ("SELECT value FROM t", (100..1_300).collect::<Vec<i64>>()),
        (
            "SELECT value FROM t WHERE value % 400 = 0",
            vec![400, 800, 1_200],
        ),
        ("SELECT count(*) FROM t", vec![1_200]),
        (
            "SELECT count(timestamp) FROM t WHERE value < 200",
            vec![100],
        ),
        ("SELECT 1 FROM t LIMIT 3", vec![1, 1, 1]),
        ("SELECT sum(value) FROM t", vec![(100..1_300).sum()]),
        (
            "SELECT a.value FROM t a JOIN t b ON a.value = b.value + 1198",
            vec![1_298, 1_299],
        ),
    ] {
        let (source, _) = rate(1);
        let found = query(over(source, 100, 1_300).provider(), sql)
            .await
            .unwrap();
        assert_eq!(numbers(&found), expected, "{sql}");
    }
    let (source, _) = rate(2);
    let sql = "SELECT value, timestamp FROM t";
    let found = query(over(source.with_start_micros(0), 2, 4).provider(), sql)
        .await
        .unwrap();
    assert_eq!(
        rows(&found),
        ["2|1970-01-01T00:00:01", "3|1970-01-01T00:00:01.500"]
    );
}

#[tokio::test]
async fn one_logical_plan_serves_every_micro_batch() {
    let (source, _) = rate(1);
    let stream = over(source, 0, 0);
    let context = context();
    context.register_table("t", stream.provider()).unwrap();
    let frame = context
        .sql("SELECT value FROM t WHERE value % 2 = 0")
        .await
        .unwrap();
    let logical = frame.into_optimized_plan().unwrap();
    let state = context.state();
    for (start, end) in [(0, 10), (10, 10), (10, 1_000), (1_000, 1_001)] {
        stream.set_range(OffsetRange::new(Offset::Rows(start), Offset::Rows(end)));
        let plan = state
            .query_planner()
            .create_physical_plan(&logical, &state)
            .await
            .unwrap();
        let found = collect(plan, context.task_ctx()).await.unwrap();
        let expected: Vec<i64> = (start as i64..end as i64).filter(|v| v % 2 == 0).collect();
        assert_eq!(numbers(&found), expected);
    }
}

#[tokio::test]
async fn planning_without_a_range_or_with_a_wrong_one_is_refused() {
    let (source, _) = rate(1);
    let stream = Arc::new(StreamTable::new(Arc::new(source), None));
    let error = query(stream.provider(), "SELECT * FROM t")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("before its micro-batch"),
        "{error}"
    );
    stream.set_range(OffsetRange::new(Offset::Files(0), Offset::Files(1)));
    let error = query(stream.provider(), "SELECT * FROM t")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not a range of rows"), "{error}");
}

#[tokio::test]
async fn a_large_range_is_split_and_a_small_one_is_not() {
    async fn partitions(rows: u64) -> usize {
        let (source, _) = rate(1);
        let state = context().state();
        let range = OffsetRange::new(Offset::Rows(0), Offset::Rows(rows));
        let plan: Arc<dyn ExecutionPlan> = source
            .plan(&state, &range, Default::default())
            .await
            .unwrap();
        plan.properties().partitioning.partition_count()
    }
    assert_eq!(partitions(0).await, 1);
    assert_eq!(partitions(100).await, 1);
    assert_eq!(partitions(150).await, 2);
    // Not proportional to rows: planning is as cheap for 2^60.
    assert_eq!(partitions(1 << 60).await, 3);
}

#[tokio::test]
async fn a_generator_that_makes_the_wrong_number_of_rows_is_caught() {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let own = schema.clone();
    let generator = generator_fn(schema, move |rows, _| {
        let values = Int64Array::from_iter_values(rows.skip(1).map(|row| row as i64));
        Ok(RecordBatch::try_new(own.clone(), vec![Arc::new(values)])?)
    });
    let source = GeneratorSource::new("g", generator, 1);
    let error = query(over(source, 0, 10).provider(), "SELECT * FROM t")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("made 9 rows"), "{error}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_split_of_a_range_of_rows_gives_the_same_rows(
        start in 0u64..1 << 40,
        mut cuts in prop::collection::vec(0u64..2_000, 1..6),
    ) {
        cuts.sort_unstable();
        let end = start + cuts.last().copied().unwrap_or(0);
        let found = runtime().block_on(async {
            let (source, _) = rate(7);
            let stream = over(source.with_start_micros(0), 0, 0);
            let mut parts = Vec::new();
            let mut at = start;
            for cut in cuts {
                stream.set_range(OffsetRange::new(Offset::Rows(at), Offset::Rows(start + cut)));
                parts.extend(query(stream.provider(), "SELECT * FROM t").await.unwrap());
                at = start + cut;
            }
            stream.set_range(OffsetRange::new(Offset::Rows(start), Offset::Rows(end)));
            (rows(&parts), rows(&query(stream.provider(), "SELECT * FROM t").await.unwrap()))
        });
        prop_assert_eq!(found.0, found.1);
    }

    #[test]
    fn any_split_of_files_and_of_lines_gives_the_same_rows(
        files in prop::collection::vec(0usize..400, 1..8),
        cut in 0u64..8,
        csv in any::<bool>(),
        newline_at_end in any::<bool>(),
    ) {
        let (_dir, path, place) = scratch();
        let mut id = 0;
        for (number, count) in files.iter().enumerate() {
            let mut lines = if csv { vec!["id,name".to_owned()] } else { vec![] };
            for _ in 0..*count {
                // Of very different lengths, some over several lines.
                let text = "é\n".repeat(id % 90);
                lines.push(match csv {
                    true => format!("{id},\"{text}\""),
                    false => serde_json::json!({"id": id, "name": text}).to_string(),
                });
                id += 1;
            }
            let end = if newline_at_end { "\n" } else { "" };
            write(&path.join(number.to_string()), lines.join("\n") + end);
        }
        let format = if csv { "csv" } else { "json" };
        let options = [("path", place.as_str()), ("format", format)];
        let table = table("filesystem", &id_and_name(), &options).unwrap();
        let found = runtime().block_on(async {
            let source = table.open_source().unwrap();
            let latest = source.latest_offset().await.unwrap();
            let middle = Offset::Files(cut.min(latest.position()));
            let stream = Arc::new(StreamTable::new(source, None));
            let mut all = Vec::new();
            for (start, end) in [(Offset::Files(0), middle), (middle, latest)] {
                stream.set_range(OffsetRange::new(start, end));
                let sql = "SELECT id, length(name) FROM t";
                all.extend(query(stream.provider(), sql).await.unwrap());
            }
            rows(&all)
        });
        let mut expected: Vec<_> = (0..id)
            // CSV has no way to tell an empty text from NULL.
            .map(|id| match csv && id % 90 == 0 {
                true => format!("{id}|NULL"),
                false => format!("{id}|{}", id % 90 * 2),
            })
            .collect();
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}
