//! Columns of a record batch, built one after the other from a slice of rows.

use std::fmt::{Display, Write};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    StringViewBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use tpchgen::dates::TPCHDate;
use tpchgen::decimal::TPCHDecimal;

use crate::Result;

/// The type of money, quantities and rates.
const MONEY: DataType = DataType::Decimal128(15, 2);

/// Named columns of equal length; every TPC-H column is NOT NULL.
#[derive(Default)]
pub(super) struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    /// Adds a BIGINT column.
    pub(super) fn int64(self, name: &str, values: impl Iterator<Item = i64>) -> Self {
        self.with(name, Arc::new(Int64Array::from_iter_values(values)))
    }

    /// Adds an INTEGER column.
    pub(super) fn int32(self, name: &str, values: impl Iterator<Item = i32>) -> Self {
        self.with(name, Arc::new(Int32Array::from_iter_values(values)))
    }

    /// Adds a DECIMAL(15, 2) column.
    pub(super) fn money(self, name: &str, values: impl Iterator<Item = TPCHDecimal>) -> Self {
        let cents = values.map(|value| i128::from(value.into_inner()));
        let array = Decimal128Array::from_iter_values(cents).with_data_type(MONEY);
        self.with(name, Arc::new(array))
    }

    /// Adds a DATE column.
    pub(super) fn date(self, name: &str, values: impl Iterator<Item = TPCHDate>) -> Self {
        let days = values.map(|value| value.to_unix_epoch());
        self.with(name, Arc::new(Date32Array::from_iter_values(days)))
    }

    /// Adds a text column.
    pub(super) fn text<T: AsRef<str>>(self, name: &str, values: impl Iterator<Item = T>) -> Self {
        self.with(name, Arc::new(StringViewArray::from_iter_values(values)))
    }

    /// Adds a text column of values that are put together when they are shown.
    pub(super) fn shown<T: Display>(self, name: &str, values: impl Iterator<Item = T>) -> Self {
        let mut builder = StringViewBuilder::new();
        let mut text = String::new();
        for value in values {
            text.clear();
            // Writing to a string cannot fail.
            let _ = write!(text, "{value}");
            builder.append_value(&text);
        }
        self.with(name, Arc::new(builder.finish()))
    }

    /// The columns as a record batch.
    pub(super) fn finish(self) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::new(self.schema()), self.arrays)?)
    }

    /// The names and types of the columns.
    pub(super) fn schema(&self) -> Schema {
        Schema::new(self.fields.clone())
    }

    fn with(mut self, name: &str, array: ArrayRef) -> Self {
        self.fields
            .push(Field::new(name, array.data_type().clone(), false));
        self.arrays.push(array);
        self
    }
}
