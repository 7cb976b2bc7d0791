//! The neptune command.
fn main() {}
