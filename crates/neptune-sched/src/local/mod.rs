//! The slots of one executor, and the tasks that want them.
//!
//! A slot is held while a future of a task is polled, and goes to the best waiter when that poll ends. A task that
//! waits for I/O or for another task therefore never wastes a core, and tasks of one job that wait for each
//! other cannot lock each other out.
//!
//! Under a preempting policy a stream task starts at once: when no slot is free the executor is over-committed for
//! the moment it takes the victim to reach a yield point, and the operating system gives the core to the stream
//! thread meanwhile. As many victims are chosen as slots are missing, no more.
//!
//! The caller serialises all calls (one lock), passes the time in, and carries out the [`Action`]s after
//! it released the lock. States and races are described in [`TaskState`]'s module.
//!
//! Here are the life of a task and its polls; [`jobs`] has what concerns whole jobs, [`slots`] who gets a slot,
//! [`victims`] who loses one, and [`clock`] what follows from time alone.

mod clock;
mod jobs;
mod slots;
#[cfg(test)]
mod tests;
mod victims;

use std::collections::{HashMap, VecDeque};

use crate::table::TaskTable;
use crate::{
    BatchShare, Class, JobId, Nanos, Policy, PolicyName, SchedSettings, TaskId, TaskState,
};

/// What the scheduler needs to know of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobSpec {
    /// Its class.
    pub class: Class,
    /// Larger goes first within a class.
    pub priority: i32,
    /// Weight under the `fair` policy, at least 1.
    pub weight: u32,
    /// Whether it may be cancelled and run again.
    pub killable: bool,
}

/// A job as a policy sees it.
#[derive(Debug, Clone, Copy)]
pub struct JobView {
    /// Its class.
    pub class: Class,
    /// Larger goes first within a class.
    pub priority: i32,
    /// Whether it may be cancelled and run again.
    pub killable: bool,
    /// Whether one of its tasks is suspended.
    pub has_suspended: bool,
    /// Slot time it had, scaled by its weight.
    pub virtual_time: Nanos,
    /// Position in the order of submission.
    pub age: u64,
}

/// Why a task has to let go of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A stream task needs the slot.
    Stream,
    /// A task of the same class and a higher priority needs it.
    Priority,
    /// Batch work is owed its minimum share.
    Share,
    /// The process would exceed its CPU quota.
    Quota,
    /// Its user suspended the job.
    User,
}

impl Cause {
    /// The name used in the event log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Priority => "priority",
            Self::Share => "share",
            Self::Quota => "quota",
            Self::User => "user",
        }
    }

    /// Whether more urgent work is the cause: only that counts towards a task's grace and stops at it.
    const fn is_urgency(self) -> bool {
        matches!(self, Self::Stream | Self::Priority)
    }
}

/// What the world outside has to do; `H` is the caller's handle of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<H> {
    /// Set the task's yield flag.
    Preempt(H, Cause),
    /// Wake the task's gate: it was granted a slot, or its job was resumed.
    Wake(H),
    /// Cancel the task's job and run it again.
    Kill(H, Cause),
    /// Note that a task which was not being polled is suspended now, because its job is.
    Stopped(H),
}

/// The answer to a task that is about to be polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Poll it. If it was suspended: the time since it got its slot back or, where nothing stood in its way,
    /// since its user's resume.
    Run {
        /// See [`Run`](Self::Run).
        resumed_after: Option<Nanos>,
    },
    /// Do not poll it; its waker will be called.
    Wait,
}

/// What a task's runtime has to do when the task is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Bring it to be polled: it asks for its slot then.
    Poll,
    /// Nothing: an [`Action::Wake`] follows as soon as it may run.
    Queued,
}

/// What became of a task whose poll ended with `Pending`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It goes on when it is woken.
    Idle,
    /// It was asked to let go, and did.
    Suspended {
        /// Time from the request to now.
        after: Nanos,
        /// Why it was asked.
        cause: Cause,
    },
}

/// How many tasks are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// All slots of the executor.
    pub slots: usize,
    /// Slots held by stream tasks; may exceed `slots` together with `batch` while victims let go.
    pub stream: usize,
    /// Slots held by batch tasks.
    pub batch: usize,
    /// Slots kept for the stream class in a short pause.
    pub lingering: usize,
    /// Tasks waiting for a first slot or the next one.
    pub waiting: usize,
    /// Tasks suspended for others.
    pub suspended: usize,
    /// Tasks whose job is suspended by its user.
    pub held: usize,
    /// Tasks that exist.
    pub tasks: usize,
}

#[derive(Debug)]
struct Task<H> {
    handle: H,
    job: usize,
    state: TaskState,
    /// When the state was entered; for `Running`, when the poll began.
    since: Nanos,
    /// When it was first polled.
    started: Option<Nanos>,
    /// When it was asked to let go of its slot, and why.
    requested: Option<(Nanos, Cause)>,
    /// Whether its job is being killed for the sake of another task of it.
    doomed: bool,
    /// Whether it was woken during its present poll.
    woken: bool,
    was_suspended: bool,
    /// Suspensions for more urgent work since the last grace.
    suspensions: u32,
    immune_until: Nanos,
}

impl<H> Task<H> {
    fn is_leaving(&self) -> bool {
        self.requested.is_some() || self.doomed
    }
}

#[derive(Debug)]
struct Job {
    id: JobId,
    spec: JobSpec,
    age: u64,
    held: bool,
    ended: bool,
    tasks: usize,
    virtual_time: Nanos,
    waiting: VecDeque<TaskId>,
    suspended: VecDeque<TaskId>,
}

impl Job {
    fn view(&self) -> JobView {
        JobView {
            class: self.spec.class,
            priority: self.spec.priority,
            killable: self.spec.killable,
            has_suspended: !self.suspended.is_empty(),
            virtual_time: self.virtual_time,
            age: self.age,
        }
    }

    fn queued(&self) -> usize {
        self.waiting.len() + self.suspended.len()
    }
}

/// The scheduler of one executor. See the module's text.
#[derive(Debug)]
pub struct LocalScheduler<H> {
    settings: SchedSettings,
    policy: &'static dyn Policy,
    tasks: TaskTable<Task<H>>,
    jobs: Vec<Option<Job>>,
    free_jobs: Vec<usize>,
    places: HashMap<JobId, usize>,
    submitted: u64,
    /// Tasks being polled or about to be, in no order.
    holders: Vec<TaskId>,
    /// Slots held by class.
    holding: [usize; 2],
    /// Tasks queued by class: waiting and suspended, without held ones.
    queued: [usize; 2],
    live_streams: usize,
    /// Ends of the pauses in which a slot stays with the stream class, soonest first.
    lingering: VecDeque<Nanos>,
    share: BatchShare,
    /// Whether batch work was due when that was last acted upon.
    was_due: bool,
    paced_out: bool,
    /// When the last grace ends that a task was given.
    graces_end: Nanos,
}

impl<H: Clone> LocalScheduler<H> {
    /// Bytes that each task takes here: its place in the table, and one in each of the lists it can be in at a time.
    pub const fn task_record_bytes() -> usize {
        size_of::<(u32, Option<Task<H>>)>() + 2 * size_of::<TaskId>()
    }

    /// A scheduler with no tasks, at time zero.
    pub fn new(settings: SchedSettings, policy: PolicyName) -> Self {
        Self {
            settings,
            policy: policy.policy(),
            tasks: TaskTable::new(),
            jobs: Vec::new(),
            free_jobs: Vec::new(),
            places: HashMap::new(),
            submitted: 0,
            holders: Vec::new(),
            holding: [0; 2],
            queued: [0; 2],
            live_streams: 0,
            lingering: VecDeque::new(),
            share: BatchShare::new(Nanos(0)),
            was_due: false,
            paced_out: false,
            graces_end: Nanos(0),
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> PolicyName {
        self.policy.name()
    }

    /// The settings in force.
    pub fn settings(&self) -> &SchedSettings {
        &self.settings
    }

    /// Changes policy and settings; tasks that run stay where they are, the queue is judged anew.
    pub fn configure(
        &mut self,
        now: Nanos,
        policy: PolicyName,
        settings: SchedSettings,
        actions: &mut Vec<Action<H>>,
    ) {
        self.account(now);
        self.policy = policy.policy();
        self.settings = settings;
        if self.lingers() {
            let longest = now.plus(self.settings.linger);
            for end in &mut self.lingering {
                *end = longest.min(*end);
            }
        } else {
            self.lingering.clear();
        }
        self.settle(now, actions);
        self.make_room_for_all(now, actions);
        self.settle(now, actions);
    }

    /// Adds a task to a job; `None` if the job is unknown or over.
    pub fn add_task(
        &mut self,
        now: Nanos,
        job: JobId,
        make: impl FnOnce(TaskId) -> H,
    ) -> Option<H> {
        let place = *self.places.get(&job)?;
        let record = self.jobs[place].as_mut().filter(|job| !job.ended)?;
        record.tasks += 1;
        if record.spec.class == Class::Stream {
            self.live_streams += 1;
        }
        let id = self.tasks.insert(|id| Task {
            handle: make(id),
            job: place,
            state: TaskState::Idle,
            since: now,
            started: None,
            requested: None,
            doomed: false,
            woken: false,
            was_suspended: false,
            suspensions: 0,
            immune_until: Nanos(0),
        });
        self.tasks.get(id).map(|t| t.handle.clone())
    }

    /// A task is about to be polled: may it?
    pub fn begin(&mut self, now: Nanos, id: TaskId, actions: &mut Vec<Action<H>>) -> Begin {
        self.account(now);
        self.settle(now, actions);
        let begin = self.begin_settled(now, id, actions);
        self.settle(now, actions);
        begin
    }

    fn begin_settled(&mut self, now: Nanos, id: TaskId, actions: &mut Vec<Action<H>>) -> Begin {
        let Some(task) = self.tasks.get_mut(id) else {
            return Begin::Wait;
        };
        match task.state {
            TaskState::Granted => return self.run(id, now),
            TaskState::Running => {
                return Begin::Run {
                    resumed_after: None,
                };
            }
            TaskState::Waiting | TaskState::Suspended | TaskState::Held => return Begin::Wait,
            TaskState::Idle => {}
        }
        let (place, was_suspended) = (task.job, task.was_suspended);
        let Some(job) = self.jobs[place].as_ref() else {
            return Begin::Wait;
        };
        if job.held {
            if !was_suspended {
                actions.push(Action::Stopped(task.handle.clone()));
            }
            self.set_state(id, TaskState::Held, now);
            return Begin::Wait;
        }
        let class = job.spec.class;
        let newcomer = job.view();
        if self.may_take(class) {
            self.take(id, class);
            let run = self.run(id, now);
            if class == Class::Stream {
                self.make_room(now, &newcomer, 0, actions);
            }
            return run;
        }
        self.enqueue(id, now);
        self.make_room_for(now, &newcomer, actions);
        Begin::Wait
    }

    /// Something a task waits for has happened. If it may not run now it takes its place in the queue, without being
    /// polled for that: where many tasks want few slots, most polls would end at the gate otherwise, and each of them
    /// costs its runtime as much as a short piece of work.
    pub fn wake(&mut self, now: Nanos, id: TaskId, actions: &mut Vec<Action<H>>) -> Woken {
        let Some(task) = self.tasks.get_mut(id) else {
            return Woken::Poll;
        };
        match task.state {
            TaskState::Idle => {}
            TaskState::Running => {
                task.woken = true;
                return Woken::Queued;
            }
            TaskState::Waiting | TaskState::Granted | TaskState::Suspended | TaskState::Held => {
                return Woken::Queued;
            }
        }
        let place = task.job;
        self.account(now);
        self.settle(now, actions);
        let Some(job) = self.jobs[place].as_ref() else {
            return Woken::Poll;
        };
        let newcomer = job.view();
        if job.held || self.may_take(newcomer.class) {
            return Woken::Poll;
        }
        self.enqueue(id, now);
        self.make_room_for(now, &newcomer, actions);
        self.settle(now, actions);
        Woken::Queued
    }

    /// An idle task that may not run now takes its place in the queue.
    fn enqueue(&mut self, id: TaskId, now: Nanos) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let Some(job) = self.jobs[task.job].as_mut() else {
            return;
        };
        task.since = now;
        // Only its user's resume leaves a suspended task idle: it goes on before new ones.
        if task.was_suspended {
            task.state = TaskState::Suspended;
            job.suspended.push_back(id);
        } else {
            task.state = TaskState::Waiting;
            job.waiting.push_back(id);
        }
        self.queued[job.spec.class as usize] += 1;
    }

    /// A task that holds a slot is polled.
    fn run(&mut self, id: TaskId, now: Nanos) -> Begin {
        let Some(task) = self.tasks.get_mut(id) else {
            return Begin::Wait;
        };
        let resumed_after = task.was_suspended.then(|| now.since(task.since));
        task.was_suspended = false;
        task.woken = false;
        task.state = TaskState::Running;
        task.since = now;
        task.started.get_or_insert(now);
        Begin::Run { resumed_after }
    }

    /// A poll ended with `Pending`.
    pub fn end(&mut self, now: Nanos, id: TaskId, actions: &mut Vec<Action<H>>) -> End {
        let Some(place) = self
            .tasks
            .get(id)
            .filter(|t| t.state == TaskState::Running)
            .map(|t| t.job)
        else {
            return End::Idle;
        };
        self.account(now);
        self.release(id, now);
        let (Some(job), Some(task)) = (self.jobs[place].as_mut(), self.tasks.get_mut(id)) else {
            return End::Idle;
        };
        let class = job.spec.class;
        let end = match task.requested.take() {
            Some((at, cause)) => {
                task.was_suspended = true;
                task.suspensions += u32::from(cause.is_urgency());
                End::Suspended {
                    after: now.since(at),
                    cause,
                }
            }
            None => End::Idle,
        };
        task.since = now;
        if job.held {
            task.state = TaskState::Held;
        } else if task.was_suspended {
            task.state = TaskState::Suspended;
            self.queued[class as usize] += 1;
            job.suspended.push_back(id);
        } else {
            task.state = TaskState::Idle;
            let newcomer = job.view();
            if task.woken {
                // It goes on behind those who wait.
                self.enqueue(id, now);
                self.settle(now, actions);
                self.make_room_for(now, &newcomer, actions);
            } else if class == Class::Stream && self.lingers() {
                self.lingering.push_back(now.plus(self.settings.linger));
            }
        }
        self.settle(now, actions);
        end
    }

    /// A task is over or given up, whatever its state: its poll ended with `Ready`, it panicked, or it was dropped.
    pub fn remove(&mut self, now: Nanos, id: TaskId, actions: &mut Vec<Action<H>>) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let (place, state) = (task.job, task.state);
        self.account(now);
        if state.holds_slot() {
            self.release(id, now);
        }
        self.tasks.remove(id);
        let Some(job) = self.jobs[place].as_mut() else {
            return;
        };
        let class = job.spec.class;
        let queue = match state {
            TaskState::Waiting => Some(&mut job.waiting),
            TaskState::Suspended => Some(&mut job.suspended),
            _ => None,
        };
        if let Some(queue) = queue {
            queue.retain(|t| *t != id);
            self.queued[class as usize] -= 1;
        }
        job.tasks -= 1;
        if class == Class::Stream {
            self.live_streams -= 1;
            if self.live_streams == 0 {
                self.lingering.clear();
            }
        }
        self.forget_if_over(place);
        self.settle(now, actions);
    }

    /// Calls `f` with the handle of every task.
    pub fn for_each_task(&self, f: impl FnMut(&H)) {
        self.tasks.values().map(|task| &task.handle).for_each(f);
    }

    /// How many tasks are where.
    pub fn counts(&self) -> SlotCounts {
        let mut counts = SlotCounts {
            slots: self.settings.slots,
            stream: self.holding[0],
            batch: self.holding[1],
            lingering: self.lingering.len(),
            tasks: self.tasks.len(),
            ..SlotCounts::default()
        };
        for task in self.tasks.values() {
            match task.state {
                TaskState::Waiting => counts.waiting += 1,
                TaskState::Suspended => counts.suspended += 1,
                TaskState::Held => counts.held += 1,
                _ => {}
            }
        }
        counts
    }

    /// The state of a task that exists.
    pub fn state(&self, id: TaskId) -> Option<TaskState> {
        self.tasks.get(id).map(|t| t.state)
    }

    fn set_state(&mut self, id: TaskId, state: TaskState, now: Nanos) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.state = state;
            task.since = now;
        }
    }
}
