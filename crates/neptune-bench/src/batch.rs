//! The batch half of the mix: queries run round robin until stopped, with a log of what was done when.
//!
//! A rate taken over a fixed stretch of time would depend on where in a long query the stretch ends.
//! So the log keeps each query's start and end, and a [rate](Work::rate) is taken from the start
//! to the last end inside the stretch; a stretch in which nothing ended counts whole, with nothing
//! done, so that starving shows. Queries differ in size by a factor of a hundred, so the rate is in
//! *work*: seconds that the query takes by itself on an otherwise idle machine. Batch that has the
//! machine to itself does about one second of work per second, whatever queries it happened to meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::Result;

/// A query of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its name, as `--batch-query` and `--only` take it.
    pub name: String,
    /// Its text.
    pub sql: String,
    /// Settings of the engine it needs, as key and value.
    pub settings: Vec<(String, String)>,
}

/// Runs one query to its end, wherever and however the design under test does, and says how many rows
/// it gave. Dropping the future must stop the query.
pub type QueryRunner =
    Arc<dyn Fn(Arc<Query>) -> BoxFuture<'static, Result<u64>> + Send + Sync + 'static>;

/// One query that ran to its end.
#[derive(Debug, Clone, Copy)]
pub struct QueryRun {
    /// Place of the query in the list.
    pub query: usize,
    /// When it was started.
    pub start: Instant,
    /// When its last row had come.
    pub end: Instant,
    /// Rows it gave.
    pub rows: u64,
}

/// What one loop did.
#[derive(Debug, Clone, Default)]
struct LoopLog {
    runs: Vec<QueryRun>,
    running: Option<(usize, Instant)>,
    error: Option<String>,
}

/// Batch queries running in a loop. Dropping it stops them without waiting.
pub struct BatchLoop {
    handle: Handle,
    loops: Vec<(Arc<Mutex<LoopLog>>, JoinHandle<()>)>,
    done: Arc<AtomicU64>,
    started: Instant,
}

impl BatchLoop {
    /// Starts `loops` loops over `queries` on the runtime of `handle`, the first from query `from`, the
    /// others from evenly spread places behind it.
    pub fn start(
        handle: &Handle,
        queries: &Arc<[Arc<Query>]>,
        from: usize,
        loops: usize,
        runner: &QueryRunner,
    ) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let loops = (0..loops)
            .map(|index| {
                let first = from + index * queries.len() / loops;
                let log = Arc::new(Mutex::new(LoopLog::default()));
                let task = run_loop(
                    Arc::clone(queries),
                    first,
                    Arc::clone(runner),
                    Arc::clone(&log),
                    Arc::clone(&done),
                );
                (log, handle.spawn(task))
            })
            .collect();
        Self {
            handle: handle.clone(),
            loops,
            done,
            started,
        }
    }

    /// Queries run to their end so far.
    pub fn queries_done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Stops the loops, waits until they have stopped and hands back the log. A query under way is
    /// dropped, which takes until its next yield to the runtime. Must not be called from async code.
    pub fn stop(mut self) -> BatchLog {
        let stopped = Instant::now();
        let loops = std::mem::take(&mut self.loops);
        for (_, task) in &loops {
            task.abort();
        }
        let logs = loops.into_iter().map(|(log, task)| {
            let panicked = match self.handle.block_on(task) {
                Err(error) if error.is_panic() => Some("the loop panicked".to_owned()),
                _ => None,
            };
            let mut log = std::mem::take(&mut *log.lock());
            log.error = log.error.or(panicked);
            log
        });
        BatchLog {
            started: self.started,
            stopped,
            loops: logs.collect(),
        }
    }
}

impl Drop for BatchLoop {
    fn drop(&mut self) {
        for (_, task) in &self.loops {
            task.abort();
        }
    }
}

async fn run_loop(
    queries: Arc<[Arc<Query>]>,
    first: usize,
    runner: QueryRunner,
    log: Arc<Mutex<LoopLog>>,
    done: Arc<AtomicU64>,
) {
    if queries.is_empty() {
        return;
    }
    let mut query = first % queries.len();
    loop {
        let start = Instant::now();
        log.lock().running = Some((query, start));
        let result = runner(Arc::clone(&queries[query])).await;
        let end = Instant::now();
        let mut log = log.lock();
        log.running = None;
        match result {
            Ok(rows) => log.runs.push(QueryRun {
                query,
                start,
                end,
                rows,
            }),
            Err(error) => {
                log.error = Some(error.to_string());
                return;
            }
        }
        drop(log);
        done.fetch_add(1, Ordering::Relaxed);
        query = (query + 1) % queries.len();
    }
}

/// What a [`BatchLoop`] did.
#[derive(Debug, Clone)]
pub struct BatchLog {
    started: Instant,
    stopped: Instant,
    loops: Vec<LoopLog>,
}

/// Work done and the time it took; both add up over stretches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// Seconds that the finished queries take alone, per loop.
    pub work_s: f64,
    /// Seconds they took here, per loop.
    pub elapsed_s: f64,
    /// Queries finished.
    pub queries: u64,
    /// Rows they gave.
    pub rows: u64,
}

impl Work {
    /// Work done per second, all loops together; none when no time passed.
    pub fn rate(&self, loops: usize) -> Option<f64> {
        (self.elapsed_s > 0.0).then(|| self.work_s / self.elapsed_s * loops as f64)
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            work_s: self.work_s + other.work_s,
            elapsed_s: self.elapsed_s + other.elapsed_s,
            queries: self.queries + other.queries,
            rows: self.rows + other.rows,
        }
    }
}

impl BatchLog {
    /// The work done until it was stopped, with `weights` the seconds each query takes alone.
    pub fn work(&self, weights: &[f64]) -> Work {
        let loops = self.loops.iter().map(|log| {
            let ended = log.runs.iter().filter(|run| run.end <= self.stopped);
            let mut work = Work::default();
            let mut last = None;
            for run in ended {
                work.work_s += weights.get(run.query).copied().unwrap_or(0.0);
                work.queries += 1;
                work.rows += run.rows;
                last = Some(run.end);
            }
            let until = last.unwrap_or(self.stopped);
            work.elapsed_s = seconds(until.saturating_duration_since(self.started));
            work
        });
        loops.fold(Work::default(), Work::plus)
    }

    /// Where the next stretch should go on: at the query that was interrupted, so that every query
    /// gets its turn, or behind it if it used up a whole stretch without ending.
    pub fn next_query(&self) -> Option<usize> {
        let first = self.loops.first()?;
        match (&first.running, first.runs.last()) {
            (Some((query, _)), Some(_)) => Some(*query),
            (Some((query, _)), None) => Some(query + 1),
            (None, last) => last.map(|run| run.query + 1),
        }
    }

    /// The queries that were running at some moment between two instants.
    pub fn running_between(&self, from: Instant, to: Instant) -> impl Iterator<Item = usize> {
        self.loops.iter().flat_map(move |log| {
            let ended = log
                .runs
                .iter()
                .filter(move |run| run.start <= to && run.end >= from)
                .map(|run| run.query);
            let running = log.running.filter(|(_, start)| *start <= to);
            ended.chain(running.map(|(query, _)| query))
        })
    }

    /// What the first failed query said, if one failed.
    pub fn error(&self) -> Option<&str> {
        self.loops.iter().find_map(|log| log.error.as_deref())
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::BenchError;
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::mpsc;

    fn runtime() -> Runtime {
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap()
    }

    fn queries(names: &[&str]) -> Arc<[Arc<Query>]> {
        let query = |name: &&str| Query {
            name: (*name).to_owned(),
            sql: String::new(),
            settings: Vec::new(),
        };
        names.iter().map(query).map(Arc::new).collect()
    }

    fn at(origin: Instant, seconds: f64) -> Instant {
        origin + Duration::from_secs_f64(seconds)
    }

    fn log_of(
        origin: Instant,
        stopped: f64,
        runs: &[(usize, f64, f64)],
        running: Option<(usize, f64)>,
    ) -> BatchLog {
        let runs = runs.iter().map(|&(query, start, end)| QueryRun {
            query,
            start: at(origin, start),
            end: at(origin, end),
            rows: 10,
        });
        BatchLog {
            started: origin,
            stopped: at(origin, stopped),
            loops: vec![LoopLog {
                runs: runs.collect(),
                running: running.map(|(query, start)| (query, at(origin, start))),
                error: None,
            }],
        }
    }

    #[test]
    fn queries_run_round_robin_until_stopped() {
        let runtime = runtime();
        let (tell, mut told) = mpsc::unbounded_channel();
        let runner: QueryRunner = Arc::new(move |query| {
            let tell = tell.clone();
            Box::pin(async move {
                tokio::task::yield_now().await;
                let _ = tell.send(query.name.clone());
                Ok(3)
            })
        });
        let batch = BatchLoop::start(runtime.handle(), &queries(&["a", "b", "c"]), 1, 1, &runner);
        let seen: Vec<_> = (0..7).map(|_| told.blocking_recv().unwrap()).collect();
        assert_eq!(seen, ["b", "c", "a", "b", "c", "a", "b"]);
        let log = batch.stop();
        let work = log.work(&[1.0; 3]);
        assert!(
            work.queries >= 6 && work.rows == 3 * work.queries,
            "{work:?}"
        );
        assert_eq!(log.error(), None);
    }

    #[test]
    fn stopping_drops_the_query_under_way() {
        struct Bomb(std::sync::mpsc::Sender<()>);
        impl Drop for Bomb {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let runtime = runtime();
        let (tell, told) = std::sync::mpsc::channel();
        let (begun, begins) = std::sync::mpsc::channel();
        let runner: QueryRunner = Arc::new(move |_| {
            let bomb = Bomb(tell.clone());
            let begun = begun.clone();
            Box::pin(async move {
                let _bomb = bomb;
                let _ = begun.send(());
                std::future::pending().await
            })
        });
        let batch = BatchLoop::start(
            runtime.handle(),
            &queries(&["forever", "other"]),
            0,
            1,
            &runner,
        );
        begins.recv().unwrap();
        let log = batch.stop();
        told.try_recv().expect("dropped by the time stop returns");
        let work = log.work(&[1.0, 1.0]);
        assert_eq!((work.queries, work.work_s), (0, 0.0));
        assert!(work.elapsed_s > 0.0, "the time in vain counts");
        assert_eq!(
            log.next_query(),
            Some(1),
            "a query that blocks everything is passed over"
        );
    }

    #[test]
    fn a_failing_query_ends_its_loop_and_is_told() {
        let runtime = runtime();
        let runner: QueryRunner = Arc::new(|query| {
            Box::pin(async move {
                match query.name.as_str() {
                    "bad" => Err(BenchError::failed("bad", "no such table")),
                    _ => Ok(0),
                }
            })
        });
        let batch = BatchLoop::start(runtime.handle(), &queries(&["good", "bad"]), 0, 1, &runner);
        while !batch.loops[0].1.is_finished() {
            std::thread::yield_now();
        }
        assert_eq!(batch.queries_done(), 1);
        let log = batch.stop();
        assert!(log.error().unwrap().contains("no such table"));
    }

    #[test]
    fn loops_start_evenly_spread() {
        let runtime = runtime();
        let (tell, told) = std::sync::mpsc::channel();
        let runner: QueryRunner = Arc::new(move |query| {
            let _ = tell.send(query.name.clone());
            Box::pin(std::future::pending())
        });
        let names = ["a", "b", "c", "d"];
        let batch = BatchLoop::start(runtime.handle(), &queries(&names), 3, 2, &runner);
        let mut first = [told.recv().unwrap(), told.recv().unwrap()];
        first.sort();
        assert_eq!(first, ["b", "d"]);
        batch.stop();
    }

    #[test]
    fn work_is_counted_to_the_last_end() {
        let origin = Instant::now();
        let weights = [1.0, 4.0];
        let cases = [
            // Twice as slow as alone; the interrupted query neither helps nor harms.
            (
                log_of(
                    origin,
                    15.0,
                    &[(0, 0.0, 2.0), (1, 2.0, 10.0)],
                    Some((0, 10.0)),
                ),
                5.0,
                10.0,
            ),
            // Nothing ended: the whole stretch counts.
            (log_of(origin, 3.0, &[], Some((1, 0.0))), 0.0, 3.0),
            // An end after the stop does not count.
            (
                log_of(origin, 3.0, &[(0, 0.0, 2.0), (0, 2.0, 3.5)], None),
                1.0,
                2.0,
            ),
        ];
        for (log, work_s, elapsed_s) in cases {
            let work = log.work(&weights);
            assert_eq!(
                (work.work_s, work.elapsed_s),
                (work_s, elapsed_s),
                "{log:?}"
            );
        }
    }

    #[test]
    fn the_next_stretch_goes_on_where_this_one_was_interrupted() {
        let origin = Instant::now();
        let cases = [
            (
                log_of(origin, 9.0, &[(0, 0.0, 2.0)], Some((1, 2.0))),
                Some(1),
            ),
            (log_of(origin, 9.0, &[], Some((1, 0.0))), Some(2)),
            (log_of(origin, 9.0, &[(4, 0.0, 2.0)], None), Some(5)),
            (log_of(origin, 9.0, &[], None), None),
        ];
        for (log, expected) in cases {
            assert_eq!(log.next_query(), expected, "{log:?}");
        }
    }

    #[test]
    fn queries_are_found_by_the_time_they_ran() {
        let origin = Instant::now();
        let log = log_of(origin, 9.0, &[(0, 0.0, 2.0), (1, 2.0, 4.0)], Some((2, 4.0)));
        let cases = [
            (0.5, 1.0, vec![0]),
            (1.5, 2.5, vec![0, 1]),
            (3.0, 5.0, vec![1, 2]),
            (5.0, 6.0, vec![2]),
        ];
        for (from, to, expected) in cases {
            let found: Vec<_> = log
                .running_between(at(origin, from), at(origin, to))
                .collect();
            assert_eq!(found, expected, "{from} to {to}");
        }
    }
}
