//! From stretches to the figures of a case, and from cases to the report.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::ALONE;
use crate::annals::LONGEST_STRETCHES;
use crate::batch::{BatchLog, Work};
use crate::chart::{BarChart, BarGroup, CdfChart, Chart, Curve};
use crate::error::Result;
use crate::openloop::Outcome;
use crate::quota::Throttling;
use crate::report::{Case, Table, figure, percent};
use crate::stats::{Latencies, Percentiles, Spread};
use crate::suite::{Context, Findings};

/// Name of the reference in which only batch runs; no case of the report.
pub(super) const BATCH_ALONE: &str = "batch_alone";
/// How many batch queries are named as the worst neighbours of the probe.
const WORST_QUERIES: usize = 5;

/// What was measured of one case, over all its stretches.
#[derive(Default)]
pub(super) struct CaseFigures {
    pub(super) name: String,
    pub(super) realtime: bool,
    /// The batch query with which the next stretch starts.
    pub(super) next_query: usize,
    latencies: Latencies,
    lag: Latencies,
    round_p99: Vec<f64>,
    unfinished: u64,
    overloaded: bool,
    by_query: BTreeMap<usize, Latencies>,
    work: Work,
    round_rates: Vec<f64>,
    wall: Duration,
    cpu: Duration,
    throttling: Option<Throttling>,
    extra: BTreeMap<String, Value>,
}

impl CaseFigures {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn add_time(
        &mut self,
        wall: Duration,
        cpu: Duration,
        throttling: Option<Throttling>,
    ) {
        self.wall += wall;
        self.cpu += cpu;
        self.throttling = match (self.throttling, throttling) {
            (Some(one), Some(other)) => Some(one.plus(other)),
            (one, other) => one.or(other),
        };
    }

    /// Adds the probes of a stretch, and which batch queries each of them met.
    pub(super) fn add_probes(&mut self, outcome: Outcome, log: Option<&BatchLog>) {
        let latencies = outcome.latencies();
        self.round_p99
            .extend(latencies.percentiles().map(|p| p.p99));
        self.latencies.merge(&latencies);
        self.lag.merge(&outcome.lag);
        self.unfinished += outcome.unfinished;
        self.overloaded |= outcome.overloaded;
        let Some(log) = log else { return };
        for sample in outcome.samples {
            for query in log.running_between(sample.intended, sample.intended + sample.latency) {
                self.by_query
                    .entry(query)
                    .or_default()
                    .record(sample.latency);
            }
        }
    }

    pub(super) fn add_batch(&mut self, log: &BatchLog, weights: &[f64]) {
        let work = log.work(weights);
        self.round_rates.extend(work.rate(1));
        self.work = self.work.plus(work);
        self.next_query = log.next_query().unwrap_or(self.next_query);
    }

    /// Takes in figures of the design's own; later ones replace earlier ones.
    pub(super) fn add_figures(&mut self, figures: BTreeMap<String, Value>) {
        self.extra.extend(figures);
    }
}

/// What the figures of all cases are held against.
pub(super) struct References {
    /// Queries of average size in a second of work.
    queries_per_work: f64,
    query_seconds: Vec<f64>,
    loops: usize,
    cores: f64,
    alone: Option<Percentiles>,
    batch_rate: Option<f64>,
    probe_cpu: f64,
}

impl References {
    pub(super) fn new(query_seconds: &[f64], loops: usize, cores: f64) -> Self {
        let total: f64 = query_seconds.iter().sum();
        Self {
            queries_per_work: if total > 0.0 {
                query_seconds.len() as f64 / total
            } else {
                0.0
            },
            query_seconds: query_seconds.to_vec(),
            loops,
            cores,
            alone: None,
            batch_rate: None,
            probe_cpu: 0.0,
        }
    }

    /// Takes in what the reference cases found.
    fn learn(&mut self, cases: &[CaseFigures]) {
        let find = |name: &str| cases.iter().find(|case| case.name == name);
        if let Some(alone) = find(ALONE) {
            self.alone = alone.latencies.percentiles();
            let available = alone.wall.as_secs_f64() * self.cores;
            self.probe_cpu = if available > 0.0 {
                alone.cpu.as_secs_f64() / available
            } else {
                0.0
            };
        }
        self.batch_rate = find(BATCH_ALONE).and_then(|case| case.work.rate(self.loops));
    }

    /// Queries of average size per second.
    fn per_second(&self, case: &CaseFigures) -> Option<f64> {
        Some(case.work.rate(self.loops)? * self.queries_per_work)
    }

    fn share(&self, case: &CaseFigures) -> Option<f64> {
        share(
            case.work.rate(self.loops)?,
            self.batch_rate?,
            self.probe_cpu,
        )
    }
}

/// What batch got of what the probe left over; see the suite's own words.
fn share(rate: f64, rate_alone: f64, probe_cpu: f64) -> Option<f64> {
    let due = rate_alone * (1.0 - probe_cpu);
    (due > 0.0).then(|| rate / due)
}

/// The latency of probes that met one batch query.
#[derive(Serialize)]
struct BesideQuery<'a> {
    query: &'a str,
    probes: u64,
    p99_ms: f64,
    max_ms: f64,
}

pub(super) fn findings(
    context: &Context<'_>,
    mut references: References,
    cases: Vec<CaseFigures>,
) -> Result<Findings> {
    references.learn(&cases);
    let shown: Vec<&CaseFigures> = cases
        .iter()
        .filter(|case| case.name != BATCH_ALONE)
        .collect();
    let mut totals = super::probe_settings();
    totals.insert("probe_cpu_share".to_owned(), references.probe_cpu.into());
    if let Some(rate) = cases
        .iter()
        .find(|case| case.name == BATCH_ALONE)
        .and_then(|case| references.per_second(case))
    {
        totals.insert("batch_alone_per_s".to_owned(), rate.into());
    }
    let names = context.workload.queries.iter();
    let seconds = names.zip(&references.query_seconds);
    let seconds = seconds.map(|(query, seconds)| (query.name.clone(), Value::from(*seconds)));
    totals.insert("query_s".to_owned(), Value::Object(seconds.collect()));

    let report_cases = shown
        .iter()
        .map(|case| report_case(context, &references, case))
        .collect::<Result<_>>()?;
    Ok(Findings {
        tables: tables(context, &references, &shown),
        charts: charts(context, &shown),
        report: context.report("preempt", totals, report_cases),
    })
}

fn report_case(
    context: &Context<'_>,
    references: &References,
    figures: &CaseFigures,
) -> Result<Case> {
    let mut case = Case::new(&figures.name);
    let probe = figures.latencies.percentiles();
    case.set("probe_ms", probe)?;
    case.set("probes", figures.latencies.len())?;
    case.set(
        "probe_p99_rounds_ms",
        Spread::of(figures.round_p99.iter().copied()),
    )?;
    if let Some((probe, alone)) = probe.zip(references.alone) {
        case.set("p99_to_alone", probe.p99 / alone.p99)?;
        case.set("p999_to_alone", probe.p999 / alone.p999)?;
    }
    case.set("driver_lag_ms", figures.lag.percentiles())?;
    case.set("unfinished", figures.unfinished)?;
    case.set("overloaded", figures.overloaded)?;
    case.set("realtime", figures.realtime)?;
    case.set(
        "cpu_cores",
        figures.cpu.as_secs_f64() / figures.wall.as_secs_f64(),
    )?;
    if !figures.round_rates.is_empty() {
        let scale = references.queries_per_work * references.loops as f64;
        let rates = figures.round_rates.iter().map(|rate| rate * scale);
        case.set("batch_per_s", references.per_second(figures))?;
        case.set("batch_per_s_rounds", Spread::of(rates))?;
        case.set("batch_share", references.share(figures))?;
        case.set("batch_queries", figures.work.queries)?;
        case.set("probe_by_query", worst_queries(context, figures))?;
    }
    if let Some(throttling) = figures.throttling {
        case.set("throttled_periods", throttling.throttled_periods)?;
        case.set("throttled_ms", throttling.throttled.as_secs_f64() * 1e3)?;
    }
    for (name, value) in &figures.extra {
        case.set(name, value)?;
    }
    Ok(case)
}

/// The batch queries beside which the probe's 99th percentile was worst, worst first.
fn worst_queries<'a>(context: &'a Context<'_>, figures: &CaseFigures) -> Vec<BesideQuery<'a>> {
    let mut beside: Vec<BesideQuery<'a>> = figures
        .by_query
        .iter()
        .filter_map(|(&query, latencies)| {
            let found = latencies.percentiles()?;
            Some(BesideQuery {
                query: &context.workload.queries.get(query)?.name,
                probes: latencies.len(),
                p99_ms: found.p99,
                max_ms: found.max,
            })
        })
        .collect();
    beside.sort_by(|one, other| other.p99_ms.total_cmp(&one.p99_ms));
    beside.truncate(WORST_QUERIES);
    beside
}

fn tables(context: &Context<'_>, references: &References, cases: &[&CaseFigures]) -> Vec<Table> {
    let title = format!(
        "Probe latency in ms and what batch got ({})",
        context.settings_line(&probe_period())
    );
    let head = [
        "design",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "p99/alone",
        "batch/s",
        "of leftover",
        "real-time",
        "throttled",
    ];
    let mut latencies = Table::new(title, &head);
    let mut worst = Table::new(
        "Where the probe waited longest, in ms",
        &["design", "batch query", "probes", "p99", "max"],
    );
    for case in cases {
        let probe = case.latencies.percentiles();
        let ratio = probe
            .zip(references.alone)
            .map(|(probe, alone)| probe.p99 / alone.p99);
        let has_batch = !case.round_rates.is_empty();
        latencies.row([
            case.name.clone(),
            figure(probe.map(|p| p.p50)),
            figure(probe.map(|p| p.p90)),
            figure(probe.map(|p| p.p99)),
            figure(probe.map(|p| p.p999)),
            figure(probe.map(|p| p.max)),
            figure(ratio),
            figure(references.per_second(case).filter(|_| has_batch)),
            percent(references.share(case).filter(|_| has_batch)),
            if case.realtime { "yes" } else { "no" }.to_owned(),
            case.throttling
                .map_or_else(|| "-".to_owned(), |t| t.throttled_periods.to_string()),
        ]);
        for beside in worst_queries(context, case).into_iter().take(2) {
            worst.row([
                case.name.clone(),
                beside.query.to_owned(),
                beside.probes.to_string(),
                figure(beside.p99_ms),
                figure(beside.max_ms),
            ]);
        }
    }
    let stretches = stretches_table(cases);
    vec![latencies, worst, stretches]
}

/// Which operators worked longest without a yield point, for designs that know.
fn stretches_table(cases: &[&CaseFigures]) -> Table {
    let mut table = Table::new(
        "Longest work between two yield points, in ms",
        &["design", "operator", "in", "ms"],
    );
    for case in cases {
        let found = case.extra.get(LONGEST_STRETCHES).and_then(Value::as_array);
        for stretch in found.into_iter().flatten().take(WORST_QUERIES) {
            let text = |key: &str| stretch[key].as_str().unwrap_or_default().to_owned();
            table.row([
                case.name.clone(),
                text("operator"),
                text("query"),
                figure(stretch["ms"].as_f64()),
            ]);
        }
    }
    table
}

fn charts(context: &Context<'_>, cases: &[&CaseFigures]) -> Vec<Chart> {
    let groups = cases.iter().filter_map(|case| {
        let found = case.latencies.percentiles()?;
        Some(BarGroup {
            name: case.name.clone(),
            values: vec![found.p50, found.p90, found.p99, found.p999, found.max],
        })
    });
    let curves = cases.iter().map(|case| Curve {
        name: case.name.clone(),
        points: case.latencies.curve(),
        samples: case.latencies.len(),
        emphasis: case.name == "neptune",
    });
    vec![
        Chart::Bars(BarChart {
            name: "preempt-latency".to_owned(),
            title: "Probe latency beside a batch load".to_owned(),
            subtitle: context.settings_line(&probe_period()),
            series: ["p50", "p90", "p99", "p99.9", "max"]
                .map(str::to_owned)
                .to_vec(),
            groups: groups.collect(),
        }),
        Chart::Cdf(CdfChart {
            name: "preempt-distribution".to_owned(),
            title: "Distribution of probe latencies beside a batch load".to_owned(),
            subtitle: context.settings_line(&probe_period()),
            curves: curves.collect(),
        }),
    ]
}

fn probe_period() -> String {
    format!("a probe every {} ms", super::PERIOD.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_share_is_held_against_what_the_probe_left() {
        // The probe takes a tenth; batch that keeps nine tenths has lost nothing.
        assert!((share(0.9, 1.0, 0.1).unwrap() - 1.0).abs() < 1e-12);
        assert!((share(0.45, 1.0, 0.1).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(share(1.0, 0.0, 0.1), None);
        assert_eq!(share(1.0, 1.0, 1.0), None);
    }

    #[test]
    fn references_turn_work_into_queries_of_average_size() {
        let mut references = References::new(&[0.5, 1.5], 1, 2.0);
        let case = |name: &str, work_s, wall, cpu| CaseFigures {
            work: Work {
                work_s,
                elapsed_s: 10.0,
                queries: 1,
                rows: 1,
            },
            wall: Duration::from_secs(wall),
            cpu: Duration::from_secs(cpu),
            ..CaseFigures::new(name)
        };
        let mixed = case("mixed", 7.2, 10, 20);
        references.learn(&[case(ALONE, 0.0, 10, 4), case(BATCH_ALONE, 10.0, 10, 20)]);
        assert!(
            (references.probe_cpu - 0.2).abs() < 1e-12,
            "4 s of 2 cores in 10 s"
        );
        // 0.72 work per second; the mean query is one second of work.
        assert!((references.per_second(&mixed).unwrap() - 0.72).abs() < 1e-12);
        assert!((references.share(&mixed).unwrap() - 0.9).abs() < 1e-12);
    }

    #[test]
    fn of_repeated_figures_the_latest_stay() {
        let mut case = CaseFigures::new("x");
        for (suspensions, operator) in [(3, "sort"), (7, "join")] {
            case.add_figures(BTreeMap::from([
                ("suspensions".to_owned(), json!(suspensions)),
                ("operator".to_owned(), json!(operator)),
            ]));
        }
        assert_eq!(case.extra["suspensions"], 7);
        assert_eq!(case.extra["operator"], "join");
    }

    #[test]
    fn stretches_of_a_design_have_rows_of_their_own() {
        let mut case = CaseFigures::new("neptune");
        case.extra.insert(
            LONGEST_STRETCHES.to_owned(),
            json!([{"operator": "SortExec", "query": "sort", "ms": 88.0}]),
        );
        let mut text = Vec::new();
        stretches_table(&[&case, &CaseFigures::new("alone")])
            .write(&mut text)
            .unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("neptune  SortExec  sort  88.0"), "{text}");
        assert!(!text.contains("alone"), "{text}");
    }
}
