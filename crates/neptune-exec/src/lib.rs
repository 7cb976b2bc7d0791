//! One node's runtime: suspendable tasks, slots, class runtimes, yield points and memory.

pub mod operators;
pub mod yielding;
