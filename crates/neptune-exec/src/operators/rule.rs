//! The optimizer rule that gives a batch job's plan operators with short polls.
//!
//! It takes its turn after DataFusion's own rules and before the one that inserts yield nodes. Each rewrite keeps
//! the answers and the properties of the plan around it:
//!
//! | option | stock operator | becomes |
//! |---|---|---|
//! | `sort` | `SortExec` without fetch | [`RunSortExec`] |
//! | `aggregate` | grouped hash aggregation | [`SplitAggregateExec`], over an exchange into more partitions |
//! | `join` | partitioned `HashJoinExec` over exchanges | the same with more partitions below a [`FoldExec`] |
//! | `window` | `WindowAggExec` with `PARTITION BY` | [`GroupWindowExec`] |
//!
//! A divided join with 1.5 million rows to build from takes 0.9 × the processor time, its longest stretch goes from 30 to
//! 1 ms. It keeps its partitions where its keys may be dense integers: DataFusion then looks rows up by index in an array, which
//! more partitions would make sparse (measured: twice the time), and the stretch stays at 8 to 15 ms for 750,000 rows a
//! partition. An integer key without statistics counts as dense.
//!
//! Left as they are, because only another implementation of the operator could cut its polls:
//!
//! - the build side of a `CollectLeft` hash join (`joins/hash_join/exec.rs`, `collect_left_input`: the hash table and one copy of
//!   all rows are made in the poll in which the build side ends), bounded, as long as statistics are right, by
//!   `datafusion.optimizer.hash_join_single_partition_threshold_rows`, 131,072 rows by default;
//! - nested loop and cross joins (`joins/nested_loop_join.rs`, `joins/cross_join.rs`: the build side is copied together in one
//!   poll; the probe side can be sliced);
//! - sort-merge joins, and everything inside a recursive query.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::Partitioning;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, StatisticsArgs, StatisticsContext,
    replace_children_if_necessary,
};

use neptune_sched::Class;

use crate::options::NeptuneOptions;

use super::{FoldExec, GroupWindowExec, RunSortExec, SplitAggregateExec, SplitLimits};

/// Where nobody knows how many rows an exchange will carry, it gets a partition for each so many rows read below it: reading
/// that many takes over a millisecond, a partition about 20 µs.
const READ_ROWS: usize = 64 * 1024;

/// Which operators are replaced, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortPollOptions {
    /// Full sorts.
    pub sort: bool,
    /// Grouped aggregations.
    pub aggregate: bool,
    /// Partitioned hash joins.
    pub join: bool,
    /// Window functions over whole groups.
    pub window: bool,
    /// Time that one piece of work should take.
    pub target: Duration,
    /// Most partitions of an exchange in front of an aggregation or a join. They cost about 20 µs each per query,
    /// and bound how large a hash table gets. A `FairSpillPool` gives each of them an equal share of the memory for spilling
    /// operators: with such a pool a small number leaves more to the others.
    pub partitions: usize,
    /// How large a hash table may get. `rows` is also what a partition of a join's build side should have.
    pub limits: SplitLimits,
}

impl Default for ShortPollOptions {
    fn default() -> Self {
        Self {
            sort: true,
            aggregate: true,
            join: true,
            window: true,
            target: Duration::from_micros(500),
            partitions: 64,
            limits: SplitLimits::default(),
        }
    }
}

/// Replaces operators with long polls. See the module's text.
#[derive(Debug, Default)]
pub struct ShortPolls {
    options: ShortPollOptions,
}

impl ShortPolls {
    /// A rule that does what `options` says.
    pub fn new(options: ShortPollOptions) -> Self {
        Self { options }
    }
}

impl PhysicalOptimizerRule for ShortPolls {
    fn name(&self) -> &str {
        "neptune_short_polls"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let neptune = config.extensions.get::<NeptuneOptions>();
        if neptune.is_some_and(|options| options.job_class != Class::Batch || !options.short_polls)
        {
            return Ok(plan);
        }
        Rewrite {
            options: self.options,
            filters_rows_in_scans: config.execution.parquet.pushdown_filters,
            least_density: config.execution.perfect_hash_join_min_key_density,
        }
        .plan(plan)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

struct Rewrite {
    options: ShortPollOptions,
    /// Whether a join's filter may be applied to every row of a scan: its cost grows with the join's partitions.
    filters_rows_in_scans: bool,
    /// Rows per value of the key's range from which DataFusion joins by index.
    least_density: f64,
}

impl Rewrite {
    fn plan(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if plan.is::<RecursiveQueryExec>() || plan.boundedness().is_unbounded() {
            return Ok(plan);
        }
        if self.options.join && plan.is::<HashJoinExec>() && self.is_divisible(&plan) {
            let count = plan.output_partitioning().partition_count();
            let factor = self.join_factor(&plan, count);
            if factor > 1 {
                let many = self.multiply(plan, factor)?;
                return Ok(Arc::new(FoldExec::try_new(many, factor)?));
            }
        }
        let children = plan
            .children()
            .into_iter()
            .map(|child| self.plan(Arc::clone(child)))
            .collect::<Result<Vec<_>>>()?;
        let plan = if children.is_empty() {
            plan
        } else {
            replace_children_if_necessary(plan, children)?
        };
        self.node(plan)
    }

    /// Replaces one operator whose inputs are done.
    fn node(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(sort) = plan.downcast_ref::<SortExec>() {
            if self.options.sort && sort.fetch().is_none() {
                return Ok(Arc::new(RunSortExec::try_new(sort, self.options.target)?));
            }
        } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            if self.options.aggregate && SplitAggregateExec::suits(aggregate) {
                return self.aggregate(&plan, aggregate);
            }
        } else if let Some(window) = plan.downcast_ref::<WindowAggExec>()
            && self.options.window
            && let Some(window) = GroupWindowExec::try_new(window)?
        {
            return Ok(Arc::new(window));
        }
        Ok(plan)
    }

    fn aggregate(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        aggregate: &AggregateExec,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = aggregate.input();
        let count = input.output_partitioning().partition_count();
        let factor = match aggregate.mode() {
            AggregateMode::FinalPartitioned | AggregateMode::SinglePartitioned => {
                self.factor(input, count)
            }
            _ => 1,
        };
        if factor > 1
            && let Some(exchange) = input.downcast_ref::<RepartitionExec>()
            && is_by_hash(exchange)
        {
            let exchange = multiplied(exchange, Arc::clone(exchange.input()), factor)?;
            let many = replace_children_if_necessary(Arc::clone(plan), vec![exchange])?;
            if let Some(many) = many.downcast_ref::<AggregateExec>()
                && let Some(split) = SplitAggregateExec::try_new(many, factor, self.options.limits)
            {
                return Ok(Arc::new(split));
            }
        }
        Ok(self.split(aggregate).unwrap_or_else(|| Arc::clone(plan)))
    }

    /// How many times more partitions `plan`, which has `count`, should have.
    fn factor(&self, plan: &Arc<dyn ExecutionPlan>, count: usize) -> usize {
        let most = self.options.partitions / count.max(1);
        let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
        match statistics.map(|s| s.num_rows.get_value().copied()) {
            Ok(Some(rows)) => rows.div_ceil(count * self.options.limits.rows).min(most),
            // Unknown, but seldom more than what is read for it; partitions nobody fills should not cost what reading does.
            Ok(None) | Err(_) => match leaf_rows(plan) {
                Some(rows) => rows.div_ceil(count * READ_ROWS).min(most),
                None => most,
            },
        }
    }

    /// Whether `plan` can be had with more partitions: it works partition by partition on exchanges by hash.
    fn is_divisible(&self, plan: &Arc<dyn ExecutionPlan>) -> bool {
        if plan.output_ordering().is_some() {
            return false;
        }
        if let Some(exchange) = plan.downcast_ref::<RepartitionExec>() {
            return is_by_hash(exchange);
        }
        let by_partition = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            let filters = self.filters_rows_in_scans;
            *join.partition_mode() == PartitionMode::Partitioned
                && (!filters || join.dynamic_expressions_produced().is_empty())
                && !self.may_index_by_key(join)
        } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            matches!(
                aggregate.mode(),
                AggregateMode::FinalPartitioned | AggregateMode::SinglePartitioned
            )
        } else {
            plan.is::<ProjectionExec>() || plan.is::<FilterExec>() || plan.is::<CooperativeExec>()
        };
        by_partition
            && plan
                .children()
                .into_iter()
                .all(|child| self.is_divisible(child))
    }

    /// Whether `join` may use its key as an index into an array, which is more than twice as fast as a hash table. It
    /// does where the keys of a partition are dense in their range, and more partitions make them sparse.
    fn may_index_by_key(&self, join: &HashJoinExec) -> bool {
        let ([(key, _)], build) = (join.on(), join.left()) else {
            return false;
        };
        if !key
            .data_type(&build.schema())
            .is_ok_and(|key| key.is_integer())
        {
            return false;
        }
        let statistics = StatisticsContext::new().compute(build.as_ref(), &StatisticsArgs::new());
        let (Ok(statistics), Some(key)) = (statistics, key.downcast_ref::<Column>()) else {
            return true;
        };
        let column = statistics.column_statistics.get(key.index());
        let bound =
            |value: &Precision<ScalarValue>| match value.get_value()?.cast_to(&DataType::Float64) {
                Ok(ScalarValue::Float64(value)) => value,
                _ => None,
            };
        let range = column.and_then(|c| Some(bound(&c.max_value)? - bound(&c.min_value)? + 1.0));
        match (statistics.num_rows.get_value(), range) {
            (Some(rows), Some(range)) => {
                let partitions = build.output_partitioning().partition_count();
                *rows as f64 / partitions as f64 / range > self.least_density
            }
            _ => true,
        }
    }

    /// The most that a join in a divisible `plan` needs.
    fn join_factor(&self, plan: &Arc<dyn ExecutionPlan>, count: usize) -> usize {
        if plan.is::<RepartitionExec>() {
            return 1;
        }
        let own = match plan.downcast_ref::<HashJoinExec>() {
            Some(join) => self.factor(join.left(), count),
            None => 1,
        };
        let children = plan.children();
        let below = children.iter().map(|child| self.join_factor(child, count));
        below.fold(own, usize::max)
    }

    fn split(&self, aggregate: &AggregateExec) -> Option<Arc<dyn ExecutionPlan>> {
        let split = SplitAggregateExec::try_new(aggregate, 1, self.options.limits)?;
        Some(Arc::new(split))
    }

    /// A divisible `plan` with `factor` times as many partitions, by the same hash.
    fn multiply(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        factor: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(exchange) = plan.downcast_ref::<RepartitionExec>() {
            let input = self.plan(Arc::clone(exchange.input()))?;
            return multiplied(exchange, input, factor);
        }
        let children = plan
            .children()
            .into_iter()
            .map(|child| self.multiply(Arc::clone(child), factor))
            .collect::<Result<Vec<_>>>()?;
        let plan = replace_children_if_necessary(plan, children)?;
        match plan.downcast_ref::<AggregateExec>() {
            Some(aggregate) if self.options.aggregate => Ok(self.split(aggregate).unwrap_or(plan)),
            _ => Ok(plan),
        }
    }
}

/// Rows of the largest leaf below `plan`; `None` when a leaf does not know.
fn leaf_rows(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let children = plan.children();
    if children.is_empty() {
        let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
        return statistics.ok()?.num_rows.get_value().copied();
    }
    let mut rows = children.into_iter().map(leaf_rows);
    rows.try_fold(0, |most, rows| Some(rows?.max(most)))
}

fn is_by_hash(exchange: &RepartitionExec) -> bool {
    matches!(exchange.partitioning(), Partitioning::Hash(..)) && !exchange.preserve_order()
}

/// An exchange [by hash](is_by_hash), over `input`, with more partitions.
fn multiplied(
    exchange: &RepartitionExec,
    input: Arc<dyn ExecutionPlan>,
    factor: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let partitioning = match exchange.partitioning() {
        Partitioning::Hash(keys, count) => Partitioning::Hash(keys.clone(), count * factor),
        other => other.clone(),
    };
    Ok(Arc::new(RepartitionExec::try_new(input, partitioning)?))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    #[tokio::test]
    async fn the_largest_leaf_bounds_what_is_read() {
        let context =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        for (name, rows) in [("small", 10), ("large", 3000)] {
            let table = format!("CREATE TABLE {name} AS SELECT value AS v FROM range({rows})");
            context.sql(&table).await.unwrap().collect().await.unwrap();
        }
        for (query, rows) in [
            ("SELECT v FROM small WHERE v > 3", Some(10)),
            ("SELECT v, count(*) FROM large GROUP BY v", Some(3000)),
            ("SELECT * FROM small JOIN large USING (v)", Some(3000)),
            (
                "SELECT v FROM small UNION ALL SELECT v FROM small",
                Some(10),
            ),
            (
                "SELECT * FROM small JOIN range(5) AS r ON v = r.value",
                None,
            ),
        ] {
            let plan = context.sql(query).await.unwrap();
            let plan = plan.create_physical_plan().await.unwrap();
            assert_eq!(leaf_rows(&plan), rows, "{query}");
        }
    }
}
