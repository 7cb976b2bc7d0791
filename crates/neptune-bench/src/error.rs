//! What can go wrong while measuring, in words that say what to do.

use std::io;
use std::path::PathBuf;

use datafusion::error::DataFusionError;

use crate::quota::QuotaError;

/// Why a bench could not be set up, run or written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A file or directory could not be read, made or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb: `read`, `write`, `create`.
        action: &'static str,
        /// What it was about.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A query of the workload failed.
    #[error("query {query} failed: {source}")]
    Query {
        /// Name of the query, as `--batch-query` takes it.
        query: String,
        /// What the engine said.
        source: Box<DataFusionError>,
    },
    /// The data of the workload could not be generated or registered.
    #[error("cannot prepare the data of the bench: {0}")]
    Data(String),
    /// A name given on the command line is not one that exists.
    #[error("unknown {kind} `{name}`; known: {known}")]
    Unknown {
        /// What was being looked up: `suite`, `case`, `query`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The names that would have been taken.
        known: String,
    },
    /// A setting of the command line is out of range.
    #[error("--{option} {value}: {reason}")]
    Setting {
        /// Name of the option without its dashes.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        reason: &'static str,
    },
    /// A thread or a runtime of the bench could not be started.
    #[error("cannot start {what}: {source}")]
    Start {
        /// What was to be started.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The measured work itself failed, so that its figures mean nothing.
    #[error("case {case}: {reason}")]
    Failed {
        /// The case that was being measured.
        case: String,
        /// What went wrong in it.
        reason: String,
    },
    /// The engine does not run the measured work, which then has no figures.
    #[error("the engine refuses: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// No CPU quota can be set here.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// A chart could not be drawn.
    #[error("cannot draw chart {name}: {reason}")]
    Chart {
        /// File name of the chart.
        name: String,
        /// What the drawing library said.
        reason: String,
    },
    /// A report could not be turned into JSON.
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl BenchError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }

    pub(crate) fn query(name: &str, source: DataFusionError) -> Self {
        Self::Query {
            query: name.to_owned(),
            source: Box::new(source),
        }
    }

    pub(crate) fn failed(case: &str, reason: impl Into<String>) -> Self {
        Self::Failed {
            case: case.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The result of everything here.
pub type Result<T, E = BenchError> = std::result::Result<T, E>;
