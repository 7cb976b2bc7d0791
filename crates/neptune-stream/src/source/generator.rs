//! Sources that compute their rows: row `i` becomes available at a fixed time after the start and is the
//! same whenever it is asked for, so any range can be planned again.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;

use crate::error::StreamError;
use crate::event_time::mark_column;
use crate::offset::{Limits, Offset, OffsetRange};
use crate::scan::{ScanContext, ScanExec, ScanPartition, project, row_statistics};
use crate::source::{ScanRequest, Source};

/// The time by which generators pace themselves.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Microseconds since the Unix epoch; must not run backwards.
    fn now_micros(&self) -> i64;
}

/// Wall-clock time at creation, carried on by the monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    epoch_micros: i64,
}

impl SystemClock {
    /// A clock that shows the wall-clock time now.
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started: Instant::now(),
            epoch_micros: since_epoch
                .map(|d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
                .unwrap_or(0),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_micros(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.epoch_micros.saturating_add(elapsed)
    }
}

/// When the rows of a generator become available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowTimes {
    /// Time zero, in microseconds since the Unix epoch.
    pub start_micros: i64,
    /// Rows that become available per second, at least 1.
    pub rows_per_second: u64,
}

impl RowTimes {
    /// Rows available at `now_micros`.
    pub fn rows_at(&self, now_micros: i64) -> u64 {
        let elapsed = u128::try_from(i128::from(now_micros) - i128::from(self.start_micros));
        let rows = elapsed.unwrap_or(0) * u128::from(self.rows_per_second) / 1_000_000;
        u64::try_from(rows).unwrap_or(u64::MAX)
    }

    /// When the interval of row `row` begins, in nanoseconds since the Unix epoch; the row is available when
    /// the interval ends.
    pub fn due_nanos(&self, row: u64) -> i64 {
        let rate = self.rows_per_second.max(1);
        let (seconds, rest) = (row / rate, row % rate);
        let nanos = match rest.checked_mul(1_000_000_000) {
            Some(product) => product / rate,
            // Below one second, hence within 64 bits.
            None => (u128::from(rest) * 1_000_000_000 / u128::from(rate)) as u64,
        };
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.start_micros
            .saturating_mul(1_000)
            .saturating_add(seconds.saturating_mul(1_000_000_000))
            .saturating_add(nanos as i64)
    }
}

/// Computes rows by number.
pub trait RowGenerator: Send + Sync {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// The rows of `rows`: all columns of [`RowGenerator::schema`], one row per number, depending on nothing
    /// but the arguments.
    ///
    /// # Errors
    /// Whatever keeps the batch from being built.
    fn batch(&self, rows: Range<u64>, times: RowTimes) -> Result<RecordBatch>;

    /// As [`RowGenerator::batch`], with only the columns `columns`; worth overriding where columns are costly.
    ///
    /// # Errors
    /// As [`RowGenerator::batch`].
    fn project(&self, rows: Range<u64>, times: RowTimes, columns: &[usize]) -> Result<RecordBatch> {
        Ok(self.batch(rows, times)?.project(columns)?)
    }

    /// Rows that are there once `intervals` intervals of the rate have passed: as many, unless the rate counts more than
    /// these rows.
    fn rows_due(&self, intervals: u64) -> u64 {
        intervals
    }

    /// Intervals of the rate before the one that brings row `row`: the other way round than [`RowGenerator::rows_due`].
    fn interval(&self, row: u64) -> u64 {
        row
    }

    /// Rows to make at a time; fewer for rows that are costly, so that a task can be suspended in between.
    fn chunk_rows(&self) -> usize {
        2048
    }
}

/// A generator from a closure.
pub fn generator_fn<F>(schema: SchemaRef, make: F) -> Arc<dyn RowGenerator>
where
    F: Fn(Range<u64>, RowTimes) -> Result<RecordBatch> + Send + Sync + 'static,
{
    Arc::new(FnGenerator { schema, make })
}

/// `generator` with its column `column` marked as event time.
pub(crate) fn marked(generator: Arc<dyn RowGenerator>, column: &str) -> Arc<dyn RowGenerator> {
    let schema = mark_column(&generator.schema(), column);
    Arc::new(Marked { schema, generator })
}

struct Marked {
    schema: SchemaRef,
    generator: Arc<dyn RowGenerator>,
}

impl RowGenerator for Marked {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn batch(&self, rows: Range<u64>, times: RowTimes) -> Result<RecordBatch> {
        self.generator.batch(rows, times)
    }

    fn project(&self, rows: Range<u64>, times: RowTimes, columns: &[usize]) -> Result<RecordBatch> {
        self.generator.project(rows, times, columns)
    }

    fn chunk_rows(&self) -> usize {
        self.generator.chunk_rows()
    }
}

struct FnGenerator<F> {
    schema: SchemaRef,
    make: F,
}

impl<F> RowGenerator for FnGenerator<F>
where
    F: Fn(Range<u64>, RowTimes) -> Result<RecordBatch> + Send + Sync,
{
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn batch(&self, rows: Range<u64>, times: RowTimes) -> Result<RecordBatch> {
        (self.make)(rows, times)
    }
}

/// A [`RowGenerator`] paced by a clock: after `t` seconds, `floor(t * rows_per_second)` rows (or
/// [intervals](RowGenerator::rows_due)) are there. One that is not paced has all its rows at once.
///
/// Time starts when the source is first asked for its latest offset.
pub struct GeneratorSource {
    name: String,
    generator: Arc<dyn RowGenerator>,
    rows_per_second: u64,
    rows: Option<u64>,
    paced: bool,
    clock: Arc<dyn Clock>,
    start_micros: OnceLock<i64>,
}

impl fmt::Debug for GeneratorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratorSource")
            .field("name", &self.name)
            .field("rows_per_second", &self.rows_per_second)
            .field("rows", &self.rows)
            .field("start_micros", &self.start_micros.get())
            .finish_non_exhaustive()
    }
}

impl GeneratorSource {
    /// An endless source of `rows_per_second` (at least 1) rows each second.
    pub fn new(
        name: impl Into<String>,
        generator: Arc<dyn RowGenerator>,
        rows_per_second: u64,
    ) -> Self {
        Self {
            name: name.into(),
            generator,
            rows_per_second: rows_per_second.max(1),
            rows: None,
            paced: true,
            clock: Arc::new(SystemClock::new()),
            start_micros: OnceLock::new(),
        }
    }

    /// Ends after `rows` rows.
    #[must_use]
    pub fn with_rows(mut self, rows: Option<u64>) -> Self {
        self.rows = rows;
        self
    }

    /// Has all rows at once, unless `paced`; makes no difference to a source without an end.
    #[must_use]
    pub fn with_pace(mut self, paced: bool) -> Self {
        self.paced = paced;
        self
    }

    /// Paced by `clock` instead of the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts (or has started) at this time, in microseconds since the Unix epoch.
    #[must_use]
    pub fn with_start_micros(mut self, start_micros: i64) -> Self {
        self.start_micros = OnceLock::from(start_micros);
        self
    }

    /// When rows become available; starts the clock if it has not been started.
    pub fn times(&self) -> RowTimes {
        RowTimes {
            start_micros: *self.start_micros.get_or_init(|| self.clock.now_micros()),
            rows_per_second: self.rows_per_second,
        }
    }
}

#[async_trait]
impl Source for GeneratorSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema(&self) -> SchemaRef {
        self.generator.schema()
    }

    fn is_bounded(&self) -> bool {
        self.rows.is_some()
    }

    fn initial_offset(&self) -> Offset {
        Offset::Rows(0)
    }

    async fn latest_offset(&self) -> Result<Offset, StreamError> {
        // Also starts the clock of a source that is not paced: rows may be made from it.
        let due = self.times().rows_at(self.clock.now_micros());
        let due = self.generator.rows_due(due);
        Ok(Offset::Rows(match self.rows {
            Some(rows) if !self.paced => rows,
            Some(rows) => due.min(rows),
            None => due,
        }))
    }

    fn final_offset(&self) -> Option<Offset> {
        self.rows.map(Offset::Rows)
    }

    /// When it began: the times of its rows follow from that.
    fn memo(&self, range: &OffsetRange) -> Result<Option<serde_json::Value>, StreamError> {
        let is_first = range.start == self.initial_offset() && !range.is_empty();
        Ok(is_first.then(|| self.times().start_micros.into()))
    }

    fn recall(&self, memos: Vec<serde_json::Value>) -> Result<(), StreamError> {
        for memo in memos {
            let start = memo.as_i64().ok_or_else(|| StreamError::Offset {
                name: self.name.clone(),
                reason: format!(
                    "it cannot have begun at '{memo}': the checkpoint is of another source"
                ),
            })?;
            // Known already only if it has begun in this process, at the same time.
            let _ = self.start_micros.set(start);
        }
        Ok(())
    }

    /// A cap on rows counts intervals, so that generators of the same events stay side by side.
    fn limit_end(&self, start: &Offset, latest: &Offset, limits: &Limits) -> Offset {
        let (Offset::Rows(row), Some(most)) = (*start, limits.max_rows) else {
            return start.capped(*latest, limits);
        };
        let intervals = self.generator.interval(row).saturating_add(most.max(1));
        let end = self.generator.rows_due(intervals);
        match latest {
            Offset::Rows(latest) => Offset::Rows(end.min(*latest).max(row)),
            _ => *latest,
        }
    }

    async fn plan(
        &self,
        state: &dyn Session,
        range: &OffsetRange,
        request: ScanRequest<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>, StreamError> {
        let rows = range.rows(&self.name)?;
        Ok(plan_rows(
            &self.name,
            &self.generator,
            self.times(),
            rows,
            state,
            request,
        )?)
    }
}

/// All rows of a bounded generator at once, as batch jobs read it.
pub struct GeneratorTable {
    name: String,
    generator: Arc<dyn RowGenerator>,
    rows: u64,
    times: RowTimes,
}

impl fmt::Debug for GeneratorTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratorTable")
            .field("name", &self.name)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl GeneratorTable {
    /// Rows `0..rows` of `generator`.
    pub fn new(
        name: impl Into<String>,
        generator: Arc<dyn RowGenerator>,
        rows: u64,
        times: RowTimes,
    ) -> Self {
        Self {
            name: name.into(),
            generator,
            rows,
            times,
        }
    }
}

#[async_trait]
impl TableProvider for GeneratorTable {
    fn schema(&self) -> SchemaRef {
        self.generator.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let request = ScanRequest {
            projection,
            filters,
            limit,
        };
        plan_rows(
            &self.name,
            &self.generator,
            self.times,
            0..self.rows,
            state,
            request,
        )
    }
}

/// Plans `rows` in as many partitions as are worth it: each has at least one full batch.
fn plan_rows(
    name: &str,
    generator: &Arc<dyn RowGenerator>,
    times: RowTimes,
    rows: Range<u64>,
    state: &dyn Session,
    request: ScanRequest<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = project(&generator.schema(), request.projection)?;
    let count = rows.end - rows.start;
    let batches = count.div_ceil(state.config().batch_size().max(1) as u64);
    let partitions = batches.min(state.config().target_partitions().max(1) as u64);
    let partitions = (0..partitions)
        .map(|index| {
            let cut = |at: u64| {
                // In 128 bits: the product may exceed 64.
                let part = u128::from(count) * u128::from(at) / u128::from(partitions);
                rows.start + u64::try_from(part).unwrap_or(count)
            };
            Arc::new(GeneratorPartition {
                generator: Arc::clone(generator),
                rows: cut(index)..cut(index + 1),
                times,
                projection: request.projection.cloned(),
                schema: Arc::clone(&schema),
            }) as Arc<dyn ScanPartition>
        })
        .collect();
    let label = format!("{name} rows={}..{}", rows.start, rows.end);
    Ok(ScanExec::plan(label, schema, partitions, request.limit))
}

struct GeneratorPartition {
    generator: Arc<dyn RowGenerator>,
    rows: Range<u64>,
    times: RowTimes,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
}

impl fmt::Debug for GeneratorPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GeneratorPartition({:?})", self.rows)
    }
}

impl ScanPartition for GeneratorPartition {
    fn open(&self, cx: &ScanContext) -> Result<SendableRecordBatchStream> {
        let chunk = cx.batch_size.min(self.generator.chunk_rows()).max(1) as u64;
        let generator = Arc::clone(&self.generator);
        let (times, end) = (self.times, self.rows.end);
        let projection = self.projection.clone();
        let schema = Arc::clone(&self.schema);
        let batches = stream::iter(
            self.rows
                .clone()
                .step_by(usize::try_from(chunk).unwrap_or(usize::MAX)),
        );
        let batches = futures::StreamExt::map(batches, move |start| {
            let rows = start..end.min(start.saturating_add(chunk));
            let expected = rows.end - rows.start;
            let batch = match &projection {
                Some(columns) => generator.project(rows, times, columns)?,
                None => generator.batch(rows, times)?,
            };
            if batch.num_rows() as u64 != expected || batch.num_columns() != schema.fields().len() {
                return Err(DataFusionError::Internal(format!(
                    "a generator made {} rows of {} columns where {expected} of {} were due",
                    batch.num_rows(),
                    batch.num_columns(),
                    schema.fields().len()
                )));
            }
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        )))
    }

    fn statistics(&self) -> Statistics {
        let rows = usize::try_from(self.rows.end - self.rows.start);
        let rows = rows.map_or(Precision::Absent, Precision::Exact);
        row_statistics(&self.schema, rows)
    }
}
