//! The thread from which load is driven: the measuring instrument, raised alike for every design.
//!
//! It stands where a source of a stream would run. Were it an ordinary thread, a design would be blamed
//! for the time that the driver itself waited for a core.

use neptune_exec::{Realtime, os, raise_this_thread};

/// Raises the calling thread as stream threads are raised under `realtime`, and lets its timers be exact.
pub fn raise(realtime: Realtime) {
    raise_this_thread(realtime);
    if let Err(error) = os::make_timers_sharp() {
        tracing::warn!(%error, "the driver's timers are not exact; its lag is part of the report");
    }
}
