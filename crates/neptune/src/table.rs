//! Tables declared with `CREATE TABLE … WITH (connector = …)`, as DataFusion's catalog sees them.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, Statistics};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use neptune_stream::connector::ConnectorTable;

/// A declared table in the catalog. A plain query reads what is there; a stream job puts its own source in its place.
#[derive(Debug)]
pub struct DeclaredTable {
    table: Arc<ConnectorTable>,
}

impl DeclaredTable {
    pub(crate) fn new(table: Arc<ConnectorTable>) -> Self {
        Self { table }
    }

    /// The declaration.
    pub fn connector(&self) -> &Arc<ConnectorTable> {
        &self.table
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
        self.table
            .batch_table()?
            .scan(state, projection, filters, limit)
            .await
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
