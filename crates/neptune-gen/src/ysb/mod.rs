//! The Yahoo Streaming Benchmark: people view and click advertisements, and each campaign wants to know how many of its
//! advertisements were viewed in every ten seconds.
//!
//! Event *i* is a pure function of *i*: its advertisement is *i* mod 1000, its type *i* mod 3, and it happens
//! *i* divided by the rate after the start. So any range can be made without the ones before it, and
//! [what the query has to answer](Ysb::expected) is known without running anything. Columns of text are taken from
//! pools made once; they cost a copy of 16 bytes for each row.

mod expected;
mod json;
mod pools;

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, TimestampNanosecondArray, UInt32Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

pub use expected::WindowCount;
use pools::POOLS;

use crate::{GenError, Result};

/// Campaigns there are.
pub const CAMPAIGNS: u64 = 100;

/// Advertisements of each campaign.
pub const ADS_PER_CAMPAIGN: u64 = 10;

/// Advertisements there are.
pub const ADS: u64 = CAMPAIGNS * ADS_PER_CAMPAIGN;

/// Types of events; the first is the one that the query counts.
pub const EVENT_TYPES: [&str; 3] = ["view", "click", "purchase"];

/// Types of advertisements.
pub const AD_TYPES: [&str; 5] = ["banner", "modal", "sponsored-search", "mail", "mobile"];

/// Length of the query's windows, in nanoseconds.
pub const WINDOW_NANOS: i64 = 10_000_000_000;

/// When event 0 happens unless told otherwise: 2026-01-01 00:00:00, in nanoseconds since 1970.
pub const DEFAULT_START_NANOS: i64 = 1_767_225_600_000_000_000;

/// Event numbers are below this, so that nothing overflows.
pub const EVENTS_MAX: u64 = 1 << 60;

/// The most events of one record batch.
pub const BATCH_ROWS_MAX: u64 = 1 << 22;

/// The benchmark's query, over tables `events` and `campaigns`: views by window and campaign, and when the last of them
/// happened. In terms of `tumble`, which streams need.
pub const QUERY: &str = include_str!("query.sql");

/// The same answer in terms that any version of DataFusion understands, over tables that end.
pub const BATCH_QUERY: &str = include_str!("batch_query.sql");

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let fields = [
        ("user_id", DataType::Utf8View),
        ("page_id", DataType::Utf8View),
        ("ad_id", DataType::Utf8View),
        ("ad_type", DataType::Utf8View),
        ("event_type", DataType::Utf8View),
        ("event_time", time),
        ("ip_address", DataType::Utf8View),
    ];
    let fields = fields.map(|(name, kind)| Field::new(name, kind, true));
    Arc::new(Schema::new(fields.to_vec()))
});

/// The columns of an event.
///
/// | column | type | meaning |
/// |---|---|---|
/// | `user_id` | TEXT | who, one of 100 UUIDs |
/// | `page_id` | TEXT | on which page, one of 100 UUIDs |
/// | `ad_id` | TEXT | which advertisement, one of 1000 UUIDs |
/// | `ad_type` | TEXT | one of [`AD_TYPES`] |
/// | `event_type` | TEXT | one of [`EVENT_TYPES`] |
/// | `event_time` | TIMESTAMP | when |
/// | `ip_address` | TEXT | always the same |
pub fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// The table of advertisements (`ad_id`) and the campaigns they belong to (`campaign_id`).
///
/// # Errors
/// If its columns do not make a record batch.
pub fn campaigns() -> Result<RecordBatch> {
    let of_ads = UInt32Array::from_iter_values((0..ADS).map(|ad| (ad / ADS_PER_CAMPAIGN) as u32));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(POOLS.ads.clone()),
        take(&POOLS.campaigns, &of_ads, None)?,
    ];
    let fields = ["ad_id", "campaign_id"].map(|name| Field::new(name, DataType::Utf8View, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// When events happen: everything that they depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ysb {
    /// When event 0 happens, in nanoseconds since 1970.
    pub start_nanos: i64,
    /// Events per second, at least 1.
    pub events_per_second: u64,
}

impl Ysb {
    /// The events of a range of numbers as one record batch of [`schema`].
    ///
    /// # Errors
    /// As [`Ysb::project`].
    pub fn batch(&self, range: Range<u64>) -> Result<RecordBatch> {
        let all: Vec<usize> = (0..SCHEMA.fields().len()).collect();
        self.project(range, &all)
    }

    /// As [`Ysb::batch`], with only the columns `columns`; the others cost nothing.
    ///
    /// # Errors
    /// A range that ends before it starts, after [`EVENTS_MAX`] or after the end of TIMESTAMP, or holds more
    /// than [`BATCH_ROWS_MAX`] events; a column that is not there.
    pub fn project(&self, range: Range<u64>, columns: &[usize]) -> Result<RecordBatch> {
        self.check(&range)?;
        let Range { start, end } = range;
        if end - start > BATCH_ROWS_MAX {
            let reason = "one batch has at most 2^22 events";
            return Err(GenError::BadRange { start, end, reason });
        }
        let schema = Arc::new(SCHEMA.project(columns)?);
        let arrays = columns
            .iter()
            .map(|column| self.column(*column, start..end));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some((end - start) as usize));
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }

    fn column(&self, column: usize, range: Range<u64>) -> Result<ArrayRef> {
        let (pool, number): (_, fn(u64) -> u64) = match column {
            0 => (&POOLS.users, pools::user),
            1 => (&POOLS.pages, pools::page),
            2 => (&POOLS.ads, ad),
            3 => (&POOLS.ad_types, ad_type),
            4 => (&POOLS.event_types, event_type),
            5 => return Ok(self.times(range)),
            _ => (&POOLS.ip_addresses, |_| 0),
        };
        let numbers = UInt32Array::from_iter_values(range.map(|event| number(event) as u32));
        Ok(take(pool, &numbers, None)?)
    }

    fn times(&self, range: Range<u64>) -> ArrayRef {
        let rate = self.events_per_second.max(1);
        let array = if SECOND.is_multiple_of(rate) {
            // Two divisions fewer for each row.
            let (start, gap) = (self.start_nanos, SECOND / rate);
            let times = range.map(|event| start + (event * gap) as i64);
            TimestampNanosecondArray::from_iter_values(times)
        } else {
            TimestampNanosecondArray::from_iter_values(range.map(|event| self.time(event)))
        };
        Arc::new(array)
    }

    /// When event `event`, of a range that was checked, happens.
    fn time(&self, event: u64) -> i64 {
        let rate = u128::from(self.events_per_second.max(1));
        let since = u128::from(event) * u128::from(SECOND) / rate;
        self.start_nanos.saturating_add_unsigned(since as u64)
    }

    fn check(&self, range: &Range<u64>) -> Result<()> {
        let Range { start, end } = *range;
        let refused = |reason| Err(GenError::BadRange { start, end, reason });
        if start > end {
            return refused("it ends before it starts");
        }
        if end > EVENTS_MAX {
            return refused("event numbers end at 2^60");
        }
        let rate = u128::from(self.events_per_second.max(1));
        let since = u128::from(end) * u128::from(SECOND) / rate;
        let fits =
            i64::try_from(since).is_ok_and(|since| since < i64::MAX - self.start_nanos.max(0));
        match fits {
            true => Ok(()),
            false => refused("its event times are beyond the range of TIMESTAMP"),
        }
    }
}

const SECOND: u64 = 1_000_000_000;

/// The advertisement of an event.
fn ad(event: u64) -> u64 {
    event % ADS
}

fn ad_type(event: u64) -> u64 {
    event % AD_TYPES.len() as u64
}

fn event_type(event: u64) -> u64 {
    event % EVENT_TYPES.len() as u64
}
