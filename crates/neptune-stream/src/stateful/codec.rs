//! Rows as bytes: how keys and values of state look.
//!
//! Columns are encoded by arrow's row format, which sorts as the values do. A key begins with the time at which it is
//! over, so that what is over is a range: eight bytes, big-endian with the sign flipped, which sort as the number does.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, StructArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, SchemaRef, TimeUnit, TimestampNanosecondType,
};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};

use super::bound::{TimeBound, TimeKind};
use crate::event_time::END_OF_TIME;

/// Bytes of the time in front of a key.
pub(crate) const TIME_BYTES: usize = 8;

/// A time so that its bytes sort as times do.
pub(crate) fn time_bytes(at: i64) -> [u8; TIME_BYTES] {
    ((at as u64) ^ (1 << 63)).to_be_bytes()
}

/// The time that a key begins with; the end of time for one that is too short, which no key of ours is.
pub(crate) fn time_of(key: &[u8]) -> i64 {
    let head = key.get(..TIME_BYTES).and_then(|head| head.try_into().ok());
    head.map_or(END_OF_TIME, |head| {
        (u64::from_be_bytes(head) ^ (1 << 63)) as i64
    })
}

/// When each value of a bounded column is over, in nanoseconds; NULL, and what nanoseconds cannot hold, never before the end.
pub(crate) fn over_at(column: &ArrayRef, bound: TimeBound) -> Result<Int64Array> {
    let times = match bound.kind {
        TimeKind::Value => Arc::clone(column),
        TimeKind::Window { .. } => {
            let window = column.as_any().downcast_ref::<StructArray>();
            let end = window.and_then(|window| window.column_by_name("end"));
            match (window, end) {
                (Some(window), Some(end)) if window.null_count() == 0 => Arc::clone(end),
                (Some(window), Some(end)) => {
                    // A NULL window may have anything in its fields.
                    datafusion::arrow::compute::nullif(
                        end,
                        &datafusion::arrow::compute::is_null(window)?,
                    )?
                }
                _ => return exec_err!("a window column has no field 'end'"),
            }
        }
    };
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let times = match times.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => times,
        _ => cast(&times, &nanos)?,
    };
    let times = times.as_primitive::<TimestampNanosecondType>();
    let over = times
        .iter()
        .map(|at| at.map_or(END_OF_TIME, |at| at.saturating_add(bound.delay)));
    Ok(over.collect())
}

/// Encodes and decodes rows of some columns.
#[derive(Debug)]
pub(crate) struct RowCodec {
    fields: Vec<FieldRef>,
    converter: RowConverter,
}

impl RowCodec {
    /// A codec for columns of these types.
    ///
    /// # Errors
    /// For a type that cannot be kept in state.
    pub(crate) fn new(fields: impl IntoIterator<Item = FieldRef>) -> Result<Self> {
        let fields: Vec<FieldRef> = fields.into_iter().collect();
        let sort: Vec<SortField> = fields
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        if !RowConverter::supports_fields(&sort) {
            let unfit = fields.iter().find(|field| {
                !RowConverter::supports_fields(&[SortField::new(field.data_type().clone())])
            });
            let (name, kind) = unfit.map_or(("", DataType::Null), |field| {
                (field.name().as_str(), field.data_type().clone())
            });
            return plan_err!(
                "column '{name}' is of type {kind}, which cannot be kept in the state of a stream job: cast it"
            );
        }
        Ok(Self {
            converter: RowConverter::new(sort)?,
            fields,
        })
    }

    /// The rows of `columns`.
    pub(crate) fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<EncodedRows> {
        if self.fields.is_empty() {
            return Ok(EncodedRows {
                rows: None,
                count: rows,
            });
        }
        Ok(EncodedRows {
            rows: Some(self.converter.convert_columns(columns)?),
            count: rows,
        })
    }

    /// The columns of encoded rows.
    ///
    /// # Errors
    /// [`DataFusionError::Execution`] for bytes that are no such rows.
    pub(crate) fn decode<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        if self.fields.is_empty() {
            return Ok(vec![]);
        }
        let parser = self.converter.parser();
        let columns = self
            .converter
            .convert_rows(rows.into_iter().map(|row| parser.parse(row)))?;
        // Dictionaries come back as what they stand for.
        let typed = columns
            .into_iter()
            .zip(&self.fields)
            .map(
                |(column, field)| match column.data_type() == field.data_type() {
                    true => Ok(column),
                    false => cast(&column, field.data_type()).map_err(DataFusionError::from),
                },
            );
        typed.collect()
    }
}

/// Rows of a batch as bytes.
#[derive(Debug)]
pub(crate) struct EncodedRows {
    rows: Option<Rows>,
    count: usize,
}

impl EncodedRows {
    /// The bytes of row `index`.
    pub(crate) fn row(&self, index: usize) -> &[u8] {
        match &self.rows {
            // Bytes as they lie there: valid as long as the rows.
            Some(rows) => rows.row(index).data(),
            None => &[],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

/// A batch of `columns`, which may be none.
pub(crate) fn batch_of(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// Several byte strings as one, each after its length.
pub(crate) fn pack<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut packed = Vec::new();
    for part in parts {
        packed.extend_from_slice(&(part.len() as u32).to_le_bytes());
        packed.extend_from_slice(part);
    }
    packed
}

/// The parts of [`pack`]ed bytes.
///
/// # Errors
/// When the lengths do not fit.
pub(crate) fn unpack(mut packed: &[u8]) -> Result<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = packed.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((part, rest)) = rest.split_at_checked(length) else {
            return exec_err!("rows in the state of a stream job are cut short");
        };
        parts.push(part);
        packed = rest;
    }
    match packed.is_empty() {
        true => Ok(parts),
        false => exec_err!("rows in the state of a stream job are cut short"),
    }
}

/// A field as state has it: any row may be without a value.
pub(crate) fn nullable(field: &Field) -> FieldRef {
    Arc::new(field.clone().with_nullable(true))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{StringArray, TimestampSecondArray};
    use datafusion::arrow::datatypes::Schema;

    use super::*;

    #[test]
    fn times_sort_as_their_bytes_do() {
        let times = [i64::MIN, -5, -1, 0, 1, 7, i64::MAX];
        let bytes: Vec<_> = times.map(time_bytes).to_vec();
        assert!(bytes.is_sorted());
        for (time, bytes) in times.iter().zip(&bytes) {
            assert_eq!(time_of(bytes), *time);
        }
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Utf8, true),
            Field::new("b", DataType::Int64, true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("x"), None, Some("")])),
            Arc::new(Int64Array::from(vec![None, Some(-1), Some(i64::MAX)])),
        ];
        let codec = RowCodec::new(schema.fields().iter().map(Arc::clone)).unwrap();
        let rows = codec.encode(&columns, 3).unwrap();
        let packed = pack((0..rows.len()).map(|row| rows.row(row)));
        let back = codec.decode(unpack(&packed).unwrap()).unwrap();
        assert_eq!(back, columns);
        for cut in 1..packed.len() {
            let parts = unpack(&packed[..cut]);
            assert!(parts.is_err() || parts.unwrap().len() < 3);
        }
    }

    #[test]
    fn a_value_is_over_when_its_delay_has_passed_and_null_at_the_end() {
        let column: ArrayRef = Arc::new(TimestampSecondArray::from(vec![
            Some(2),
            None,
            Some(i64::MAX),
        ]));
        let bound = TimeBound {
            kind: TimeKind::Value,
            delay: 5,
            span: Some(0),
        };
        let over = over_at(&column, bound).unwrap();
        assert_eq!(
            over.values().to_vec(),
            [2_000_000_005, END_OF_TIME, END_OF_TIME]
        );
    }
}
