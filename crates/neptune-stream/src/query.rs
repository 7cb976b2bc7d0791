//! A stream job: one query, run again for each micro-batch over the rows that have come since.
//!
//! The logical plan is optimized once and the physical plan made once; each micro-batch fills the scans of its sources, pins the newest
//! version of the shared tables it reads, and runs the plan as a task of the job into a transaction of the sink. Nothing of a
//! micro-batch is visible before its commit, and position and state move on only after it.
//!
//! Event time moves between micro-batches: what the rows of one have brought to its end is closed by the next, which follows at
//! once, with or without rows of its own, if there is something to close.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use neptune_exec::{Executor, Job};
use neptune_state::{Changes, Operator as Described};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::checkpoint::{CheckpointSpec, Done, Durable, Planned, PlannedSource, ranges_of};
use crate::error::StreamError;
use crate::event_time::START_OF_TIME;
use crate::offset::{Limits, Offset, OffsetRange};
use crate::plan::{PlanCache, PlanRequest};
use crate::progress::{Listeners, MicroBatchProgress, PhaseTimes, QueryProgress, millis};
use crate::shared::PinnedTable;
use crate::sink::{Epoch, Sink, Transaction, WriteMode};
use crate::source::StreamTable;
use crate::stateful::{Flow, OutputMode, Stateful, rewrite, run_ahead};
use crate::trigger::{Schedule, Trigger};
use crate::watermark::WatermarkTracker;
use crate::write::stage_into;

/// What a stream job is made from.
#[derive(Debug)]
pub struct StreamSpec {
    /// The job's name.
    pub name: String,
    /// The session it is planned in, with the settings of its class.
    pub state: SessionState,
    /// The query over `sources` and `pinned`.
    pub plan: LogicalPlan,
    /// The streams it reads.
    pub sources: Vec<Arc<StreamTable>>,
    /// The shared tables it reads, each once.
    pub pinned: Vec<Arc<PinnedTable>>,
    /// Whether it reads other tables, as they are at each micro-batch.
    pub reads_tables: bool,
    /// Where its rows go.
    pub sink: Arc<dyn Sink>,
    /// What its sink is given.
    pub mode: OutputMode,
    /// Whether its sink is given envelopes that say what became of each row.
    pub changelog: bool,
    /// When micro-batches start.
    pub trigger: Trigger,
    /// How much one of them takes.
    pub limits: Limits,
    /// A source without rows for so long does not hold up event time.
    pub idle_after: Option<Duration>,
    /// Who is told of its micro-batches.
    pub listeners: Listeners,
    /// Where its state lasts, if it does.
    pub checkpoint: Option<CheckpointSpec>,
    /// Tells this run of the job from others that do not continue it; one that goes on from a checkpoint has its number.
    pub run: u64,
}

/// A stream job that can run.
#[derive(Debug)]
pub struct StreamQuery {
    spec: StreamSpec,
    stateful: Stateful,
}

/// What changes from micro-batch to micro-batch.
#[derive(Debug)]
struct Course {
    run: u64,
    number: u64,
    positions: Vec<Offset>,
    watermarks: WatermarkTracker,
    durable: Durable,
    plans: PlanCache,
    /// Whether the offsets of the next micro-batch are durable already.
    is_planned: bool,
}

impl StreamQuery {
    /// Makes the query stateful where it has to be.
    ///
    /// # Errors
    /// [`StreamError::Query`] for one that cannot run as micro-batches, or not in its output mode; those of the optimizer.
    pub fn new(
        mut spec: StreamSpec,
        is_stream: &dyn Fn(&TableScan) -> bool,
    ) -> Result<Self, StreamError> {
        // DISTINCT inside an aggregate is kept in the aggregate's state, not in that of a second one.
        let rules = spec.state.optimizer().rules.iter();
        let rules = rules.filter(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
        let rules = rules.map(Arc::clone).collect();
        spec.state = SessionStateBuilder::new_from_existing(spec.state)
            .with_optimizer_rules(rules)
            .build();
        let plan = spec.state.optimize(&spec.plan)?;
        let stateful = rewrite(plan, spec.mode, spec.changelog, is_stream)?;
        // A filter that one micro-batch has filled would hold for the next.
        let options = spec.state.config_mut().options_mut();
        options.set(
            "datafusion.optimizer.enable_dynamic_filter_pushdown",
            "false",
        )?;
        Ok(Self { spec, stateful })
    }

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
        let spec = &self.spec;
        let mut schedule = Schedule::new(spec.trigger, Instant::now());
        let (mut course, pending) = self.begin().await?;
        if let Some(pending) = pending {
            // It was begun before and may be half done: it has to be the same again.
            let ranges = ranges_of(&pending, &spec.sources)?;
            course.watermarks.restore(pending.late, pending.over);
            course = self
                .micro_batch(course, &executor, &job, &progress, &ranges, Instant::now())
                .await?;
        }
        let mut target = None;
        loop {
            tokio::select! {
                biased;
                stopped = stop.wait_for(|stop| *stop) => {
                    drop(stopped);
                    return Ok(());
                }
                () = tokio::time::sleep_until(schedule.next().into()) => {}
            }
            let triggered = schedule.next().min(Instant::now());
            let ranges = self.ranges(&course.positions, target.as_deref()).await?;
            if spec.trigger == Trigger::AvailableNow && target.is_none() {
                target = Some(self.latest().await?);
            }
            let has_rows = !ranges.iter().all(OffsetRange::is_empty);
            if has_rows {
                course = self
                    .micro_batch(course, &executor, &job, &progress, &ranges, triggered)
                    .await?;
            } else {
                let ended = self.ended(&course.positions);
                course
                    .watermarks
                    .look(&spec.sources, &ended, Instant::now());
            }
            while self.has_to_close(&course)? {
                let nothing: Vec<OffsetRange> = course
                    .positions
                    .iter()
                    .map(|at| OffsetRange::new(*at, *at))
                    .collect();
                course = self
                    .micro_batch(course, &executor, &job, &progress, &nothing, Instant::now())
                    .await?;
            }
            if self.is_over(&course.positions, target.as_deref()) {
                return Ok(());
            }
            schedule.ended(Instant::now(), !has_rows);
        }
    }

    /// Goes on where an earlier run ended, which may have begun a micro-batch.
    async fn begin(&self) -> Result<(Course, Option<Planned>), StreamError> {
        let spec = &self.spec;
        let (durable, resumed) =
            Durable::open(spec.checkpoint.as_ref(), self.description()).await?;
        for operator in &self.stateful.operators {
            operator.attach(durable.checkpoint().store())?;
        }
        let sources = &spec.sources;
        let initial = sources.iter().map(|table| table.source().initial_offset());
        let mut course = Course {
            run: resumed.run.unwrap_or(spec.run),
            number: 0,
            positions: initial.collect(),
            watermarks: WatermarkTracker::new(sources.len(), spec.idle_after, Instant::now()),
            durable,
            plans: PlanCache::default(),
            is_planned: resumed.pending.is_some(),
        };
        for (index, table) in sources.iter().enumerate() {
            let mut memos = course.durable.memos(index)?;
            let pending = resumed.pending.iter().flat_map(|planned| &planned.sources);
            memos.extend(
                pending
                    .filter(|source| source.name == table.source().name())
                    .filter_map(|source| source.memo.clone()),
            );
            table.source().recall(memos)?;
        }
        if let Some((number, planned, done)) = resumed.last {
            course.number = number + 1;
            let ranges = ranges_of(&planned, sources)?;
            course.positions = ranges.into_iter().map(|range| range.end).collect();
            course.watermarks.restore(done.late, done.over);
            for (table, watermark) in sources.iter().zip(done.watermarks) {
                table.restore_watermark(watermark.unwrap_or(START_OF_TIME));
            }
        }
        Ok((course, resumed.pending))
    }

    /// What must stay the same for the state to make sense.
    fn description(&self) -> Vec<Described> {
        let sources = self.spec.sources.iter().map(|table| {
            let name = format!("source {}", table.source().name());
            Described::new(name, format!("{:?}", table.source().initial_offset()))
        });
        let operators = self.stateful.operators.iter().enumerate();
        let operators = operators.map(|(number, operator)| {
            Described::new(format!("operator {}", number + 1), operator.identity())
        });
        sources.chain(operators).collect()
    }

    /// Whether a micro-batch without rows would close something.
    fn has_to_close(&self, course: &Course) -> Result<bool, StreamError> {
        let (late, over) = course.watermarks.next();
        if over <= late {
            return Ok(false);
        }
        for operator in &self.stateful.operators {
            if operator.next_over()?.is_some_and(|at| at <= over) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Which sources have been read to their end.
    fn ended(&self, positions: &[Offset]) -> Vec<bool> {
        let each = self.spec.sources.iter().zip(positions);
        each.map(|(table, at)| {
            let source = table.source();
            source.is_bounded() && source.final_offset() == Some(*at)
        })
        .collect()
    }

    /// Whether it comes to an end by itself.
    pub fn has_end(&self) -> bool {
        matches!(self.spec.trigger, Trigger::Once | Trigger::AvailableNow)
            || self
                .spec
                .sources
                .iter()
                .all(|table| table.source().is_bounded())
    }

    async fn latest(&self) -> Result<Vec<Offset>, StreamError> {
        let mut latest = Vec::with_capacity(self.spec.sources.len());
        for table in &self.spec.sources {
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
            .spec
            .sources
            .iter()
            .zip(positions.iter().zip(&latest))
            .map(|(table, (start, latest))| {
                OffsetRange::new(
                    *start,
                    table.source().limit_end(start, latest, &self.spec.limits),
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
        match self.spec.trigger {
            Trigger::Once => return true,
            Trigger::AvailableNow if target.is_some_and(reached) => return true,
            _ => {}
        }
        self.ended(positions).into_iter().all(|ended| ended)
    }

    /// Runs the micro-batch that `course` has come to, and gives the course after it.
    async fn micro_batch(
        self: &Arc<Self>,
        mut course: Course,
        executor: &Executor,
        job: &Arc<Job>,
        progress: &Arc<Mutex<QueryProgress>>,
        ranges: &[OffsetRange],
        triggered: Instant,
    ) -> Result<Course, StreamError> {
        let spec = &self.spec;
        let (query, owned) = (Arc::clone(self), ranges.to_vec());
        let started = Instant::now();
        let number = course.number;
        let task = executor.spawn(job, async move { query.execute(course, &owned).await });
        let written;
        (course, written) = task
            .await
            .map_err(|error| StreamError::from(DataFusionError::from(error)))??;
        // Generators count rows in their offsets; of files only the scan knows.
        let in_offsets = ranges.iter().map(|range| match (range.start, range.end) {
            (Offset::Rows(start), Offset::Rows(end)) => Some(end - start),
            _ => None,
        });
        let rows_in = in_offsets.sum::<Option<u64>>().unwrap_or(written.rows_in);
        for (table, range) in self.spec.sources.iter().zip(ranges) {
            table.source().commit(&range.end).await?;
        }
        let now = Instant::now();
        let mut progress = progress.lock();
        progress.micro_batch(
            rows_in,
            written.rows_out,
            now - triggered,
            started - triggered,
            written.versions,
        );
        let operators = &self.stateful.operators;
        progress.late_rows = operators.iter().map(|operator| operator.late_rows()).sum();
        (progress.state_rows, progress.state_bytes) =
            operators.iter().fold((0, 0), |(rows, bytes), operator| {
                let (more_rows, more_bytes) = operator.size();
                (rows + more_rows, bytes + more_bytes)
            });
        let closed = course.watermarks.next().0;
        progress.watermark = (closed > START_OF_TIME).then_some(closed);
        let sources = self.spec.sources.iter();
        progress.malformed = sources
            .map(|table| table.source().malformed_records())
            .sum();
        if spec.listeners.is_empty() {
            return Ok(course);
        }
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let told = MicroBatchProgress {
            job: spec.name.clone(),
            micro_batch: number,
            timestamp_ms: since_epoch.map_or(0, |since| since.as_millis() as u64),
            rows_in,
            rows_in_per_s: rows_in as f64 / (now - started).as_secs_f64().max(1e-9),
            rows_out: written.rows_out,
            late_rows: progress.late_rows,
            watermark: progress.watermark,
            state_rows: progress.state_rows,
            state_bytes: progress.state_bytes,
            duration_ms: PhaseTimes {
                delay: millis(started - triggered),
                queue: millis(written.begun - started),
                total: millis(now - triggered),
                ..written.phases
            },
            suspensions: job.suspensions().count,
        };
        drop(progress);
        spec.listeners.tell(&told);
        Ok(course)
    }

    async fn execute(
        &self,
        mut course: Course,
        ranges: &[OffsetRange],
    ) -> Result<(Course, Written), StreamError> {
        let spec = &self.spec;
        let begun = Instant::now();
        let (late, over) = course.watermarks.next();
        self.stateful.watermarks.begin(course.number, late, over);
        let request = PlanRequest {
            state: &spec.state,
            plan: &self.stateful.plan,
            sources: &spec.sources,
            ranges,
            pinned: &spec.pinned,
            reusable: !spec.reads_tables,
        };
        let (plan, versions) = course.plans.plan(request).await?;
        let filled = Instant::now();
        let epoch = Epoch {
            job: spec.name.clone(),
            run: course.run,
            micro_batch: course.number,
        };
        let planned = self.planned(ranges, (late, over))?;
        let context = spec.state.task_ctx();
        // The offsets are on their way to the disk while the plan runs.
        let is_planned = std::mem::take(&mut course.is_planned);
        let note = async {
            match is_planned {
                true => Ok(()),
                false => course.durable.plan(course.number, &planned).await,
            }
        };
        let (noted, staged) = futures::join!(note, async {
            run_ahead(&plan, &context).await?;
            let transaction = self.transaction(&epoch, plan.schema()).await?;
            stage_into(&plan, &context, transaction).await
        },);
        noted?;
        let rows_in = spec.sources.iter().map(|table| table.rows_read()).sum();
        let staged = staged?;
        let ran = Instant::now();
        let rows_out = staged.commit().await?;
        let visible = Instant::now();
        for (position, range) in course.positions.iter_mut().zip(ranges) {
            *position = range.end;
        }
        let read: Vec<bool> = ranges.iter().map(|range| !range.is_empty()).collect();
        let ended = self.ended(&course.positions);
        course
            .watermarks
            .done(&spec.sources, &read, &ended, Instant::now());
        let (late, over) = course.watermarks.next();
        let done = Done {
            late,
            over,
            watermarks: spec.sources.iter().map(|table| table.watermark()).collect(),
        };
        let changes = self.changes()?;
        course
            .durable
            .commit(course.number, &planned, &done, changes)
            .await?;
        course.number += 1;
        let written = Written {
            rows_in,
            rows_out,
            versions,
            begun,
            phases: PhaseTimes {
                plan: millis(filled - begun),
                run: millis(ran - filled),
                sink: millis(visible - ran),
                state: millis(visible.elapsed()),
                ..PhaseTimes::default()
            },
        };
        Ok((course, written))
    }
}

impl StreamQuery {
    /// Begins the write of a micro-batch: in place where rows change and the sink can.
    async fn transaction(
        &self,
        epoch: &Epoch,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        let sink = &self.spec.sink;
        if let (Flow::Changes { keys: Some(keys) }, false) =
            (&self.stateful.flow, self.spec.changelog)
        {
            let upsert = sink.begin_upsert(epoch, keys, Arc::clone(&schema)).await?;
            if let Some(upsert) = upsert {
                return Ok(upsert);
            }
        }
        let mode = match self.stateful.flow {
            Flow::Whole => WriteMode::Overwrite,
            _ => WriteMode::Append,
        };
        sink.begin(epoch, mode, schema).await
    }

    fn planned(
        &self,
        ranges: &[OffsetRange],
        (late, over): (i64, i64),
    ) -> Result<Planned, StreamError> {
        let sources = self.spec.sources.iter().zip(ranges).map(|(table, range)| {
            let source = table.source();
            Ok(PlannedSource {
                name: source.name().to_owned(),
                range: *range,
                memo: match self.spec.checkpoint {
                    Some(_) => source.memo(range)?,
                    None => None,
                },
            })
        });
        let sources = sources.collect::<Result<_, StreamError>>()?;
        Ok(Planned {
            sources,
            late,
            over,
        })
    }

    /// What the operators changed in the micro-batch.
    fn changes(&self) -> Result<Option<Changes>, StreamError> {
        let mut changes: Option<Changes> = None;
        for operator in &self.stateful.operators {
            match (&mut changes, operator.take_changes()) {
                (Some(all), Some(more)) => all.merge(more)?,
                (all @ None, more) => *all = more,
                (Some(_), None) => {}
            }
        }
        Ok(changes)
    }
}

/// What a micro-batch read and wrote.
#[derive(Debug)]
struct Written {
    rows_in: u64,
    rows_out: u64,
    versions: Vec<u64>,
    begun: Instant,
    phases: PhaseTimes,
}

/// The longest time a job that is told to stop may take before it is cancelled.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);
