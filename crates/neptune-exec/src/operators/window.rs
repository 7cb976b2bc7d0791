//! Window functions one `PARTITION BY` group after the other.
//!
//! DataFusion's `WindowAggExec` (`windows/window_agg_exec.rs`, `compute_aggregates`) collects its whole input, puts it into
//! one batch and computes every function in a single poll. Its input is sorted by the `PARTITION BY` keys, so
//! each group is complete as soon as the next one begins: [`GroupWindowExec`] computes and gives out the groups of about
//! one batch at a time, with yield points between groups, and never holds more than the open group.
//!
//! Measured with 3 million rows in 100,000 groups: 0.8 × the processor time, longest stretch 90 → 0.8 ms.
//!
//! What is left: one group is computed at once, however large, and without `PARTITION BY` there is only one. Functions that
//! need no look-ahead run in `BoundedWindowAggExec`, batch by batch.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::{concat, concat_batches};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::evaluate_partition_ranges;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements,
    PlanProperties, StatisticsArgs,
};
use futures::StreamExt;

use super::points::{YieldingStream, yield_point};

/// Groups computed between two yield points.
const GROUPS: usize = 16;

/// Computes window functions as the [`WindowAggExec`] it is made from, group by group.
#[derive(Debug)]
pub struct GroupWindowExec {
    window: WindowAggExec,
    keys: Vec<PhysicalSortExpr>,
    metrics: ExecutionPlanMetricsSet,
}

impl GroupWindowExec {
    /// Takes over from `window`; `None` where it has no `PARTITION BY`.
    ///
    /// # Errors
    ///
    /// When the input of `window` is not sorted by its keys.
    pub fn try_new(window: &WindowAggExec) -> Result<Option<Self>> {
        let keys = window.partition_by_sort_keys()?;
        Ok((!keys.is_empty()).then(|| Self {
            window: window.clone(),
            keys,
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

impl DisplayAs for GroupWindowExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(format, DisplayFormatType::TreeRender) {
            write!(f, "GroupWindowExec of ")?;
        }
        self.window.fmt_as(format, f)
    }
}

impl ExecutionPlan for GroupWindowExec {
    fn name(&self) -> &str {
        "GroupWindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.window.required_input_ordering()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.window.input_distribution_requirements()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.window.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let window = Arc::new(self.window.clone()).replace_children(children, options)?;
        match window.downcast_ref::<WindowAggExec>().map(Self::try_new) {
            Some(Ok(Some(new))) => Ok(Arc::new(new)),
            Some(Err(error)) => Err(error),
            _ => internal_err!("a window with another input has lost its keys"),
        }
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
        let batch_size = context.session_config().batch_size();
        let groups = Groups {
            schema: self.schema(),
            functions: self.window.window_expr().to_vec(),
            keys: self.keys.clone(),
            input: Some(self.window.input().execute(partition, context)?),
            open: Vec::new(),
            ready: None,
            batch_size,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let output = futures::stream::try_unfold(groups, |mut groups| async move {
            let batch = groups.next().await?;
            Ok(batch.map(|batch| (batch.record_output(&groups.metrics), groups)))
        });
        let output = RecordBatchStreamAdapter::new(self.schema(), Box::pin(output));
        Ok(Box::pin(YieldingStream(Box::pin(output))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.window.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.window.statistics_from_inputs(input_stats, args)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// One partition of the plan, on its way.
struct Groups {
    schema: SchemaRef,
    functions: Vec<Arc<dyn WindowExpr>>,
    keys: Vec<PhysicalSortExpr>,
    input: Option<SendableRecordBatchStream>,
    /// The rows of the group that may go on; earlier groups only until the next call.
    open: Vec<RecordBatch>,
    /// Computed, and not yet given out.
    ready: Option<RecordBatch>,
    batch_size: usize,
    metrics: BaselineMetrics,
}

impl Groups {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.take() {
                if batch.num_rows() <= self.batch_size {
                    return Ok(Some(batch));
                }
                let left = batch.num_rows() - self.batch_size;
                self.ready = Some(batch.slice(self.batch_size, left));
                return Ok(Some(batch.slice(0, self.batch_size)));
            }
            yield_point().await;
            let Some(input) = &mut self.input else {
                return Ok(None);
            };
            let complete = match input.next().await {
                Some(batch) => self.close_groups(batch?)?,
                None => {
                    self.input = None;
                    std::mem::take(&mut self.open)
                }
            };
            if complete.iter().any(|batch| batch.num_rows() > 0) {
                self.ready = Some(self.compute(complete).await?);
            }
        }
    }

    /// Adds a batch; returns the rows of all groups that have ended.
    fn close_groups(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let last = self.starts(&batch)?.last().copied().unwrap_or(0);
        let mut complete = Vec::new();
        if last > 0 {
            complete = std::mem::take(&mut self.open);
            complete.push(batch.slice(0, last));
        } else if let Some(before) = self.open.last() {
            let pair = [before.slice(before.num_rows() - 1, 1), batch.slice(0, 1)];
            if self.starts(&concat_batches(&batch.schema(), &pair)?)?.len() > 1 {
                complete = std::mem::take(&mut self.open);
            }
        }
        self.open.push(batch.slice(last, batch.num_rows() - last));
        Ok(complete)
    }

    /// The first row of each group in `batch`.
    fn starts(&self, batch: &RecordBatch) -> Result<Vec<usize>> {
        let keys = self
            .keys
            .iter()
            .map(|key| key.evaluate_to_sort_column(batch))
            .collect::<Result<Vec<_>>>()?;
        let ranges = evaluate_partition_ranges(batch.num_rows(), &keys)?;
        Ok(ranges.into_iter().map(|range| range.start).collect())
    }

    /// Computes whole groups.
    async fn compute(&mut self, rows: Vec<RecordBatch>) -> Result<RecordBatch> {
        let batch = match rows.as_slice() {
            [batch] => batch.clone(),
            batches => concat_batches(&batches[0].schema(), batches)?,
        };
        let mut starts = self.starts(&batch)?;
        starts.push(batch.num_rows());
        let mut results: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.functions.len()];
        for (number, group) in starts.windows(2).enumerate() {
            let group = batch.slice(group[0], group[1] - group[0]);
            let timer = self.metrics.elapsed_compute().timer();
            for (function, result) in self.functions.iter().zip(&mut results) {
                result.push(function.evaluate(&group)?);
            }
            timer.done();
            if number % GROUPS == GROUPS - 1 {
                yield_point().await;
            }
        }
        let mut columns = batch.columns().to_vec();
        for result in &results {
            let parts: Vec<_> = result.iter().map(|part| part.as_ref()).collect();
            columns.push(concat(&parts)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
