//! What can go wrong in a session.

use datafusion::common::DataFusionError;
use neptune_exec::{StartError, TaskError};
use neptune_stream::StreamError;

use crate::dialect::DialectError;

/// An error of a session or of an application.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NeptuneError {
    /// A statement is wrong; file, line and column are in the message.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// A setting that does not exist, or a value it cannot have.
    #[error("setting '{key}' = '{value}': {reason}")]
    Setting {
        /// The setting.
        key: String,
        /// What it was to be set to.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// DataFusion refused or failed.
    #[error("{}", cause(.0))]
    Engine(#[from] DataFusionError),
    /// The executor could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A job ended without a result.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// What DataFusion reports, without what it wraps around errors of ours.
fn cause(error: &DataFusionError) -> String {
    match (StreamError::find(error), error) {
        (Some(ours), _) => ours.to_string(),
        (None, DataFusionError::External(inner)) => inner.to_string(),
        (None, other) => other.strip_backtrace(),
    }
}
