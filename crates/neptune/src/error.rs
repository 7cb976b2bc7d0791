//! What can go wrong in a session.

use datafusion::common::DataFusionError;
use neptune_exec::{StartError, TaskError};

use crate::dialect::DialectError;

/// An error of a session or of an application.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NeptuneError {
    /// A statement is wrong; file, line and column are in the message.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// DataFusion refused or failed.
    #[error("{}", .0.strip_backtrace())]
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
