//! The minimum share of batch work: a bucket that fills while batch wants to run and drains while it does.
//!
//! While any batch task could run, the bucket fills at `slots × min_share`; it drains by the slot time that
//! batch really had. When it holds more than [`QUANTUM`], batch is *due*: the scheduler keeps one slot from
//! the stream class until the bucket is empty. Stream loads below `1 - min_share` never trigger it. The bank is
//! small on purpose, so that the share holds over every second and not only on average; and what batch could
//! not use for long is lost, so that streams never pay back more than a second's worth.

use crate::Nanos;

/// How much slot time batch must be owed before streams have to make room.
pub(crate) const QUANTUM: Nanos = Nanos::from_millis(2);

/// How much batch may have run ahead of its share before that stops counting.
const BANK: Nanos = Nanos::from_millis(2);

/// Batch work that has been without demand for this long is owed nothing any more. Shorter pauses, in which its
/// tasks wait for I/O or for each other, keep the debt.
const FORGET: Nanos = Nanos::from_millis(100);

/// The most that can be owed, as the time it takes to earn it.
const MEMORY: Nanos = Nanos::from_millis(1_000);

/// What quantum and bank together can take from the share within one second, in slots: earned on top of it.
const MARGIN: f64 = (QUANTUM.0 + BANK.0) as f64 / 1e9;

/// Accounts for the slot time that batch work is owed.
#[derive(Debug, Clone)]
pub struct BatchShare {
    owed: f64,
    last: Nanos,
    /// Since when there has been no demand.
    pausing: Option<Nanos>,
    due: bool,
}

impl BatchShare {
    /// Nothing owed, at time `now`.
    pub fn new(now: Nanos) -> Self {
        Self {
            owed: 0.0,
            last: now,
            pausing: None,
            due: false,
        }
    }

    /// What batch work earns per unit of time for a minimum share of `slots`.
    pub fn rate(slots: usize, min_share: f64) -> f64 {
        if min_share > 0.0 {
            slots as f64 * min_share + MARGIN
        } else {
            0.0
        }
    }

    /// Accounts for the time up to `now`, in which `running` slots were held by batch tasks that a core
    /// was free for; `rate` is what [`rate`](Self::rate) gives, and zero where batch had nothing to run.
    pub fn advance(&mut self, now: Nanos, rate: f64, running: usize) {
        let span = now.since(self.last).0 as f64;
        let from = self.last;
        self.last = self.last.max(now);
        self.owed += span * (rate - running as f64);
        self.owed = self.owed.max(-(BANK.0 as f64));
        if rate == 0.0 {
            self.due = false;
            if now.since(*self.pausing.get_or_insert(from)) > FORGET {
                self.owed = self.owed.min(0.0);
            }
            return;
        }
        self.pausing = None;
        self.owed = self
            .owed
            .min((MEMORY.0 as f64 * rate).max(QUANTUM.0 as f64 + 1.0));
        if self.owed > QUANTUM.0 as f64 {
            self.due = true;
        } else if self.owed <= 0.0 {
            self.due = false;
        }
    }

    /// Whether streams have to leave one slot to batch now.
    pub fn due(&self) -> bool {
        self.due
    }

    /// When batch becomes due if it wants to run and gets nothing; `None` if it is or never will.
    pub fn due_at(&self, rate: f64) -> Option<Nanos> {
        if rate <= 0.0 || self.due {
            return None;
        }
        let missing = (QUANTUM.0 as f64 - self.owed).max(0.0);
        Some(self.last.plus(Nanos((missing / rate) as u64 + 1_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_starved_batch_becomes_due_and_is_paid_back() {
        let rate = 0.1; // two slots, 5 %
        let mut share = BatchShare::new(Nanos(0));
        share.advance(Nanos::from_millis(19), rate, 0);
        assert!(!share.due());
        let at = share.due_at(rate).unwrap();
        assert!(
            at > Nanos::from_millis(19) && at < Nanos::from_millis(21),
            "{at:?}"
        );
        share.advance(at, rate, 0);
        assert!(share.due());
        share.advance(at.plus(Nanos::from_millis(1)), rate, 1);
        assert!(share.due(), "half paid");
        share.advance(at.plus(Nanos::from_millis(3)), rate, 1);
        assert!(!share.due());
    }

    #[test]
    fn running_ahead_is_forgotten() {
        let mut share = BatchShare::new(Nanos(0));
        share.advance(Nanos::from_millis(10_000), 0.1, 2);
        share.advance(Nanos::from_millis(10_045), 0.1, 0);
        assert!(
            share.due(),
            "a long run before does not excuse 45 ms of nothing"
        );
    }

    #[test]
    fn a_short_pause_keeps_the_debt_and_a_long_one_does_not() {
        for (pause_ms, due) in [(5, true), (99, true), (101, false), (5_000, false)] {
            let mut share = BatchShare::new(Nanos(0));
            let mut now = Nanos::from_millis(21);
            share.advance(now, 0.1, 0);
            assert!(share.due());
            now = now.plus(Nanos::from_millis(pause_ms));
            share.advance(now, 0.0, 0);
            assert!(!share.due(), "who does not want to run is not due");
            now = now.plus(Nanos::from_micros(1));
            share.advance(now, 0.1, 0);
            assert_eq!(share.due(), due, "after {pause_ms} ms");
        }
    }

    #[test]
    fn the_debt_has_a_bound() {
        let mut share = BatchShare::new(Nanos(0));
        let mut now = Nanos::from_millis(3_600_000);
        share.advance(now, 0.1, 0);
        now = now.plus(Nanos::from_millis(111));
        assert!(share.due());
        share.advance(now, 0.1, 1);
        share.advance(now.plus(Nanos::from_millis(1)), 0.1, 1);
        assert!(
            !share.due(),
            "an hour without a core is paid back by 111 ms of one"
        );
    }
}
