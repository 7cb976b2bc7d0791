//! The primitives that the protocol between gates and scheduler is built from.
//!
//! They are named here, and nowhere else in `task`, `node` and `job`, because the model checker's test
//! (`tests/races`) compiles those very files against primitives of its own.

use std::time::Duration;

pub(crate) use std::sync::atomic;
pub(crate) use std::thread_local;
pub(crate) use std::time::Instant;

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

/// Waits for a notice, but not longer than `timeout` where there is one.
pub(crate) fn wait<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    timeout: Option<Duration>,
) -> MutexGuard<'a, T> {
    match timeout {
        Some(timeout) => {
            let _ = condvar.wait_for(&mut guard, timeout);
        }
        None => condvar.wait(&mut guard),
    }
    guard
}
