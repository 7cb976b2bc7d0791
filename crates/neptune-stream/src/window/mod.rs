//! Windows of event time in SQL: `tumble`, `hop`, `cumulate` and `session`.
//!
//! A window is a struct of `start` and `end`, timestamps of the type of the time column, and holds the times from `start` up to
//! but not `end`. Starts are multiples of the width or slide since the epoch in UTC, whatever the zone of the column. Lengths
//! are literal intervals of fixed length, days at most: a day is 24 hours. A row whose time is NULL is in no window, and is left
//! out wherever rows are grouped by windows.
//!
//! [`functions`] are the names in SQL, [`resolve_windows`] gives them their operators, and [`SessionWindow`] is the
//! operator for sessions. All windows are known before the aggregation above them, which groups by a plain column.

mod assign;
mod function;
mod length;
mod planner;
mod rule;
mod session_exec;
mod session_node;
mod sessions;

pub use function::functions;
pub use planner::SessionWindowPlanner;
pub use rule::{WindowRule, resolve_windows};
pub use session_exec::SessionWindowExec;
pub use session_node::SessionWindow;
