//! Scans over batches in memory, shared by the versioned and the appendable tables.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, Statistics};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;

use crate::scan::{ScanContext, ScanExec, ScanPartition, project};
use crate::source::ScanRequest;

/// Rows per stored batch after [`coalesce`].
pub(crate) const CHUNK_ROWS: usize = 8192;

/// Batches with their statistics, counted once when they are stored.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    batches: Arc<[RecordBatch]>,
    statistics: Arc<Statistics>,
}

impl Chunks {
    /// Keeps `batches`, all of which have `schema`.
    pub(crate) fn new(schema: &SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let mut statistics = Statistics::new_unknown(schema);
        let count = |of: fn(&RecordBatch) -> usize| batches.iter().map(of).sum::<usize>();
        statistics.num_rows = Precision::Exact(count(RecordBatch::num_rows));
        statistics.total_byte_size = Precision::Inexact(count(RecordBatch::get_array_memory_size));
        for (index, column) in statistics.column_statistics.iter_mut().enumerate() {
            let nulls = batches.iter().map(|batch| batch.column(index).null_count());
            *column =
                ColumnStatistics::new_unknown().with_null_count(Precision::Exact(nulls.sum()));
        }
        Self {
            batches: batches.into(),
            statistics: Arc::new(statistics),
        }
    }

    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    pub(crate) fn rows(&self) -> usize {
        self.statistics.num_rows.get_value().copied().unwrap_or(0)
    }
}

/// Plans a scan over `chunks`, one partition for each group.
pub(crate) fn plan(
    label: String,
    schema: &SchemaRef,
    groups: Vec<Vec<Chunks>>,
    request: ScanRequest<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let projected = project(schema, request.projection)?;
    let groups = groups.into_iter().filter(|group| !group.is_empty());
    let partitions = groups.map(|chunks| -> Result<Arc<dyn ScanPartition>> {
        let each = chunks.iter().map(|chunk| chunk.statistics.as_ref());
        let statistics = Statistics::try_merge_iter(each, schema)?.project(request.projection);
        Ok(Arc::new(ChunkPartition {
            chunks,
            projection: request.projection.cloned(),
            schema: Arc::clone(&projected),
            statistics,
        }))
    });
    let partitions = partitions.collect::<Result<_>>()?;
    Ok(ScanExec::plan(label, projected, partitions, request.limit))
}

/// Deals `chunks` out to at most `most` groups, fewer when there are few rows.
pub(crate) fn deal(chunks: Vec<Chunks>, most: usize) -> Vec<Vec<Chunks>> {
    let rows: usize = chunks.iter().map(Chunks::rows).sum();
    let count = most.min(rows.div_ceil(CHUNK_ROWS)).max(1);
    let mut groups = vec![vec![]; count];
    for (index, chunk) in chunks.into_iter().enumerate() {
        if let Some(group) = groups.get_mut(index % count) {
            group.push(chunk);
        }
    }
    groups
}

/// The same rows in batches of [`CHUNK_ROWS`], the last one smaller.
pub(crate) fn coalesce(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let (mut out, mut pending, mut rows) = (Vec::new(), Vec::new(), 0);
    for batch in batches {
        let mut rest = batch.clone();
        while rest.num_rows() > 0 {
            let take = rest.num_rows().min(CHUNK_ROWS - rows);
            pending.push(rest.slice(0, take));
            rest = rest.slice(take, rest.num_rows() - take);
            rows += take;
            if rows == CHUNK_ROWS {
                out.push(join(schema, &pending)?);
                pending.clear();
                rows = 0;
            }
        }
    }
    if rows > 0 {
        out.push(join(schema, &pending)?);
    }
    Ok(out)
}

fn join(schema: &SchemaRef, parts: &[RecordBatch]) -> Result<RecordBatch> {
    match parts {
        // Not copied; what the slice keeps alive beyond it is at most the rest of one batch.
        [one] => Ok(one.clone()),
        parts => Ok(concat_batches(schema, parts)?),
    }
}

#[derive(Debug)]
struct ChunkPartition {
    chunks: Vec<Chunks>,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
    statistics: Statistics,
}

impl ScanPartition for ChunkPartition {
    fn open(&self, cx: &ScanContext) -> Result<SendableRecordBatchStream> {
        let batches = ChunkReader {
            chunks: self.chunks.clone(),
            projection: self.projection.clone(),
            batch_size: cx.batch_size,
            chunk: 0,
            batch: 0,
            row: 0,
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream::iter(batches),
        )))
    }

    fn statistics(&self) -> Statistics {
        self.statistics.clone()
    }
}

/// Slices of the stored batches, none larger than the query's batch size.
struct ChunkReader {
    chunks: Vec<Chunks>,
    projection: Option<Vec<usize>>,
    batch_size: usize,
    chunk: usize,
    batch: usize,
    row: usize,
}

impl Iterator for ChunkReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let chunk = self.chunks.get(self.chunk)?;
            let Some(batch) = chunk.batches.get(self.batch) else {
                (self.chunk, self.batch, self.row) = (self.chunk + 1, 0, 0);
                continue;
            };
            let rows = (batch.num_rows() - self.row).min(self.batch_size);
            if rows == 0 {
                (self.batch, self.row) = (self.batch + 1, 0);
                continue;
            }
            let slice = batch.slice(self.row, rows);
            self.row += rows;
            return Some(match &self.projection {
                Some(columns) => slice.project(columns).map_err(Into::into),
                None => Ok(slice),
            });
        }
    }
}
