//! The `neptune run` command as its users see it: the real binary on SQL files in directories of their own.

// The lints that forbid these make an exception only for functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checkpoints;
mod ends;
mod files;
mod history;
mod input;
mod kills;
mod refusals;
mod stateful;
mod summaries;
mod support;
