//! Zero-copy slices of record batches, as many rows at a time as the consumer gets through in time.
//!
//! An operator works on a whole batch before it asks for the next one. Where a row is expensive (a long
//! `LIKE`, a user's function of a millisecond) a batch of 8,192 rows is seconds without a yield point. The
//! slicer hands out as many rows as the consumer last showed it can do within a target time, so that it
//! comes back, and can be suspended, often enough. A consumer that is quick gets its batches untouched.

use std::time::Duration;

use datafusion::arrow::record_batch::RecordBatch;

/// Rows in the first slice of a stream that starts slowly: a consumer of a millisecond per row shows itself in its
/// first row, and a quick one gets whole batches after four slices.
pub const SLOW_START_ROWS: usize = 1;

/// After a slice that was quick, the next may be this many times longer.
const GROWTH: usize = 16;

/// While a consumer is slow at any length, the next slice is this many times longer.
const STEP: usize = 4;

/// A longer slice must take this much less time per row to be worth it.
const WORTH: f64 = 1.5;

/// Slices of a length that is kept before a longer one is tried again; doubles each time up to the second number.
const TRIALS: (u32, u32) = (16, 4096);

/// The quickest of this many slices counts in a trial: on a busy machine most contain time in which somebody else had the core.
const TRIES: u32 = 4;

/// Cuts batches into slices whose row count follows the time their consumer takes.
///
/// The owner calls [`push`](Self::push) with a batch when [`is_empty`](Self::is_empty), hands
/// [`next_slice`](Self::next_slice) to its consumer, and says with [`consumed_in`](Self::consumed_in) how long the consumer worked on
/// the slice, if it knows.
///
/// A consumer's time has a part for each slice, whatever its length (a regular expression compiled anew, say), and a
/// part for each row. Only the second gets shorter with the slice. So the slicer starts with a row or a few and makes
/// slices longer as long as that takes less time *per row*; then it settles for the length at which the rows take
/// about half the target, or as long as the slice itself if that is more: slicing never costs much more than
/// twice the time of whole batches. Times may contain other things than the consumer's work, so a settled length is tried
/// anew now and then.
#[derive(Debug)]
pub struct AdaptiveSlicer {
    target: Duration,
    /// Most rows of the next slice.
    limit: usize,
    rest: Option<RecordBatch>,
    /// Whether the batch is being cut.
    cut: bool,
    /// Rows of the last slice; taken when it has been judged.
    handed: Option<usize>,
    /// While lengths are tried: the last slow slice, its rows and time.
    trying: Option<(usize, Duration)>,
    /// How long a slice of the settled length may take before it is made shorter; none while lengths are tried.
    settled: Option<Duration>,
    /// Slices since lengths were last tried, without quick ones, and how many it takes to the next trial.
    kept: u32,
    next_trial: u32,
    /// The quickest of the last slices of the present limit, and how many that are: up to `TRIES`, but for trials.
    quickest: Option<Duration>,
    tries: u32,
}

impl AdaptiveSlicer {
    /// A slicer that aims at `target` between two slices and whose first slice has at most `first_rows`
    /// rows: `usize::MAX` to start with whole batches, [`SLOW_START_ROWS`] where a row may be expensive.
    pub fn new(target: Duration, first_rows: usize) -> Self {
        Self {
            target,
            limit: first_rows.max(1),
            rest: None,
            cut: false,
            handed: None,
            trying: None,
            settled: None,
            kept: 0,
            next_trial: TRIALS.0,
            quickest: None,
            tries: 0,
        }
    }

    /// Whether everything pushed has been handed out.
    pub fn is_empty(&self) -> bool {
        self.rest.is_none()
    }

    /// Most rows of the next slice; `usize::MAX` when batches pass untouched.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Gives the slicer its next batch. To be called when it [is empty](Self::is_empty): a batch that was
    /// not handed out completely is lost otherwise.
    pub fn push(&mut self, batch: RecordBatch) {
        debug_assert!(
            self.rest.is_none(),
            "pushed before the last batch was handed out"
        );
        self.rest = Some(batch);
        self.cut = false;
    }

    /// The next slice, or `None` when a batch must be pushed first. Pieces of one batch are about equally long.
    pub fn next_slice(&mut self) -> Option<RecordBatch> {
        let batch = self.rest.take()?;
        let rows = batch.num_rows();
        if rows <= self.limit {
            self.handed = Some(rows);
            return Some(batch);
        }
        let len = rows.div_ceil(rows.div_ceil(self.limit));
        self.handed = Some(len);
        self.rest = Some(batch.slice(len, rows - len));
        self.cut = true;
        Some(batch.slice(0, len))
    }

    /// Says how long the consumer worked on the last slice. A second call for the same slice does nothing.
    pub fn consumed_in(&mut self, took: Duration) {
        if let Some(rows) = self.handed.take()
            && rows > 0
        {
            self.judge(rows, took);
        }
    }

    fn judge(&mut self, rows: usize, took: Duration) {
        if took < self.target / 4 {
            self.trying = None;
            self.settled = None;
            let most = self.target.as_secs_f64() / 2.0 / took.as_secs_f64().max(1e-9);
            let grown = rows
                .saturating_mul(GROWTH)
                .min((rows as f64 * most) as usize);
            self.set_limit(self.limit.max(grown));
            return;
        }
        if self.cut && rows * 2 <= self.limit {
            return; // The end of a batch says little.
        }
        if !self.cut && took <= self.target {
            self.trying = None;
            return; // There are no longer slices to be had.
        }
        let quickest = self.quickest.map_or(took, |quickest| quickest.min(took));
        self.quickest = Some(quickest);
        self.tries = self.tries.saturating_add(1);
        self.kept += 1;
        match self.trying {
            Some(before) => self.compare(before, (rows, quickest)),
            // Too long: is it the rows, or the slice? A shorter one tells, or else a longer one.
            None if took > self.target && self.settled.is_none() => {
                if rows > 1 {
                    self.try_shorter(rows, took);
                } else {
                    self.try_longer(rows, quickest, 2);
                }
            }
            // Rows may have become slower: shorter slices will tell.
            None if rows > 1 && self.tries >= TRIES && self.is_excessive(quickest) => {
                self.try_shorter(rows, quickest);
            }
            None if self.kept >= self.next_trial => {
                self.next_trial = (self.next_trial * 2).min(TRIALS.1);
                self.try_longer(rows, quickest, 2);
            }
            None if self.tries >= TRIES => self.forget_times(),
            None => {}
        }
    }

    /// Whether a slice of the settled length took much longer than it did when it was settled.
    fn is_excessive(&self, took: Duration) -> bool {
        self.settled.is_some_and(|allowed| took > allowed * 2)
    }

    /// Judges a slice of another length than the last, both with their times.
    fn compare(&mut self, before: (usize, Duration), now: (usize, Duration)) {
        let (rows, took) = now;
        let in_time = took <= self.target;
        let (few, many) = if rows < before.0 {
            (now, before)
        } else {
            (before, now)
        };
        if few.0 == many.0 {
            if !self.cut {
                // A whole batch: there are no longer slices to be had, and shorter ones were not worth it.
                self.trying = None;
                self.kept = 0;
                self.settled = Some(took);
            }
        } else if per_row(many) * WORTH < per_row(few) {
            // Longer slices are worth it.
            self.try_longer(many.0, many.1, if in_time { 2 } else { STEP });
        } else if rows > before.0 && self.tries < TRIES {
            // The next one of this length may be quicker.
        } else if in_time {
            self.trying = None;
        } else if rows < before.0 && rows > 1 {
            self.try_shorter(rows, took);
        } else {
            self.settle(few, many);
        }
    }

    fn try_shorter(&mut self, rows: usize, took: Duration) {
        self.settled = None;
        self.trying = Some((rows, took));
        self.set_limit(rows / STEP);
    }

    fn try_longer(&mut self, rows: usize, took: Duration, times: usize) {
        self.settled = None;
        self.kept = 0;
        self.trying = Some((rows, took));
        self.set_limit(rows.saturating_mul(times));
    }

    /// Settles for a length, from the times of a short and a long slice.
    fn settle(&mut self, (few, few_took): (usize, Duration), (many, many_took): (usize, Duration)) {
        let more = many_took.saturating_sub(few_took).as_secs_f64();
        let row = (more / (many - few) as f64).max(1e-9);
        let slice = (few_took.as_secs_f64() - row * few as f64).max(0.0);
        let rows_time = slice.max(self.target.as_secs_f64() / 2.0);
        self.set_limit(((rows_time / row) as usize).clamp(few, many));
        self.settled = Some(Duration::from_secs_f64(slice + rows_time).max(few_took));
        self.trying = None;
        self.kept = 0;
    }

    fn set_limit(&mut self, limit: usize) {
        let limit = limit.max(1);
        if limit != self.limit {
            self.limit = limit;
            self.forget_times();
        }
    }

    fn forget_times(&mut self) {
        self.quickest = None;
        self.tries = 0;
    }
}

fn per_row((rows, time): (usize, Duration)) -> f64 {
    time.as_secs_f64() / rows as f64
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

    /// Feeds batches of `rows` to a consumer that takes `cost(slice number, rows)` per slice; returns the slice lengths.
    fn run(
        slicer: &mut AdaptiveSlicer,
        batches: usize,
        rows: usize,
        mut cost: impl FnMut(usize, usize) -> Duration,
    ) -> Vec<usize> {
        let mut lengths = Vec::new();
        for _ in 0..batches {
            slicer.push(batch(rows));
            while let Some(slice) = slicer.next_slice() {
                lengths.push(slice.num_rows());
                slicer.consumed_in(cost(lengths.len(), slice.num_rows()));
            }
            assert!(slicer.is_empty());
        }
        lengths
    }

    /// A number in 0..n that looks random and is the same each time.
    fn noise(turn: usize, n: u64) -> u64 {
        ((turn as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % n
    }

    #[test]
    fn a_quick_consumer_gets_whole_batches() {
        let quick = |_, rows| Duration::from_nanos(5 * rows as u64);
        let mut slicer = AdaptiveSlicer::new(TARGET, usize::MAX);
        assert_eq!(run(&mut slicer, 50, 8192, quick), [8192; 50]);

        let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
        let lengths = run(&mut slicer, 50, 8192, quick);
        assert!(lengths.len() <= 50 + 16, "{lengths:?}");
        assert!(lengths[lengths.len() - 49..].iter().all(|l| *l == 8192));
    }

    #[test]
    fn slices_shrink_to_what_the_consumer_does_in_time() {
        for first in [usize::MAX, SLOW_START_ROWS] {
            for micros_per_row in [1, 7, 30, 200] {
                let cost = |_, rows| Duration::from_micros(micros_per_row * rows as u64);
                let mut slicer = AdaptiveSlicer::new(TARGET, first);
                let lengths = run(&mut slicer, 20, 8192, cost);
                let late = &lengths[lengths.len() / 2..];
                let in_time = late.iter().filter(|l| cost(0, **l) <= TARGET).count();
                assert!(
                    in_time * 10 >= late.len() * 9,
                    "{micros_per_row} us: {late:?}"
                );
                let longest = late.iter().max().unwrap();
                assert!(
                    cost(0, *longest) >= TARGET / 4,
                    "{micros_per_row} us: {longest} rows"
                );
                assert!(
                    cost(0, *longest) <= TARGET * 3,
                    "{micros_per_row} us: {longest} rows"
                );
            }
        }
    }

    #[test]
    fn rows_of_a_millisecond_go_one_by_one() {
        let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
        let lengths = run(&mut slicer, 1, 2000, |turn, rows| {
            Duration::from_micros(1000 * rows as u64 + noise(turn, 100))
        });
        assert!(lengths.iter().all(|l| *l <= 2), "{lengths:?}");
        assert!(
            lengths.iter().filter(|l| **l == 2).count() <= 40,
            "{lengths:?}"
        );
    }

    #[test]
    fn a_time_for_each_slice_is_not_paid_for_each_row() {
        // What `LIKE` with a pattern that needs a regular expression costs: a compilation a slice.
        for (slice_micros, row_nanos, jitter) in [
            (1000, 20, 0),
            (1000, 20, 800),
            (600, 0, 300),
            (3000, 100, 2000),
            (550, 50, 2000),
            (450, 20, 0),
            (450, 20, 300),
            (300, 20, 0),
            (130, 20, 100),
        ] {
            for first in [SLOW_START_ROWS, usize::MAX] {
                let cost = |turn, rows: usize| {
                    Duration::from_micros(slice_micros + noise(turn, jitter + 1))
                        + Duration::from_nanos(row_nanos * rows as u64)
                };
                let mut slicer = AdaptiveSlicer::new(TARGET, first);
                let mut spent = Duration::ZERO;
                run(&mut slicer, 200, 8192, |turn, rows| {
                    spent += cost(turn, rows);
                    cost(turn, rows)
                });
                let whole = Duration::from_micros(slice_micros + jitter / 2) * 200
                    + Duration::from_nanos(row_nanos) * 200 * 8192;
                let ratio = spent.as_secs_f64() / whole.as_secs_f64();
                assert!(
                    ratio < 3.0,
                    "{slice_micros} us + {row_nanos} ns, jitter {jitter}: {ratio}"
                );
            }
        }
    }

    #[test]
    fn time_in_which_others_have_the_core_is_not_taken_for_the_consumers() {
        // Most slices are interrupted for some milliseconds, whatever their length.
        for (slice_micros, row_nanos) in [(3000, 100), (600, 20), (150, 20), (20, 50)] {
            let own = |rows: usize| {
                Duration::from_micros(slice_micros) + Duration::from_nanos(row_nanos * rows as u64)
            };
            let mut spent = Duration::ZERO;
            let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
            run(&mut slicer, 200, 8192, |turn, rows| {
                spent += own(rows);
                own(rows) + Duration::from_millis(if noise(turn, 10) < 7 { 8 } else { 0 })
            });
            let ratio = spent.as_secs_f64() / (own(8192) * 200).as_secs_f64();
            assert!(ratio < 10.0, "{slice_micros} us + {row_nanos} ns: {ratio}");
        }
    }

    #[test]
    fn slices_grow_again_when_the_consumer_becomes_quick() {
        let mut slicer = AdaptiveSlicer::new(TARGET, usize::MAX);
        run(&mut slicer, 3, 8192, |_, rows| {
            Duration::from_micros(50 * rows as u64)
        });
        assert!(slicer.limit() < 16, "{}", slicer.limit());
        run(&mut slicer, 1, 8192, |_, rows| {
            Duration::from_nanos(rows as u64)
        });
        assert_eq!(run(&mut slicer, 5, 8192, |_, _| Duration::ZERO), [8192; 5]);
    }

    #[test]
    fn short_batches_are_cut_when_the_consumer_becomes_slow() {
        for before in [20, 300, 3000] {
            let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
            run(&mut slicer, 100, 100, |_, _| Duration::from_micros(before));
            assert_eq!(
                run(&mut slicer, 1, 100, |_, _| Duration::from_micros(before)),
                [100]
            );
            let lengths = run(&mut slicer, 50, 100, |_, rows| {
                Duration::from_millis(rows as u64)
            });
            assert!(
                lengths[lengths.len() / 2..].iter().all(|l| *l <= 4),
                "{before} us: {lengths:?}"
            );
        }
    }

    #[test]
    fn an_empty_batch_is_passed_on() {
        let mut slicer = AdaptiveSlicer::new(TARGET, SLOW_START_ROWS);
        assert_eq!(run(&mut slicer, 1, 0, |_, _| Duration::ZERO), [0]);
    }

    proptest! {
        #[test]
        fn every_row_comes_out_once_and_in_order(
            batches in prop::collection::vec(0usize..3000, 1..20),
            nanos in prop::collection::vec(0u64..3_000_000, 1..50),
            first in 1usize..5000,
        ) {
            let mut slicer = AdaptiveSlicer::new(TARGET, first);
            let mut turn = 0;
            for rows in batches {
                slicer.push(batch(rows));
                let mut seen = Vec::new();
                while let Some(slice) = slicer.next_slice() {
                    seen.extend_from_slice(slice.column(0).as_primitive::<Int64Type>().values());
                    slicer.consumed_in(Duration::from_nanos(nanos[turn % nanos.len()]));
                    turn += 1;
                }
                prop_assert_eq!(seen, (0..rows as i64).collect::<Vec<_>>());
            }
        }
    }
}
