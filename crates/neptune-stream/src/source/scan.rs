//! The leaf of a stream job's plan: reads the range that its slot was filled with last, and watches event time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;

use super::table::Observed;
use crate::error::StreamError;
use crate::offset::OffsetRange;
use crate::scan::{project, row_statistics};
use crate::source::{ScanRequest, Source};
use crate::watermark::WatermarkRule;

/// What one scan of a plan reads, filled anew for each micro-batch.
#[derive(Debug)]
pub(super) struct ScanSlot {
    /// Columns asked of the source: those of the query, then the event time where the query has no use for it.
    columns: Option<Vec<usize>>,
    /// How many of them are the query's.
    kept: usize,
    filters: Vec<Expr>,
    limit: Option<usize>,
    /// The columns of the query.
    schema: SchemaRef,
    /// The rule of the watermark, over the columns asked of the source.
    rule: Option<WatermarkRule>,
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
    rows: AtomicU64,
}

impl ScanSlot {
    pub(super) fn new(
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
        rule: Option<&WatermarkRule>,
    ) -> Result<Self> {
        let mut columns = projection.cloned();
        let kept = columns.as_ref().map_or(schema.fields().len(), Vec::len);
        let mut own = None;
        if let Some(rule) = rule {
            let mut read = rule.clone();
            if let Some(columns) = &mut columns {
                let at = columns.iter().position(|column| *column == rule.column);
                read.column = at.unwrap_or_else(|| {
                    columns.push(rule.column);
                    columns.len() - 1
                });
                read.expression = moved(&rule.expression, rule.column, read.column, schema)?;
            }
            own = Some(read);
        }
        Ok(Self {
            columns,
            kept,
            filters: filters.to_vec(),
            limit,
            schema: project(schema, projection)?,
            rule: own,
            plan: Mutex::new(None),
            rows: AtomicU64::new(0),
        })
    }

    pub(super) async fn fill(
        &self,
        source: &dyn Source,
        state: &dyn Session,
        range: &OffsetRange,
    ) -> Result<(), StreamError> {
        let request = ScanRequest {
            projection: self.columns.as_ref(),
            filters: &self.filters,
            limit: self.limit,
        };
        let plan = source.plan(state, range, request).await?;
        *self.plan.lock() = Some(plan);
        self.rows.store(0, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Rows that the source expects in the range.
    pub(super) fn expected(&self) -> Option<u64> {
        let plan = self.plan.lock().clone()?;
        let statistics = StatisticsContext::new()
            .compute(plan.as_ref(), &StatisticsArgs::new())
            .ok()?;
        statistics.num_rows.get_value().map(|rows| *rows as u64)
    }
}

/// The watermark's expression, its one column at another place.
fn moved(
    expression: &Arc<dyn PhysicalExpr>,
    from: usize,
    to: usize,
    schema: &SchemaRef,
) -> Result<Arc<dyn PhysicalExpr>> {
    use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
    use datafusion::physical_expr::expressions::Column;
    Arc::clone(expression)
        .transform_up(|node| {
            let is_time = node
                .downcast_ref::<Column>()
                .is_some_and(|column| column.index() == from);
            Ok(match is_time {
                true => Transformed::yes(Arc::new(Column::new(schema.field(from).name(), to)) as _),
                false => Transformed::no(node),
            })
        })
        .data()
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct StreamScanExec {
    slot: Arc<ScanSlot>,
    observed: Arc<Observed>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl StreamScanExec {
    pub(super) fn new(slot: Arc<ScanSlot>, observed: Observed, partitions: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&slot.schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self {
            slot,
            observed: Arc::new(observed),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for StreamScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self
            .slot
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        write!(
            f,
            "StreamScanExec: {}, columns=[{}]",
            self.observed.name(),
            columns.join(", ")
        )
    }
}

impl ExecutionPlan for StreamScanExec {
    fn name(&self) -> &str {
        "StreamScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return internal_err!("StreamScanExec is a leaf");
        }
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(plan) = self.slot.plan.lock().clone() else {
            return internal_err!("a stream is read before its micro-batch has a range");
        };
        let count = self.properties.output_partitioning().partition_count();
        let own = (partition..plan.output_partitioning().partition_count()).step_by(count);
        let batches = stream::iter(own)
            .map(move |inner| plan.execute(inner, Arc::clone(&context)))
            .try_flatten();
        let (slot, observed) = (Arc::clone(&self.slot), Arc::clone(&self.observed));
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let batches = batches.map(move |batch| {
            let batch = batch?;
            slot.rows
                .fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            if let (Some(rule), Some(watermark)) = (&slot.rule, observed.watermark())
                && let Some(highest) = rule.highest(&batch)?
            {
                watermark.observe(highest);
            }
            let batch = match batch.num_columns() > slot.kept {
                true => batch.project(&(0..slot.kept).collect::<Vec<_>>())?,
                false => batch,
            };
            // The source knows nothing of the mark on its event time.
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.columns().to_vec();
            let schema = Arc::clone(&slot.schema);
            let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
            Ok(batch.record_output(&baseline))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            slot: Arc::clone(&self.slot),
            observed: Arc::clone(&self.observed),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        // The plan is made once for micro-batches of many sizes: what is known of this one is an estimate.
        let rows = match (self.slot.expected(), args.partition()) {
            (None, _) => Precision::Absent,
            (Some(rows), None) => Precision::Inexact(rows as usize),
            (Some(rows), Some(_)) => {
                let count = self.properties.output_partitioning().partition_count();
                Precision::Inexact(rows as usize / count)
            }
        };
        Ok(Arc::new(row_statistics(&self.slot.schema, rows)))
    }
}
