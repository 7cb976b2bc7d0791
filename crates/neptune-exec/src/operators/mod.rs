//! Operators of our own with short polls.

mod aggregate;
mod batches;
mod fold;
mod points;
mod rule;
mod slice;
mod sort;
mod window;

pub use aggregate::{SplitAggregateExec, SplitLimits};
pub use fold::FoldExec;
pub use rule::{ShortPollOptions, ShortPolls};
pub use slice::{AdaptiveSlicer, SLOW_START_ROWS};
pub use sort::RunSortExec;
pub use window::GroupWindowExec;
