//! Deterministic data for Neptune's examples, tests and benchmarks.
//!
//! * [`shop`]: the events of a shop with attackers among its visitors. Event number *n* of a seed
//!   is a pure function of (seed, *n*), so one definition gives both the history on disk and any
//!   range of live events.
//! * [`tpch`]: the TPC-H tables as Parquet files, its 22 queries, and a list of queries that
//!   together exercise every kind of operator.
//! * [`ysb`]: the advertisement events of the Yahoo Streaming Benchmark, its query, and what the
//!   query has to answer.
//!
//! Data sets on disk are made once and completed after a crash: a [manifest](dataset) says what a
//! directory is for, and a file has its final name only when it is whole.

pub mod dataset;
mod draws;
mod error;
pub mod shop;
pub mod tpch;
pub mod ysb;

pub use error::{GenError, Result};
