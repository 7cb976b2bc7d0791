//! Which windows a time belongs to: plain arithmetic on counts since the epoch, in whatever unit the time column has.
//!
//! Windows are half open, `[start, end)`, and start at multiples of the width (`tumble`, `cumulate`) or of the slide (`hop`)
//! counted from the epoch, 1970-01-01T00:00:00 UTC, backwards too. A bound that the type of the column cannot hold is the
//! nearest that it can: the row keeps its window, and windows stay apart by their other bound.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ListArray, StructArray, TimestampMicrosecondArray};
use datafusion::arrow::array::{
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::{Result, exec_err};

/// Most windows that one row may belong to. They all are in memory at once for a batch, at 16 bytes each.
pub(super) const MOST_WINDOWS: i64 = 10_000;

/// The type of the time column that windows are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimeType {
    pub(super) unit: TimeUnit,
    pub(super) zone: Option<Arc<str>>,
}

impl TimeType {
    fn data_type(&self) -> DataType {
        DataType::Timestamp(self.unit, self.zone.clone())
    }

    /// How the unit is written behind a number.
    pub(super) fn unit_sign(&self) -> &'static str {
        match self.unit {
            TimeUnit::Second => "s",
            TimeUnit::Millisecond => "ms",
            TimeUnit::Microsecond => "us",
            TimeUnit::Nanosecond => "ns",
        }
    }

    fn fields(&self) -> Fields {
        let field = |name| Field::new(name, self.data_type(), true);
        Fields::from(vec![field("start"), field("end")])
    }

    /// The type of a window: a struct of `start` and `end`.
    pub(super) fn window(&self) -> DataType {
        DataType::Struct(self.fields())
    }

    /// The items of a list of windows.
    pub(super) fn item(&self) -> FieldRef {
        Arc::new(Field::new_list_field(self.window(), true))
    }

    fn array(&self, values: Vec<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
        let (values, zone) = (ScalarBuffer::from(values), self.zone.clone());
        match self.unit {
            TimeUnit::Second => {
                Arc::new(TimestampSecondArray::new(values, nulls).with_timezone_opt(zone))
            }
            TimeUnit::Millisecond => {
                Arc::new(TimestampMillisecondArray::new(values, nulls).with_timezone_opt(zone))
            }
            TimeUnit::Microsecond => {
                Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone_opt(zone))
            }
            TimeUnit::Nanosecond => {
                Arc::new(TimestampNanosecondArray::new(values, nulls).with_timezone_opt(zone))
            }
        }
    }
}

/// Windows one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) starts: Vec<i64>,
    pub(super) ends: Vec<i64>,
}

impl Windows {
    pub(super) fn with_capacity(windows: usize) -> Self {
        Self {
            starts: Vec::with_capacity(windows),
            ends: Vec::with_capacity(windows),
        }
    }

    pub(super) fn push(&mut self, start: i64, end: i64) {
        self.starts.push(start);
        self.ends.push(end);
    }

    /// As an array of structs, NULL where `nulls` says so.
    pub(super) fn into_array(
        self,
        time: &TimeType,
        nulls: Option<NullBuffer>,
    ) -> Result<StructArray> {
        // The bounds are NULL too, because DataFusion takes a field out of a struct without a look at the struct's nulls.
        let columns = vec![
            time.array(self.starts, nulls.clone()),
            time.array(self.ends, nulls.clone()),
        ];
        Ok(StructArray::try_new(time.fields(), columns, nulls)?)
    }
}

/// The window of each of `times`.
pub(super) fn tumble(times: &[i64], width: i64) -> Windows {
    let mut windows = Windows::with_capacity(times.len());
    // Times mostly come in order: the window of the one before is tried first, as a division takes longer.
    let (mut start, mut end) = (0, width);
    for &time in times {
        if time < start || time >= end {
            let into = time.rem_euclid(width);
            start = time.saturating_sub(into);
            end = time.saturating_add(width - into);
        }
        windows.push(start, end);
    }
    windows
}

/// How the windows of one time are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// Windows of `width` that start at each multiple of `slide`.
    Hop {
        /// From one start to the next.
        slide: i64,
        /// From a start to its end.
        width: i64,
    },
    /// Windows that start at each multiple of `width` and are `step`, two `step`s and so on up to `width` long.
    Cumulate {
        /// From one end to the next.
        step: i64,
        /// The longest window; a multiple of the step.
        width: i64,
    },
}

impl Layout {
    /// Adds the windows of `time`, earliest first.
    fn push(self, time: i64, windows: &mut Windows) {
        match self {
            Self::Hop { slide, width } => {
                let into = time.rem_euclid(slide);
                if into >= width {
                    return;
                }
                let count = (width - 1 - into) / slide + 1;
                for before in (0..count).rev() {
                    // Less than the width, as the window holds the time.
                    let into = into + before * slide;
                    windows.push(time.saturating_sub(into), time.saturating_add(width - into));
                }
            }
            Self::Cumulate { step, width } => {
                let into = time.rem_euclid(width);
                for steps in into / step + 1..=width / step {
                    let end = time.saturating_add(steps * step - into);
                    windows.push(time.saturating_sub(into), end);
                    if end == i64::MAX {
                        // The longer ones would be the same.
                        break;
                    }
                }
            }
        }
    }

    /// A list of windows for each of `times`; an empty one where `nulls` says that there is no time.
    ///
    /// # Errors
    /// If they are more than fit into one array.
    pub(super) fn lists(
        self,
        times: &[i64],
        nulls: Option<&NullBuffer>,
        time: &TimeType,
    ) -> Result<ListArray> {
        let mut windows = Windows::default();
        let mut offsets = Vec::with_capacity(times.len() + 1);
        offsets.push(0);
        for (row, &time) in times.iter().enumerate() {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                self.push(time, &mut windows);
            }
            let Ok(offset) = i32::try_from(windows.starts.len()) else {
                return exec_err!(
                    "the rows of one batch belong to more than {} windows: \
                     use a longer slide, or a smaller datafusion.execution.batch_size",
                    i32::MAX
                );
            };
            offsets.push(offset);
        }
        let windows = windows.into_array(time, None)?;
        let offsets = OffsetBuffer::new(offsets.into());
        Ok(ListArray::try_new(
            time.item(),
            offsets,
            Arc::new(windows),
            None,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Array;
    use proptest::prelude::*;

    use super::*;

    fn of(layout: Layout, time: i64) -> Vec<(i64, i64)> {
        let mut windows = Windows::default();
        layout.push(time, &mut windows);
        pairs(windows)
    }

    fn pairs(windows: Windows) -> Vec<(i64, i64)> {
        windows.starts.into_iter().zip(windows.ends).collect()
    }

    #[test]
    fn a_time_belongs_to_one_tumbling_window_before_the_epoch_too() {
        for (time, width, window) in [
            (0, 10, (0, 10)),
            (9, 10, (0, 10)),
            (10, 10, (10, 20)),
            (-1, 10, (-10, 0)),
            (-10, 10, (-10, 0)),
            (-11, 10, (-20, -10)),
            (7, 1, (7, 8)),
            (i64::MAX, 10, (i64::MAX - 7, i64::MAX)),
            (i64::MIN, 10, (i64::MIN, i64::MIN + 8)),
            (5, i64::MAX, (0, i64::MAX)),
            (-5, i64::MAX, (-i64::MAX, 0)),
            (i64::MIN, i64::MAX, (i64::MIN, -i64::MAX)),
        ] {
            assert_eq!(pairs(tumble(&[time], width)), [window], "{time} {width}");
        }
    }

    #[test]
    fn a_time_belongs_to_the_hops_that_hold_it() {
        let hop = |slide, width| Layout::Hop { slide, width };
        for (layout, time, windows) in [
            (hop(5, 10), 12, vec![(5, 15), (10, 20)]),
            (hop(5, 10), 10, vec![(5, 15), (10, 20)]),
            (hop(10, 10), 10, vec![(10, 20)]),
            (hop(5, 10), -1, vec![(-10, 0), (-5, 5)]),
            // The width is no multiple of the slide: two windows or three.
            (hop(4, 10), 8, vec![(0, 10), (4, 14), (8, 18)]),
            (hop(4, 10), 10, vec![(4, 14), (8, 18)]),
            // Longer between starts than a window is: some times are in none.
            (hop(10, 3), 12, vec![(10, 13)]),
            (hop(10, 3), 13, vec![]),
            (
                hop(5, 10),
                i64::MAX,
                vec![(i64::MAX - 7, i64::MAX), (i64::MAX - 2, i64::MAX)],
            ),
            (
                hop(5, 10),
                i64::MIN,
                vec![(i64::MIN, i64::MIN + 3), (i64::MIN, i64::MIN + 8)],
            ),
            (
                hop(i64::MAX, i64::MAX),
                i64::MIN,
                vec![(i64::MIN, -i64::MAX)],
            ),
        ] {
            assert_eq!(of(layout, time), windows, "{layout:?} {time}");
        }
    }

    #[test]
    fn cumulating_windows_share_their_start() {
        let layout = Layout::Cumulate { step: 5, width: 15 };
        for (time, windows) in [
            (0, vec![(0, 5), (0, 10), (0, 15)]),
            (5, vec![(0, 10), (0, 15)]),
            (14, vec![(0, 15)]),
            (-1, vec![(-15, 0)]),
            (-15, vec![(-15, -10), (-15, -5), (-15, 0)]),
            (i64::MAX, vec![(i64::MAX - 7, i64::MAX)]),
        ] {
            assert_eq!(of(layout, time), windows, "{time}");
        }
    }

    #[test]
    fn a_row_without_a_time_is_in_no_window() {
        let time = TimeType {
            unit: TimeUnit::Second,
            zone: None,
        };
        let nulls = NullBuffer::from(vec![true, false, true]);
        let lists = Layout::Hop {
            slide: 5,
            width: 10,
        }
        .lists(&[0, 1, 2], Some(&nulls), &time)
        .unwrap();
        let lengths: Vec<i32> = (0..3).map(|row| lists.value_length(row)).collect();
        assert_eq!((lengths, lists.null_count()), (vec![2, 0, 2], 0));
    }

    proptest! {
        #[test]
        fn a_tumbling_window_is_the_hop_that_slides_by_its_width(times in prop::collection::vec(any::<i64>(), 0..20), width in 1_i64..) {
            let hops: Vec<_> = times.iter().flat_map(|&time| of(Layout::Hop { slide: width, width }, time)).collect();
            prop_assert_eq!(pairs(tumble(&times, width)), hops);
        }

        #[test]
        fn hops_are_exactly_the_aligned_windows_around_a_time(time in -1_000_i64..1_000, slide in 1_i64..50, width in 1_i64..120) {
            let expected: Vec<_> = (-1_200..1_200)
                .filter(|start: &i64| start.rem_euclid(slide) == 0 && *start <= time && time < start + width)
                .map(|start| (start, start + width))
                .collect();
            let count = expected.len() as i64;
            prop_assert!(count == width / slide || count == (width + slide - 1) / slide);
            prop_assert_eq!(of(Layout::Hop { slide, width }, time), expected);
        }

        #[test]
        fn cumulating_windows_are_the_prefixes_that_hold_a_time(time in -1_000_i64..1_000, step in 1_i64..20, steps in 1_i64..10) {
            let width = step * steps;
            let start = time.div_euclid(width) * width;
            let expected: Vec<_> = (1..=steps)
                .map(|n| (start, start + n * step))
                .filter(|(_, end)| time < *end)
                .collect();
            prop_assert_eq!(of(Layout::Cumulate { step, width }, time), expected);
        }

        #[test]
        fn windows_near_the_limits_still_hold_their_time(time in any::<i64>(), slide in 1_i64.., width in 1_i64..) {
            prop_assume!(width / slide <= MOST_WINDOWS);
            for (start, end) in of(Layout::Hop { slide, width }, time) {
                prop_assert!(start <= time && (time < end || end == i64::MAX));
            }
        }
    }
}
