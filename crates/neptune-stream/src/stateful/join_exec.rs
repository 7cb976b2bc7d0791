//! The plan node of a join of two streams: collects the new rows of both sides, and joins them partition by partition.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::distribution_requirements::InputDistributionRequirements;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::ahead::Ahead;
use super::exchange::{KeyGroup, owned_groups};
use super::join::StreamJoin;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct StreamJoinExec {
    join: Arc<StreamJoin>,
    inputs: [Arc<dyn ExecutionPlan>; 2],
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    pub(super) ahead: Ahead,
}

impl StreamJoinExec {
    pub(crate) fn new(join: Arc<StreamJoin>, inputs: [Arc<dyn ExecutionPlan>; 2]) -> Self {
        let partitions = inputs[0].output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&join.schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            join,
            inputs,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            ahead: Ahead::default(),
        }
    }

    /// Runs a partition, whether or not it was run ahead.
    pub(super) fn run(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let partitions = self.properties.output_partitioning().partition_count();
        let left = self.inputs[0].execute(partition, Arc::clone(&context))?;
        let right = self.inputs[1].execute(partition, context)?;
        let join = Arc::clone(&self.join);
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let joined = async move {
            let (left, right) = futures::try_join!(
                left.try_collect::<Vec<RecordBatch>>(),
                right.try_collect::<Vec<RecordBatch>>()
            )?;
            let _timer = baseline.elapsed_compute().timer();
            let groups = owned_groups(partition, partitions)?;
            let batches = join.run(&left, &right, &groups, partition)?;
            let batches = batches.into_iter().filter(|batch| batch.num_rows() > 0);
            let counted: Vec<_> = batches
                .map(|batch| Ok(batch.record_output(&baseline)))
                .collect();
            Ok::<_, datafusion::common::DataFusionError>(stream::iter(counted))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.join.schema),
            stream::once(joined).try_flatten().boxed(),
        )))
    }
}

impl DisplayAs for StreamJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamJoinExec: {}", self.join.operator.what())
    }
}

impl ExecutionPlan for StreamJoinExec {
    fn name(&self) -> &str {
        "StreamJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let each = self
            .join
            .sides
            .iter()
            .map(|side| match side.keys.is_empty() {
                true => Distribution::SinglePartition,
                false => Distribution::KeyPartitioned(vec![Arc::new(KeyGroup::new(
                    side.keys.clone(),
                    Arc::clone(&self.join.key_codec),
                ))]),
            });
        InputDistributionRequirements::co_partitioned(each.collect())
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
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
        match <[_; 2]>::try_from(children) {
            Ok(inputs) => Ok(Arc::new(Self::new(Arc::clone(&self.join), inputs))),
            Err(_) => internal_err!("StreamJoinExec has two inputs"),
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
        match self.ahead.take(partition, &self.join.schema) {
            Some(rows) => Ok(rows),
            None => self.run(partition, context),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
