//! What awaits a task.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::job::Job;
use crate::task::{Interrupted, Task};

/// Why a task gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Its job was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// The `kill` policy took its slot; it can be run again.
    #[error("the job was killed to make room for a stream job")]
    Killed,
    /// Its code panicked.
    #[error("the job's code panicked: {0}")]
    Panicked(String),
    /// The executor was shut down.
    #[error("the executor was shut down")]
    Shutdown,
}

/// A task and what awaits its gate.
pub(crate) type Spawned<T> = (JoinHandle<Result<T, Interrupted>>, Arc<Task>);

/// How the poll of a gate ended: with its future's output, interrupted, or with a panic.
pub(crate) type Ended<T> = Result<Result<T, Interrupted>, Box<dyn Any + Send>>;

/// The output of a gate's future, or why there is none; `interrupted` says what interrupted its attempt.
pub(crate) fn output<T>(ended: Ended<T>, interrupted: Option<TaskError>) -> Result<T, TaskError> {
    match ended {
        Ok(Ok(output)) => Ok(output),
        Err(panic) if !panic.is::<Interrupted>() => {
            Err(TaskError::Panicked(panic_message(panic.as_ref())))
        }
        Ok(Err(Interrupted)) | Err(_) => Err(interrupted.unwrap_or(TaskError::Shutdown)),
    }
}

/// What interrupted that attempt of a job, if anything did.
pub(crate) fn interruption(job: &Job, attempt: u32) -> Option<TaskError> {
    if job.is_cancelled() {
        Some(TaskError::Cancelled)
    } else if job.attempt() != attempt {
        Some(TaskError::Killed)
    } else {
        None
    }
}

/// The result of a task, to be awaited. Dropping it cancels the task.
#[derive(Debug)]
#[must_use = "dropping the handle cancels the task"]
pub struct TaskHandle<T> {
    handle: Option<Spawned<T>>,
    job: Arc<Job>,
    attempt: u32,
}

impl<T> TaskHandle<T> {
    /// The handle of a task of that attempt of `job`; without a `handle` it was cancelled before it began.
    pub(crate) fn new(handle: Option<Spawned<T>>, job: Arc<Job>, attempt: u32) -> Self {
        Self {
            handle,
            job,
            attempt,
        }
    }

    /// What interrupted the task's attempt, if anything did. A task that ended with an error of its own may have
    /// done so because its children were interrupted before it was.
    pub fn interrupted(&self) -> Option<TaskError> {
        interruption(&self.job, self.attempt)
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((handle, _)) = self.handle.as_mut() else {
            return Poll::Ready(Err(TaskError::Cancelled));
        };
        let joined = std::task::ready!(Pin::new(handle).poll(cx));
        let ended = match joined {
            Ok(ended) => Ok(ended),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Err(panic),
                Err(_) => Ok(Err(Interrupted)),
            },
        };
        Poll::Ready(output(ended, self.interrupted()))
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        if let Some((handle, task)) = self.handle.take()
            && !handle.is_finished()
        {
            handle.abort();
            self.job.node().abandon(&task);
        }
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
