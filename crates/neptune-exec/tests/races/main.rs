//! The races between gates, scheduler, ticker and users, model-checked.
//!
//! The files of the protocol are compiled here a second time, unchanged, with the model checker's locks and atomics
//! in place of the real ones (`sync`). Each scene is run under thousands of interleavings; one in which a
//! task, a slot or a wake-up is lost ends in a deadlock or a failed assertion, and shuttle prints the schedule
//! that leads there.

#![allow(dead_code, missing_docs, unreachable_pub)]
// Helpers are outside of `#[test]` functions.
#![allow(clippy::unwrap_used)]

#[path = "../../src/event_log.rs"]
mod event_log;
#[path = "../../src/job.rs"]
mod job;
#[path = "../../src/latencies.rs"]
mod latencies;
#[path = "../../src/node.rs"]
mod node;
#[path = "../../src/task.rs"]
mod task;

mod scenes;
mod stage;
mod sync;

/// The part of the OS module that the protocol needs; no quota is set here, so that nobody asks.
mod os {
    pub(crate) fn process_cpu_time() -> std::time::Duration {
        std::time::Duration::ZERO
    }
}
