//! A job as the runtime sees it: identity, class, what its tasks hold and how often they were suspended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use neptune_sched::{Class, JobId, Nanos};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::latencies::Latencies;
use crate::node::Node;
use crate::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicUsize, Ordering};
use crate::task::Task;

/// What a job is, as given when it is created.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// Shown to people; need not be unique.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Larger goes first within a class.
    pub priority: i32,
    /// Weight under the `fair` policy, at least 1.
    pub weight: u32,
    /// Whether the `kill` policy may cancel it, which asks its owner to run it again: it must not have written anything.
    pub killable: bool,
}

impl JobSettings {
    /// A job of that name and class with priority 0 and weight 1, not killable.
    pub fn new(name: impl Into<String>, class: Class) -> Self {
        Self {
            name: name.into(),
            class,
            priority: 0,
            weight: 1,
            killable: false,
        }
    }
}

/// How often and how fast tasks of a job were suspended and resumed.
#[derive(Debug, Clone, Default)]
pub struct SuspensionStats {
    /// Suspensions so far.
    pub count: u64,
    /// Request to suspended.
    pub suspend: Latencies,
    /// Slot granted, or resume requested by the user, to polled again.
    pub resume: Latencies,
}

/// The longest time without a yield point, by operator.
pub type Stretches = BTreeMap<String, Duration>;

/// A running job. See the module's text.
#[derive(Debug)]
pub struct Job {
    id: JobId,
    name: Arc<str>,
    class: Class,
    node: Arc<Node>,
    attempt: AtomicU32,
    cancelled: AtomicBool,
    held: AtomicBool,
    memory: AtomicIsize,
    memory_peak: AtomicUsize,
    live: AtomicUsize,
    changed: Notify,
    suspensions: Mutex<SuspensionStats>,
    stretches: Mutex<Stretches>,
}

impl Job {
    pub(crate) fn new(id: JobId, settings: &JobSettings, node: Arc<Node>) -> Self {
        Self {
            id,
            name: settings.name.as_str().into(),
            class: settings.class,
            node,
            attempt: AtomicU32::new(0),
            cancelled: AtomicBool::new(false),
            held: AtomicBool::new(false),
            memory: AtomicIsize::new(0),
            memory_peak: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            changed: Notify::new(),
            suspensions: Mutex::default(),
            stretches: Mutex::default(),
        }
    }

    /// Its identity.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Suspends all tasks of the job, present and future, and returns when none of them is polled any more.
    pub async fn suspend(&self) {
        self.node.hold(self);
        self.changed.notify_waiters();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.held.load(Ordering::Acquire) || !self.node.is_polled(self.id) {
                return;
            }
            changed.await;
        }
    }

    /// Lets a suspended job go on; gives how many of its tasks waited for that.
    pub fn resume(&self) -> usize {
        let waited = self.node.release(self);
        self.changed.notify_waiters();
        waited
    }

    /// Lets a suspended job go on and returns when the first of its tasks is polled again, or the job is over or
    /// suspended once more. Gives whether a task waited for it; if none did, nothing is waited for.
    pub async fn resume_and_wait(&self) -> bool {
        let resumptions = || self.suspensions.lock().resume.count();
        let before = resumptions();
        if self.resume() == 0 {
            return false;
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if resumptions() > before || self.is_held() || self.live_tasks() == 0 {
                return true;
            }
            changed.await;
        }
    }

    /// Whether its user suspended it.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Cancels the job: every task of it drops its future and gives back slot and memory, whether it is running, blocked
    /// or suspended. [`drained`](Self::drained) tells when that is done.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.node.interrupt(self);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Only the scheduler's lock makes this agree with what the scheduler knows.
    pub(crate) fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }

    /// Ends the attempt of that number, unless it was ended before: its tasks are cancelled, and the owner's next
    /// tasks belong to the next attempt.
    pub(crate) fn kill(&self, attempt: u32) {
        let next = attempt.wrapping_add(1);
        if self
            .attempt
            .compare_exchange(attempt, next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            self.node.interrupt(self);
        }
    }

    /// The present attempt, counted from zero; it grows each time the `kill` policy chose the job.
    pub fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Acquire)
    }

    /// Forbids (or allows) the `kill` policy to choose this job, for instance since its results were handed out.
    pub fn set_killable(&self, killable: bool) {
        self.node.update_job(self.id, None, Some(killable));
    }

    /// Returns when the job has no task left.
    pub async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.live_tasks() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Tasks that exist, and blocking closures they spawned that are not over.
    pub fn live_tasks(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Bytes its tasks hold in the memory pool.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed).max(0) as usize
    }

    /// The most bytes its tasks held at a time.
    pub fn memory_peak(&self) -> usize {
        self.memory_peak.load(Ordering::Relaxed)
    }

    pub(crate) fn book_memory(&self, bytes: isize) {
        let now = self.memory.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if bytes > 0 {
            self.memory_peak
                .fetch_max(now.max(0) as usize, Ordering::Relaxed);
        }
    }

    /// Suspensions so far, with their latencies.
    pub fn suspensions(&self) -> SuspensionStats {
        self.suspensions.lock().clone()
    }

    /// The longest time without a yield point, by the operator that took it.
    pub fn stretches(&self) -> Stretches {
        self.stretches.lock().clone()
    }

    pub(crate) fn record_stretch(&self, operator: &str, stretch: Duration) {
        let mut stretches = self.stretches.lock();
        match stretches.get_mut(operator) {
            Some(longest) => *longest = stretch.max(*longest),
            None => {
                stretches.insert(operator.to_owned(), stretch);
            }
        }
    }

    pub(crate) fn record_suspension(&self, latency: Nanos) {
        let mut stats = self.suspensions.lock();
        stats.count += 1;
        stats.suspend.record(latency);
    }

    pub(crate) fn record_resumption(&self, latency: Nanos) {
        self.suspensions.lock().resume.record(latency);
        self.changed.notify_waiters();
    }

    /// A new task of an attempt of this job; `None` when the job is over.
    pub(crate) fn add_task(self: &Arc<Self>, attempt: u32) -> Option<Arc<Task>> {
        let task = self.node.add_task(self, attempt)?;
        self.live.fetch_add(1, Ordering::AcqRel);
        Some(task)
    }

    /// A blocking closure of this job begins to exist, until the guard is dropped.
    pub(crate) fn add_closure(self: &Arc<Self>) -> ClosureGuard {
        self.live.fetch_add(1, Ordering::AcqRel);
        ClosureGuard(Arc::clone(self))
    }

    pub(crate) fn task_ended(&self) {
        self.live.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    pub(crate) fn poll_ended(&self) {
        if self.is_held() {
            self.changed.notify_waiters();
        }
    }
}

/// See [`Job::add_closure`].
pub(crate) struct ClosureGuard(Arc<Job>);

impl Drop for ClosureGuard {
    fn drop(&mut self) {
        self.0.task_ended();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.node.end_job(self.id);
    }
}
