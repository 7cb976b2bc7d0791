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

/// What the rule knows of an operator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It can work or emit for long without asking its input: its output side needs a yield point.
    Long,
    /// It takes about as long over a row as its expressions do.
    Quick,
    /// Both.
    LongQuick,
}

/// Operators by name. One that is not here may be slow over a row, and passes a batch on for each it takes.
const OPERATORS: [(&str, Kind); 30] = [
    ("AggregateExec", Kind::LongQuick),
    ("AsyncFuncExec", Kind::Long),
    ("BoundedWindowAggExec", Kind::Long),
    ("CoalesceBatchesExec", Kind::Quick),
    ("CoalescePartitionsExec", Kind::LongQuick),
    ("CooperativeExec", Kind::Quick),
    ("CrossJoinExec", Kind::Long),
    ("FilterExec", Kind::LongQuick),
    ("FoldExec", Kind::LongQuick),
    ("GlobalLimitExec", Kind::Quick),
    ("GroupWindowExec", Kind::LongQuick),
    ("HashJoinExec", Kind::LongQuick),
    ("InterleaveExec", Kind::LongQuick),
    ("LocalLimitExec", Kind::Quick),
    ("NestedLoopJoinExec", Kind::Long),
    ("PartialSortExec", Kind::LongQuick),
    ("PiecewiseMergeJoinExec", Kind::Long),
    ("ProjectionExec", Kind::Quick),
    ("RecursiveQueryExec", Kind::Long),
    ("RepartitionExec", Kind::LongQuick),
    ("RunSortExec", Kind::LongQuick),
    ("SessionWindowExec", Kind::LongQuick),
    ("SortExec", Kind::LongQuick),
    ("SortMergeJoinExec", Kind::LongQuick),
    ("SortPreservingMergeExec", Kind::LongQuick),
    ("SplitAggregateExec", Kind::LongQuick),
    ("SymmetricHashJoinExec", Kind::Long),
    ("UnionExec", Kind::LongQuick),
    ("UnnestExec", Kind::Long),
    ("WindowAggExec", Kind::Long),
];

fn is_kind(name: &str, wanted: Kind) -> bool {
    OPERATORS
        .binary_search_by_key(&name, |(name, _)| name)
        .is_ok_and(|place| [wanted, Kind::LongQuick].contains(&OPERATORS[place].1))
}

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
        let has_node = children.is_empty() || is_kind(&name, Kind::Long);
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
    if !is_kind(plan.name(), Kind::Quick) {
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

#[cfg(test)]
mod tests {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn operators_are_found_by_name() {
        assert!(OPERATORS.is_sorted_by_key(|(name, _)| *name));
        for (name, long, quick) in [
            ("FilterExec", true, true),
            ("CrossJoinExec", true, false),
            ("ProjectionExec", false, true),
            ("MyOwnExec", false, false),
        ] {
            assert_eq!(
                (is_kind(name, Kind::Long), is_kind(name, Kind::Quick)),
                (long, quick),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn what_may_be_slow_over_a_row_is_known_by_its_expressions() {
        let context = SessionContext::new();
        let table = "CREATE TABLE t AS SELECT value AS v, CAST(value AS TEXT) AS s FROM range(10)";
        context.sql(table).await.unwrap().collect().await.unwrap();
        for (query, slow) in [
            ("SELECT v + 1, v IN (1, 2, 3) FROM t WHERE v > 3", &[][..]),
            ("SELECT CASE WHEN v IS NULL THEN -v ELSE v END FROM t", &[]),
            ("SELECT v, count(*) FROM t GROUP BY v ORDER BY v", &[]),
            ("SELECT * FROM t AS a JOIN t AS b USING (v)", &[]),
            ("SELECT upper(s) FROM t", &["ProjectionExec"]),
            ("SELECT v FROM t WHERE s LIKE '%1_%1'", &["FilterExec"]),
            ("SELECT v FROM t WHERE s ~ '1+2'", &["FilterExec"]),
            ("SELECT * FROM t AS a, t AS b", &["CrossJoinExec"]),
            (
                "SELECT sum(v) OVER (ORDER BY v) FROM t",
                &["BoundedWindowAggExec"],
            ),
        ] {
            let plan = context.sql(query).await.unwrap();
            let plan = plan.create_physical_plan().await.unwrap();
            let mut found = Vec::new();
            plan.apply(|node| {
                if !node.children().is_empty() && may_be_slow(node)? {
                    found.push(node.name().to_owned());
                }
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
            assert_eq!(found, slow, "{query}");
        }
    }
}
