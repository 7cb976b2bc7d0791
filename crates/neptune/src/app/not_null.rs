//! Keeps NULL out of columns declared NOT NULL: a function around the value that an `INSERT` gives.
//!
//! The error comes while rows are staged, so that nothing of the write is visible.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// `value`, refusing to be NULL in the name of a column.
pub(crate) fn not_null(value: Expr, column: &str, table: &str) -> Expr {
    let function = NotNull {
        column: column.to_owned(),
        table: table.to_owned(),
        signature: Signature::any(1, Volatility::Immutable),
    };
    ScalarUDF::from(function).call(vec![value])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NotNull {
    column: String,
    table: String,
    signature: Signature,
}

impl ScalarUDFImpl for NotNull {
    fn name(&self) -> &str {
        "not_null"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("not_null gives the field of its argument")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields {
            [field] => Ok(field.as_ref().clone().with_nullable(false).into()),
            _ => internal_err!("not_null has one argument"),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(value) = args.args.pop() else {
            return internal_err!("not_null has one argument");
        };
        let has_null = match &value {
            ColumnarValue::Array(values) => values.logical_null_count() > 0,
            ColumnarValue::Scalar(value) => value.is_null(),
        };
        if has_null {
            return exec_err!(
                "NULL for column '{}' of table '{}', which is NOT NULL",
                self.column,
                self.table
            );
        }
        Ok(value)
    }
}
