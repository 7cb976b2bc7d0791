//! What a query answered, in a form in which two answers can be compared: exact types bit for bit, floats to 1e-9 relative.

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Float64Type, SchemaRef};
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::{Expr, LogicalPlan};

const TOLERANCE: f64 = 1e-9;

/// The rows of a query.
pub(crate) struct Answer {
    rows: RecordBatch,
    /// Columns of its `ORDER BY`, most significant first.
    order: Vec<usize>,
}

/// A row: the columns of exact types, encoded, and those of floating-point types.
type Row = (OwnedRow, Vec<Option<f64>>);

impl Answer {
    /// The answer `batches` of the query whose logical plan is `plan`.
    pub(crate) fn new(plan: &LogicalPlan, batches: &[RecordBatch]) -> Self {
        // An answer without rows may come without a batch.
        let schema: SchemaRef =
            batches.first().map_or_else(|| plan.schema().inner().clone(), RecordBatch::schema);
        Self {
            rows: concat_batches(&schema, batches).unwrap(),
            order: order_by(plan, plan),
        }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether the query has an `ORDER BY` whose columns are in the answer.
    pub(crate) fn is_ordered(&self) -> bool {
        !self.order.is_empty()
    }

    /// What is different in `found`, if anything: its types, its rows as a multiset, or, where the query has an order, the
    /// sequence of its keys. If the order is total, that is the sequence of its rows.
    pub(crate) fn difference(&self, found: &Self) -> Option<String> {
        let types = |answer: &Self| -> Vec<(String, DataType)> {
            let schema = answer.rows.schema();
            let fields = schema.fields().iter();
            fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        if types(self) != types(found) {
            return Some(format!("columns {:?}, expected {:?}", types(found), types(self)));
        }
        if self.len() != found.len() {
            return Some(format!("{} rows, expected {}", found.len(), self.len()));
        }
        let all: Vec<usize> = (0..self.rows.num_columns()).collect();
        for (what, columns, sorted) in [("keys", &self.order, false), ("rows", &all, true)] {
            let (expected, got) = (self.in_order(columns, sorted), found.in_order(columns, sorted));
            let differing = expected.iter().zip(&got).position(|((_, a), (_, b))| !same(a, b));
            if let Some(at) = differing {
                let show = |answer: &Self, row: usize| {
                    pretty_format_batches(&[answer.rows.slice(row, 1)]).unwrap().to_string()
                };
                return Some(format!(
                    "different {what}, first at {at} of {}: found\n{}\nexpected\n{}",
                    self.len(),
                    show(found, got[at].0),
                    show(self, expected[at].0),
                ));
            }
        }
        None
    }

    /// The rows with their places in the answer, cut down to `columns`.
    fn in_order(&self, columns: &[usize], sorted: bool) -> Vec<(usize, Row)> {
        let (floats, exact): (Vec<ArrayRef>, Vec<ArrayRef>) = columns
            .iter()
            .map(|column| self.rows.column(*column).clone())
            .partition(|column| column.data_type().is_floating());
        let fields = exact.iter().map(|column| SortField::new(column.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).unwrap();
        let encoded = if exact.is_empty() {
            converter.empty_rows(0, 0)
        } else {
            converter.convert_columns(&exact).unwrap()
        };
        let empty = RowConverter::new(Vec::new()).unwrap();
        let nothing = empty.convert_columns(&[]).ok();
        let _ = nothing;
        let floats: Vec<_> = floats
            .iter()
            .map(|column| {
                datafusion::arrow::compute::cast(column, &DataType::Float64).unwrap()
            })
            .collect();
        let mut rows: Vec<(usize, Row)> = (0..self.len())
            .map(|row| {
                let numbers = floats.iter().map(|column| {
                    let column = column.as_primitive::<Float64Type>();
                    column.is_valid(row).then(|| column.value(row))
                });
                (row, (encoded.row(row).owned(), numbers.collect()))
            })
            .collect();
        if sorted {
            rows.sort_by(|(_, a), (_, b)| compare(a, b));
        }
        rows
    }
}
