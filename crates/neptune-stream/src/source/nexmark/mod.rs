//! The `nexmark` connector's rows: persons, auctions and bids of an online auction house, as the Nexmark benchmark
//! describes them ("NEXMark: A Benchmark for Queries over Data Streams", Tucker et al.; numbers as in Apache Beam's
//! generator).
//!
//! There is one sequence of events: of 50 in a row the first is a new person, the next 3 are new auctions and
//! 46 are bids. Each table has the events of one kind, so that three tables declared alike belong together. An event is a
//! pure function of its number, column by column, so that any range can be made again and a query pays only for
//! the columns that it reads. A cap on the rows of a micro-batch counts events of all kinds, so that the tables that a query
//! reads stay side by side; 50 of them or a multiple keep them exactly so.

mod bid;
mod draws;
mod events;
mod seller;
mod text;

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::Result;

use crate::source::{RowGenerator, RowTimes};
use events::{Events, Kind};

/// When event 0 happens unless told otherwise: 2015-07-15 00:00:00 UTC, in nanoseconds since the Unix epoch.
pub const DEFAULT_START_NANOS: i64 = 1_436_918_400_000_000_000;

/// Events of all three kinds per second unless told otherwise.
pub const DEFAULT_EVENTS_PER_SECOND: u64 = 10_000;

/// Which events a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NexmarkTable {
    /// People who register: 1 in 50 events.
    Person,
    /// Items put up for auction: 3 in 50 events.
    Auction,
    /// Bids: 46 in 50 events.
    Bid,
}

impl NexmarkTable {
    /// All tables, by name.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("person", Self::Person),
        ("auction", Self::Auction),
        ("bid", Self::Bid),
    ];

    /// Rows of the table among the first `events` events.
    #[must_use]
    pub fn rows_among(self, events: u64) -> u64 {
        self.kind().rows_among(events)
    }

    fn kind(self) -> Kind {
        match self {
            Self::Person => Kind::PERSON,
            Self::Auction => Kind::AUCTION,
            Self::Bid => Kind::BID,
        }
    }

    fn columns(self) -> Vec<(&'static str, DataType)> {
        let time = || DataType::Timestamp(TimeUnit::Nanosecond, None);
        let number = || DataType::Int64;
        let text = || DataType::Utf8View;
        match self {
            Self::Person => vec![
                ("id", number()),
                ("name", text()),
                ("email_address", text()),
                ("credit_card", text()),
                ("city", text()),
                ("state", text()),
                ("date_time", time()),
                ("extra", text()),
            ],
            Self::Auction => vec![
                ("id", number()),
                ("item_name", text()),
                ("description", text()),
                ("initial_bid", number()),
                ("reserve", number()),
                ("date_time", time()),
                ("expires", time()),
                ("seller", number()),
                ("category", number()),
                ("extra", text()),
            ],
            Self::Bid => vec![
                ("auction", number()),
                ("bidder", number()),
                ("price", number()),
                ("channel", text()),
                ("url", text()),
                ("date_time", time()),
                ("extra", text()),
            ],
        }
    }
}

/// When event 0 of a table happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NexmarkStart {
    /// At this time, in nanoseconds since the Unix epoch: the same rows in every run.
    At(i64),
    /// When the job starts, so that events happen as they become available.
    Now,
}

/// One of the tables; [`RowTimes::rows_per_second`] is the rate of all events, those of the other tables included.
#[derive(Debug)]
pub struct NexmarkGenerator {
    table: NexmarkTable,
    start: NexmarkStart,
    schema: SchemaRef,
}

impl NexmarkGenerator {
    /// The generator of `table` with event times from `start` on.
    #[must_use]
    pub fn new(table: NexmarkTable, start: NexmarkStart) -> Self {
        let fields: Vec<_> = table
            .columns()
            .into_iter()
            .map(|(name, kind)| Field::new(name, kind, true))
            .collect();
        Self {
            table,
            start,
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

impl RowGenerator for NexmarkGenerator {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn batch(&self, rows: Range<u64>, times: RowTimes) -> Result<RecordBatch> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        self.project(rows, times, &all)
    }

    fn project(&self, rows: Range<u64>, times: RowTimes, columns: &[usize]) -> Result<RecordBatch> {
        let start_nanos = match self.start {
            NexmarkStart::At(nanos) => nanos,
            NexmarkStart::Now => times.start_micros.saturating_mul(1_000),
        };
        let count = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        let events = Events::new(self.table.kind(), rows, start_nanos, times.rows_per_second)?;
        let schema = Arc::new(self.schema.project(columns)?);
        let arrays = schema.fields().iter().map(|field| {
            let name = field.name().as_str();
            match self.table {
                NexmarkTable::Person => seller::person_column(&events, name),
                NexmarkTable::Auction => seller::auction_column(&events, name),
                NexmarkTable::Bid => bid::column(&events, name),
            }
        });
        let arrays = arrays.collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }

    fn rows_due(&self, intervals: u64) -> u64 {
        self.table.rows_among(intervals)
    }

    fn interval(&self, row: u64) -> u64 {
        self.table.kind().event(row)
    }

    fn chunk_rows(&self) -> usize {
        8192
    }
}
