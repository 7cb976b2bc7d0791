//! Which columns tell when a row is over: the watermark closes what is grouped by them.
//!
//! A column is *bounded* when, at watermark `w`, no further row can have a value that is over: one with
//! `time(value) + delay <= w`. Event time itself is (with a delay of one nanosecond: a row exactly at the watermark may
//! still come), and so are windows over it, their ends and starts, and what is computed from it by steps of a fixed length.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, JoinType, LogicalPlan, Operator, TableScan,
};

use super::join_node::StreamJoinNode;
use super::node::{Kind, StatefulNode};
use crate::event_time::is_event_time;
use crate::source::StreamTableProvider;

const DAY: i64 = 24 * 60 * 60 * 1_000_000_000;

/// The plan node that appends each row's session as its last column.
pub(crate) const SESSION_WINDOW: &str = "SessionWindow";

/// What of a value is its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TimeKind {
    /// It is a timestamp.
    Value,
    /// It is a window, of this width where that is fixed: its end counts.
    Window {
        /// Nanoseconds from its start to its end.
        width: Option<i64>,
    },
}

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TimeBound {
    pub(crate) kind: TimeKind,
    /// Nanoseconds.
    pub(crate) delay: i64,
    /// The most nanoseconds that a value is over after its row came in time, where that is known.
    pub(crate) span: Option<i64>,
}

impl TimeBound {
    pub(crate) const EVENT_TIME: Self = Self {
        kind: TimeKind::Value,
        delay: 1,
        span: Some(0),
    };

    /// Over so much later than the value is.
    pub(crate) fn later(self, by: i64) -> Self {
        Self {
            delay: self.delay.saturating_add(by),
            ..self
        }
    }

    /// The bound of a column that has values of both.
    fn either(self, other: Self) -> Option<Self> {
        let kind = match (self.kind, other.kind) {
            (a, b) if a == b => a,
            (TimeKind::Window { .. }, TimeKind::Window { .. }) => TimeKind::Window { width: None },
            _ => return None,
        };
        let delay = self.delay.max(other.delay);
        let span = |side: Self| side.span?.checked_add(delay.checked_sub(side.delay)?);
        Some(Self {
            kind,
            delay,
            span: span(self).zip(span(other)).map(|(a, b)| a.max(b)),
        })
    }
}

/// The bounds of rows that are held back until their column `held` is over.
fn held_back(found: Vec<Option<TimeBound>>, held: usize) -> Vec<Option<TimeBound>> {
    let by = found
        .get(held)
        .copied()
        .flatten()
        .and_then(|bound| bound.span);
    let each = found.into_iter().enumerate();
    each.map(|(column, bound)| match (bound?, by) {
        (bound, _) if column == held => Some(TimeBound {
            span: Some(0),
            ..bound
        }),
        (bound, Some(by)) => Some(TimeBound {
            span: bound.span.and_then(|span| span.checked_add(by)),
            ..bound.later(by)
        }),
        (_, None) => None,
    })
    .collect()
}

fn is_stream(scan: &TableScan) -> bool {
    source_as_provider(&scan.source)
        .is_ok_and(|provider| provider.downcast_ref::<StreamTableProvider>().is_some())
}

/// The bounds of a plan's columns, in the order of its schema.
pub(crate) fn bounds(plan: &LogicalPlan) -> Result<Vec<Option<TimeBound>>> {
    let fields = plan.schema().fields().len();
    Ok(match plan {
        LogicalPlan::TableScan(scan) => {
            // The event time of a plain table is that of its rows, which are there all the time.
            let streams = is_stream(scan);
            let each = plan.schema().fields().iter();
            each.map(|field| (streams && is_event_time(field)).then_some(TimeBound::EVENT_TIME))
                .collect()
        }
        LogicalPlan::Projection(projection) => {
            let input = bounds(&projection.input)?;
            let schema = projection.input.schema();
            let each = projection.expr.iter();
            each.map(|expr| of(expr, schema, &input)).collect()
        }
        LogicalPlan::Aggregate(aggregate) => {
            let input = bounds(&aggregate.input)?;
            let schema = aggregate.input.schema();
            let mut found: Vec<_> = match aggregate.group_expr.as_slice() {
                // A grouping set leaves some of its columns NULL.
                [Expr::GroupingSet(_)] => vec![],
                groups => groups.iter().map(|e| of(e, schema, &input)).collect(),
            };
            found.resize(fields, None);
            found
        }
        LogicalPlan::Filter(filter) => bounds(&filter.input)?,
        LogicalPlan::SubqueryAlias(alias) => bounds(&alias.input)?,
        LogicalPlan::Repartition(repartition) => bounds(&repartition.input)?,
        LogicalPlan::Sort(sort) => bounds(&sort.input)?,
        LogicalPlan::Limit(limit) => bounds(&limit.input)?,
        LogicalPlan::Distinct(distinct) => bounds(distinct.input())?,
        LogicalPlan::Window(window) => {
            let mut found = bounds(&window.input)?;
            found.resize(fields, None);
            found
        }
        LogicalPlan::Union(union) => {
            let mut each = union.inputs.iter().map(|input| bounds(input));
            let first = each.next().unwrap_or_else(|| Ok(vec![]))?;
            each.try_fold(first, |all, next| {
                let pairs = all.into_iter().zip(next?);
                Ok::<_, datafusion::common::DataFusionError>(
                    pairs.map(|(a, b)| a?.either(b?)).collect(),
                )
            })?
        }
        LogicalPlan::Join(join) => {
            let (left, right) = (bounds(&join.left)?, bounds(&join.right)?);
            match join.join_type {
                JoinType::LeftSemi | JoinType::LeftAnti => left,
                JoinType::RightSemi | JoinType::RightAnti => right,
                JoinType::LeftMark => [left, vec![None]].concat(),
                JoinType::RightMark => [right, vec![None]].concat(),
                _ => [left, right].concat(),
            }
        }
        LogicalPlan::Unnest(unnest) => {
            let input = bounds(&unnest.input)?;
            let origin = unnest.dependency_indices.iter();
            origin
                .map(|index| input.get(*index).copied().flatten())
                .collect()
        }
        LogicalPlan::Extension(extension) if extension.node.as_any().is::<StreamJoinNode>() => {
            match extension.node.as_any().downcast_ref::<StreamJoinNode>() {
                Some(join) => join.bounds()?,
                None => vec![None; fields],
            }
        }
        LogicalPlan::Extension(extension)
            if let Some(node) = extension.node.as_any().downcast_ref::<StatefulNode>() =>
        {
            let found = bounds(&node.input)?;
            match &node.kind {
                Kind::Aggregate {
                    bound: Some((column, _)),
                    ..
                }
                | Kind::Hold { column, .. } => held_back(found, *column),
                Kind::Aggregate { bound: None, .. } | Kind::FirstSeen { .. } => found,
                // Sessions may be as long as they like, and envelopes have other columns.
                Kind::HoldSessions { .. } | Kind::Changelog { .. } => vec![None; fields],
            }
        }
        LogicalPlan::Extension(extension) => {
            let mut found = match extension.node.inputs().as_slice() {
                [input] => bounds(input)?,
                [left, right] => [bounds(left)?, bounds(right)?].concat(),
                _ => vec![],
            };
            found.resize(fields, None);
            if extension.node.name() == SESSION_WINDOW
                && let Some(last) = found.last_mut()
            {
                *last = Some(TimeBound {
                    kind: TimeKind::Window { width: None },
                    // A row exactly at the end still belongs to the session.
                    delay: 1,
                    span: None,
                });
            }
            found
        }
        _ => vec![None; fields],
    })
}

/// The bound of an expression over columns that have these.
pub(crate) fn of(expr: &Expr, schema: &DFSchema, input: &[Option<TimeBound>]) -> Option<TimeBound> {
    match expr {
        Expr::Column(column) => *input.get(index_of(schema, column)?)?,
        Expr::Alias(alias) => of(&alias.expr, schema, input),
        Expr::Cast(cast) => of_cast(&cast.expr, cast.field.data_type(), schema, input),
        Expr::TryCast(cast) => of_cast(&cast.expr, cast.field.data_type(), schema, input),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let sign = match op {
                // ts - 5 s is over five seconds after ts is.
                Operator::Minus => 1,
                Operator::Plus => -1,
                _ => return None,
            };
            match (nanos(left), nanos(right)) {
                (None, Some(step)) => {
                    Some(timestamp_only(of(left, schema, input)?)?.later(sign * step))
                }
                (Some(step), None) if sign < 0 => {
                    Some(timestamp_only(of(right, schema, input)?)?.later(-step))
                }
                _ => None,
            }
        }
        Expr::ScalarFunction(call) => of_call(call, schema, input),
        _ => None,
    }
}

/// A cast that rounds down to a coarser unit; none that may move the time by the offset of a zone.
fn of_cast(
    from: &Expr,
    to: &DataType,
    schema: &DFSchema,
    input: &[Option<TimeBound>],
) -> Option<TimeBound> {
    let bound = timestamp_only(of(from, schema, input)?)?;
    let zone = |zone: &Option<Arc<str>>| match zone.as_deref() {
        None | Some("UTC" | "+00:00" | "Z") => None,
        Some(other) => Some(other.to_owned()),
    };
    match (from.get_type(schema).ok()?, to) {
        (DataType::Timestamp(_, old), DataType::Timestamp(unit, new))
            if zone(&old) == zone(new) =>
        {
            Some(bound.step(unit_nanos(*unit)))
        }
        (DataType::Timestamp(_, old), DataType::Date32) if zone(&old).is_none() => {
            Some(bound.step(DAY))
        }
        (DataType::Date32, DataType::Date32) => Some(bound),
        (DataType::Date32, DataType::Timestamp(_, new)) if zone(new).is_none() => Some(bound),
        _ => None,
    }
}

fn unit_nanos(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn of_call(
    call: &ScalarFunction,
    schema: &DFSchema,
    input: &[Option<TimeBound>],
) -> Option<TimeBound> {
    let argument = |at: usize| of(call.args.get(at)?, schema, input);
    match (call.name(), call.args.as_slice()) {
        ("tumble", [_, width]) => timestamp_only(argument(0)?)?.window(nanos(width)?),
        ("hop_windows", [_, _, width]) => timestamp_only(argument(0)?)?.window(nanos(width)?),
        ("cumulate_windows", [..]) => Some(TimeBound {
            kind: TimeKind::Window { width: None },
            span: None,
            ..timestamp_only(argument(0)?)?.window(0)?
        }),
        ("window_time", [window]) => {
            let bound = argument(0)?;
            let value = TimeBound {
                kind: TimeKind::Value,
                ..bound
            };
            // It is one of the column's unit before the end.
            let unit = time_unit(&window.get_type(schema).ok()?)?;
            matches!(bound.kind, TimeKind::Window { .. }).then(|| value.later(unit))
        }
        ("get_field", [_, name]) => {
            let bound = argument(0)?;
            let TimeKind::Window { width } = bound.kind else {
                return None;
            };
            let value = TimeBound {
                kind: TimeKind::Value,
                ..bound
            };
            match name.as_literal()?.try_as_str()?? {
                "end" => Some(value),
                "start" => Some(value.later(width?)),
                _ => None,
            }
        }
        ("date_bin", [step, ..]) => Some(timestamp_only(argument(1)?)?.step(nanos(step)?)),
        ("date_trunc", [unit, _]) => {
            let unit = unit.as_literal()?.try_as_str()??.to_ascii_lowercase();
            Some(timestamp_only(argument(1)?)?.step(truncation(&unit)?))
        }
        _ => None,
    }
}

/// Nanoseconds in the unit of a window's bounds.
fn time_unit(window: &DataType) -> Option<i64> {
    let DataType::Struct(fields) = window else {
        return None;
    };
    match fields.find("end")?.1.data_type() {
        DataType::Timestamp(unit, _) => Some(unit_nanos(*unit)),
        _ => None,
    }
}

impl TimeBound {
    /// That of windows over values with this bound.
    fn window(self, width: i64) -> Option<Self> {
        Some(Self {
            kind: TimeKind::Window { width: Some(width) },
            // A value is over a nanosecond after it was, a window at its end.
            delay: self.delay.saturating_sub(1),
            span: self.span.and_then(|span| span.checked_add(width)),
        })
    }

    /// That of values rounded down to steps.
    fn step(self, step: i64) -> Self {
        let step = step.saturating_sub(1);
        Self {
            span: self.span.and_then(|span| span.checked_add(step)),
            ..self.later(step)
        }
    }
}

/// An expression that is a column and so many nanoseconds.
pub(crate) fn moved_column(expr: &Expr) -> Option<(&Column, i64)> {
    match expr {
        Expr::Column(column) => Some((column, 0)),
        Expr::Alias(alias) => moved_column(&alias.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, moved) = moved_column(left)?;
            let by = match op {
                Operator::Plus => nanos(right)?,
                Operator::Minus => nanos(right)?.checked_neg()?,
                _ => return None,
            };
            Some((column, moved.checked_add(by)?))
        }
        _ => None,
    }
}

fn timestamp_only(bound: TimeBound) -> Option<TimeBound> {
    (bound.kind == TimeKind::Value).then_some(bound)
}

fn index_of(schema: &DFSchema, column: &Column) -> Option<usize> {
    schema.maybe_index_of_column(column)
}

/// The longest that a unit of `date_trunc` lasts.
fn truncation(unit: &str) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    Some(match unit {
        "microsecond" => 1_000,
        "millisecond" => 1_000_000,
        "second" => SECOND,
        "minute" => 60 * SECOND,
        "hour" => 60 * 60 * SECOND,
        "day" => DAY,
        "week" => 7 * DAY,
        "month" => 31 * DAY,
        "quarter" => 92 * DAY,
        "year" => 366 * DAY,
        _ => return None,
    })
}

/// Nanoseconds of a literal interval of fixed length.
pub(crate) fn nanos(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Alias(alias) => nanos(&alias.expr),
        Expr::Cast(cast) => nanos(&cast.expr),
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _)
            if interval.months == 0 =>
        {
            i64::from(interval.days)
                .checked_mul(DAY)?
                .checked_add(interval.nanoseconds)
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(interval)), _) => i64::from(interval.days)
            .checked_mul(DAY)?
            .checked_add(i64::from(interval.milliseconds) * 1_000_000),
        Expr::Literal(ScalarValue::DurationSecond(Some(n)), _) => n.checked_mul(1_000_000_000),
        Expr::Literal(ScalarValue::DurationMillisecond(Some(n)), _) => n.checked_mul(1_000_000),
        Expr::Literal(ScalarValue::DurationMicrosecond(Some(n)), _) => n.checked_mul(1_000),
        Expr::Literal(ScalarValue::DurationNanosecond(Some(n)), _) => Some(*n),
        _ => None,
    }
}
