//! A source as the table of a query: scans whatever range the current micro-batch has been given.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use crate::error::StreamError;
use crate::offset::OffsetRange;
use crate::source::{ScanRequest, Source};

/// The table through which one job reads one source.
///
/// The logical plan of the job's query is optimized once; each micro-batch sets its range with
/// [`StreamTable::set_range`] and makes a physical plan of the same logical plan.
#[derive(Debug)]
pub struct StreamTable {
    source: Arc<dyn Source>,
    range: Mutex<Option<OffsetRange>>,
}

impl StreamTable {
    /// A table over `source`, without a range yet.
    pub fn new(source: Arc<dyn Source>) -> Self {
        Self {
            source,
            range: Mutex::new(None),
        }
    }

    /// The source underneath.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// What scans planned from now on read.
    pub fn set_range(&self, range: OffsetRange) {
        *self.range.lock() = Some(range);
    }

    /// What scans planned now read.
    pub fn range(&self) -> Option<OffsetRange> {
        *self.range.lock()
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        self.source.schema()
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
        let range = self.range().ok_or_else(|| StreamError::Offset {
            name: self.source.name().to_owned(),
            reason: "a query was planned before its micro-batch was given a range".to_owned(),
        })?;
        let request = ScanRequest {
            projection,
            filters,
            limit,
        };
        Ok(self.source.plan(state, &range, request).await?)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(self.source.filter_pushdown(filters))
    }
}
