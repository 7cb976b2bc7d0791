//! What follows from time alone: pauses that end, the batch class's minimum share, the CPU quota.

use super::{Action, LocalScheduler};
use crate::{BatchShare, Class, Nanos};

/// How soon to look again while batch work is due.
const DUE_AGAIN: Nanos = Nanos::from_millis(1);

impl<H: Clone> LocalScheduler<H> {
    /// Time passed: ends pauses and graces, and makes streams leave a slot to batch work that is due.
    pub fn tick(&mut self, now: Nanos, actions: &mut Vec<Action<H>>) {
        self.account(now);
        self.shed_streams(now, actions);
        self.settle(now, actions);
        self.make_room_for_all(now, actions);
        self.settle(now, actions);
    }

    /// Says whether batch work has to pause for the process to stay inside its CPU quota.
    pub fn set_paced_out(&mut self, now: Nanos, paced_out: bool, actions: &mut Vec<Action<H>>) {
        if self.paced_out == paced_out {
            return;
        }
        self.account(now);
        self.paced_out = paced_out;
        if paced_out {
            self.shed_batch(now, actions);
        } else {
            self.settle(now, actions);
            self.make_room_for_all(now, actions);
        }
        self.settle(now, actions);
    }

    /// Whether batch work runs or is queued.
    pub fn batch_wants_to_run(&self) -> bool {
        let batch = Class::Batch as usize;
        self.holding[batch] + self.queued[batch] > 0
    }

    /// When [`tick`](Self::tick) has to be called next, if at all.
    pub fn next_tick(&self, now: Nanos) -> Option<Nanos> {
        let linger = if self.queued[1] > 0 {
            self.lingering.front().copied()
        } else {
            None
        };
        let rate = self.batch_rate();
        let share = if self.batch_is_due() {
            Some(now.plus(DUE_AGAIN))
        } else if self.paced_out || self.holding[0] >= self.settings.slots {
            self.share.due_at(rate)
        } else {
            None
        };
        [linger, share, self.next_grace_end(now)]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn lingers(&self) -> bool {
        self.policy.stream_starts_at_once() && self.settings.linger > Nanos(0)
    }

    /// Whether batch work wants to run and is owed its minimum share now.
    pub(super) fn batch_is_due(&self) -> bool {
        self.share.due() && self.batch_rate() > 0.0
    }

    /// What batch work earns per unit of time: nothing while it does not want to run.
    pub(super) fn batch_rate(&self) -> f64 {
        if self.policy.protects_batch() && self.batch_wants_to_run() {
            BatchShare::rate(self.settings.slots, self.settings.batch_min_share)
        } else {
            0.0
        }
    }

    /// The beginning of every operation: ends pauses that are over, and charges the time since the last call to the batch
    /// class's account.
    pub(super) fn account(&mut self, now: Nanos) {
        self.lingering.retain(|end| *end > now);
        let running = self.holding[1].min(self.settings.slots.saturating_sub(self.holding[0]));
        self.share.advance(now, self.batch_rate(), running);
    }

    /// The end of every operation: acts where it changed whether batch work is due, and hands out free slots.
    pub(super) fn settle(&mut self, now: Nanos, actions: &mut Vec<Action<H>>) {
        if self.batch_is_due() != self.was_due {
            self.was_due = !self.was_due;
            self.shed_streams(now, actions);
            if self.paced_out {
                self.shed_batch(now, actions);
            }
        }
        self.dispatch(now, actions);
    }
}
