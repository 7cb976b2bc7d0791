//! Runs an application and says what its stream job did.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neptune::{Application, Class, Console, Percentiles, RunOptions, Session};
use tokio::sync::watch;

use crate::cpu_time;
use crate::error::{BenchError, Result};

/// The stream job that every script has.
pub(super) const JOB: &str = "measured";

/// What the job did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ran {
    /// Rows it read.
    pub(super) rows: u64,
    /// Micro-batches that had some.
    pub(super) micro_batches: u64,
    /// From the trigger's time to the commit.
    pub(super) commit: Percentiles,
    /// From the start of the first job to the end of the last.
    pub(super) wall_s: f64,
    /// CPU time of the process meanwhile.
    pub(super) cpu_s: f64,
}

/// Runs the application `sql` to its end, or until `limit` has passed. Must not be called from async code.
///
/// # Errors
/// [`BenchError::Refused`] with what the engine said, when it cannot be planned or the job fails.
pub(super) fn run(session: &Session, sql: &str, limit: Option<Duration>) -> Result<Ran> {
    let options = RunOptions {
        scale: 1.0,
        notify: Arc::new(|_, _| {}),
        on_rows: Arc::new(|_, _| {}),
        console: Console::new(std::io::sink()),
    };
    let handle = session.executor().handle(Class::Stream);
    handle.block_on(async {
        let application = Application::load(session, "bench.sql", sql, options).await;
        let application = application.map_err(|error| refused(error.to_string()))?;
        let (stop, stopped) = watch::channel(false);
        let (cpu, begun) = (used_cpu(), Instant::now());
        let running = application.run(stopped);
        tokio::pin!(running);
        let summary = match limit {
            None => running.await,
            Some(limit) => tokio::select! {
                summary = &mut running => summary,
                () = tokio::time::sleep(limit) => {
                    stop.send_replace(true);
                    running.await
                }
            },
        };
        let (wall_s, cpu_s) = (
            begun.elapsed().as_secs_f64(),
            (used_cpu() - cpu).as_secs_f64(),
        );
        if let Some(error) = summary.jobs.iter().find_map(|job| job.error.clone()) {
            return Err(refused(error));
        }
        let job = summary.jobs.iter().find(|job| job.name == JOB);
        let job = job.ok_or_else(|| BenchError::failed(JOB, "the script has no such job"))?;
        Ok(Ran {
            rows: job.rows_in,
            micro_batches: job.micro_batches,
            commit: job.latency_ms,
            wall_s,
            cpu_s,
        })
    })
}

fn used_cpu() -> Duration {
    // Only the figure per core would be missing from the report.
    cpu_time::of_self().unwrap_or_default()
}

fn refused(reason: String) -> BenchError {
    BenchError::Refused { reason }
}
