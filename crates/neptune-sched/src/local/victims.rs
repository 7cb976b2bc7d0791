//! Who loses a slot: the choice of victims, and what they are asked for.

use std::cmp::Reverse;

use super::{Action, Cause, Job, JobView, LocalScheduler, Task};
use crate::policy::Preemption;
use crate::{Class, Nanos, TaskId, TaskState};

impl<H: Clone> LocalScheduler<H> {
    /// Gets `missing` slots, plus those over-committed, from tasks that `newcomer` may preempt.
    pub(super) fn make_room(
        &mut self,
        now: Nanos,
        newcomer: &JobView,
        missing: usize,
        actions: &mut Vec<Action<H>>,
    ) {
        if self.policy.preemption() == Preemption::None {
            return;
        }
        let used = self.holding[0] + self.holding[1] + self.kept();
        let needed = (used + missing).saturating_sub(self.settings.slots + self.leaving(|_| true));
        let (policy, newcomer) = (self.policy, *newcomer);
        let cause = if newcomer.class == Class::Stream {
            Cause::Stream
        } else {
            Cause::Priority
        };
        self.request(now, needed, cause, actions, |job| {
            policy.preempts(&newcomer, &job.view())
        });
    }

    /// Gets slots for the queued tasks of `newcomer`'s job and of jobs as urgent, where it may preempt others.
    pub(super) fn make_room_for(
        &mut self,
        now: Nanos,
        newcomer: &JobView,
        actions: &mut Vec<Action<H>>,
    ) {
        let class = newcomer.class;
        let limit = self.policy.class_limit(class, &self.settings);
        if class == Class::Stream || self.paced_out || self.policy.preemption() == Preemption::None
        {
            return; // Streams start at once, or wait for their own kind.
        }
        let urgent = |job: &&Job| job.spec.class == class && job.spec.priority >= newcomer.priority;
        let missing: usize = self
            .jobs
            .iter()
            .flatten()
            .filter(urgent)
            .map(Job::queued)
            .sum();
        self.make_room(now, newcomer, missing.min(limit), actions);
    }

    /// Gets slots for tasks that may preempt running ones, where that changed: with priorities, with the policy, or
    /// at the end of a victim's grace.
    pub(super) fn make_room_for_all(&mut self, now: Nanos, actions: &mut Vec<Action<H>>) {
        let stream = |job: &Job| job.spec.class == Class::Stream;
        let running = self
            .fitting(stream, |_| true)
            .map(|(_, _, job)| job.view())
            .next();
        if let Some(stream) = running {
            self.make_room(now, &stream, 0, actions);
        }
        let waiting = self
            .jobs
            .iter()
            .flatten()
            .filter(|job| job.queued() > 0)
            .map(Job::view);
        for newcomer in waiting.collect::<Vec<_>>() {
            self.make_room_for(now, &newcomer, actions);
        }
    }

    /// When the next task that others want the slot of comes to the end of its grace.
    pub(super) fn next_grace_end(&self, now: Nanos) -> Option<Nanos> {
        let used = self.holding[0] + self.holding[1];
        if self.graces_end <= now || (used <= self.settings.slots && self.queued[1] == 0) {
            return None;
        }
        self.fitting(|_| true, |task| task.immune_until > now)
            .map(|(_, task, _)| task.immune_until)
            .min()
    }

    /// Makes streams leave the slot they owe to batch work.
    pub(super) fn shed_streams(&mut self, now: Nanos, actions: &mut Vec<Action<H>>) {
        if !self.batch_is_due() {
            return;
        }
        let stream = |job: &Job| job.spec.class == Class::Stream;
        let excess = self.holding[0].saturating_sub(self.stream_limit() + self.leaving(stream));
        self.request(now, excess, Cause::Share, actions, stream);
    }

    /// Makes batch tasks stop for the sake of the CPU quota, but for one while batch work is due.
    pub(super) fn shed_batch(&mut self, now: Nanos, actions: &mut Vec<Action<H>>) {
        let batch = |job: &Job| job.spec.class == Class::Batch;
        let left = usize::from(self.batch_is_due()) + self.leaving(batch);
        self.request(
            now,
            self.holding[1].saturating_sub(left),
            Cause::Quota,
            actions,
            batch,
        );
    }

    /// How many tasks of jobs that fit have been asked to let go, and have not yet.
    fn leaving(&self, fits: impl Fn(&Job) -> bool) -> usize {
        self.fitting(fits, Task::is_leaving).count()
    }

    /// Takes back grants of, and asks, up to `wanted` tasks whose job fits to let go of their slot.
    ///
    /// Batch tasks come first, and those of the lowest priority. Among them, a grant nobody has used yet comes back at once; then
    /// come the running tasks suspended least often, then those that started last: they have the least warm
    /// state and, if killed, lose the least.
    fn request(
        &mut self,
        now: Nanos,
        wanted: usize,
        cause: Cause,
        actions: &mut Vec<Action<H>>,
        fits: impl Fn(&Job) -> bool,
    ) {
        let mut wanted = wanted;
        while wanted > 0 {
            let candidates = self.fitting(&fits, |task| {
                !task.is_leaving() && (task.immune_until <= now || !cause.is_urgency())
            });
            let victim = candidates.min_by_key(|(_, task, job)| {
                let running = task.state == TaskState::Running;
                (
                    // Priorities count within a class.
                    job.spec.class != Class::Batch,
                    job.spec.priority,
                    running,
                    task.suspensions,
                    Reverse(task.started),
                )
            });
            let Some((id, task, _)) = victim else { return };
            if task.state == TaskState::Granted {
                self.ungrant(id, now);
                wanted -= 1;
            } else if self.policy.preemption() == Preemption::Kill && cause.is_urgency() {
                wanted = wanted.saturating_sub(self.kill(now, id, cause, actions));
            } else {
                if let Some(task) = self.tasks.get_mut(id) {
                    task.requested = Some((now, cause));
                    actions.push(Action::Preempt(task.handle.clone(), cause));
                }
                wanted -= 1;
            }
        }
    }

    /// Kills the job of a running task; gives how many slots that brings back.
    fn kill(
        &mut self,
        now: Nanos,
        id: TaskId,
        cause: Cause,
        actions: &mut Vec<Action<H>>,
    ) -> usize {
        let Some(victim) = self.tasks.get_mut(id) else {
            return 0;
        };
        let place = victim.job;
        victim.requested = Some((now, cause));
        actions.push(Action::Kill(victim.handle.clone(), cause));
        let mut freed = 1;
        for other in self.holders.iter().filter(|holder| **holder != id) {
            if let Some(task) = self.tasks.get_mut(*other).filter(|task| task.job == place) {
                freed += usize::from(!task.is_leaving());
                task.doomed = true;
            }
        }
        freed
    }

    /// Tasks that hold a slot, with their jobs, where both are `wanted`.
    fn fitting(
        &self,
        fits: impl Fn(&Job) -> bool,
        wanted: impl Fn(&Task<H>) -> bool,
    ) -> impl Iterator<Item = (TaskId, &Task<H>, &Job)> {
        self.holders.iter().filter_map(move |id| {
            let task = self.tasks.get(*id).filter(|task| wanted(task))?;
            let job = self.jobs[task.job].as_ref().filter(|job| fits(job))?;
            Some((*id, task, job))
        })
    }

    /// Takes a grant back: the task stands at the head of its queue again.
    fn ungrant(&mut self, id: TaskId, now: Nanos) {
        self.release(id, now);
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        task.since = now;
        let Some(job) = self.jobs[task.job].as_mut() else {
            return;
        };
        self.queued[job.spec.class as usize] += 1;
        if task.was_suspended {
            task.state = TaskState::Suspended;
            job.suspended.push_front(id);
        } else {
            task.state = TaskState::Waiting;
            job.waiting.push_front(id);
        }
    }
}
