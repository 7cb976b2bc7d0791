//! The minimum share of batch work: a bucket that fills while batch wants to run and drains while it does.
//!
//! While any batch task could run, the bucket fills at `slots × min_share`; it drains by the slot time that
//! batch really had. When it holds more than [`QUANTUM`], batch is *due*: the scheduler keeps one slot from
//! the stream class until the bucket is empty. Stream loads below `1 - min_share` never trigger it. The bank is
//! small on purpose, so that the share holds over every second and not only on average.

use crate::Nanos;

/// How much slot time batch must be owed before streams have to make room.
pub(crate) const QUANTUM: Nanos = Nanos::from_millis(2);

/// How much batch may have run ahead of its share before that stops counting.
const BANK: Nanos = Nanos::from_millis(2);

/// Accounts for the slot time that batch work is owed.
#[derive(Debug, Clone)]
pub struct BatchShare {
    owed: f64,
    last: Nanos,
    due: bool,
}

impl BatchShare {
    /// Nothing owed, at time `now`.
    pub fn new(now: Nanos) -> Self {
        Self { owed: 0.0, last: now, due: false }
    }

    /// Accounts for the time up to `now`, in which `running` slots were held by batch tasks that a core
    /// was free for; `rate` is slots × minimum share, and zero where batch had nothing to run.
    pub fn advance(&mut self, now: Nanos, rate: f64, running: usize) {
        let span = now.since(self.last).0 as f64;
        self.last = self.last.max(now);
        self.owed += span * (rate - running as f64);
        self.owed = self.owed.max(-(BANK.0 as f64));
        if rate == 0.0 {
            self.owed = self.owed.min(0.0);
        }
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

    /// When batch becomes due if it wants to run and gets nothing.
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
        assert!(at > Nanos::from_millis(19) && at < Nanos::from_millis(21), "{at:?}");
        share.advance(at, rate, 0);
        assert!(share.due());
        share.advance(at.plus(Nanos::from_millis(1)), rate, 1);
        assert!(share.due(), "half paid");
        share.advance(at.plus(Nanos::from_millis(3)), rate, 1);
        assert!(!share.due());
    }

    #[test]
    fn running_ahead_is_forgotten_and_no_demand_owes_nothing() {
        let mut share = BatchShare::new(Nanos(0));
        share.advance(Nanos::from_millis(10_000), 0.1, 2);
        share.advance(Nanos::from_millis(10_045), 0.1, 0);
        assert!(share.due(), "a long run before does not excuse 45 ms of nothing");
        share.advance(Nanos::from_millis(10_050), 0.0, 0);
        assert!(!share.due());
    }
}
