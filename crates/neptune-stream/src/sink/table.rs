//! Sinks that write into tables of this process: appendable and versioned ones.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use parking_lot::Mutex;

use crate::error::StreamError;
use crate::memory::MemoryTable;
use crate::shared::SharedTable;
use crate::sink::{Epoch, Sink, Transaction, WriteMode};

/// Writes into a [`MemoryTable`].
#[derive(Debug)]
pub struct MemorySink {
    table: Arc<MemoryTable>,
}

impl MemorySink {
    /// A sink that writes into `table`.
    pub fn new(table: Arc<MemoryTable>) -> Self {
        Self { table }
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn name(&self) -> &str {
        self.table.name()
    }

    async fn begin(
        &self,
        epoch: &Epoch,
        mode: WriteMode,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        self.table.set_schema(schema)?;
        let (table, epoch) = (Arc::clone(&self.table), epoch.clone());
        Ok(Box::new(Collected {
            staged: Mutex::default(),
            commit: move |batches| table.write(Some(epoch.clone()), mode, batches),
        }))
    }

    async fn begin_upsert(
        &self,
        _: &Epoch,
        keys: &[usize],
        schema: SchemaRef,
    ) -> Result<Option<Box<dyn Transaction>>, StreamError> {
        self.table.set_schema(schema)?;
        let (table, keys) = (Arc::clone(&self.table), keys.to_vec());
        Ok(Some(Box::new(Collected {
            staged: Mutex::default(),
            commit: move |batches| table.upsert(&keys, batches),
        })))
    }
}

/// Publishes each write as a version of a [`SharedTable`].
#[derive(Debug)]
pub struct SharedSink {
    table: Arc<SharedTable>,
}

impl SharedSink {
    /// A sink that publishes versions of `table`.
    pub fn new(table: Arc<SharedTable>) -> Self {
        Self { table }
    }
}

#[async_trait]
impl Sink for SharedSink {
    fn name(&self) -> &str {
        self.table.name()
    }

    async fn begin(
        &self,
        epoch: &Epoch,
        mode: WriteMode,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        self.table.set_schema(schema)?;
        let (table, epoch) = (Arc::clone(&self.table), epoch.clone());
        Ok(Box::new(Collected {
            staged: Mutex::default(),
            commit: move |batches| {
                let published = table.publish_as(Some(epoch.clone()), mode, batches);
                published.map(|_| ())
            },
        }))
    }

    async fn begin_upsert(
        &self,
        _: &Epoch,
        keys: &[usize],
        schema: SchemaRef,
    ) -> Result<Option<Box<dyn Transaction>>, StreamError> {
        self.table.set_schema(schema)?;
        let (table, keys) = (Arc::clone(&self.table), keys.to_vec());
        Ok(Some(Box::new(Collected {
            staged: Mutex::default(),
            commit: move |batches| table.upsert(&keys, batches).map(|_| ()),
        })))
    }
}

/// Collects all batches, in the order of their partitions, and hands them over at once.
struct Collected<F> {
    staged: Mutex<Vec<(usize, Vec<RecordBatch>)>>,
    commit: F,
}

#[async_trait]
impl<F> Transaction for Collected<F>
where
    F: Fn(Vec<RecordBatch>) -> Result<(), StreamError> + Send + Sync,
{
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
        (self.commit)(batches.collect())
    }
}
