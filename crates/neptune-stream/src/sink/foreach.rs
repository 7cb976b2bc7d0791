//! The sink that calls a function with the rows of each micro-batch.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::error::StreamError;
use crate::sink::{Epoch, Sink, Transaction, WriteMode};

/// What is called: with the number of the micro-batch and its rows, in batches of its schema.
pub type BatchFunction = Arc<
    dyn Fn(u64, SchemaRef, Vec<RecordBatch>) -> BoxFuture<'static, Result<(), DataFusionError>>
        + Send
        + Sync,
>;

/// Calls a function once per micro-batch, when all rows of it are there and before it counts as committed.
///
/// A job that goes on from a checkpoint calls it again with the same number and rows for the micro-batch in which it was cut off:
/// a function that does the same for the same number makes the whole exactly-once.
pub struct ForeachSink {
    name: String,
    call: BatchFunction,
}

impl fmt::Debug for ForeachSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeachSink")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ForeachSink {
    /// A sink called `name`.
    pub fn new(name: impl Into<String>, call: BatchFunction) -> Self {
        Self {
            name: name.into(),
            call,
        }
    }
}

#[async_trait]
impl Sink for ForeachSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn begin(
        &self,
        epoch: &Epoch,
        _: WriteMode,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        Ok(Box::new(Call {
            call: Arc::clone(&self.call),
            number: epoch.micro_batch,
            schema,
            staged: Mutex::default(),
        }))
    }
}

struct Call {
    call: BatchFunction,
    number: u64,
    schema: SchemaRef,
    staged: Mutex<Vec<(usize, Vec<RecordBatch>)>>,
}

#[async_trait]
impl Transaction for Call {
    async fn stage(
        &self,
        partition: usize,
        rows: SendableRecordBatchStream,
    ) -> Result<u64, StreamError> {
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let count = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        self.staged.lock().push((partition, batches));
        Ok(count)
    }

    async fn commit(self: Box<Self>) -> Result<(), StreamError> {
        let mut staged = self.staged.into_inner();
        staged.sort_by_key(|(partition, _)| *partition);
        let batches = staged.into_iter().flat_map(|(_, batches)| batches);
        Ok((self.call)(self.number, self.schema, batches.collect()).await?)
    }
}
