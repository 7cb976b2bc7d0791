//! The operators with short polls give the answers of the stock ones: on random data, with interruptions, with little
//! memory, and when they are dropped half-way.

// Helpers of tests may panic as tests may.
#![allow(clippy::unwrap_used, clippy::panic)]

mod aggregate;
mod join;
mod memory;
mod plans;
mod sort;
mod support;
mod window;
