//! Versioned tables: batch jobs replace them atomically, stream jobs read one version per micro-batch.
//!
//! A version is an immutable set of batches behind an `Arc`. Whoever holds a [`Snapshot`] keeps reading it,
//! however often the table is replaced meanwhile; no reader can see rows of two versions. Every row
//! tells its version in the last column, [`VERSION_COLUMN`].

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::batches::{self, Chunks, coalesce};
use crate::error::StreamError;
use crate::sink::{Epoch, WriteMode};
use crate::source::ScanRequest;
use crate::upsert::not_replaced;

/// The column that tells the version of each row, BIGINT, after all others.
pub const VERSION_COLUMN: &str = "_version";

/// Versions that stay available after newer ones, unless told otherwise.
pub const DEFAULT_KEEP_VERSIONS: usize = 3;

/// One version of a [`SharedTable`].
#[derive(Debug)]
pub struct Snapshot {
    version: u64,
    /// With the version column.
    schema: SchemaRef,
    chunks: Vec<Chunks>,
    rows: usize,
}

impl Snapshot {
    /// The number of the version; 0 is the empty table before the first.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows, with the version column.
    pub fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.chunks.iter().flat_map(Chunks::batches)
    }

    fn plan(
        &self,
        table: &str,
        state: &dyn Session,
        request: ScanRequest<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let groups = batches::deal(self.chunks.clone(), state.config().target_partitions());
        let label = format!("{table} version={}", self.version);
        batches::plan(label, &self.schema, groups, request)
    }
}

#[derive(Debug)]
struct State {
    /// Without the version column; `None` until columns are known.
    columns: Option<SchemaRef>,
    newest: Arc<Snapshot>,
    /// Those before it that are kept, oldest first.
    older: VecDeque<Arc<Snapshot>>,
    /// The last write that appended and what it appended to: run again, it appends to the same.
    appended: Option<(Epoch, Arc<Snapshot>)>,
}

/// A table of versions.
#[derive(Debug)]
pub struct SharedTable {
    name: String,
    keep_versions: usize,
    state: RwLock<State>,
    newest: watch::Sender<u64>,
}

impl SharedTable {
    /// An empty table at version 0, with its columns if they are known already.
    ///
    /// # Errors
    /// [`StreamError::Schema`] when a column has the name of the version column.
    pub fn new(
        name: impl Into<String>,
        columns: Option<SchemaRef>,
        keep_versions: usize,
    ) -> Result<Self, StreamError> {
        let table = Self {
            name: name.into(),
            keep_versions: keep_versions.max(1),
            state: RwLock::new(State {
                columns: None,
                newest: empty(&Arc::new(Schema::empty())),
                older: VecDeque::new(),
                appended: None,
            }),
            newest: watch::Sender::new(0),
        };
        if let Some(columns) = columns {
            table.set_schema(columns)?;
        }
        Ok(table)
    }

    /// The name of the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns without the version column; `None` until they are known.
    pub fn columns(&self) -> Option<SchemaRef> {
        self.state.read().columns.clone()
    }

    /// Fixes the columns, as the first `INSERT` does where the column list was left out.
    ///
    /// # Errors
    /// [`StreamError::Schema`] when other columns have been fixed or one is named as the version column.
    pub fn set_schema(&self, columns: SchemaRef) -> Result<(), StreamError> {
        if columns.index_of(VERSION_COLUMN).is_ok() {
            return Err(self.misfit(
                format!("a shared table has a column {VERSION_COLUMN} of its own"),
                "give the column another name".to_owned(),
            ));
        }
        let mut state = self.state.write();
        match &state.columns {
            Some(fixed) => self.check(fixed, &columns),
            None => {
                state.newest = empty(&columns);
                state.columns = Some(columns);
                Ok(())
            }
        }
    }

    /// Replaces the content, atomically; gives the number of the new version.
    ///
    /// # Errors
    /// [`StreamError::Schema`] when the columns are unknown or not those of `batches`.
    pub fn publish(&self, batches: Vec<RecordBatch>) -> Result<u64, StreamError> {
        self.publish_as(None, WriteMode::Overwrite, batches)
    }

    /// As [`SharedTable::publish`], for a write that may be run again: an appending one appends to what it
    /// appended to before.
    pub(crate) fn publish_as(
        &self,
        origin: Option<Epoch>,
        mode: WriteMode,
        batches: Vec<RecordBatch>,
    ) -> Result<u64, StreamError> {
        let columns = self.columns().ok_or_else(|| {
            self.misfit(
                "its columns are not known".to_owned(),
                "give CREATE TABLE a column list".to_owned(),
            )
        })?;
        for batch in &batches {
            self.check(&columns, &batch.schema())?;
        }
        // The copying is done before the lock is taken, except for what an append takes over.
        let fresh = relabel(&columns, &coalesce(&columns, &batches)?)?;

        let mut state = self.state.write();
        let last = Arc::clone(&state.newest);
        let newest = last.version + 1;
        let base = match (mode, state.appended.take(), origin) {
            (WriteMode::Overwrite, ..) => None,
            (WriteMode::Append, _, None) => Some(Arc::clone(&last)),
            (WriteMode::Append, before, Some(origin)) => {
                let base = match before {
                    Some((epoch, base)) if epoch == origin => base,
                    _ => Arc::clone(&last),
                };
                state.appended = Some((origin, Arc::clone(&base)));
                Some(base)
            }
        };
        let mut all = Vec::new();
        for batch in base.iter().flat_map(|base| base.batches()) {
            all.push(without_version(&columns, batch)?);
        }
        all.extend(fresh);
        state.newest = Arc::new(snapshot(newest, &columns, all)?);
        state.older.push_back(last);
        while state.older.len() >= self.keep_versions {
            state.older.pop_front();
        }
        // Under the lock, so that versions are announced in order.
        self.newest.send_replace(newest);
        Ok(newest)
    }

    /// Publishes a version in which the rows of `fresh` are in the place of those with the same values in the columns `keys`.
    ///
    /// # Errors
    /// As [`SharedTable::publish`].
    pub fn upsert(&self, keys: &[usize], fresh: Vec<RecordBatch>) -> Result<u64, StreamError> {
        let old: Vec<RecordBatch> = self.snapshot().batches().cloned().collect();
        let kept = not_replaced(&old, &fresh, keys)?;
        let columns = self.columns();
        let kept = kept.iter().map(|batch| match &columns {
            Some(columns) => without_version(columns, batch),
            None => Ok(batch.clone()),
        });
        let mut all = kept.collect::<Result<Vec<_>>>()?;
        all.extend(fresh);
        self.publish(all)
    }

    /// The newest version.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state.read().newest)
    }

    /// Version `version`, if it is still kept.
    pub fn version(&self, version: u64) -> Option<Arc<Snapshot>> {
        let state = self.state.read();
        let mut kept = state.older.iter().chain([&state.newest]);
        kept.find(|s| s.version == version).map(Arc::clone)
    }

    /// Follows the number of the newest version.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn check(&self, fixed: &SchemaRef, given: &SchemaRef) -> Result<(), StreamError> {
        let columns = |schema: &SchemaRef| {
            let each = schema.fields().iter();
            each.map(|f| format!("{} {}", f.name(), f.data_type()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (fixed, given) = (columns(fixed), columns(given));
        if fixed == given {
            return Ok(());
        }
        Err(self.misfit(
            format!("its columns are ({fixed}) and not ({given})"),
            "name and cast the columns in the SELECT list".to_owned(),
        ))
    }

    fn misfit(&self, reason: String, help: String) -> StreamError {
        StreamError::Schema {
            table: self.name.clone(),
            reason,
            help,
        }
    }
}

#[async_trait]
impl TableProvider for SharedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.snapshot().schema)
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
        let request = ScanRequest {
            projection,
            filters,
            limit,
        };
        self.snapshot().plan(&self.name, state, request)
    }
}

/// A [`SharedTable`] as one job sees it: every scan planned between two calls of [`PinnedTable::pin`] reads
/// the same version, so that a query may name the table more than once.
#[derive(Debug)]
pub struct PinnedTable {
    table: Arc<SharedTable>,
    schema: SchemaRef,
    pinned: Mutex<Arc<Snapshot>>,
}

impl PinnedTable {
    /// A view of `table`, pinned to its newest version.
    ///
    /// # Errors
    /// [`StreamError::Schema`] when the columns of the table are not known yet.
    pub fn new(table: Arc<SharedTable>) -> Result<Self, StreamError> {
        if table.columns().is_none() {
            return Err(table.misfit(
                "it is read before its columns are known".to_owned(),
                "give CREATE TABLE a column list, or put the INSERT that fills it first".to_owned(),
            ));
        }
        let pinned = table.snapshot();
        Ok(Self {
            schema: Arc::clone(&pinned.schema),
            pinned: Mutex::new(pinned),
            table,
        })
    }

    /// The table underneath.
    pub fn table(&self) -> &Arc<SharedTable> {
        &self.table
    }

    /// Reads the newest version from now on; gives its number.
    pub fn pin_newest(&self) -> u64 {
        let newest = self.table.snapshot();
        let version = newest.version;
        self.pin(newest);
        version
    }

    /// Reads `snapshot` from now on.
    pub fn pin(&self, snapshot: Arc<Snapshot>) {
        *self.pinned.lock() = snapshot;
    }

    /// What scans planned now read.
    pub fn pinned(&self) -> Arc<Snapshot> {
        Arc::clone(&self.pinned.lock())
    }
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
        let request = ScanRequest {
            projection,
            filters,
            limit,
        };
        self.pinned().plan(&self.table.name, state, request)
    }
}

/// The empty table before the first version.
fn empty(columns: &SchemaRef) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        version: 0,
        schema: with_version(columns),
        chunks: vec![],
        rows: 0,
    })
}

fn with_version(columns: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = columns.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(VERSION_COLUMN, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

fn snapshot(
    version: u64,
    columns: &SchemaRef,
    batches: Vec<RecordBatch>,
) -> Result<Snapshot, StreamError> {
    let schema = with_version(columns);
    let number = i64::try_from(version).unwrap_or(i64::MAX);
    let mut chunks = Vec::with_capacity(batches.len());
    for batch in batches {
        let versions: ArrayRef = Arc::new(Int64Array::from_value(number, batch.num_rows()));
        let (_, mut columns, _) = batch.into_parts();
        columns.push(versions);
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)
            .map_err(datafusion::common::DataFusionError::from)?;
        chunks.push(Chunks::new(&schema, vec![batch]));
    }
    Ok(Snapshot {
        version,
        schema,
        rows: chunks.iter().map(Chunks::rows).sum(),
        chunks,
    })
}

/// The batches under the table's own schema: queries may differ in nullability and metadata.
fn relabel(columns: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let one = |batch: &RecordBatch| {
        Ok(RecordBatch::try_new(
            Arc::clone(columns),
            batch.columns().to_vec(),
        )?)
    };
    batches.iter().map(one).collect()
}

fn without_version(columns: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let mut arrays = batch.columns().to_vec();
    arrays.pop();
    Ok(RecordBatch::try_new(Arc::clone(columns), arrays)?)
}
