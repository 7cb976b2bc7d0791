//! Tables declared with `CREATE TABLE … WITH (connector = …)`, as DataFusion's catalog sees them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, DataFusionError, Statistics};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use neptune_stream::connector::ConnectorTable;
use neptune_stream::watermark::WatermarkRule;

use crate::dialect::{DialectError, Position, Source, Watermark};

/// A declared table in the catalog. A plain query reads what is there; a stream job puts its own source in its place.
/// Clones are the same table.
#[derive(Debug, Clone)]
pub struct DeclaredTable {
    table: Arc<ConnectorTable>,
    /// Where a directory of data files is or will be.
    directory: Option<PathBuf>,
    watermark: Option<Watermark>,
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
        watermark: Option<Watermark>,
        source: Arc<Source>,
        position: Position,
    ) -> Self {
        Self {
            table,
            directory,
            watermark,
            filled: Arc::default(),
            source,
            position,
        }
    }

    /// A table that a program made, which has no place in a file.
    pub(crate) fn of_program(table: ConnectorTable) -> Self {
        let source = Arc::new(Source::new("the program", ""));
        Self::new(Arc::new(table), None, None, source, Position::START)
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

    /// How the watermark follows from the rows, for a table with event time.
    ///
    /// # Errors
    /// For a column that is no timestamp and an expression that cannot be computed from it alone.
    pub(crate) fn watermark_rule(
        &self,
        state: &SessionState,
    ) -> Result<Option<WatermarkRule>, DialectError> {
        let Some(watermark) = &self.watermark else {
            return Ok(None);
        };
        let name = watermark.column.text.as_str();
        let refused = |position, what: String| Err(self.source.error(position, what));
        let schema = self
            .table
            .schema()
            .unwrap_or_else(|| Arc::new(Schema::empty()));
        let Ok(column) = schema.index_of(name) else {
            let what = format!("table '{}' has no column '{name}'", self.table.name());
            return refused(watermark.column.position, what);
        };
        let is_time = |kind: &DataType| matches!(kind, DataType::Timestamp(..));
        let kind = schema.field(column).data_type();
        if !is_time(kind) {
            let what = format!("the event time column '{name}' is of type {kind}, not TIMESTAMP");
            return refused(watermark.column.position, what);
        }
        let position = match &watermark.expression {
            Some(expression) => expression.position,
            None => watermark.column.position,
        };
        let text = match &watermark.expression {
            Some(expression) => expression.text.clone(),
            None => format!("\"{}\"", name.replace('"', "\"\"")),
        };
        let planned = || {
            let columns = DFSchema::try_from(schema.as_ref().clone())?;
            let logical = state.create_logical_expr(&text, &columns)?;
            let others = logical.column_refs().iter().any(|other| other.name != name);
            let physical = state.create_physical_expr(logical, &columns)?;
            let kind = physical.data_type(&schema)?;
            Ok::<_, DataFusionError>((physical, kind, others))
        };
        match planned() {
            Err(error) => refused(position, error.strip_backtrace()),
            Ok((_, _, true)) => {
                let what =
                    format!("a watermark is computed from the event time column '{name}' alone");
                refused(position, what)
            }
            Ok((_, kind, _)) if !is_time(&kind) => {
                let what = format!("the watermark is of type {kind}, not TIMESTAMP");
                refused(position, what)
            }
            Ok((expression, ..)) => Ok(Some(WatermarkRule { column, expression })),
        }
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
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        self.prepare()?;
        let table = self.table.batch_table()?;
        table.scan(state, projection, filters, limit).await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
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
