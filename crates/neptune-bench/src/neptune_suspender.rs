//! Neptune as the runtime of `bench suspend`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use neptune::{Class, Session};
use neptune_exec::Job;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::batch::Query;
use crate::error::{BenchError, Result};
use crate::neptune_design::{SessionSettings, rows, submit};
use crate::suspend::{JobEnd, SuspendableJob, Suspender};
use crate::workload::Workload;

/// A Neptune session whose batch jobs are suspended at their user's request.
pub struct NeptuneSuspender {
    session: Session,
}

impl NeptuneSuspender {
    /// Builds it.
    ///
    /// # Errors
    /// When its threads cannot be started or a table cannot be registered.
    pub fn start(workload: &Workload, settings: &SessionSettings) -> Result<Self> {
        let session = settings.start(workload)?;
        Ok(Self { session })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::small_workload;
    use neptune_exec::Realtime;

    fn suspender() -> NeptuneSuspender {
        let settings = SessionSettings::new(Realtime::Off, &[]);
        NeptuneSuspender::start(&small_workload(), &settings).unwrap()
    }

    fn query(sql: &str) -> Arc<Query> {
        Arc::new(Query {
            name: "q".to_owned(),
            sql: sql.to_owned(),
            settings: Vec::new(),
        })
    }

    #[test]
    fn a_suspended_job_stands_still_until_it_is_resumed() {
        let suspender = suspender();
        let endless = query(
            "SELECT count(*) FROM neptune_probe a, neptune_probe b, neptune_probe c, neptune_probe d
             WHERE a.at + b.at + c.at + d.at % 7 > 5",
        );
        suspender.handle().block_on(async {
            // At once, so that its first task may not have been polled yet.
            let job = suspender.submit(endless).await.unwrap();
            for turn in 0..5 {
                assert!(job.suspend().await.unwrap().is_some(), "turn {turn}");
                let pause = Duration::from_millis(20);
                let ended = tokio::time::timeout(pause, job.ended()).await;
                assert!(ended.is_err(), "turn {turn}");
                let counts = suspender.session.executor().counts();
                assert_eq!(counts.batch, 0, "turn {turn}");
                let waited = job.resume().await.unwrap().is_some();
                assert!(waited || turn == 0, "turn {turn}: no task waited");
            }
        });
    }

    #[test]
    fn a_job_that_was_suspended_ends_with_its_rows() {
        let suspender = suspender();
        let short = query(
            "SELECT count(*) FROM neptune_probe a, neptune_probe b, neptune_probe c
             WHERE a.at + b.at + c.at % 7 > 5 AND a.at < 5 AND b.at < 5",
        );
        suspender.handle().block_on(async {
            let job = suspender.submit(short).await.unwrap();
            while job.suspend().await.unwrap().is_some() {
                job.resume().await.unwrap();
            }
            assert_eq!(job.ended().await.unwrap().rows, 1);
            assert_eq!(job.suspend().await.unwrap(), None, "it is over");
        });
    }

    #[test]
    fn a_query_that_fails_says_so() {
        let suspender = suspender();
        suspender.handle().block_on(async {
            let missing = suspender.submit(query("SELECT * FROM nowhere")).await;
            let error = missing.map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("nowhere"), "{error}");
            let failing = query("SELECT 1 / (at - at) FROM neptune_probe");
            let job = suspender.submit(failing).await.unwrap();
            let error = job.ended().await.unwrap_err().to_string();
            assert!(error.to_lowercase().contains("divide"), "{error}");
        });
    }
}
