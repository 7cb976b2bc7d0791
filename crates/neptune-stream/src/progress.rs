//! What a stream job has done so far, and what each micro-batch of it did.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neptune_exec::Latencies;
use neptune_sched::Nanos;
use parking_lot::RwLock;
use serde::Serialize;

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

/// One micro-batch, as listeners are told of it. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MicroBatchProgress {
    /// The job's name.
    pub job: String,
    /// The number of the micro-batch, from 0; a job that goes on from a checkpoint goes on counting.
    pub micro_batch: u64,
    /// When it was done, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// Rows read.
    pub rows_in: u64,
    /// Rows read per second of this micro-batch's duration.
    pub rows_in_per_s: f64,
    /// Rows written.
    pub rows_out: u64,
    /// Rows dropped as too late since the job started.
    pub late_rows: u64,
    /// Nanoseconds since the Unix epoch: what is over by this has been given out. None before the first watermark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<i64>,
    /// Entries in the state.
    pub state_rows: u64,
    /// Bytes of their keys and values.
    pub state_bytes: u64,
    /// Where the time went.
    pub duration_ms: PhaseTimes,
    /// Tasks of the job suspended for others since it started.
    pub suspensions: u64,
}

/// The phases of a micro-batch, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PhaseTimes {
    /// From the trigger's time to the start: how late it was.
    pub delay: f64,
    /// In the queue for a slot, before it was first polled.
    pub queue: f64,
    /// Planning, or filling the plan of the micro-batch before.
    pub plan: f64,
    /// Running the plan into the sink, out of sight; the offsets are made durable meanwhile.
    pub run: f64,
    /// Making the rows visible.
    pub sink: f64,
    /// Making the state durable.
    pub state: f64,
    /// From the trigger's time to the end.
    pub total: f64,
}

/// Milliseconds.
pub(crate) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

type Listener = Arc<dyn Fn(&MicroBatchProgress) + Send + Sync>;

/// Those who are told of each micro-batch of all stream jobs of a session. Clones are the same.
#[derive(Clone, Default)]
pub struct Listeners(Arc<RwLock<Vec<Listener>>>);

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listeners({})", self.0.read().len())
    }
}

impl Listeners {
    /// Adds one. It is called between micro-batches, which wait for it: it should be quick.
    pub fn add(&self, listener: impl Fn(&MicroBatchProgress) + Send + Sync + 'static) {
        self.0.write().push(Arc::new(listener));
    }

    pub(crate) fn tell(&self, progress: &MicroBatchProgress) {
        let listeners = self.0.read().clone();
        listeners.iter().for_each(|listener| listener(progress));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }
}
