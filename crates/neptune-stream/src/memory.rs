//! Tables in memory that jobs append to while queries read them.
//!
//! Each write adds one segment; a scan reads the segments that were there when it was planned, so a query sees
//! whole writes only.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::RwLock;

use crate::batches::{self, Chunks};
use crate::error::StreamError;
use crate::sink::{Epoch, WriteMode};
use crate::source::ScanRequest;
use crate::upsert::not_replaced;

/// An appendable table in memory.
#[derive(Debug)]
pub struct MemoryTable {
    name: String,
    max_rows: Option<usize>,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    schema: Option<SchemaRef>,
    segments: VecDeque<Segment>,
    rows: usize,
}

#[derive(Debug)]
struct Segment {
    epoch: Option<Epoch>,
    chunks: Chunks,
}

impl MemoryTable {
    /// An empty table, with its columns if they are known already. With `max_rows`, the oldest writes are
    /// dropped once newer ones alone have that many rows.
    pub fn new(
        name: impl Into<String>,
        schema: Option<SchemaRef>,
        max_rows: Option<usize>,
    ) -> Self {
        Self {
            name: name.into(),
            max_rows,
            state: RwLock::new(State {
                schema,
                ..State::default()
            }),
        }
    }

    /// The name of the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns; `None` until they are known.
    pub fn columns(&self) -> Option<SchemaRef> {
        self.state.read().schema.clone()
    }

    /// Fixes the columns, as the first `INSERT` does where the column list was left out.
    ///
    /// # Errors
    /// [`StreamError::Schema`] when other columns have been fixed.
    pub fn set_schema(&self, schema: SchemaRef) -> Result<(), StreamError> {
        let mut state = self.state.write();
        match &state.schema {
            Some(fixed) => self.check(fixed, &schema),
            None => {
                state.schema = Some(schema);
                Ok(())
            }
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.state.read().rows
    }

    /// Adds the rows of `batches` as one write.
    ///
    /// # Errors
    /// [`StreamError::Schema`] when they do not have the table's columns.
    pub fn append(&self, batches: Vec<RecordBatch>) -> Result<(), StreamError> {
        self.write(None, WriteMode::Append, batches)
    }

    /// Adds one write; replaces what the same epoch wrote before.
    pub(crate) fn write(
        &self,
        epoch: Option<Epoch>,
        mode: WriteMode,
        batches: Vec<RecordBatch>,
    ) -> Result<(), StreamError> {
        if let (None, Some(first)) = (self.columns(), batches.first()) {
            self.set_schema(first.schema())?;
        }
        let Some(schema) = self.columns() else {
            return Ok(());
        };
        let mut own = Vec::with_capacity(batches.len());
        for batch in batches {
            self.check(&schema, &batch.schema())?;
            let (_, columns, rows) = batch.into_parts();
            if rows > 0 {
                let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
                own.push(batch.map_err(datafusion::common::DataFusionError::from)?);
            }
        }
        let chunks = Chunks::new(&schema, own);

        let mut state = self.state.write();
        match mode {
            WriteMode::Overwrite => {
                state.segments.clear();
                state.rows = 0;
            }
            WriteMode::Append => {
                // A job runs its micro-batches in order: only its last write can be the one run again.
                let same = |s: &Segment| match (&s.epoch, &epoch) {
                    (Some(a), Some(b)) => a.job == b.job && a.run == b.run,
                    _ => false,
                };
                if let Some(last) = state.segments.iter().rposition(same)
                    && state.segments.get(last).is_some_and(|s| s.epoch == epoch)
                    && let Some(replaced) = state.segments.remove(last)
                {
                    state.rows -= replaced.chunks.rows();
                }
            }
        }
        if chunks.rows() > 0 {
            state.rows += chunks.rows();
            state.segments.push_back(Segment { epoch, chunks });
        }
        while let (Some(most), Some(first)) = (self.max_rows, state.segments.front()) {
            let without = state.rows - first.chunks.rows();
            if without < most {
                break;
            }
            state.rows = without;
            state.segments.pop_front();
        }
        Ok(())
    }

    /// Adds rows in the place of those with the same values in the columns `keys`. Done twice, it changes nothing more.
    pub(crate) fn upsert(
        &self,
        keys: &[usize],
        fresh: Vec<RecordBatch>,
    ) -> Result<(), StreamError> {
        let old: Vec<RecordBatch> = {
            let state = self.state.read();
            let segments = state.segments.iter();
            segments.flat_map(|s| s.chunks.batches().to_vec()).collect()
        };
        let mut all = not_replaced(&old, &fresh, keys)?;
        all.extend(fresh);
        self.write(None, WriteMode::Overwrite, all)
    }

    fn check(&self, fixed: &SchemaRef, given: &SchemaRef) -> Result<(), StreamError> {
        let fits = fixed.fields().len() == given.fields().len()
            && fixed
                .fields()
                .iter()
                .zip(given.fields())
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if fits {
            return Ok(());
        }
        Err(StreamError::Schema {
            table: self.name.clone(),
            reason: format!("its columns are {fixed:?} and not {given:?}"),
            help: "name and cast the columns in the SELECT list".to_owned(),
        })
    }
}

#[async_trait]
impl TableProvider for MemoryTable {
    fn schema(&self) -> SchemaRef {
        self.columns().unwrap_or_else(|| Arc::new(Schema::empty()))
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let chunks: Vec<_> = {
            let state = self.state.read();
            state.segments.iter().map(|s| s.chunks.clone()).collect()
        };
        let groups = batches::deal(chunks, state.config().target_partitions());
        let request = ScanRequest {
            projection,
            filters,
            limit,
        };
        batches::plan(self.name.clone(), &self.schema(), groups, request)
    }
}
