//! A phase of an aggregation around its state, kept from being planned anew.
//!
//! Its input is partitioned by key, but by a hash of our own, or is one partition: DataFusion must neither exchange it once more, nor
//! take what comes out for partitioned by DataFusion's hash.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct SealedAggregateExec {
    aggregate: Arc<AggregateExec>,
    properties: Arc<PlanProperties>,
}

impl SealedAggregateExec {
    pub(crate) fn new(aggregate: AggregateExec) -> Self {
        let partitions = aggregate.input().output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(aggregate.schema()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            aggregate: Arc::new(aggregate),
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for SealedAggregateExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")?;
        self.aggregate.fmt_as(format, f)
    }
}

impl ExecutionPlan for SealedAggregateExec {
    fn name(&self) -> &str {
        "SealedAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// Rows dealt to more partitions would no longer be where the state of their keys is.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.aggregate.input()]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("SealedAggregateExec has one input");
        };
        let old = &self.aggregate;
        Ok(Arc::new(Self::new(AggregateExec::try_new(
            *old.mode(),
            old.group_expr().clone(),
            old.aggr_expr().to_vec(),
            old.filter_expr().to_vec(),
            input,
            old.input_schema(),
        )?)))
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
        self.aggregate.execute(partition, context)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.aggregate.metrics()
    }
}
