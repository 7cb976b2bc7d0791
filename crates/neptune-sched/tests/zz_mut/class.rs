//! The class of a job: all that a user says to tell latency-sensitive work from the rest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Class of a job, inherited by its stages, tasks and spawned children. `Stream` orders before `Batch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Latency-sensitive: gets a core at once.
    Stream,
    /// Latency-tolerant: runs on what stream tasks leave over, and may be suspended.
    Batch,
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Self; 2] = [Self::Stream, Self::Batch];

    /// The name used in SQL, JSON and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Batch => "batch",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A class name that is neither `stream` nor `batch`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown job class '{0}': use 'stream' or 'batch'")]
pub struct UnknownClass(pub String);

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|c| c.name().eq_ignore_ascii_case(s.trim()))
            .ok_or_else(|| UnknownClass(s.to_owned()))
    }
}
