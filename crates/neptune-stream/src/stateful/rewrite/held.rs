//! Rows held until they are over, for operators that have to see all of a window at once.

use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Window};

use super::super::bound::{TimeBound, bounds};
use super::super::flow::{Flow, column_of, refused};
use super::super::node::Kind;
use super::{Rewriter, node, over_by};
use crate::error::StreamError;
use crate::window::SessionWindow;

impl Rewriter<'_> {
    /// A window function sees all rows of a partition: those of a closed window come together.
    pub(super) fn window(
        &mut self,
        window: Window,
        input: LogicalPlan,
        flows: &[Flow],
    ) -> Result<(LogicalPlan, Flow), StreamError> {
        let flow = flows.first().cloned().unwrap_or(Flow::Static);
        let (input, flow) = match flow {
            Flow::Whole => (input, flow),
            Flow::Changes { .. } => {
                return Err(refused(
                    "a window function over rows that change would have to take them back",
                    "use output_mode = 'append' with an event-time window, or 'complete'",
                ));
            }
            Flow::Rows | Flow::Static => {
                let found = bounds(&input)?;
                let column = partition_time(&window, &input, &found).ok_or_else(|| {
                    refused(
                        "a window function over a stream needs an event-time window in its PARTITION BY: without it \
                         every new row may change the rows before",
                        "partition by the window, or use output_mode = 'complete' over an aggregate",
                    )
                })?;
                (self.hold(input, column.0, column.1), Flow::Rows)
            }
        };
        let plan = LogicalPlan::Window(window);
        let expressions = plan.expressions();
        Ok((plan.with_new_exprs(expressions, vec![input])?, flow))
    }

    pub(super) fn hold(
        &mut self,
        input: LogicalPlan,
        column: usize,
        bound: TimeBound,
    ) -> LogicalPlan {
        let name = input.schema().field(column).name().clone();
        let operator = self.operator(
            format!("rows held until {name} is over"),
            &[0],
            over_by(Some((column, bound))),
        );
        node(Kind::Hold { column, bound }, input, operator)
    }

    /// A session is complete when it is over: its rows come together.
    pub(super) fn sessions(
        &mut self,
        extension: Extension,
        input: LogicalPlan,
    ) -> Result<(LogicalPlan, Flow), StreamError> {
        let plan = LogicalPlan::Extension(extension);
        let LogicalPlan::Extension(extension) = &plan else {
            return Err(refused(
                "a session window has lost its shape",
                "report this",
            ));
        };
        let Some(sessions) = extension.node.as_any().downcast_ref::<SessionWindow>() else {
            return Err(refused(
                "a session window has lost its shape",
                "report this",
            ));
        };
        let found = bounds(&input)?;
        let place = |expr: &Expr| column_of(expr, &input);
        let keys: Option<Vec<usize>> = sessions.keys().iter().map(place).collect();
        let time = place(sessions.time())
            .filter(|time| found.get(*time).copied().flatten() == Some(TimeBound::EVENT_TIME));
        let (Some(keys), Some(time)) = (keys, time) else {
            return Err(refused(
                "a session window over a stream is over only by its event time",
                "declare the time column of session with WATERMARK FOR",
            ));
        };
        let gap = sessions.gap_nanos();
        let what = format!(
            "sessions of [{}] with a gap of {gap} ns",
            sessions
                .keys()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        );
        // Its keys and its gap say all.
        let operator = self.operator(what, &[0], String::new());
        let held = node(Kind::HoldSessions { keys, time, gap }, input, operator);
        let expressions = plan.expressions();
        Ok((plan.with_new_exprs(expressions, vec![held])?, Flow::Rows))
    }
}

/// The column of a window function's input that is in every PARTITION BY and tells when a partition is over.
fn partition_time(
    window: &Window,
    input: &LogicalPlan,
    found: &[Option<TimeBound>],
) -> Option<(usize, TimeBound)> {
    let columns = |expr: &Expr| -> Vec<usize> {
        let Expr::WindowFunction(function) = expr.clone().unalias() else {
            return vec![];
        };
        let by = function.params.partition_by.iter();
        by.filter_map(|by| column_of(by, input)).collect()
    };
    let mut each = window.window_expr.iter().map(columns);
    let first = each.next()?;
    let common = each.fold(first, |common, next| {
        common.into_iter().filter(|c| next.contains(c)).collect()
    });
    let bounded = common
        .into_iter()
        .filter_map(|c| Some((c, (*found.get(c)?)?)));
    bounded.min_by_key(|(_, bound)| bound.delay)
}
