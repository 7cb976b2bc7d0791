//! The jobs of an application: what was planned, and what has become of it so far.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::execution::context::SessionState;
use datafusion::logical_expr::LogicalPlan;
use neptune_exec::{Job, JobSettings, Latencies, Percentiles};
use neptune_sched::{Class, Nanos};
use neptune_stream::shared::PinnedTable;
use neptune_stream::sink::{Sink, WriteMode};
use neptune_stream::{QueryProgress, STOP_PATIENCE, StreamQuery};
use parking_lot::Mutex;
use serde::Serialize;

use super::batch::Pass;
use crate::table::DeclaredTable;

/// When a batch job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Once, at the start.
    Once,
    /// At the start and then so long after the last start, or when the last pass is done if that is later.
    Every(Duration),
    /// Once, when all other jobs have ended.
    AtEnd,
}

/// Where the rows of a batch job go.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Into a declared table.
    Sink(Arc<dyn Sink>, WriteMode),
    /// DataFusion's own plan writes them.
    Engine,
    /// To whoever watches the application.
    Caller,
}

/// A job that runs to its end over tables that have one.
#[derive(Debug)]
pub(crate) struct BatchJob {
    pub(crate) settings: JobSettings,
    pub(crate) state: SessionState,
    pub(crate) plan: LogicalPlan,
    pub(crate) pinned: Vec<Arc<PinnedTable>>,
    /// The other declared tables that it reads.
    pub(crate) tables: Vec<DeclaredTable>,
    pub(crate) target: Target,
    pub(crate) repeat: Repeat,
}

/// What a job does.
#[derive(Debug)]
pub(crate) enum Work {
    Stream(Arc<StreamQuery>, JobSettings),
    Batch(Arc<BatchJob>),
}

/// Where a job of an application stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AppJobState {
    /// It has not begun.
    Waiting,
    /// It runs, or waits for its next pass or micro-batch.
    Running,
    /// It came to its end.
    Finished,
    /// It was told to stop, and did.
    Stopped,
    /// It ended with an error.
    Failed,
}

/// One planned job.
#[derive(Debug)]
pub(crate) struct AppJob {
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) status: Mutex<Status>,
}

/// What has become of it.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) state: AppJobState,
    pub(crate) error: Option<String>,
    /// The runtime's job of the present pass.
    pub(crate) current: Option<Arc<Job>>,
    pub(crate) query: Arc<Mutex<QueryProgress>>,
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
    pub(crate) passes: u64,
    pub(crate) latency: Latencies,
    /// Of passes that are over.
    pub(crate) suspensions: u64,
    pub(crate) suspend: Latencies,
    pub(crate) kills: u64,
}

/// A job's line in the summary. Times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct JobReport {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Where it stands.
    pub state: AppJobState,
    /// What went wrong, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Rows read.
    pub rows_in: u64,
    /// Rows written.
    pub rows_out: u64,
    /// Rows dropped because they came too late.
    pub late_rows: u64,
    /// Malformed records skipped or set aside.
    pub malformed_rows: u64,
    /// Entries that a stream job keeps from micro-batch to micro-batch.
    pub state_rows: u64,
    /// Bytes of their keys and values.
    pub state_bytes: u64,
    /// Micro-batches of a stream job, passes of a batch job.
    pub micro_batches: u64,
    /// From trigger to commit; for a batch job, from a pass's start to its commit.
    pub latency_ms: Percentiles,
    /// How often one of its tasks was suspended.
    pub suspensions: u64,
    /// Request to suspended.
    pub suspend_ms: Percentiles,
    /// How often the `kill` policy restarted it.
    pub kills: u64,
    /// Bytes its tasks hold in the memory pool now.
    pub memory_bytes: usize,
}

impl AppJob {
    pub(crate) fn new(name: String, work: Work) -> Self {
        Self {
            name,
            work,
            status: Mutex::new(Status {
                state: AppJobState::Waiting,
                error: None,
                current: None,
                query: Arc::new(Mutex::new(QueryProgress::new(Instant::now()))),
                rows_in: 0,
                rows_out: 0,
                passes: 0,
                latency: Latencies::default(),
                suspensions: 0,
                suspend: Latencies::default(),
                kills: 0,
            }),
        }
    }

    pub(crate) fn class(&self) -> Class {
        match &self.work {
            Work::Stream(_, settings) => settings.class,
            Work::Batch(batch) => batch.settings.class,
        }
    }

    /// Whether its end is awaited before the application ends.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.is_repeating() && !self.is_at_end()
    }

    /// Whether it runs again and again.
    pub(crate) fn is_repeating(&self) -> bool {
        matches!(&self.work, Work::Batch(batch) if matches!(batch.repeat, Repeat::Every(_)))
    }

    /// Whether it runs when all others have ended.
    pub(crate) fn is_at_end(&self) -> bool {
        matches!(&self.work, Work::Batch(batch) if batch.repeat == Repeat::AtEnd)
    }

    /// Whether it comes to an end by itself, so that a query may wait for it.
    pub(crate) fn is_bounded(&self) -> bool {
        match &self.work {
            Work::Batch(batch) => batch.repeat == Repeat::Once,
            Work::Stream(query, _) => query.has_end(),
        }
    }

    /// Whether its rows go to the caller.
    pub(crate) fn is_query(&self) -> bool {
        matches!(&self.work, Work::Batch(batch) if matches!(batch.target, Target::Caller))
    }

    pub(crate) fn report(&self) -> JobReport {
        let status = self.status.lock();
        let query = status.query.lock();
        let (mut suspensions, mut suspend, mut kills) =
            (status.suspensions, status.suspend.clone(), status.kills);
        let mut memory_bytes = 0;
        if let Some(job) = &status.current {
            let stats = job.suspensions();
            suspensions += stats.count;
            suspend.merge(&stats.suspend);
            kills += u64::from(job.attempt());
            memory_bytes = job.memory();
        }
        let mut latency = status.latency.clone();
        latency.merge(&query.latency);
        JobReport {
            name: self.name.clone(),
            class: self.class(),
            state: status.state,
            error: status.error.clone(),
            rows_in: status.rows_in + query.rows_in,
            rows_out: status.rows_out + query.rows_out,
            late_rows: query.late_rows,
            malformed_rows: query.malformed,
            state_rows: query.state_rows,
            state_bytes: query.state_bytes,
            micro_batches: status.passes + query.micro_batches,
            latency_ms: latency.percentiles(),
            suspensions,
            suspend_ms: suspend.percentiles(),
            kills,
            memory_bytes,
        }
    }

    /// Adds a pass that took `span` to the totals.
    pub(crate) fn book(&self, pass: &Pass, span: Duration) {
        let mut status = self.status.lock();
        if let Work::Batch(batch) = &self.work {
            let malformed = batch.tables.iter().map(DeclaredTable::malformed_records);
            status.query.lock().malformed = malformed.sum();
        }
        status.passes += 1;
        status.rows_in += pass.rows_in;
        status.rows_out += pass.rows_out;
        status.latency.record(Nanos(span.as_nanos() as u64));
    }

    /// Books a job that was told to stop, and was cancelled since it did not, as failed.
    pub(crate) fn give_up_waiting(&self) {
        let mut status = self.status.lock();
        if status.state == AppJobState::Running {
            status.state = AppJobState::Failed;
            status.error = Some(format!(
                "it was told to stop, did not within {} s and was cancelled",
                STOP_PATIENCE.as_secs()
            ));
        }
    }

    /// The pass of `job` is over: its figures move into the totals.
    pub(crate) fn pass_over(&self, job: &Arc<Job>) {
        let mut status = self.status.lock();
        let stats = job.suspensions();
        status.suspensions += stats.count;
        status.suspend.merge(&stats.suspend);
        status.kills += u64::from(job.attempt());
        status.current = None;
    }
}
