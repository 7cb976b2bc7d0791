//! Turns window functions in a logical plan into operators.
//!
//! | where | call | becomes |
//! |---|---|---|
//! | anywhere | without a time column | the same over the event time column of the input |
//! | group key | `tumble(…)` | a column of a projection below the aggregate |
//! | group key, `SELECT` list | `hop(…)`, `cumulate(…)` | a list of windows in a projection, unnested |
//! | group key | `session(…)` | the last column of a [`SessionWindow`] whose keys are the other group keys |
//! | `SELECT` list | `session_window(…)` | the same, over the keys it is given |
//!
//! Rows whose time is NULL are in no window: a filter below drops them. The names of all output columns stay.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, NullHandling, Result, ScalarValue, UnnestOptions, plan_err,
};
use datafusion::logical_expr::builder::unnest_with_options;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Filter, LogicalPlan, Projection, ScalarUDF,
};
use datafusion::optimizer::AnalyzerRule;

use super::function::{Call, Kind, WindowFunction};
use super::session_node::SessionWindow;
use crate::event_time::event_time_column;

/// Runs [`resolve_windows`]. To be the first rule of the analyzer: those after it see the types as they will be.
#[derive(Debug, Default)]
pub struct WindowRule;

impl AnalyzerRule for WindowRule {
    fn name(&self) -> &str {
        "neptune_windows"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        resolve_windows(plan)
    }
}

/// `plan` with operators in the place of window functions. A plan that has none any more is returned as it is.
///
/// Until then, a call without a time column has the type of windows over `TIMESTAMP` in nanoseconds, whatever the
/// event time's is; whoever looks at the schema of a fresh plan should resolve it first.
///
/// # Errors
/// A planning error for a call that has no meaning where it stands, with what to write instead.
pub fn resolve_windows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(call_of(expr).is_some()))?;
            Ok(stop_if(found))
        })?;
        Ok(stop_if(found))
    })?;
    if !found {
        return Ok(plan);
    }
    let resolved = plan.transform_up_with_subqueries(|node| {
        // Types below may have changed with the time columns found there.
        let node = node.recompute_schema()?;
        Ok(Transformed::yes(match node {
            LogicalPlan::Aggregate(aggregate) => in_aggregate(aggregate)?,
            LogicalPlan::Projection(projection) => in_projection(projection)?,
            other => elsewhere(other)?,
        }))
    });
    Ok(resolved?.data)
}

fn stop_if(found: bool) -> TreeNodeRecursion {
    match found {
        true => TreeNodeRecursion::Stop,
        false => TreeNodeRecursion::Continue,
    }
}

/// The window function that `expr` itself calls, and its arguments.
fn call_of(expr: &Expr) -> Option<(Kind, &[Expr])> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else {
        return None;
    };
    let function = func.inner().downcast_ref::<WindowFunction>()?;
    Some((function.kind, args))
}

/// Whether a call needs an operator of its own.
fn needs_operator(kind: Kind) -> bool {
    match kind {
        Kind::Hop | Kind::Cumulate | Kind::Session | Kind::SessionWindow => true,
        Kind::Tumble | Kind::HopList | Kind::CumulateList => false,
    }
}

/// The first call in `expr` that needs an operator.
fn first_needing_operator(expr: &Expr) -> Result<Option<Kind>> {
    let mut first = None;
    expr.apply(|expr| {
        first = call_of(expr)
            .map(|(kind, _)| kind)
            .filter(|kind| needs_operator(*kind));
        Ok(stop_if(first.is_some()))
    })?;
    Ok(first)
}

/// Whether a call lacks its time, or has a length written as a string.
fn is_incomplete(kind: Kind, args: &[Expr]) -> bool {
    let is_text =
        |arg: &Expr| matches!(arg, Expr::Literal(value, _) if value.data_type().is_string());
    kind.lacks_time(args.len())
        || args
            .get(kind.lengths_of(args.len()))
            .is_some_and(|args| args.iter().any(is_text))
}

/// `expr` with its calls completed: with the event time column of `schema` where they lack one, and intervals for strings.
fn completed(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let Some((kind, _)) = call_of(&expr).filter(|(kind, args)| is_incomplete(*kind, args))
        else {
            return Ok(Transformed::no(expr));
        };
        let Expr::ScalarFunction(mut call) = expr else {
            return Ok(Transformed::no(expr));
        };
        if kind.lacks_time(call.args.len()) {
            call.args
                .insert(0, Expr::Column(event_time_column(schema)?));
        }
        let lengths = kind.lengths_of(call.args.len());
        for arg in call.args.get_mut(lengths).into_iter().flatten() {
            if let Expr::Literal(text, _) = arg
                && text.data_type().is_string()
            {
                let interval = text.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano))?;
                *arg = Expr::Literal(interval, None);
            }
        }
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    })
}

/// Calls in nodes that cannot have operators put below them.
fn elsewhere(node: LogicalPlan) -> Result<LogicalPlan> {
    let inputs = node.inputs();
    let Some(_) = inputs.first() else {
        return Ok(node);
    };
    let mut incomplete = false;
    node.apply_expressions(|expr| {
        if let Some(kind) = first_needing_operator(expr)? {
            return misplaced(kind, &node);
        }
        incomplete |= expr.exists(|expr| {
            Ok(call_of(expr).is_some_and(|(kind, args)| is_incomplete(kind, args)))
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !incomplete {
        return Ok(node);
    }
    let schema = merge_schema(&inputs);
    let names = NamePreserver::new(&node);
    let node = node.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(completed(expr, &schema)?.update_data(|expr| name.restore(expr)))
    })?;
    node.data.recompute_schema()
}

fn misplaced<T>(kind: Kind, node: &LogicalPlan) -> Result<T> {
    let place = match node {
        LogicalPlan::Filter(_) => "WHERE or HAVING",
        LogicalPlan::Join(_) => "the condition of a join",
        LogicalPlan::Sort(_) => "ORDER BY",
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::Aggregate(_) => "an aggregate function",
        _ => "this place",
    };
    let name = kind.name();
    match kind {
        Kind::Session | Kind::SessionWindow => plan_err!(
            "{name} cannot be in {place}: a session is known from all rows of its keys together. \
             Put it in GROUP BY, or read FROM SESSION(TABLE t PARTITION BY key, DESCRIPTOR(ts), gap)"
        ),
        _ => plan_err!(
            "{name} cannot be in {place}: it gives a row several windows. \
             Put it in GROUP BY, or in the SELECT list of a subquery: FROM (SELECT *, {name}(…) AS w FROM t)"
        ),
    }
}

/// Windows that are computed below a node, and the columns that replace their calls in it.
struct Below<'a> {
    schema: &'a DFSchema,
    windows: Vec<Window>,
}

/// A window and its column.
struct Window {
    kind: Kind,
    args: Vec<Expr>,
    name: String,
}

impl<'a> Below<'a> {
    fn new(schema: &'a DFSchema) -> Self {
        Self {
            schema,
            windows: Vec::new(),
        }
    }

    /// `expr` with columns in the place of those calls that `wanted` says.
    fn take(&mut self, expr: Expr, wanted: impl Fn(Kind) -> bool) -> Result<Expr> {
        let taken = expr.transform_down(|expr| {
            let Some(kind) = call_of(&expr)
                .map(|(kind, _)| kind)
                .filter(|kind| wanted(*kind))
            else {
                return Ok(Transformed::no(expr));
            };
            let name = expr.schema_name().to_string();
            let Expr::ScalarFunction(call) = completed(expr, self.schema)?.data else {
                return plan_err!("{name} is no call");
            };
            if let Some(inner) = call
                .args
                .iter()
                .find_map(|arg| first_needing_operator(arg).transpose())
            {
                return plan_err!(
                    "{} cannot be inside of {}: use a subquery",
                    inner?.name(),
                    kind.name()
                );
            }
            let same = |window: &&Window| window.kind == kind && window.args == call.args;
            let name = match self.windows.iter().find(same) {
                Some(window) => window.name.clone(),
                None => {
                    let name = self.unused(name);
                    self.windows.push(Window {
                        kind,
                        args: call.args,
                        name: name.clone(),
                    });
                    name
                }
            };
            // What is in its place needs no look.
            Ok(Transformed::new(
                Expr::Column(Column::from_name(name)),
                true,
                TreeNodeRecursion::Jump,
            ))
        });
        Ok(taken?.data)
    }

    /// A name for a new column that no column has.
    fn unused(&self, name: String) -> String {
        let taken = |name: &String| {
            let columns = self
                .schema
                .fields()
                .iter()
                .any(|field| field.name() == name);
            columns || self.windows.iter().any(|window| window.name == *name)
        };
        let mut candidates = (1_u64..).map(|number| format!("{name}:{number}"));
        match taken(&name) {
            false => name,
            true => candidates.find(|name| !taken(name)).unwrap_or(name),
        }
    }

    /// Refuses windows that would multiply each other.
    fn check(&self) -> Result<()> {
        match self.windows.as_slice() {
            [first, second, ..]
                if self
                    .windows
                    .iter()
                    .any(|window| needs_operator(window.kind)) =>
            {
                plan_err!(
                    "{} and {} stand side by side, and each row would be counted in all pairs of their windows: \
                 use one, or join two queries",
                    first.kind.name(),
                    second.kind.name()
                )
            }
            _ => Ok(()),
        }
    }

    /// Puts the windows over `input`; `keys` are those of a session, and are replaced by columns.
    fn over(self, input: Arc<LogicalPlan>, keys: &mut [Expr]) -> Result<LogicalPlan> {
        let mut input = input;
        for window in &self.windows {
            if let Some(time) = window
                .args
                .first()
                .filter(|time| time.nullable(self.schema).unwrap_or(true))
            {
                let predicate = time.clone().is_not_null();
                input = Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, input)?));
            }
        }
        let mut columns: Vec<Expr> = self
            .schema
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let mut session = None;
        let mut lists = Vec::new();
        for Window { kind, args, name } in &self.windows {
            let list = match kind {
                Kind::Tumble => {
                    columns.push(call(kind.function(), args).alias(name));
                    continue;
                }
                Kind::Session | Kind::SessionWindow => {
                    session = Some((args, name));
                    continue;
                }
                Kind::Hop | Kind::HopList => Kind::HopList,
                Kind::Cumulate | Kind::CumulateList => Kind::CumulateList,
            };
            columns.push(call(list.function(), args).alias(name));
            lists.push(Column::from_name(name));
        }
        let Some((args, name)) = session else {
            let plan = LogicalPlan::Projection(Projection::try_new(columns, input)?);
            if lists.is_empty() {
                return Ok(plan);
            }
            let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
            return unnest_with_options(plan, lists, options);
        };
        let gap = gap(args, self.schema)?;
        let given = columns.len();
        let mut time = args
            .first()
            .cloned()
            .unwrap_or(Expr::Literal(ScalarValue::Null, None));
        for expr in keys.iter_mut().chain([&mut time]) {
            if matches!(expr, Expr::Column(_)) {
                continue;
            }
            let name = self.unused(expr.schema_name().to_string());
            let column = Expr::Column(Column::from_name(&name));
            let computed = std::mem::replace(expr, column).alias(name);
            if !columns.contains(&computed) {
                columns.push(computed);
            }
        }
        let input = match columns.len() > given {
            true => LogicalPlan::Projection(Projection::try_new(columns, input)?),
            false => Arc::unwrap_or_clone(input),
        };
        Ok(SessionWindow::try_new(input, keys.to_vec(), time, gap, name)?.into_plan())
    }
}

fn call(function: Arc<ScalarUDF>, args: &[Expr]) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function, args.to_vec()))
}

/// The gap of a session's arguments, in the unit of its time.
fn gap(args: &[Expr], schema: &DFSchema) -> Result<i64> {
    // Keys make no difference.
    let call = Call::of(Kind::SessionWindow, args, schema)?;
    match call.lengths.first() {
        Some(gap) => Ok(*gap),
        None => plan_err!("session has no gap"),
    }
}

/// Calls in the `SELECT` list.
fn in_projection(projection: Projection) -> Result<LogicalPlan> {
    let Projection { expr, input, .. } = projection;
    let names = NamePreserver::new_for_projection();
    let schema = Arc::clone(input.schema());
    let mut below = Below::new(&schema);
    let expr = expr
        .into_iter()
        .map(|expr| {
            let name = names.save(&expr);
            let expr = below.take(expr, |kind| {
                matches!(kind, Kind::Hop | Kind::Cumulate | Kind::SessionWindow)
            })?;
            if first_needing_operator(&expr)?.is_some() {
                return plan_err!(
                    "session cannot be in the SELECT list unless it is in GROUP BY too: a session is known from all rows \
                     of its keys together. Read FROM SESSION(TABLE t PARTITION BY key, DESCRIPTOR(ts), gap) instead"
                );
            }
            Ok(name.restore(completed(expr, &schema)?.data))
        })
        .collect::<Result<Vec<_>>>()?;
    below.check()?;
    let input = match below.windows.as_slice() {
        [] => input,
        [window, ..] => {
            let mut keys = match window.kind {
                Kind::SessionWindow => window.args.iter().skip(2).cloned().collect(),
                _ => Vec::new(),
            };
            Arc::new(below.over(input, &mut keys)?)
        }
    };
    Projection::try_new(expr, input).map(LogicalPlan::Projection)
}

/// Calls in group keys.
fn in_aggregate(aggregate: Aggregate) -> Result<LogicalPlan> {
    for expr in &aggregate.aggr_expr {
        if let Some(kind) = first_needing_operator(expr)? {
            return misplaced(kind, &LogicalPlan::Aggregate(aggregate));
        }
    }
    let Aggregate {
        input,
        group_expr,
        aggr_expr,
        ..
    } = aggregate;
    let names = NamePreserver::new_for_projection();
    let schema = Arc::clone(input.schema());
    let mut below = Below::new(&schema);
    let aggr_expr = aggr_expr
        .into_iter()
        .map(|expr| {
            let name = names.save(&expr);
            Ok(completed(expr, &schema)?
                .update_data(|expr| name.restore(expr))
                .data)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut saved = Vec::with_capacity(group_expr.len());
    let mut groups = Vec::with_capacity(group_expr.len());
    for expr in group_expr {
        saved.push((!matches!(expr, Expr::GroupingSet(_))).then(|| names.save(&expr)));
        let group = below.take(expr, |kind| {
            matches!(
                kind,
                Kind::Tumble | Kind::Hop | Kind::Cumulate | Kind::Session
            )
        })?;
        if first_needing_operator(&group)?.is_some() {
            return plan_err!(
                "session_window cannot be in GROUP BY: use session(time, gap), which has the other group keys as keys"
            );
        }
        groups.push(group);
    }
    below.check()?;
    let session = below
        .windows
        .iter()
        .find(|window| window.kind == Kind::Session);
    let input = match (below.windows.is_empty(), session) {
        (true, _) => input,
        (false, None) => Arc::new(below.over(input, &mut [])?),
        (false, Some(session)) => {
            let window = Column::from_name(&session.name);
            let of_session: Vec<bool> = groups
                .iter()
                .map(|group| group.column_refs().contains(&window))
                .collect();
            for (group, of_session) in groups.iter().zip(&of_session) {
                let mixed = *of_session && group.column_refs().len() > 1;
                if mixed || matches!(group, Expr::GroupingSet(_)) {
                    return plan_err!(
                        "session must be a group key of its own, without ROLLUP, CUBE or GROUPING SETS: the other keys say whose sessions they are"
                    );
                }
            }
            let (at, mut keys): (Vec<usize>, Vec<Expr>) = (groups.iter().cloned().enumerate())
                .filter(|(at, _)| !of_session[*at])
                .unzip();
            let plan = below.over(input, &mut keys)?;
            for (at, key) in at.into_iter().zip(keys) {
                groups[at] = key;
            }
            Arc::new(plan)
        }
    };
    let groups = (groups.into_iter().zip(saved))
        .map(|(group, name)| match name {
            Some(name) => name.restore(group),
            None => group,
        })
        .collect();
    Aggregate::try_new(input, groups, aggr_expr).map(LogicalPlan::Aggregate)
}
