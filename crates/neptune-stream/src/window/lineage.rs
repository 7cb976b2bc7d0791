//! Which columns of a plan are windows, or bounds of windows: for operators that act when a window is over.

use datafusion::arrow::datatypes::TimeUnit;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use super::function::{Call, Kind, WindowTime};
use super::rule::call_of;
use super::session_node::SessionWindow;

/// How windows lie in time; lengths in the unit of [`WindowColumn::unit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowShape {
    /// One after the other.
    Tumble {
        /// From start to end.
        width: i64,
    },
    /// One begins each slide.
    Hop {
        /// From one start to the next.
        slide: i64,
        /// From start to end.
        width: i64,
    },
    /// Growing from a common start.
    Cumulate {
        /// From one end to the next.
        step: i64,
        /// The longest.
        width: i64,
    },
    /// As long as rows come.
    Session {
        /// From the last row to the end.
        gap: i64,
    },
}

/// What of a window a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowPart {
    /// The struct of start and end.
    Whole,
    /// The first time that belongs to it.
    Start,
    /// The first time behind it.
    End,
    /// The last time that belongs to it: [`End`](Self::End) less one.
    Time,
}

/// A column that holds windows or a part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowColumn {
    /// How the windows lie.
    pub shape: WindowShape,
    /// What of them is in the column.
    pub part: WindowPart,
    /// What lengths and times are counted in.
    pub unit: TimeUnit,
}

/// What `column` of the output of `plan` has to do with windows, if its values come unchanged from a window function in `plan`.
///
/// It works on resolved plans, before and after optimization.
pub fn window_column(plan: &LogicalPlan, column: &Column) -> Option<WindowColumn> {
    let at = plan.schema().maybe_index_of_column(column)?;
    column_at(plan, at)
}

fn column_at(plan: &LogicalPlan, at: usize) -> Option<WindowColumn> {
    match plan {
        LogicalPlan::Projection(node) => of_expr(node.expr.get(at)?, &node.input),
        LogicalPlan::Filter(node) => column_at(&node.input, at),
        LogicalPlan::Sort(node) => column_at(&node.input, at),
        LogicalPlan::Limit(node) => column_at(&node.input, at),
        LogicalPlan::Repartition(node) => column_at(&node.input, at),
        LogicalPlan::SubqueryAlias(node) => column_at(&node.input, at),
        LogicalPlan::Subquery(node) => column_at(&node.subquery, at),
        LogicalPlan::Distinct(Distinct::All(input)) => column_at(input, at),
        // Its own columns come behind those of the input.
        LogicalPlan::Window(node) => {
            (at < width(&node.input)).then(|| column_at(&node.input, at))?
        }
        // A grouping set has other columns than expressions.
        LogicalPlan::Aggregate(node) => match node.group_expr.get(at)? {
            Expr::GroupingSet(_) => None,
            key => of_expr(key, &node.input),
        },
        LogicalPlan::Join(node) => {
            let column = plan.schema().columns().into_iter().nth(at)?;
            let left = node.left.schema().maybe_index_of_column(&column);
            match (left, node.right.schema().maybe_index_of_column(&column)) {
                (Some(at), None) => column_at(&node.left, at),
                (None, Some(at)) => column_at(&node.right, at),
                _ => None,
            }
        }
        LogicalPlan::Union(node) => {
            let mut inputs = node.inputs.iter().map(|input| column_at(input, at));
            let first = inputs.next()??;
            inputs.all(|other| other == Some(first)).then_some(first)
        }
        LogicalPlan::Unnest(node) => column_at(&node.input, *node.dependency_indices.get(at)?),
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any().downcast_ref::<SessionWindow>()?;
            if at < width(node.input()) {
                return column_at(node.input(), at);
            }
            Some(WindowColumn {
                shape: WindowShape::Session { gap: node.gap() },
                part: WindowPart::Whole,
                unit: node.time_type().unit,
            })
        }
        _ => None,
    }
}

fn width(plan: &LogicalPlan) -> usize {
    plan.schema().fields().len()
}

fn of_expr(expr: &Expr, input: &LogicalPlan) -> Option<WindowColumn> {
    match expr {
        Expr::Alias(alias) => of_expr(&alias.expr, input),
        Expr::Column(column) => window_column(input, column),
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            if let Some((kind, args)) = call_of(expr) {
                return of_call(kind, args, input.schema());
            }
            let whole = of_expr(args.first()?, input).filter(|of| of.part == WindowPart::Whole);
            let part = match func.name() {
                "get_field" => match args.as_slice() {
                    [_, Expr::Literal(ScalarValue::Utf8(Some(field)), _)] => match field.as_str() {
                        "start" => WindowPart::Start,
                        "end" => WindowPart::End,
                        _ => return None,
                    },
                    _ => return None,
                },
                _ if func.inner().is::<WindowTime>() => WindowPart::Time,
                _ => return None,
            };
            whole.map(|whole| WindowColumn { part, ..whole })
        }
        _ => None,
    }
}

fn of_call(kind: Kind, args: &[Expr], schema: &DFSchema) -> Option<WindowColumn> {
    if kind.lacks_time(args.len()) {
        return None;
    }
    let call = Call::of(kind, args, schema).ok()?;
    let shape = match (kind, call.lengths.as_slice()) {
        (Kind::Tumble, &[width]) => WindowShape::Tumble { width },
        // The list that is unnested above.
        (Kind::HopList, &[slide, width]) => WindowShape::Hop { slide, width },
        (Kind::CumulateList, &[step, width]) => WindowShape::Cumulate { step, width },
        _ => return None,
    };
    Some(WindowColumn {
        shape,
        part: WindowPart::Whole,
        unit: call.time.unit,
    })
}
