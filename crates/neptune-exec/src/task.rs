//! A suspendable task: one spawned future, and the gate that every poll of it goes through.
//!
//! The gate asks the scheduler for a slot before it polls the future and gives it back after. A task that may not
//! run is simply not polled; a task that is asked to let go sees its yield flag at the next yield point,
//! returns `Pending`, and its slot goes to whoever needed it. "Suspended" therefore means exactly: the future exists, with all its
//! state, and nobody polls it. The transitions and races are in [`neptune_sched::TaskState`].

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::task::{ArcWake, AtomicWaker, waker_ref};
use neptune_sched::{Begin, Class, LocalScheduler, TaskId};

use crate::job::Job;
use crate::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use crate::sync::{Instant, thread_local};

/// One task. Everything that the scheduler keeps per task is here and in its table: well under 1 KiB.
#[derive(Debug)]
pub struct Task {
    id: TaskId,
    job: Arc<Job>,
    /// The attempt of the job it belongs to; a task of an earlier attempt is cancelled.
    attempt: u32,
    yield_flag: AtomicBool,
    started: AtomicBool,
    has_spawned: AtomicBool,
    /// Whether its owner gave it up.
    abandoned: AtomicBool,
    /// Whether it is counted as abandoned and not polled; changes under the scheduler's lock.
    pub(crate) awaits_thread: AtomicBool,
    /// Whether it was woken since its last poll began: further wakes say nothing new.
    woken: AtomicBool,
    /// Makes the runtime poll the gate.
    waker: AtomicWaker,
    memory: AtomicIsize,
}

impl Task {
    pub(crate) fn new(id: TaskId, job: Arc<Job>, attempt: u32) -> Self {
        Self {
            id,
            job,
            attempt,
            yield_flag: AtomicBool::new(false),
            started: AtomicBool::new(false),
            has_spawned: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            awaits_thread: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            memory: AtomicIsize::new(0),
        }
    }

    /// Its identity.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Its job.
    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// Bytes it holds in the memory pool.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed).max(0) as usize
    }

    /// Whether it was asked to yield and has not done so yet.
    #[inline]
    pub(crate) fn must_yield(&self) -> bool {
        self.yield_flag.load(Ordering::Relaxed)
    }

    pub(crate) fn set_yield(&self, on: bool) {
        self.yield_flag.store(on, Ordering::Relaxed);
    }

    /// The attempt of the job it belongs to.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it is polled for the first time; true once.
    pub(crate) fn is_first_poll(&self) -> bool {
        !self.started.swap(true, Ordering::Relaxed)
    }

    /// Notes that it spawned a child.
    pub(crate) fn spawns(&self) {
        self.has_spawned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_spawned(&self) -> bool {
        self.has_spawned.load(Ordering::Relaxed)
    }

    /// Makes the runtime poll the gate.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Takes its place in the queue before its first poll, which needs a free thread.
    pub(crate) fn arrives(self: &Arc<Self>) {
        ArcWake::wake_by_ref(self);
    }

    /// Its next poll begins: what woke it before is seen by that.
    fn forget_wakes(&self) {
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// Its owner gives it up; gives whether that was so before.
    pub(crate) fn abandon(&self) -> bool {
        self.abandoned.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.job.attempt() != self.attempt || self.job.is_cancelled()
    }

    /// Why it must not be polled any more, if so.
    fn interruption(&self) -> Option<&'static str> {
        if self.is_cancelled() {
            Some("cancelled")
        } else if self.is_abandoned() {
            Some("dropped")
        } else if self.job.node().is_stopped() {
            Some("shutdown")
        } else {
            None
        }
    }

    pub(crate) fn book_memory(&self, bytes: isize) {
        self.memory.fetch_add(bytes, Ordering::Relaxed);
        self.job.book_memory(bytes);
    }
}

/// How the future of a task is woken: by way of the scheduler, which queues a task that may not run now.
impl ArcWake for Task {
    fn wake_by_ref(task: &Arc<Self>) {
        if !task.woken.swap(true, Ordering::AcqRel) {
            task.job.node().woken(task);
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Task>>> = const { RefCell::new(None) };
    static LAST_CHECK: Cell<Option<Check>> = const { Cell::new(None) };
}

/// The task whose future is polled on this thread.
pub fn current_task() -> Option<Arc<Task>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Whether the task polled on this thread was asked to yield.
#[inline]
pub(crate) fn current_must_yield() -> bool {
    CURRENT.with(|current| {
        current
            .borrow()
            .as_ref()
            .is_some_and(|task| task.must_yield())
    })
}

/// Polls of stream tasks begun in this process.
///
/// A batch thread that a stream thread took the core from stands still on its way to a yield point; the clock does not. Time in
/// which a stream poll began therefore says nothing about the batch operator.
static STREAM_POLLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// The last yield point that the poll of a task came by on this thread.
#[derive(Clone, Copy)]
struct Check {
    at: Instant,
    streams: u64,
    /// The longest time between yield points inside operators since the last yield node.
    longest: Duration,
}

impl Check {
    fn at(now: Instant) -> Self {
        Self {
            at: now,
            streams: STREAM_POLLS.load(Ordering::Relaxed),
            longest: Duration::ZERO,
        }
    }

    /// The time to the next check, unless a stream task began in between.
    fn until(self, next: Self) -> Option<Duration> {
        (self.streams == next.streams).then(|| next.at.saturating_duration_since(self.at))
    }
}

/// The longest time between two yield points since the last call on this thread within the same poll of a task;
/// `None` outside tasks, and where a stream task began in between.
#[inline]
pub(crate) fn lap(now: Instant) -> Option<Duration> {
    LAST_CHECK.with(|check| {
        let last = check.get()?;
        let next = Check::at(now);
        check.set(Some(next));
        last.until(next).map(|stretch| stretch.max(last.longest))
    })
}

/// Notes a yield point inside an operator.
#[inline]
pub(crate) fn pass_yield_point() {
    LAST_CHECK.with(|check| {
        if let Some(last) = check.get() {
            let mut next = Check::at(Instant::now());
            next.longest = last.longest.max(last.until(next).unwrap_or_default());
            check.set(Some(next));
        }
    });
}

/// Makes `task` the current one of this thread until dropped.
struct Entered {
    before: Option<Arc<Task>>,
    last_check: Option<Check>,
}

impl Entered {
    fn new(task: &Arc<Task>, now: Option<Instant>) -> Self {
        Self {
            before: CURRENT.with(|current| current.replace(Some(Arc::clone(task)))),
            last_check: LAST_CHECK.with(|check| check.replace(now.map(Check::at))),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = CURRENT.with(|current| current.replace(self.before.take()));
        LAST_CHECK.with(|check| check.set(self.last_check));
        drop(left);
    }
}

/// Runs a blocking closure under the identity of `task`, so that what it reserves and spawns is the task's.
pub(crate) fn run_as<R>(task: &Arc<Task>, closure: impl FnOnce() -> R) -> R {
    let _entered = Entered::new(task, None);
    closure()
}

/// Why a task ended without a result of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

/// Bytes that the runtime keeps per task besides the task's own future: the shared record, the gate, and what the
/// scheduler's tables have of it. What a suspended query keeps of its data is no part of it.
pub const fn task_state_bytes() -> usize {
    // An `Arc` has two counters in front.
    let record = 2 * size_of::<usize>() + size_of::<Task>();
    record + size_of::<Gate<()>>() + LocalScheduler::<Arc<Task>>::task_record_bytes()
}

/// The gate around the future of a task. See the module's text.
pub(crate) struct Gate<T> {
    future: Option<BoxFuture<'static, T>>,
    task: Arc<Task>,
}

impl<T> Gate<T> {
    pub(crate) fn new(task: Arc<Task>, future: BoxFuture<'static, T>) -> Self {
        Self {
            future: Some(future),
            task,
        }
    }

    /// Drops the future, under the task's identity, and gives back slot and place.
    fn close(&mut self, cause: Option<&'static str>) {
        if let Some(future) = self.future.take() {
            let _removal = Removal {
                task: &self.task,
                cause,
            };
            let _entered = Entered::new(&self.task, None);
            self.task.job.node().taken_up(&self.task);
            drop(future);
        }
    }
}

/// Removes the task when dropped, so also if dropping its future panics.
struct Removal<'a> {
    task: &'a Arc<Task>,
    cause: Option<&'static str>,
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        self.task.job.node().remove(self.task, self.cause);
    }
}

/// Closes the gate if the poll it guards panics.
struct OnPanic<'a, T> {
    gate: &'a mut Gate<T>,
    returned: bool,
}

impl<T> Drop for OnPanic<'_, T> {
    fn drop(&mut self) {
        if !self.returned {
            self.gate.close(Some("panicked"));
        }
    }
}

impl<T> Future for Gate<T> {
    type Output = Result<T, Interrupted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // Registered before the scheduler is asked, so that no grant can fall in between.
        this.task.waker.register(cx.waker());
        if let Some(cause) = this.task.interruption() {
            this.close(Some(cause));
            return Poll::Ready(Err(Interrupted));
        }
        let node = Arc::clone(this.task.job.node());
        if this.future.is_none() {
            return Poll::Ready(Err(Interrupted));
        }
        if node.begin(&this.task) == Begin::Wait {
            return Poll::Pending;
        }
        // It may have been given up on the way here, and others wait for its thread then.
        if this.task.is_abandoned() {
            this.close(Some("dropped"));
            return Poll::Ready(Err(Interrupted));
        }
        if this.task.job.class() == Class::Stream {
            STREAM_POLLS.fetch_add(1, Ordering::Relaxed);
        }
        this.task.forget_wakes();
        let polled = {
            let task = Arc::clone(&this.task);
            let waker = waker_ref(&task);
            let mut cx = Context::from_waker(&waker);
            let mut guard = OnPanic {
                gate: this,
                returned: false,
            };
            let _entered = Entered::new(&guard.gate.task, Some(Instant::now()));
            let polled = guard
                .gate
                .future
                .as_mut()
                .map(|future| future.as_mut().poll(&mut cx));
            guard.returned = true;
            polled.unwrap_or(Poll::Pending)
        };
        match polled {
            Poll::Ready(value) => {
                this.close(None);
                Poll::Ready(Ok(value))
            }
            Poll::Pending => match this.task.interruption() {
                Some(cause) => {
                    this.close(Some(cause));
                    Poll::Ready(Err(Interrupted))
                }
                None => {
                    node.end(&this.task);
                    Poll::Pending
                }
            },
        }
    }
}

impl<T> Drop for Gate<T> {
    fn drop(&mut self) {
        self.close(Some("dropped"));
    }
}

/// A gated future that the tracer hands back to DataFusion, whose output type leaves no room for
/// "cancelled": it unwinds instead, without a message, and tokio reports the child as failed to its owner.
pub(crate) struct ChildGate<T>(pub(crate) Gate<T>);

impl<T> Future for ChildGate<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match std::task::ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(value) => Poll::Ready(value),
            Err(interrupted) => resume_unwind(Box::new(interrupted)),
        }
    }
}
