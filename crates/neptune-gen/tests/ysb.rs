//! The benchmark's events: determinism, ranges, the JSON form, and the query's answer against the oracle's.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Int64Type, TimestampNanosecondType};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use neptune_gen::GenError;
use neptune_gen::ysb::{
    ADS, BATCH_QUERY, BATCH_ROWS_MAX, CAMPAIGNS, DEFAULT_START_NANOS, EVENTS_MAX, WINDOW_NANOS,
    WindowCount, Ysb, campaigns, schema,
};
use proptest::prelude::*;

const YSB: Ysb = Ysb {
    start_nanos: DEFAULT_START_NANOS,
    events_per_second: 1_000,
};

fn texts(batch: &RecordBatch, column: usize) -> Vec<String> {
    let column = batch.column(column);
    let values = (0..batch.num_rows()).map(|row| array_value_to_string(column, row).unwrap());
    values.collect()
}

fn distinct(mut texts: Vec<String>) -> usize {
    texts.sort();
    texts.dedup();
    texts.len()
}

/// What DataFusion answers over the events of a batch.
async fn answered(events: RecordBatch) -> Vec<WindowCount> {
    let context = SessionContext::new();
    for (name, batch) in [("events", events), ("campaigns", campaigns().unwrap())] {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
    let rows = context
        .sql(BATCH_QUERY)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let mut found = Vec::new();
    for batch in &rows {
        let time = |column: usize| {
            batch
                .column(column)
                .as_primitive::<TimestampNanosecondType>()
        };
        let views = batch.column(2).as_primitive::<Int64Type>();
        for (row, campaign_id) in texts(batch, 1).into_iter().enumerate() {
            found.push(WindowCount {
                window_start_nanos: time(0).value(row),
                campaign_id,
                views: views.value(row) as u64,
                last_view_nanos: time(3).value(row),
            });
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn the_query_answers_what_the_oracle_says() {
    for (start_nanos, events_per_second, range) in [
        (DEFAULT_START_NANOS, 1_000, 0..50_000),
        (DEFAULT_START_NANOS + 3_141_592_653, 7_777, 12_345..200_001),
        (-5_000_000_001, 333, 1..9_999),
        (0, 1, 100..131),
        (0, 1_000_000, 5..9),
    ] {
        let ysb = Ysb {
            start_nanos,
            events_per_second,
        };
        let mut expected = ysb.expected(range.clone()).unwrap();
        expected.sort();
        let found = answered(ysb.batch(range.clone()).unwrap()).await;
        assert_eq!(found, expected, "{ysb:?} {range:?}");
        assert!(!found.is_empty());
    }
}

#[test]
fn events_have_the_types_and_ids_of_the_benchmark() {
    let batch = YSB.batch(0..30_000).unwrap();
    assert_eq!(batch.schema(), schema());
    let counts: Vec<_> = (0..5)
        .map(|column| distinct(texts(&batch, column)))
        .collect();
    assert_eq!(counts, [100, 100, ADS as usize, 5, 3]);
    let ids = texts(&batch, 2);
    for id in &ids[..ADS as usize] {
        let parts: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert!(
            id.chars().all(|c| c == '-' || c.is_ascii_hexdigit()),
            "{id}"
        );
        assert_eq!(&id[14..15], "4", "version of {id}");
    }
    let campaigns = campaigns().unwrap();
    assert_eq!(texts(&campaigns, 0), ids[..ADS as usize]);
    assert_eq!(distinct(texts(&campaigns, 1)), CAMPAIGNS as usize);
    let views = texts(&batch, 4);
    assert_eq!(views[..4], ["view", "click", "purchase", "view"]);
    let times = batch.column(5).as_primitive::<TimestampNanosecondType>();
    assert_eq!(times.value(1_500) - DEFAULT_START_NANOS, 1_500_000_000);
}

#[test]
fn the_json_form_reads_back_as_the_same_events() {
    for (start_nanos, events_per_second) in [(DEFAULT_START_NANOS, 7), (-1_500_000_000, 1_000)] {
        let ysb = Ysb {
            start_nanos,
            events_per_second,
        };
        let mut lines = Vec::new();
        ysb.write_json(990..1_400, &mut lines).unwrap();
        ysb.write_json(1_400..3_100, &mut lines).unwrap();
        let reader = ReaderBuilder::new(schema())
            .build(Cursor::new(lines))
            .unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        let read = concat_batches(&schema(), &batches).unwrap();
        assert_eq!(read, ysb.batch(990..3_100).unwrap());
    }
}

#[test]
fn ranges_that_cannot_be_made_are_refused() {
    let far = Ysb {
        start_nanos: i64::MAX - 1_000,
        events_per_second: 1,
    };
    let slow = Ysb {
        events_per_second: 1,
        ..YSB
    };
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "that it is refused is the point"
    )]
    for (ysb, range, said) in [
        (YSB, 5..4, "ends before it starts"),
        (YSB, 0..BATCH_ROWS_MAX + 1, "at most 2^22"),
        (YSB, EVENTS_MAX..EVENTS_MAX + 1, "end at 2^60"),
        (
            slow,
            1 << 40..(1 << 40) + 1,
            "beyond the range of TIMESTAMP",
        ),
        (far, 0..10, "beyond the range of TIMESTAMP"),
    ] {
        let error = ysb.batch(range).unwrap_err();
        assert!(matches!(error, GenError::BadRange { .. }));
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(YSB.project(0..1, &[7]).is_err());
    // Only one batch is limited, neither the text nor the oracle.
    let windows = YSB.expected(0..BATCH_ROWS_MAX * 4).unwrap().len() as u64;
    let seconds = BATCH_ROWS_MAX * 4 / YSB.events_per_second;
    assert_eq!(windows, (seconds / 10 + 1) * CAMPAIGNS);
}

proptest! {
    #[test]
    fn ranges_join_without_a_seam_and_columns_do_not_depend_on_others(
        start in 0_u64..1 << 50,
        first in 0_u64..300,
        second in 0_u64..300,
        rate in 1_000_000_u64..5_000_000,
        columns in prop::collection::vec(0_usize..7, 0..5),
    ) {
        let ysb = Ysb { start_nanos: DEFAULT_START_NANOS, events_per_second: rate };
        let (middle, end) = (start + first, start + first + second);
        let whole = ysb.batch(start..end).unwrap();
        let parts = [ysb.batch(start..middle).unwrap(), ysb.batch(middle..end).unwrap()];
        prop_assert_eq!(&concat_batches(&schema(), &parts).unwrap(), &whole);
        let some = ysb.project(start..end, &columns).unwrap();
        prop_assert_eq!(some, whole.project(&columns).unwrap());
    }

    #[test]
    fn the_oracle_of_a_range_is_the_sum_of_its_parts(
        start in 0_u64..1 << 40,
        first in 0_u64..200_000,
        second in 0_u64..200_000,
        rate in 1_u64..100_000,
    ) {
        let ysb = Ysb { start_nanos: -7, events_per_second: rate };
        let (middle, end) = (start + first, start + first + second);
        prop_assume!((end / rate) < 4_000_000_000);
        let mut sums: BTreeMap<(i64, String), (u64, i64)> = BTreeMap::new();
        for range in [start..middle, middle..end] {
            for row in ysb.expected(range).unwrap() {
                prop_assert_eq!(row.window_start_nanos % WINDOW_NANOS, 0);
                let sum = sums.entry((row.window_start_nanos, row.campaign_id)).or_default();
                *sum = (sum.0 + row.views, row.last_view_nanos);
            }
        }
        let whole = ysb.expected(start..end).unwrap();
        prop_assert_eq!(whole.len(), sums.len());
        for row in whole {
            let sum = sums[&(row.window_start_nanos, row.campaign_id)];
            prop_assert_eq!((row.views, row.last_view_nanos), sum);
        }
    }
}
