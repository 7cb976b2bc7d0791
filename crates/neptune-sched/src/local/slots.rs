//! Who gets a slot: what is free, for whom, and in what order.

use super::{Action, LocalScheduler};
use crate::{Class, Nanos, TaskId, TaskState};

impl<H: Clone> LocalScheduler<H> {
    /// Slots streams may hold now: one less while batch work is due.
    pub(super) fn stream_limit(&self) -> usize {
        let limit = self.policy.class_limit(Class::Stream, &self.settings);
        if self.batch_is_due() {
            limit.min(self.settings.slots.saturating_sub(1))
        } else {
            limit
        }
    }

    /// Slots kept for the stream class in a pause, as far as its limit lets it use them.
    pub(super) fn kept(&self) -> usize {
        self.lingering
            .len()
            .min(self.stream_limit().saturating_sub(self.holding[0]))
    }

    fn is_free(&self) -> bool {
        self.holding[0] + self.holding[1] + self.kept() < self.settings.slots
    }

    /// Whether a task of `class` may have a slot now.
    pub(super) fn may_take(&self, class: Class) -> bool {
        match class {
            // Where it starts at once, the slot is got back from a victim afterwards.
            Class::Stream => {
                self.holding[0] < self.stream_limit()
                    && (self.policy.stream_starts_at_once() || self.kept() > 0 || self.is_free())
            }
            // The minimum share holds inside a CPU quota, too.
            Class::Batch => {
                (!self.paced_out || (self.holding[1] == 0 && self.batch_is_due()))
                    && self.holding[1] < self.policy.class_limit(class, &self.settings)
                    && self.is_free()
            }
        }
    }

    /// Gives a task a slot; its state is the caller's to set.
    pub(super) fn take(&mut self, id: TaskId, class: Class) {
        if class == Class::Stream {
            self.lingering.pop_front();
        }
        self.holding[class as usize] += 1;
        self.holders.push(id);
    }

    /// Takes a slot back and charges the job for its time; the state is the caller's to set.
    pub(super) fn release(&mut self, id: TaskId, now: Nanos) {
        if let Some(at) = self.holders.iter().position(|t| *t == id) {
            self.holders.swap_remove(at);
        }
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let ran = if task.state == TaskState::Running {
            now.since(task.since)
        } else {
            Nanos(0)
        };
        if let Some(job) = self.jobs[task.job].as_mut() {
            self.holding[job.spec.class as usize] -= 1;
            let weight = u64::from(job.spec.weight.max(1));
            job.virtual_time = job.virtual_time.plus(Nanos(ran.0 / weight));
        }
    }

    /// Hands slots to the best of those who wait, until nobody who waits may have one.
    pub(super) fn dispatch(&mut self, now: Nanos, actions: &mut Vec<Action<H>>) {
        while self.queued[0] + self.queued[1] > 0 {
            let open = Class::ALL.map(|c| self.queued[c as usize] > 0 && self.may_take(c));
            if open == [false, false] {
                return;
            }
            let best = self
                .jobs
                .iter()
                .enumerate()
                .filter_map(|(place, job)| Some((place, job.as_ref()?)))
                .filter(|(_, job)| job.queued() > 0 && open[job.spec.class as usize])
                .min_by_key(|(_, job)| self.policy.rank(&job.view()))
                .map(|(place, _)| place);
            let Some(job) = best.and_then(|place| self.jobs[place].as_mut()) else {
                return;
            };
            let (class, newcomer) = (job.spec.class, job.view());
            let Some(id) = job
                .suspended
                .pop_front()
                .or_else(|| job.waiting.pop_front())
            else {
                return;
            };
            self.queued[class as usize] -= 1;
            self.take(id, class);
            self.grant(id, now, actions);
            if class == Class::Stream {
                self.make_room(now, &newcomer, 0, actions);
            }
        }
    }

    fn grant(&mut self, id: TaskId, now: Nanos, actions: &mut Vec<Action<H>>) {
        let (limit, grace) = (self.settings.max_suspensions, self.settings.grace);
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        task.state = TaskState::Granted;
        task.since = now;
        if task.was_suspended && task.suspensions > limit {
            task.suspensions = 0;
            task.immune_until = now.plus(grace);
            self.graces_end = self.graces_end.max(task.immune_until);
        }
        actions.push(Action::Wake(task.handle.clone()));
    }
}
