//! A source as the table of a query: scans whatever range the current micro-batch has been given.
//!
//! The physical plan of a stream job outlives its micro-batches, so its leaves do not hold a range: each is a
//! [`StreamScanExec`](super::scan::StreamScanExec) over a slot of the table, which is filled anew for every micro-batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use super::scan::{ScanSlot, StreamScanExec};
use crate::error::StreamError;
use crate::event_time::{START_OF_TIME, mark_column};
use crate::offset::OffsetRange;
use crate::source::Source;
use crate::watermark::WatermarkRule;

/// The table through which one job reads one source.
#[derive(Debug)]
pub struct StreamTable {
    source: Arc<dyn Source>,
    /// The source's columns, the event time marked.
    schema: SchemaRef,
    watermark: Option<Watermark>,
    range: Mutex<Option<OffsetRange>>,
    /// Those of the present plan.
    slots: Mutex<Vec<Arc<ScanSlot>>>,
}

/// How far event time has come in one source.
#[derive(Debug)]
pub(super) struct Watermark {
    pub(super) rule: WatermarkRule,
    highest: AtomicI64,
}

impl Watermark {
    pub(super) fn observe(&self, at: i64) {
        self.highest.fetch_max(at, Ordering::Relaxed);
    }
}

impl StreamTable {
    /// A table over `source`, without a range yet; `watermark` is for a source with event time.
    pub fn new(source: Arc<dyn Source>, watermark: Option<WatermarkRule>) -> Self {
        let schema = source.schema();
        let schema = match &watermark {
            Some(rule) => mark_column(&schema, schema.field(rule.column).name()),
            None => schema,
        };
        Self {
            source,
            schema,
            watermark: watermark.map(|rule| Watermark {
                rule,
                highest: AtomicI64::new(START_OF_TIME),
            }),
            range: Mutex::new(None),
            slots: Mutex::default(),
        }
    }

    /// The table in a query.
    pub fn provider(self: &Arc<Self>) -> Arc<dyn TableProvider> {
        Arc::new(StreamTableProvider {
            table: Arc::clone(self),
        })
    }

    /// The source underneath.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// What scans planned from now on read; scans planned before are forgotten.
    pub fn set_range(&self, range: OffsetRange) {
        self.slots.lock().clear();
        *self.range.lock() = Some(range);
    }

    /// Gives the scans of the present plan another range.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn refill(&self, state: &dyn Session, range: OffsetRange) -> Result<(), StreamError> {
        *self.range.lock() = Some(range);
        let slots = self.slots.lock().clone();
        for slot in slots {
            slot.fill(self.source.as_ref(), state, &range).await?;
        }
        Ok(())
    }

    /// What scans planned now read.
    pub fn range(&self) -> Option<OffsetRange> {
        *self.range.lock()
    }

    /// Rows that the present plan has read of the present range.
    pub fn rows_read(&self) -> u64 {
        let slots = self.slots.lock();
        slots.iter().map(|slot| slot.rows()).max().unwrap_or(0)
    }

    /// Rows that the source says are in the present range, where it knows.
    pub fn rows_expected(&self) -> Option<u64> {
        let slots = self.slots.lock();
        slots.iter().filter_map(|slot| slot.expected()).max()
    }

    /// Whether it has event time.
    pub fn has_event_time(&self) -> bool {
        self.watermark.is_some()
    }

    /// The highest watermark of a row read so far, [`START_OF_TIME`] before the first; `None` without event time.
    pub fn watermark(&self) -> Option<i64> {
        let watermark = self.watermark.as_ref()?;
        Some(watermark.highest.load(Ordering::Relaxed))
    }

    /// Goes on from a watermark reached earlier.
    pub fn restore_watermark(&self, at: i64) {
        if let Some(watermark) = &self.watermark {
            watermark.observe(at);
        }
    }
}

/// What the scans of a table share with it.
#[derive(Debug)]
pub(super) struct Observed(Arc<StreamTable>);

impl Observed {
    pub(super) fn watermark(&self) -> Option<&Watermark> {
        self.0.watermark.as_ref()
    }

    pub(super) fn name(&self) -> &str {
        self.0.source.name()
    }
}

/// A [`StreamTable`] in a query; made by [`StreamTable::provider`].
#[derive(Debug)]
pub struct StreamTableProvider {
    table: Arc<StreamTable>,
}

#[async_trait]
impl TableProvider for StreamTableProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.schema)
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
        let table = &self.table;
        let range = table.range().ok_or_else(|| StreamError::Offset {
            name: table.source.name().to_owned(),
            reason: "a query was planned before its micro-batch was given a range".to_owned(),
        })?;
        let rule = table.watermark.as_ref().map(|watermark| &watermark.rule);
        let slot = Arc::new(ScanSlot::new(
            &table.schema,
            projection,
            filters,
            limit,
            rule,
        )?);
        slot.fill(table.source.as_ref(), state, &range).await?;
        table.slots.lock().push(Arc::clone(&slot));
        let observed = Observed(Arc::clone(table));
        let partitions = state.config().target_partitions().max(1);
        Ok(Arc::new(StreamScanExec::new(slot, observed, partitions)))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Every row moves the watermark, also one that the query has no use for.
        if self.table.has_event_time() {
            return Ok(vec![
                TableProviderFilterPushDown::Unsupported;
                filters.len()
            ]);
        }
        Ok(self.table.source.filter_pushdown(filters))
    }
}
