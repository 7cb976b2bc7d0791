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

/// How much has to be saved up before batch goes on: a pause of some length, seldom, costs less than many short ones.
const RESUME: Nanos = Nanos::from_millis(2);

/// How soon to look again, at the least and at the most.
const LOOKS: (Nanos, Nanos) = (Nanos::from_micros(500), Nanos::from_millis(5));

/// How far ahead of the quota the process may be remembered to be: the kernel forgets after each period, too.
const DEBT: Nanos = Nanos::from_millis(100);

/// What a [`Pacer`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Whether batch may run.
    pub may_run: bool,
    /// When that may change, while batch work wants to run.
    pub look_in: Nanos,
}

/// A leaky bucket of CPU time.
#[derive(Debug, Clone)]
pub struct Pacer {
    rate: f64,
    /// What the process can use more than it gets, in cores.
    excess: f64,
    may_run: bool,
    level: f64,
    last: Nanos,
    used: Nanos,
}

impl Pacer {
    /// A pacer for `cores` of quota at time `now`, when the process had used `used` of CPU time. It can run on `most` cores
    /// at a time.
    pub fn new(cores: f64, most: f64, now: Nanos, used: Nanos) -> Self {
        let rate = cores * MARGIN;
        Self {
            rate,
            excess: (most - rate).max(0.01),
            may_run: true,
            level: BURST.0 as f64,
            last: now,
            used,
        }
    }

    /// Accounts up to `now`, when the process had used `used` of CPU time in all.
    pub fn advance(&mut self, now: Nanos, used: Nanos) -> Pace {
        let filled = now.since(self.last).0 as f64 * self.rate;
        let drained = used.since(self.used).0 as f64;
        let debt = DEBT.0 as f64 * self.rate;
        self.level = (self.level + filled - drained).clamp(-debt, BURST.0 as f64);
        self.last = self.last.max(now);
        self.used = self.used.max(used);
        self.may_run = self.level > if self.may_run { 0.0 } else { RESUME.0 as f64 };
        let change = if self.may_run {
            self.level / self.excess
        } else {
            (RESUME.0 as f64 - self.level) / self.rate
        };
        Pace {
            may_run: self.may_run,
            look_in: Nanos(change as u64).clamp(LOOKS.0, LOOKS.1),
        }
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
        let mut pacer = Pacer::new(1.0, 2.0, now, used);
        let mut usage = Vec::new();
        let mut pace = pacer.advance(now, used);
        let mut look_at = now.plus(pace.look_in);
        for _ in 0..40_000 {
            if now >= look_at {
                pace = pacer.advance(now, used);
                look_at = now.plus(pace.look_in);
            }
            let spent = if pace.may_run {
                Nanos(step.0 * 2)
            } else {
                Nanos(0)
            };
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
        let mut pacer = Pacer::new(1.0, 2.0, Nanos(0), Nanos(0));
        for (now, may_run) in [(10_000, false), (10_099, false), (10_103, true)] {
            let pace = pacer.advance(Nanos::from_millis(now), Nanos::from_millis(20_000));
            assert_eq!(pace.may_run, may_run, "at {now} ms");
        }
    }
}
