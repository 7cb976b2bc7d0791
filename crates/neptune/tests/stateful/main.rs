//! Stateful streams: what they give in all is what a batch query over all rows gives, however the rows come.

// The lints that forbid these make an exception only for functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod input;
mod late;
mod queries;
mod refusals;
mod splits;
mod support;
