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

use std::collections::{HashMap, VecDeque};

use crate::policy::Preemption;
use crate::table::TaskTable;
use crate::{BatchShare, Class, JobId, Nanos, Policy, PolicyName, SchedSettings, TaskId, TaskState};

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

/// What the world outside has to do; `H` is the caller's handle of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<H> {
    /// Set the task's yield flag.
    Preempt(H),
    /// Wake the task's gate: it was granted a slot, or its job was resumed.
    Wake(H),
    /// Cancel the task's job and run it again.
    Kill(H),
}

/// The answer to a task that is about to be polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Poll it. If it was suspended and got its slot back: the time since it got it.
    Run {
        /// Time between the grant and this poll, for a task that had been suspended.
        resumed_after: Option<Nanos>,
    },
    /// Do not poll it; its waker will be called.
    Wait,
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
    requested: Option<Nanos>,
    was_suspended: bool,
    suspensions: u32,
    immune_until: Nanos,
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

    fn has_queued(&self) -> bool {
        !self.held && !(self.waiting.is_empty() && self.suspended.is_empty())
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
    paced_out: bool,
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
            paced_out: false,
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
        if !self.lingers() {
            self.lingering.clear();
        }
        self.dispatch(now, actions);
    }

    /// Makes a job known. Its record lives until [`end_job`](Self::end_job) and its last task's end.
    pub fn add_job(&mut self, id: JobId, spec: JobSpec) {
        let floor = self.jobs.iter().flatten().filter(|j| j.tasks > 0).map(|j| j.virtual_time).min();
        let job = Job {
            id,
            spec,
            age: self.submitted,
            held: false,
            ended: false,
            tasks: 0,
            virtual_time: floor.unwrap_or_default(),
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

    /// Forgets a job as soon as it has no tasks left.
    pub fn end_job(&mut self, id: JobId) {
        if let Some(&place) = self.places.get(&id) {
            if let Some(job) = self.jobs[place].as_mut() {
                job.ended = true;
            }
            self.forget_if_over(place);
        }
    }

    fn forget_if_over(&mut self, place: usize) {
        if let Some(job) = &self.jobs[place]
            && job.ended
            && job.tasks == 0
        {
            self.places.remove(&job.id);
            self.jobs[place] = None;
            self.free_jobs.push(place);
        }
    }

    /// Changes a job's priority and whether it may be killed; `None` leaves a value as it is.
    pub fn update_job(&mut self, id: JobId, priority: Option<i32>, killable: Option<bool>) {
        if let Some(job) = self.job_mut(id) {
            job.spec.priority = priority.unwrap_or(job.spec.priority);
            job.spec.killable = killable.unwrap_or(job.spec.killable);
        }
    }

    fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        let place = *self.places.get(&id)?;
        self.jobs[place].as_mut()
    }

    /// Adds a task to a job; `None` if the job is unknown or over.
    pub fn add_task(&mut self, now: Nanos, job: JobId, make: impl FnOnce(TaskId) -> H) -> Option<H> {
        let place = *self.places.get(&job)?;
        let record = self.jobs[place].as_mut()?;
        record.tasks += 1;
        if record.spec.class == Class::Stream {
            self.live_streams += 1;
        }
        let id = self.tasks.insert(|id| Task {
            handle: make(id),
            job: place,
            state: TaskState::Idle,
            since: now,
            requested: None,
            was_suspended: false,
            suspensions: 0,
            immune_until: Nanos(0),
        });
        self.tasks.get(id).map(|t| t.handle.clone())
    }

    /// A task is about to be polled: may it?
    pub fn begin(&mut self, now: Nanos, id: TaskId, actions: &mut Vec<Action<H>>) -> Begin {
        self.account(now);
        let Some(task) = self.tasks.get_mut(id) else { return Begin::Wait };
        match task.state {
            TaskState::Granted => {
                let resumed_after = task.was_suspended.then(|| now.since(task.since));
                task.was_suspended = false;
                task.state = TaskState::Running;
                task.since = now;
                return Begin::Run { resumed_after };
            }
            TaskState::Running => return Begin::Run { resumed_after: None },
            TaskState::Waiting | TaskState::Suspended | TaskState::Held => return Begin::Wait,
            TaskState::Idle => {}
        }
        // Only its user's resume leaves a suspended task idle; the time counts from then.
        let resumed_after = task.was_suspended.then(|| now.since(task.since));
        let place = task.job;
        let Some(job) = self.jobs[place].as_ref() else { return Begin::Wait };
        if job.held {
            self.set_state(id, TaskState::Held, now);
            return Begin::Wait;
        }
        let class = job.spec.class;
        let newcomer = job.view();
        if self.may_take(class) {
            self.take(id, class, TaskState::Running, now);
            self.forget_suspension(id);
            return Begin::Run { resumed_after };
        }
        if class == Class::Stream
            && self.policy.stream_starts_at_once()
            && self.holding[0] < self.stream_limit()
        {
            self.take(id, class, TaskState::Running, now);
            self.forget_suspension(id);
            self.make_room(now, &newcomer, 0, actions);
            return Begin::Run { resumed_after };
        }
        self.set_state(id, TaskState::Waiting, now);
        self.queued[class as usize] += 1;
        if let Some(job) = self.jobs[place].as_mut() {
            job.waiting.push_back(id);
        }
        if class == Class::Batch && self.holding[1] < self.policy.class_limit(class, &self.settings) {
            self.make_room(now, &newcomer, 1, actions);
        }
        Begin::Wait
    }

    /// A poll ended with `Pending`.
    pub fn end(&mut self, now: Nanos, id: TaskId, actions: &mut Vec<Action<H>>) -> End {
        self.account(now);
        let Some(place) = self.tasks.get(id).filter(|t| t.state == TaskState::Running).map(|t| t.job)
        else {
            return End::Idle;
        };
        self.release(id, now);
        let Some(job) = self.jobs[place].as_ref() else { return End::Idle };
        let (class, held) = (job.spec.class, job.held);
        let Some(task) = self.tasks.get_mut(id) else { return End::Idle };
        let requested = task.requested.take();
        let end = match requested {
            Some(at) => {
                task.was_suspended = true;
                task.suspensions += 1;
                End::Suspended { after: now.since(at) }
            }
            None => End::Idle,
        };
        if held {
            self.set_state(id, TaskState::Held, now);
        } else if requested.is_some() {
            self.set_state(id, TaskState::Suspended, now);
            self.queued[class as usize] += 1;
            if let Some(job) = self.jobs[place].as_mut() {
                job.suspended.push_back(id);
            }
        } else {
            self.set_state(id, TaskState::Idle, now);
            if class == Class::Stream && self.lingers() {
                self.lingering.push_back(now.plus(self.settings.linger));
            }
        }
        self.dispatch(now, actions);
        end
    }

    /// A task is over or given up, whatever its state: its poll ended with `Ready`, it panicked, or it was dropped.
    pub fn remove(&mut self, now: Nanos, id: TaskId, actions: &mut Vec<Action<H>>) {
        self.account(now);
        let Some(task) = self.tasks.get(id) else { return };
        let (place, state) = (task.job, task.state);
        if state.holds_slot() {
            self.release(id, now);
        }
        self.tasks.remove(id);
        let Some(job) = self.jobs[place].as_mut() else { return };
        let class = job.spec.class;
        match state {
            TaskState::Waiting => {
                job.waiting.retain(|t| *t != id);
                self.queued[class as usize] -= 1;
            }
            TaskState::Suspended => {
                job.suspended.retain(|t| *t != id);
                self.queued[class as usize] -= 1;
            }
            _ => {}
        }
        job.tasks -= 1;
        if class == Class::Stream {
            self.live_streams -= 1;
            if self.live_streams == 0 {
                self.lingering.clear();
            }
        }
        self.forget_if_over(place);
        self.dispatch(now, actions);
    }

    /// Suspends a whole job until [`resume_job`](Self::resume_job): the user's suspend, not the policy's.
    pub fn hold_job(&mut self, now: Nanos, id: JobId, actions: &mut Vec<Action<H>>) {
        self.account(now);
        let Some(&place) = self.places.get(&id) else { return };
        let Some(job) = self.jobs[place].as_mut() else { return };
        job.held = true;
        let class = job.spec.class as usize;
        let queued: Vec<TaskId> = job.waiting.drain(..).chain(job.suspended.drain(..)).collect();
        self.queued[class] -= queued.len();
        for task in queued {
            self.set_state(task, TaskState::Held, now);
        }
        for id in self.holders.clone() {
            let Some(task) = self.tasks.get_mut(id).filter(|t| t.job == place) else { continue };
            if task.state == TaskState::Granted {
                self.release(id, now);
                self.set_state(id, TaskState::Held, now);
            } else if task.requested.is_none() {
                task.requested = Some(now);
                actions.push(Action::Preempt(task.handle.clone()));
            }
        }
        self.dispatch(now, actions);
    }

    /// Lets a job go on that [`hold_job`](Self::hold_job) stopped; gives how many of its tasks waited for that.
    pub fn resume_job(&mut self, now: Nanos, id: JobId, actions: &mut Vec<Action<H>>) -> usize {
        self.account(now);
        let Some(&place) = self.places.get(&id) else { return 0 };
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
        held.len()
    }

    fn job_tasks(&self, place: usize, wanted: impl Fn(TaskState) -> bool) -> Vec<TaskId> {
        self.tasks.iter().filter(|(_, t)| t.job == place && wanted(t.state)).map(|(id, _)| id).collect()
    }

    /// The handles of all tasks of a job, to be woken when the job is cancelled.
    pub fn handles(&self, id: JobId) -> Vec<H> {
        let Some(&place) = self.places.get(&id) else { return Vec::new() };
        self.tasks.values().filter(|t| t.job == place).map(|t| t.handle.clone()).collect()
    }

    /// Whether a task of the job is being polled.
    pub fn is_polled(&self, id: JobId) -> bool {
        let Some(&place) = self.places.get(&id) else { return false };
        self.holders
            .iter()
            .filter_map(|t| self.tasks.get(*t))
            .any(|t| t.job == place && t.state == TaskState::Running)
    }

    /// Time passed: ends pauses, and makes streams leave a slot to batch work that is due.
    pub fn tick(&mut self, now: Nanos, actions: &mut Vec<Action<H>>) {
        self.account(now);
        while self.lingering.front().is_some_and(|end| *end <= now) {
            self.lingering.pop_front();
        }
        let excess = self.holding[0].saturating_sub(self.stream_limit());
        if excess > 0 {
            self.request(now, excess, actions, |job| job.spec.class == Class::Stream);
        }
        self.dispatch(now, actions);
    }

    /// Says whether batch work has to pause for the process to stay inside its CPU quota.
    pub fn set_paced_out(&mut self, now: Nanos, paced_out: bool, actions: &mut Vec<Action<H>>) {
        if self.paced_out == paced_out {
            return;
        }
        self.account(now);
        self.paced_out = paced_out;
        if paced_out {
            self.request(now, usize::MAX, actions, |job| job.spec.class == Class::Batch);
        } else {
            self.dispatch(now, actions);
        }
    }

    /// When [`tick`](Self::tick) has to be called next, if at all.
    pub fn next_tick(&self, now: Nanos) -> Option<Nanos> {
        let linger = if self.queued[1] > 0 { self.lingering.front().copied() } else { None };
        let rate = self.batch_rate();
        let share = if self.share.due() {
            Some(now.plus(Nanos::from_millis(1)))
        } else if rate > 0.0 && self.holding[0] >= self.settings.slots {
            self.share.due_at(rate)
        } else {
            None
        };
        [linger, share].into_iter().flatten().min()
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

    fn lingers(&self) -> bool {
        self.policy.stream_starts_at_once() && self.settings.linger > Nanos(0)
    }

    /// Slots streams may hold now: one less while batch work is due.
    fn stream_limit(&self) -> usize {
        let limit = self.policy.class_limit(Class::Stream, &self.settings);
        if self.share.due() && self.policy.protects_batch() {
            limit.min(self.settings.slots.saturating_sub(1))
        } else {
            limit
        }
    }

    /// Slots kept for the stream class in a pause, as far as its limit lets it use them.
    fn kept(&self) -> usize {
        self.lingering.len().min(self.stream_limit().saturating_sub(self.holding[0]))
    }

    fn is_free(&self) -> bool {
        self.holding[0] + self.holding[1] + self.kept() < self.settings.slots
    }

    fn may_take(&self, class: Class) -> bool {
        match class {
            Class::Stream => {
                self.holding[0] < self.stream_limit() && (self.kept() > 0 || self.is_free())
            }
            Class::Batch => {
                !self.paced_out
                    && self.holding[1] < self.policy.class_limit(class, &self.settings)
                    && self.is_free()
            }
        }
    }

    fn take(&mut self, id: TaskId, class: Class, state: TaskState, now: Nanos) {
        if class == Class::Stream {
            self.lingering.pop_front();
        }
        self.holding[class as usize] += 1;
        self.holders.push(id);
        self.set_state(id, state, now);
    }

    /// Gives a slot back and charges the job for its time; the state is the caller's to set.
    fn release(&mut self, id: TaskId, now: Nanos) {
        if let Some(at) = self.holders.iter().position(|t| *t == id) {
            self.holders.swap_remove(at);
        }
        let Some(task) = self.tasks.get(id) else { return };
        let ran = if task.state == TaskState::Running { now.since(task.since) } else { Nanos(0) };
        if let Some(job) = self.jobs[task.job].as_mut() {
            self.holding[job.spec.class as usize] -= 1;
            let weight = u64::from(job.spec.weight.max(1));
            job.virtual_time = job.virtual_time.plus(Nanos(ran.0 / weight));
        }
    }

    fn forget_suspension(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.was_suspended = false;
        }
    }

    fn set_state(&mut self, id: TaskId, state: TaskState, now: Nanos) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.state = state;
            task.since = now;
        }
    }

    /// Gets `missing` slots, plus those over-committed, from tasks that `newcomer` may preempt.
    fn make_room(&mut self, now: Nanos, newcomer: &JobView, missing: usize, actions: &mut Vec<Action<H>>) {
        if self.policy.preemption() == Preemption::None {
            return;
        }
        let used = self.holding[0] + self.holding[1] + self.kept();
        let leaving = self
            .holders
            .iter()
            .filter_map(|t| self.tasks.get(*t))
            .filter(|t| t.requested.is_some())
            .count();
        let needed = (used + missing).saturating_sub(self.settings.slots + leaving);
        if needed == 0 {
            return;
        }
        let (policy, newcomer) = (self.policy, *newcomer);
        self.request(now, needed, actions, move |job| policy.preempts(&newcomer, &job.view()));
    }

    /// Takes back grants of, and then asks, up to `wanted` tasks whose job fits to let go of their slot.
    ///
    /// A grant nobody has used yet comes back at once. Among running tasks those suspended least often come
    /// first, then those that began last: they have the least warm state and, if killed, lose the least.
    fn request(
        &mut self,
        now: Nanos,
        wanted: usize,
        actions: &mut Vec<Action<H>>,
        fits: impl Fn(&Job) -> bool,
    ) {
        let mut wanted = wanted;
        let granted: Vec<TaskId> = self.fitting(&fits, |t| t.state == TaskState::Granted);
        for id in granted.into_iter().take(wanted) {
            wanted -= 1;
            self.ungrant(id, now);
        }
        while wanted > 0 {
            let candidates = self.fitting(&fits, |t| {
                t.state == TaskState::Running && t.requested.is_none() && t.immune_until <= now
            });
            let victim = candidates.into_iter().min_by_key(|id| {
                self.tasks.get(*id).map(|t| (t.suspensions, std::cmp::Reverse(t.since)))
            });
            let Some(task) = victim.and_then(|id| self.tasks.get_mut(id)) else { return };
            task.requested = Some(now);
            let stream = self.jobs[task.job].as_ref().is_some_and(|j| j.spec.class == Class::Stream);
            actions.push(if self.policy.preemption() == Preemption::Kill && !stream && !self.paced_out {
                Action::Kill(task.handle.clone())
            } else {
                Action::Preempt(task.handle.clone())
            });
            wanted -= 1;
        }
    }

    fn fitting(&self, fits: impl Fn(&Job) -> bool, wanted: impl Fn(&Task<H>) -> bool) -> Vec<TaskId> {
        self.holders
            .iter()
            .copied()
            .filter(|id| {
                self.tasks
                    .get(*id)
                    .is_some_and(|t| wanted(t) && self.jobs[t.job].as_ref().is_some_and(&fits))
            })
            .collect()
    }

    /// Takes a grant back: the task stands at the head of its queue again.
    fn ungrant(&mut self, id: TaskId, now: Nanos) {
        self.release(id, now);
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.since = now;
        let Some(job) = self.jobs[task.job].as_mut() else { return };
        self.queued[job.spec.class as usize] += 1;
        if task.was_suspended {
            task.state = TaskState::Suspended;
            job.suspended.push_front(id);
        } else {
            task.state = TaskState::Waiting;
            job.waiting.push_front(id);
        }
    }

    /// Hands free slots to the best of those who wait.
    fn dispatch(&mut self, now: Nanos, actions: &mut Vec<Action<H>>) {
        while self.queued[0] + self.queued[1] > 0 {
            let open = Class::ALL.map(|c| self.queued[c as usize] > 0 && self.may_take(c));
            if open == [false, false] {
                return;
            }
            let due = self.share.due() && self.policy.protects_batch() && self.holding[1] == 0;
            let best = self
                .jobs
                .iter()
                .enumerate()
                .filter_map(|(place, job)| Some((place, job.as_ref()?)))
                .filter(|(_, job)| job.has_queued() && open[job.spec.class as usize])
                .min_by_key(|(_, job)| {
                    (due && job.spec.class == Class::Stream, self.policy.rank(&job.view()))
                })
                .map(|(place, _)| place);
            let Some(job) = best.and_then(|place| self.jobs[place].as_mut()) else { return };
            let class = job.spec.class;
            let Some(id) = job.suspended.pop_front().or_else(|| job.waiting.pop_front()) else { return };
            self.queued[class as usize] -= 1;
            self.take(id, class, TaskState::Granted, now);
            let (limit, grace) = (self.settings.max_suspensions, self.settings.grace);
            if let Some(task) = self.tasks.get_mut(id) {
                if task.was_suspended && task.suspensions > limit {
                    task.suspensions = 0;
                    task.immune_until = now.plus(grace);
                }
                actions.push(Action::Wake(task.handle.clone()));
            }
        }
    }

    fn batch_rate(&self) -> f64 {
        if self.policy.protects_batch() && !self.paced_out && self.holding[1] + self.queued[1] > 0 {
            self.settings.slots as f64 * self.settings.batch_min_share
        } else {
            0.0
        }
    }

    /// Charges the time since the last call to the batch class's account.
    fn account(&mut self, now: Nanos) {
        let running = self.holding[1].min(self.settings.slots.saturating_sub(self.holding[0]));
        self.share.advance(now, self.batch_rate(), running);
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
