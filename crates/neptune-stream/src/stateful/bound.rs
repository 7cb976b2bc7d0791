//! Which columns tell when a row is over: the watermark closes what is grouped by them.
//!
//! A column is *bounded* when, at watermark `w`, no further row can have a value that is over: one with
//! `time(value) + delay <= w`. Event time itself is (with a delay of one nanosecond: a row exactly at the watermark may
//! still come), and so are windows over it, their ends and starts, and what is computed from it by steps of a fixed length.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, JoinType, LogicalPlan, Operator};

use super::join_node::StreamJoinNode;
use crate::event_time::is_event_time;

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
}

impl TimeBound {
    pub(crate) const EVENT_TIME: Self = Self {
        kind: TimeKind::Value,
        delay: 1,
    };

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
        Some(Self {
            kind,
            delay: self.delay.max(other.delay),
        })
    }
}

/// The bounds of a plan's columns, in the order of its schema.
pub(crate) fn bounds(plan: &LogicalPlan) -> Result<Vec<Option<TimeBound>>> {
    let fields = plan.schema().fields().len();
    Ok(match plan {
        LogicalPlan::TableScan(_) => plan
            .schema()
            .fields()
            .iter()
            .map(|field| is_event_time(field).then_some(TimeBound::EVENT_TIME))
            .collect(),
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
        Expr::Cast(cast) => timestamp_only(of(&cast.expr, schema, input)?),
        Expr::TryCast(cast) => timestamp_only(of(&cast.expr, schema, input)?),
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
        DataType::Timestamp(TimeUnit::Second, _) => Some(1_000_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => Some(1_000_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(1),
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
        })
    }

    /// That of values rounded down to steps.
    fn step(self, step: i64) -> Self {
        self.later(step.saturating_sub(1))
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
    const DAY: i64 = 24 * 60 * 60 * SECOND;
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
    const DAY: i64 = 24 * 60 * 60 * 1_000_000_000;
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
