//! Which column is the event time: a mark in the metadata of its field.
//!
//! A declared table marks the column of its `WATERMARK FOR`. DataFusion's planner keeps the metadata of a field through plain
//! columns, aliases, casts, filters, sorts, joins, table aliases, views, `UNNEST` and group keys. A `UNION` keeps it if
//! one of its inputs has it. Anything computed loses it, but for [`window_time`](crate::window), which marks its result.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, Result, plan_err};

/// Key in the metadata of an event time column's field; the value is `true`.
pub const EVENT_TIME_KEY: &str = "neptune.event_time";

/// Before all time: nothing is late, nothing is over.
pub const START_OF_TIME: i64 = i64::MIN;

/// After all time: every window is over.
pub const END_OF_TIME: i64 = i64::MAX;

/// `schema` with `column` marked as event time; as it is, if it has no such column.
pub fn mark_column(schema: &SchemaRef, column: &str) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| match field.name() == column {
        true => Arc::new(mark(field)),
        false => Arc::clone(field),
    });
    let fields: Vec<_> = fields.collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// `field` marked as the event time.
#[must_use]
pub fn mark(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(EVENT_TIME_KEY.to_owned(), "true".to_owned());
    field.clone().with_metadata(metadata)
}

/// `field` without the mark, for what leaves the engine.
#[must_use]
pub fn unmark(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(EVENT_TIME_KEY);
    field.clone().with_metadata(metadata)
}

/// Whether `field` is a timestamp that is marked. A cast keeps the mark whatever it casts to, so the type counts too.
#[must_use]
pub fn is_event_time(field: &Field) -> bool {
    let marked = field.metadata().get(EVENT_TIME_KEY);
    marked.is_some_and(|value| value == "true")
        && matches!(field.data_type(), DataType::Timestamp(..))
}

/// The event time column of `schema`.
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

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;

    fn field(name: &str) -> Field {
        Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), true)
    }

    fn schema(fields: Vec<Field>) -> DFSchema {
        DFSchema::try_from_qualified_schema("t", &Arc::new(Schema::new(fields))).unwrap()
    }

    #[test]
    fn a_marked_timestamp_is_the_event_time_until_it_is_unmarked() {
        let marked = mark(&field("ts"));
        assert!(is_event_time(&marked));
        assert_eq!(mark(&marked), marked);
        assert!(!is_event_time(&unmark(&marked)));
        assert_eq!(unmark(&marked), field("ts"));
        assert!(!is_event_time(&marked.with_data_type(DataType::Int64)));
    }

    #[test]
    fn the_one_marked_column_is_found_and_none_or_two_are_faults() {
        let one = schema(vec![field("a"), mark(&field("b"))]);
        assert_eq!(
            event_time_column(&one).unwrap(),
            Column::new(Some("t"), "b")
        );
        let none = event_time_column(&schema(vec![field("a")])).unwrap_err();
        assert!(none.to_string().contains("WATERMARK FOR"), "{none}");
        let two = schema(vec![mark(&field("a")), mark(&field("b"))]);
        let two = event_time_column(&two).unwrap_err().to_string();
        assert!(two.contains("t.a and t.b"), "{two}");
    }
}
