//! Writes batches in a format into a buffer that the sink takes from.

use std::io::{self, Write};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv::WriterBuilder;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::common::Result;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use parking_lot::Mutex;

use crate::format::avro::AvroEncoder;
use crate::format::{CsvOptions, Format, WriteOptions};

/// Rows per row group: what a reader can skip or read in parallel, and what the writer keeps in memory.
const ROW_GROUP_ROWS: usize = 256 << 10;

/// Turns batches of one schema into the bytes of one file.
pub(crate) enum Encoder {
    Json,
    Csv { options: CsvOptions, header: bool },
    Parquet(Box<ArrowWriter<Shared>>, Shared),
    Avro(Box<AvroEncoder>),
}

impl Encoder {
    /// An encoder for a whole file.
    pub(crate) fn new(options: &WriteOptions, schema: &SchemaRef) -> Result<Self> {
        let csv = options.csv;
        Ok(match options.format {
            Format::Json => Encoder::Json,
            Format::Csv => Encoder::Csv {
                options: csv,
                header: csv.header,
            },
            Format::Parquet => {
                let shared = Shared::default();
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let writer =
                    ArrowWriter::try_new(shared.clone(), Arc::clone(schema), Some(properties))?;
                Encoder::Parquet(Box::new(writer), shared)
            }
            Format::Avro => Encoder::Avro(Box::new(AvroEncoder::new(schema, options.avro)?)),
        })
    }

    /// An encoder for rows that may be put after others: without a header.
    pub(crate) fn headless(options: &WriteOptions, schema: &SchemaRef) -> Result<Self> {
        let mut options = *options;
        options.csv.header = false;
        Self::new(&options, schema)
    }

    /// Adds the rows of `batch`, putting what bytes are ready into `out`.
    pub(crate) fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Encoder::Json => {
                let mut writer = LineDelimitedWriter::new(out);
                writer.write(batch)?;
                writer.finish()?;
            }
            Encoder::Csv { options, header } => {
                WriterBuilder::new()
                    .with_header(std::mem::take(header))
                    .with_delimiter(options.delimiter)
                    .build(out)
                    .write(batch)?;
            }
            Encoder::Parquet(writer, shared) => {
                writer.write(batch)?;
                shared.take(out);
            }
            Encoder::Avro(encoder) => encoder.encode(batch, out)?,
        }
        Ok(())
    }

    /// Puts the end of the file into `out`.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Encoder::Json | Encoder::Csv { .. } => {}
            Encoder::Parquet(writer, shared) => {
                writer.finish()?;
                shared.take(out);
            }
            Encoder::Avro(encoder) => encoder.finish(out)?,
        }
        Ok(())
    }
}

/// The bytes a writer has written and the sink has not taken yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    /// Moves the bytes to the end of `out`.
    pub(crate) fn take(&self, out: &mut Vec<u8>) {
        out.append(&mut self.0.lock());
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
