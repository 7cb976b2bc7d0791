//! The runtime from outside: tasks on real threads, suspended, resumed, cancelled, killed and dropped.

// Helpers are outside of `#[test]` functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cancel;
mod chaos;
mod grace;
mod history;
mod inherit;
mod kill;
mod memory;
mod panics;
mod preempt;
mod query;
mod quota;
mod share;
mod shutdown;
mod start;
mod state;
mod support;
mod suspend;
mod wake;
