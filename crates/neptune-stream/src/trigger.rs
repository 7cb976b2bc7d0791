//! When micro-batches start.

use std::time::{Duration, Instant};

/// The trigger of a stream job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A micro-batch at each multiple of an interval. One that overruns is followed by the next at once, and the
    /// multiples it missed are left out: nothing is stacked up.
    Interval(Duration),
    /// The next micro-batch as soon as the last one is done and there is something to read.
    AsFastAsPossible,
    /// One micro-batch of what is there, then the end.
    Once,
    /// What was there at the beginning, in micro-batches within the limits, then the end.
    AvailableNow,
}

/// The first wait of an idle job that runs as fast as possible, and the longest.
const IDLE_WAITS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Turns a trigger into points in time.
#[derive(Debug)]
pub(crate) struct Schedule {
    trigger: Trigger,
    next: Instant,
    idle_wait: Duration,
}

impl Schedule {
    pub(crate) fn new(trigger: Trigger, now: Instant) -> Self {
        Self {
            trigger,
            next: now,
            idle_wait: IDLE_WAITS.0,
        }
    }

    /// When the next micro-batch should start; in the past when it is late.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// A micro-batch ended at `now`, and read something or not.
    pub(crate) fn ended(&mut self, now: Instant, idle: bool) {
        match self.trigger {
            Trigger::Interval(every) if !every.is_zero() => {
                self.next += every;
                let late = now.saturating_duration_since(self.next);
                // The multiples missed meanwhile; the one that falls due now is kept.
                let missed = (late.as_nanos() / every.as_nanos().max(1)) as u32;
                self.next += every * missed;
            }
            _ if idle => {
                self.next = now + self.idle_wait;
                self.idle_wait = (self.idle_wait * 2).min(IDLE_WAITS.1);
            }
            _ => {
                self.next = now;
                self.idle_wait = IDLE_WAITS.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overrun_is_followed_at_once_and_not_stacked_up() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut schedule = Schedule::new(Trigger::Interval(ms(50)), start);
        for (end, next) in [(10, 50), (95, 100), (320, 300), (325, 350), (351, 400)] {
            schedule.ended(start + ms(end), false);
            assert_eq!(schedule.next() - start, ms(next), "ended at {end} ms");
        }
    }

    #[test]
    fn an_idle_job_waits_longer_and_longer_and_a_busy_one_not_at_all() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Trigger::AsFastAsPossible, now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            schedule.ended(now, true);
            waits.push((schedule.next() - now).as_millis());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 50, 50]);
        schedule.ended(now, false);
        assert_eq!(schedule.next(), now);
    }
}
