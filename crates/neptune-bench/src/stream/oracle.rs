//! Compares the answer of the Yahoo benchmark's query with what the generator knows.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::error::DataFusionError;
use neptune::{Class, Session};
use neptune_gen::ysb::{WindowCount, Ysb};

use crate::error::{BenchError, Result};

/// The table that the answer is in.
pub(super) const ANSWERS: &str = "answers";

/// Checks that [`ANSWERS`] has the counts of the first `events` events: each window and campaign once.
///
/// # Errors
/// [`BenchError::Failed`] with the first difference.
pub(super) fn check(session: &Session, ysb: &Ysb, events: u64) -> Result<()> {
    let expected = ysb.expected(0..events);
    let mut expected = expected.map_err(|error| BenchError::Data(error.to_string()))?;
    let handle = session.executor().handle(Class::Stream);
    let sql = format!("SELECT window_start, campaign_id, views, last_view FROM {ANSWERS}");
    let rows = handle.block_on(async { session.context().sql(&sql).await?.collect().await });
    let rows = rows.map_err(|error| BenchError::query("ysb", error))?;
    let mut found = Vec::with_capacity(expected.len());
    for batch in &rows {
        found.extend(counts(batch).map_err(|error| BenchError::query("ysb", error))?);
    }
    found.sort();
    expected.sort();
    compare(&found, &expected)
}

/// Says where two sorted answers begin to differ.
fn compare(found: &[WindowCount], expected: &[WindowCount]) -> Result<()> {
    let longer = found.len().max(expected.len());
    let Some(place) = (0..longer).find(|place| found.get(*place) != expected.get(*place)) else {
        return Ok(());
    };
    let reason = format!(
        "wrong answer: {} rows instead of {}; the first that differs is {:?} instead of {:?}",
        found.len(),
        expected.len(),
        found.get(place),
        expected.get(place)
    );
    Err(BenchError::failed("ysb", reason))
}

fn counts(batch: &RecordBatch) -> Result<Vec<WindowCount>, DataFusionError> {
    let nanos = |column: usize| {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
        cast(&cast(batch.column(column), &time)?, &DataType::Int64)
    };
    let (starts, lasts) = (nanos(0)?, nanos(3)?);
    let campaigns = cast(batch.column(1), &DataType::Utf8View)?;
    let views = cast(batch.column(2), &DataType::Int64)?;
    let number = |column: &dyn datafusion::arrow::array::Array, row| {
        column.as_primitive::<Int64Type>().value(row)
    };
    let rows = (0..batch.num_rows()).map(|row| WindowCount {
        window_start_nanos: number(&starts, row),
        campaign_id: campaigns.as_string_view().value(row).to_owned(),
        views: number(&views, row) as u64,
        last_view_nanos: number(&lasts, row),
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told() {
        let ysb = Ysb {
            start_nanos: 0,
            events_per_second: 1_000,
        };
        let right = ysb.expected(0..30_000).unwrap();
        assert!(compare(&right, &right).is_ok());
        let mut missing = right.clone();
        missing.pop();
        let mut doubled = right.clone();
        doubled.insert(1, right[0].clone());
        let mut wrong = right.clone();
        wrong[7].views += 1;
        for (found, said) in [
            (missing, "299 rows instead of 300"),
            (doubled, "301 rows instead of 300"),
            (wrong, "300 rows instead of 300; the first that differs"),
        ] {
            let error = compare(&found, &right).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
