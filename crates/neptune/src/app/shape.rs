//! Fits the columns of an `INSERT`'s query to those of its table.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::scalar::ScalarValue;
use neptune_stream::connector::ConnectorTable;

use super::not_null::not_null;
use crate::dialect::{DialectError, Insert, Statement};

/// The query's columns as the table has them: in its order, of its types, and NULL where none is given. A table whose
/// columns are not known yet takes those of the query.
pub(crate) fn shaped(
    plan: LogicalPlan,
    table: &ConnectorTable,
    insert: &Insert,
    statement: &Statement,
) -> Result<LogicalPlan, DialectError> {
    let refused = |what: String| statement.source().error(insert.table_position, what);
    let columns = plan.schema().columns();
    let known = table.schema();
    let names = target_names(&columns, known.as_ref(), insert, statement)?;
    if names.len() != columns.len() {
        return Err(refused(format!(
            "the query has {} columns and table '{}' takes {}: {}",
            columns.len(),
            insert.table,
            names.len(),
            names.join(", ")
        )));
    }
    let Some(schema) = known else {
        // Nothing is kept under these names by the connectors that only show or drop rows.
        let keeps = !matches!(table.connector(), "console" | "noop");
        if let Some(twice) = first_twice(&names).filter(|_| keeps) {
            let what = format!("the query gives two columns the name '{twice}'");
            return Err(refused(what).with_help("name one of them otherwise: AS …"));
        }
        let named: Vec<Expr> = (columns.iter().zip(&names))
            .map(|(column, name)| col(column.clone()).alias(name))
            .collect();
        let unnamed = insert.columns.is_empty();
        let plan = if unnamed {
            plan
        } else {
            project(plan, named, statement)?
        };
        let fields: Vec<Field> = (plan.schema().fields().iter())
            .map(|field| field.as_ref().clone())
            .collect();
        table
            .set_schema(Arc::new(Schema::new(fields)))
            .map_err(|error| refused(error.to_string()))?;
        return Ok(plan);
    };
    let mut shape = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let value = match names.iter().position(|name| name == field.name()) {
            Some(at) => col(columns[at].clone()),
            None if field.is_nullable() => lit(ScalarValue::Null),
            None => {
                return Err(refused(format!(
                    "no value is given for column '{}' of table '{}', which is NOT NULL",
                    field.name(),
                    insert.table
                )));
            }
        };
        let cast = value.cast_to(field.data_type(), plan.schema().as_ref());
        let value = cast.map_err(|error| {
            let reason = statement.locate(&error).what;
            refused(format!(
                "column '{}' of table '{}': {reason}",
                field.name(),
                insert.table
            ))
        })?;
        let may_be_null = value.nullable(plan.schema().as_ref());
        let may_be_null = may_be_null.map_err(|error| statement.locate(&error))?;
        let value = match !field.is_nullable() && may_be_null {
            true => not_null(value, field.name(), &insert.table.to_string()),
            false => value,
        };
        shape.push(value.alias(field.name()));
    }
    project(plan, shape, statement)
}

/// The table's columns that the query's are for, in the order of the query.
fn target_names(
    columns: &[Column],
    known: Option<&SchemaRef>,
    insert: &Insert,
    statement: &Statement,
) -> Result<Vec<String>, DialectError> {
    if insert.columns.is_empty() {
        return Ok(match known {
            Some(schema) => schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
            None => columns.iter().map(|column| column.name.clone()).collect(),
        });
    }
    let mut seen = BTreeSet::new();
    for column in &insert.columns {
        let refused = |what| Err(statement.source().error(column.position, what));
        if known.is_some_and(|schema| schema.field_with_name(&column.text).is_err()) {
            return refused(format!(
                "table '{}' has no column '{}'",
                insert.table, column.text
            ));
        }
        if !seen.insert(&column.text) {
            return refused(format!("column '{}' is named twice", column.text));
        }
    }
    Ok(insert
        .columns
        .iter()
        .map(|column| column.text.clone())
        .collect())
}

fn first_twice(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}

fn project(
    plan: LogicalPlan,
    columns: Vec<Expr>,
    statement: &Statement,
) -> Result<LogicalPlan, DialectError> {
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| statement.locate(&error))
}
