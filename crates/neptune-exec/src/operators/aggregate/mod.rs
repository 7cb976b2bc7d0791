//! A grouped aggregation whose hash tables stay small.
//!
//! DataFusion's hash aggregation gives out a table at once: `aggregates/aggregate_hash_table/common.rs`,
//! `next_output_batch_inner`, materializes all groups (`EmitTo::All`) in one poll and slices the result afterwards.
//! Measured with some million groups: 41 to 55 ms. Growing a large table, by inserting or by rehashing, makes a poll long
//! as well.
//!
//! Here one partition of the aggregation runs in a single stock hash table while that is small, and in many stock
//! hash tables, by the hash of the group, once it is not.
//!
//! - A first stage (`Partial`) may give out a group several times: its table is closed when it holds 4 MiB, gives out its
//!   groups, and the next one starts. Where that merges too few rows, tables may hold 16 MiB; where that is not enough
//!   either, the rows are distributed over many tables.
//! - A later stage (`FinalPartitioned`, `Final`, `SinglePartitioned`) may give out each group only once: it keeps its first rows
//!   until it is clear whether they are few. When they are many, they already come in parts where the optimizer rule gave
//!   the exchange below more partitions, and each part has a table of its own; otherwise they are distributed.
//!
//! Measured with 6 million rows in two partitions, processor time and longest stretch between yield points: 1.5 million
//! groups 0.71 × and 10 → 1 ms, 1.5 million groups in order 0.59 × and 9 → 1 ms, 200,000 groups 1.0 × and 2.3 ms.
//!
//! What is left: tables grow without bound with the number of groups, each to its part of them. `Single`
//! aggregations (all in one step, in one partition), aggregations over sorted input, grouping sets, dictionaries and those with a
//! limit are not changed.

mod queue;
mod scatter;
mod split;
mod watch;

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements,
    InputOrderMode, PlanProperties, StatisticsArgs,
};

use futures::StreamExt;
use futures::stream::select_all;

use self::split::SplitAggregation;
pub use self::split::SplitLimits;
use super::batches::has_dictionary;
use super::fold::{FoldExec, folded, parts};
use super::points::YieldingStream;

/// Aggregates as the [`AggregateExec`] it is made from, in many hash tables when there are many groups.
#[derive(Debug)]
pub struct SplitAggregateExec {
    /// An [`AggregateExec`]: gives the properties, and runs over queues.
    aggregate: Arc<dyn ExecutionPlan>,
    key: Vec<Arc<dyn PhysicalExpr>>,
    first_stage: bool,
    /// Partitions of the input that make up one of the output.
    factor: usize,
    limits: SplitLimits,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SplitAggregateExec {
    /// Takes over from `aggregate`; `None` where it must stay as it is. The output has one partition for
    /// each `factor` partitions of the input; see [`FoldExec`](super::FoldExec).
    pub fn try_new(aggregate: &AggregateExec, factor: usize, limits: SplitLimits) -> Option<Self> {
        if Self::suits(aggregate) {
            Some(Self::of(
                Arc::new(aggregate.clone()),
                aggregate.group_expr().input_exprs(),
                *aggregate.mode() == AggregateMode::Partial,
                factor,
                limits,
            ))
        } else {
            None
        }
    }

    fn of(
        aggregate: Arc<dyn ExecutionPlan>,
        key: Vec<Arc<dyn PhysicalExpr>>,
        first_stage: bool,
        factor: usize,
        limits: SplitLimits,
    ) -> Self {
        let properties = match factor {
            1 => Arc::clone(aggregate.properties()),
            factor => Arc::new(folded(aggregate.properties(), factor)),
        };
        Self {
            aggregate,
            key,
            first_stage,
            factor,
            limits,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// Whether `aggregate` can be split.
    pub fn suits(aggregate: &AggregateExec) -> bool {
        let group = aggregate.group_expr();
        let schema = aggregate.input().schema();
        !matches!(aggregate.mode(), AggregateMode::Single | AggregateMode::PartialReduce)
            && group.is_single()
            && !group.is_true_no_grouping()
            && !group.input_exprs().iter().any(is_volatile)
            && aggregate.limit_options().is_none()
            && aggregate.dynamic_expressions_produced().is_empty()
            && *aggregate.input_order_mode() == InputOrderMode::Linear
            && !schema.fields().is_empty()
            // Gathering rows of several batches could need more values than a dictionary's keys can number.
            && !schema.fields().iter().any(|f| has_dictionary(f.data_type()))
    }
}

impl DisplayAs for SplitAggregateExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(format, DisplayFormatType::TreeRender) {
            write!(f, "Split")?;
        }
        self.aggregate.fmt_as(format, f)
    }
}

impl ExecutionPlan for SplitAggregateExec {
    fn name(&self) -> &str {
        "SplitAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.aggregate.input_distribution_requirements()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.aggregate.benefits_from_input_partitioning()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.aggregate.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let aggregate = Arc::clone(&self.aggregate).replace_children(children, options)?;
        match aggregate.downcast_ref::<AggregateExec>() {
            // A sorted input makes the stock operator stream.
            Some(new) if *new.input_order_mode() != InputOrderMode::Linear => match self.factor {
                1 => Ok(aggregate),
                factor => Ok(Arc::new(FoldExec::try_new(aggregate, factor)?)),
            },
            Some(_) => Ok(Arc::new(Self::of(
                aggregate,
                self.key.clone(),
                self.first_stage,
                self.factor,
                self.limits,
            ))),
            None => internal_err!("an aggregation with another input is no longer an aggregation"),
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
        Ok(Arc::new(Self::of(
            Arc::clone(&self.aggregate).reset_state()?,
            self.key.clone(),
            self.first_stage,
            self.factor,
            self.limits,
        )))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let [input] = self.aggregate.children()[..] else {
            return internal_err!("an aggregation has one input");
        };
        let count = input.properties().partitioning.partition_count();
        let streams = parts(partition, self.factor, count)
            .enumerate()
            .map(|(part, number)| {
                let rows = input.execute(number, Arc::clone(&context))?;
                Ok(rows.map(move |batch| (part, batch)))
            })
            .collect::<Result<Vec<_>>>()?;
        let aggregation = SplitAggregation::start(
            Arc::clone(&self.aggregate),
            self.key.clone(),
            self.first_stage,
            self.limits,
            Box::pin(select_all(streams)),
            self.factor,
            partition,
            context,
            MetricBuilder::new(&self.metrics).counter("splits", partition),
        )?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let output = futures::stream::try_unfold(aggregation, move |mut aggregation| {
            let metrics = metrics.clone();
            async move {
                let batch = aggregation.next().await?;
                Ok(batch.map(|batch| (batch.record_output(&metrics), aggregation)))
            }
        });
        let output = RecordBatchStreamAdapter::new(self.schema(), Box::pin(output));
        Ok(Box::pin(YieldingStream(Box::pin(output))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.aggregate.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.aggregate.statistics_from_inputs(input_stats, args)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        self.aggregate.cardinality_effect()
    }
}
