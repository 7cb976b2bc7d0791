//! From stretches to a report and a table.

use std::collections::BTreeMap;

use neptune::Percentiles;
use serde_json::json;

use super::Stretch;
use super::case::{PACE, PACE_TRIGGER};
use crate::batch::Work;
use crate::error::Result;
use crate::report::{Case, Table, figure};
use crate::stats::Spread;
use crate::suite::{Context, Findings};

/// The stretches of a case.
#[derive(Debug, Default)]
pub(super) struct CaseFigures {
    name: String,
    stretches: Vec<Stretch>,
    refused: Option<String>,
    /// Events and seconds of the last trial run.
    pub(super) tried: Option<(u64, f64)>,
    /// How fast it is, once a trial run was long enough to tell.
    pub(super) events_per_s: Option<f64>,
    /// Where batch goes on.
    pub(super) next_query: usize,
}

impl CaseFigures {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, stretch: Stretch) {
        self.stretches.push(stretch);
    }

    /// The engine cannot run it, and says why.
    pub(super) fn refuse(&mut self, reason: String) {
        self.refused = Some(reason);
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// The spread of a figure of the stretches that have it.
    fn spread(&self, figure: impl Fn(&Stretch) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.stretches.iter().filter_map(figure))
    }

    fn events_per_s(&self) -> Option<Spread> {
        self.spread(|stretch| {
            stretch
                .fast
                .map(|(events, wall_s, _)| events as f64 / wall_s)
        })
    }

    fn events_per_s_per_core(&self) -> Option<Spread> {
        // CPU time comes in hundredths of a second: less than one tells nothing.
        let told = |stretch: &Stretch| stretch.fast.filter(|(_, _, cpu_s)| *cpu_s > 0.0);
        self.spread(|stretch| told(stretch).map(|(events, _, cpu_s)| events as f64 / cpu_s))
    }

    /// Medians of the stretches' percentiles, and the largest of all.
    fn commit(&self) -> Option<Percentiles> {
        let of = |pick: fn(Percentiles) -> f64| self.spread(|s| Some(pick(s.paced?.commit)));
        Some(Percentiles {
            p50: of(|p| p.p50)?.median,
            p99: of(|p| p.p99)?.median,
            max: of(|p| p.max)?.max,
        })
    }

    fn micro_batches(&self) -> Option<u64> {
        let paced = self.stretches.iter().filter_map(|stretch| stretch.paced);
        paced.map(|ran| ran.micro_batches).reduce(|a, b| a + b)
    }

    fn batch_per_s(&self) -> Option<f64> {
        let works = self.stretches.iter().filter_map(|stretch| stretch.batch);
        let work = works.reduce(Work::plus)?;
        (work.elapsed_s > 0.0).then(|| work.queries as f64 / work.elapsed_s)
    }

    fn case(&self) -> Result<Case> {
        let mut case = Case::new(&self.name);
        case.set("error", &self.refused)?;
        case.set("commit_ms", self.commit())?;
        case.set("micro_batches", self.micro_batches())?;
        let per_core = self.events_per_s_per_core();
        case.set(
            "events_per_s_per_core",
            per_core.map(|spread| spread.median),
        )?;
        case.set("events_per_s_per_core_spread", per_core)?;
        case.set(
            "events_per_s",
            self.events_per_s().map(|spread| spread.median),
        )?;
        case.set("batch_per_s", self.batch_per_s())?;
        Ok(case)
    }

    fn row(&self) -> Vec<String> {
        let thousands = |spread: Option<Spread>| figure(spread.map(|s| s.median / 1e3));
        let commit = self.commit();
        let said = self.refused.as_deref().unwrap_or_default();
        vec![
            self.name.clone(),
            figure(commit.map(|p| p.p50)),
            figure(commit.map(|p| p.p99)),
            thousands(self.events_per_s_per_core()),
            thousands(self.events_per_s()),
            figure(self.batch_per_s()),
            said.lines().next().unwrap_or_default().to_owned(),
        ]
    }
}

/// The findings of all cases.
pub(super) fn findings(context: &Context<'_>, cases: Vec<CaseFigures>) -> Result<Findings> {
    let title = format!(
        "Streams: {}",
        context.settings_line(&format!(
            "{PACE} events/s and a trigger of {PACE_TRIGGER} at a pace"
        ))
    );
    let head = [
        "case",
        "commit p50 ms",
        "p99",
        "1000 events/s/core",
        "1000 events/s",
        "batch/s",
        "refused",
    ];
    let mut table = Table::new(title, &head);
    for case in &cases {
        table.row(case.row());
    }
    let totals = BTreeMap::from([
        ("pace_events_per_s".to_owned(), json!(PACE)),
        ("pace_trigger".to_owned(), json!(PACE_TRIGGER)),
    ]);
    let cases = cases
        .iter()
        .map(CaseFigures::case)
        .collect::<Result<Vec<_>>>()?;
    Ok(Findings {
        report: context.report("stream", totals, cases),
        tables: vec![table],
        charts: Vec::new(),
    })
}
