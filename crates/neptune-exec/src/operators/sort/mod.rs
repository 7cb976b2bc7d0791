//! A full sort that spreads its work over its input and yields while it merges.
//!
//! DataFusion's `SortExec` (`sorts/sort.rs`, `ExternalSorter`) buffers its input and, when that ends, sorts every
//! buffered batch and encodes its keys before the first row comes out: the streams of its runs are ready at
//! once, so one poll of the merge (`sorts/merge.rs`, `initialize_all_partitions`) does all of it, and with many columns each
//! of its later polls takes more than a millisecond. Here each batch is sorted when it arrives, in pieces that
//! take about twice the target time at most, and each time the merge asks a run for its next 1,024 rows is a yield point.
//!
//! Measured with 16 million rows in two partitions, processor time and longest stretch between yield points: one integer
//! key 1.0 × and 13 → 0.7 ms, three keys 1.0 × and 89 → 2 ms, a string in six columns 1.0 × and 133 → 8 ms.
//!
//! What is left: sorting one piece, and between two yield points of a merge the building of one output batch.
//! When memory runs out the runs are merged into a file, as `SortExec` does; the merge of several such files
//! is DataFusion's own (`sorts/multi_level_merge.rs`) and yields where it waits for the disk.

mod run;
mod sorter;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, StatisticsArgs,
};
use futures::TryStreamExt;

use self::sorter::RunSorter;
use super::points::YieldingStream;

/// Sorts its input like the [`SortExec`] it is made from, without long polls.
#[derive(Debug)]
pub struct RunSortExec {
    /// Gives the properties; is not executed unless the input is sorted already.
    sort: SortExec,
    target: Duration,
    metrics: ExecutionPlanMetricsSet,
}

impl RunSortExec {
    /// Sorts as `sort` would; `target` is the time one piece of work should take.
    ///
    /// # Errors
    ///
    /// When `sort` has a fetch: a top-k is no full sort, and has short polls already.
    pub fn try_new(sort: &SortExec, target: Duration) -> Result<Self> {
        if sort.fetch().is_some() {
            return internal_err!("RunSortExec cannot replace a sort with a fetch");
        }
        Ok(Self {
            sort: sort.clone(),
            target,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The ordering of the output.
    pub fn expr(&self) -> &LexOrdering {
        self.sort.expr()
    }
}

impl DisplayAs for RunSortExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => writeln!(f, "{}", self.expr()),
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(
                f,
                "RunSortExec: expr=[{}], preserve_partitioning=[{}]",
                self.expr(),
                self.sort.preserve_partitioning()
            ),
        }
    }
}

impl ExecutionPlan for RunSortExec {
    fn name(&self) -> &str {
        "RunSortExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.sort.properties()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.sort.input_distribution_requirements()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.sort.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.sort.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let sort = Arc::new(self.sort.clone()).replace_children(children, options)?;
        match sort.downcast_ref::<SortExec>() {
            Some(sort) => Ok(Arc::new(Self {
                sort: sort.clone(),
                target: self.target,
                metrics: self.metrics.clone(),
            })),
            None => internal_err!("a sort with another input is no longer a sort"),
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

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::try_new(&self.sort, self.target)?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.sort.input();
        let rows = input.execute(partition, Arc::clone(&context))?;
        let sorted = input
            .equivalence_properties()
            .ordering_satisfy(self.expr().clone())?;
        if sorted {
            return Ok(rows);
        }
        let schema = self.schema();
        let sorter = RunSorter::new(
            Arc::clone(&schema),
            self.expr().clone(),
            self.target,
            partition,
            &self.metrics,
            &context,
        );
        let output = futures::stream::once(Box::pin(sorter.sort(rows))).try_flatten();
        let output = RecordBatchStreamAdapter::new(schema, output);
        Ok(Box::pin(YieldingStream(Box::pin(output))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.sort.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.sort.statistics_from_inputs(input_stats, args)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}
