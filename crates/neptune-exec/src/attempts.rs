//! A task that is run again each time the `kill` policy took its slot.
//!
//! The loop and the gate of the attempt under way are one future, which saves each job a task of the runtime and a wake-up.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use crate::job::Job;
use crate::task::Gate;
use crate::task_handle::{TaskError, interruption, output};

/// See the module's text.
pub(crate) struct Attempts<T, M> {
    job: Arc<Job>,
    most_kills: u32,
    make: M,
    /// The first attempt, unless the job was over before it.
    first: Option<(u32, Gate<T>)>,
}

impl<T, E, F, M> Attempts<Result<T, E>, M>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    M: FnMut() -> F,
{
    /// Makes the first attempt of `job`, which takes its place in the queue.
    pub(crate) fn new(job: Arc<Job>, most_kills: u32, mut make: M) -> Self {
        Self {
            first: begin(&job, &mut make),
            job,
            most_kills,
            make,
        }
    }

    /// Polls one attempt after the other.
    pub(crate) async fn run(mut self) -> Result<Result<T, E>, TaskError> {
        let mut next = self.first.take();
        while let Some((attempt, gate)) = next {
            let ended = AssertUnwindSafe(gate).catch_unwind().await;
            let interrupted = interruption(&self.job, attempt);
            // What breaks off an attempt may reach its children first: then it ends with an error, or a panic, that
            // is not its own.
            match (output(ended, interrupted.clone()), interrupted) {
                (Ok(Ok(value)), _) => return Ok(Ok(value)),
                (_, Some(TaskError::Killed)) => {}
                (_, Some(error)) => return Err(error),
                (other, None) => return other,
            }
            // The killed attempt gives everything back before the next one asks for it.
            self.job.drained().await;
            if self.job.attempt() >= self.most_kills {
                self.job.set_killable(false);
            }
            next = begin(&self.job, &mut self.make);
        }
        Err(TaskError::Cancelled)
    }
}

fn begin<F: Future + Send + 'static>(
    job: &Arc<Job>,
    make: &mut impl FnMut() -> F,
) -> Option<(u32, Gate<F::Output>)> {
    let attempt = job.attempt();
    // Made first: should that panic, there is no task yet that nobody would remove.
    let future = Box::pin(make());
    let task = job.add_task(attempt)?;
    task.arrives();
    Some((attempt, Gate::new(task, future)))
}
