//! A stream job: one query, run again for each micro-batch over the rows that have come since.
//!
//! The logical plan is optimized once; each micro-batch sets the ranges of its sources, pins the newest version
//! of the shared tables it reads, makes a physical plan, and runs it as a task of the job into a transaction of the sink. Nothing of a
//! micro-batch is visible before its commit, and the position moves on only after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::execution::context::SessionState;
use datafusion::logical_expr::LogicalPlan;
use neptune_exec::{Executor, Job};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::StreamError;
use crate::offset::{Limits, Offset, OffsetRange};
use crate::progress::QueryProgress;
use crate::shared::PinnedTable;
use crate::sink::{Epoch, Sink, WriteMode};
use crate::source::StreamTable;
use crate::trigger::{Schedule, Trigger};
use crate::write::{rows_read, stage};

/// What a stream job consists of.
#[derive(Debug)]
pub struct StreamQuery {
    /// The job's name.
    pub name: String,
    /// The session it is planned in, with the settings of its class.
    pub state: SessionState,
    /// The query, optimized, over `sources` and `pinned`.
    pub plan: LogicalPlan,
    /// The streams it reads.
    pub sources: Vec<Arc<StreamTable>>,
    /// The shared tables it reads, each once.
    pub pinned: Vec<Arc<PinnedTable>>,
    /// Where its rows go.
    pub sink: Arc<dyn Sink>,
    /// When micro-batches start.
    pub trigger: Trigger,
    /// How much one of them takes.
    pub limits: Limits,
    /// Tells this run of the job from others that do not continue it.
    pub run: u64,
}

/// What became of one micro-batch.
enum MicroBatch {
    Nothing,
    Done,
}

impl StreamQuery {
    /// Runs micro-batches until the sources end, the trigger says so, or `stop` becomes true; the one under way is
    /// finished first.
    ///
    /// # Errors
    /// The first error of a source, the query or the sink, and the job's cancellation. What was committed stays.
    pub async fn run(
        self: Arc<Self>,
        executor: Executor,
        job: Arc<Job>,
        progress: Arc<Mutex<QueryProgress>>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), StreamError> {
        let mut schedule = Schedule::new(self.trigger, Instant::now());
        let mut positions: Vec<Offset> = self
            .sources
            .iter()
            .map(|table| table.source().initial_offset())
            .collect();
        let mut target = None;
        for number in 0.. {
            tokio::select! {
                biased;
                stopped = stop.wait_for(|stop| *stop) => {
                    drop(stopped);
                    return Ok(());
                }
                () = tokio::time::sleep_until(schedule.next().into()) => {}
            }
            let triggered = schedule.next().min(Instant::now());
            let ranges = self.ranges(&positions, target.as_deref()).await?;
            if self.trigger == Trigger::AvailableNow && target.is_none() {
                target = Some(self.latest().await?);
            }
            let batch = self
                .micro_batch(&executor, &job, &progress, number, &ranges, triggered)
                .await?;
            let done = matches!(batch, MicroBatch::Done);
            for (position, (range, table)) in
                positions.iter_mut().zip(ranges.iter().zip(&self.sources))
            {
                *position = range.end;
                table.source().commit(&range.end).await?;
            }
            progress.lock().malformed = self
                .sources
                .iter()
                .map(|table| table.source().malformed_records())
                .sum();
            if self.is_over(&positions, target.as_deref()) {
                return Ok(());
            }
            schedule.ended(Instant::now(), !done);
        }
        Ok(())
    }

    /// Whether it comes to an end by itself.
    pub fn has_end(&self) -> bool {
        matches!(self.trigger, Trigger::Once | Trigger::AvailableNow)
            || self.sources.iter().all(|table| table.source().is_bounded())
    }

    async fn latest(&self) -> Result<Vec<Offset>, StreamError> {
        let mut latest = Vec::with_capacity(self.sources.len());
        for table in &self.sources {
            latest.push(table.source().latest_offset().await?);
        }
        Ok(latest)
    }

    async fn ranges(
        &self,
        positions: &[Offset],
        target: Option<&[Offset]>,
    ) -> Result<Vec<OffsetRange>, StreamError> {
        let latest = match target {
            Some(target) => target.to_vec(),
            None => self.latest().await?,
        };
        Ok(self
            .sources
            .iter()
            .zip(positions.iter().zip(&latest))
            .map(|(table, (start, latest))| {
                OffsetRange::new(
                    *start,
                    table.source().limit_end(start, latest, &self.limits),
                )
            })
            .collect())
    }

    fn is_over(&self, positions: &[Offset], target: Option<&[Offset]>) -> bool {
        let reached = |target: &[Offset]| {
            positions
                .iter()
                .zip(target)
                .all(|(at, end)| at.position() >= end.position())
        };
        match self.trigger {
            Trigger::Once => return true,
            Trigger::AvailableNow if target.is_some_and(reached) => return true,
            _ => {}
        }
        self.sources.iter().zip(positions).all(|(table, at)| {
            table.source().is_bounded() && table.source().final_offset() == Some(*at)
        })
    }

    async fn micro_batch(
        self: &Arc<Self>,
        executor: &Executor,
        job: &Arc<Job>,
        progress: &Arc<Mutex<QueryProgress>>,
        number: u64,
        ranges: &[OffsetRange],
        triggered: Instant,
    ) -> Result<MicroBatch, StreamError> {
        if ranges.iter().all(OffsetRange::is_empty) {
            return Ok(MicroBatch::Nothing);
        }
        for (table, range) in self.sources.iter().zip(ranges) {
            table.set_range(*range);
        }
        let query = Arc::clone(self);
        let started = Instant::now();
        let task = executor.spawn(job, async move { query.execute(number).await });
        let Written {
            rows_in,
            rows_out,
            versions,
        } = task.await.map_err(|error| {
            StreamError::from(datafusion::common::DataFusionError::from(error))
        })??;
        // Generators count rows in their offsets; of files only the scan knows.
        let in_offsets = ranges.iter().map(|range| match (range.start, range.end) {
            (Offset::Rows(start), Offset::Rows(end)) => Some(end - start),
            _ => None,
        });
        let rows_in = in_offsets.sum::<Option<u64>>().unwrap_or(rows_in);
        let now = Instant::now();
        progress.lock().micro_batch(
            rows_in,
            rows_out,
            now - triggered,
            started - triggered,
            versions,
        );
        Ok(MicroBatch::Done)
    }

    async fn execute(&self, number: u64) -> Result<Written, StreamError> {
        let versions = self.pinned.iter().map(|table| table.pin_newest()).collect();
        let plan = self
            .state
            .query_planner()
            .create_physical_plan(&self.plan, &self.state)
            .await?;
        let epoch = Epoch {
            job: self.name.clone(),
            run: self.run,
            micro_batch: number,
        };
        let context = self.state.task_ctx();
        let staged = stage(
            &plan,
            &context,
            self.sink.as_ref(),
            &epoch,
            WriteMode::Append,
        )
        .await?;
        let rows_in = rows_read(&plan);
        let rows_out = staged.commit().await?;
        Ok(Written {
            rows_in,
            rows_out,
            versions,
        })
    }
}

struct Written {
    rows_in: u64,
    rows_out: u64,
    versions: Vec<u64>,
}

/// The longest time a job that is told to stop may take before it is cancelled.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);
