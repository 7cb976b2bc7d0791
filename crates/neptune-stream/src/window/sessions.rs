//! Finds the sessions in rows that come sorted by key and time, batch by batch.
//!
//! A row belongs to the session of the row before it if it has the same key and is at most the gap later. A row exactly one
//! gap later belongs too: that is how Flink and Spark merge sessions. A session starts at its first row and ends
//! one gap after its last, which is known only when the next session begins; until then its rows are held.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::{concat, partition};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};

use super::assign::{TimeType, Windows};
use super::function::counts;

/// Whether a row at `next` goes on with the session whose last row is at `last`.
pub(super) fn goes_on(last: i64, next: i64, gap: i64) -> bool {
    next <= last.saturating_add(gap)
}

fn check_order(last: i64, next: i64) -> Result<()> {
    if next < last {
        return internal_err!("the rows for session windows are not sorted by time");
    }
    Ok(())
}

/// Where things are in a batch.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The columns of the key; none if all rows have the same.
    pub(super) keys: Vec<usize>,
    /// The column of the time.
    pub(super) time: usize,
    pub(super) time_type: TimeType,
    /// In the unit of the time.
    pub(super) gap: i64,
    /// The columns of the input, then the window.
    pub(super) schema: SchemaRef,
}

/// The session that may go on.
#[derive(Debug)]
struct Open {
    start: i64,
    last: i64,
    /// All its rows so far, none of the batches empty.
    batches: Vec<RecordBatch>,
}

/// Gives rows their sessions. Rows come out as they went in, each batch cut at most in two.
#[derive(Debug)]
pub(super) struct Sessions {
    layout: Layout,
    open: Option<Open>,
}

impl Sessions {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, open: None }
    }

    /// The batches that are held.
    pub(super) fn held(&self) -> &[RecordBatch] {
        self.open.as_ref().map_or(&[], |open| &open.batches)
    }

    /// Takes the next rows; gives those whose sessions are complete now, in their order.
    ///
    /// # Errors
    /// If a time is NULL or earlier than the one before it.
    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let (times, nulls) = counts(batch.column(self.layout.time))?;
        if nulls.is_some_and(|nulls| nulls.null_count() > 0) {
            return internal_err!("a row without a time has reached the session windows");
        }
        let times = times.values();
        let starts = self.starts(&batch, times)?;
        let begins_anew = starts.first() == Some(&0);
        let Some(&tail) = starts.last() else {
            // No session begins here.
            if let Some(open) = &mut self.open {
                open.last = times[rows - 1];
                open.batches.push(batch);
            }
            return Ok(Vec::new());
        };
        let mut complete = Vec::new();
        let mut windows = Windows::with_capacity(tail);
        if let Some(mut open) = self.open.take() {
            if !begins_anew {
                open.last = times[starts[0] - 1];
            }
            let (start, end) = (open.start, open.last.saturating_add(self.layout.gap));
            for batch in open.batches {
                let mut windows = Windows::with_capacity(batch.num_rows());
                (0..batch.num_rows()).for_each(|_| windows.push(start, end));
                complete.push(self.with_windows(&batch, windows)?);
            }
            if !begins_anew {
                (0..starts[0]).for_each(|_| windows.push(start, end));
            }
        }
        for session in starts.windows(2) {
            let end = times[session[1] - 1].saturating_add(self.layout.gap);
            (session[0]..session[1]).for_each(|_| windows.push(times[session[0]], end));
        }
        if tail > 0 {
            complete.push(self.with_windows(&batch.slice(0, tail), windows)?);
        }
        self.open = Some(Open {
            start: times[tail],
            last: times[rows - 1],
            batches: vec![batch.slice(tail, rows - tail)],
        });
        Ok(complete)
    }

    /// The rows that are held, when no more come.
    pub(super) fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let Some(open) = self.open.take() else {
            return Ok(Vec::new());
        };
        let end = open.last.saturating_add(self.layout.gap);
        let complete = open.batches.iter().map(|batch| {
            let mut windows = Windows::with_capacity(batch.num_rows());
            (0..batch.num_rows()).for_each(|_| windows.push(open.start, end));
            self.with_windows(batch, windows)
        });
        complete.collect()
    }

    /// The rows of `batch`, which has some, at which a session begins.
    fn starts(&self, batch: &RecordBatch, times: &[i64]) -> Result<Vec<usize>> {
        let keys = self.keys(batch);
        let mut starts = Vec::new();
        if !self.first_goes_on(&keys, times[0])? {
            starts.push(0);
        }
        let groups = match keys.is_empty() {
            true => std::iter::once(0..times.len()).collect(),
            false => partition(&keys)?.ranges(),
        };
        for group in groups {
            if group.start > 0 {
                starts.push(group.start);
            }
            for row in group.start + 1..group.end {
                let (last, next) = (times[row - 1], times[row]);
                check_order(last, next)?;
                if !goes_on(last, next, self.layout.gap) {
                    starts.push(row);
                }
            }
        }
        Ok(starts)
    }

    fn keys(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        let columns = self
            .layout
            .keys
            .iter()
            .map(|key| Arc::clone(batch.column(*key)));
        columns.collect()
    }

    /// Whether a batch with these keys whose first row is at `time` goes on with the open session.
    fn first_goes_on(&self, keys: &[ArrayRef], time: i64) -> Result<bool> {
        let Some(open) = &self.open else {
            return Ok(false);
        };
        let Some(before) = open.batches.last() else {
            return Ok(false);
        };
        let before = before.slice(before.num_rows() - 1, 1);
        let pairs = (self.keys(&before).iter().zip(keys))
            .map(|(before, key)| Ok(concat(&[before.as_ref(), key.slice(0, 1).as_ref()])?))
            .collect::<Result<Vec<_>>>()?;
        if !pairs.is_empty() && partition(&pairs)?.len() > 1 {
            return Ok(false);
        }
        check_order(open.last, time)?;
        Ok(goes_on(open.last, time, self.layout.gap))
    }

    fn with_windows(&self, batch: &RecordBatch, windows: Windows) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(windows.into_array(&self.layout.time_type, None)?));
        Ok(RecordBatch::try_new(
            Arc::clone(&self.layout.schema),
            columns,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int32Array, StringArray, TimestampSecondArray};
    use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
    use proptest::prelude::*;

    use super::*;

    const GAP: i64 = 10;

    type Row = (Option<&'static str>, i64);

    fn layout(keyed: bool) -> Layout {
        let time_type = TimeType {
            unit: TimeUnit::Second,
            zone: None,
        };
        let schema = Schema::new(vec![
            Field::new("key", DataType::Utf8, true),
            Field::new("time", DataType::Timestamp(TimeUnit::Second, None), true),
            Field::new("row", DataType::Int32, false),
            Field::new("window", time_type.window(), true),
        ]);
        Layout {
            keys: if keyed { vec![0] } else { vec![] },
            time: 1,
            time_type,
            gap: GAP,
            schema: Arc::new(schema),
        }
    }

    fn batch(rows: &[Row]) -> RecordBatch {
        let keys: StringArray = rows.iter().map(|row| row.0).collect();
        let times: TimestampSecondArray = rows.iter().map(|row| Some(row.1)).collect();
        let numbers = Int32Array::from_iter_values(0..rows.len() as i32);
        let schema = layout(true).schema.project(&[0, 1, 2]).unwrap();
        RecordBatch::try_new(
            Arc::new(schema),
            vec![Arc::new(keys), Arc::new(times), Arc::new(numbers)],
        )
        .unwrap()
    }

    /// The window of each row, when the rows come in batches of these lengths; the last takes the rest.
    fn windows(rows: &[Row], keyed: bool, lengths: &[usize]) -> Vec<(i64, i64)> {
        let all = batch(rows);
        let mut sessions = Sessions::new(layout(keyed));
        let mut given = Vec::new();
        let mut from = 0;
        for length in lengths.iter().chain([&usize::MAX]) {
            let length = (*length).min(rows.len() - from);
            given.extend(sessions.push(all.slice(from, length)).unwrap());
            from += length;
        }
        given.extend(sessions.finish().unwrap());
        assert!(sessions.held().is_empty());
        let mut windows = Vec::new();
        for batch in given {
            let numbers = batch.column(2).as_primitive::<Int32Type>().values().iter();
            let in_order = (windows.len() as i32..).zip(numbers).all(|(a, b)| a == *b);
            assert!(in_order, "rows come out in another order");
            let spans = batch.column(3).as_struct();
            let [starts, ends] = [0, 1].map(|at| counts(spans.column(at)).unwrap().0);
            windows.extend(
                starts
                    .values()
                    .iter()
                    .copied()
                    .zip(ends.values().iter().copied()),
            );
        }
        windows
    }

    /// The same by looking at all rows of a key at once.
    fn model(rows: &[Row], keyed: bool) -> Vec<(i64, i64)> {
        let joined = |a: &Row, b: &Row| (!keyed || a.0 == b.0) && b.1 - a.1 <= GAP;
        (0..rows.len())
            .map(|row| {
                let (mut first, mut last) = (row, row);
                while first > 0 && joined(&rows[first - 1], &rows[first]) {
                    first -= 1;
                }
                while last + 1 < rows.len() && joined(&rows[last], &rows[last + 1]) {
                    last += 1;
                }
                (rows[first].1, rows[last].1 + GAP)
            })
            .collect()
    }

    #[test]
    fn a_row_one_gap_later_goes_on_and_one_later_still_does_not() {
        let rows = [(None, -25), (None, -15), (None, -4), (None, 6)];
        let expected = [(-25, -5), (-25, -5), (-4, 16), (-4, 16)];
        assert_eq!(windows(&rows, true, &[]), expected);
    }

    #[test]
    fn keys_have_sessions_of_their_own_and_null_is_a_key() {
        let rows = [
            (None, 0),
            (None, 5),
            (Some("a"), 5),
            (Some("b"), 6),
            (Some("b"), 30),
        ];
        let expected = [(0, 15), (0, 15), (5, 15), (6, 16), (30, 40)];
        for length in 0..5 {
            assert_eq!(windows(&rows, true, &[length]), expected);
        }
    }

    #[test]
    fn only_the_open_session_is_held() {
        let rows = [(None, 0), (None, 100), (None, 101), (None, 105)];
        let mut sessions = Sessions::new(layout(true));
        let held = |sessions: &Sessions| {
            sessions
                .held()
                .iter()
                .map(RecordBatch::num_rows)
                .sum::<usize>()
        };
        let given = sessions.push(batch(&rows)).unwrap();
        assert_eq!(
            (given.len(), given[0].num_rows(), held(&sessions)),
            (1, 1, 3)
        );
        assert!(sessions.push(batch(&[(None, 106)])).unwrap().is_empty());
        assert_eq!(held(&sessions), 4);
        let given = sessions.push(batch(&[(None, 200)])).unwrap();
        assert_eq!((given.len(), held(&sessions)), (2, 1));
    }

    #[test]
    fn ends_near_the_limit_of_time_are_that_limit() {
        let rows = [
            (None, i64::MAX - 12),
            (None, i64::MAX - 1),
            (None, i64::MAX),
        ];
        let expected = [
            (i64::MAX - 12, i64::MAX - 2),
            (i64::MAX - 1, i64::MAX),
            (i64::MAX - 1, i64::MAX),
        ];
        assert_eq!(windows(&rows, false, &[1]), expected);
    }

    #[test]
    fn rows_out_of_order_are_an_error() {
        let mut sessions = Sessions::new(layout(true));
        assert!(sessions.push(batch(&[(None, 5), (None, 4)])).is_err());
        let mut sessions = Sessions::new(layout(true));
        assert!(sessions.push(batch(&[(None, 5)])).is_ok());
        assert!(sessions.push(batch(&[(None, 4)])).is_err());
    }

    proptest! {
        #[test]
        fn any_split_into_batches_gives_the_sessions_of_the_whole(
            mut rows in prop::collection::vec((prop::sample::select(vec![None, Some("a"), Some("b")]), -60_i64..60), 1..40),
            lengths in prop::collection::vec(0_usize..6, 0..20),
            keyed: bool,
        ) {
            if keyed {
                rows.sort();
            } else {
                rows.sort_by_key(|row| row.1);
            }
            prop_assert_eq!(windows(&rows, keyed, &lengths), model(&rows, keyed));
        }
    }
}
