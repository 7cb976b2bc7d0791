//! The `neptune` command.
//!
//! Tables, results and `--json` go to standard output; progress, warnings and errors to standard error, more of them
//! with `RUST_LOG=info`.

mod allocator;
mod bench;
mod generate;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use neptune_bench::hogs;
use tracing_subscriber::EnvFilter;

/// Runs stream and batch jobs together on one machine.
#[derive(Debug, Parser)]
#[command(name = "neptune", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an application: a SQL file with tables and jobs
    Run(run::RunArgs),
    /// Measure: preempt, suspend, overhead or stream
    Bench(neptune_bench::cli::BenchArgs),
    /// Generate data sets
    Gen(generate::GenArgs),
}

fn main() -> ExitCode {
    // Before anything else: this process may be one that only keeps a core busy.
    hogs::hog_main();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Gen(args) => generate::run(&args),
    }
}
