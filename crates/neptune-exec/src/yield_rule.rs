//! The optimizer rule that gives a physical plan its yield nodes.
//!
//! A yield node goes above every leaf, so that whatever consumes batches comes by one, and above every operator
//! that can work or emit for long without asking its input: aggregations, sorts and merges, joins, windows, unnest,
//! exchanges, and filters, which gather what they let through into full batches again.
//! Projections pass a batch on for each they take, and need none of their own.
//! DataFusion's joins have no cooperative yield of their own (its issue 19358): these nodes give them one.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::{ExecutionPlan, ReplaceChildrenOptions};
use neptune_sched::Class;

use crate::options::NeptuneOptions;

/// Operators whose output side needs a yield point besides the leaves below them.
const LONG_WORKERS: [&str; 24] = [
    "AggregateExec",
    "SplitAggregateExec",
    "SortExec",
    "RunSortExec",
    "PartialSortExec",
    "SortPreservingMergeExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "CrossJoinExec",
    "SortMergeJoinExec",
    "SymmetricHashJoinExec",
    "WindowAggExec",
    "GroupWindowExec",
    "FoldExec",
    "BoundedWindowAggExec",
    "UnnestExec",
    "RepartitionExec",
    "CoalescePartitionsExec",
    "RecursiveQueryExec",
    "InterleaveExec",
    "UnionExec",
    "AsyncFuncExec",
    "FilterExec",
];

/// Inserts [`YieldExec`](crate::YieldExec) nodes. To be the last rule.
#[derive(Debug, Default)]
pub struct YieldRule;

impl PhysicalOptimizerRule for YieldRule {
    fn name(&self) -> &str {
        "neptune_yield"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let defaults = NeptuneOptions::default();
        let options = config
            .extensions
            .get::<NeptuneOptions>()
            .unwrap_or(&defaults);
        if !options.yield_nodes {
            return Ok(plan);
        }
        let slices = options.job_class == Class::Batch && !options.yield_target.is_zero();
        insert(plan, "result", options.yield_target, slices)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn insert(
    plan: Arc<dyn ExecutionPlan>,
    consumer: &str,
    target: Duration,
    slices: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let name = plan.name().to_owned();
    if name == "YieldExec" {
        return Ok(plan);
    }
    let children = plan.children();
    let leaf = children.is_empty();
    let plan = if leaf {
        plan
    } else {
        let children: Vec<_> = children.into_iter().cloned().collect();
        let new = children
            .iter()
            .map(|child| insert(Arc::clone(child), &name, target, slices))
            .collect::<Result<Vec<_>>>()?;
        if new.iter().zip(&children).all(|(a, b)| Arc::ptr_eq(a, b)) {
            plan
        } else {
            plan.replace_children(
                new,
                ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep),
            )?
        }
    };
    if leaf || LONG_WORKERS.contains(&name.as_str()) {
        return Ok(Arc::new(crate::YieldExec::new(
            plan, consumer, target, slices,
        )));
    }
    Ok(plan)
}
