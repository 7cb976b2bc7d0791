//! How long windows are: intervals of fixed length in the unit of a time column.

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};

/// Nanoseconds in a day; a window knows no daylight saving time.
const DAY: i128 = 24 * 60 * 60 * 1_000_000_000;

/// Nanoseconds in one of `unit`.
fn nanos_in(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// The length that a literal says, in `unit`; at least 1. `what` names it in errors, such as `the width of tumble`.
///
/// # Errors
/// A planning error if the literal is no interval, or one that is not positive, has months, or cannot be counted in `unit`.
pub(super) fn length(what: &str, literal: &ScalarValue, unit: TimeUnit) -> Result<i64> {
    let nanos = nanos(what, literal)?;
    if nanos <= 0 {
        return plan_err!("{what} must be longer than zero");
    }
    if nanos % nanos_in(unit) != 0 {
        return plan_err!(
            "{what} is shorter or finer than the time column can tell, which counts in {}: \
             use a longer interval, or cast the column to a finer TIMESTAMP",
            unit_name(unit)
        );
    }
    match i64::try_from(nanos / nanos_in(unit)) {
        Ok(length) => Ok(length),
        Err(_) => plan_err!("{what} is longer than any time that the time column can hold"),
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "seconds",
        TimeUnit::Millisecond => "milliseconds",
        TimeUnit::Microsecond => "microseconds",
        TimeUnit::Nanosecond => "nanoseconds",
    }
}

fn nanos(what: &str, literal: &ScalarValue) -> Result<i128> {
    Ok(match literal {
        ScalarValue::IntervalMonthDayNano(Some(value)) => {
            if value.months != 0 {
                return plan_err!(
                    "{what} has months or years, which differ in length: use days, hours or smaller units"
                );
            }
            i128::from(value.days) * DAY + i128::from(value.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(value)) => {
            i128::from(value.days) * DAY + i128::from(value.milliseconds) * 1_000_000
        }
        ScalarValue::IntervalYearMonth(Some(_)) => {
            return plan_err!(
                "{what} has months or years, which differ in length: use days, hours or smaller units"
            );
        }
        ScalarValue::DurationSecond(Some(value)) => i128::from(*value) * 1_000_000_000,
        ScalarValue::DurationMillisecond(Some(value)) => i128::from(*value) * 1_000_000,
        ScalarValue::DurationMicrosecond(Some(value)) => i128::from(*value) * 1_000,
        ScalarValue::DurationNanosecond(Some(value)) => i128::from(*value),
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => {
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            let Ok(interval) = literal.cast_to(&interval) else {
                return plan_err!(
                    "{what} is '{text}', which is no interval: write INTERVAL '10 minutes'"
                );
            };
            return nanos(what, &interval);
        }
        other if other.is_null() => {
            return plan_err!("{what} is NULL: write INTERVAL '10 minutes'");
        }
        other => {
            return plan_err!(
                "{what} is of type {}, not an interval: write INTERVAL '10 minutes'",
                other.data_type()
            );
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month_day_nano(months: i32, days: i32, nanos: i64) -> ScalarValue {
        ScalarValue::new_interval_mdn(months, days, nanos)
    }

    #[test]
    fn lengths_are_counted_in_the_unit_of_the_time_column() {
        let minute = 60_000_000_000;
        for (literal, unit, expected) in [
            (month_day_nano(0, 0, minute), TimeUnit::Second, 60),
            (month_day_nano(0, 0, minute), TimeUnit::Nanosecond, minute),
            (
                month_day_nano(0, 2, minute),
                TimeUnit::Millisecond,
                172_860_000,
            ),
            (month_day_nano(0, 1, -minute), TimeUnit::Second, 86_340),
            (
                ScalarValue::new_interval_dt(1, 5),
                TimeUnit::Millisecond,
                86_400_005,
            ),
            (
                ScalarValue::DurationMicrosecond(Some(7)),
                TimeUnit::Microsecond,
                7,
            ),
            (ScalarValue::from("10 seconds"), TimeUnit::Second, 10),
            (
                ScalarValue::from("1 hour"),
                TimeUnit::Microsecond,
                3_600_000_000,
            ),
        ] {
            assert_eq!(
                length("x", &literal, unit).unwrap(),
                expected,
                "{literal:?}"
            );
        }
    }

    #[test]
    fn what_is_no_positive_length_is_refused_with_the_reason() {
        for (literal, unit, reason) in [
            (month_day_nano(1, 0, 0), TimeUnit::Second, "months or years"),
            (
                ScalarValue::new_interval_ym(1, 0),
                TimeUnit::Second,
                "months or years",
            ),
            (
                month_day_nano(0, 0, 0),
                TimeUnit::Second,
                "longer than zero",
            ),
            (
                month_day_nano(0, -1, 5),
                TimeUnit::Second,
                "longer than zero",
            ),
            (
                month_day_nano(0, 0, 5),
                TimeUnit::Microsecond,
                "counts in microseconds",
            ),
            (
                month_day_nano(0, i32::MAX, 0),
                TimeUnit::Nanosecond,
                "longer than any time",
            ),
            (
                ScalarValue::from(5_i64),
                TimeUnit::Second,
                "Int64, not an interval",
            ),
            (
                ScalarValue::from("soon"),
                TimeUnit::Second,
                "'soon', which is no interval",
            ),
            (
                ScalarValue::IntervalMonthDayNano(None),
                TimeUnit::Second,
                "NULL",
            ),
        ] {
            let error = length("the width", &literal, unit).unwrap_err().to_string();
            assert!(
                error.contains("the width") && error.contains(reason),
                "{error}"
            );
        }
    }
}
