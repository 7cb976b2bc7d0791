//! File formats: reading with a policy for malformed records, schema inference, writing.
//!
//! Parquet goes through DataFusion's own scan, with its pruning. The row formats, NDJSON and CSV, have a
//! reader of our own: DataFusion's cannot say on which line a record is malformed, nor skip it. Avro files are taken apart
//! here and decoded by arrow.

mod avro;
mod blocks;
mod compression;
mod decode;
mod encode;
mod infer;
mod malformed;
mod parquet;
mod reader;
mod received;
mod records;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::Session;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::StreamError;
use crate::scan::{ScanExec, ScanPartition, project};
use crate::source::{Access, FileEntry, ScanRequest};

pub use avro::AvroCodec;
use avro::AvroPartition;
pub use compression::{Compression, Packing};
pub(crate) use compression::{Packer, packed};
pub(crate) use encode::Encoder;
pub(crate) use infer::{infer_schema, repeated};
use malformed::Policy;
use reader::RowPartition;
pub(crate) use received::{Chunk, Received};
use records::MAX_RECORD_BYTES;
pub(crate) use records::{Found, Splitter, is_blank, line_length, trim_end_of_line};

/// How rows are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Comma-separated values, RFC 4180.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// Avro object container files.
    Avro,
}

impl Format {
    /// The formats by name.
    pub(crate) const NAMES: [(&'static str, Format); 4] = [
        ("json", Format::Json),
        ("csv", Format::Csv),
        ("parquet", Format::Parquet),
        ("avro", Format::Avro),
    ];

    /// Also the ending of the files that are written.
    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Parquet => "parquet",
            Format::Avro => "avro",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens to a record that does not fit its format or the column list.
///
/// The syntax of a record is always checked, values only of the columns a query reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OnError {
    /// The query fails, naming file, line and column.
    #[default]
    Fail,
    /// The record is left out and counted.
    Skip,
    /// The record is left out, counted and appended to this file as a line of JSON.
    DeadLetter(PathBuf),
}

/// How CSV is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvOptions {
    /// The first record names the columns.
    pub header: bool,
    /// Between two fields.
    pub delimiter: u8,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
        }
    }
}

/// How the files of a table are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// How rows lie in a file.
    pub format: Format,
    /// For [`Format::Csv`].
    pub csv: CsvOptions,
    /// For the row formats: how files are packed.
    pub packing: Packing,
    /// What happens to malformed records and to files that have gone.
    pub on_error: OnError,
    /// For the row formats: a longer record is malformed. Readers keep one record in memory as a whole.
    pub max_record_bytes: usize,
}

impl ReadOptions {
    /// Files of `format`, everything else as it is without options.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            csv: CsvOptions::default(),
            packing: Packing::default(),
            on_error: OnError::default(),
            max_record_bytes: MAX_RECORD_BYTES,
        }
    }

    pub(crate) fn splitter(&self) -> Splitter {
        Splitter::new(self.format, self.csv.delimiter, self.max_record_bytes)
    }
}

/// How the files of a table are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// How rows lie in a file.
    pub format: Format,
    /// For [`Format::Csv`].
    pub csv: CsvOptions,
    /// For the row formats: how files are packed.
    pub packing: Packing,
    /// For [`Format::Avro`]: how blocks are packed.
    pub avro: AvroCodec,
    /// A committed write survives a crash of the operating system.
    pub sync: bool,
}

impl WriteOptions {
    /// Refuses columns that the format cannot hold.
    ///
    /// # Errors
    /// [`StreamError::Schema`], naming the column.
    pub(crate) fn check(&self, table: &str, schema: &SchemaRef) -> Result<(), StreamError> {
        match self.format {
            Format::Csv => refuse_nested(table, schema),
            Format::Avro => avro::check(table, schema),
            Format::Json | Format::Parquet => Ok(()),
        }
    }
}

/// Reads the files of one table.
#[derive(Debug)]
pub struct FileReader {
    schema: SchemaRef,
    options: ReadOptions,
    access: Access,
    policy: Arc<Policy>,
}

impl FileReader {
    /// A reader that gives rows of `schema`.
    ///
    /// # Errors
    /// [`StreamError::Schema`] when the format cannot hold a column's type.
    pub fn new(table: &str, schema: SchemaRef, options: ReadOptions) -> Result<Self, StreamError> {
        if options.format == Format::Csv {
            refuse_nested(table, &schema)?;
        }
        Ok(Self {
            schema,
            policy: Arc::new(Policy::new(options.on_error.clone())),
            options,
            access: Access::Local,
        })
    }

    /// Reads files that are opened in another way.
    #[must_use]
    pub(crate) fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(crate) fn options(&self) -> &ReadOptions {
        &self.options
    }

    pub(crate) fn malformed_records(&self) -> u64 {
        self.policy.count()
    }

    pub(crate) fn filter_pushdown(&self, filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
        let each = match self.options.format {
            Format::Parquet => TableProviderFilterPushDown::Inexact,
            Format::Json | Format::Csv | Format::Avro => TableProviderFilterPushDown::Unsupported,
        };
        vec![each; filters.len()]
    }

    /// A plan that reads `files`, each partition a share of whole files of about the same size.
    pub(crate) async fn plan(
        &self,
        name: &str,
        state: &dyn Session,
        files: Vec<FileEntry>,
        request: ScanRequest<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>, StreamError> {
        if self.options.format == Format::Parquet {
            return parquet::plan(&self.access, &self.schema, state, &files, request).await;
        }
        let schema = project(&self.schema, request.projection)?;
        let format = self.options.format;
        let label = format!("{name} format={format}, files={}", files.len());
        let partitions = shares(files, state.config().target_partitions())
            .into_iter()
            .map(|files| {
                if format == Format::Avro {
                    return Arc::new(AvroPartition {
                        access: self.access.clone(),
                        files: files.into(),
                        schema: Arc::clone(&schema),
                    }) as Arc<dyn ScanPartition>;
                }
                Arc::new(RowPartition {
                    access: self.access.clone(),
                    files: files.into(),
                    received: None,
                    options: self.options.clone(),
                    table: Arc::clone(&self.schema),
                    schema: Arc::clone(&schema),
                    policy: Arc::clone(&self.policy),
                }) as Arc<dyn ScanPartition>
            })
            .collect();
        Ok(ScanExec::plan(label, schema, partitions, request.limit))
    }
}

impl FileReader {
    /// A plan that decodes records which were received from what `entry` names.
    pub(crate) fn plan_received(
        &self,
        name: &str,
        entry: FileEntry,
        received: Received,
        request: ScanRequest<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>, StreamError> {
        let schema = project(&self.schema, request.projection)?;
        let (first, rows) = (received.first, received.rows());
        let label = format!("{name} rows={first}..{}", first + rows as u64);
        let mut partitions = Vec::new();
        if rows > 0 {
            partitions.push(Arc::new(RowPartition {
                access: self.access.clone(),
                files: Arc::new([entry]),
                received: Some(received),
                options: self.options.clone(),
                table: Arc::clone(&self.schema),
                schema: Arc::clone(&schema),
                policy: Arc::clone(&self.policy),
            }) as Arc<dyn ScanPartition>);
        }
        Ok(ScanExec::plan(label, schema, partitions, request.limit))
    }
}

/// Splits `files` into at most `most` shares: the largest files first, each to the smallest share so far.
fn shares(mut files: Vec<FileEntry>, most: usize) -> Vec<Vec<FileEntry>> {
    let count = files.len().min(most.max(1));
    if count <= 1 {
        return if files.is_empty() {
            vec![]
        } else {
            vec![files]
        };
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.len));
    let mut shares: Vec<(u64, Vec<FileEntry>)> = vec![(0, vec![]); count];
    for file in files {
        if let Some((bytes, share)) = shares.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            // Even an empty file counts, or all of them would end up in one share.
            *bytes += file.len + 1;
            share.push(file);
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

fn refuse_nested(table: &str, schema: &SchemaRef) -> Result<(), StreamError> {
    for field in schema.fields() {
        let binary = matches!(
            field.data_type(),
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        );
        if field.data_type().is_nested() || binary {
            return Err(StreamError::Schema {
                table: table.to_owned(),
                reason: format!(
                    "column '{}' has type {}, which CSV cannot hold",
                    field.name(),
                    field.data_type()
                ),
                help: "declare it as TEXT, or use format = 'json' or 'parquet'".to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_hold_every_file_once() {
        let file = |len: u64| FileEntry {
            path: PathBuf::from(len.to_string()),
            len,
            modified_nanos: 0,
        };
        assert!(shares(vec![], 4).is_empty());
        let split = shares([9, 1, 5, 4, 0, 3].map(file).into(), 2);
        let bytes: Vec<u64> = split
            .iter()
            .map(|share| share.iter().map(|f| f.len).sum())
            .collect();
        assert_eq!(bytes, [12, 10]);
        assert_eq!(split.iter().map(Vec::len).sum::<usize>(), 6);
        assert_eq!(shares([0, 0, 0].map(file).into(), 8).len(), 3);
    }
}
