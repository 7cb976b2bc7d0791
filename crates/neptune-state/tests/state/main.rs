//! The state of stream jobs from outside: the protocol, crashes at every file operation, damage to every byte, random
//! histories against a model, and processes that are killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod child;
mod cost;
mod crash;
mod damage;
mod disk;
mod faults;
mod history;
mod model;
mod moving;
mod objects;
mod protocol;
mod sim;
