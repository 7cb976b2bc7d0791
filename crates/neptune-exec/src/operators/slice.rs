//! Zero-copy slices of record batches, as many rows at a time as the consumer gets through in time.
//!
//! An operator works on a whole batch before it asks for the next one. Where a row is expensive (a long
//! `LIKE`, a user's function of a millisecond) a batch of 8,192 rows is seconds without a yield point. The
//! slicer hands out as many rows as the consumer last showed it can do within a target time, so that it
//! comes back, and can be suspended, often enough. A consumer that is quick gets its batches untouched.

use std::time::{Duration, Instant};

use datafusion::arrow::record_batch::RecordBatch;

/// Rows in the first slice of a stream that starts slowly: few enough that a consumer of a millisecond per
/// row shows itself within some milliseconds, while a quick one gets whole batches after three slices.
pub const SLOW_START_ROWS: usize = 4;

/// A slice may be this many times longer than the last one.
const GROWTH: usize = 16;

/// After this many shrinks in a row that did not make the consumer quicker, slicing is given up for a while.
const STRIKES: u32 = 3;

/// After this many slow slices of a single row, which cannot get shorter, a longer one is tried; doubles with each one that
/// took longer for it, up to `LONGEST_PAUSE`.
const FIRST_TRIAL: u32 = 8;

/// When slices of this many rows do not take much longer than those of one row, slicing is given up for a while.
const TRIAL_ROWS: usize = 32;

/// For how many batches slicing is given up the first time; doubles each time, up to `LONGEST_PAUSE`.
const FIRST_PAUSE: u32 = 16;
const LONGEST_PAUSE: u32 = 4096;

/// Cuts batches into slices whose row count follows the time their consumer takes.
///
/// The owner calls [`push`](Self::push) with a batch when [`is_empty`](Self::is_empty), hands
/// [`next`](Self::next) to its consumer, and calls [`polled_again`](Self::polled_again) when the consumer is
/// back for more. The time between the last two is taken as the consumer's work on that slice:
///
/// - longer than the target: the next slice is sized to take half the target by the measured time per row,
///   and is at most half as long (never below one row);
/// - shorter than a quarter of the target: the next slice may be up to sixteen times as long;
/// - between: nothing changes.
///
/// The time may contain waiting (another input, a full channel, a suspension elsewhere). One such stretch
/// costs a few short slices. When slices get shorter and the time does not, slicing cannot help, and the slicer hands
/// out whole batches for a growing number of batches before it tries again. Slices of one row cannot show that by getting
/// shorter; now and then one of two rows shows whether the time is the row's or the slice's.
#[derive(Debug)]
pub struct AdaptiveSlicer {
    target: Duration,
    /// Most rows of the next slice.
    limit: usize,
    rest: Option<RecordBatch>,
    /// When the last slice was handed out, and its rows; taken when it has been judged.
    handed: Option<(Instant, usize)>,
    /// Rows and time of the slice that last made the limit shrink.
    shrunk_at: Option<(usize, Duration)>,
    strikes: u32,
    /// Slow slices of one row since the last trial, and how many it takes to the next.
    singles: u32,
    next_trial: u32,
    /// The shortest time of those slices.
    single: Option<Duration>,
    /// Whether longer slices than they need be are being tried.
    trial: bool,
    /// Batches left to hand out whole, and how many it will be the next time.
    pause: u32,
    next_pause: u32,
}

impl AdaptiveSlicer {
    /// A slicer that aims at `target` between two slices and whose first slice has at most `first_rows`
    /// rows: `usize::MAX` to start with whole batches, [`SLOW_START_ROWS`] where a row may be expensive.
    pub fn new(target: Duration, first_rows: usize) -> Self {
        Self {
            target,
            limit: first_rows.max(1),
            rest: None,
            handed: None,
            shrunk_at: None,
            strikes: 0,
            singles: 0,
            next_trial: FIRST_TRIAL,
            single: None,
            trial: false,
            pause: 0,
            next_pause: FIRST_PAUSE,
        }
    }

    /// Whether everything pushed has been handed out.
    pub fn is_empty(&self) -> bool {
        self.rest.is_none()
    }

    /// Most rows of the next slice; `usize::MAX` when batches pass untouched.
    pub fn limit(&self) -> usize {
        if self.pause > 0 {
            usize::MAX
        } else {
            self.limit
        }
    }

    /// Gives the slicer its next batch. To be called when it [is empty](Self::is_empty): a batch that was
    /// not handed out completely is lost otherwise.
    pub fn push(&mut self, batch: RecordBatch) {
        debug_assert!(
            self.rest.is_none(),
            "pushed before the last batch was handed out"
        );
        self.pause = self.pause.saturating_sub(1);
        self.rest = Some(batch);
    }

    /// The next slice, or `None` when a batch must be pushed first. Pieces of one batch are about equally long.
    pub fn next(&mut self, now: Instant) -> Option<RecordBatch> {
        let batch = self.rest.take()?;
        let (rows, limit) = (batch.num_rows(), self.limit());
        if rows <= limit {
            self.handed = Some((now, rows));
            return Some(batch);
        }
        let len = rows.div_ceil(rows.div_ceil(limit));
        self.handed = Some((now, len));
        self.rest = Some(batch.slice(len, rows - len));
        Some(batch.slice(0, len))
    }

    /// The consumer is back: judges the time since the last [`next`](Self::next). A second call for the
    /// same slice does nothing.
    pub fn polled_again(&mut self, now: Instant) {
        if let Some((at, rows)) = self.handed.take()
            && rows > 0
            && self.pause == 0
        {
            self.judge(rows, now.saturating_duration_since(at));
        }
    }

    /// As [`polled_again`](Self::polled_again), where the owner measured the consumer's time itself.
    pub fn consumed_in(&mut self, took: Duration) {
        if let Some((_, rows)) = self.handed.take()
            && rows > 0
            && self.pause == 0
        {
            self.judge(rows, took);
        }
    }

    fn judge(&mut self, rows: usize, took: Duration) {
        if took <= self.target {
            self.strikes = 0;
            self.shrunk_at = None;
            self.end_trial(FIRST_TRIAL);
            if took < self.target / 4 {
                let grown = rows.saturating_mul(GROWTH).min(self.fitting(rows, took));
                self.limit = self.limit.max(grown);
            }
            return;
        }
        if self.is_tried(rows, took) {
            return;
        }
        let in_vain = self
            .shrunk_at
            .is_some_and(|(before, time)| rows * 2 <= before && took * 2 > time);
        if in_vain {
            self.strikes += 1;
            if self.strikes == STRIKES {
                self.give_up();
                return;
            }
        } else if self.shrunk_at.is_some() {
            self.strikes = 0;
            self.next_pause = FIRST_PAUSE;
        }
        self.shrunk_at = Some((rows, took));
        self.limit = self.fitting(rows, took).min(rows / 2).max(1);
    }

    /// Judges a slow slice as far as it shows whether single rows are worth it; gives whether that was all to be judged.
    fn is_tried(&mut self, rows: usize, took: Duration) -> bool {
        if rows == 1 {
            self.single = Some(self.single.map_or(took, |single| single.min(took)));
            self.singles += 1;
            if self.singles >= self.next_trial {
                self.trial = true;
                self.limit = self.limit.max(2);
            }
            return self.trial;
        }
        let Some(single) = self.single.filter(|_| self.trial) else {
            return false;
        };
        if took > single.mul_f64((rows + 1) as f64 / 2.0) {
            // At least half of the time is the rows'.
            self.limit = 1;
            self.end_trial((self.next_trial * 2).min(LONGEST_PAUSE));
        } else if rows >= TRIAL_ROWS {
            self.give_up();
        } else {
            self.limit = rows * 2;
        }
        true
    }

    fn end_trial(&mut self, next: u32) {
        self.trial = false;
        self.single = None;
        self.singles = 0;
        self.next_trial = next;
    }

    /// Hands out whole batches for a while.
    fn give_up(&mut self) {
        self.strikes = 0;
        self.shrunk_at = None;
        self.end_trial(FIRST_TRIAL);
        self.limit = usize::MAX;
        self.pause = self.next_pause;
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
    }

    /// How many rows take half the target when `rows` of them took `took`.
    fn fitting(&self, rows: usize, took: Duration) -> usize {
        let ratio = self.target.as_secs_f64() / 2.0 / took.as_secs_f64().max(1e-9);
        (rows as f64 * ratio) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    const TARGET: Duration = Duration::from_micros(500);

    fn batch(rows: usize) -> RecordBatch {
        let values = Int64Array::from_iter_values(0..rows as i64);
        RecordBatch::try_from_iter([("v", Arc::new(values) as _)]).unwrap()
    }

    /// Feeds batches of `rows` to a consumer that takes `cost(rows)` per slice; returns the slice lengths.
    fn run(
        slicer: &mut AdaptiveSlicer,
        batches: usize,
        rows: usize,
        cost: impl Fn(usize) -> Duration,
    ) -> Vec<usize> {
        let mut now = Instant::now();
        let mut lengths = Vec::new();
        for _ in 0..batches {
            slicer.push(batch(rows));
            while let Some(slice) = slicer.next(now) {
                lengths.push(slice.num_rows());
                now += cost(slice.num_rows());
                slicer.polled_again(now);
            }
            assert!(slicer.is_empty());
        }
        lengths
    }

    #[test]
    fn a_quick_consumer_gets_whole_batches() {
        let quick = |rows| Duration::from_nanos(5 * rows as u64);
        let mut slicer = AdaptiveSlicer::new(TARGET, usize::MAX);
        assert_eq!(run(&mut slicer, 50, 8192, quick), [8192; 50]);

        let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
        let lengths = run(&mut slicer, 50, 8192, quick);
        assert!(lengths.len() <= 50 + 16, "{lengths:?}");
        assert!(lengths[lengths.len() - 49..].iter().all(|l| *l == 8192));
    }

    #[test]
    fn slices_shrink_to_what_the_consumer_does_in_time() {
        for micros_per_row in [1, 7, 30, 200] {
            let cost = |rows| Duration::from_micros(micros_per_row * rows as u64);
            let mut slicer = AdaptiveSlicer::new(TARGET, usize::MAX);
            let lengths = run(&mut slicer, 20, 8192, cost);
            assert!(
                lengths[1..].iter().all(|l| cost(*l) <= TARGET),
                "{lengths:?}"
            );
            let late = lengths[lengths.len() / 2];
            assert!(
                cost(late * 4 + 4) >= TARGET / 4,
                "too short: {late} at {micros_per_row}"
            );
        }
    }

    #[test]
    fn a_row_of_a_millisecond_is_met_after_four_rows_and_then_one_by_one() {
        let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
        let lengths = run(&mut slicer, 1, 1000, |rows| {
            Duration::from_millis(rows as u64)
        });
        assert_eq!(lengths[0], 4);
        // A few slices of two rows try whether it is the rows that take the time.
        assert!(lengths[1..].iter().all(|l| *l <= 2), "{lengths:?}");
        let tried = lengths[1..].iter().filter(|l| **l == 2).count();
        assert!(tried <= 8, "{tried} trials: {lengths:?}");
    }

    #[test]
    fn slices_grow_again_when_the_consumer_becomes_quick() {
        let mut slicer = AdaptiveSlicer::new(TARGET, usize::MAX);
        run(&mut slicer, 3, 8192, |rows| {
            Duration::from_micros(50 * rows as u64)
        });
        assert!(slicer.limit() < 16);
        run(&mut slicer, 1, 8192, |rows| {
            Duration::from_nanos(rows as u64)
        });
        assert_eq!(run(&mut slicer, 5, 8192, |_| Duration::ZERO), [8192; 5]);
    }

    #[test]
    fn a_time_that_does_not_depend_on_the_rows_is_not_fought() {
        let mut slicer = AdaptiveSlicer::new(TARGET, usize::MAX);
        let lengths = run(&mut slicer, 2000, 8192, |_| Duration::from_millis(3));
        // Each attempt costs at most one batch in single rows; attempts become rare.
        let cut = lengths.iter().filter(|l| **l < 8192).count();
        assert!(
            lengths.len() < 2000 + 2000 / 10,
            "{} slices, {cut} cut",
            lengths.len()
        );
    }

    #[test]
    fn a_time_that_does_not_depend_on_the_rows_is_seen_in_slices_of_one_row_too() {
        for jitter in [0, 400] {
            let mut turn = 0;
            let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
            let (mut now, mut slices) = (Instant::now(), 0);
            for _ in 0..2000 {
                slicer.push(batch(8192));
                while let Some(slice) = slicer.next(now) {
                    slices += 1;
                    turn += 7919;
                    now += Duration::from_micros(3000 + turn % 11 * jitter);
                    slicer.polled_again(now);
                    assert!(slice.num_rows() > 0);
                }
            }
            assert!(
                slices < 2000 + 2000 / 10,
                "{slices} slices with jitter {jitter}"
            );
        }
    }

    #[test]
    fn rows_that_take_long_are_not_taken_for_slices_that_do() {
        // Rows of 0.6 to 3 ms, in no order.
        let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
        let mut turn: u64 = 1;
        let mut longest = 0;
        let mut now = Instant::now();
        for _ in 0..20 {
            slicer.push(batch(1000));
            while let Some(slice) = slicer.next(now) {
                longest = longest.max(slice.num_rows());
                for _ in 0..slice.num_rows() {
                    turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    now += Duration::from_micros(600 + (turn >> 33) % 2400);
                }
                slicer.polled_again(now);
            }
        }
        assert!(longest <= 4, "{longest} rows in a slice");
    }

    #[test]
    fn an_empty_batch_is_passed_on() {
        let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
        assert_eq!(run(&mut slicer, 1, 0, |_| Duration::ZERO), [0]);
    }

    proptest! {
        #[test]
        fn every_row_comes_out_once_and_in_order(
            batches in prop::collection::vec(0usize..3000, 1..20),
            nanos in prop::collection::vec(0u64..3_000_000, 1..50),
            first in 1usize..5000,
        ) {
            let mut slicer = AdaptiveSlicer::new(TARGET, first);
            let (mut now, mut turn) = (Instant::now(), 0);
            for rows in batches {
                slicer.push(batch(rows));
                let mut seen = Vec::new();
                while let Some(slice) = slicer.next(now) {
                    prop_assert!(slice.num_rows() <= slicer.limit().max(1) || slicer.is_empty());
                    seen.extend_from_slice(slice.column(0).as_primitive::<Int64Type>().values());
                    turn += 1;
                    now += Duration::from_nanos(nanos[turn % nanos.len()]);
                    slicer.polled_again(now);
                }
                prop_assert_eq!(seen, (0..rows as i64).collect::<Vec<_>>());
            }
        }
    }
}
