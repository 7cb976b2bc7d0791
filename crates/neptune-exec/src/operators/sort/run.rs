//! Sorted runs: made from a batch at once, read back a chunk at a time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatchOptions};
use datafusion::arrow::compute::{lexsort_to_indices, take_arrays};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::RecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::LexOrdering;
use futures::Stream;

use crate::yielding::poll_yield;

/// Most rows that a run gives to a merge at once. The merge asks a run again after so many of its rows, and
/// each time is a yield point; it holds the encoded keys of only so many rows of each run.
pub(super) const CHUNK_ROWS: usize = 1024;

/// Sorted rows in memory.
pub(super) struct Run {
    /// Sorted batches and the memory that each adds, in bytes.
    batches: VecDeque<(RecordBatch, usize)>,
    /// Bytes kept aside for the keys of the chunks in a merge.
    headroom: usize,
    /// 0 for a sorted batch, one more for each merge the rows went through.
    pub(super) level: u32,
}

impl Run {
    /// Sorts `batch` into chunks of `first` rows and then of `chunk_rows` each.
    pub(super) fn sort(
        batch: &RecordBatch,
        ordering: &LexOrdering,
        first: usize,
        chunk_rows: usize,
    ) -> Result<Self> {
        let keys = ordering
            .iter()
            .map(|key| key.evaluate_to_sort_column(batch))
            .collect::<Result<Vec<_>>>()?;
        let indices = lexsort_to_indices(&keys, None)?;
        let mut run = Self::empty(0);
        let mut memory = RecordBatchMemoryCounter::new();
        let mut start = 0;
        let mut len = first;
        while start < indices.len() {
            len = len.min(indices.len() - start);
            let columns = take_arrays(batch.columns(), &indices.slice(start, len), None)?;
            let columns = columns.into_iter().map(compact).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(len));
            let chunk = RecordBatch::try_new_with_options(batch.schema(), columns, &options)?;
            let bytes = memory.count_batch(&chunk);
            run.push(chunk, bytes);
            start += len;
            len = chunk_rows;
        }
        Ok(run)
    }

    pub(super) fn empty(level: u32) -> Self {
        Self {
            batches: VecDeque::new(),
            headroom: 0,
            level,
        }
    }

    /// Appends rows that are not less than those already there; `bytes` is the memory they add.
    pub(super) fn push(&mut self, batch: RecordBatch, bytes: usize) {
        let chunks = batch.num_rows().div_ceil(CHUNK_ROWS).max(1);
        // The chunk being merged and the one before it, whose key buffer is used again.
        self.headroom = self.headroom.max(2 * bytes / chunks);
        self.batches.push_back((batch, bytes));
    }

    /// Bytes to be reserved for the run while it waits and while it is merged.
    pub(super) fn bytes(&self) -> usize {
        self.headroom + self.batches.iter().map(|(_, bytes)| bytes).sum::<usize>()
    }

    /// The rows as a stream of at most `chunk_rows` each; `reservation`, at most [`bytes`](Self::bytes), is given
    /// back as they are consumed.
    pub(super) fn into_stream(
        self,
        schema: SchemaRef,
        chunk_rows: usize,
        reservation: MemoryReservation,
    ) -> RunStream {
        RunStream {
            schema,
            chunk_rows,
            batches: self.batches,
            current: None,
            reservation,
        }
    }
}

/// Views into the buffers of whole input pages would keep them alive, and each merge would carry the buffers
/// of all its inputs on: copy what the chunk refers to into a buffer of its own.
fn compact(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View if !column.as_string_view().data_buffers().is_empty() => {
            Arc::new(column.as_string_view().gc())
        }
        DataType::BinaryView if !column.as_binary_view().data_buffers().is_empty() => {
            Arc::new(column.as_binary_view().gc())
        }
        _ => column,
    }
}

/// A run, chunk by chunk, with a yield point before each.
pub(super) struct RunStream {
    schema: SchemaRef,
    chunk_rows: usize,
    batches: VecDeque<(RecordBatch, usize)>,
    /// The batch being handed out, the rows of it that are gone, and its bytes.
    current: Option<(RecordBatch, usize, usize)>,
    reservation: MemoryReservation,
}

impl Stream for RunStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        ready!(poll_yield(cx));
        if let Some((batch, done, bytes)) = self.current.take() {
            if done < batch.num_rows() {
                return Poll::Ready(Some(Ok(self.chunk(batch, done, bytes))));
            }
            let bytes = bytes.min(self.reservation.size());
            self.reservation.shrink(bytes);
        }
        match self.batches.pop_front() {
            Some((batch, bytes)) => Poll::Ready(Some(Ok(self.chunk(batch, 0, bytes)))),
            None => {
                self.reservation.free();
                Poll::Ready(None)
            }
        }
    }
}

impl RunStream {
    fn chunk(&mut self, batch: RecordBatch, done: usize, bytes: usize) -> RecordBatch {
        let len = self.chunk_rows.min(batch.num_rows() - done);
        let chunk = batch.slice(done, len);
        self.current = Some((batch, done + len, bytes));
        chunk
    }
}

impl RecordBatchStream for RunStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
