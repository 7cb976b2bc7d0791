//! What a stream job has done so far.

use std::time::{Duration, Instant};

use neptune_exec::Latencies;
use neptune_sched::Nanos;

/// Counters of a stream job, from its start.
#[derive(Debug, Clone)]
pub struct QueryProgress {
    /// When it started.
    pub started: Instant,
    /// Rows read from its sources.
    pub rows_in: u64,
    /// Rows written to its sink.
    pub rows_out: u64,
    /// Micro-batches that had rows to read.
    pub micro_batches: u64,
    /// Records skipped or set aside as malformed.
    pub malformed: u64,
    /// Rows dropped because what they belong to was closed before they came.
    pub late_rows: u64,
    /// Entries in the state, after the last micro-batch.
    pub state_rows: u64,
    /// Bytes of their keys and values.
    pub state_bytes: u64,
    /// What is over by this has been given out, nanoseconds since the Unix epoch; `None` before the first watermark.
    pub watermark: Option<i64>,
    /// From the trigger's time to the commit.
    pub latency: Latencies,
    /// From the trigger's time to the start of planning: how late micro-batches began.
    pub delay: Latencies,
    /// The versions of the shared tables that the last micro-batch read.
    pub versions: Vec<u64>,
}

impl QueryProgress {
    /// Nothing done yet.
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            rows_in: 0,
            rows_out: 0,
            micro_batches: 0,
            malformed: 0,
            late_rows: 0,
            state_rows: 0,
            state_bytes: 0,
            watermark: None,
            latency: Latencies::default(),
            delay: Latencies::default(),
            versions: Vec::new(),
        }
    }

    pub(crate) fn micro_batch(
        &mut self,
        rows_in: u64,
        rows_out: u64,
        latency: Duration,
        delay: Duration,
        versions: Vec<u64>,
    ) {
        self.rows_in += rows_in;
        self.rows_out += rows_out;
        self.micro_batches += 1;
        self.latency.record(Nanos(latency.as_nanos() as u64));
        self.delay.record(Nanos(delay.as_nanos() as u64));
        self.versions = versions;
    }
}
