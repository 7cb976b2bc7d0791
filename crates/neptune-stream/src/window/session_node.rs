//! Session windows in a logical plan.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err, plan_err};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNodeCore,
};

use super::assign::TimeType;
use super::function::time_type;

/// Adds a last column to the rows of `input`: the session window that each row belongs to, a struct of `start` and `end`.
///
/// Sessions are those of the rows with equal `keys`: a row at most `gap` after the one before it belongs to the same session,
/// which starts at its first row and ends one `gap` after its last. The time must not be NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionWindow {
    input: LogicalPlan,
    keys: Vec<Expr>,
    time: Expr,
    time_type: TimeType,
    gap: i64,
    name: String,
    schema: DFSchemaRef,
}

impl SessionWindow {
    /// Sessions over columns of `input`; `gap` in the unit of the time column, `name` for the new column.
    ///
    /// # Errors
    /// If `keys` or `time` are no columns of `input`, `time` is no timestamp, `gap` is not positive, or `name` is taken.
    pub fn try_new(
        input: LogicalPlan,
        keys: Vec<Expr>,
        time: Expr,
        gap: i64,
        name: impl Into<String>,
    ) -> Result<Self> {
        let name = name.into();
        if let Some(other) = keys
            .iter()
            .chain([&time])
            .find(|expr| !matches!(expr, Expr::Column(_)))
        {
            return internal_err!("session windows are over columns, not over {other}");
        }
        if gap <= 0 {
            return plan_err!("the gap of session must be longer than zero");
        }
        let schema = input.schema();
        let time_type = time_type("session", &time.get_type(schema)?)?;
        let window = Field::new(&name, time_type.window(), true);
        let mut fields: Vec<_> = (schema.iter())
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
            .collect();
        fields.push((None, Arc::new(window)));
        let schema = DFSchema::new_with_metadata(fields, schema.metadata().clone())?
            .with_functional_dependencies(schema.functional_dependencies().clone())?;
        Ok(Self {
            input,
            keys,
            time,
            time_type,
            gap,
            name,
            schema: Arc::new(schema),
        })
    }

    /// As a plan.
    #[must_use]
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension {
            node: Arc::new(self),
        })
    }

    /// The rows that are given windows.
    #[must_use]
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// Rows of equal keys have sessions of their own; columns of the input.
    #[must_use]
    pub fn keys(&self) -> &[Expr] {
        &self.keys
    }

    /// The time, a column of the input.
    #[must_use]
    pub fn time(&self) -> &Expr {
        &self.time
    }

    /// The gap, in the unit of the time column.
    #[must_use]
    pub fn gap(&self) -> i64 {
        self.gap
    }

    /// The gap in nanoseconds; as long as can be if it is longer.
    pub(crate) fn gap_nanos(&self) -> i64 {
        let factor = match self.time_type.unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        };
        self.gap.saturating_mul(factor)
    }

    /// The name of the column with the windows, which is the last one.
    #[must_use]
    pub fn window(&self) -> &str {
        &self.name
    }

    /// The type of the windows.
    #[must_use]
    pub fn window_type(&self) -> DataType {
        self.time_type.window()
    }

    pub(super) fn time_type(&self) -> &TimeType {
        &self.time_type
    }

    fn columns_of_input(&self) -> usize {
        self.input.schema().fields().len()
    }
}

impl UserDefinedLogicalNodeCore for SessionWindow {
    fn name(&self) -> &str {
        "SessionWindow"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.iter().chain([&self.time]).cloned().collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // Whole keys may be left out, some rows of a key may not. Columns are told apart by name alone here.
        let others = self.schema.columns().into_iter().filter(|column| {
            let is_key = |key: &Expr| matches!(key, Expr::Column(key) if key == column);
            !self.keys.iter().any(is_key)
        });
        others.map(|column| column.name).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        write!(
            f,
            "SessionWindow: keys=[{}], time={}, gap={} {}",
            keys.join(", "),
            self.time,
            self.gap,
            self.time_type.unit_sign()
        )
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let (Some(input), Some(time)) = (inputs.pop(), exprs.pop()) else {
            return internal_err!("SessionWindow has one input and a time");
        };
        Self::try_new(input, exprs, time, self.gap, &self.name)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // The optimizer adds those of the expressions.
        let of_input = output_columns
            .iter()
            .filter(|column| **column < self.columns_of_input());
        Some(vec![of_input.copied().collect()])
    }
}

impl Hash for SessionWindow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.keys, &self.time, self.gap, &self.name).hash(state);
    }
}

impl PartialOrd for SessionWindow {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let parts = |node: &Self| {
            (
                node.keys.clone(),
                node.time.clone(),
                node.gap,
                node.name.clone(),
            )
        };
        let order = parts(self).partial_cmp(&parts(other))?;
        let order = match order {
            Ordering::Equal => self.input.partial_cmp(&other.input)?,
            order => order,
        };
        // Only what is equal may compare as equal.
        (order != Ordering::Equal || self == other).then_some(order)
    }
}
