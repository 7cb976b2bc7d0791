//! What must hold after every operation, whatever came before.

use std::collections::BTreeSet;

use super::*;
use crate::policy::Preemption;

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

impl<H: Clone> LocalScheduler<H> {
    /// The first invariant that does not hold.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_slots()?;
        self.check_queues()?;
        self.check_jobs()?;
        self.check_conservation()
    }

    fn class_of(&self, task: &Task<H>) -> Class {
        self.jobs[task.job]
            .as_ref()
            .expect("a task's job exists")
            .spec
            .class
    }

    /// Who holds a slot is listed once, and counted in its class.
    fn check_slots(&self) -> Result<(), String> {
        let listed: BTreeSet<TaskId> = self.holders.iter().copied().collect();
        ensure!(
            listed.len() == self.holders.len(),
            "a holder is listed twice: {:?}",
            self.holders
        );
        let mut holding = [0, 0];
        for (id, task) in self.tasks.iter() {
            ensure!(
                task.state.holds_slot() == listed.contains(&id),
                "{id} is {:?} but listed as holder: {}",
                task.state,
                listed.contains(&id)
            );
            holding[self.class_of(task) as usize] += usize::from(task.state.holds_slot());
            ensure!(
                task.requested.is_none() || task.state == TaskState::Running,
                "{id} is {:?} and asked to let go",
                task.state
            );
        }
        ensure!(
            listed.iter().all(|id| self.tasks.get(*id).is_some()),
            "a holder is gone"
        );
        ensure!(
            holding == self.holding,
            "{holding:?} hold slots, {:?} counted",
            self.holding
        );
        let slots = self.settings.slots;
        ensure!(
            holding[0] <= slots,
            "{} streams on {slots} slots",
            holding[0]
        );
        ensure!(
            holding[1] <= slots,
            "{} batch tasks on {slots} slots",
            holding[1]
        );
        ensure!(
            holding[0] + holding[1] <= slots
                || self.policy.name() != PolicyName::Fifo
                || holding[0] > 0,
            "over-committed by batch tasks alone"
        );
        ensure!(
            self.lingering.iter().is_sorted(),
            "pauses out of order: {:?}",
            self.lingering
        );
        Ok(())
    }

    /// A queued task is in exactly one queue, that of its state and job.
    fn check_queues(&self) -> Result<(), String> {
        let mut queued = [0, 0];
        let mut seen = BTreeSet::new();
        for (place, job) in self.jobs.iter().enumerate() {
            let Some(job) = job else { continue };
            ensure!(
                !job.held || job.queued() == 0,
                "{} is held and has queued tasks",
                job.id
            );
            for (queue, state) in [
                (&job.waiting, TaskState::Waiting),
                (&job.suspended, TaskState::Suspended),
            ] {
                for id in queue {
                    let Some(task) = self.tasks.get(*id) else {
                        return Err(format!("{id} is queued and gone"));
                    };
                    ensure!(
                        task.state == state,
                        "{id} is {:?} in the queue of {state:?}",
                        task.state
                    );
                    ensure!(task.job == place, "{id} is in another job's queue");
                    ensure!(seen.insert(*id), "{id} is queued twice");
                    queued[job.spec.class as usize] += 1;
                }
            }
        }
        for (id, task) in self.tasks.iter() {
            let queued = matches!(task.state, TaskState::Waiting | TaskState::Suspended);
            ensure!(
                !queued || seen.contains(&id),
                "{id} is {:?} in no queue",
                task.state
            );
        }
        ensure!(
            queued == self.queued,
            "{queued:?} queued, {:?} counted",
            self.queued
        );
        Ok(())
    }

    /// Jobs know how many tasks they have, and held ones have none that could run.
    fn check_jobs(&self) -> Result<(), String> {
        let mut streams = 0;
        for (place, job) in self.jobs.iter().enumerate() {
            let Some(job) = job else { continue };
            let tasks: Vec<&Task<H>> = self.tasks.values().filter(|t| t.job == place).collect();
            let count = tasks.len();
            ensure!(
                count == job.tasks,
                "{} has {count} tasks, {} counted",
                job.id,
                job.tasks
            );
            streams += if job.spec.class == Class::Stream {
                count
            } else {
                0
            };
            for task in tasks {
                ensure!(
                    job.held || task.state != TaskState::Held,
                    "a task of {} is held, the job not",
                    job.id
                );
                ensure!(
                    !job.held || task.state != TaskState::Granted,
                    "{} is held and granted a slot",
                    job.id
                );
                ensure!(
                    !job.held || task.state != TaskState::Running || task.requested.is_some(),
                    "{} is held and runs undisturbed",
                    job.id
                );
            }
            ensure!(
                self.places.get(&job.id) == Some(&place),
                "{} is misplaced",
                job.id
            );
        }
        ensure!(
            streams == self.live_streams,
            "{streams} streams, {} counted",
            self.live_streams
        );
        Ok(())
    }

    /// Nobody waits for a slot he may have, and who is over-committed has asked for slots back.
    fn check_conservation(&self) -> Result<(), String> {
        for class in Class::ALL {
            ensure!(
                self.queued[class as usize] == 0 || !self.may_take(class),
                "{} {class} tasks wait for a slot they may have",
                self.queued[class as usize]
            );
        }
        if self.policy.preemption() == Preemption::Suspend {
            let undisturbed = |t: &&Task<H>| self.class_of(t) == Class::Batch && !t.is_leaving();
            let holders = || self.holders.iter().filter_map(|id| self.tasks.get(*id));
            let leaving = holders().filter(|t| t.is_leaving()).count();
            let over =
                (self.holding[0] + self.holding[1]).saturating_sub(self.settings.slots + leaving);
            let stubborn = holders()
                .filter(undisturbed)
                .filter(|t| t.immune_until > Nanos(0))
                .count();
            ensure!(
                over <= stubborn,
                "over-committed by {over} slots that nobody was asked for"
            );
        }
        Ok(())
    }
}
