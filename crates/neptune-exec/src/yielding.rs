//! Yield points: where a running task looks whether it should let go of its core.

use std::task::{Context, Poll};

use crate::task::{current_must_yield, pass_yield_point};

/// Whether the task polled on this thread has been asked to yield.
///
/// One thread-local look-up and one relaxed load; `false` outside any task.
#[inline]
pub fn should_yield() -> bool {
    current_must_yield()
}

/// A yield point for a `poll` function: `Ready` to go on, `Pending` (with the waker already woken) to
/// unwind to the task's gate, which parks the task until it is resumed.
///
/// Besides the look at the flag it reads the clock once, for the metric of the longest stretch.
#[inline]
pub fn poll_yield(cx: &mut Context<'_>) -> Poll<()> {
    pass_yield_point();
    if should_yield() {
        // Combinators in between poll only what was woken; the gate stops the poll that this causes.
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(())
}
