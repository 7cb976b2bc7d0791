//! Distributes rows over parts by the hash of a key, some batches at a time.

use std::sync::Arc;

use datafusion::arrow::compute::interleave_record_batch;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::hash_utils::create_hashes;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;

/// Rows gathered before they are handed to their parts, per part: enough to be worth an aggregation's while.
const ROWS_PER_PART: usize = 1024;

/// Batches that wait to be distributed.
pub(super) struct Scatter {
    key: Vec<Arc<dyn PhysicalExpr>>,
    batches: Vec<RecordBatch>,
    rows: usize,
    /// For each part the rows that belong to it: batch and row.
    parts: Vec<Vec<(usize, usize)>>,
    hashes: Vec<u64>,
}

impl Scatter {
    pub(super) fn new(key: Vec<Arc<dyn PhysicalExpr>>, parts: usize) -> Self {
        Self {
            key,
            batches: Vec::new(),
            rows: 0,
            parts: vec![Vec::new(); parts],
            hashes: Vec::new(),
        }
    }

    /// Adds a batch. The part is taken from the upper half of the hash: exchanges use its remainder.
    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let key = self
            .key
            .iter()
            .map(|key| key.evaluate(&batch)?.into_array(rows))
            .collect::<Result<Vec<_>>>()?;
        self.hashes.clear();
        self.hashes.resize(rows, 0);
        create_hashes(
            &key,
            REPARTITION_RANDOM_STATE.random_state(),
            &mut self.hashes,
        )?;
        let (number, parts) = (self.batches.len(), self.parts.len() as u64);
        for (row, hash) in self.hashes.iter().enumerate() {
            let part = ((hash >> 32) * parts) >> 32;
            self.parts[part as usize].push((number, row));
        }
        self.rows += rows;
        self.batches.push(batch);
        Ok(())
    }

    /// Whether it is time to hand the rows to their parts.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= ROWS_PER_PART * self.parts.len()
    }

    /// The rows of `part`, if it has any.
    pub(super) fn part(&mut self, part: usize) -> Result<Option<RecordBatch>> {
        let rows = &mut self.parts[part];
        if rows.is_empty() {
            return Ok(None);
        }
        let batches: Vec<_> = self.batches.iter().collect();
        let batch = interleave_record_batch(&batches, rows)?;
        rows.clear();
        Ok(Some(batch))
    }

    /// Forgets the batches, when each part has been taken.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
        self.rows = 0;
    }
}
