//! The model checker's primitives under the names of `src/sync.rs`, and a clock that only moves when it is read.

use std::cell::Cell;
use std::time::Duration;

pub(crate) use shuttle::sync::{Condvar, MutexGuard, atomic};
pub(crate) use shuttle::thread_local;

/// How far the clock moves each time it is read.
const TICK: Duration = Duration::from_micros(20);

// An execution runs on one thread of the system, and its tasks on stacks of their own.
std::thread_local! {
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Sets the clock back, so that every execution sees the same times.
pub(crate) fn reset_clock() {
    CLOCK.set(Duration::ZERO);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        CLOCK.set(CLOCK.get() + TICK);
        Self(CLOCK.get())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A lock that, like the real one, is not poisoned by panics.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A wait with a timeout may end at any moment; one without ends with a notice only.
pub(crate) fn wait<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Option<Duration>,
) -> MutexGuard<'a, T> {
    if timeout.is_some() {
        shuttle::thread::yield_now();
        return guard;
    }
    condvar
        .wait(guard)
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
