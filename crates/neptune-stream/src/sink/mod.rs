//! Sinks: where the rows of a job go, one write at a time.
//!
//! A write has two phases. The partitions of a job [`Transaction::stage`] their rows, in parallel where the sink
//! allows, out of sight; [`Transaction::commit`] makes all of it visible. A transaction that is dropped instead,
//! because a partition failed or the job was cancelled, leaves nothing. Committing an [`Epoch`] again replaces
//! what it wrote before.

mod console;
mod encoder;
mod filesystem;
mod foreach;
mod noop;
mod objects;
mod single_file;
mod table;
mod temp;

use std::fmt;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use serde::{Deserialize, Serialize};

use crate::error::StreamError;

pub use console::{Console, ConsoleSink};
pub use filesystem::FilesystemSink;
pub use foreach::{BatchFunction, ForeachSink};
pub use noop::NoopSink;
pub(crate) use objects::{ObjectSink, ObjectsSink};
pub use single_file::SingleFileSink;
pub use table::{MemorySink, SharedSink};

/// Which write this is; the same epoch is the same write, run again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// The job's name.
    pub job: String,
    /// Tells runs of the job apart that do not continue each other: a new number each time the job starts
    /// afresh, the same when it goes on from a checkpoint.
    pub run: u64,
    /// The number of the micro-batch; 0 for a batch job.
    pub micro_batch: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}, micro-batch {}", self.job, self.micro_batch)
    }
}

/// What happens to the rows that are there already: `INSERT INTO` or `INSERT OVERWRITE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// They stay.
    Append,
    /// They are replaced.
    Overwrite,
}

/// A place to write to.
#[async_trait]
pub trait Sink: fmt::Debug + Send + Sync {
    /// The name of the table, for messages.
    fn name(&self) -> &str;

    /// Begins a write of rows of `schema`.
    ///
    /// # Errors
    /// [`StreamError`] when the sink cannot take such rows or cannot be reached.
    async fn begin(
        &self,
        epoch: &Epoch,
        mode: WriteMode,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError>;

    /// Begins a write whose rows take the place of those with the same values in the columns `keys`; `None` if the sink
    /// can only add rows.
    ///
    /// # Errors
    /// As [`Sink::begin`].
    async fn begin_upsert(
        &self,
        epoch: &Epoch,
        keys: &[usize],
        schema: SchemaRef,
    ) -> Result<Option<Box<dyn Transaction>>, StreamError> {
        let _ = (epoch, keys, schema);
        Ok(None)
    }

    /// Writes one stream as a whole; gives the number of rows.
    ///
    /// # Errors
    /// Those of the stream and of the sink; nothing has become visible then.
    async fn write(
        &self,
        epoch: &Epoch,
        mode: WriteMode,
        rows: SendableRecordBatchStream,
    ) -> Result<u64, StreamError> {
        let transaction = self.begin(epoch, mode, rows.schema()).await?;
        let count = transaction.stage(0, rows).await?;
        transaction.commit().await?;
        Ok(count)
    }
}

/// One write in progress; dropped without [`Transaction::commit`], it has never been.
#[async_trait]
pub trait Transaction: Send + Sync {
    /// Takes the rows of one partition; gives their number. Partitions may be staged at the same time.
    ///
    /// # Errors
    /// Those of the stream and of the sink; the transaction must be dropped then.
    async fn stage(
        &self,
        partition: usize,
        rows: SendableRecordBatchStream,
    ) -> Result<u64, StreamError>;

    /// Makes everything that was staged visible.
    ///
    /// # Errors
    /// [`StreamError`] when that failed; what had become visible has been taken back as far as possible, and
    /// writing the epoch again repairs the rest.
    async fn commit(self: Box<Self>) -> Result<(), StreamError>;
}
