//! Finds, in a stream job's optimized plan, what needs state, and puts stateful operators there; or says why the query cannot
//! run as micro-batches.
//!
//! A micro-batch sees only its own rows of a stream. Each node is looked at with what its inputs give per micro-batch, their
//! [`Flow`]; the outermost stateful operator is the one that the output mode is about, those below it give rows that never change.

mod aggregates;
mod held;
mod joins;

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Extension, LogicalPlan, TableScan};

use super::bound::TimeBound;
use super::flow::{Flow, refused, stateless};
use super::node::{Kind, StatefulNode};
use super::operator::{Operator, Watermarks};
use super::output::OutputMode;
use crate::error::StreamError;
use crate::window::SessionWindow;

/// A plan whose micro-batches together give the stream's answer.
#[derive(Debug)]
pub(crate) struct Stateful {
    pub(crate) plan: LogicalPlan,
    pub(crate) flow: Flow,
    pub(crate) operators: Vec<Arc<Operator>>,
    pub(crate) watermarks: Arc<Watermarks>,
}

/// Makes a stream job's plan stateful where it has to be.
///
/// # Errors
/// [`StreamError::Query`] for a query that cannot run as micro-batches, or not in this mode.
pub(crate) fn rewrite(
    plan: LogicalPlan,
    mode: OutputMode,
    changelog: bool,
    is_stream: &dyn Fn(&TableScan) -> bool,
) -> Result<Stateful, StreamError> {
    let mut rewriter = Rewriter {
        mode,
        is_stream,
        operators: Vec::new(),
        watermarks: Arc::new(Watermarks::new()),
    };
    let (plan, flow) = rewriter.plan(plan, true)?;
    if flow == Flow::Rows && mode == OutputMode::Complete {
        return Err(refused(
            "output mode 'complete' gives the whole result each time, and this query has no aggregate that keeps one",
            "use output_mode = 'append'",
        ));
    }
    let plan = match changelog {
        true => rewriter.changelog(plan, &flow)?,
        false => plan,
    };
    Ok(Stateful {
        plan,
        flow,
        operators: rewriter.operators,
        watermarks: rewriter.watermarks,
    })
}

struct Rewriter<'a> {
    mode: OutputMode,
    is_stream: &'a dyn Fn(&TableScan) -> bool,
    operators: Vec<Arc<Operator>>,
    watermarks: Arc<Watermarks>,
}

impl Rewriter<'_> {
    /// `outermost`: no stateful operator lies above.
    fn plan(
        &mut self,
        plan: LogicalPlan,
        outermost: bool,
    ) -> Result<(LogicalPlan, Flow), StreamError> {
        if let LogicalPlan::TableScan(scan) = &plan {
            let flow = match (self.is_stream)(scan) {
                true => Flow::Rows,
                false => Flow::Static,
            };
            return Ok((plan, flow));
        }
        self.check_subqueries(&plan)?;
        // Only the last stateful operator may give rows that change: those above it would have to take them back.
        let last = match &plan {
            LogicalPlan::Aggregate(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Extension(_) => false,
            LogicalPlan::Join(join) => {
                outermost && !(self.reads_stream(&join.left) && self.reads_stream(&join.right))
            }
            _ => outermost,
        };
        let mut flows = Vec::new();
        let mut inputs = Vec::new();
        for input in plan.inputs() {
            let (input, flow) = self.plan(input.clone(), last)?;
            inputs.push(input);
            flows.push(flow);
        }
        if flows.iter().all(|flow| *flow == Flow::Static) {
            return Ok((plan, Flow::Static));
        }
        match plan {
            LogicalPlan::Aggregate(aggregate) => {
                self.aggregate(aggregate, one(inputs)?, &flows, outermost)
            }
            LogicalPlan::Window(window) => self.window(window, one(inputs)?, &flows),
            LogicalPlan::Join(join) => self.join(join, inputs, &flows),
            LogicalPlan::Extension(extension)
                if flows == [Flow::Rows] && extension.node.as_any().is::<SessionWindow>() =>
            {
                self.sessions(extension, one(inputs)?)
            }
            plan => {
                let flow = stateless(&plan, &flows)?;
                let expressions = plan.expressions();
                Ok((plan.with_new_exprs(expressions, inputs)?, flow))
            }
        }
    }

    fn reads_stream(&self, plan: &LogicalPlan) -> bool {
        let reads = plan.exists(|node| {
            Ok(matches!(node, LogicalPlan::TableScan(scan) if (self.is_stream)(scan)))
        });
        reads.unwrap_or(false)
    }

    /// The optimizer has made joins of the subqueries it can; what is left is evaluated per micro-batch.
    fn check_subqueries(&self, plan: &LogicalPlan) -> Result<(), StreamError> {
        let mut streams = false;
        plan.apply_subqueries(|subquery| {
            streams |= self.reads_stream(subquery);
            Ok(TreeNodeRecursion::Jump)
        })?;
        match streams {
            true => Err(refused(
                "a subquery over a stream would see one micro-batch of it only",
                "join the two, or write the rows of the subquery into a table first",
            )),
            false => Ok(()),
        }
    }

    /// `timed` are the tables whose keys begin with a time, `keyed` says which.
    fn operator(&mut self, what: String, timed: &'static [usize], keyed: String) -> Arc<Operator> {
        let number = self.operators.len() as u32;
        let watermarks = Arc::clone(&self.watermarks);
        let operator = Arc::new(Operator::new(number, what, keyed, watermarks, timed));
        self.operators.push(Arc::clone(&operator));
        operator
    }
}

/// The time in a key.
fn over_by(bound: Option<(usize, TimeBound)>) -> String {
    match bound {
        Some((column, bound)) => format!("over {} ns after column {}", bound.delay, column + 1),
        None => "never over".to_owned(),
    }
}

fn one(inputs: Vec<LogicalPlan>) -> Result<LogicalPlan, StreamError> {
    let mut inputs = inputs.into_iter();
    match (inputs.next(), inputs.next()) {
        (Some(input), None) => Ok(input),
        _ => Err(refused("a plan node has lost its input", "report this")),
    }
}

fn node(kind: Kind, input: LogicalPlan, operator: Arc<Operator>) -> LogicalPlan {
    LogicalPlan::Extension(Extension {
        node: Arc::new(StatefulNode {
            schema: Arc::clone(input.schema()),
            kind,
            input,
            operator,
        }),
    })
}

/// The bounded column that is over first.
pub(in crate::stateful) fn earliest(found: &[Option<TimeBound>]) -> Option<(usize, TimeBound)> {
    let bounded = found
        .iter()
        .enumerate()
        .filter_map(|(n, bound)| Some((n, (*bound)?)));
    bounded.min_by_key(|(_, bound)| bound.delay)
}
