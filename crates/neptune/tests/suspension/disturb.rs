//! What gets in a query's way: its user's suspensions at random moments, and stream queries that preempt it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use neptune::{Class, Session};
use neptune_exec::Job;
use tokio::task::JoinHandle;

/// A small generator of our own, so that a run is described by one number (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Lets a time pass that is mostly short.
    pub(crate) async fn pause(&mut self, longest: Duration) {
        let share = (self.below(1000) as f64 / 1000.0).powi(2);
        match self.below(8) {
            0 => tokio::task::yield_now().await,
            _ => tokio::time::sleep(longest.mul_f64(share)).await,
        }
    }
}

/// The seed of this run: `NEPTUNE_TEST_SEED`, or another one each time. It is printed, which shows when the test fails.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("NEPTUNE_TEST_SEED") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("NEPTUNE_TEST_SEED={text} is no number")),
        Err(_) => {
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(0) >> 32
        }
    };
    eprintln!("NEPTUNE_TEST_SEED={seed}");
    seed
}

/// Awaits `work`; until it is over, suspends and resumes the job that `job` gives at random moments.
///
/// While it is suspended none of its tasks may hold a slot; where another batch job is still ending, slots say nothing.
pub(crate) async fn suspending<T>(
    session: &Session,
    random: &mut Random,
    job: impl Fn() -> Option<Arc<Job>>,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = random.pause(Duration::from_millis(6)) => {}
        }
        let Some(job) = job() else { continue };
        job.suspend().await;
        let others = session.executor().jobs().into_iter().any(|other| {
            other.class() == Class::Batch && other.id() != job.id() && other.live_tasks() > 0
        });
        if others {
            job.resume();
            continue;
        }
        assert_eq!(
            session.executor().counts().batch,
            0,
            "a suspended job is polled"
        );
        random.pause(Duration::from_millis(3)).await;
        assert_eq!(
            session.executor().counts().batch,
            0,
            "a suspended job went on"
        );
        job.resume();
    }
}

/// Stream queries, one after the other with random pauses, until they are stopped.
pub(crate) struct Streams {
    stop: Arc<AtomicBool>,
    running: JoinHandle<u64>,
}

impl Streams {
    /// Starts them, with pauses up to `longest_pause`.
    pub(crate) fn start(session: &Session, seed: u64, longest_pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (session, stopped) = (session.clone(), Arc::clone(&stop));
        let running = tokio::spawn(async move {
            let mut random = Random::new(seed);
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                let rows = 1 + random.below(5000) as i64;
                let sql = format!("SELECT sum(value) AS sum FROM generate_series(1, {rows})");
                let query = session.context().sql(&sql).await.unwrap();
                let settings = session.job_settings("probe", Class::Stream);
                let batches = session.submit_as(query, settings).await.unwrap();
                let sum = batches[0].column(0).as_primitive::<Int64Type>().value(0);
                assert_eq!(sum, rows * (rows + 1) / 2);
                count += 1;
                random.pause(longest_pause).await;
            }
            count
        });
        Self { stop, running }
    }

    /// Stops them; gives how many there were.
    pub(crate) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.running.await.unwrap()
    }
}
