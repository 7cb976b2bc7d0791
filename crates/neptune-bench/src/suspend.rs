//! `bench suspend`: how quickly running queries can be suspended and resumed, wherever it strikes.
//!
//! Each query runs again and again until its time is over; meanwhile it is suspended at seeded random
//! instants and resumed after a seeded random pause. The times are those of the job: from the request until
//! none of its tasks is polled any more, and from the request until the first of those that waited is polled
//! again. They are taken by a driver on a raised thread of its own, and include its own waking, so they are upper
//! bounds; what the runtime measured per task is reported besides. Every run must give as many rows as one
//! that is left alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use neptune_exec::Realtime;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::runtime::Handle;

use crate::batch::Query;
use crate::chart::{BarChart, BarGroup, Chart};
use crate::driver;
use crate::error::{BenchError, Result};
use crate::report::{Case, Table, figure};
use crate::stats::Latencies;
use crate::suite::{Context, Findings, Suite};
use crate::workload::{self, Workload};

/// Name of the case that sums up all others.
const ALL: &str = "all";
/// Mean time that a query runs between two suspensions.
const MEAN_RUN: Duration = Duration::from_millis(15);
/// Longest time that it stays suspended.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);

/// A runtime that can suspend what it runs.
pub trait Suspender: Sync {
    /// A runtime on which the requests are made; it must not be the one that runs batch.
    fn handle(&self) -> Handle;

    /// Starts a query as a batch job.
    fn submit(&self, query: Arc<Query>) -> BoxFuture<'static, Result<Arc<dyn SuspendableJob>>>;
}

/// A job that can be suspended.
pub trait SuspendableJob: Send + Sync {
    /// Requests that it be suspended and waits until it is; gives the time between, or none when it
    /// ended first.
    fn suspend(&self) -> BoxFuture<'_, Result<Option<Duration>>>;

    /// Requests that it go on and waits until it does; gives the time between, or none when it was
    /// not suspended.
    fn resume(&self) -> BoxFuture<'_, Result<Option<Duration>>>;

    /// Waits for its end; may be called, and dropped, any number of times.
    fn ended(&self) -> BoxFuture<'_, Result<JobEnd>>;
}

/// What a job says of itself when it has ended.
#[derive(Debug, Clone, Default)]
pub struct JobEnd {
    /// Rows it gave.
    pub rows: u64,
    /// The longest time that it went without looking whether to suspend.
    pub longest_poll: Duration,
    /// The operator in which that was.
    pub longest_poll_operator: Option<String>,
    /// Request to suspended of each of its tasks, as the runtime measured it.
    pub task_suspend: neptune_exec::Latencies,
    /// Request or slot to polled again of each of its tasks, likewise.
    pub task_resume: neptune_exec::Latencies,
}

/// Makes a runtime with the workload's tables.
pub type MakeSuspender = Box<dyn Fn(&Workload) -> Result<Box<dyn Suspender>>>;

/// The suite with the runtime under test.
pub struct Suspend {
    suspender: MakeSuspender,
    queries: Option<Vec<Query>>,
    realtime: Realtime,
}

impl Suspend {
    /// Suspends the 22 queries of TPC-H and a query for each kind of operator. The driver's thread is
    /// raised as `realtime` says.
    pub fn new(suspender: MakeSuspender, realtime: Realtime) -> Self {
        Self {
            suspender,
            queries: None,
            realtime,
        }
    }
}

/// What was found of one query.
#[derive(Default)]
struct CaseFigures {
    name: String,
    suspend: Latencies,
    resume: Latencies,
    task_suspend: neptune_exec::Latencies,
    task_resume: neptune_exec::Latencies,
    runs: u64,
    longest: JobEnd,
}

impl Suite for Suspend {
    fn name(&self) -> &'static str {
        "suspend"
    }

    fn run(&self, context: &mut Context<'_>) -> Result<Findings> {
        let scale = match &context.workload.tables {
            workload::Tables::Tpch(paths) => paths.scale,
            workload::Tables::ProbeOnly => 1.0,
        };
        let queries = self
            .queries
            .clone()
            .unwrap_or_else(|| workload::all_queries(scale));
        context.check_only(queries.iter().map(|query| query.name.as_str()).chain([ALL]))?;
        let everything = context.only.iter().any(|name| name == ALL);
        let suspender = (self.suspender)(&context.workload)?;
        let handle = suspender.handle();
        let mut rng = ChaCha8Rng::seed_from_u64(context.seed);
        let mut cases = Vec::new();
        for query in queries {
            if !(everything || context.wants(&query.name)) {
                continue;
            }
            context.tell(&format!("suspending {}", query.name));
            (context.check)()?;
            let length = Duration::from_secs_f64(context.secs);
            let query = Arc::new(query);
            let measured = measure(&*suspender, &query, length, &mut rng);
            cases.push(on_driver(self.realtime, &handle, measured)?);
        }
        findings(context, cases)
    }
}

/// Runs to its end what makes the requests, on a raised thread of its own.
fn on_driver<T: Send>(
    realtime: Realtime,
    handle: &Handle,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    thread::scope(|scope| {
        let driver = thread::Builder::new()
            .name("bench-driver".to_owned())
            .spawn_scoped(scope, || {
                driver::raise(realtime);
                handle.block_on(work)
            });
        let driver = driver.map_err(|source| BenchError::Start {
            what: "the thread that suspends",
            source,
        })?;
        let panicked = |_| Err(BenchError::failed("suspend", "the driver panicked"));
        driver.join().unwrap_or_else(panicked)
    })
}

/// Suspends one query over and over until the time is over, at least through one run of it.
async fn measure(
    suspender: &dyn Suspender,
    query: &Arc<Query>,
    length: Duration,
    rng: &mut ChaCha8Rng,
) -> Result<CaseFigures> {
    let undisturbed = suspender.submit(Arc::clone(query)).await?.ended().await?;
    let mut figures = CaseFigures {
        name: query.name.clone(),
        longest: undisturbed.clone(),
        ..CaseFigures::default()
    };
    let start = Instant::now();
    loop {
        let job = suspender.submit(Arc::clone(query)).await?;
        let end = disturb(&*job, rng, &mut figures).await?;
        if end.rows != undisturbed.rows {
            let reason = format!(
                "{} rows under suspension instead of {}",
                end.rows, undisturbed.rows
            );
            return Err(BenchError::failed(&query.name, reason));
        }
        figures.runs += 1;
        figures.task_suspend.merge(&end.task_suspend);
        figures.task_resume.merge(&end.task_resume);
        if end.longest_poll > figures.longest.longest_poll {
            figures.longest = end;
        }
        if start.elapsed() >= length {
            return Ok(figures);
        }
    }
}

/// Suspends and resumes a job until it ends.
async fn disturb(
    job: &dyn SuspendableJob,
    rng: &mut ChaCha8Rng,
    figures: &mut CaseFigures,
) -> Result<JobEnd> {
    loop {
        let run = MEAN_RUN.mul_f64(-(1.0 - rng.random::<f64>()).ln());
        let pause = LONGEST_PAUSE.mul_f64(rng.random());
        if let Ok(end) = tokio::time::timeout(run, job.ended()).await {
            return end;
        }
        let Some(suspended) = job.suspend().await? else {
            return job.ended().await;
        };
        figures.suspend.record(suspended);
        tokio::time::sleep(pause).await;
        if let Some(resumed) = job.resume().await? {
            figures.resume.record(resumed);
        }
    }
}

fn findings(context: &Context<'_>, mut cases: Vec<CaseFigures>) -> Result<Findings> {
    let mut all = CaseFigures {
        name: ALL.to_owned(),
        ..CaseFigures::default()
    };
    for case in &cases {
        all.suspend.merge(&case.suspend);
        all.resume.merge(&case.resume);
        all.task_suspend.merge(&case.task_suspend);
        all.task_resume.merge(&case.task_resume);
        all.runs += case.runs;
        if case.longest.longest_poll > all.longest.longest_poll {
            all.longest = case.longest.clone();
        }
    }
    cases.push(all);
    let head = [
        "query",
        "suspensions",
        "p50",
        "p99",
        "max",
        "resume p50",
        "p99",
        "max",
        "longest poll",
        "in",
    ];
    let mut table = Table::new("Request to suspended, request to resumed, in ms", &head);
    let mut groups = Vec::new();
    let mut report_cases = Vec::new();
    for case in &cases {
        let (suspend, resume) = (case.suspend.percentiles(), case.resume.percentiles());
        let longest_poll = case.longest.longest_poll.as_secs_f64() * 1e3;
        table.row([
            case.name.clone(),
            case.suspend.len().to_string(),
            figure(suspend.map(|p| p.p50)),
            figure(suspend.map(|p| p.p99)),
            figure(suspend.map(|p| p.max)),
            figure(resume.map(|p| p.p50)),
            figure(resume.map(|p| p.p99)),
            figure(resume.map(|p| p.max)),
            figure(longest_poll),
            case.longest
                .longest_poll_operator
                .clone()
                .unwrap_or_default(),
        ]);
        groups.extend(suspend.map(|found| BarGroup {
            name: case.name.clone(),
            values: vec![found.p50, found.p99, found.max],
        }));
        let mut report_case = Case::new(&case.name);
        report_case.set("suspend_ms", suspend)?;
        report_case.set("resume_ms", resume)?;
        report_case.set("longest_poll_ms", longest_poll)?;
        report_case.set("longest_poll_operator", &case.longest.longest_poll_operator)?;
        report_case.set("suspensions", case.suspend.len())?;
        if case.task_suspend.count() > 0 {
            report_case.set("task_suspend_ms", case.task_suspend.percentiles())?;
            report_case.set("task_resume_ms", case.task_resume.percentiles())?;
        }
        report_case.set("runs", case.runs)?;
        report_cases.push(report_case);
    }
    let chart = (!groups.is_empty()).then(|| {
        Chart::Bars(BarChart {
            name: "suspend-latency".to_owned(),
            title: "From the request to suspend to the suspended task".to_owned(),
            subtitle: context.settings_line("suspended at random instants"),
            series: ["p50", "p99", "max"].map(str::to_owned).to_vec(),
            groups,
        })
    });
    let totals = BTreeMap::from([
        ("mean_run_ms".to_owned(), json!(MEAN_RUN.as_millis() as u64)),
        (
            "longest_pause_ms".to_owned(),
            json!(LONGEST_PAUSE.as_millis() as u64),
        ),
    ]);
    Ok(Findings {
        report: context.report("suspend", totals, report_cases),
        tables: vec![table],
        charts: chart.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline;
    use crate::workload::tests::small_workload;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::runtime::Runtime;
    use tokio::sync::watch;

    /// A runtime whose jobs take a while and take every request to suspend in a fixed time.
    struct Fake {
        runtime: Runtime,
        submitted: AtomicU64,
        /// Whether disturbed runs lose a row.
        loses_rows: bool,
    }

    struct FakeJob {
        end: watch::Receiver<Option<JobEnd>>,
    }

    impl Suspender for Arc<Fake> {
        fn handle(&self) -> Handle {
            self.runtime.handle().clone()
        }

        fn submit(&self, query: Arc<Query>) -> BoxFuture<'static, Result<Arc<dyn SuspendableJob>>> {
            let disturbed = self.submitted.fetch_add(1, Ordering::Relaxed) > 0;
            let rows = if self.loses_rows && disturbed { 9 } else { 10 };
            let (tell, end) = watch::channel(None);
            self.runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(60)).await;
                let _ = tell.send(Some(JobEnd {
                    rows,
                    longest_poll: Duration::from_millis(query.name.len() as u64),
                    longest_poll_operator: Some(format!("{}Exec", query.name)),
                    ..JobEnd::default()
                }));
            });
            Box::pin(async { Ok(Arc::new(FakeJob { end }) as Arc<dyn SuspendableJob>) })
        }
    }

    impl SuspendableJob for FakeJob {
        fn suspend(&self) -> BoxFuture<'_, Result<Option<Duration>>> {
            let over = self.end.borrow().is_some();
            Box::pin(async move { Ok((!over).then(|| Duration::from_micros(100))) })
        }

        fn resume(&self) -> BoxFuture<'_, Result<Option<Duration>>> {
            Box::pin(async { Ok(Some(Duration::from_micros(50))) })
        }

        fn ended(&self) -> BoxFuture<'_, Result<JobEnd>> {
            let mut end = self.end.clone();
            Box::pin(async move {
                let end = end.wait_for(Option::is_some).await;
                let end = end.map_err(|_| BenchError::failed("fake", "the job is gone"))?;
                Ok(end.clone().unwrap_or_default())
            })
        }
    }

    fn run(loses_rows: bool, only: &[&str]) -> Result<Findings> {
        let workload = small_workload();
        let queries = workload.queries.iter().map(|query| (**query).clone());
        let suspender: MakeSuspender = Box::new(move |_| {
            Ok(Box::new(Arc::new(Fake {
                runtime: baseline::runtime("fake", 2, Arc::new(|| {}))?,
                submitted: AtomicU64::new(0),
                loses_rows,
            })))
        });
        let suite = Suspend {
            suspender,
            queries: Some(queries.collect()),
            realtime: Realtime::Off,
        };
        suite.run(&mut Context {
            workload,
            secs: 0.3,
            only: only.iter().map(|&name| name.to_owned()).collect(),
            seed: 5,
            settings: BTreeMap::new(),
            allocator: "system".to_owned(),
            progress: &mut std::io::sink(),
            check: &mut || Ok(()),
        })
    }

    #[test]
    fn every_query_and_their_sum_have_their_figures() {
        let found = run(false, &[]).unwrap();
        let json = serde_json::to_value(&found.report).unwrap();
        let names: Vec<_> = found
            .report
            .cases
            .iter()
            .map(|case| case.name.as_str())
            .collect();
        assert_eq!(names, ["count", "sort", "all"]);
        let near = |value: &serde_json::Value, right: f64| {
            value
                .as_f64()
                .is_some_and(|left| (left / right - 1.0).abs() < 0.01)
        };
        for case in json["cases"].as_array().unwrap() {
            assert!(near(&case["suspend_ms"]["p99"], 0.1), "{case}");
            assert!(near(&case["resume_ms"]["max"], 0.05), "{case}");
            assert!(case["suspensions"].as_u64().unwrap() >= 3, "{case}");
        }
        assert_eq!(json["cases"][2]["longest_poll_operator"], "countExec");
        assert_eq!(json["cases"][2]["longest_poll_ms"], 5.0);
        found.charts[0].svg().unwrap();
    }

    #[test]
    fn rows_lost_under_suspension_fail_the_suite() {
        let Err(error) = run(true, &["sort"]) else {
            panic!("lost rows went unnoticed");
        };
        assert_eq!(
            error.to_string(),
            "case sort: 9 rows under suspension instead of 10"
        );
    }
}
