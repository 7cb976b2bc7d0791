//! Replaces rows by key: what update mode does to tables that can be written in place.

use std::collections::HashSet;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::Result;

/// The rows of `old` whose key is none of those in `fresh`; the key is in the columns `keys` of both.
///
/// # Errors
/// For a key of a type that has no order.
pub(crate) fn not_replaced<'a>(
    old: impl IntoIterator<Item = &'a RecordBatch>,
    fresh: &[RecordBatch],
    keys: &[usize],
) -> Result<Vec<RecordBatch>> {
    let Some(first) = fresh.first() else {
        return Ok(old.into_iter().cloned().collect());
    };
    let fields = keys
        .iter()
        .map(|key| first.column(*key).data_type().clone());
    let converter = RowConverter::new(fields.map(SortField::new).collect())?;
    let columns = |batch: &RecordBatch| -> Vec<ArrayRef> {
        keys.iter().map(|key| batch.column(*key).clone()).collect()
    };
    let mut replaced = HashSet::new();
    for batch in fresh {
        let rows = converter.convert_columns(&columns(batch))?;
        replaced.extend(rows.iter().map(|row| row.owned()));
    }
    let mut kept = Vec::new();
    for batch in old {
        let rows = converter.convert_columns(&columns(batch))?;
        let stays: BooleanArray = rows
            .iter()
            .map(|row| Some(!replaced.contains(&row.owned())))
            .collect();
        match stays.false_count() {
            0 => kept.push(batch.clone()),
            _ => kept.push(filter_record_batch(batch, &stays)?),
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn rows_of_the_same_key_are_replaced_also_null() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("v", DataType::Int64, true),
        ]));
        let batch = |rows: &[(Option<&str>, i64)]| {
            let keys: StringArray = rows.iter().map(|(key, _)| *key).collect();
            let values: Int64Array = rows.iter().map(|(_, value)| Some(*value)).collect();
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(keys), Arc::new(values)])
                .unwrap()
        };
        let old = [
            batch(&[(Some("a"), 1), (None, 2), (Some("b"), 3)]),
            batch(&[(Some("c"), 4)]),
        ];
        let fresh = [batch(&[(Some("b"), 30), (None, 20)])];
        let kept = not_replaced(&old, &fresh, &[0]).unwrap();
        assert_eq!(kept, [batch(&[(Some("a"), 1)]), batch(&[(Some("c"), 4)])]);
        assert_eq!(not_replaced(&old, &[], &[0]).unwrap(), old);
    }
}
