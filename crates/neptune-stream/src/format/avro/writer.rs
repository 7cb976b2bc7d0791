//! Writes Avro object container files.

use std::sync::Arc;

use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::format::AvroOcfFormat;
use arrow_avro::writer::{AvroWriter, WriterBuilder};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result};

use crate::format::avro::{AvroCodec, columns};
use crate::format::encode::Shared;

/// Turns batches of one schema into the bytes of one file: each batch becomes a block.
pub(crate) struct AvroEncoder {
    writer: AvroWriter<Shared>,
    shared: Shared,
    written: SchemaRef,
}

impl AvroEncoder {
    /// # Errors
    /// For a column that has no name or type in Avro.
    pub(crate) fn new(schema: &SchemaRef, codec: AvroCodec) -> Result<Self> {
        let refused = |(column, reason)| {
            DataFusionError::Execution(format!("column '{column}' cannot be written: {reason}"))
        };
        let written = columns::written(schema).map_err(refused)?;
        let codec = match codec {
            AvroCodec::Null => None,
            AvroCodec::Deflate => Some(CompressionCodec::Deflate),
            AvroCodec::Snappy => Some(CompressionCodec::Snappy),
            AvroCodec::Zstd => Some(CompressionCodec::ZStandard),
        };
        let shared = Shared::default();
        let writer = WriterBuilder::new(written.as_ref().clone())
            .with_compression(codec)
            .build::<_, AvroOcfFormat>(shared.clone())
            .map_err(failed)?;
        Ok(Self {
            writer,
            shared,
            written,
        })
    }

    /// Adds the rows of `batch`, putting their bytes into `out`.
    pub(crate) fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let columns = batch.columns().iter().zip(self.written.fields());
        let columns = columns
            .map(|(column, field)| cast_with_options(column, field.data_type(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.written), columns)?;
        self.writer.write(&batch).map_err(failed)?;
        self.shared.take(out);
        Ok(())
    }

    /// Puts what is left into `out`.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.writer.finish().map_err(failed)?;
        self.shared.take(out);
        Ok(())
    }
}

fn failed(error: impl Into<ArrowError>) -> DataFusionError {
    DataFusionError::from(error.into())
}
