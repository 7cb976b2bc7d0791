//! `neptune bench`: runs a suite and writes what it found.

use std::process::ExitCode;

use neptune_bench::cli::{self, BenchArgs};
use neptune_bench::{Result, catalog};

use crate::allocator;

/// Runs the suite; must be called before any thread is started.
pub(crate) fn run(args: &BenchArgs) -> ExitCode {
    try_run(args).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn try_run(args: &BenchArgs) -> Result<ExitCode> {
    let suites = catalog::suites(args.realtime.into(), &args.settings)?;
    cli::run(args, &suites, allocator::NAME)
}
