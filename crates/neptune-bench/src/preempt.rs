//! `bench preempt`: a probe query beside a saturating batch load, under every design.
//!
//! Besides the designs two references are measured, on the first design given (plain DataFusion on
//! one runtime): the probe `alone`, and batch alone. From them comes what batch should have got:
//!
//! > **batch share** = work rate in the mix ÷ (work rate of batch alone × (1 − *p*))
//!
//! where *p* is the share of the usable cores that the probe takes: CPU time of the process while
//! only probes run ÷ (wall time × usable cores, at most the CPU quota). A share of 1 means that batch
//! got all that the probe left over; more than 1 that the design also runs batch better. Beside hogs
//! the cores are shared with others, *p* is still taken of all of them, and is thus too small.
//! Work is defined in [`batch`](crate::batch).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::baseline;
use crate::batch::BatchLog;
use crate::cpu_time;
use crate::design::{Design, Running};
use crate::driver;
use crate::error::{BenchError, Result};
use crate::machine::Machine;
use crate::openloop::{self, Arrivals, Bound, Settings};
use crate::quota::{self, Throttling};
use crate::suite::{Context, Findings, Suite};
use neptune_exec::Realtime;

mod figures;

use figures::{CaseFigures, References};

/// Name of the case in which only probes run.
const ALONE: &str = "alone";
/// Name of the case in which only probes run, on [`NEPTUNE`]: what its own settings do for a probe, whatever runs beside it.
const NEPTUNE_ALONE: &str = "neptune_alone";
/// Name of the design that is measured without batch too.
const NEPTUNE: &str = "neptune";
/// Time between two probes.
const PERIOD: Duration = Duration::from_millis(20);
/// One tick of common kernels, so that probes meet every phase of it.
const JITTER: Duration = Duration::from_millis(4);
/// Probes run before each stretch and not counted: caches and threads warm up.
const WARM_UP_PROBES: u64 = 20;
/// Shortest stretch worth measuring, in seconds.
const SHORTEST_STRETCH: f64 = 3.0;
/// More rounds than this tell nothing new.
const MOST_ROUNDS: u32 = 8;

/// The suite with the designs to compare.
pub struct Preempt {
    reference: Box<dyn Design>,
    designs: Vec<Box<dyn Design>>,
    realtime: Realtime,
}

impl Preempt {
    /// Compares `designs` with each other and with the two halves of the load run by themselves on
    /// `reference`. The load driver's thread is raised as `realtime` says, alike for every design.
    pub fn new(
        reference: Box<dyn Design>,
        designs: Vec<Box<dyn Design>>,
        realtime: Realtime,
    ) -> Self {
        Self {
            reference,
            designs,
            realtime,
        }
    }
}

/// What runs in a case.
#[derive(Clone, Copy)]
enum Load<'a> {
    Probe(&'a dyn Design),
    ProbeOnNeptune(&'a dyn Design),
    Batch(&'a dyn Design),
    Both(&'a dyn Design),
}

impl<'a> Load<'a> {
    fn design(self) -> &'a dyn Design {
        match self {
            Self::Probe(design)
            | Self::ProbeOnNeptune(design)
            | Self::Batch(design)
            | Self::Both(design) => design,
        }
    }

    fn has_probe(self) -> bool {
        !matches!(self, Self::Batch(_))
    }

    fn has_batch(self) -> bool {
        !matches!(self, Self::Probe(_) | Self::ProbeOnNeptune(_))
    }
}

impl Suite for Preempt {
    fn name(&self) -> &'static str {
        "preempt"
    }

    fn run(&self, context: &mut Context<'_>) -> Result<Findings> {
        let names = self.designs.iter().map(|design| design.name());
        context.check_only([ALONE].into_iter().chain(names))?;
        let mut loads = vec![Load::Probe(&*self.reference), Load::Batch(&*self.reference)];
        for design in &self.designs {
            if context.wants(design.name()) {
                if design.name() == NEPTUNE {
                    loads.push(Load::ProbeOnNeptune(&**design));
                }
                loads.push(Load::Both(&**design));
            }
        }

        context.tell("measuring each batch query by itself");
        let weights = query_seconds(context)?;
        let stretches = Stretches::plan(context.secs, &weights);
        let mut cases: Vec<CaseFigures> = loads
            .iter()
            .map(|load| CaseFigures::new(case_name(*load)))
            .collect();
        for round in 0..stretches.rounds {
            // Another case goes first in each round: none always follows the same one.
            for turn in 0..loads.len() {
                let index = (turn + round as usize) % loads.len();
                let name = case_name(loads[index]);
                context.tell(&format!(
                    "round {} of {}: {name}",
                    round + 1,
                    stretches.rounds
                ));
                (context.check)()?;
                let plan = Stretch {
                    load: loads[index],
                    length: stretches.length,
                    seed: context.seed.wrapping_add(round.into()),
                    realtime: self.realtime,
                };
                plan.measure(context, &weights, &mut cases[index])?;
            }
        }
        (context.check)()?;
        let references = References::new(&weights, context.workload.loops, usable_cores());
        figures::findings(context, references, cases)
    }
}

fn case_name(load: Load<'_>) -> &str {
    match load {
        Load::Probe(_) => ALONE,
        Load::ProbeOnNeptune(_) => NEPTUNE_ALONE,
        Load::Batch(_) => figures::BATCH_ALONE,
        Load::Both(design) => design.name(),
    }
}

/// Seconds that each batch query takes by itself on plain DataFusion, after one run to warm up.
fn query_seconds(context: &Context<'_>) -> Result<Vec<f64>> {
    let workload = &context.workload;
    let runtime = baseline::runtime("calibrate", workload.slots, Arc::new(|| {}))?;
    let session = baseline::plain_context(workload.slots);
    runtime.block_on(workload.register(&session))?;
    let runner = baseline::plain_runner(session);
    let seconds = |query| {
        let mut last = 0.0;
        for _ in 0..2 {
            let start = Instant::now();
            let ended = runtime.block_on(runtime.spawn(runner(Arc::clone(query))));
            ended.map_err(|error| BenchError::failed(&query.name, error.to_string()))??;
            last = start.elapsed().as_secs_f64();
        }
        Ok(last)
    };
    workload.queries.iter().map(seconds).collect()
}

/// Cores that this process can use at most.
fn usable_cores() -> f64 {
    let cores = Machine::detect().usable_cores as f64;
    quota::current().map_or(cores, |quota| quota.min(cores))
}

/// How the time of a case is cut up.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretches {
    rounds: u32,
    length: Duration,
}

impl Stretches {
    /// As many stretches as fit into `secs` with each long enough for the longest query to end twice.
    fn plan(secs: f64, query_seconds: &[f64]) -> Self {
        let longest = query_seconds.iter().copied().fold(0.0, f64::max);
        let shortest = SHORTEST_STRETCH.max(2.0 * longest);
        let rounds = ((secs / shortest) as u32).clamp(1, MOST_ROUNDS);
        Self {
            rounds,
            length: Duration::from_secs_f64(secs / f64::from(rounds)),
        }
    }
}

/// One stretch of one case.
struct Stretch<'a> {
    load: Load<'a>,
    length: Duration,
    seed: u64,
    realtime: Realtime,
}

impl Stretch<'_> {
    fn measure(
        &self,
        context: &Context<'_>,
        weights: &[f64],
        case: &mut CaseFigures,
    ) -> Result<()> {
        let mut running = self.load.design().start(&context.workload)?;
        let measured = self.measure_running(&mut *running, weights, case);
        let figures = running.figures();
        running.stop();
        measured?;
        case.add_figures(figures);
        Ok(())
    }

    fn measure_running(
        &self,
        running: &mut dyn Running,
        weights: &[f64],
        case: &mut CaseFigures,
    ) -> Result<()> {
        if self.load.has_batch() {
            running.start_batch(case.next_query);
        }
        if self.load.has_probe() {
            self.probe(running, Bound::Count(WARM_UP_PROBES))?;
        }
        let (throttled, cpu, start) = (quota::throttling(), used_cpu(), Instant::now());
        let outcome = if self.load.has_probe() {
            Some(self.probe(running, Bound::Time(self.length))?)
        } else {
            thread::sleep(self.length);
            None
        };
        let elapsed = start.elapsed();
        case.add_time(
            elapsed,
            used_cpu().saturating_sub(cpu),
            throttled_since(throttled),
        );
        case.realtime |= running.realtime();
        let log = running.stop_batch();
        if let Some(reason) = log.as_ref().and_then(BatchLog::error) {
            return Err(BenchError::failed(
                &case.name,
                format!("batch failed: {reason}"),
            ));
        }
        if let Some(outcome) = outcome {
            case.add_probes(outcome, log.as_ref());
        }
        if let Some(log) = log {
            case.add_batch(&log, weights);
        }
        Ok(())
    }

    fn probe(&self, running: &dyn Running, bound: Bound) -> Result<openloop::Outcome> {
        let arrivals = Arrivals::Jittered {
            period: PERIOD,
            jitter: JITTER,
            seed: self.seed,
        };
        let mut settings = Settings::new(arrivals, bound);
        let realtime = self.realtime;
        settings.on_thread_start = Box::new(move || driver::raise(realtime));
        let mut probes = running.probes();
        let outcome = openloop::run(&running.probe_handle(), settings, move |_| probes())?;
        match &outcome.first_error {
            None => Ok(outcome),
            Some(error) => {
                let reason = format!("{} probes failed: {error}", outcome.failed);
                Err(BenchError::failed(self.load.design().name(), reason))
            }
        }
    }
}

fn used_cpu() -> Duration {
    // Only the share that the probe takes would be missing from the report.
    cpu_time::of_self().unwrap_or_default()
}

fn throttled_since(earlier: Option<Throttling>) -> Option<Throttling> {
    Some(quota::throttling()?.since(earlier?))
}

/// What the report says about how the probe was driven.
fn probe_settings() -> BTreeMap<String, Value> {
    BTreeMap::from([
        (
            "probe_period_ms".to_owned(),
            json!(PERIOD.as_millis() as u64),
        ),
        (
            "probe_jitter_ms".to_owned(),
            json!(JITTER.as_millis() as u64),
        ),
    ])
}

#[cfg(test)]
mod tests;
