//! Event time: the column that says when a row happened, and the watermark before which no more rows are expected.
//!
//! The column is marked in the schema of its table; the mark travels with plain column references, so that
//! `tumble(INTERVAL '1 hour')` finds the time it is meant for. DataFusion's planner keeps it through columns, aliases, casts,
//! filters, sorts, joins, table aliases, views, `UNNEST` and group keys; a `UNION` keeps it only if all its inputs have it. Anything
//! computed loses it, but for `window_time(window)`, which marks its result. Watermarks are nanoseconds since the Unix epoch.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, max};
use datafusion::arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampNanosecondType,
};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, plan_err};
use datafusion::physical_plan::PhysicalExpr;

/// The metadata key that marks the event time column of a schema.
pub const EVENT_TIME_KEY: &str = "neptune.event_time";

/// Before all time: nothing is late, nothing is over.
pub const START_OF_TIME: i64 = i64::MIN;

/// After all time: every window is over.
pub const END_OF_TIME: i64 = i64::MAX;

/// Whether a field is a timestamp that is marked as event time. A cast keeps the mark whatever it casts to, so the type counts too.
pub fn is_event_time(field: &Field) -> bool {
    let marked = field.metadata().contains_key(EVENT_TIME_KEY);
    marked && matches!(field.data_type(), DataType::Timestamp(..))
}

/// `field` marked as event time.
#[must_use]
pub fn mark_field(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(EVENT_TIME_KEY.to_owned(), "true".to_owned());
    field.clone().with_metadata(metadata)
}

/// `field` without the mark, for what leaves the engine.
#[must_use]
pub fn unmark_field(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(EVENT_TIME_KEY);
    field.clone().with_metadata(metadata)
}

/// The event time column of `schema`, for a window that is given none.
///
/// # Errors
/// A planning error that says what to do if there is none, or more than one.
pub fn event_time_column(schema: &DFSchema) -> Result<Column> {
    let mut marked = (schema.columns().into_iter().zip(schema.fields()))
        .filter(|(_, field)| is_event_time(field))
        .map(|(column, _)| column);
    let Some(first) = marked.next() else {
        return plan_err!(
            "a window without a time column needs an event time column in its input, and there is none: \
             name the column, as in tumble(ts, INTERVAL '1 minute'), or declare it with WATERMARK FOR"
        );
    };
    let others: Vec<String> = marked.map(|column| column.flat_name()).collect();
    if others.is_empty() {
        return Ok(first);
    }
    plan_err!(
        "the input of a window has {} event time columns, {} and {}: \
         name the one that is meant, as in tumble({}, INTERVAL '1 minute')",
        others.len() + 1,
        first.flat_name(),
        others.join(", "),
        first.flat_name()
    )
}

/// `schema` with `column` marked as event time; as it is, if it has no such column.
pub fn mark(schema: &SchemaRef, column: &str) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        if field.name() != column {
            return Arc::clone(field);
        }
        Arc::new(mark_field(field))
    });
    let fields: Vec<_> = fields.collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// How the watermark of a source follows from its rows.
#[derive(Debug, Clone)]
pub struct WatermarkRule {
    /// The event time column, as an index into the source's schema.
    pub column: usize,
    /// Gives each row's watermark, a timestamp; over the source's schema.
    pub expression: Arc<dyn PhysicalExpr>,
}

impl WatermarkRule {
    /// The largest watermark of the rows of `batch`, which has the source's columns.
    ///
    /// # Errors
    /// Those of the expression.
    pub fn highest(&self, batch: &RecordBatch) -> Result<Option<i64>> {
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let values = self.expression.evaluate(batch)?.into_array(batch.num_rows())?;
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        // A time that nanoseconds cannot hold becomes NULL and says nothing.
        let values = match values.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => values,
            _ => cast(&values, &nanos)?,
        };
        Ok(max(values.as_primitive::<TimestampNanosecondType>()))
    }
}

/// Nanoseconds of a timestamp scalar; `None` for NULL and other types.
pub fn nanos_of(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampSecond(Some(at), _) => Some(at.saturating_mul(1_000_000_000)),
        ScalarValue::TimestampMillisecond(Some(at), _) => Some(at.saturating_mul(1_000_000)),
        ScalarValue::TimestampMicrosecond(Some(at), _) => Some(at.saturating_mul(1_000)),
        ScalarValue::TimestampNanosecond(Some(at), _) => Some(*at),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::TimestampMillisecondArray;
    use datafusion::physical_expr::expressions::col;

    use super::*;

    fn field(name: &str) -> Field {
        Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), true)
    }

    #[test]
    fn a_marked_timestamp_is_the_event_time_until_it_is_unmarked() {
        let marked = mark_field(&field("ts"));
        assert!(is_event_time(&marked));
        assert_eq!(mark_field(&marked), marked);
        assert_eq!(unmark_field(&marked), field("ts"));
        assert!(!is_event_time(&field("ts")));
        assert!(!is_event_time(&marked.with_data_type(DataType::Int64)));
    }

    #[test]
    fn the_one_marked_column_is_found_and_none_or_two_are_faults() {
        let found = |marked: &[&str]| {
            let schema = Arc::new(Schema::new(vec![field("a"), field("b")]));
            let schema = marked.iter().fold(schema, |schema, column| mark(&schema, column));
            event_time_column(&DFSchema::try_from_qualified_schema("t", &schema).unwrap())
        };
        assert_eq!(found(&["b"]).unwrap(), Column::new(Some("t"), "b"));
        let none = found(&[]).unwrap_err().to_string();
        assert!(none.contains("WATERMARK FOR"), "{none}");
        let two = found(&["b", "a"]).unwrap_err().to_string();
        assert!(two.contains("t.a and t.b"), "{two}");
    }

    #[test]
    fn the_watermark_is_the_highest_time_in_nanoseconds_and_ignores_nulls() {
        let time = DataType::Timestamp(TimeUnit::Millisecond, None);
        let schema = Arc::new(Schema::new(vec![Field::new("ts", time, true)]));
        let rule = WatermarkRule {
            column: 0,
            expression: col("ts", &schema).unwrap(),
        };
        for (rows, highest) in [
            (vec![Some(3), None, Some(7), Some(-2)], Some(7_000_000)),
            (vec![None], None),
            (vec![], None),
            (vec![Some(i64::MAX), Some(1)], Some(1_000_000)),
        ] {
            let column = Arc::new(TimestampMillisecondArray::from(rows));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
            assert_eq!(rule.highest(&batch).unwrap(), highest);
        }
    }
}
