//! Session windows in a physical plan.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::common::{ColumnStatistics, Result, Statistics, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexRequirement, OrderingRequirements, PhysicalExpr,
    PhysicalSortRequirement,
};
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties,
};
use futures::StreamExt;

use super::sessions::{Layout, Sessions};

/// Adds to each row the session window that it belongs to, over an input that is divided by the keys and sorted by
/// keys and time. It holds the rows of one session at a time, in memory reserved for them.
#[derive(Debug, Clone)]
pub struct SessionWindowExec {
    input: Arc<dyn ExecutionPlan>,
    layout: Layout,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SessionWindowExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, layout: Layout) -> Self {
        // Columns keep their places, so what is known of the input's order and division holds.
        let orderings = input.equivalence_properties().oeq_class().clone();
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(Arc::clone(&layout.schema), orderings),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            input.boundedness(),
        );
        Self {
            input,
            layout,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    fn column(&self, index: usize) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(self.layout.schema.field(index).name(), index))
    }

    fn keys(&self) -> impl Iterator<Item = Arc<dyn PhysicalExpr>> {
        self.layout.keys.iter().map(|key| self.column(*key))
    }
}

impl DisplayAs for SessionWindowExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys().map(|key| key.to_string()).collect();
        write!(
            f,
            "SessionWindowExec: keys=[{}], time={}, gap={} {}",
            keys.join(", "),
            self.column(self.layout.time),
            self.layout.gap,
            self.layout.time_type.unit_sign()
        )
    }
}

impl ExecutionPlan for SessionWindowExec {
    fn name(&self) -> &str {
        "SessionWindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let keys: Vec<_> = self.keys().collect();
        InputDistributionRequirements::new(vec![match keys.is_empty() {
            true => Distribution::SinglePartition,
            false => Distribution::KeyPartitioned(keys),
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        // In which direction the keys are sorted does not matter.
        let keys = self
            .keys()
            .map(|key| PhysicalSortRequirement::new(key, None));
        let time = self.column(self.layout.time);
        let time = PhysicalSortRequirement::new(time, Some(SortOptions::default()));
        vec![LexRequirement::new(keys.chain([time])).map(OrderingRequirements::new)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut recursion = TreeNodeRecursion::Continue;
        for expression in self.keys().chain([self.column(self.layout.time)]) {
            recursion = f(&expression)?;
            if recursion == TreeNodeRecursion::Stop {
                break;
            }
        }
        Ok(recursion)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.layout.clone()))),
            _ => internal_err!("SessionWindowExec has one input"),
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
        let memory = MemoryConsumer::new(format!("SessionWindowExec[{partition}]"));
        let windows = Assignment {
            input: Some(self.input.execute(partition, Arc::clone(&context))?),
            sessions: Sessions::new(self.layout.clone()),
            ready: VecDeque::new(),
            memory: memory.register(context.memory_pool()),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let output = futures::stream::try_unfold(windows, |mut windows| async move {
            let batch = windows.next().await?;
            Ok(batch.map(|batch| (batch.record_output(&windows.metrics), windows)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            output,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let Some(input) = input_stats.first() else {
            return internal_err!("SessionWindowExec has one input");
        };
        let mut statistics = input.as_ref().clone();
        statistics
            .column_statistics
            .push(ColumnStatistics::new_unknown());
        statistics.total_byte_size = Default::default();
        Ok(Arc::new(statistics))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// One partition of the plan, on its way.
struct Assignment {
    input: Option<SendableRecordBatchStream>,
    sessions: Sessions,
    /// Given out one after the other.
    ready: VecDeque<RecordBatch>,
    /// For the rows held.
    memory: MemoryReservation,
    metrics: BaselineMetrics,
}

impl Assignment {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                if self.ready.is_empty() {
                    let held = self
                        .sessions
                        .held()
                        .iter()
                        .map(get_record_batch_memory_size);
                    self.memory.try_resize(held.sum())?;
                }
                return Ok(Some(batch));
            }
            let Some(input) = &mut self.input else {
                return Ok(None);
            };
            let batch = input.next().await.transpose()?;
            let timer = self.metrics.elapsed_compute().timer();
            let complete = match batch {
                Some(batch) => {
                    if batch.num_rows() > 0 {
                        self.memory.try_grow(get_record_batch_memory_size(&batch))?;
                    }
                    self.sessions.push(batch)?
                }
                None => {
                    self.input = None;
                    self.sessions.finish()?
                }
            };
            timer.done();
            self.ready.extend(complete);
        }
    }
}
