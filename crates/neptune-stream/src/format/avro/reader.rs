//! The stream of one partition of Avro files.
//!
//! Blocks are read, unpacked and checked ahead on the blocking pool, one at a time; rows are decoded inside the task's
//! own poll, a small batch between two yield points.

use std::future::poll_fn;
use std::sync::Arc;

use arrow_avro::reader::{Reader, ReaderBuilder};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;
use neptune_exec::yielding::poll_yield;

use crate::error::StreamError;
use crate::format::avro::columns::{Mapping, columns_of};
use crate::format::avro::container::{Block, Container};
use crate::format::avro::feed::{Feed, Feeder, feed};
use crate::format::decode::text;
use crate::scan::{ScanContext, ScanPartition};
use crate::source::{Access, FileEntry};

/// Rows per batch: decoding more of them at once would make a long poll.
const BATCH_ROWS: usize = 2048;
/// A batch has fewer rows when they are so long that it would have more bytes than this.
const BATCH_BYTES: usize = 1 << 20;

/// Some Avro files of one table.
#[derive(Debug)]
pub(crate) struct AvroPartition {
    pub(crate) access: Access,
    pub(crate) files: Arc<[FileEntry]>,
    /// The columns wanted.
    pub(crate) schema: SchemaRef,
}

impl ScanPartition for AvroPartition {
    fn open(&self, cx: &ScanContext) -> Result<SendableRecordBatchStream> {
        let reader = AvroReader {
            access: self.access.clone(),
            files: Arc::clone(&self.files),
            index: 0,
            schema: Arc::clone(&self.schema),
            most_rows: cx.batch_size.min(BATCH_ROWS),
            file: None,
        };
        let batches = stream::try_unfold(reader, |mut reader| async move {
            let batch = reader.next_batch().await.map_err(DataFusionError::from)?;
            Ok(batch.map(|batch| (batch, reader)))
        });
        let schema = Arc::clone(&self.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn statistics(&self) -> Statistics {
        let bytes: u64 = self.files.iter().map(|file| file.len).sum();
        let bytes = usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact);
        Statistics::new_unknown(&self.schema).with_total_byte_size(bytes)
    }
}

struct AvroReader {
    access: Access,
    files: Arc<[FileEntry]>,
    index: usize,
    schema: SchemaRef,
    most_rows: usize,
    file: Option<OpenFile>,
}

/// The next block on its way.
type Reading = SpawnedTask<Result<(Container, Option<Block>), StreamError>>;

/// The file being read.
struct OpenFile {
    entry: FileEntry,
    mapping: Mapping,
    schema: String,
    reading: Option<Reading>,
    /// Made with the first block, which tells how long rows are.
    decoder: Option<Decoder>,
    /// Rows that have been read and not given.
    queued: usize,
    /// Rows that have been given.
    given: u64,
}

struct Decoder {
    feeder: Feeder,
    reader: Reader<Feed>,
    batch_rows: usize,
}

impl AvroReader {
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, StreamError> {
        loop {
            let file = match &mut self.file {
                Some(file) => file,
                none => {
                    let Some(entry) = self.files.get(self.index) else {
                        return Ok(None);
                    };
                    self.index += 1;
                    if entry.len == 0 {
                        // As in every format: a file without records.
                        continue;
                    }
                    none.insert(OpenFile::open(&self.access, entry, &self.schema).await?)
                }
            };
            match file.next_batch(self.most_rows).await? {
                Some(batch) => return Ok(Some(batch)),
                None => self.file = None,
            }
        }
    }
}

fn read(mut container: Container) -> Reading {
    SpawnedTask::spawn_blocking(move || {
        let block = container.next()?;
        Ok((container, block))
    })
}

impl OpenFile {
    async fn open(
        access: &Access,
        entry: &FileEntry,
        wanted: &SchemaRef,
    ) -> Result<Self, StreamError> {
        let (access, entry, wanted) = (access.clone(), entry.clone(), Arc::clone(wanted));
        let opened = SpawnedTask::spawn_blocking(move || {
            let container = Container::open(&access, &entry)?;
            let columns = columns_of(&entry, container.schema())?;
            let mapping = Mapping::new(&entry, &columns, &wanted)?;
            Ok::<_, StreamError>((entry, container, mapping))
        });
        let (entry, container, mapping) = opened.await.map_err(StreamError::lost)??;
        Ok(Self {
            entry,
            mapping,
            schema: container.schema().to_owned(),
            reading: Some(read(container)),
            decoder: None,
            queued: 0,
            given: 0,
        })
    }

    async fn next_batch(&mut self, most_rows: usize) -> Result<Option<RecordBatch>, StreamError> {
        // The decoder takes the end of what it was given for the end of the file: it must have a whole batch.
        while let Some(reading) = &mut self.reading
            && self.queued
                < self
                    .decoder
                    .as_ref()
                    .map_or(1, |decoder| decoder.batch_rows)
        {
            let (container, block) = reading.await.map_err(StreamError::lost)??;
            self.reading = None;
            if let Some(block) = block {
                self.reading = Some(read(container));
                self.take(block, most_rows)?;
            }
        }
        if self.queued == 0 {
            return Ok(None);
        }
        poll_fn(poll_yield).await;
        let Some(decoder) = &mut self.decoder else {
            // Nothing is wanted but the number of rows.
            let rows = self.queued.min(most_rows);
            self.queued -= rows;
            return self.mapping.nothing(rows).map(Some);
        };
        let broken = |reason: String| StreamError::Malformed {
            file: self.entry.path.clone(),
            line: None,
            column: None,
            reason: format!("after row {}: {reason}", self.given),
        };
        let Some(batch) = decoder.reader.next() else {
            return Err(broken("rows are missing".to_owned()));
        };
        let batch = batch.map_err(|error| broken(text(error)))?;
        let batch = self.mapping.apply(&batch, self.given)?;
        self.given += batch.num_rows() as u64;
        self.queued = self.queued.saturating_sub(batch.num_rows());
        Ok(Some(batch))
    }

    fn take(&mut self, block: Block, most_rows: usize) -> Result<(), StreamError> {
        self.queued += block.rows;
        if self.mapping.projection.is_empty() {
            return Ok(());
        }
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => {
                let row_bytes = (block.data.len() / block.rows.max(1)).max(1);
                let batch_rows = (BATCH_BYTES / row_bytes).clamp(1, most_rows);
                let (feeder, feed) = feed(&self.schema);
                let reader = ReaderBuilder::new()
                    .with_batch_size(batch_rows)
                    .with_projection(self.mapping.projection.clone())
                    .build(feed)
                    .map_err(|error| StreamError::Malformed {
                        file: self.entry.path.clone(),
                        line: None,
                        column: None,
                        reason: text(error),
                    })?;
                none.insert(Decoder {
                    feeder,
                    reader,
                    batch_rows,
                })
            }
        };
        decoder.feeder.put(block);
        Ok(())
    }
}
