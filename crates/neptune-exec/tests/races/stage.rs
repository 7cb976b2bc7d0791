//! What the scenes are played with: a node, jobs, and futures whose polls are watched.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt;
use neptune_sched::{Class, Nanos, PolicyName, SchedSettings, SlotCounts};
use shuttle::future::JoinHandle;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use crate::job::{Job, JobSettings};
use crate::node::Node;
use crate::sync;
use crate::task::{Gate, Interrupted, current_task};

/// Interleavings of each scene and scheduler.
const ITERATIONS: usize = 1_000;

/// Plays a scene under random schedules, and under schedules with few but well-placed changes of thread.
pub(crate) fn check(scene: fn()) {
    let scene = move || {
        sync::reset_clock();
        scene();
    };
    let config = || {
        let mut config = Config::new();
        config.stack_size = 1 << 18;
        config
    };
    Runner::new(RandomScheduler::new(ITERATIONS), config()).run(scene);
    Runner::new(PctScheduler::new(3, ITERATIONS), config()).run(scene);
}

/// A node with its ticker.
pub(crate) struct Stage {
    pub(crate) node: Arc<Node>,
    ticker: Option<shuttle::thread::JoinHandle<()>>,
    /// Futures of a class that are being polled.
    polled: [Arc<AtomicIsize>; 2],
}

impl Stage {
    pub(crate) fn new(slots: usize, policy: PolicyName) -> Self {
        let settings = SchedSettings {
            linger: Nanos::from_micros(300),
            ..SchedSettings::new(slots)
        };
        let node = Arc::new(Node::new(settings, policy, None));
        let ticking = Arc::clone(&node);
        let ticker = Some(shuttle::thread::spawn(move || ticking.run_ticker()));
        Self {
            node,
            ticker,
            polled: Default::default(),
        }
    }

    pub(crate) fn job(&self, class: Class) -> Arc<Job> {
        self.node.new_job(&JobSettings {
            killable: true,
            ..JobSettings::new("scene", class)
        })
    }

    /// Spawns a task; a panic of its future ends as it would in a runtime.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        job: &Arc<Job>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<Result<T, Interrupted>>> {
        let task = job.add_task(job.attempt()).unwrap();
        let watched = Watched {
            future: Box::pin(future),
            polled: Arc::clone(&self.polled[job.class() as usize]),
            limit: self.node.counts().slots as isize,
        };
        task.arrives();
        let gate = Gate::new(task, Box::pin(watched));
        shuttle::future::spawn(AssertUnwindSafe(gate).catch_unwind().map(Result::ok))
    }

    /// Ends the ticker, and finds nothing left of the jobs.
    pub(crate) fn finish(mut self, jobs: &[&Arc<Job>]) {
        for job in jobs {
            shuttle::future::block_on(job.drained());
            assert_eq!(job.live_tasks(), 0);
        }
        let counts = self.node.counts();
        let empty = SlotCounts {
            slots: counts.slots,
            ..SlotCounts::default()
        };
        assert_eq!(
            SlotCounts {
                lingering: 0,
                ..counts
            },
            empty
        );
        self.node.stop();
        self.ticker.take().unwrap().join().unwrap();
    }
}

/// A future that notices when too many of its class are polled at a time.
struct Watched<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    polled: Arc<AtomicIsize>,
    limit: isize,
}

impl<T> Future for Watched<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let at_a_time = self.polled.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(
            at_a_time <= self.limit,
            "{at_a_time} tasks of a class are polled at a time"
        );
        let leave = Leave(Arc::clone(&self.polled));
        let polled = self.future.as_mut().poll(cx);
        drop(leave);
        polled
    }
}

struct Leave(Arc<AtomicIsize>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Works for some rounds, each of which is a yield point; gives back how often it was polled.
pub(crate) async fn work(rounds: usize, polls: Arc<AtomicUsize>) {
    let mut left = rounds;
    poll_fn(move |cx| {
        polls.fetch_add(1, Ordering::SeqCst);
        while left > 0 {
            left -= 1;
            if current_task().unwrap().must_yield() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Waits once, without being woken by anybody but itself.
pub(crate) async fn pause() {
    let mut paused = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
