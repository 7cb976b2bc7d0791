//! The suites behind `neptune bench`, and the kit they measure with.
//!
//! - [`openloop`] fires probes on time whatever happens, [`batch`] runs the load beside them,
//!   [`stats`] and [`cpu_time`] turn both into figures.
//! - A [`Design`](design::Design) is a way to run the two together; [`baseline`] has those that need
//!   nothing of Neptune's, [`neptune_design`] the others; [`annals`] keeps what Neptune's jobs say of themselves.
//! - [`preempt`], [`suspend`], [`overhead`] and [`stream`] are the suites, [`catalog`] has them with all that they measure; each hands back a [`report`], tables and
//!   [`chart`]s, which [`cli`] writes where the user asked.
//! - [`quota`] and [`hogs`] make the settings of real life: a CPU limit, and neighbours.
//!
//! Every suite takes short stretches of all its cases in turn, round after round, so that a drift of
//! the machine hits all of them alike, and reports how far the rounds spread.

pub mod annals;
pub mod baseline;
pub mod batch;
pub mod catalog;
pub mod chart;
mod child;
pub mod cli;
pub mod cpu_time;
pub mod design;
pub mod driver;
mod error;
pub mod hogs;
pub mod machine;
pub mod neptune_design;
pub mod neptune_engine;
pub mod neptune_suspender;
pub mod nexmark;
pub mod openloop;
pub mod overhead;
pub mod preempt;
pub mod probe;
pub mod quota;
pub mod report;
pub mod stats;
pub mod stream;
pub mod suite;
pub mod suspend;
pub mod workload;

pub use error::{BenchError, Result};
