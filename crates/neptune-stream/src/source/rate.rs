//! The `rate` connector's rows: a counter and the time each count was due.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, TimestampNanosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::{DataFusionError, Result};

use crate::source::{RowGenerator, RowTimes};

/// Columns `timestamp` (when the row was due) and `value` (its number, from 0).
#[derive(Debug)]
pub struct RateGenerator {
    schema: SchemaRef,
}

impl RateGenerator {
    /// The generator of the `rate` connector.
    pub fn new() -> Self {
        let timestamp = DataType::Timestamp(TimeUnit::Nanosecond, None);
        Self {
            schema: Arc::new(Schema::new(vec![
                Field::new("timestamp", timestamp, true),
                Field::new("value", DataType::Int64, true),
            ])),
        }
    }
}

impl Default for RateGenerator {
    fn default() -> Self {
        Self::new()
    }
}

impl RowGenerator for RateGenerator {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn batch(&self, rows: Range<u64>, times: RowTimes) -> Result<RecordBatch> {
        self.project(rows, times, &[0, 1])
    }

    fn project(&self, rows: Range<u64>, times: RowTimes, columns: &[usize]) -> Result<RecordBatch> {
        if i64::try_from(rows.end).is_err() {
            return Err(DataFusionError::Execution(format!(
                "row {} is beyond the range of BIGINT",
                rows.end
            )));
        }
        let count = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        let arrays = columns.iter().map(|column| -> ArrayRef {
            match column {
                0 => Arc::new(TimestampNanosecondArray::from_iter_values(
                    rows.clone().map(|row| times.due_nanos(row)),
                )),
                _ => Arc::new(Int64Array::from_iter_values(
                    rows.clone().map(|row| row as i64),
                )),
            }
        });
        let schema = Arc::new(self.schema.project(columns)?);
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(
            schema,
            arrays.collect(),
            &options,
        )?)
    }

    fn chunk_rows(&self) -> usize {
        8192
    }
}
