//! `count_char(text, character)`: the function that Nexmark's q14 has its user write.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

/// How often a character occurs in a text; NULL in either gives NULL.
pub fn count_char_udf() -> ScalarUDF {
    let text = DataType::Utf8View;
    create_udf(
        "count_char",
        vec![text.clone(), text],
        DataType::Int64,
        Volatility::Immutable,
        Arc::new(count_char),
    )
}

fn count_char(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let [texts, characters] = arguments else {
        return exec_err!("count_char takes a text and a character");
    };
    if let (ColumnarValue::Array(texts), ColumnarValue::Scalar(wanted)) = (texts, characters) {
        let wanted = wanted.try_as_str().flatten().map(one_char).transpose()?;
        let counts = texts.as_string_view().iter();
        let counts = counts.map(|text| Some(count(text?, wanted?)));
        return Ok(ColumnarValue::Array(Arc::new(
            counts.collect::<Int64Array>(),
        )));
    }
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let pairs = arrays[0]
        .as_string_view()
        .iter()
        .zip(arrays[1].as_string_view());
    let counts = pairs.map(|pair| match pair {
        (Some(text), Some(wanted)) => one_char(wanted).map(|wanted| Some(count(text, wanted))),
        _ => Ok(None),
    });
    let counts: ArrayRef = Arc::new(counts.collect::<Result<Int64Array>>()?);
    Ok(match arguments {
        [ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)] => {
            ColumnarValue::Scalar(datafusion::scalar::ScalarValue::try_from_array(&counts, 0)?)
        }
        _ => ColumnarValue::Array(counts),
    })
}

fn one_char(text: &str) -> Result<char> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) => Ok(only),
        _ => exec_err!("count_char counts one character, not '{text}'"),
    }
}

fn count(text: &str, wanted: char) -> i64 {
    let found = if wanted.is_ascii() {
        text.bytes().filter(|byte| *byte == wanted as u8).count()
    } else {
        text.chars().filter(|char| *char == wanted).count()
    };
    found as i64
}
