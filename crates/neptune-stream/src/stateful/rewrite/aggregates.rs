//! Aggregations that go on from micro-batch to micro-batch, and the changelog of what they change.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Aggregate, Expr, Extension, LogicalPlan};

use super::super::bound::bounds;
use super::super::changelog::envelope;
use super::super::flow::{Flow, refused};
use super::super::node::{Kind, StatefulNode};
use super::super::output::OutputMode;
use super::{Rewriter, earliest, node, over_by};
use crate::error::StreamError;

impl Rewriter<'_> {
    pub(super) fn aggregate(
        &mut self,
        aggregate: Aggregate,
        input: LogicalPlan,
        flows: &[Flow],
        outermost: bool,
    ) -> Result<(LogicalPlan, Flow), StreamError> {
        let plan = LogicalPlan::Aggregate(aggregate);
        let expressions = plan.expressions();
        let plan = plan.with_new_exprs(expressions, vec![input])?;
        match flows {
            [Flow::Whole] => return Ok((plan, Flow::Whole)),
            [Flow::Changes { .. }] => {
                return Err(refused(
                    "an aggregate over rows that change would have to take them back",
                    "give the inner query a window, so that its rows are final",
                ));
            }
            _ => {}
        }
        let LogicalPlan::Aggregate(aggregate) = &plan else {
            return Err(refused("an aggregate has lost its shape", "report this"));
        };
        let mode = match self.mode {
            OutputMode::Complete => OutputMode::Complete,
            OutputMode::Update if outermost => OutputMode::Update,
            _ => OutputMode::Append,
        };
        let found = bounds(&plan)?;
        let groups = aggregate.group_expr_len()?;
        let bound = earliest(&found[..groups.min(found.len())]);
        let what = described(aggregate);
        let keys = (0..groups).collect::<Vec<_>>();
        let (kind, flow) = match mode {
            OutputMode::Complete => (Kind::Aggregate { mode, bound: None }, Flow::Whole),
            _ if aggregate.aggr_expr.is_empty() => (Kind::FirstSeen { keys, bound }, Flow::Rows),
            OutputMode::Update => {
                let keys = Some(keys);
                (Kind::Aggregate { mode, bound }, Flow::Changes { keys })
            }
            OutputMode::Append if bound.is_some() => (Kind::Aggregate { mode, bound }, Flow::Rows),
            OutputMode::Append => return Err(never_final(outermost, &what)),
        };
        let bound = match kind {
            Kind::Aggregate { bound, .. }
            | Kind::FirstSeen { bound, .. }
            | Kind::Changelog { bound, .. } => bound,
            Kind::Hold { column, bound } => Some((column, bound)),
            Kind::HoldSessions { .. } => None,
        };
        let timed: &[usize] = if bound.is_some() { &[0] } else { &[] };
        let operator = self.operator(what, timed, over_by(bound));
        Ok((node(kind, plan, operator), flow))
    }

    pub(super) fn changelog(
        &mut self,
        plan: LogicalPlan,
        flow: &Flow,
    ) -> Result<LogicalPlan, StreamError> {
        let keys = match flow {
            Flow::Changes { keys: Some(keys) } => Some(keys.clone()),
            Flow::Changes { keys: None } => {
                return Err(refused(
                    "a changelog needs the GROUP BY keys among the columns written, to tell which row has changed",
                    "add them to the SELECT list",
                ));
            }
            Flow::Whole => {
                return Err(refused(
                    "a changelog tells of changes, and output mode 'complete' of none",
                    "use output_mode = 'update'",
                ));
            }
            Flow::Rows | Flow::Static => None,
        };
        let found = bounds(&plan)?;
        let bound = keys.iter().flatten();
        let bound = bound.filter_map(|key| Some((*key, (*found.get(*key)?)?)));
        let bound = bound.min_by_key(|(_, bound)| bound.delay);
        let timed: &[usize] = if bound.is_some() { &[0] } else { &[] };
        let operator = self.operator("changelog".to_owned(), timed, over_by(bound));
        let schema = DFSchema::try_from(envelope(plan.schema().as_arrow()))?;
        Ok(LogicalPlan::Extension(Extension {
            node: Arc::new(StatefulNode {
                kind: Kind::Changelog { keys, bound },
                schema: Arc::new(schema),
                input: plan,
                operator,
            }),
        }))
    }
}

fn described(aggregate: &Aggregate) -> String {
    let list = |expressions: &[Expr]| {
        let each: Vec<String> = expressions
            .iter()
            .map(|e| e.schema_name().to_string())
            .collect();
        each.join(", ")
    };
    format!(
        "aggregate [{}] by [{}]",
        list(&aggregate.aggr_expr),
        list(&aggregate.group_expr)
    )
}

fn never_final(outermost: bool, what: &str) -> StreamError {
    let what = format!(
        "{what} is never final: without an event-time window among its GROUP BY keys every new row may change it, and \
         output mode 'append' gives only rows that stay"
    );
    let help = match outermost {
        true => {
            "group by a window, such as tumble(INTERVAL '1 minute'), over a table WITH a WATERMARK, or use \
             output_mode = 'update'"
        }
        false => {
            "group by a window over a table WITH a WATERMARK: what lies above it needs final rows"
        }
    };
    refused(&what, help)
}
