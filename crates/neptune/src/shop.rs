//! Connector `shop`: the generated events of the detect example, past and present.
//!
//! `part = 'history'` is a Parquet data set in `path`, generated on first use; `part = 'events'` is the stream of
//! events that follow its last one, without an end unless option `events` says how many. Both have the same rows and
//! seed.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use neptune_gen::shop::{ShopConfig, schema};
use neptune_stream::source::{RowGenerator, RowTimes};

use crate::dialect::{DialectError, Options};

/// Rows of a history unless told otherwise.
const DEFAULT_ROWS: u64 = 20_000_000;

/// Which part of the shop a table is.
#[derive(Debug)]
pub(crate) enum ShopPart {
    History {
        path: PathBuf,
        rows: u64,
        seed: u64,
    },
    /// Event `first` of the shop and those after it: `end` of them, or without an end.
    Events {
        shop: ShopConfig,
        first: u64,
        end: Option<u64>,
    },
}

impl ShopPart {
    /// The options of the shop's own; the live events have those of connector `rate` besides.
    pub(crate) const OPTIONS: [&'static str; 4] = ["part", "rows", "seed", "events"];

    /// Reads the options that are the shop's own; `scale` multiplies its rows.
    pub(crate) fn read(options: &mut Options, scale: f64) -> Result<Self, DialectError> {
        options.required_str("part")?;
        let history = options.one_of("part", &["history", "events"])? == Some("history");
        let rows = options.u64("rows")?.unwrap_or(DEFAULT_ROWS);
        let rows = ((rows as f64 * scale) as u64).max(1);
        let seed = options.u64("seed")?.unwrap_or(7);
        Ok(if history {
            Self::History {
                path: options.required_str("path")?.into(),
                rows,
                seed,
            }
        } else {
            Self::Events {
                shop: ShopConfig::for_history(seed, rows),
                first: rows,
                end: options.u64("events")?,
            }
        })
    }
}

/// The live events: row `n` of the stream is event `first + n` of the shop.
#[derive(Debug)]
struct ShopEvents {
    shop: ShopConfig,
    first: u64,
}

impl RowGenerator for ShopEvents {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn batch(&self, rows: Range<u64>, _: RowTimes) -> Result<RecordBatch> {
        let events = self.first + rows.start..self.first + rows.end;
        self.shop
            .batch(events)
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

/// The generator of the live events after event `first` of the shop.
pub(crate) fn generator(shop: ShopConfig, first: u64) -> Arc<dyn RowGenerator> {
    Arc::new(ShopEvents { shop, first })
}
