//! Finds, in a stream job's optimized plan, what needs state, and puts stateful operators there; or says why the query cannot
//! run as micro-batches.
//!
//! A micro-batch sees only its own rows of a stream. Each node is looked at with what its inputs give per micro-batch, their
//! [`Flow`]; the outermost stateful operator is the one that the output mode is about, those below it give rows that never change.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::{Aggregate, Expr, Extension, Join, LogicalPlan, TableScan, Window};

use super::bound::{TimeBound, bounds};
use super::changelog::envelope;
use super::join_node::{SideTimes, StreamJoinNode, times_of};
use super::node::{Kind, StatefulNode};
use super::operator::{Operator, Watermarks};
use super::output::OutputMode;
use crate::error::StreamError;
use crate::window::SessionWindow;

/// What a plan gives in one micro-batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The same as always: it reads no stream.
    Static,
    /// New rows, which will never change.
    Rows,
    /// Rows that are new or changed.
    Changes {
        /// The columns by which a row replaces an earlier one, where they are all there.
        keys: Option<Vec<usize>>,
    },
    /// All rows.
    Whole,
}

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

    fn changelog(&mut self, plan: LogicalPlan, flow: &Flow) -> Result<LogicalPlan, StreamError> {
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

    fn aggregate(
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

    /// A window function sees all rows of a partition: those of a closed window come together.
    fn window(
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

    fn hold(&mut self, input: LogicalPlan, column: usize, bound: TimeBound) -> LogicalPlan {
        let name = input.schema().field(column).name().clone();
        let operator = self.operator(
            format!("rows held until {name} is over"),
            &[0],
            over_by(Some((column, bound))),
        );
        node(Kind::Hold { column, bound }, input, operator)
    }

    /// A session is complete when it is over: its rows come together.
    fn sessions(
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

    fn join(
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

/// The time in a key.
fn over_by(bound: Option<(usize, TimeBound)>) -> String {
    match bound {
        Some((column, bound)) => format!("over {} ns after column {}", bound.delay, column + 1),
        None => "never over".to_owned(),
    }
}

/// Whether two streams are joined by keeping their rows.
fn is_kept(kind: JoinType) -> bool {
    matches!(
        kind,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
    )
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
pub(super) fn earliest(found: &[Option<TimeBound>]) -> Option<(usize, TimeBound)> {
    let bounded = found
        .iter()
        .enumerate()
        .filter_map(|(n, bound)| Some((n, (*bound)?)));
    bounded.min_by_key(|(_, bound)| bound.delay)
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

fn column_of(expr: &Expr, input: &LogicalPlan) -> Option<usize> {
    match expr {
        Expr::Column(column) => index_of(column, input),
        Expr::Alias(alias) => column_of(&alias.expr, input),
        _ => None,
    }
}

/// The column of an expression that has another value wherever the column has.
fn key_column(expr: &Expr, input: &LogicalPlan) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => key_column(&alias.expr, input),
        Expr::Cast(cast) => key_column(&cast.expr, input),
        other => column_of(other, input),
    }
}

fn index_of(column: &Column, input: &LogicalPlan) -> Option<usize> {
    input.schema().maybe_index_of_column(column)
}

type Side = (usize, TimeBound);

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

/// What a join of a stream with a table gives.
fn beside_table(
    stream: &Flow,
    kind: JoinType,
    stream_is_left: bool,
    offset: usize,
) -> Result<Flow, StreamError> {
    let kept = match kind {
        JoinType::Inner => true,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            stream_is_left
        }
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            !stream_is_left
        }
        JoinType::Full => false,
    };
    let is_semi = !matches!(
        kind,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
    );
    if !kept && is_semi {
        return Err(refused(
            "EXISTS, IN and their negations over a stream choose rows of a table by one micro-batch only, and would give them \
             anew with every one",
            "select from the stream: SELECT DISTINCT … FROM the stream JOIN the table",
        ));
    }
    if !kept {
        return Err(refused(
            "an outer join that keeps the rows of a table which no row of the stream has matched would give them anew \
             with every micro-batch",
            "keep the rows of the stream only: LEFT JOIN with the stream on the left",
        ));
    }
    let moved = |keys: &Vec<usize>| match is_semi {
        true => keys.clone(),
        false => keys.iter().map(|key| key + offset).collect(),
    };
    Ok(match stream {
        // A table may have several matches: its columns would belong to the key.
        Flow::Changes { keys } if is_semi => Flow::Changes {
            keys: keys.as_ref().map(moved),
        },
        Flow::Changes { .. } => Flow::Changes { keys: None },
        other => other.clone(),
    })
}

/// What a node without state gives.
fn stateless(plan: &LogicalPlan, flows: &[Flow]) -> Result<Flow, StreamError> {
    let first = flows.first().cloned().unwrap_or(Flow::Static);
    match plan {
        LogicalPlan::Projection(projection) => Ok(match first {
            Flow::Changes { keys: Some(keys) } => {
                let input = &projection.input;
                let column = |key: &usize| {
                    let is_key = |expr: &Expr| key_column(expr, input) == Some(*key);
                    projection.expr.iter().position(is_key)
                };
                let keys = keys.iter().map(column).collect();
                Flow::Changes { keys }
            }
            other => other,
        }),
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Repartition(_) => Ok(first),
        LogicalPlan::Unnest(_) => Ok(match first {
            Flow::Changes { .. } => Flow::Changes { keys: None },
            other => other,
        }),
        LogicalPlan::Union(_) => {
            let same = |wanted: &Flow| flows.iter().all(|flow| flow == wanted);
            if same(&Flow::Rows) {
                Ok(Flow::Rows)
            } else if flows
                .iter()
                .all(|flow| matches!(flow, Flow::Whole | Flow::Static))
            {
                Ok(Flow::Whole)
            } else if flows.contains(&Flow::Static) {
                Err(refused(
                    "a UNION of a stream with a table would give the rows of the table anew with every micro-batch",
                    "write the table's rows with an INSERT of their own",
                ))
            } else {
                Err(refused(
                    "a UNION of streams needs the same kind of rows from all: new ones, or whole results",
                    "aggregate above the UNION, or write two INSERTs",
                ))
            }
        }
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => match first {
            Flow::Whole => Ok(Flow::Whole),
            _ => Err(refused(
                "ORDER BY and LIMIT over a stream have no last row to wait for",
                "use output_mode = 'complete' over an aggregate, or ROW_NUMBER() over an event-time window",
            )),
        },
        other => match first {
            Flow::Whole => Ok(Flow::Whole),
            _ => Err(refused(
                &format!("this cannot be computed over a stream: {}", other.display()),
                "write the stream into a table, and compute it there in a batch job",
            )),
        },
    }
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

fn refused(what: &str, help: &str) -> StreamError {
    StreamError::Query {
        what: what.to_owned(),
        help: help.to_owned(),
    }
}
