//! What can go wrong while making data.

use std::io;
use std::path::{Path, PathBuf};

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, GenError>;

/// An error of a generator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, for example "create".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A Parquet file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Parquet's answer.
        source: ParquetError,
    },
    /// A manifest could not be written as JSON.
    #[error("cannot write {}: {source}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The JSON writer's answer.
        source: serde_json::Error,
    },
    /// The directory holds files that no generator made; they were left alone.
    #[error(
        "{} holds {file}, which no {manifest} there names: a data set cannot be generated beside \
         files of others; choose another directory or empty this one",
        dir.display(),
        manifest = crate::dataset::MANIFEST
    )]
    NotADataSet {
        /// The directory.
        dir: PathBuf,
        /// A file found there.
        file: String,
    },
    /// A scale factor that TPC-H data cannot be made for.
    #[error("scale factor {scale} is refused: it must be at least 0.001 and at most 1000")]
    BadScale {
        /// The scale factor asked for.
        scale: f64,
    },
    /// A history size that cannot be made.
    #[error("a history of {rows} events is refused: it must have from 1 to {max}")]
    BadRows {
        /// The number of events asked for.
        rows: u64,
        /// The most that are allowed.
        max: u64,
    },
    /// A range of events that ends before it starts, or is too long or too far for one batch.
    #[error("the event range {start}..{end} is refused: {reason}")]
    BadRange {
        /// The first event number.
        start: u64,
        /// The event number after the last.
        end: u64,
        /// Why.
        reason: &'static str,
    },
    /// Columns that do not make a record batch.
    #[error("cannot build a record batch: {0}")]
    Arrow(#[from] ArrowError),
    /// A table could not be registered.
    #[error("cannot register a generated table: {0}")]
    DataFusion(#[from] DataFusionError),
    /// A worker thread ended without an answer.
    #[error("the thread that wrote {} ended without an answer", path.display())]
    WorkerLost {
        /// The directory being written.
        path: PathBuf,
    },
}

impl GenError {
    /// A function that makes an I/O error into one that names what was tried and where.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A function that makes a Parquet error into one that names the file.
    pub(crate) fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Parquet { path, source }
    }
}
