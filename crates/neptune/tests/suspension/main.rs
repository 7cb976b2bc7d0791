//! Suspension changes when a query runs and nothing else: not its answer, not what is left behind when it is cancelled, and
//! not whether it ends. One binary, because each links all of DataFusion.
//!
//! Random choices follow one seed, printed when a test fails; `NEPTUNE_TEST_SEED` sets it.

// The lints that forbid these make an exception only for functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answer;
mod answers;
mod cancel;
mod cases;
mod disturb;
mod grace;
mod mixes;
mod policies;
mod progress;
mod settle;
mod spill;
