//! Stream engine of Neptune: sources, sinks and versioned tables for micro-batches.
//!
//! A stream job runs as a sequence of micro-batches, each an ordinary bounded DataFusion plan over a range of
//! offsets. This crate has what such a plan reads and writes:
//!
//! - [`source`]: what is there ([`source::Source::latest_offset`]) and a plan for any range of it;
//! - [`sink`]: writes of one micro-batch that become visible as a whole or not at all, and replace what the
//!   same micro-batch wrote before when it is run again;
//! - [`shared`]: tables that batch jobs replace atomically and stream jobs read as one snapshot per micro-batch;
//! - [`memory`]: tables in memory that queries read while jobs append to them;
//! - [`event_time`] and [`window`]: which column is the event time, and windows over it;
//! - [`connector`]: from `WITH (connector = …, …)` to all of these.

mod batches;
mod checkpoint;
pub mod connector;
pub mod error;
pub mod event_time;
pub mod format;
pub mod memory;
pub mod offset;
mod plan;
mod planning;
mod progress;
mod query;
mod remote;
mod scan;
pub mod shared;
pub mod sink;
pub mod source;
mod stateful;
mod trigger;
mod upsert;
pub mod watermark;
pub mod window;
mod write;

pub use checkpoint::CheckpointSpec;
pub use error::StreamError;
pub use offset::{Limits, Offset, OffsetRange};
pub use planning::{extension_planners, with_stream_planning};
pub use progress::{Listeners, MicroBatchProgress, PhaseTimes, QueryProgress};
pub use query::{STOP_PATIENCE, StreamQuery, StreamSpec};
pub use stateful::{OutputMode, UnknownOutputMode};
pub use trigger::Trigger;
pub use write::{Staged, rows_read, stage};
