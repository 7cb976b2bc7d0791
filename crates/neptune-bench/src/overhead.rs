//! `bench overhead`: the same queries on two engines, in interleaved pairs.
//!
//! Each pair runs a query once on either engine, in random order; its ratio is of two runs a moment
//! apart, so that a drift of the machine cancels out. The median of the ratios is the figure, with the
//! bounds within which it lies at 95 % certainty: only a difference outside them is one.
//!
//! Short queries at concurrency 16 are measured the same way, a batch of them against a batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::future::try_join_all;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::runtime::{Handle, Runtime};

use crate::baseline;
use crate::batch::{Query, QueryRunner};
use crate::chart::{Chart, Ratio, RatioChart, Target};
use crate::error::{BenchError, Result};
use crate::report::{Case, Table, figure};
use crate::stats::{Spread, geometric_mean, median_bounds, pair_ratios};
use crate::suite::{Context, Findings, Suite};
use crate::workload::{self, Workload};

/// Name of the case of many short queries at once.
const SHORT_QUERIES: &str = "short_concurrent_16";
const CONCURRENCY: usize = 16;
/// Short queries that each of the concurrent loops runs in one half of a pair.
const SHORT_QUERIES_EACH: usize = 8;
/// Fewer pairs than this say nothing, however long they take.
const FEWEST_PAIRS: usize = 3;
const MOST_PAIRS: usize = 200;
/// The largest ratio wanted of any query.
const TARGET: f64 = 1.01;

/// One of the two engines: a runtime and a way to run a query to its end on it.
pub trait Engine {
    /// What it is called in tables.
    fn name(&self) -> &str;

    /// The runtime on which queries are spawned.
    fn handle(&self) -> Handle;

    /// Runs queries.
    fn runner(&self) -> QueryRunner;

    /// Bytes of scheduler state that a suspended task takes, where the engine has such.
    fn state_bytes_per_task(&self) -> Option<f64> {
        None
    }
}

/// Makes an engine with the workload's tables.
pub type MakeEngine = Box<dyn Fn(&Workload) -> Result<Box<dyn Engine>>>;

/// DataFusion as it is, on a runtime of one thread per slot.
pub struct PlainEngine {
    runtime: Runtime,
    runner: QueryRunner,
}

impl PlainEngine {
    /// Builds it.
    ///
    /// # Errors
    /// When the runtime cannot be built or a table cannot be registered.
    pub fn start(workload: &Workload) -> Result<Self> {
        let runtime = baseline::runtime("plain", workload.slots, Arc::new(|| {}))?;
        let session = baseline::plain_context(workload.slots);
        runtime.block_on(workload.register(&session))?;
        Ok(Self {
            runtime,
            runner: baseline::plain_runner(session),
        })
    }
}

impl Engine for PlainEngine {
    fn name(&self) -> &str {
        "plain DataFusion"
    }

    fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    fn runner(&self) -> QueryRunner {
        Arc::clone(&self.runner)
    }
}

/// The suite with the two engines.
pub struct Overhead {
    base: MakeEngine,
    measured: MakeEngine,
    queries: Option<Vec<Query>>,
}

impl Overhead {
    /// Compares `measured` with `base` over the 22 queries of TPC-H and the short queries.
    pub fn new(base: MakeEngine, measured: MakeEngine) -> Self {
        Self {
            base,
            measured,
            queries: None,
        }
    }
}

/// The times of one case, in seconds, by pair: base first.
struct Pairs {
    name: String,
    seconds: Vec<(f64, f64)>,
}

impl Pairs {
    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.seconds.iter().map(|(base, measured)| measured / base)
    }
}

impl Suite for Overhead {
    fn name(&self) -> &'static str {
        "overhead"
    }

    fn run(&self, context: &mut Context<'_>) -> Result<Findings> {
        let scale = match &context.workload.tables {
            workload::Tables::Tpch(paths) => paths.scale,
            workload::Tables::ProbeOnly => 1.0,
        };
        let queries = self
            .queries
            .clone()
            .unwrap_or_else(|| workload::tpch_queries(scale));
        let names = queries.iter().map(|query| query.name.as_str());
        context.check_only(names.chain([SHORT_QUERIES]))?;
        let engines = [
            (self.base)(&context.workload)?,
            (self.measured)(&context.workload)?,
        ];
        let mut rng = ChaCha8Rng::seed_from_u64(context.seed);
        let mut cases = Vec::new();
        for query in queries {
            if context.wants(&query.name) {
                let name = query.name.clone();
                let query = Arc::new(query);
                let once = |engine: &dyn Engine| run_once(engine, &query);
                cases.push(measure(context, name, &engines, &mut rng, once)?);
            }
        }
        if context.wants(SHORT_QUERIES) {
            let query = Arc::new(Query {
                name: SHORT_QUERIES.to_owned(),
                sql: context.workload.probe.sql().to_owned(),
                settings: Vec::new(),
            });
            let many = |engine: &dyn Engine| run_many(engine, &query);
            cases.push(measure(
                context,
                SHORT_QUERIES.to_owned(),
                &engines,
                &mut rng,
                many,
            )?);
        }
        findings(context, &engines, &cases)
    }
}

/// Runs pairs until the time of a case is over.
fn measure(
    context: &mut Context<'_>,
    name: String,
    engines: &[Box<dyn Engine>; 2],
    rng: &mut ChaCha8Rng,
    run: impl Fn(&dyn Engine) -> Result<()>,
) -> Result<Pairs> {
    context.tell(&format!("measuring {name}"));
    (context.check)()?;
    for engine in engines {
        run(&**engine)?;
    }
    let mut seconds = Vec::new();
    let start = Instant::now();
    while seconds.len() < FEWEST_PAIRS
        || (start.elapsed().as_secs_f64() < context.secs && seconds.len() < MOST_PAIRS)
    {
        let time = |engine: &dyn Engine| {
            let start = Instant::now();
            run(engine)?;
            Ok::<_, BenchError>(start.elapsed().as_secs_f64())
        };
        let [base, measured] = engines;
        seconds.push(if rng.random::<bool>() {
            let first = time(&**base)?;
            (first, time(&**measured)?)
        } else {
            let first = time(&**measured)?;
            (time(&**base)?, first)
        });
    }
    Ok(Pairs { name, seconds })
}

fn run_once(engine: &dyn Engine, query: &Arc<Query>) -> Result<()> {
    let (handle, runner) = (engine.handle(), engine.runner());
    let ended = handle.block_on(handle.spawn(runner(Arc::clone(query))));
    ended.map_err(|error| BenchError::failed(&query.name, error.to_string()))??;
    Ok(())
}

/// Concurrent loops of the same query; over when the last of them is.
fn run_many(engine: &dyn Engine, query: &Arc<Query>) -> Result<()> {
    let (handle, runner) = (engine.handle(), engine.runner());
    let loops = (0..CONCURRENCY).map(|_| {
        let (runner, query) = (Arc::clone(&runner), Arc::clone(query));
        handle.spawn(async move {
            for _ in 0..SHORT_QUERIES_EACH {
                runner(Arc::clone(&query)).await?;
            }
            Ok::<_, BenchError>(())
        })
    });
    let ended = handle.block_on(try_join_all(loops));
    let ended = ended.map_err(|error| BenchError::failed(&query.name, error.to_string()))?;
    ended.into_iter().collect()
}

fn findings(
    context: &Context<'_>,
    engines: &[Box<dyn Engine>; 2],
    cases: &[Pairs],
) -> Result<Findings> {
    let title = format!(
        "Time on {} against {}",
        engines[1].name(),
        engines[0].name()
    );
    let head = ["query", "base ms", "ms", "ratio", "from", "to", "pairs"];
    let mut table = Table::new(title, &head);
    let mut report_cases = Vec::new();
    let mut bars = Vec::new();
    let mut medians = Vec::new();
    for pairs in cases {
        let Some(ratio) = pair_ratios(&pairs.seconds) else {
            continue;
        };
        let bounds = median_bounds(pairs.ratios()).unwrap_or((ratio.min, ratio.max));
        let millis = |half: fn(&(f64, f64)) -> f64| {
            Spread::of(pairs.seconds.iter().map(half)).map(|spread| spread.median * 1e3)
        };
        let (base_ms, measured_ms) = (millis(|pair| pair.0), millis(|pair| pair.1));
        let mut case = Case::new(&pairs.name);
        case.set("ratio", ratio.median)?;
        case.set("ratio_bounds", [bounds.0, bounds.1])?;
        case.set("ratio_spread", ratio)?;
        case.set("base_ms", base_ms)?;
        case.set("measured_ms", measured_ms)?;
        case.set("pairs", pairs.seconds.len())?;
        report_cases.push(case);
        table.row([
            pairs.name.clone(),
            figure(base_ms),
            figure(measured_ms),
            format!("{:.4}", ratio.median),
            format!("{:.4}", bounds.0),
            format!("{:.4}", bounds.1),
            pairs.seconds.len().to_string(),
        ]);
        if pairs.name != SHORT_QUERIES {
            medians.push(ratio.median);
        }
        bars.push(Ratio {
            name: pairs.name.clone(),
            median: ratio.median,
            range: bounds,
        });
    }
    let mut totals = BTreeMap::new();
    if let Some(mean) = geometric_mean(medians.iter().copied()) {
        totals.insert("geomean".to_owned(), json!(mean));
        table.row([
            "geometric mean".to_owned(),
            String::new(),
            String::new(),
            format!("{mean:.4}"),
        ]);
    }
    if let Some(worst) = medians.iter().copied().max_by(f64::total_cmp) {
        totals.insert("worst".to_owned(), json!(worst));
    }
    if let Some(bytes) = engines[1].state_bytes_per_task() {
        totals.insert("state_bytes_per_task".to_owned(), json!(bytes));
        table.row([
            "bytes per suspended task".to_owned(),
            String::new(),
            figure(bytes),
        ]);
    }
    let chart = RatioChart {
        name: "overhead".to_owned(),
        title: format!("What {} costs", engines[1].name()),
        subtitle: context.settings_line("medians of interleaved pairs with their 95 % bounds"),
        axis: format!("time over {}", engines[0].name()),
        ratios: bars,
        target: Some(Target {
            ratio: TARGET,
            label: format!("target: at most +{:.0} %", (TARGET - 1.0) * 100.0),
        }),
    };
    Ok(Findings {
        report: context.report("overhead", totals, report_cases),
        tables: vec![table],
        charts: vec![Chart::Ratios(chart)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::small_workload;
    use std::time::Duration;

    /// The plain engine, each query longer by a fixed time.
    struct Slower(PlainEngine, Duration);

    impl Engine for Slower {
        fn name(&self) -> &str {
            "slower"
        }

        fn handle(&self) -> Handle {
            self.0.handle()
        }

        fn runner(&self) -> QueryRunner {
            let (inner, delay) = (self.0.runner(), self.1);
            Arc::new(move |query| {
                let inner = Arc::clone(&inner);
                Box::pin(async move {
                    tokio::time::sleep(delay).await;
                    inner(query).await
                })
            })
        }

        fn state_bytes_per_task(&self) -> Option<f64> {
            Some(640.0)
        }
    }

    #[test]
    fn a_slower_engine_has_a_ratio_above_one() {
        let plain: MakeEngine = Box::new(|workload| Ok(Box::new(PlainEngine::start(workload)?)));
        let slower: MakeEngine = Box::new(|workload| {
            let delay = Duration::from_millis(200);
            Ok(Box::new(Slower(PlainEngine::start(workload)?, delay)))
        });
        let workload = small_workload();
        let queries = workload.queries.iter().map(|query| (**query).clone());
        let suite = Overhead {
            base: plain,
            measured: slower,
            queries: Some(queries.collect()),
        };
        let mut context = Context {
            workload: workload.clone(),
            secs: 0.1,
            only: vec!["count".to_owned(), "sort".to_owned()],
            seed: 1,
            settings: BTreeMap::new(),
            allocator: "system".to_owned(),
            progress: &mut std::io::sink(),
            check: &mut || Ok(()),
        };
        let found = suite.run(&mut context).unwrap();
        let json = serde_json::to_value(&found.report).unwrap();
        for name in ["count", "sort"] {
            let case = found.report.case(name).unwrap();
            assert!(case.fields["ratio"].as_f64().unwrap() > 1.2, "{case:?}");
            assert!(case.fields["pairs"].as_u64().unwrap() >= 3, "{case:?}");
        }
        assert!(json["geomean"].as_f64().unwrap() > 1.2);
        assert_eq!(json["state_bytes_per_task"], 640.0);
        found.charts[0].svg().unwrap();
    }

    #[test]
    fn many_short_queries_run_at_once() {
        let workload = small_workload();
        let engine = PlainEngine::start(&workload).unwrap();
        run_many(&engine, &workload.queries[0]).unwrap();
        let bad = Arc::new(Query {
            name: "bad".to_owned(),
            sql: "SELECT * FROM nowhere".to_owned(),
            settings: Vec::new(),
        });
        assert!(
            run_many(&engine, &bad)
                .unwrap_err()
                .to_string()
                .contains("nowhere")
        );
    }
}
