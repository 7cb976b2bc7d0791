//! Windows of event time in SQL, as batch queries see them.

// The lints that forbid these make an exception only for functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod event_time;
mod groups;
mod refusals;
mod sessions;
mod shapes;
mod spellings;
mod support;
