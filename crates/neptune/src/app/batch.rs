//! One pass of a batch job: planned, run and written as tasks of one job.
//!
//! Under the `kill` policy a pass may be cancelled and run again. Its rows are staged until then; the commit runs
//! outside the job's tasks and is remembered, so that a kill that strikes during the commit neither tears it nor makes
//! the next attempt write the rows once more.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::collect;
use neptune_exec::Executor;
use neptune_stream::sink::Epoch;
use neptune_stream::{rows_read, stage};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::job::{BatchJob, Target};
use crate::handle::JobHandle;

/// What a pass did.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pass {
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
    /// For queries whose rows go to the caller.
    pub(crate) batches: Vec<RecordBatch>,
}

/// The commit of a pass, once it has begun.
type Commit = Arc<Mutex<Option<JoinHandle<Result<Pass>>>>>;

/// Starts pass `number` of `job`.
pub(crate) fn start(
    executor: &Executor,
    name: &str,
    job: &Arc<BatchJob>,
    run: u64,
    number: u64,
) -> JobHandle<Pass> {
    let epoch = Arc::new(Epoch {
        job: name.to_owned(),
        run,
        micro_batch: number,
    });
    let commit = Commit::default();
    let job = Arc::clone(job);
    let settings = job.settings.clone();
    JobHandle::start(executor, &settings, move || {
        attempt(Arc::clone(&job), Arc::clone(&epoch), Arc::clone(&commit))
    })
}

async fn attempt(job: Arc<BatchJob>, epoch: Arc<Epoch>, commit: Commit) -> Result<Pass> {
    if let Some(pass) = committed(&commit).await {
        return pass;
    }
    for table in &job.pinned {
        table.pin_newest();
    }
    let plan = job.state.create_physical_plan(&job.plan).await?;
    let context = job.state.task_ctx();
    let (sink, mode) = match &job.target {
        Target::Sink(sink, mode) => (sink, *mode),
        Target::Engine | Target::Caller => {
            let batches = collect(Arc::clone(&plan), context).await?;
            let rows_out = batches.iter().map(|batch| batch.num_rows() as u64).sum();
            return Ok(Pass {
                rows_in: rows_read(&plan),
                rows_out,
                batches,
            });
        }
    };
    let staged = stage(&plan, &context, sink.as_ref(), &epoch, mode).await?;
    let rows_in = rows_read(&plan);
    *commit.lock().await = Some(tokio::spawn(async move {
        let rows_out = staged.commit().await?;
        Ok(Pass {
            rows_in,
            rows_out,
            batches: Vec::new(),
        })
    }));
    match committed(&commit).await {
        Some(pass) => pass,
        None => Err(DataFusionError::Internal("the commit went away".to_owned())),
    }
}

/// Waits for the commit that was begun, if one was.
async fn committed(commit: &Commit) -> Option<Result<Pass>> {
    let mut begun = commit.lock().await;
    let result = match begun.as_mut()?.await {
        Ok(result) => result,
        Err(error) => Err(DataFusionError::External(Box::new(error))),
    };
    // Awaited once: a join handle must not be polled again. A later attempt is told the same.
    let again = match &result {
        Ok(pass) => Ok(pass.clone()),
        Err(error) => Err(DataFusionError::Execution(error.strip_backtrace())),
    };
    *begun = Some(tokio::spawn(std::future::ready(again)));
    Some(result)
}
