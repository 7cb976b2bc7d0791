//! Connector `ysb`: the Yahoo Streaming Benchmark's two tables.
//!
//! `part = 'events'` is the stream of advertisement events, with the options of connector `rate`; they happen as they
//! become available, or from option `start` on. `part = 'campaigns'` is the table of advertisements and campaigns,
//! in memory.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::MemTable;
use neptune_gen::ysb::{Ysb, campaigns, schema};
use neptune_stream::source::{RowGenerator, RowTimes};

use crate::dialect::{DialectError, Options};

/// Which table of the benchmark a table is.
#[derive(Debug)]
pub(crate) enum YsbPart {
    Campaigns,
    /// When event 0 happens, in nanoseconds since 1970; when it is due if that is left out.
    Events {
        start_nanos: Option<i64>,
    },
}

impl YsbPart {
    /// The options of the benchmark's own; the events have those of connector `rate` besides.
    pub(crate) const OPTIONS: [&'static str; 2] = ["part", "start"];

    /// Reads the options that are the benchmark's own.
    pub(crate) fn read(options: &mut Options) -> Result<Self, DialectError> {
        options.required_str("part")?;
        if options.one_of("part", &["events", "campaigns"])? == Some("campaigns") {
            return Ok(Self::Campaigns);
        }
        let start = options.str("start");
        let start = start.filter(|text| !text.eq_ignore_ascii_case("now"));
        let start_nanos = start
            .map(|text| string_to_timestamp_nanos(&text))
            .transpose();
        Ok(Self::Events {
            start_nanos: start_nanos.map_err(|_| {
                options.bad_value(
                    "start",
                    "it must be 'now' or a time such as '2026-01-01 00:00:00'",
                )
            })?,
        })
    }
}

#[derive(Debug)]
struct YsbEvents {
    start_nanos: Option<i64>,
}

impl YsbEvents {
    fn at(&self, times: RowTimes) -> Ysb {
        let due = times.start_micros.saturating_mul(1_000);
        Ysb {
            start_nanos: self.start_nanos.unwrap_or(due),
            events_per_second: times.rows_per_second,
        }
    }
}

fn failed(error: neptune_gen::GenError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl RowGenerator for YsbEvents {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn batch(&self, rows: Range<u64>, times: RowTimes) -> Result<RecordBatch> {
        self.at(times).batch(rows).map_err(failed)
    }

    fn project(&self, rows: Range<u64>, times: RowTimes, columns: &[usize]) -> Result<RecordBatch> {
        self.at(times).project(rows, columns).map_err(failed)
    }

    fn chunk_rows(&self) -> usize {
        8192
    }
}

/// The generator of the events.
pub(crate) fn generator(start_nanos: Option<i64>) -> Arc<dyn RowGenerator> {
    Arc::new(YsbEvents { start_nanos })
}

/// The table of campaigns.
pub(crate) fn campaign_table() -> Result<MemTable> {
    let batch = campaigns().map_err(failed)?;
    MemTable::try_new(batch.schema(), vec![vec![batch]])
}
