//! Prints each write as a table under a line that names the job and the micro-batch.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use parking_lot::Mutex;

use crate::error::StreamError;
use crate::sink::{Epoch, Sink, Transaction, WriteMode};

/// Where console sinks print: shared, so that the tables of several jobs do not mix.
#[derive(Clone)]
pub struct Console(Arc<Mutex<dyn Write + Send>>);

impl Console {
    /// Prints to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(out)))
    }

    /// Prints to whatever else is guarded by `out`.
    pub fn shared(out: Arc<Mutex<dyn Write + Send>>) -> Self {
        Self(out)
    }

    fn print(&self, text: &str) -> std::io::Result<()> {
        let mut out = self.0.lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Console")
    }
}

/// Prints rows.
#[derive(Debug)]
pub struct ConsoleSink {
    name: String,
    console: Console,
    most_rows: usize,
}

impl ConsoleSink {
    /// Prints at most `most_rows` rows of each write and counts the others.
    pub fn new(name: impl Into<String>, console: Console, most_rows: usize) -> Self {
        Self {
            name: name.into(),
            console,
            most_rows,
        }
    }
}

#[async_trait]
impl Sink for ConsoleSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn begin(
        &self,
        epoch: &Epoch,
        _: WriteMode,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        Ok(Box::new(Page {
            name: self.name.clone(),
            epoch: epoch.clone(),
            console: self.console.clone(),
            most_rows: self.most_rows,
            schema,
            staged: Mutex::default(),
        }))
    }
}

struct Page {
    name: String,
    epoch: Epoch,
    console: Console,
    most_rows: usize,
    schema: SchemaRef,
    staged: Mutex<Vec<Part>>,
}

/// The first rows of one partition and the number of all.
struct Part {
    partition: usize,
    shown: Vec<RecordBatch>,
    rows: u64,
}

#[async_trait]
impl Transaction for Page {
    async fn stage(
        &self,
        partition: usize,
        mut rows: SendableRecordBatchStream,
    ) -> Result<u64, StreamError> {
        let (mut shown, mut left, mut count) = (Vec::new(), self.most_rows, 0);
        while let Some(batch) = rows.try_next().await? {
            count += batch.num_rows() as u64;
            let take = batch.num_rows().min(left);
            if take > 0 {
                shown.push(batch.slice(0, take));
                left -= take;
            }
        }
        self.staged.lock().push(Part {
            partition,
            shown,
            rows: count,
        });
        Ok(count)
    }

    async fn commit(self: Box<Self>) -> Result<(), StreamError> {
        let this = *self;
        let mut parts = this.staged.into_inner();
        parts.sort_by_key(|part| part.partition);
        let total: u64 = parts.iter().map(|part| part.rows).sum();
        // An empty table keeps its head even where no batch came; a stream may print one every 50 ms,
        // so micro-batches without rows print nothing.
        if total == 0 {
            return Ok(());
        }
        let (mut shown, mut left) = (vec![RecordBatch::new_empty(this.schema)], this.most_rows);
        for batch in parts.into_iter().flat_map(|part| part.shown) {
            let take = batch.num_rows().min(left);
            shown.push(batch.slice(0, take));
            left -= take;
        }
        let table = pretty_format_batches(&shown).map_err(DataFusionError::from)?;
        let mut text = format!("-- {}: {}, {total} rows\n{table}\n", this.name, this.epoch);
        let hidden = total.saturating_sub((this.most_rows - left) as u64);
        if hidden > 0 {
            text.push_str(&format!("({hidden} more rows)\n"));
        }
        this.console
            .print(&text)
            .map_err(|error| StreamError::Sink {
                name: this.name,
                reason: format!("cannot print: {error}"),
            })
    }
}
