//! State that lasts from micro-batch to micro-batch: aggregation, deduplication, windows, joins.
//!
//! - [`rewrite`] finds in a logical plan what needs state; [`flow`] knows what the rest gives, and what cannot be a stream;
//! - [`bound`] knows which columns tell when a row is over;
//! - [`node`] and [`planner`] bring the operators into logical and physical plans;
//! - [`aggregate`], [`first_seen`], [`hold`], [`hold_sessions`], [`changelog`] and [`late`] are operators, each a [`step`]; [`join`] is one with two inputs;
//! - [`ahead`] runs them to their end where what reads them might not;
//! - [`operator`] is their access to state; [`codec`] says how rows look there, [`exchange`] who owns which.

mod aggregate;
mod ahead;
mod bound;
mod changelog;
mod codec;
mod exchange;
mod first_seen;
mod flow;
mod hold;
mod hold_sessions;
mod join;
mod join_exec;
mod join_node;
mod late;
mod node;
mod operator;
mod output;
mod planner;
mod rewrite;
mod sealed;
mod step;

pub(crate) use ahead::run_ahead;
pub(crate) use flow::Flow;
pub use output::{OutputMode, UnknownOutputMode};
pub(crate) use planner::StatefulPlanner;
pub(crate) use rewrite::{Stateful, rewrite};
