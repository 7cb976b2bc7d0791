//! Connector `nexmark`: three tables over one sequence of events, of the benchmark's proportions and ranges.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Int64Type, TimestampNanosecondType};
use datafusion::arrow::util::display::array_value_to_string;
use neptune_stream::source::{
    DEFAULT_START_NANOS, GeneratorSource, NexmarkGenerator, NexmarkStart, NexmarkTable,
    RowGenerator, RowTimes, Source,
};
use neptune_stream::{Limits, Offset};
use proptest::prelude::*;

use crate::helpers::{ManualClock, numbers, query, table};

const TIMES: RowTimes = RowTimes {
    start_micros: 77,
    rows_per_second: 10_000,
};

fn generator(table: NexmarkTable) -> NexmarkGenerator {
    NexmarkGenerator::new(table, NexmarkStart::At(0))
}

/// All columns of the rows among the first `events` events.
fn rows(table: NexmarkTable, events: u64) -> RecordBatch {
    let rows = 0..table.rows_among(events);
    generator(table).batch(rows, TIMES).unwrap()
}

fn longs(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let column = batch.column_by_name(name).unwrap();
    column.as_primitive::<Int64Type>().values().to_vec()
}

fn times(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let column = batch.column_by_name(name).unwrap();
    let column = column.as_primitive::<TimestampNanosecondType>();
    column.values().to_vec()
}

fn lengths(batch: &RecordBatch, name: &str) -> (usize, usize, f64) {
    let column = batch.column_by_name(name).unwrap();
    let lengths: Vec<usize> = (0..batch.num_rows())
        .map(|row| array_value_to_string(column, row).unwrap().len())
        .collect();
    let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
    (
        *lengths.iter().min().unwrap(),
        *lengths.iter().max().unwrap(),
        mean,
    )
}

/// The share of `values` for which something holds.
fn share<T>(values: &[T], holds: impl Fn(usize, &T) -> bool) -> f64 {
    let held = values.iter().enumerate().filter(|(row, v)| holds(*row, v));
    held.count() as f64 / values.len() as f64
}

#[test]
fn the_three_tables_have_one_three_and_forty_six_of_fifty_events() {
    let [persons, auctions, bids] = NexmarkTable::NAMES.map(|(_, table)| rows(table, 50_000));
    assert_eq!(
        (persons.num_rows(), auctions.num_rows(), bids.num_rows()),
        (1_000, 3_000, 46_000)
    );
    // Each event has a time of its own, 100 µs after the one before.
    let mut all = [&persons, &auctions, &bids]
        .map(|batch| times(batch, "date_time"))
        .concat();
    all.sort_unstable();
    let expected: Vec<i64> = (0..50_000).map(|event| event * 100_000).collect();
    assert_eq!(all, expected);
    for batch in [&persons, &auctions] {
        let expected: Vec<i64> = (1_000..1_000 + batch.num_rows() as i64).collect();
        assert_eq!(longs(batch, "id"), expected, "without gaps");
    }
}

#[test]
fn bids_are_for_those_around_and_half_of_them_for_the_hot() {
    let bids = rows(NexmarkTable::Bid, 500_000);
    let (auctions, bidders) = (longs(&bids, "auction"), longs(&bids, "bidder"));
    // How many there are when bid `row` is made.
    let persons = |row: usize| (row / 46 + 1) as i64;
    for (row, (auction, bidder)) in auctions.iter().zip(&bidders).enumerate() {
        let last = 1_000 + 3 * persons(row) - 1;
        let hot = auction % 100 == 0 && last - auction < 100;
        assert!(
            hot || (last - 100..=last + 10).contains(auction),
            "row {row}: {auction}"
        );
        let newest = 1_000 + persons(row) - 1;
        assert!(
            (newest - 1_000..=newest + 10).contains(bidder),
            "row {row}: {bidder}"
        );
    }
    let hot_auctions = share(&auctions, |row, auction| {
        *auction == (3 * persons(row) - 1) / 100 * 100 + 1_000
    });
    // One in about 110 of the others hits it by chance.
    assert!((0.49..0.52).contains(&hot_auctions), "{hot_auctions}");
    let hot_bidders = share(&bidders, |row, bidder| {
        *bidder == (persons(row) - 1) / 100 * 100 + 1_001
    });
    assert!((0.74..0.76).contains(&hot_bidders), "{hot_bidders}");

    let channels = bids.column_by_name("channel").unwrap();
    let channels: Vec<String> = (0..bids.num_rows())
        .map(|row| array_value_to_string(channels, row).unwrap())
        .collect();
    let hot = share(&channels, |_, channel| !channel.starts_with("channel-"));
    assert!((0.49..0.51).contains(&hot), "{hot}");
    let urls = bids.column_by_name("url").unwrap();
    let named = share(&channels, |row, channel| {
        let url = array_value_to_string(urls, row).unwrap();
        assert!(url.starts_with("https://www.nexmark.com/") && url.matches('/').count() == 6);
        let named = url.contains("&channel_id=");
        assert!(!named || channel.starts_with("channel-"), "{channel} {url}");
        named
    });
    assert!(
        (0.44..0.46).contains(&named),
        "nine in ten of one half: {named}"
    );
    let prices = longs(&bids, "price");
    assert!(
        prices
            .iter()
            .all(|price| (100..=100_000_000).contains(price))
    );
    let cheap = share(&prices, |_, price| *price < 10_000);
    assert!((0.32..0.35).contains(&cheap), "two decades of six: {cheap}");
    let (least, most, mean) = lengths(&bids, "extra");
    assert!(
        least >= 54 && most <= 82 && (66.0..70.0).contains(&mean),
        "{least} {most} {mean}"
    );
}

#[test]
fn persons_and_auctions_are_within_the_ranges_of_the_benchmark() {
    let auctions = rows(NexmarkTable::Auction, 500_000);
    let opened = times(&auctions, "date_time");
    let lasts: Vec<i64> = times(&auctions, "expires")
        .iter()
        .zip(&opened)
        .map(|(end, start)| end - start)
        .collect();
    // Until a hundred auctions more are open, on average.
    let horizon = 1_666 * 100_000;
    assert!(
        lasts
            .iter()
            .all(|last| (1_000_000..=1_000_000 + 2 * horizon).contains(last))
    );
    let mean = lasts.iter().sum::<i64>() / lasts.len() as i64;
    assert!(
        (horizon * 9 / 10..horizon * 11 / 10).contains(&mean),
        "{mean}"
    );
    let categories = longs(&auctions, "category");
    for category in 10..15 {
        let of_it = share(&categories, |_, c| *c == category);
        assert!((0.18..0.22).contains(&of_it), "{category}: {of_it}");
    }
    let (first, reserve) = (longs(&auctions, "initial_bid"), longs(&auctions, "reserve"));
    assert!(
        first
            .iter()
            .zip(&reserve)
            .all(|(first, reserve)| first + 100 <= *reserve)
    );
    let sellers = longs(&auctions, "seller");
    let hot = share(&sellers, |row, seller| {
        *seller == row as i64 / 3 / 100 * 100 + 1_000
    });
    assert!((0.74..0.77).contains(&hot), "{hot}");
    assert_eq!(lengths(&auctions, "item_name"), (20, 20, 20.0));
    assert_eq!(lengths(&auctions, "description"), (100, 100, 100.0));
    let (least, most, mean) = lengths(&auctions, "extra");
    assert!(
        least >= 266 && most <= 397 && (328.0..336.0).contains(&mean),
        "{least} {most} {mean}"
    );

    let persons = rows(NexmarkTable::Person, 500_000);
    assert_eq!(lengths(&persons, "credit_card"), (19, 19, 19.0));
    assert_eq!(lengths(&persons, "email_address"), (17, 17, 17.0));
    assert_eq!(lengths(&persons, "state"), (2, 2, 2.0));
}

#[tokio::test]
async fn rows_come_with_the_events_that_come() {
    let clock = Arc::new(ManualClock::default());
    for (name, kind) in NexmarkTable::NAMES {
        clock.0.store(0, Ordering::SeqCst);
        let generator = Arc::new(NexmarkGenerator::new(kind, NexmarkStart::Now));
        let source = GeneratorSource::new(name, generator, 1_000).with_clock(clock.clone());
        assert_eq!(
            source.latest_offset().await.unwrap(),
            Offset::Rows(0),
            "{name}"
        );
        clock.0.store(1_004_000, Ordering::SeqCst);
        let expected = kind.rows_among(1_004);
        assert_eq!(
            source.latest_offset().await.unwrap(),
            Offset::Rows(expected),
            "{name}"
        );
    }
    let of_1004 = NexmarkTable::NAMES.map(|(_, kind)| kind.rows_among(1_004));
    assert_eq!(of_1004, [21, 63, 920]);
    // Events that happen now happen when they are due.
    let generator = NexmarkGenerator::new(NexmarkTable::Bid, NexmarkStart::Now);
    let first = generator.project(0..1, TIMES, &[5]).unwrap();
    assert_eq!(times(&first, "date_time"), [TIMES.due_nanos(4)]);
}

#[test]
fn micro_batches_of_the_three_tables_stay_side_by_side() {
    for (most, aligned) in [
        (1_000, true),
        (50, true),
        (120, false),
        (7, false),
        (1, false),
    ] {
        let limits = Limits {
            max_rows: Some(most),
            max_files: None,
        };
        let mut at = [Offset::Rows(0); 3];
        for step in 1..200 {
            let mut events = [0; 3];
            for (place, (name, kind)) in NexmarkTable::NAMES.into_iter().enumerate() {
                let source = GeneratorSource::new(name, Arc::new(generator(kind)), 1);
                let end = source.limit_end(&at[place], &Offset::Rows(u64::MAX), &limits);
                assert!(end.position() > at[place].position(), "{name} stands still");
                at[place] = end;
                // Tables are side by side up to where the next row of each is.
                events[place] = generator(kind).interval(end.position());
            }
            if aligned {
                assert!(
                    events.iter().all(|event| event - most * step < 50),
                    "{most}: {events:?}"
                );
            }
        }
    }
    let limits = Limits {
        max_rows: Some(1_000),
        max_files: None,
    };
    let source = GeneratorSource::new("bid", Arc::new(generator(NexmarkTable::Bid)), 1);
    let end = source.limit_end(&Offset::Rows(46), &Offset::Rows(50), &limits);
    assert_eq!(end, Offset::Rows(50), "not beyond what is there");
}

#[tokio::test]
async fn declared_tables_are_bounded_by_events_and_start_where_they_are_told() {
    for (options, rows, first) in [
        (
            vec![("table", "bid"), ("events", "1000")],
            920,
            DEFAULT_START_NANOS + 400_000,
        ),
        (
            vec![
                ("nexmark.table.type", "Auction"),
                ("nexmark.event.num", "102"),
            ],
            7,
            DEFAULT_START_NANOS + 100_000,
        ),
        (
            vec![
                ("table", "PERSON"),
                ("events", "1"),
                ("start", "1970-01-01 00:00:01"),
                ("events_per_second", "3"),
            ],
            1,
            1_000_000_000,
        ),
    ] {
        let declared = table("nexmark", &[], &options).unwrap();
        let found = query(
            declared.batch_table().unwrap(),
            "SELECT count(*), min(date_time) FROM t",
        );
        let found = found.await.unwrap();
        assert_eq!(numbers(&found), [rows], "{options:?}");
        let at = found[0].column(1).as_primitive::<TimestampNanosecondType>();
        assert_eq!(at.value(0), first, "{options:?}");
        let source = declared.open_source().unwrap();
        assert_eq!(source.final_offset(), Some(Offset::Rows(rows as u64)));
    }
    // What is not paced is all there at once.
    let options = [("table", "bid"), ("events", "50000000"), ("paced", "false")];
    let source = table("nexmark", &[], &options)
        .unwrap()
        .open_source()
        .unwrap();
    assert_eq!(
        source.latest_offset().await.unwrap(),
        Offset::Rows(46_000_000)
    );
    let endless = table("nexmark", &[], &[("table", "bid")]).unwrap();
    assert!(!endless.capabilities().bounded);
    let error = endless.batch_table().unwrap_err().to_string();
    assert!(error.contains("no end"), "{error}");
}

#[test]
fn wrong_declarations_are_refused() {
    let long = DataType::Int64;
    for (columns, options, said) in [
        (
            vec![],
            vec![],
            "needs option 'table': write table = 'person', 'auction' or 'bid'",
        ),
        (
            vec![],
            vec![("table", "bids")],
            "use one of 'person', 'auction', 'bid'",
        ),
        (
            vec![],
            vec![("table", "bid"), ("nexmark.table.type", "Bid")],
            "it means the same as 'table'",
        ),
        (
            vec![],
            vec![("table", "bid"), ("events", "many")],
            "a whole number",
        ),
        (
            vec![],
            vec![("table", "bid"), ("events_per_second", "0")],
            "at least 1",
        ),
        (
            vec![],
            vec![("table", "bid"), ("start", "soon")],
            "write 'now' or a time",
        ),
        (
            vec![],
            vec![("table", "bid"), ("paced", "false")],
            "needs option 'events'",
        ),
        (
            vec![],
            vec![
                ("table", "bid"),
                ("paced", "false"),
                ("events", "9"),
                ("start", "now"),
            ],
            "leave out paced",
        ),
        (
            vec![],
            vec![("table", "bid"), ("rows", "9")],
            "has no option 'rows'",
        ),
        (
            vec![],
            vec![("table", "bid"), ("type", "sink")],
            "use one of 'source'",
        ),
        (
            vec![("auction", long)],
            vec![("table", "bid")],
            "has the columns (auction Int64, bidder Int64",
        ),
    ] {
        let error = table("nexmark", &columns, &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{options:?}: {error}");
    }
}

#[test]
fn events_beyond_the_end_of_time_are_refused() {
    let slow = RowTimes {
        rows_per_second: 1,
        ..TIMES
    };
    for (_, kind) in NexmarkTable::NAMES {
        let far = 1 << 50;
        let error = generator(kind)
            .batch(far..far + 1, slow)
            .unwrap_err()
            .to_string();
        assert!(error.contains("beyond the range of TIMESTAMP"), "{error}");
    }
}

proptest! {
    #[test]
    fn ranges_join_without_a_seam_and_columns_do_not_depend_on_others(
        which in 0_usize..3,
        start in 0_u64..1 << 40,
        first in 0_u64..300,
        second in 0_u64..300,
        rate in prop_oneof![Just(10_000_000_u64), 3_000_u64..100_000_000],
        columns in prop::collection::vec(0_usize..7, 0..5),
    ) {
        let generator = generator(NexmarkTable::NAMES[which].1);
        let times = RowTimes { start_micros: 0, rows_per_second: rate };
        let (middle, end) = (start + first, start + first + second);
        let whole = generator.batch(start..end, times).unwrap();
        let parts = [start..middle, middle..end].map(|rows| generator.batch(rows, times).unwrap());
        prop_assert_eq!(&concat_batches(&generator.schema(), &parts).unwrap(), &whole);
        let some = generator.project(start..end, times, &columns).unwrap();
        prop_assert_eq!(some, whole.project(&columns).unwrap());
    }
}
