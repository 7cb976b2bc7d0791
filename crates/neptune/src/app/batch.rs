//! One pass of a batch job: planned, run and written as tasks of one job.
//!
//! Under the `kill` policy a pass may be cancelled and run again. Its rows are staged until then; the commit runs
//! outside the job's tasks and is remembered, so that whatever strikes during the commit neither tears it nor makes
//! the next attempt write the rows once more.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::collect;
use neptune_exec::{Executor, Job};
use neptune_stream::sink::Epoch;
use neptune_stream::{rows_read, stage};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::job::{BatchJob, Target};
use crate::error::NeptuneError;
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

/// A pass under way. Dropping it gives it up without waiting for a commit that has begun.
#[derive(Debug)]
pub(crate) struct RunningPass {
    handle: JobHandle<Pass>,
    commit: Commit,
}

impl RunningPass {
    /// Starts pass `number` of `job`; its commit runs on the caller's runtime.
    pub(crate) fn start(
        executor: &Executor,
        name: &str,
        job: &Arc<BatchJob>,
        run: u64,
        number: u64,
    ) -> Self {
        let epoch = Arc::new(Epoch {
            job: name.to_owned(),
            run,
            micro_batch: number,
        });
        let commit = Commit::default();
        let (work, begun) = (Arc::clone(job), Arc::clone(&commit));
        // A commit is no task: on the threads of batch tasks it would wait for their polls.
        let commits = Handle::current();
        let handle = JobHandle::start(executor, &job.settings, move || {
            let (work, epoch) = (Arc::clone(&work), Arc::clone(&epoch));
            attempt(work, epoch, Arc::clone(&begun), commits.clone())
        });
        Self { handle, commit }
    }

    /// The runtime's job.
    pub(crate) fn job(&self) -> &Arc<Job> {
        self.handle.job()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> Result<Pass, NeptuneError> {
        (&mut self.handle).await
    }

    /// Cancels it. A commit that has begun is finished and makes it a whole pass, which is given then.
    pub(crate) async fn give_up(&self) -> Option<Result<Pass>> {
        self.handle.cancel();
        // No task, so no commit that begins from now on.
        self.handle.job().drained().await;
        committed(&self.commit).await
    }
}

async fn attempt(
    job: Arc<BatchJob>,
    epoch: Arc<Epoch>,
    commit: Commit,
    commits: Handle,
) -> Result<Pass> {
    if let Some(pass) = committed(&commit).await {
        return pass;
    }
    for table in &job.pinned {
        table.pin_newest();
    }
    // The time that `now()` gives is that of the pass, not that of its job's first.
    let mut state = job.state.clone();
    state.mark_start_execution();
    let plan = state.create_physical_plan(&job.plan).await?;
    let context = state.task_ctx();
    let (sink, mode) = match &job.target {
        Target::Sink(sink, mode) => (sink, *mode),
        Target::Engine => {
            let counts = collect(Arc::clone(&plan), context).await?;
            return Ok(Pass {
                rows_in: rows_read(&plan),
                rows_out: counts.iter().filter_map(first_count).sum(),
                batches: Vec::new(),
            });
        }
        Target::Caller => {
            let mut batches = collect(Arc::clone(&plan), context).await?;
            if batches.is_empty() {
                // Whoever shows them shows their columns.
                batches.push(RecordBatch::new_empty(plan.schema()));
            }
            return Ok(Pass {
                rows_in: rows_read(&plan),
                rows_out: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
                batches,
            });
        }
    };
    let staged = stage(&plan, &context, sink.as_ref(), &epoch, mode).await?;
    let rows_in = rows_read(&plan);
    *commit.lock().await = Some(commits.spawn(async move {
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

/// The number of rows that a plan of DataFusion's says it has written.
fn first_count(batch: &RecordBatch) -> Option<u64> {
    let counts = batch.columns().first()?.as_primitive_opt::<UInt64Type>()?;
    counts.values().first().copied()
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use datafusion::arrow::datatypes::SchemaRef;
    use datafusion::execution::SendableRecordBatchStream;
    use neptune_exec::JobSettings;
    use neptune_sched::Class;
    use neptune_stream::StreamError;
    use neptune_stream::sink::{Sink, Transaction, WriteMode};
    use tokio::sync::Notify;

    use super::*;
    use crate::Session;
    use crate::app::job::Repeat;

    /// A sink that says when it is about to stage or commit, and waits for leave.
    #[derive(Debug, Default)]
    struct Slow {
        waits_to_stage: bool,
        reached: Notify,
        go_on: Notify,
        begun: AtomicUsize,
        committed: AtomicUsize,
    }

    impl Slow {
        async fn wait(&self) {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
    }

    #[derive(Debug)]
    struct SlowSink(Arc<Slow>);

    #[async_trait]
    impl Sink for SlowSink {
        fn name(&self) -> &str {
            "slow"
        }

        async fn begin(
            &self,
            _: &Epoch,
            _: WriteMode,
            _: SchemaRef,
        ) -> Result<Box<dyn Transaction>, StreamError> {
            self.0.begun.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(SlowWrite(Arc::clone(&self.0))))
        }
    }

    struct SlowWrite(Arc<Slow>);

    #[async_trait]
    impl Transaction for SlowWrite {
        async fn stage(
            &self,
            _: usize,
            rows: SendableRecordBatchStream,
        ) -> Result<u64, StreamError> {
            if self.0.waits_to_stage {
                self.0.wait().await;
            }
            let batches = datafusion::physical_plan::common::collect(rows).await?;
            Ok(batches.iter().map(|batch| batch.num_rows() as u64).sum())
        }

        async fn commit(self: Box<Self>) -> Result<(), StreamError> {
            self.0.wait().await;
            self.0.committed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    /// A pass of three rows that has reached the point where its sink waits.
    async fn waiting_pass(waits_to_stage: bool) -> (Session, Arc<Slow>, RunningPass) {
        let session = Session::builder().slots(1).build().unwrap();
        let slow = Arc::new(Slow {
            waits_to_stage,
            ..Slow::default()
        });
        let query = "SELECT * FROM (VALUES (1), (2), (3)) AS t(a)";
        let (state, plan) = session.context().sql(query).await.unwrap().into_parts();
        let job = Arc::new(BatchJob {
            settings: JobSettings::new("slow", Class::Batch),
            state,
            plan,
            pinned: Vec::new(),
            tables: Vec::new(),
            target: Target::Sink(Arc::new(SlowSink(Arc::clone(&slow))), WriteMode::Append),
            repeat: Repeat::Once,
        });
        let pass = RunningPass::start(session.executor(), "slow", &job, 1, 0);
        slow.reached.notified().await;
        (session, slow, pass)
    }

    #[tokio::test]
    async fn a_pass_given_up_before_its_commit_leaves_nothing() {
        let (_session, slow, pass) = waiting_pass(true).await;
        assert!(pass.give_up().await.is_none());
        assert_eq!(slow.committed.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_pass_given_up_during_its_commit_is_whole() {
        let (session, slow, mut pass) = waiting_pass(false).await;
        // The poll that began the commit is over, so that the pass can be cancelled.
        while session.executor().counts().batch > 0 {
            tokio::task::yield_now().await;
        }
        let (given_up, ()) = tokio::join!(pass.give_up(), async { slow.go_on.notify_one() });
        assert_eq!(given_up.unwrap().unwrap().rows_out, 3);
        assert!(pass.ended().await.is_err());
        // Asked again, it tells the same and does nothing.
        assert_eq!(pass.give_up().await.unwrap().unwrap().rows_out, 3);
        let counts = [&slow.begun, &slow.committed].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, [1, 1]);
    }
}
