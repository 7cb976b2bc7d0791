//! The lock around the scheduler, and what follows from its decisions.
//!
//! Every poll of a task passes through here twice. The critical sections are a few hundred nanoseconds of plain
//! memory work: wakers are called and the log's file is written after the lock is released, while events enter the log in
//! memory under the lock, so that a task's history is in the order in which it happened. The clock is read before the
//! lock is taken, so times may arrive slightly out of order: the scheduler treats spans as zero then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::event_log::{Event, EventKind, EventLog};
use crate::job::{Job, JobSettings};
use crate::os;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Condvar, Instant, Mutex, wait};
use crate::task::Task;
use neptune_sched::{
    Action, Begin, Cause, Class, End, JobId, JobSpec, LocalScheduler, Nanos, Pacer, PolicyName,
    SchedSettings, SlotCounts, TaskState, Woken,
};

type Actions = Vec<Action<Arc<Task>>>;

/// The state of one executor that its tasks share.
pub(crate) struct Node {
    start: Instant,
    core: Mutex<LocalScheduler<Arc<Task>>>,
    /// When the ticker has to look next; `u64::MAX` for never.
    deadline: AtomicU64,
    ticker: (Mutex<()>, Condvar),
    stopped: AtomicBool,
    pub(crate) log: EventLog,
    jobs: Mutex<BTreeMap<JobId, Weak<Job>>>,
    next_job: AtomicU64,
    quota: Option<f64>,
    /// Whether the ticker does not compare CPU use with the quota, as there is no batch work.
    resting: AtomicBool,
    /// Batch tasks that wait for a thread [to drop them](Self::abandon); changes under the scheduler's lock.
    abandoned: AtomicUsize,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Node {
    pub(crate) fn new(settings: SchedSettings, policy: PolicyName, quota: Option<f64>) -> Self {
        Self {
            start: Instant::now(),
            core: Mutex::new(LocalScheduler::new(settings, policy)),
            deadline: AtomicU64::new(u64::MAX),
            ticker: (Mutex::new(()), Condvar::new()),
            stopped: AtomicBool::new(false),
            log: EventLog::default(),
            jobs: Mutex::default(),
            next_job: AtomicU64::new(1),
            quota,
            resting: AtomicBool::new(false),
            abandoned: AtomicUsize::new(0),
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        Nanos(self.start.elapsed().as_nanos() as u64)
    }

    /// Runs `decide` under the lock, then carries out what it decided.
    fn decide<R>(
        &self,
        decide: impl FnOnce(&mut LocalScheduler<Arc<Task>>, Nanos, &mut Actions) -> R,
    ) -> R {
        let now = self.now();
        let mut actions = Vec::new();
        let (result, next, paced) = {
            let mut core = self.core.lock();
            let result = decide(&mut core, now, &mut actions);
            for action in &actions {
                self.note(action);
            }
            let paced = self.quota.is_some()
                && core.batch_wants_to_run()
                && self.resting.swap(false, Ordering::Relaxed);
            (result, core.next_tick(now), paced)
        };
        let sooner =
            next.is_some_and(|next| next.0 < self.deadline.fetch_min(next.0, Ordering::Relaxed));
        if sooner || paced {
            let _guard = self.ticker.0.lock();
            self.ticker.1.notify_one();
        }
        for action in actions {
            match action {
                Action::Wake(task) => task.wake(),
                Action::Kill(task, _) => task.job().kill(task.attempt()),
                Action::Preempt(..) | Action::Stopped(_) => {}
            }
        }
        self.log.write_pending();
        result
    }

    /// The part of an action that belongs under the lock: its event, and the yield flag, which would otherwise be set
    /// now and then after the poll it was meant for, and cost the next one a yield.
    fn note(&self, action: &Action<Arc<Task>>) {
        match action {
            Action::Preempt(task, cause) => {
                task.set_yield(true);
                self.push(task, EventKind::SuspendRequested, Some(cause.name()), None);
            }
            Action::Kill(task, cause) => {
                task.set_yield(true);
                self.push(task, EventKind::Killed, Some(cause.name()), None);
            }
            Action::Stopped(task) => {
                self.push(task, EventKind::Suspended, Some(Cause::User.name()), None);
            }
            Action::Wake(_) => {}
        }
    }

    pub(crate) fn begin(&self, task: &Arc<Task>) -> Begin {
        let begin = self.decide(|core, now, actions| {
            let begin = core.begin(now, task.id(), actions);
            if let Begin::Run { resumed_after } = begin {
                let batch = task.job().class() == Class::Batch;
                if batch && self.abandoned.load(Ordering::Relaxed) > 0 {
                    task.set_yield(true);
                }
                if task.is_first_poll() {
                    self.push(task, EventKind::Started, None, None);
                }
                if let Some(after) = resumed_after {
                    self.push(task, EventKind::Resumed, None, Event::latency(after));
                }
            }
            begin
        });
        if let Begin::Run {
            resumed_after: Some(after),
        } = begin
        {
            task.job().record_resumption(after);
        }
        begin
    }

    /// Something that the task waits for has happened.
    pub(crate) fn woken(&self, task: &Arc<Task>) {
        if self.decide(|core, now, actions| core.wake(now, task.id(), actions)) == Woken::Poll {
            task.wake();
        }
    }

    pub(crate) fn end(&self, task: &Arc<Task>) {
        let end = self.decide(|core, now, actions| {
            task.set_yield(false);
            let end = core.end(now, task.id(), actions);
            if let End::Suspended { after, cause } = end {
                self.push(
                    task,
                    EventKind::Suspended,
                    Some(cause.name()),
                    Event::latency(after),
                );
            }
            end
        });
        if let End::Suspended { after, .. } = end {
            task.job().record_suspension(after);
        }
        task.job().poll_ended();
    }

    pub(crate) fn remove(&self, task: &Arc<Task>, cause: Option<&'static str>) {
        self.decide(|core, now, actions| {
            core.remove(now, task.id(), actions);
            self.forget_abandoned(task);
            self.push(task, EventKind::Finished, cause, None);
            if task.has_spawned() {
                // Children it gave up end where they yield.
                core.polled(task.job().id())
                    .for_each(|other| other.set_yield(true));
            }
        });
        task.job().task_ended();
    }

    fn push(
        &self,
        task: &Arc<Task>,
        event: EventKind,
        cause: Option<&'static str>,
        latency_us: Option<f64>,
    ) {
        let job = task.job();
        self.log.push(Event {
            t_us: self.now().0 as f64 / 1e3,
            event,
            job: job.id(),
            name: Arc::clone(job.name()),
            task: task.id(),
            class: job.class(),
            cause,
            latency_us,
        });
    }

    pub(crate) fn new_job(self: &Arc<Self>, settings: &JobSettings) -> Arc<Job> {
        let id = JobId(self.next_job.fetch_add(1, Ordering::Relaxed));
        let spec = JobSpec {
            class: settings.class,
            priority: settings.priority,
            weight: settings.weight.max(1),
            killable: settings.killable,
        };
        self.core.lock().add_job(id, spec);
        let job = Arc::new(Job::new(id, settings, Arc::clone(self)));
        self.jobs.lock().insert(id, Arc::downgrade(&job));
        job
    }

    pub(crate) fn end_job(&self, id: JobId) {
        self.jobs.lock().remove(&id);
        self.core.lock().end_job(id);
    }

    pub(crate) fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    pub(crate) fn add_task(&self, job: &Arc<Job>, attempt: u32) -> Option<Arc<Task>> {
        let now = self.now();
        let task = self.core.lock().add_task(now, job.id(), |id| {
            Arc::new(Task::new(id, Arc::clone(job), attempt))
        })?;
        self.push(&task, EventKind::Submitted, None, None);
        self.log.write_pending();
        Some(task)
    }

    /// Suspends a job. Its flag changes under the lock, so that it always agrees with the scheduler.
    pub(crate) fn hold(&self, job: &Job) {
        self.decide(|core, now, actions| {
            job.set_held(true);
            core.hold_job(now, job.id(), actions);
        });
    }

    /// Resumes a job; gives how many of its tasks waited for that.
    pub(crate) fn release(&self, job: &Job) -> usize {
        self.decide(|core, now, actions| {
            job.set_held(false);
            core.resume_job(now, job.id(), actions)
        })
    }

    /// Makes every task of the job look, at once, whether it was cancelled.
    pub(crate) fn interrupt(&self, job: &Job) {
        let tasks = self.core.lock().handles(job.id());
        for task in tasks {
            if task.is_cancelled() {
                self.abandon(&task);
            }
            task.wake();
        }
    }

    /// Has a task dropped that its owner gave up. One that is being polled is asked to yield, and its gate drops it then. Any
    /// other has to be polled for that, as tokio drops a future only where it would have polled it, and all batch threads may be
    /// busy: until one takes it up, batch tasks return to their runtime at each yield point. (The stream runtime has a
    /// thread for such things.)
    pub(crate) fn abandon(&self, task: &Arc<Task>) {
        let core = self.core.lock();
        let Some(state) = core.state(task.id()) else {
            return;
        };
        if task.abandon() {
            return;
        }
        if state == TaskState::Running {
            task.set_yield(true);
        } else if task.job().class() == Class::Batch {
            task.awaits_thread.store(true, Ordering::Relaxed);
            self.abandoned.fetch_add(1, Ordering::Relaxed);
            let polled = core.all_polled();
            let batch = polled.filter(|task| task.job().class() == Class::Batch);
            batch.for_each(|task| task.set_yield(true));
        }
    }

    /// A thread has taken up a task that was [abandoned](Self::abandon), to drop it.
    pub(crate) fn taken_up(&self, task: &Task) {
        let _core = self.core.lock();
        self.forget_abandoned(task);
    }

    /// To be called under the scheduler's lock.
    fn forget_abandoned(&self, task: &Task) {
        if task.awaits_thread.swap(false, Ordering::Relaxed) {
            self.abandoned.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn update_job(&self, job: JobId, priority: Option<i32>, killable: Option<bool>) {
        self.decide(|core, now, actions| core.update_job(now, job, priority, killable, actions));
    }

    pub(crate) fn is_polled(&self, job: JobId) -> bool {
        self.core.lock().polled(job).next().is_some()
    }

    pub(crate) fn counts(&self) -> SlotCounts {
        self.core.lock().counts()
    }

    pub(crate) fn policy(&self) -> PolicyName {
        self.core.lock().policy()
    }

    /// Changes policy and settings; the number of slots stays.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut PolicyName, &mut SchedSettings)) {
        self.decide(|core, now, actions| {
            let (mut policy, mut settings) = (core.policy(), core.settings().clone());
            let slots = settings.slots;
            change(&mut policy, &mut settings);
            settings.slots = slots;
            core.configure(now, policy, settings, actions);
        });
    }

    /// Whether the executor was shut down.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends the ticker, and makes tasks that are being polled yield, so that their runtime can drop them.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.core.lock().for_each_task(|task| task.set_yield(true));
        let _guard = self.ticker.0.lock();
        self.ticker.1.notify_one();
    }

    /// The body of the ticker thread: ends pauses, watches the minimum share and the CPU quota.
    pub(crate) fn run_ticker(&self) {
        let mut pacer = self.quota.map(|cores| {
            // A stream thread and a batch thread per slot.
            let most = 2.0 * self.counts().slots as f64;
            Pacer::new(cores, most, self.now(), as_nanos(os::process_cpu_time()))
        });
        loop {
            let (next, look_in) = self.tick(pacer.as_mut());
            let guard = self.ticker.0.lock();
            // Looked at under the lock, as everything else that is announced by a notice.
            if self.is_stopped() {
                return;
            }
            // A deadline stored since the tick is smaller than `next`, and its notice came before this lock or
            // will come after it is given up.
            let left = match next
                .map_or(u64::MAX, |n| n.0)
                .min(self.deadline.load(Ordering::Relaxed))
            {
                u64::MAX => None,
                at => Some(Duration::from_nanos(Nanos(at).since(self.now()).0)),
            };
            let pace = look_in.filter(|_| !self.rests());
            let timeout = [left, pace].into_iter().flatten().min();
            drop(wait(&self.ticker.1, guard, timeout));
        }
    }

    /// Whether the quota need not be watched; who begins batch work then says so.
    fn rests(&self) -> bool {
        // Set first: work that begins before it is looked at is seen here, and later work sees this.
        self.resting.store(true, Ordering::Relaxed);
        let rests = !self.core.lock().batch_wants_to_run();
        self.resting.store(rests, Ordering::Relaxed);
        rests
    }

    /// Gives when the scheduler and when the pacer want to be called again.
    fn tick(&self, pacer: Option<&mut Pacer>) -> (Option<Nanos>, Option<Duration>) {
        self.deadline.store(u64::MAX, Ordering::Relaxed);
        self.decide(|core, now, actions| {
            let pace = pacer.map(|pacer| pacer.advance(now, as_nanos(os::process_cpu_time())));
            if let Some(pace) = pace {
                core.set_paced_out(now, !pace.may_run, actions);
            }
            core.tick(now, actions);
            let look_in = pace.map(|pace| Duration::from_nanos(pace.look_in.0));
            (core.next_tick(now), look_in)
        })
    }
}

fn as_nanos(span: Duration) -> Nanos {
    Nanos(span.as_nanos() as u64)
}
