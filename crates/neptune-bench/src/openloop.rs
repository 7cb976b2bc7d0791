//! An open-loop load driver: it starts a probe at each intended instant whether or not earlier ones
//! have finished, and counts a probe's latency from that instant, not from when it got to run.
//!
//! A closed loop, which waits for one probe before it starts the next, leaves out exactly the probes
//! that a stall would have delayed ("coordinated omission"): a stall of a second then counts as one
//! slow probe instead of fifty. Here the fifty start on time, wait, and are all counted. Probes that
//! never finish count with the age they reached, so that hanging cannot look better than being slow.
//!
//! The driver is a thread of its own that sleeps with the finest timer slack the system grants. How
//! late it woke is part of every latency, and reported besides as the driver's own `lag`, so that a
//! reader can tell a slow system from a slow driver.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Handle;

use crate::error::{BenchError, Result};
use crate::stats::Latencies;

/// When probes are due, counted from the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// One every `period`, exactly.
    Fixed {
        /// Time between two probes.
        period: Duration,
    },
    /// One in every `period`, at a seeded random place within `jitter` of its start.
    ///
    /// A fixed period that is a multiple of the kernel's tick would meet every tick at the same
    /// phase and see only one of the delays that a probe can meet; jitter of a tick's length sees all.
    Jittered {
        /// Time between the starts of two intervals.
        period: Duration,
        /// Length of the part of an interval in which its probe is due.
        jitter: Duration,
        /// Same seed, same instants.
        seed: u64,
    },
    /// Seeded random arrivals that know nothing of each other, `mean` apart on average.
    Poisson {
        /// Mean time between two probes.
        mean: Duration,
        /// Same seed, same instants.
        seed: u64,
    },
}

impl Arrivals {
    /// The intended instants, as times since the start, rising without end.
    pub fn offsets(self) -> impl Iterator<Item = Duration> + Send {
        let seed = match self {
            Self::Fixed { .. } => 0,
            Self::Jittered { seed, .. } | Self::Poisson { seed, .. } => seed,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut elapsed = Duration::ZERO;
        (0_u32..).map(move |index| match self {
            Self::Fixed { period } => period * index,
            Self::Jittered { period, jitter, .. } => {
                period * index + jitter.min(period).mul_f64(rng.random::<f64>())
            }
            Self::Poisson { mean, .. } => {
                let due = elapsed;
                // 1 - u lies in (0, 1], so that the logarithm is finite.
                elapsed += mean.mul_f64(-(1.0 - rng.random::<f64>()).ln());
                due
            }
        })
    }
}

/// When a run ends.
#[derive(Debug, Clone)]
pub enum Bound {
    /// After so many probes.
    Count(u64),
    /// With the last probe due before this much time has passed.
    Time(Duration),
    /// As soon as the flag is raised, seen when the next probe is due, or after the time given.
    Flag(Arc<AtomicBool>, Duration),
}

/// How a run goes.
pub struct Settings {
    /// When probes are due.
    pub arrivals: Arrivals,
    /// When to start no more of them.
    pub bound: Bound,
    /// How long to wait at the end for probes still under way.
    pub drain: Duration,
    /// With so many probes under way the run ends early, marked as overloaded.
    pub max_in_flight: usize,
    /// Called first on the driver's thread: the place to raise its scheduling class.
    pub on_thread_start: Box<dyn FnOnce() + Send>,
}

impl Settings {
    /// A run with a minute to drain, at most 10,000 probes at once, on an ordinary thread.
    pub fn new(arrivals: Arrivals, bound: Bound) -> Self {
        Self {
            arrivals,
            bound,
            drain: Duration::from_secs(60),
            max_in_flight: 10_000,
            on_thread_start: Box::new(|| {}),
        }
    }
}

/// One probe that was due: when, and how long until it was done (or given up waiting for).
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it should have started.
    pub intended: Instant,
    /// From then to its end.
    pub latency: Duration,
}

/// What a run found.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Every probe that succeeded or never ended, in the order of their ends.
    pub samples: Vec<Sample>,
    /// How late the driver itself was at each start.
    pub lag: Latencies,
    /// Probes started.
    pub started: u64,
    /// Probes that returned an error or were dropped before their end; not among the samples.
    pub failed: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// Probes that had not ended when the drain time was over; among the samples with their age.
    pub unfinished: u64,
    /// The most probes under way at once.
    pub max_in_flight: usize,
    /// Whether the run ended early because too many probes were under way.
    pub overloaded: bool,
}

impl Outcome {
    /// The latencies of all samples.
    pub fn latencies(&self) -> Latencies {
        let mut latencies = Latencies::new();
        latencies.extend(self.samples.iter().map(|sample| sample.latency));
        latencies
    }

    /// Adds the findings of a further run of the same case.
    pub fn merge(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.lag.merge(&other.lag);
        self.started += other.started;
        self.failed += other.failed;
        self.first_error = self.first_error.take().or(other.first_error);
        self.unfinished += other.unfinished;
        self.max_in_flight = self.max_in_flight.max(other.max_in_flight);
        self.overloaded |= other.overloaded;
    }
}

/// Runs probes on the runtime of `handle` until the bound is reached; blocks the caller meanwhile.
///
/// `probe` makes the future of the n-th probe, counted from 0; it runs on the driver's thread and
/// must not block. A failing probe does not end the run: see [`Outcome::failed`].
///
/// # Errors
/// When the driver's thread cannot be started, or `probe` itself panics.
pub fn run<F, Fut, E>(handle: &Handle, settings: Settings, probe: F) -> Result<Outcome>
where
    F: FnMut(u64) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Display,
{
    let handle = handle.clone();
    thread::Builder::new()
        .name("bench-driver".to_owned())
        .spawn(move || drive(&handle, settings, probe))
        .map_err(|source| BenchError::Start {
            what: "the load driver's thread",
            source,
        })?
        .join()
        .map_err(|_| BenchError::failed("open loop", "the load driver's thread panicked"))
}

fn drive<F, Fut, E>(handle: &Handle, settings: Settings, mut probe: F) -> Outcome
where
    F: FnMut(u64) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Display,
{
    (settings.on_thread_start)();
    tighten_timer_slack();
    let (ended, ends) = mpsc::channel();
    let mut flights = Flights {
        ends,
        due: BTreeMap::new(),
        outcome: Outcome::default(),
    };
    let origin = Instant::now();
    for (index, offset) in (0_u64..).zip(settings.arrivals.offsets()) {
        let over = match &settings.bound {
            Bound::Count(count) => index >= *count,
            Bound::Time(time) => offset >= *time,
            Bound::Flag(flag, time) => flag.load(Ordering::Acquire) || offset >= *time,
        };
        if over {
            break;
        }
        let intended = origin + offset;
        sleep_until(intended);
        if let Bound::Flag(flag, _) = &settings.bound
            && flag.load(Ordering::Acquire)
        {
            break;
        }
        flights.land_ready();
        if flights.due.len() >= settings.max_in_flight {
            flights.outcome.overloaded = true;
            break;
        }
        flights.outcome.lag.record(intended.elapsed());
        flights.start(index, intended);
        let ticket = Ticket {
            index,
            ended: Some(ended.clone()),
        };
        let future = probe(index);
        handle.spawn(async move {
            let result = future.await.map_err(|error| error.to_string());
            ticket.finish(result);
        });
    }
    drop(ended);
    flights.drain(settings.drain)
}

/// The end of one probe.
struct End {
    index: u64,
    at: Instant,
    result: Result<(), String>,
}

/// Tells the driver how a probe ended, also when its task is dropped or panics.
struct Ticket {
    index: u64,
    ended: Option<Sender<End>>,
}

impl Ticket {
    fn finish(mut self, result: Result<(), String>) {
        self.send(result);
    }

    fn send(&mut self, result: Result<(), String>) {
        let at = Instant::now();
        if let Some(ended) = self.ended.take() {
            // The driver may have given up waiting; then nobody wants to know.
            let _ = ended.send(End {
                index: self.index,
                at,
                result,
            });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.send(Err("the probe was dropped before its end".to_owned()));
    }
}

/// The probes under way and what has been found so far.
struct Flights {
    ends: Receiver<End>,
    due: BTreeMap<u64, Instant>,
    outcome: Outcome,
}

impl Flights {
    fn start(&mut self, index: u64, intended: Instant) {
        self.due.insert(index, intended);
        self.outcome.started += 1;
        self.outcome.max_in_flight = self.outcome.max_in_flight.max(self.due.len());
    }

    fn land(&mut self, end: End) {
        let Some(intended) = self.due.remove(&end.index) else {
            return;
        };
        match end.result {
            Ok(()) => self.outcome.samples.push(Sample {
                intended,
                latency: end.at.saturating_duration_since(intended),
            }),
            Err(error) => {
                self.outcome.failed += 1;
                self.outcome.first_error.get_or_insert(error);
            }
        }
    }

    fn land_ready(&mut self) {
        while let Ok(end) = self.ends.try_recv() {
            self.land(end);
        }
    }

    fn drain(mut self, patience: Duration) -> Outcome {
        let deadline = Instant::now() + patience;
        while !self.due.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.ends.recv_timeout(left) {
                Ok(end) => self.land(end),
                Err(_) => break,
            }
        }
        let now = Instant::now();
        self.outcome.unfinished = self.due.len() as u64;
        let ages = self.due.into_values().map(|intended| Sample {
            intended,
            latency: now.saturating_duration_since(intended),
        });
        self.outcome.samples.extend(ages);
        self.outcome
    }
}

fn sleep_until(instant: Instant) {
    loop {
        let left = instant.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left);
    }
}

/// Asks for wake-ups exactly when due; by default the kernel may add 50 µs to save power.
///
/// The slack of a thread can be set through its own directory in `/proc`; where that is refused the
/// driver is a little later, which its lag shows.
fn tighten_timer_slack() {
    let Ok(this_thread) = fs::read_link("/proc/thread-self") else {
        return;
    };
    if let Some(id) = this_thread.file_name().and_then(|id| id.to_str())
        && let Err(error) = fs::write(format!("/proc/{id}/timerslack_ns"), "1")
    {
        tracing::debug!(%error, "the load driver keeps the default timer slack");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tokio::runtime::{Builder, Runtime};

    const MS: Duration = Duration::from_millis(1);

    fn runtime() -> Runtime {
        Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap()
    }

    fn every(period: Duration, count: u64) -> Settings {
        Settings::new(Arrivals::Fixed { period }, Bound::Count(count))
    }

    #[test]
    fn a_stall_delays_and_counts_every_probe_due_while_it_lasts() {
        // The only worker thread is blocked for 300 ms from the first of 40 probes, 10 ms apart.
        // A driver that waits for each probe would see one slow probe; in truth 30 were due
        // meanwhile and waited on average half of the stall.
        let runtime = runtime();
        let outcome = run(runtime.handle(), every(10 * MS, 40), |index| async move {
            if index == 0 {
                thread::sleep(300 * MS);
            }
            Ok::<_, Infallible>(())
        })
        .unwrap();
        let latencies = outcome.latencies();
        let slow = |least: Duration| {
            let slow = outcome.samples.iter().filter(|s| s.latency >= least);
            slow.count()
        };
        assert_eq!((outcome.started, latencies.len()), (40, 40));
        assert!(slow(95 * MS) >= 20, "{} of at least 20", slow(95 * MS));
        assert!(
            latencies.quantile_ms(0.5) >= 90.0,
            "{:?}",
            latencies.percentiles()
        );
        assert!(outcome.max_in_flight >= 20, "{}", outcome.max_in_flight);
    }

    #[test]
    fn probes_start_on_time_while_earlier_ones_are_under_way() {
        let runtime = runtime();
        let outcome = run(runtime.handle(), every(5 * MS, 20), |_| async {
            tokio::time::sleep(50 * MS).await;
            Ok::<_, Infallible>(())
        })
        .unwrap();
        let found = outcome.latencies().percentiles().unwrap();
        assert!(found.p50 >= 50.0 && outcome.max_in_flight >= 5, "{found:?}");
        assert_eq!(outcome.lag.len(), 20);
    }

    #[test]
    fn a_probe_that_never_ends_counts_with_its_age() {
        let runtime = runtime();
        let mut settings = every(10 * MS, 3);
        settings.drain = 100 * MS;
        let outcome = run(runtime.handle(), settings, |index| async move {
            if index == 1 {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(())
        })
        .unwrap();
        assert_eq!((outcome.unfinished, outcome.samples.len()), (1, 3));
        assert!(outcome.latencies().percentiles().unwrap().max >= 100.0);
    }

    #[test]
    fn failed_and_panicking_probes_are_counted_apart() {
        let runtime = runtime();
        let outcome = run(runtime.handle(), every(MS, 10), |index| async move {
            match index {
                2 => Err("no such table"),
                5 => panic!("a probe that panics"),
                _ => Ok(()),
            }
        })
        .unwrap();
        assert_eq!((outcome.failed, outcome.samples.len()), (2, 8));
        assert_eq!(outcome.first_error.as_deref(), Some("no such table"));
    }

    #[test]
    fn too_many_probes_at_once_end_the_run_as_overloaded() {
        let runtime = runtime();
        let mut settings = every(MS, 1000);
        (settings.max_in_flight, settings.drain) = (4, Duration::ZERO);
        let outcome = run(runtime.handle(), settings, |_| {
            std::future::pending::<Result<(), Infallible>>()
        })
        .unwrap();
        assert!(outcome.overloaded);
        assert_eq!((outcome.started, outcome.unfinished), (4, 4));
    }

    #[test]
    fn a_raised_flag_ends_the_run() {
        let runtime = runtime();
        let flag = Arc::new(AtomicBool::new(false));
        let raise = Arc::clone(&flag);
        let settings = Settings::new(
            Arrivals::Fixed { period: MS },
            Bound::Flag(flag, Duration::from_secs(60)),
        );
        let outcome = run(runtime.handle(), settings, move |index| {
            raise.store(index == 9, Ordering::Release);
            async { Ok::<_, Infallible>(()) }
        })
        .unwrap();
        assert_eq!(outcome.started, 10);
    }

    #[test]
    fn the_callback_runs_on_the_thread_that_makes_the_probes() {
        let runtime = runtime();
        let (tell, told) = mpsc::channel();
        let mut settings = every(MS, 1);
        let tell_start = tell.clone();
        settings.on_thread_start = Box::new(move || {
            tell_start.send(thread::current().id()).unwrap();
        });
        run(runtime.handle(), settings, move |_| {
            tell.send(thread::current().id()).unwrap();
            async { Ok::<_, Infallible>(()) }
        })
        .unwrap();
        let threads: Vec<_> = told.iter().collect();
        assert_eq!(threads.len(), 2);
        assert_eq!(threads[0], threads[1]);
        assert_ne!(threads[0], thread::current().id());
    }

    #[test]
    fn arrivals_follow_their_rule_and_their_seed() {
        let period = 20 * MS;
        let fixed: Vec<_> = Arrivals::Fixed { period }.offsets().take(3).collect();
        assert_eq!(fixed, [Duration::ZERO, period, 2 * period]);

        let jittered = |seed| {
            let jitter = 4 * MS;
            Arrivals::Jittered {
                period,
                jitter,
                seed,
            }
            .offsets()
            .take(100)
            .collect::<Vec<_>>()
        };
        for (index, offset) in (0_u32..).zip(jittered(7)) {
            assert!(offset >= period * index && offset < period * index + 4 * MS);
        }
        assert_eq!(jittered(7), jittered(7));
        assert_ne!(jittered(7), jittered(8));

        let poisson = Arrivals::Poisson {
            mean: period,
            seed: 3,
        };
        let offsets: Vec<_> = poisson.offsets().take(10_001).collect();
        assert!(offsets.is_sorted());
        let mean = offsets[10_000].as_secs_f64() / 10_000.0;
        assert!((mean - 0.02).abs() < 0.001, "{mean}");
    }

    #[test]
    fn a_time_bound_takes_the_probes_due_before_it() {
        let runtime = runtime();
        let settings = Settings::new(Arrivals::Fixed { period: 10 * MS }, Bound::Time(45 * MS));
        let outcome = run(runtime.handle(), settings, |_| async {
            Ok::<_, Infallible>(())
        });
        assert_eq!(outcome.unwrap().started, 5);
    }
}
