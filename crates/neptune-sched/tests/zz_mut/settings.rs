//! The numbers the scheduler works with.

use crate::Nanos;

/// Settings of a [`LocalScheduler`](crate::LocalScheduler); all but `slots` may change while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedSettings {
    /// Run permits of this executor: how many tasks are polled at a time.
    pub slots: usize,
    /// Slots kept for stream tasks under the `static` policy, `0 < n < slots` unless there is one slot only.
    pub static_stream_slots: usize,
    /// How long a slot stays with the stream class after a stream task paused in the middle of its work.
    ///
    /// A query pauses for tens of microseconds each time one of its tasks waits for another. Giving the core
    /// back in every such pause would suspend and resume a victim dozens of times per query.
    pub linger: Nanos,
    /// A task suspended for more urgent work more often than this since its last grace runs undisturbed for
    /// `grace`.
    pub max_suspensions: u32,
    /// See `max_suspensions`.
    pub grace: Nanos,
    /// Share of all slot time that batch work gets, whatever the stream load, in 0..=1.
    pub batch_min_share: f64,
}

impl SchedSettings {
    /// The defaults for `slots` slots.
    pub fn new(slots: usize) -> Self {
        let slots = slots.max(1);
        Self {
            slots,
            static_stream_slots: (slots / 4).max(1),
            linger: Nanos::from_micros(300),
            max_suspensions: 1_000,
            grace: Nanos::from_millis(50),
            batch_min_share: 0.05,
        }
    }
}
