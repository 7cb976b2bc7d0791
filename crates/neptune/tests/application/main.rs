//! Sessions and whole applications, in one process: what jobs compute, whatever disturbs them.

// The lints that forbid these make an exception only for functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod benchmarks;
mod detect;
mod foreach;
mod kills;
mod sessions;
mod streams;
mod support;
