//! A scalar function that is slow on purpose.

use std::hint;
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const TIME_PER_ROW: Duration = Duration::from_millis(1);

/// The function `sleep_row(BIGINT)`: gives back its argument after keeping a core busy for 1 ms a
/// row.
///
/// It stands for user code that works long on one batch and never yields.
pub fn sleep_row_udf() -> ScalarUDF {
    ScalarUDF::new_from_impl(SleepRow {
        signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SleepRow {
    signature: Signature,
}

impl ScalarUDFImpl for SleepRow {
    fn name(&self) -> &str {
        "sleep_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        for _ in 0..args.number_rows {
            let start = Instant::now();
            while start.elapsed() < TIME_PER_ROW {
                hint::spin_loop();
            }
        }
        args.args.into_iter().next().ok_or_else(|| {
            datafusion::common::internal_datafusion_err!("sleep_row was called without an argument")
        })
    }
}
