//! Avro object container files: reading, columns, writing.

mod columns;
mod container;
mod feed;
mod reader;
mod shape;
mod writer;

use datafusion::arrow::datatypes::SchemaRef;

use crate::error::StreamError;
use crate::source::{Access, FileEntry};

pub(crate) use reader::AvroPartition;
pub(crate) use writer::AvroEncoder;

/// How the blocks of files that are written are packed. Reading knows all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AvroCodec {
    /// Not at all.
    Null,
    /// What every reader has to know.
    Deflate,
    /// Fast, and known to most readers.
    #[default]
    Snappy,
    /// Smallest.
    Zstd,
}

impl AvroCodec {
    /// The values of option `compression` for this format.
    pub(crate) const NAMES: [(&'static str, AvroCodec); 5] = [
        ("auto", AvroCodec::Snappy),
        ("none", AvroCodec::Null),
        ("deflate", AvroCodec::Deflate),
        ("snappy", AvroCodec::Snappy),
        ("zstd", AvroCodec::Zstd),
    ];
}

/// The columns of a table of such files. Reads the file's beginning: not for a thread that must not wait.
///
/// # Errors
/// [`StreamError::Io`], [`StreamError::Corrupt`], and [`StreamError::Malformed`] for a column no table can have.
pub(crate) fn schema_of(access: &Access, entry: &FileEntry) -> Result<SchemaRef, StreamError> {
    let container = container::Container::open(access, entry)?;
    let columns = columns::columns_of(entry, container.schema())?;
    columns::table_of(entry, &columns)
}

/// Refuses columns that have no name or type in Avro.
///
/// # Errors
/// [`StreamError::Schema`], naming the column.
pub(crate) fn check(table: &str, schema: &SchemaRef) -> Result<(), StreamError> {
    match columns::written(schema) {
        Ok(_) => Ok(()),
        Err((column, reason)) => Err(StreamError::Schema {
            table: table.to_owned(),
            reason: format!("column '{column}': {reason}"),
            help: "name and cast the columns in the SELECT list".to_owned(),
        }),
    }
}
