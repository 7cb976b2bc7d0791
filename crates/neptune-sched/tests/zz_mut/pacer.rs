//! Keeps a process inside a CPU quota, so that the kernel never throttles it.
//!
//! A container's quota is `q` cores' worth of time per period. A process that uses it up is stopped for the
//! rest of the period, stream threads included: a stall of tens of milliseconds. Batch work must therefore stop
//! a little earlier than the kernel would. The pacer is a leaky bucket over the CPU time the whole process has used: it
//! fills at `quota × margin` and batch may run while it is not empty. What streams use is taken from the same
//! bucket, so batch gives way; streams are never paced.

use crate::Nanos;

/// Part of the quota that is handed out; the rest covers threads nobody accounts for in time.
const MARGIN: f64 = 0.97;

/// How much unused quota may be saved up.
const BURST: Nanos = Nanos::from_millis(4);

/// How far ahead of the quota the process may be remembered to be: the kernel forgets after each period, too.
const DEBT: Nanos = Nanos::from_millis(100);

/// A leaky bucket of CPU time.
#[derive(Debug, Clone)]
pub struct Pacer {
    rate: f64,
    level: f64,
    last: Nanos,
    used: Nanos,
}

impl Pacer {
    /// A pacer for `cores` of quota at time `now`, when the process had used `used` of CPU time.
    pub fn new(cores: f64, now: Nanos, used: Nanos) -> Self {
        Self {
            rate: cores * MARGIN,
            level: BURST.0 as f64,
            last: now,
            used,
        }
    }

    /// Accounts up to `now`, when the process had used `used` of CPU time in all; true if batch may run.
    pub fn advance(&mut self, now: Nanos, used: Nanos) -> bool {
        self.level += now.since(self.last).0 as f64 * self.rate;
        self.level = self.level.min(BURST.0 as f64);
        self.level -= used.since(self.used).0 as f64;
        self.level = self.level.max(-(DEBT.0 as f64 * self.rate));
        self.last = self.last.max(now);
        self.used = self.used.max(used);
        self.level > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_obeys_stays_below_its_quota_in_every_window() {
        // 0.25 ms steps; batch uses two cores whenever it may, the quota is one.
        let step = Nanos::from_micros(250);
        let (mut now, mut used) = (Nanos(0), Nanos(0));
        let mut pacer = Pacer::new(1.0, now, used);
        let mut usage = Vec::new();
        for _ in 0..40_000 {
            let run = pacer.advance(now, used);
            let spent = if run { Nanos(step.0 * 2) } else { Nanos(0) };
            usage.push(spent.0);
            now = now.plus(step);
            used = used.plus(spent);
        }
        let window = 400; // 100 ms
        let worst = usage
            .windows(window)
            .map(|w| w.iter().sum::<u64>())
            .max()
            .unwrap();
        assert!(worst <= Nanos::from_millis(102).0, "{worst}");
        let total: u64 = usage.iter().sum();
        assert!(
            total as f64 > 0.96 * now.0 as f64,
            "uses what it may: {total}"
        );
    }

    #[test]
    fn streams_above_the_quota_do_not_stop_batch_for_longer_than_a_period() {
        let mut pacer = Pacer::new(1.0, Nanos(0), Nanos(0));
        assert!(!pacer.advance(Nanos::from_millis(10_000), Nanos::from_millis(20_000)));
        assert!(!pacer.advance(Nanos::from_millis(10_099), Nanos::from_millis(20_000)));
        assert!(pacer.advance(Nanos::from_millis(10_101), Nanos::from_millis(20_000)));
    }
}
