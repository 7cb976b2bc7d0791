//! The designs that need nothing of Neptune's: DataFusion on tokio, as its users run it today.
//!
//! - `shared_runtime`: one runtime of `c` threads for both, which is what a program gets that does
//!   nothing about the matter. It is the reference for the others.
//! - `two_runtimes`: one each, of `c` threads, left to the operating system's scheduler.
//! - `os_only`: the same with the batch threads demoted by a hook, since how to demote a thread is
//!   the business of the runtime.

use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::batch::{BatchLog, BatchLoop, Query, QueryRunner};
use crate::design::{Design, Running};
use crate::error::{BenchError, Result};
use crate::workload::Workload;

/// Called on each new thread of a runtime.
pub type ThreadHook = Arc<dyn Fn() + Send + Sync>;

/// How long to wait for the threads of a runtime: longer than the longest poll ever measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// A design on plain tokio runtimes and plain sessions.
pub struct Baseline {
    name: &'static str,
    threads: Threads,
}

enum Threads {
    Shared,
    Apart { batch_hook: ThreadHook },
}

impl Baseline {
    /// One runtime runs both.
    pub fn shared_runtime() -> Self {
        Self {
            name: "shared_runtime",
            threads: Threads::Shared,
        }
    }

    /// Two runtimes of equal standing.
    pub fn two_runtimes() -> Self {
        Self {
            name: "two_runtimes",
            threads: Threads::Apart {
                batch_hook: Arc::new(|| {}),
            },
        }
    }

    /// Two runtimes; `demote` is called on each thread of the batch runtime.
    pub fn os_only(demote: ThreadHook) -> Self {
        Self {
            name: "os_only",
            threads: Threads::Apart { batch_hook: demote },
        }
    }
}

impl Design for Baseline {
    fn name(&self) -> &str {
        self.name
    }

    fn start(&self, workload: &Workload) -> Result<Box<dyn Running>> {
        let stream = runtime("stream", workload.slots, Arc::new(|| {}))?;
        let batch = match &self.threads {
            Threads::Shared => None,
            Threads::Apart { batch_hook } => {
                Some(runtime("batch", workload.slots, Arc::clone(batch_hook))?)
            }
        };
        let context = plain_context(workload.slots);
        stream.block_on(workload.register(&context))?;
        Ok(Box::new(RunningBaseline {
            runner: plain_runner(context.clone()),
            context,
            workload: workload.clone(),
            stream,
            batch,
            running: None,
        }))
    }
}

/// A runtime of `threads` workers; `hook` runs on each of its threads, those for blocking work included.
pub(crate) fn runtime(name: &str, threads: usize, hook: ThreadHook) -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .on_thread_start(move || hook())
        .enable_all()
        .build()
        .map_err(|source| BenchError::Start {
            what: "a tokio runtime",
            source,
        })
}

/// A session with one partition per slot and everything else as the engine has it.
pub fn plain_context(slots: usize) -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(slots))
}

/// Runs queries on plain DataFusion, counting rows as they come and keeping none.
pub fn plain_runner(context: SessionContext) -> QueryRunner {
    Arc::new(move |query| {
        let context = context.clone();
        Box::pin(async move { run_query(&context, &query).await })
    })
}

/// Runs one query under its own settings, if it has any, and counts its rows.
pub(crate) async fn run_query(context: &SessionContext, query: &Query) -> Result<u64> {
    let count = async {
        let context = with_settings(context, &query.settings)?;
        let mut stream = context.sql(&query.sql).await?.execute_stream().await?;
        let mut rows = 0;
        while let Some(batch) = stream.next().await {
            rows += batch?.num_rows() as u64;
        }
        Ok(rows)
    };
    let counted: datafusion::error::Result<u64> = count.await;
    counted.map_err(|error| BenchError::query(&query.name, error))
}

/// The session itself, or one that shares its tables and differs in the settings.
pub(crate) fn with_settings(
    context: &SessionContext,
    settings: &[(String, String)],
) -> datafusion::error::Result<SessionContext> {
    if settings.is_empty() {
        return Ok(context.clone());
    }
    let mut state = context.state();
    for (key, value) in settings {
        state.config_mut().options_mut().set(key, value)?;
    }
    Ok(SessionContext::new_with_state(state))
}

struct RunningBaseline {
    runner: QueryRunner,
    context: SessionContext,
    workload: Workload,
    stream: Runtime,
    /// None when batch shares the runtime of the stream.
    batch: Option<Runtime>,
    running: Option<BatchLoop>,
}

impl Running for RunningBaseline {
    fn probe_handle(&self) -> Handle {
        self.stream.handle().clone()
    }

    fn probes(&self) -> Box<dyn FnMut() -> BoxFuture<'static, Result<()>> + Send> {
        let (context, probe) = (self.context.clone(), self.workload.probe.clone());
        Box::new(move || {
            let (context, probe) = (context.clone(), probe.clone());
            Box::pin(async move { probe.run(&context).await })
        })
    }

    fn start_batch(&mut self, from: usize) {
        let runtime = self.batch.as_ref().unwrap_or(&self.stream);
        self.running = Some(BatchLoop::start(
            runtime.handle(),
            &self.workload.queries,
            from,
            self.workload.loops,
            &self.runner,
        ));
    }

    fn batch_done(&self) -> u64 {
        self.running.as_ref().map_or(0, BatchLoop::queries_done)
    }

    fn stop_batch(&mut self) -> Option<BatchLog> {
        self.running.take().map(BatchLoop::stop)
    }

    fn stop(mut self: Box<Self>) {
        drop(self.running.take());
        let Self { stream, batch, .. } = *self;
        if let Some(batch) = batch {
            batch.shutdown_timeout(PATIENCE);
        }
        stream.shutdown_timeout(PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openloop::{self, Arrivals, Bound, Settings};
    use crate::workload::tests::small_workload;
    use parking_lot::Mutex;
    use std::collections::BTreeSet;

    fn designs() -> [Baseline; 3] {
        [
            Baseline::shared_runtime(),
            Baseline::two_runtimes(),
            Baseline::os_only(Arc::new(|| {})),
        ]
    }

    #[test]
    fn every_baseline_runs_probes_beside_batch() {
        let workload = small_workload();
        for design in designs() {
            let mut running = design.start(&workload).unwrap();
            running.start_batch(0);
            let mut probes = running.probes();
            let settings = Settings::new(
                Arrivals::Fixed {
                    period: Duration::from_millis(20),
                },
                Bound::Count(10),
            );
            let outcome = openloop::run(&running.probe_handle(), settings, move |_| probes());
            let outcome = outcome.unwrap();
            let name = design.name();
            assert_eq!((outcome.failed, outcome.samples.len()), (0, 10), "{name}");
            while running.batch_done() < 3 {
                std::thread::yield_now();
            }
            let log = running.stop_batch().unwrap();
            assert_eq!(log.error(), None, "{name}");
            assert!(log.work(&workload.weights_of(1.0)).queries >= 3, "{name}");
            assert!(running.stop_batch().is_none(), "{name}: stopped already");
            running.stop();
        }
    }

    #[test]
    fn the_hook_runs_on_batch_threads_alone() {
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = Arc::clone(&names);
        let design = Baseline::os_only(Arc::new(move || {
            let thread = std::thread::current();
            seen.lock().insert(thread.name().unwrap_or("").to_owned());
        }));
        let workload = small_workload();
        let mut running = design.start(&workload).unwrap();
        running.start_batch(0);
        while running.batch_done() == 0 {
            std::thread::yield_now();
        }
        running.stop_batch();
        running.stop();
        assert_eq!(*names.lock(), BTreeSet::from(["batch".to_owned()]));
    }

    #[tokio::test]
    async fn settings_of_a_query_stay_with_it() {
        let context = plain_context(2);
        let key = "datafusion.execution.batch_size";
        let query = |settings: &[(&str, &str)]| Query {
            name: "q".to_owned(),
            sql: "SELECT 1".to_owned(),
            settings: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        assert_eq!(
            run_query(&context, &query(&[(key, "16")])).await.unwrap(),
            1
        );
        assert_eq!(context.copied_config().batch_size(), 8192);
        let bad = run_query(&context, &query(&[("no.such.key", "1")])).await;
        assert!(bad.unwrap_err().to_string().starts_with("query q failed"));
    }
}
