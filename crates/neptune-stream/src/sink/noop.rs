//! The sink that runs a query for nothing but its cost.

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use crate::error::StreamError;
use crate::sink::{Epoch, Sink, Transaction, WriteMode};

/// Counts rows and forgets them.
#[derive(Debug)]
pub struct NoopSink {
    name: String,
}

impl NoopSink {
    /// A sink called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

#[async_trait]
impl Sink for NoopSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn begin(
        &self,
        _: &Epoch,
        _: WriteMode,
        _: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        Ok(Box::new(Nothing))
    }
}

struct Nothing;

#[async_trait]
impl Transaction for Nothing {
    async fn stage(
        &self,
        _: usize,
        mut rows: SendableRecordBatchStream,
    ) -> Result<u64, StreamError> {
        let mut count = 0;
        while let Some(batch) = rows.try_next().await? {
            count += batch.num_rows() as u64;
        }
        Ok(count)
    }

    async fn commit(self: Box<Self>) -> Result<(), StreamError> {
        Ok(())
    }
}
