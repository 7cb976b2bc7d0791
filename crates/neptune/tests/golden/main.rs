//! Cases of another project: its inputs and the outputs it expects, on queries of ours.
//!
//! The files are not part of this repository: `NEPTUNE_GOLDEN` says where they are, `../shared/golden` beside the workspace if it
//! is not set. Where there are none, the tests say that they were skipped.

// The lints that forbid these make an exception only for functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod batch;
mod case;
mod parts;
mod stream;
