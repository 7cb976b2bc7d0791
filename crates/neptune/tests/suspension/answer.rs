//! What a query answered, in a form in which two answers can be compared: exact types bit for bit, floating-point types to
//! 1e-9 relative, because DataFusion itself adds those up in the order of arrival.

use std::cmp::Ordering;

use datafusion::arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::{Expr, LogicalPlan};

const TOLERANCE: f64 = 1e-9;

/// The rows of a query.
pub(crate) struct Answer {
    rows: RecordBatch,
    /// Columns of its `ORDER BY`, most significant first.
    order: Vec<usize>,
}

/// The columns of exact types, encoded, and those of floating-point types.
struct Row {
    place: usize,
    exact: Vec<u8>,
    floats: Vec<Option<f64>>,
}

impl Answer {
    /// The answer `batches` of the query whose logical plan is `plan`.
    pub(crate) fn new(plan: &LogicalPlan, batches: &[RecordBatch]) -> Self {
        // An answer without rows may come without a batch.
        let schema = batches
            .first()
            .map_or_else(|| plan.schema().inner().clone(), RecordBatch::schema);
        Self {
            rows: concat_batches(&schema, batches).unwrap(),
            order: order_by(plan, plan),
        }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// What is different in `found`, if anything: its columns, its rows as a multiset or, where the query has an order, the
    /// sequence of its keys. Where that order is total, all this together means the same sequence of rows.
    pub(crate) fn difference(&self, found: &Self) -> Option<String> {
        if self.columns() != found.columns() {
            let (found, expected) = (found.columns(), self.columns());
            return Some(format!("columns {found:?}, expected {expected:?}"));
        }
        if self.len() != found.len() {
            return Some(format!("{} rows, expected {}", found.len(), self.len()));
        }
        let all: Vec<usize> = (0..self.rows.num_columns()).collect();
        for (what, columns, sorted) in [("keys", &self.order, false), ("rows", &all, true)] {
            let (expected, got) = (self.cut(columns, sorted), found.cut(columns, sorted));
            if let Some((a, b)) = expected.iter().zip(&got).find(|(a, b)| !a.is_like(b)) {
                return Some(format!(
                    "other {what}: found\n{}\nexpected\n{}",
                    found.shown(b.place),
                    self.shown(a.place),
                ));
            }
        }
        None
    }

    fn columns(&self) -> Vec<(String, DataType)> {
        let schema = self.rows.schema();
        let fields = schema.fields().iter();
        fields
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect()
    }

    fn shown(&self, row: usize) -> String {
        pretty_format_batches(&[self.rows.slice(row, 1)])
            .unwrap()
            .to_string()
    }

    /// The rows with only `columns`, in an order of their own if `sorted`.
    fn cut(&self, columns: &[usize], sorted: bool) -> Vec<Row> {
        let (floats, exact): (Vec<_>, Vec<_>) = columns
            .iter()
            .map(|column| self.rows.column(*column).clone())
            .partition(|column| column.data_type().is_floating());
        let exact: Option<Rows> = (!exact.is_empty()).then(|| {
            let fields = exact
                .iter()
                .map(|column| SortField::new(column.data_type().clone()));
            let converter = RowConverter::new(fields.collect()).unwrap();
            converter.convert_columns(&exact).unwrap()
        });
        let floats: Vec<Float64Array> = floats
            .iter()
            .map(|column| {
                cast(column, &DataType::Float64)
                    .unwrap()
                    .as_primitive::<Float64Type>()
                    .clone()
            })
            .collect();
        let mut rows: Vec<Row> = (0..self.len())
            .map(|place| Row {
                place,
                exact: exact
                    .as_ref()
                    .map(|rows| rows.row(place).data().to_vec())
                    .unwrap_or_default(),
                floats: floats
                    .iter()
                    .map(|column| column.is_valid(place).then(|| column.value(place)))
                    .collect(),
            })
            .collect();
        if sorted {
            rows.sort_by(Row::compare);
        }
        rows
    }
}

impl Row {
    fn compare(&self, other: &Self) -> Ordering {
        let floats = || {
            let pairs = self.floats.iter().zip(&other.floats);
            pairs.map(|(a, b)| match (a, b) {
                (Some(a), Some(b)) => a.total_cmp(b),
                _ => a.is_some().cmp(&b.is_some()),
            })
        };
        self.exact.cmp(&other.exact).then_with(|| {
            floats()
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        })
    }

    fn is_like(&self, other: &Self) -> bool {
        let close = |a: f64, b: f64| {
            a.total_cmp(&b).is_eq() || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
        };
        self.exact == other.exact
            && self
                .floats
                .iter()
                .zip(&other.floats)
                .all(|(a, b)| match (a, b) {
                    (Some(a), Some(b)) => close(*a, *b),
                    _ => a.is_none() && b.is_none(),
                })
    }
}

/// The columns of `root` by which `plan`, its top, sorts.
fn order_by(root: &LogicalPlan, plan: &LogicalPlan) -> Vec<usize> {
    match plan {
        LogicalPlan::Limit(limit) => order_by(root, &limit.input),
        LogicalPlan::Sort(sort) => {
            let columns = sort.expr.iter().map_while(|key| match &key.expr {
                Expr::Column(column) => root.schema().maybe_index_of_column(column),
                _ => None,
            });
            let columns: Vec<usize> = columns.collect();
            assert_eq!(
                columns.len(),
                sort.expr.len(),
                "keys that are not in the answer: {sort:?}"
            );
            columns
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn answer(sql: &str) -> Answer {
        let frame = SessionContext::new().sql(sql).await.unwrap();
        let plan = frame.logical_plan().clone();
        Answer::new(&plan, &frame.collect().await.unwrap())
    }

    #[tokio::test]
    async fn only_what_may_differ_is_overlooked() {
        let table = "FROM (VALUES (2, 'b', 0.5), (1, 'a', 1.0), (1, 'a', NULL)) AS t (k, s, f)";
        let same = [
            ("SELECT k, s, f", "SELECT k, s, f", "ORDER BY s DESC, f"),
            ("SELECT k, s, f", "SELECT k, s, f * (1 + 1e-11) AS f", ""),
        ];
        for (left, right, rest) in same {
            let left = answer(&format!("{left} {table}")).await;
            let right = answer(&format!("{right} {table} {rest}")).await;
            assert_eq!(left.difference(&right), None);
        }
        let different = [
            ("SELECT k, s, f", "", "SELECT k, s, f * (1 + 1e-7) AS f", ""),
            (
                "SELECT k, s, f",
                "",
                "SELECT k, s, coalesce(f, 0.0) AS f",
                "",
            ),
            ("SELECT k, s", "", "SELECT k + 1 AS k, s", ""),
            ("SELECT k, s", "", "SELECT CAST(k AS INT) AS k, s", ""),
            ("SELECT k, s", "", "SELECT k, s", "WHERE k = 1"),
            (
                "SELECT k, s",
                "",
                "SELECT 3 - k AS k, CASE k WHEN 1 THEN 'b' ELSE 'a' END AS s",
                "",
            ),
            (
                "SELECT k, s",
                "ORDER BY k",
                "SELECT k, s",
                "ORDER BY k DESC",
            ),
        ];
        for (left, left_rest, right, right_rest) in different {
            let left = answer(&format!("{left} {table} {left_rest}")).await;
            let right = answer(&format!("{right} {table} {right_rest}")).await;
            assert!(
                left.difference(&right).is_some(),
                "{:?} {:?}",
                left.rows,
                right.rows
            );
        }
    }
}
