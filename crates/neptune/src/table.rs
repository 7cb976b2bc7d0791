//! Tables declared with `CREATE TABLE … WITH (connector = …)`, as DataFusion's catalog sees them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, Statistics};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use neptune_stream::connector::ConnectorTable;

use crate::dialect::{DialectError, Position, Source};

/// A declared table in the catalog. A plain query reads what is there; a stream job puts its own source in its place.
/// Clones are the same table.
#[derive(Debug, Clone)]
pub struct DeclaredTable {
    table: Arc<ConnectorTable>,
    /// Where a directory of data files is or will be.
    directory: Option<PathBuf>,
    /// A job writes to it.
    filled: Arc<AtomicBool>,
    source: Arc<Source>,
    position: Position,
}

impl DeclaredTable {
    /// A table declared at that place, which faults found later are put at.
    pub(crate) fn new(
        table: Arc<ConnectorTable>,
        directory: Option<PathBuf>,
        source: Arc<Source>,
        position: Position,
    ) -> Self {
        Self {
            table,
            directory,
            filled: Arc::default(),
            source,
            position,
        }
    }

    /// The declaration.
    pub fn connector(&self) -> &Arc<ConnectorTable> {
        &self.table
    }

    /// Says that a job writes to it: so it is no fault that its files are not there yet.
    pub(crate) fn fill(&self) {
        self.filled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed)
    }

    /// Malformed records that were skipped or set aside so far, by all jobs that read it.
    pub(crate) fn malformed_records(&self) -> u64 {
        // All sources of a table count together.
        let source = self.table.open_source();
        source.map_or(0, |source| source.malformed_records())
    }

    /// A fault of the declaration that showed when the table was to be used.
    pub(crate) fn fault(&self, what: impl ToString) -> DialectError {
        let what = format!("table '{}': {}", self.table.name(), what.to_string());
        self.source.error(self.position, what)
    }

    /// Makes the directory that a job will write to, for those that read it before.
    pub(crate) fn prepare(&self) -> std::io::Result<()> {
        match &self.directory {
            Some(directory) if self.is_filled() => std::fs::create_dir_all(directory),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl TableProvider for DeclaredTable {
    fn schema(&self) -> SchemaRef {
        match self.table.shared() {
            Some(shared) => shared.schema(),
            None => self
                .table
                .schema()
                .unwrap_or_else(|| Arc::new(Schema::empty())),
        }
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
        self.prepare()?;
        let table = self.table.batch_table()?;
        table.scan(state, projection, filters, limit).await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        match self.table.batch_table() {
            Ok(table) => table.supports_filters_pushdown(filters),
            // Planning goes on to the scan, which says what is wrong.
            Err(_) => Ok(vec![
                TableProviderFilterPushDown::Unsupported;
                filters.len()
            ]),
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        self.table.batch_table().ok()?.statistics()
    }
}
