//! Joins of two streams in plans: what their condition says about time, and how they become physical.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::{DFSchemaRef, JoinType, NullEquality, Result, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Join, LogicalPlan, Operator as Op, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::PhysicalPlanner;

use super::bound::{self, TimeBound, bounds};
use super::codec::{RowCodec, nullable};
use super::join::{Side, StreamJoin};
use super::join_exec::StreamJoinExec;
use super::operator::Operator;

/// A join of two streams in a logical plan.
#[derive(Debug, Clone)]
pub(crate) struct StreamJoinNode {
    join: Join,
    operator: Arc<Operator>,
    times: [SideTimes; 2],
}

/// What is known about time on one side of a join.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) struct SideTimes {
    /// An expression over its columns, and the bound by which a row is kept.
    pub(crate) kept_until: Option<(Expr, TimeBound)>,
    /// The bounded column by which a row is too late.
    late_by: Option<(usize, TimeBound)>,
}

/// What the condition of a join of two streams says about time.
///
/// # Errors
/// If an input's columns cannot be looked at.
pub(crate) fn times_of(join: &Join) -> Result<[SideTimes; 2]> {
    let inputs = [join.left.as_ref(), join.right.as_ref()];
    let found = [bounds(inputs[0])?, bounds(inputs[1])?];
    let mut times = [SideTimes::default(), SideTimes::default()];
    for (side, times) in times.iter_mut().enumerate() {
        times.late_by = super::rewrite::earliest(&found[side]);
    }
    // An expression over one side with its bound.
    let side_of = |expr: &Expr| -> Option<(usize, TimeBound)> {
        let columns = expr.column_refs();
        let side = [0, 1].into_iter().find(|side| {
            let schema = inputs[*side].schema();
            !columns.is_empty() && columns.iter().all(|column| schema.has_column(column))
        })?;
        Some((side, bound::of(expr, inputs[side].schema(), &found[side])?))
    };
    // `later >= earlier`: a row is of no use when all that may come is after what it can meet.
    let mut note = |later: &Expr, earlier: &Expr| {
        let (Some((a, own)), Some((b, other))) = (side_of(later), side_of(earlier)) else {
            return;
        };
        if a != b && std::mem::discriminant(&own.kind) == std::mem::discriminant(&other.kind) {
            let bound = TimeBound {
                kind: own.kind,
                delay: other.delay,
                span: None,
            };
            times[a].kept_until.get_or_insert((later.clone(), bound));
        }
    };
    for (left, right) in &join.on {
        note(left, right);
        note(right, left);
    }
    for condition in join.filter.iter().flat_map(split_conjunction) {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Op::GtEq | Op::Gt => note(left, right),
                Op::LtEq | Op::Lt => note(right, left),
                Op::Eq => {
                    note(left, right);
                    note(right, left);
                }
                _ => {}
            },
            Expr::Between(between) if !between.negated => {
                note(&between.expr, &between.low);
                note(&between.high, &between.expr);
            }
            _ => {}
        }
    }
    Ok(times)
}

impl StreamJoinNode {
    pub(crate) fn new(join: Join, operator: Arc<Operator>, times: [SideTimes; 2]) -> Self {
        Self {
            join,
            operator,
            times,
        }
    }

    /// The bounds of its columns: a kept row may be given out as long as it is kept.
    pub(crate) fn bounds(&self) -> Result<Vec<Option<TimeBound>>> {
        let mut all = Vec::new();
        for (input, times) in [&self.join.left, &self.join.right]
            .into_iter()
            .zip(&self.times)
        {
            let kept = times.kept_until.as_ref().and_then(|(expr, bound)| {
                let (column, moved) = bound::moved_column(expr)?;
                let index = input.schema().maybe_index_of_column(column)?;
                Some((index, bound.later(moved)))
            });
            let own = bounds(input)?;
            all.extend(own.into_iter().enumerate().map(|(index, own)| {
                let (column, bound) = kept?;
                let own = own.filter(|_| column == index)?;
                Some(TimeBound {
                    delay: own.delay.max(bound.delay),
                    // Its partner may be over long before.
                    span: None,
                    ..own
                })
            }));
        }
        Ok(all)
    }

    /// The physical node over `inputs`.
    ///
    /// # Errors
    /// For a condition that cannot be planned and a column that cannot be kept in state.
    pub(crate) fn plan(
        &self,
        planner: &dyn PhysicalPlanner,
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] = inputs else {
            return plan_err!("a join has two inputs");
        };
        let schemas = [self.join.left.schema(), self.join.right.schema()];
        let physical = |expr: &Expr, side: usize| {
            planner.create_physical_expr(expr, schemas[side], session, context)
        };
        let outer = match self.join.join_type {
            JoinType::Left => [true, false],
            JoinType::Right => [false, true],
            JoinType::Full => [true, true],
            _ => [false, false],
        };
        let side = |number: usize, input: &Arc<dyn ExecutionPlan>| {
            let keys = self.join.on.iter().map(|(left, right)| match number {
                0 => physical(left, 0),
                _ => physical(right, 1),
            });
            let times = &self.times[number];
            let kept_until = match &times.kept_until {
                Some((expr, bound)) => Some((physical(expr, number)?, *bound)),
                None => None,
            };
            Side::new(
                number as u32,
                input.schema(),
                keys.collect::<Result<_>>()?,
                kept_until,
                times.late_by,
                outer[number],
            )
        };
        let sides = [side(0, left)?, side(1, right)?];
        let key_fields = sides[0].keys.iter().map(|key| {
            let field = key.return_field(&sides[0].schema)?;
            Ok(nullable(&field))
        });
        let filter = match &self.join.filter {
            Some(filter) => {
                let schema = self.join.left.schema().join(self.join.right.schema())?;
                Some(planner.create_physical_expr(filter, &schema, session, context)?)
            }
            None => None,
        };
        let join = StreamJoin {
            operator: Arc::clone(&self.operator),
            key_codec: Arc::new(RowCodec::new(key_fields.collect::<Result<Vec<_>>>()?)?),
            filter,
            nulls_are_equal: self.join.null_equality == NullEquality::NullEqualsNull,
            schema: Arc::clone(self.join.schema.inner()),
            sides,
        };
        let inputs = [Arc::clone(left), Arc::clone(right)];
        Ok(Arc::new(StreamJoinExec::new(Arc::new(join), inputs)))
    }

    fn identity(&self) -> (&Join, *const Operator) {
        (&self.join, Arc::as_ptr(&self.operator))
    }
}

impl PartialEq for StreamJoinNode {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for StreamJoinNode {}

impl Hash for StreamJoinNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialOrd for StreamJoinNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.identity().partial_cmp(&other.identity())
    }
}

impl UserDefinedLogicalNodeCore for StreamJoinNode {
    fn name(&self) -> &str {
        "StreamJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.join.left, &self.join.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.join.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "StreamJoin: {}", self.operator.what())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[_; 2]>::try_from(inputs) else {
            return plan_err!("StreamJoin has two inputs");
        };
        let join = Join {
            left: Arc::new(left),
            right: Arc::new(right),
            ..self.join.clone()
        };
        Ok(Self {
            join,
            ..self.clone()
        })
    }
}
