//! Many small partitions where there were few large ones.
//!
//! An exchange by hash can make `n * k` partitions at no more cost per row than `n`, and an operator above it that
//! works on a partition at once (building a hash table, giving out groups) then has `k` times shorter polls and tables
//! that fit the cache. [`FoldExec`] brings the `n * k` streams back to `n`, without copies, exchanges or tasks of its own.
//! A row goes to partition `hash % (n * k)`; the partitions `p`, `p + n`, `p + 2n`, … together are those
//! with `hash % n == p`, so the folded output is hash-partitioned as the plan above expects.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use futures::stream::select_all;

use super::points::YieldingStream;

/// The properties of a plan whose partitions are folded, `factor` into one. The order of rows is lost.
pub(super) fn folded(properties: &PlanProperties, factor: usize) -> PlanProperties {
    let partitioning = match &properties.partitioning {
        Partitioning::Hash(keys, count) => Partitioning::Hash(keys.clone(), count / factor),
        other => Partitioning::UnknownPartitioning(other.partition_count() / factor),
    };
    let mut folded = properties.clone().with_partitioning(partitioning);
    if factor > 1 {
        let mut equivalences = folded.eq_properties.clone();
        equivalences.clear_orderings();
        equivalences.clear_per_partition_constants();
        folded.set_eq_properties(equivalences);
    }
    folded
}

/// The partitions of a plan with `count` of them that fold into `partition`.
pub(super) fn parts(partition: usize, factor: usize, count: usize) -> impl Iterator<Item = usize> {
    let folded = count / factor;
    (0..factor).map(move |part| partition + part * folded)
}

/// Brings `n * factor` partitions back to `n`.
#[derive(Debug)]
pub struct FoldExec {
    input: Arc<dyn ExecutionPlan>,
    factor: usize,
    properties: Arc<PlanProperties>,
}

impl FoldExec {
    /// Folds each `factor` partitions of `input` into one.
    ///
    /// # Errors
    ///
    /// When the number of partitions is not a multiple of `factor`.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, factor: usize) -> Result<Self> {
        let count = input.properties().partitioning.partition_count();
        if factor == 0 || !count.is_multiple_of(factor) {
            return internal_err!("{count} partitions cannot be folded by {factor}");
        }
        let properties = Arc::new(folded(input.properties(), factor));
        Ok(Self {
            input,
            factor,
            properties,
        })
    }
}

impl DisplayAs for FoldExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FoldExec: factor={}", self.factor)
    }
}

impl ExecutionPlan for FoldExec {
    fn name(&self) -> &str {
        "FoldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::try_new(input, self.factor)?)),
            _ => internal_err!("FoldExec has exactly one input"),
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
        let count = self.input.properties().partitioning.partition_count();
        // All are polled in turn: operators may wait for one another across partitions.
        let streams = parts(partition, self.factor, count)
            .map(|part| self.input.execute(part, Arc::clone(&context)))
            .collect::<Result<Vec<_>>>()?;
        let merged = RecordBatchStreamAdapter::new(self.input.schema(), select_all(streams));
        Ok(Box::pin(YieldingStream(Box::pin(merged))))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![match partition {
            None => ChildStats::At(None),
            Some(_) => ChildStats::Skip,
        }]
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match (args.partition(), input_stats) {
            (None, [input]) => Ok(Arc::clone(input)),
            _ => Ok(Arc::new(Statistics::new_unknown(&self.input.schema()))),
        }
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}
