//! Joins of which at least one side is a stream.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::logical_expr::{Expr, Extension, Join, LogicalPlan};

use super::super::bound::{TimeBound, bounds};
use super::super::flow::{Flow, beside_table, column_of, refused};
use super::super::join_node::{SideTimes, StreamJoinNode, times_of};
use super::Rewriter;
use crate::error::StreamError;

/// A column and the bound that tells when its rows are over.
type Side = (usize, TimeBound);

impl Rewriter<'_> {
    pub(super) fn join(
        &mut self,
        join: Join,
        mut inputs: Vec<LogicalPlan>,
        flows: &[Flow],
    ) -> Result<(LogicalPlan, Flow), StreamError> {
        let flow = match flows {
            [Flow::Whole, Flow::Whole] => Flow::Whole,
            [Flow::Whole, Flow::Static] | [Flow::Static, Flow::Whole] => Flow::Whole,
            [stream, Flow::Static] => beside_table(stream, join.join_type, true, 0)?,
            [Flow::Static, stream] => {
                let left = join.left.schema().fields().len();
                beside_table(stream, join.join_type, false, left)?
            }
            [Flow::Rows, Flow::Rows] if is_kept(join.join_type) => {
                let (Some(right), Some(left)) = (inputs.pop(), inputs.pop()) else {
                    return Err(refused("a join has lost its inputs", "report this"));
                };
                return self.stream_join(join, left, right);
            }
            [Flow::Rows, Flow::Rows] => {
                let Some((left, right)) = window_pair(&join, &inputs)? else {
                    return Err(refused(
                        "EXISTS, IN and their negations between two streams need an event-time window on both sides that is equal",
                        "add the window to the condition, or use JOIN",
                    ));
                };
                let second = inputs.pop();
                let first = inputs.pop();
                for (input, (column, bound)) in
                    [first, second].into_iter().flatten().zip([left, right])
                {
                    let held = self.hold(input, column, bound);
                    inputs.push(held);
                }
                Flow::Rows
            }
            _ => {
                return Err(refused(
                    "a join of streams of which one gives rows that change would have to take them back",
                    "give its aggregate a window, so that its rows are final",
                ));
            }
        };
        let plan = LogicalPlan::Join(join);
        let expressions = plan.expressions();
        Ok((plan.with_new_exprs(expressions, inputs)?, flow))
    }

    fn stream_join(
        &mut self,
        join: Join,
        left: LogicalPlan,
        right: LogicalPlan,
    ) -> Result<(LogicalPlan, Flow), StreamError> {
        let join = Join {
            left: Arc::new(left),
            right: Arc::new(right),
            ..join
        };
        let times = times_of(&join)?;
        let outer = match join.join_type {
            JoinType::Left => &[0][..],
            JoinType::Right => &[1],
            JoinType::Full => &[0, 1],
            _ => &[],
        };
        if outer.iter().any(|side| times[*side].kept_until.is_none()) {
            return Err(refused(
                "an outer join of two streams has to know when a row will find no partner any more",
                "bound the times in its condition, such as a.ts BETWEEN b.ts - INTERVAL '1 minute' AND b.ts, over tables \
                 WITH a WATERMARK",
            ));
        }
        let mut conditions: Vec<String> =
            join.on.iter().map(|(a, b)| format!("{a} = {b}")).collect();
        conditions.extend(join.filter.iter().map(ToString::to_string));
        let what = format!("{} join on {}", join.join_type, conditions.join(" AND "));
        // The indexes by time of both sides.
        let kept = |side: &SideTimes| match &side.kept_until {
            Some((time, bound)) => format!("kept until {} ns after {time}", bound.delay),
            None => "kept".to_owned(),
        };
        let keyed = times.iter().map(kept).collect::<Vec<_>>().join(" and ");
        let operator = self.operator(what, &[0, 2], keyed);
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(StreamJoinNode::new(join, operator, times)),
        });
        Ok((plan, Flow::Rows))
    }
}

/// Whether two streams are joined by keeping their rows.
fn is_kept(kind: JoinType) -> bool {
    matches!(
        kind,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
    )
}

/// The columns of an equality of two windows, or of two times with the same bound, in a join's condition.
fn window_pair(join: &Join, inputs: &[LogicalPlan]) -> Result<Option<(Side, Side)>, StreamError> {
    let [left, right] = inputs else {
        return Ok(None);
    };
    let (of_left, of_right) = (bounds(left)?, bounds(right)?);
    let side = |expr: &Expr, input: &LogicalPlan, found: &[Option<TimeBound>]| -> Option<Side> {
        let column = column_of(expr, input)?;
        Some((column, (*found.get(column)?)?))
    };
    let mut pairs = join.on.iter().filter_map(|(a, b)| {
        let (a, b) = match side(a, left, &of_left).zip(side(b, right, &of_right)) {
            Some(pair) => pair,
            None => side(b, left, &of_left).zip(side(a, right, &of_right))?,
        };
        // Equal times are over together only if they mean the same.
        let over = |side: &Side| (side.1.kind, side.1.delay);
        let is_window = |side: &Side| side.1 != TimeBound::EVENT_TIME;
        (over(&a) == over(&b) && is_window(&a)).then_some((a, b))
    });
    Ok(pairs.next())
}
