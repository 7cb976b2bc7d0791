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
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr,
    IsNullExpr, Literal, NegativeExpr, NotExpr,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::{ExecutionPlan, ReplaceChildrenOptions};
use neptune_sched::Class;

use crate::options::NeptuneOptions;
use crate::yield_exec::{Slices, YieldExec};

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

/// Operators that take about as long over a row as their expressions do.
const QUICK_WORKERS: [&str; 20] = [
    "AggregateExec",
    "SplitAggregateExec",
    "SortExec",
    "RunSortExec",
    "PartialSortExec",
    "SortPreservingMergeExec",
    "HashJoinExec",
    "SortMergeJoinExec",
    "FoldExec",
    "RepartitionExec",
    "CoalescePartitionsExec",
    "CoalesceBatchesExec",
    "CooperativeExec",
    "InterleaveExec",
    "UnionExec",
    "FilterExec",
    "ProjectionExec",
    "LocalLimitExec",
    "GlobalLimitExec",
    "GroupWindowExec",
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
        let Some(options) = config.extensions.get::<NeptuneOptions>() else {
            return Ok(plan);
        };
        if !options.yield_nodes {
            return Ok(plan);
        }
        let slices = options.job_class == Class::Batch && !options.yield_target.is_zero();
        Insertion {
            target: options.yield_target,
            slices,
        }
        .plan(plan, "result", false)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

struct Insertion {
    target: Duration,
    slices: bool,
}

impl Insertion {
    /// `plan` with its yield nodes, below an operator named `consumer`; `slow` says whether what lies between it and the next
    /// yield node above may take long over a row.
    fn plan(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        consumer: &str,
        slow: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = plan.name().to_owned();
        if name == "YieldExec" {
            return Ok(plan);
        }
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        let has_node = children.is_empty() || LONG_WORKERS.contains(&name.as_str());
        let plan = if children.is_empty() {
            plan
        } else {
            let slow = may_be_slow(&plan)? || (slow && !has_node);
            let new = children
                .iter()
                .map(|child| self.plan(Arc::clone(child), &name, slow))
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
        if !has_node {
            return Ok(plan);
        }
        let slices = match (self.slices, slow) {
            (false, _) => Slices::Never,
            (true, false) => Slices::WhenSlow,
            (true, true) => Slices::FromFirstRow,
        };
        Ok(Arc::new(YieldExec::new(
            plan,
            consumer,
            self.target,
            slices,
        )))
    }
}

/// Whether an operator may take so long over a row that a whole batch must not be given to it untried: it calls a function,
/// matches a pattern, takes many rows of its other side for each, or is not known here.
///
/// To try costs: four slices at the beginning of each stream, 1, 16, 256 and 4,096 rows long, were a tenth of the time of short
/// queries (`bench overhead`, 16 at a time).
fn may_be_slow(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    if !QUICK_WORKERS.contains(&plan.name()) {
        return Ok(true);
    }
    let mut slow = false;
    plan.apply_expressions(&mut |expression| {
        slow |= expression.exists(|e| Ok(!is_quick(e)))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(slow)
}

/// Whether an expression, without what it is made of, takes nanoseconds for a row.
fn is_quick(expression: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(binary) = expression.downcast_ref::<BinaryExpr>() {
        let patterns = [
            Operator::RegexMatch,
            Operator::RegexIMatch,
            Operator::RegexNotMatch,
            Operator::RegexNotIMatch,
            Operator::LikeMatch,
            Operator::ILikeMatch,
            Operator::NotLikeMatch,
            Operator::NotILikeMatch,
        ];
        return !patterns.contains(binary.op());
    }
    expression.is::<Column>()
        || expression.is::<Literal>()
        || expression.is::<CastExpr>()
        || expression.is::<NotExpr>()
        || expression.is::<NegativeExpr>()
        || expression.is::<IsNullExpr>()
        || expression.is::<IsNotNullExpr>()
        || expression.is::<InListExpr>()
        || expression.is::<CaseExpr>()
        || expression.is::<DynamicFilterPhysicalExpr>()
}
