//! What concerns whole jobs: their coming and going, and being suspended and resumed by their user.

use std::collections::VecDeque;

use super::{Action, Cause, Job, JobSpec, LocalScheduler};
use crate::{JobId, Nanos, TaskId, TaskState};

impl<H: Clone> LocalScheduler<H> {
    /// Makes a job known. Its record lives until [`end_job`](Self::end_job) and its last task's end.
    pub fn add_job(&mut self, id: JobId, spec: JobSpec) {
        let job = Job {
            id,
            spec,
            age: self.submitted,
            held: false,
            ended: false,
            tasks: 0,
            virtual_time: self.least_virtual_time(),
            waiting: VecDeque::new(),
            suspended: VecDeque::new(),
        };
        self.submitted += 1;
        let place = self.free_jobs.pop().unwrap_or_else(|| {
            self.jobs.push(None);
            self.jobs.len() - 1
        });
        self.jobs[place] = Some(job);
        self.places.insert(id, place);
    }

    /// The share of the job served least; jobs with tasks count first, others only where there are none.
    fn least_virtual_time(&self) -> Nanos {
        let least = |busy: bool| {
            let jobs = self
                .jobs
                .iter()
                .flatten()
                .filter(|job| job.tasks > 0 || !busy);
            jobs.map(|job| job.virtual_time).min()
        };
        least(true).or_else(|| least(false)).unwrap_or_default()
    }

    /// Forgets a job as soon as it has no tasks left.
    pub fn end_job(&mut self, id: JobId) {
        if let Some(&place) = self.places.get(&id) {
            if let Some(job) = self.jobs[place].as_mut() {
                job.ended = true;
            }
            self.forget_if_over(place);
        }
    }

    pub(super) fn forget_if_over(&mut self, place: usize) {
        if let Some(job) = &self.jobs[place]
            && job.ended
            && job.tasks == 0
        {
            self.places.remove(&job.id);
            self.jobs[place] = None;
            self.free_jobs.push(place);
        }
    }

    /// Changes a job's priority and whether it may be killed; `None` leaves a value as it is. The queue is judged
    /// anew.
    pub fn update_job(
        &mut self,
        now: Nanos,
        id: JobId,
        priority: Option<i32>,
        killable: Option<bool>,
        actions: &mut Vec<Action<H>>,
    ) {
        let Some(&place) = self.places.get(&id) else {
            return;
        };
        self.account(now);
        let Some(job) = self.jobs[place].as_mut() else {
            return;
        };
        job.spec.priority = priority.unwrap_or(job.spec.priority);
        job.spec.killable = killable.unwrap_or(job.spec.killable);
        self.make_room_for_all(now, actions);
        self.settle(now, actions);
    }

    /// Suspends a whole job until [`resume_job`](Self::resume_job): the user's suspend, not the policy's.
    pub fn hold_job(&mut self, now: Nanos, id: JobId, actions: &mut Vec<Action<H>>) {
        let Some(&place) = self.places.get(&id) else {
            return;
        };
        self.account(now);
        let Some(job) = self.jobs[place].as_mut() else {
            return;
        };
        job.held = true;
        let class = job.spec.class as usize;
        let queued: Vec<TaskId> = job
            .waiting
            .drain(..)
            .chain(job.suspended.drain(..))
            .collect();
        self.queued[class] -= queued.len();
        for task in queued {
            self.stop(task, now, actions);
        }
        for id in self.holders.clone() {
            let Some(task) = self.tasks.get_mut(id).filter(|t| t.job == place) else {
                continue;
            };
            if task.state == TaskState::Granted {
                self.release(id, now);
                self.stop(id, now, actions);
            } else if task.requested.is_none() {
                task.requested = Some((now, Cause::User));
                actions.push(Action::Preempt(task.handle.clone(), Cause::User));
            }
        }
        self.settle(now, actions);
    }

    /// A task that was not being polled becomes held.
    fn stop(&mut self, id: TaskId, now: Nanos, actions: &mut Vec<Action<H>>) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        task.state = TaskState::Held;
        task.since = now;
        if !task.was_suspended {
            actions.push(Action::Stopped(task.handle.clone()));
        }
    }

    /// Lets a job go on that [`hold_job`](Self::hold_job) stopped; gives how many of its tasks waited for that.
    ///
    /// A task that has not reached a yield point since still does so, and then queues for its slot as one suspended
    /// for others does.
    pub fn resume_job(&mut self, now: Nanos, id: JobId, actions: &mut Vec<Action<H>>) -> usize {
        let Some(&place) = self.places.get(&id) else {
            return 0;
        };
        self.account(now);
        if let Some(job) = self.jobs[place].as_mut() {
            job.held = false;
        }
        let held = self.job_tasks(place, |state| state == TaskState::Held);
        for id in &held {
            self.set_state(*id, TaskState::Idle, now);
            if let Some(task) = self.tasks.get_mut(*id) {
                // Also those that were stopped before they came to be polled: all are resumed alike.
                task.was_suspended = true;
                actions.push(Action::Wake(task.handle.clone()));
            }
        }
        self.settle(now, actions);
        held.len()
    }

    fn job_tasks(&self, place: usize, wanted: impl Fn(TaskState) -> bool) -> Vec<TaskId> {
        self.tasks
            .iter()
            .filter(|(_, t)| t.job == place && wanted(t.state))
            .map(|(id, _)| id)
            .collect()
    }

    /// The handles of all tasks of a job, to be woken when the job is cancelled.
    pub fn handles(&self, id: JobId) -> Vec<H> {
        let Some(&place) = self.places.get(&id) else {
            return Vec::new();
        };
        self.tasks
            .values()
            .filter(|t| t.job == place)
            .map(|t| t.handle.clone())
            .collect()
    }

    /// The handles of the job's tasks that are being polled.
    pub fn polled(&self, id: JobId) -> impl Iterator<Item = &H> {
        let place = self.places.get(&id).copied();
        self.holders
            .iter()
            .filter_map(|t| self.tasks.get(*t))
            .filter(move |t| Some(t.job) == place && t.state == TaskState::Running)
            .map(|t| &t.handle)
    }

    /// The handles of all tasks that are being polled.
    pub fn all_polled(&self) -> impl Iterator<Item = &H> {
        let holders = self.holders.iter();
        holders
            .filter_map(|t| self.tasks.get(*t))
            .filter(|t| t.state == TaskState::Running)
            .map(|t| &t.handle)
    }
}
