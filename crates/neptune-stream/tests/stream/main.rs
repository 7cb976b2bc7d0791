//! The stream engine from the outside: declared tables inside real queries. One binary, because each links
//! all of DataFusion.

// The lints that forbid these make an exception only for functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod avro;
mod connectors;
mod files;
mod helpers;
mod malformed;
mod nexmark;
#[cfg(all(feature = "aws", feature = "azure", feature = "gcp"))]
mod objects;
mod packed;
mod ranges;
mod robustness;
#[cfg(all(feature = "aws", feature = "azure", feature = "gcp"))]
mod s3_server;
mod shared;
mod sinks;
mod socket;
