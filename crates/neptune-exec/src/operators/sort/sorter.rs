//! Collects sorted runs while the input comes in, spills them when memory runs out, merges them at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool,
};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, RecordOutput, SpillMetrics,
};
use datafusion::physical_plan::sorts::streaming_merge::{SortedSpillFile, StreamingMergeBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{EmptyRecordBatchStream, SpillManager};
use futures::{StreamExt, TryStreamExt};

use super::run::{CHUNK_ROWS, Run};
use crate::operators::batches::{has_dictionary, slice_bytes};
use crate::operators::points::{YieldingStream, yield_point};

/// Rows sorted at once: starts at `FIRST_RUN_ROWS` and follows the time that a run takes.
const FIRST_RUN_ROWS: usize = 8192;
const LEAST_RUN_ROWS: usize = 1024;
const MOST_RUN_ROWS: usize = 32_768;
/// Input batches are not gathered beyond so many bytes.
const MOST_RUN_BYTES: usize = 8 << 20;

/// Runs of one level are merged into one of the next when there are so many: building an output batch costs
/// some time per run and column.
const MOST_RUNS: usize = 512;

pub(super) struct RunSorter {
    schema: SchemaRef,
    ordering: LexOrdering,
    target: Duration,
    /// Rows of an output batch of a merge.
    output_rows: usize,
    batch_size: usize,
    can_concat: bool,

    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
    run_rows: usize,
    runs: Vec<Run>,
    runs_made: usize,
    spilled: Vec<SortedSpillFile>,

    /// Covers `pending` and `runs`.
    reservation: MemoryReservation,
    /// Kept for the merge of spilled files, as in DataFusion's sort.
    merge_reservation: MemoryReservation,
    merge_bytes: usize,
    can_spill: bool,
    spill_manager: SpillManager,
    metrics: BaselineMetrics,
    run_count: Count,
}

impl RunSorter {
    pub(super) fn new(
        schema: SchemaRef,
        ordering: LexOrdering,
        target: Duration,
        partition: usize,
        metrics: &ExecutionPlanMetricsSet,
        context: &TaskContext,
    ) -> Self {
        let options = &context.session_config().options().execution;
        let batch_size = context.session_config().batch_size();
        let runtime = context.runtime_env();
        let consumer = MemoryConsumer::new(format!("RunSort[{partition}]")).with_can_spill(true);
        let merge_consumer = MemoryConsumer::new(format!("RunSortMerge[{partition}]"));
        let spill_manager = SpillManager::new(
            Arc::clone(&runtime),
            SpillMetrics::new(metrics, partition),
            Arc::clone(&schema),
        )
        .with_compression_type(context.session_config().spill_compression());
        // Building an output batch is the longest stretch of a merge: fewer rows where there are many columns.
        let parts = match schema.fields().len() {
            0..=4 => 1,
            5..=8 => 2,
            _ => 4,
        };
        Self {
            ordering,
            target,
            output_rows: (batch_size / parts).max(1),
            batch_size,
            can_concat: !schema
                .fields()
                .iter()
                .any(|f| has_dictionary(f.data_type())),
            pending: Vec::new(),
            pending_rows: 0,
            pending_bytes: 0,
            run_rows: FIRST_RUN_ROWS,
            runs: Vec::new(),
            runs_made: 0,
            spilled: Vec::new(),
            reservation: consumer.register(&runtime.memory_pool),
            merge_reservation: merge_consumer.register(&runtime.memory_pool),
            merge_bytes: options.sort_spill_reservation_bytes,
            can_spill: runtime.disk_manager.tmp_files_enabled(),
            spill_manager,
            metrics: BaselineMetrics::new(metrics, partition),
            run_count: MetricBuilder::new(metrics).counter("runs", partition),
            schema,
        }
    }

    /// Reads all of `input`; returns it sorted.
    pub(super) async fn sort(
        mut self,
        mut input: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        while let Some(batch) = input.next().await {
            let batch = batch?;
            if batch.num_rows() > 0 {
                self.push(batch).await?;
            }
        }
        drop(input);
        let alone = self.runs.is_empty() && self.spilled.is_empty();
        self.make_runs(if alone { self.output_rows } else { CHUNK_ROWS })
            .await?;
        if self.spilled.is_empty() {
            self.merge_reservation.free();
            let runs = std::mem::take(&mut self.runs);
            return self.merge(runs, self.metrics.clone());
        }
        self.spill().await?;
        StreamingMergeBuilder::new()
            .with_sorted_spill_files(std::mem::take(&mut self.spilled))
            .with_spill_manager(self.spill_manager.clone())
            .with_schema(Arc::clone(&self.schema))
            .with_expressions(&self.ordering)
            .with_metrics(self.metrics.clone())
            .with_batch_size(self.batch_size)
            .with_fetch(None)
            .with_reservation(self.merge_reservation.take())
            .build()
    }

    async fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if self.can_spill && self.merge_reservation.size() < self.merge_bytes {
            self.merge_reservation
                .try_resize(self.merge_bytes)
                .map_err(out_of_memory)?;
        }
        // The rows, and their sorted copy.
        let bytes = 2 * slice_bytes(&batch)?;
        if self.pending_rows + batch.num_rows() > self.run_rows
            || self.pending_bytes + bytes > 2 * MOST_RUN_BYTES
            || !self.can_concat
        {
            self.make_runs(CHUNK_ROWS).await?;
        }
        if let Err(error) = self.reservation.try_grow(bytes) {
            if !self.can_spill {
                return Err(out_of_memory(error));
            }
            self.make_runs(CHUNK_ROWS).await?;
            self.spill().await?;
            self.reservation.try_grow(bytes).map_err(out_of_memory)?;
        }
        self.pending_rows += batch.num_rows();
        self.pending_bytes += bytes;
        self.pending.push(batch);
        if self.pending_rows >= self.run_rows {
            self.make_runs(CHUNK_ROWS).await?;
        }
        Ok(())
    }

    /// Sorts what is pending, into chunks of `chunk_rows`.
    async fn make_runs(&mut self, chunk_rows: usize) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_rows = 0;
        self.pending_bytes = 0;
        let mut timer = Instant::now();
        let batch = match pending.as_slice() {
            [] => return Ok(()),
            [batch] => batch.clone(),
            batches => concat_batches(&self.schema, batches)?,
        };
        drop(pending);
        let mut start = 0;
        while start < batch.num_rows() {
            let left = batch.num_rows() - start;
            let rows = left.div_ceil(left.div_ceil(self.run_rows));
            // Runs with first chunks of different lengths: were all equally long, a merge of runs that are
            // alike would come to the end of all chunks at about the same time, with long stretches without a
            // yield point in between. An odd factor visits every remainder of the power of two.
            let first = match chunk_rows {
                CHUNK_ROWS => self.runs_made.wrapping_mul(397) % CHUNK_ROWS + 1,
                rows => rows,
            };
            let piece = batch.slice(start, rows);
            let run = Run::sort(&piece, &self.ordering, first, chunk_rows)?;
            let took = timer.elapsed();
            self.metrics.elapsed_compute().add_duration(took);
            self.runs.push(run);
            self.runs_made += 1;
            self.run_count.add(1);
            self.adapt(rows, took);
            start += rows;
            yield_point().await;
            timer = Instant::now();
        }
        drop(batch);
        let bytes = self.runs.iter().map(Run::bytes).sum();
        if self.reservation.try_resize(bytes).is_err() {
            // What was reserved for the rows and a copy of them has to do until the runs are on disk.
            self.spill().await?;
        }
        if self.runs.iter().filter(|run| run.level == 0).count() >= MOST_RUNS {
            self.merge_level().await?;
        }
        Ok(())
    }

    fn adapt(&mut self, rows: usize, took: Duration) {
        if took > 2 * self.target && rows * 2 > self.run_rows {
            self.run_rows = (self.run_rows / 2).max(LEAST_RUN_ROWS);
        } else if took < 2 * self.target / 3 && rows * 2 > self.run_rows {
            self.run_rows = (self.run_rows * 2).min(MOST_RUN_ROWS);
        }
    }

    /// Merges the runs of level 0 into one run of level 1. The bytes reserved for the former pass to the latter.
    async fn merge_level(&mut self) -> Result<()> {
        let (runs, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.runs)
            .into_iter()
            .partition(|run| run.level == 0);
        self.runs = kept;
        let mut merged = Run::empty(1);
        let mut stream = self.merge(runs, self.metrics.intermediate())?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let bytes = slice_bytes(&batch)?;
            // What the merge has consumed has been given back: the two are about equal.
            self.reservation.grow(bytes);
            merged.push(batch, bytes);
        }
        drop(stream);
        self.runs.push(merged);
        self.reservation
            .resize(self.runs.iter().map(Run::bytes).sum());
        Ok(())
    }

    /// Writes all runs, merged, to one file.
    async fn spill(&mut self) -> Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        if !self.can_spill {
            return Err(out_of_memory(DataFusionError::ResourcesExhausted(
                "a sort does not fit into memory and temporary files are disabled".to_owned(),
            )));
        }
        let mut file = self.spill_manager.create_in_progress_file("RunSort")?;
        let mut max_record_batch_memory = 0;
        let runs = std::mem::take(&mut self.runs);
        let mut stream = self.merge(runs, self.metrics.intermediate())?;
        while let Some(batch) = stream.next().await {
            let bytes = file.append_batch(&batch?)?;
            max_record_batch_memory = max_record_batch_memory.max(bytes);
        }
        drop(stream);
        match file.finish()? {
            Some(file) => self.spilled.push(SortedSpillFile {
                file,
                max_record_batch_memory,
            }),
            None => return internal_err!("RunSort spilled runs without rows"),
        }
        Ok(())
    }

    fn share(&self, run: &Run) -> MemoryReservation {
        let bytes = run.bytes().min(self.reservation.size());
        self.reservation.split(bytes)
    }

    /// Merges `runs`, each taking its share out of the reservation.
    fn merge(
        &self,
        mut runs: Vec<Run>,
        metrics: BaselineMetrics,
    ) -> Result<SendableRecordBatchStream> {
        let (Some(first), rest) = (runs.pop(), runs.is_empty()) else {
            return Ok(Box::pin(EmptyRecordBatchStream::new(Arc::clone(
                &self.schema,
            ))));
        };
        if rest {
            let share = self.share(&first);
            let rows = first.into_stream(Arc::clone(&self.schema), self.output_rows, share);
            let rows = rows.inspect_ok(move |batch| {
                batch.record_output(&metrics);
            });
            return Ok(Box::pin(RecordBatchStreamAdapter::new(
                Arc::clone(&self.schema),
                rows,
            )));
        }
        runs.push(first);
        let streams = runs
            .into_iter()
            .map(|run| {
                let share = self.share(&run);
                Box::pin(run.into_stream(Arc::clone(&self.schema), CHUNK_ROWS, share))
                    as SendableRecordBatchStream
            })
            .collect();
        // The runs and their headroom are reserved above: nothing the merge does may fail half-way.
        let counted: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let merged = StreamingMergeBuilder::new()
            .with_streams(streams)
            .with_schema(Arc::clone(&self.schema))
            .with_expressions(&self.ordering)
            .with_metrics(metrics)
            .with_batch_size(self.output_rows)
            .with_fetch(None)
            .with_round_robin_tie_breaker(false)
            .with_reservation(
                MemoryConsumer::new("RunSort: reserved by its runs").register(&counted),
            )
            .build()?;
        Ok(Box::pin(YieldingStream(merged)))
    }
}

fn out_of_memory(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::ResourcesExhausted(_) => error.context(
            "a sort needs more memory than it may have; raise 'neptune.memory.limit' or \
             lower 'datafusion.execution.sort_spill_reservation_bytes'",
        ),
        error => error,
    }
}
