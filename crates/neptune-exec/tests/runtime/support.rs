//! Executors, and futures that count how often they are polled.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use neptune_exec::yielding::poll_yield;
use neptune_exec::{Demote, Executor, ExecutorConfig, Job, JobSettings, Realtime};
use neptune_sched::{Class, PolicyName, SchedSettings, SlotCounts};

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// An executor that asks nothing of the operating system.
pub(crate) fn executor(slots: usize, policy: PolicyName) -> Executor {
    Executor::start(ExecutorConfig {
        sched: SchedSettings::new(slots),
        policy,
        realtime: Realtime::Off,
        demote: Demote::Off,
        cpu_quota: None,
        ..ExecutorConfig::default()
    })
    .unwrap()
}

pub(crate) fn job(executor: &Executor, class: Class) -> Arc<Job> {
    executor.job(&JobSettings::new(format!("{class} job"), class))
}

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Waits for a condition that nothing announces.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// Nothing is left of anything that ran on the executor.
pub(crate) async fn is_empty(executor: &Executor) {
    let slots = executor.counts().slots;
    let empty = SlotCounts {
        slots,
        ..SlotCounts::default()
    };
    until("an empty executor", || {
        SlotCounts {
            lingering: 0,
            ..executor.counts()
        } == empty
    })
    .await;
    assert_eq!(executor.memory_pool().reserved(), 0);
}

/// What a [`Busy`] future does, seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    polls: AtomicUsize,
    rounds: AtomicUsize,
    stop: AtomicBool,
    dropped: AtomicUsize,
}

impl Gauge {
    pub(crate) fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.load(Ordering::SeqCst)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Futures of this gauge that were dropped.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    /// A future that works until it is stopped or asked to yield.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        Busy(Arc::clone(self))
    }

    /// Returns when work has been done after this call.
    pub(crate) async fn works(&self) {
        let before = self.rounds();
        until("work", || self.rounds() > before + 1).await;
    }

    /// Counts a future as dropped when it is dropped.
    pub(crate) fn guard(self: &Arc<Self>) -> Dropped {
        Dropped(Arc::clone(self))
    }
}

pub(crate) struct Dropped(Arc<Gauge>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// See [`Gauge::busy`]. It never returns by itself from a poll.
pub(crate) struct Busy(Arc<Gauge>);

impl Future for Busy {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        self.0.polls.fetch_add(1, Ordering::SeqCst);
        loop {
            let round = self.0.rounds.fetch_add(1, Ordering::SeqCst);
            spin(Duration::from_micros(20));
            if self.0.stop.load(Ordering::SeqCst) {
                return Poll::Ready(round);
            }
            if poll_yield(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Keeps the core for a while.
pub(crate) fn spin(span: Duration) {
    let start = Instant::now();
    while start.elapsed() < span {
        std::hint::spin_loop();
    }
}

/// Counts the polls of `future`.
pub(crate) fn counted<F: Future>(gauge: Arc<Gauge>, future: F) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    std::future::poll_fn(move |cx| {
        gauge.polls.fetch_add(1, Ordering::SeqCst);
        future.as_mut().poll(cx)
    })
}

/// A seed from `NEPTUNE_TEST_SEED`, or the given one; printed, so that a failure shows it.
pub(crate) fn seed(default: u64) -> u64 {
    let given = std::env::var("NEPTUNE_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or(default);
    println!("NEPTUNE_TEST_SEED={seed}");
    seed
}

/// A generator of numbers that depend on a seed only (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}
