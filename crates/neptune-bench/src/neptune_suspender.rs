//! Neptune as the runtime of `bench suspend`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use neptune::{Class, PolicyName, Session};
use neptune_exec::{Demote, Job, Realtime};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::batch::Query;
use crate::error::{BenchError, Result};
use crate::neptune_design::{rows, start_session, submit};
use crate::suspend::{JobEnd, SuspendableJob, Suspender};
use crate::workload::Workload;

/// A Neptune session whose batch jobs are suspended at their user's request.
pub struct NeptuneSuspender {
    session: Session,
}

impl NeptuneSuspender {
    /// Builds it, its stream threads raised as `realtime` says.
    ///
    /// # Errors
    /// When its threads cannot be started or a table cannot be registered.
    pub fn start(workload: &Workload, realtime: Realtime) -> Result<Self> {
        Ok(Self {
            session: start_session(workload, PolicyName::Neptune, realtime, Demote::default())?,
        })
    }
}

impl Suspender for NeptuneSuspender {
    fn handle(&self) -> Handle {
        self.session.executor().handle(Class::Stream).clone()
    }

    fn submit(&self, query: Arc<Query>) -> BoxFuture<'static, Result<Arc<dyn SuspendableJob>>> {
        let session = self.session.clone();
        let handle = session.executor().handle(Class::Batch).clone();
        let gone = |name: &str| BenchError::failed(name, "the query's planning was dropped");
        Box::pin(async move {
            let name = query.name.clone();
            let planned = handle.spawn(async move { submit(&session, &query).await });
            let handle_of_job = planned.await.map_err(|_| gone(&name))??;
            let job = Arc::clone(handle_of_job.job());
            let (tell, end) = watch::channel(None);
            let watched = Arc::clone(&job);
            handle.spawn(async move {
                let ended = handle_of_job.await;
                // Also the tasks that the result did not wait for: they have stretches to tell.
                watched.drained().await;
                let ended = ended
                    .map(|batches| end_of(&watched, rows(&batches) as u64))
                    .map_err(|error| error.to_string());
                let _ = tell.send(Some(ended));
            });
            Ok(Arc::new(NeptuneJob { name, job, end }) as Arc<dyn SuspendableJob>)
        })
    }
}

fn end_of(job: &Job, rows: u64) -> JobEnd {
    let stats = job.suspensions();
    let stretches = job.stretches();
    let longest = stretches.into_iter().max_by_key(|(_, stretch)| *stretch);
    JobEnd {
        rows,
        longest_poll: longest.as_ref().map_or(Duration::ZERO, |found| found.1),
        longest_poll_operator: longest.map(|found| found.0),
        task_suspend: stats.suspend,
        task_resume: stats.resume,
    }
}

/// How a job ended, once it has.
type Ended = Option<Result<JobEnd, String>>;

struct NeptuneJob {
    name: String,
    job: Arc<Job>,
    end: watch::Receiver<Ended>,
}

impl SuspendableJob for NeptuneJob {
    fn suspend(&self) -> BoxFuture<'_, Result<Option<Duration>>> {
        Box::pin(async move {
            let start = Instant::now();
            self.job.suspend().await;
            let elapsed = start.elapsed();
            let over = self.job.live_tasks() == 0 || self.end.borrow().is_some();
            Ok((!over).then_some(elapsed))
        })
    }

    fn resume(&self) -> BoxFuture<'_, Result<Option<Duration>>> {
        Box::pin(async move {
            let start = Instant::now();
            let waited = self.job.resume_and_wait().await;
            let elapsed = start.elapsed();
            Ok(waited.then_some(elapsed))
        })
    }

    fn ended(&self) -> BoxFuture<'_, Result<JobEnd>> {
        let mut end = self.end.clone();
        Box::pin(async move {
            let gone = |_| BenchError::failed(&self.name, "the job is gone");
            let end = end.wait_for(Option::is_some).await.map_err(gone)?;
            match &*end {
                Some(Ok(end)) => Ok(end.clone()),
                Some(Err(error)) => Err(BenchError::failed(&self.name, error)),
                None => Err(BenchError::failed(&self.name, "the job has no end")),
            }
        })
    }
}
