//! The handle of a running job: suspend, resume, cancel, progress, await.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result as EngineResult;
use neptune_exec::{Executor, Job, JobSettings, Percentiles, TaskError};
use neptune_sched::{Class, JobId};
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::error::NeptuneError;

/// How often the `kill` policy may restart a job before it is left alone: a job that is killed for ever makes
/// no progress, and no policy may starve batch work.
const MAX_KILLS: u32 = 20;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It runs, or waits for a slot.
    Running,
    /// Its user suspended it.
    Suspended,
    /// It ended; the result says how.
    Ended,
}

/// What a job has done so far.
#[derive(Debug, Clone, Serialize)]
pub struct JobProgress {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Where it stands.
    pub state: JobState,
    /// Tasks that exist.
    pub tasks: usize,
    /// Bytes they hold in the memory pool.
    pub memory_bytes: usize,
    /// How often one of them was suspended.
    pub suspensions: u64,
    /// Request to suspended, in milliseconds.
    pub suspend_ms: Percentiles,
    /// How often the `kill` policy restarted it.
    pub kills: u32,
    /// Time since it was submitted.
    pub elapsed: Duration,
}

/// A submitted job. Awaiting it gives its result; dropping it cancels it.
#[derive(Debug)]
#[must_use = "dropping the handle cancels the job"]
pub struct JobHandle<T = Vec<RecordBatch>> {
    job: Arc<Job>,
    submitted: Instant,
    driver: JoinHandle<Result<EngineResult<T>, TaskError>>,
}

impl<T: Send + 'static> JobHandle<T> {
    /// Runs what `attempt` makes, again each time the `kill` policy takes its slot.
    pub(crate) fn start<F>(
        executor: &Executor,
        settings: &JobSettings,
        attempt: impl FnMut() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = EngineResult<T>> + Send + 'static,
    {
        let job = executor.job(settings);
        let driver = executor.spawn_attempts(&job, MAX_KILLS, attempt);
        Self {
            job,
            submitted: Instant::now(),
            driver,
        }
    }
}

impl<T> JobHandle<T> {
    /// The job's identity.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.job.id()
    }

    /// The job, for what only the runtime knows.
    #[must_use]
    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// Suspends all its tasks; returns when none of them runs any more.
    pub async fn suspend(&self) {
        self.job.suspend().await;
    }

    /// Lets a suspended job go on.
    pub fn resume(&self) {
        self.job.resume();
    }

    /// Cancels it; awaiting it gives [`TaskError::Cancelled`].
    pub fn cancel(&self) {
        self.job.cancel();
    }

    /// What it has done so far.
    #[must_use]
    pub fn progress(&self) -> JobProgress {
        let stats = self.job.suspensions();
        JobProgress {
            name: self.job.name().to_string(),
            class: self.job.class(),
            state: if self.driver.is_finished() {
                JobState::Ended
            } else if self.job.is_held() {
                JobState::Suspended
            } else {
                JobState::Running
            },
            tasks: self.job.live_tasks(),
            memory_bytes: self.job.memory(),
            suspensions: stats.count,
            suspend_ms: stats.suspend.percentiles(),
            kills: self.job.attempt(),
            elapsed: self.submitted.elapsed(),
        }
    }
}

impl<T> Future for JobHandle<T> {
    type Output = Result<T, NeptuneError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(
            match std::task::ready!(Pin::new(&mut self.driver).poll(cx)) {
                Ok(Ok(result)) => result.map_err(Into::into),
                Ok(Err(error)) => Err(error.into()),
                Err(_) if self.job.is_cancelled() => Err(TaskError::Cancelled.into()),
                Err(_) => Err(TaskError::Shutdown.into()),
            },
        )
    }
}

impl<T> Drop for JobHandle<T> {
    fn drop(&mut self) {
        if !self.driver.is_finished() {
            self.job.cancel();
            self.driver.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use datafusion::common::DataFusionError;
    use neptune_sched::PolicyName;

    use super::*;
    use crate::Session;

    /// What an attempt has of its job, which is made before it is known.
    type Slot = Arc<OnceLock<Arc<Job>>>;

    /// A job whose first attempt, within one poll, waits until it is interrupted and then ends with an error of its
    /// own, as one does whose children were interrupted first; later attempts give their number.
    fn fails_when_interrupted(session: &Session) -> JobHandle<u32> {
        let settings = JobSettings {
            killable: true,
            ..JobSettings::new("interrupted", Class::Batch)
        };
        let (slot, attempts) = (Slot::default(), Arc::new(AtomicU32::new(0)));
        let known = Arc::clone(&slot);
        let handle = JobHandle::start(session.executor(), &settings, move || {
            let (known, number) = (Arc::clone(&known), attempts.fetch_add(1, Ordering::Relaxed));
            async move {
                if number > 0 {
                    return Ok(number);
                }
                let under_way = |job: &Arc<Job>| job.attempt() == 0 && !job.is_cancelled();
                while known.get().is_none_or(under_way) {
                    std::thread::yield_now();
                }
                Err(DataFusionError::Execution("a child is gone".to_owned()))
            }
        });
        slot.set(Arc::clone(&handle.job)).unwrap();
        handle
    }

    #[tokio::test]
    async fn an_attempt_that_fails_since_it_was_killed_is_run_again() {
        let session = Session::builder()
            .slots(1)
            .policy(PolicyName::Kill)
            .build()
            .unwrap();
        let handle = fails_when_interrupted(&session);
        // A stream takes the slot as soon as the attempt has it.
        while handle.progress().kills == 0 {
            let settings = session.job_settings("stream", Class::Stream);
            let query = session.context().sql("SELECT 1").await.unwrap();
            session.submit_as(query, settings).await.unwrap();
        }
        assert_eq!(handle.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_attempt_that_fails_since_it_was_cancelled_was_cancelled() {
        let session = Session::builder().slots(1).build().unwrap();
        let handle = fails_when_interrupted(&session);
        // It is being polled, so that the error is its own.
        while session.executor().counts().batch == 0 {
            tokio::task::yield_now().await;
        }
        handle.cancel();
        let error = handle.await.unwrap_err();
        assert!(
            matches!(error, NeptuneError::Task(TaskError::Cancelled)),
            "{error:?}"
        );
    }
}
