//! The spare thread of the batch runtime.
//!
//! Tokio drops a cancelled future only where it would have polled it, and polls may be long: with one thread per slot, a
//! cancelled task would have to wait until one of the tasks being polled comes by its runtime. So the runtime has a thread
//! more. Were it idle, tokio would wake it for each task that is spawned or woken while the others are busy, only to find no
//! slot for that task: with 16 short queries at a time that took 20 % of the time, with larger ones 7 % (`neptune bench
//! overhead`). Therefore a future that blocks in its poll keeps the thread asleep until a job is interrupted.
//!
//! ```text
//!             a job was interrupted
//!   asleep ───────────────────────────► awake: one more thread of the runtime
//!     ▲                                    │
//!     └────────────────────────────────────┘
//!        each such job has drained or is gone
//! ```
//!
//! Races: whether a job has drained is looked at under the lock, and the waker is stored before that is given up. A job that
//! drains later takes the lock later, finds the waker and wakes the future. A call that comes while the future is on its way to
//! sleep is seen before it sleeps, for the same reason.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use crate::job::Job;
use crate::sync::{Condvar, Mutex, wait};

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    state: Mutex<State>,
    called: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Interrupted jobs, whose tasks are to be dropped.
    jobs: Vec<Weak<Job>>,
    /// Of the future, while the thread is awake.
    waker: Option<Waker>,
    stopped: bool,
}

impl State {
    fn forget_drained(&mut self) {
        self.jobs.retain(|job| {
            let job = job.upgrade();
            job.is_some_and(|job| job.live_tasks() > 0)
        });
    }
}

impl Spare {
    /// Keeps the thread awake until `job` has drained.
    pub(crate) fn call(&self, job: &Arc<Job>) {
        let mut state = self.state.lock();
        state.forget_drained();
        state.jobs.push(Arc::downgrade(job));
        self.called.notify_one();
    }

    /// A job has drained: the thread may go to sleep again.
    pub(crate) fn look(&self) {
        let waker = self.state.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the future.
    pub(crate) fn stop(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.stopped = true;
            self.called.notify_one();
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The poll of the future: blocks its thread while that is not needed. `sleeps` is called before.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, sleeps: impl FnOnce()) -> Poll<()> {
        let mut state = self.state.lock();
        let mut sleeps = Some(sleeps);
        loop {
            if state.stopped {
                return Poll::Ready(());
            }
            state.forget_drained();
            if !state.jobs.is_empty() {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if let Some(sleeps) = sleeps.take() {
                sleeps();
            }
            state = wait(&self.called, state, None);
        }
    }
}
