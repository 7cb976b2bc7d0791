//! Sources: what a stream job reads, as bounded plans over offset ranges.
//!
//! A source says what is there ([`Source::latest_offset`]) and plans any range of it
//! ([`Source::plan`]); it never runs on its own. Each stream job opens a source of its own, so that two
//! jobs over one table have independent positions; [`StreamTable`] is the table their queries see.

mod files;
mod generator;
mod listing;
mod nexmark;
mod place;
mod rate;
mod scan;
mod socket;
mod table;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::StreamError;
use crate::offset::{Limits, Offset, OffsetRange};

pub use files::{FileSource, FileTable};
pub(crate) use generator::marked;
pub use generator::{
    Clock, GeneratorSource, GeneratorTable, RowGenerator, RowTimes, SystemClock, generator_fn,
};
pub use listing::FileEntry;
pub(crate) use listing::{data_files, is_hidden};
pub use nexmark::{
    DEFAULT_EVENTS_PER_SECOND, DEFAULT_START_NANOS, NexmarkGenerator, NexmarkStart, NexmarkTable,
};
pub(crate) use place::{Access, Place};
pub use rate::RateGenerator;
pub use socket::{SocketOptions, SocketSource};
pub use table::{StreamTable, StreamTableProvider};

/// What a scan asks of a source; the same meaning as in [`datafusion::catalog::TableProvider::scan`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanRequest<'a> {
    /// Columns wanted, as indexes into the schema, in this order; all without it.
    pub projection: Option<&'a Vec<usize>>,
    /// Filters the source may apply early; the query applies them again unless they are exact.
    pub filters: &'a [Expr],
    /// At least this many rows are wanted, if there are as many.
    pub limit: Option<usize>,
}

/// Something that gives rows in ranges of offsets.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync {
    /// The name of the table, for messages.
    fn name(&self) -> &str;

    /// The columns of every plan, before projection.
    fn schema(&self) -> SchemaRef;

    /// Whether the source ends; see [`Source::final_offset`].
    fn is_bounded(&self) -> bool;

    /// The position before the first row.
    fn initial_offset(&self) -> Offset;

    /// The position after what can be read now. Never runs backwards.
    ///
    /// # Errors
    /// [`StreamError::Io`] when the source cannot be looked at.
    async fn latest_offset(&self) -> Result<Offset, StreamError>;

    /// The position where a bounded source ends; `None` for an unbounded source and for a bounded one that
    /// has not been looked at with [`Source::latest_offset`] yet.
    fn final_offset(&self) -> Option<Offset>;

    /// Where a trigger should stop that starts at `start` when there is something up to `latest`.
    fn limit_end(&self, start: &Offset, latest: &Offset, limits: &Limits) -> Offset {
        start.capped(*latest, limits)
    }

    /// Which filters [`Source::plan`] can make use of.
    fn filter_pushdown(&self, filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
        vec![TableProviderFilterPushDown::Unsupported; filters.len()]
    }

    /// A bounded plan that gives exactly the rows of `range`, the same each time it is made and run.
    ///
    /// # Errors
    /// [`StreamError::Offset`] for a range the source does not have, [`StreamError::Io`] and
    /// [`StreamError::Malformed`] when planning has to look into a file.
    async fn plan(
        &self,
        state: &dyn Session,
        range: &OffsetRange,
        request: ScanRequest<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>, StreamError>;

    /// Says that nothing before `end` will be asked for again.
    ///
    /// # Errors
    /// None of the sources here fails; one with a broker behind it may.
    async fn commit(&self, end: &Offset) -> Result<(), StreamError> {
        let _ = end;
        Ok(())
    }

    /// What another process would need, besides the offsets, to plan `range` again; `None` if nothing, or nothing that an
    /// earlier range has not told.
    ///
    /// # Errors
    /// [`StreamError::Offset`] for a range the source does not have.
    fn memo(&self, range: &OffsetRange) -> Result<Option<serde_json::Value>, StreamError> {
        let _ = range;
        Ok(None)
    }

    /// Takes up the memos of all ranges that an earlier process has read, in their order, before anything is read.
    ///
    /// # Errors
    /// [`StreamError::Offset`] for memos of another source.
    fn recall(&self, memos: Vec<serde_json::Value>) -> Result<(), StreamError> {
        let _ = memos;
        Ok(())
    }

    /// Records skipped or set aside so far under `on_error = skip` and `dead_letter`.
    fn malformed_records(&self) -> u64 {
        0
    }
}
