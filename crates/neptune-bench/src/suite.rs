//! What a suite is given and what it hands back.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::Value;

use crate::chart::Chart;
use crate::error::{BenchError, Result};
use crate::machine::{Machine, Versions};
use crate::report::{Case, Report, Table};
use crate::workload::Workload;

/// A group of cases that are measured together and reported in one table.
pub trait Suite {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Measures all cases that were asked for.
    ///
    /// # Errors
    /// When a case cannot be set up, or fails so that its figures mean nothing.
    fn run(&self, context: &mut Context<'_>) -> Result<Findings>;
}

/// What a suite runs with.
pub struct Context<'a> {
    /// Tables, queries and slots.
    pub workload: Workload,
    /// Upper bound for the time that each case is measured, in seconds.
    pub secs: f64,
    /// The cases asked for; none means all.
    pub only: Vec<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// Settings that shape the figures, for the report.
    pub settings: BTreeMap<String, Value>,
    /// Memory allocator of the program, for the report.
    pub allocator: String,
    /// Where progress is told, line by line.
    pub progress: &'a mut dyn Write,
    /// Called between stretches: an error there ends the suite, such as a hog that died.
    pub check: &'a mut dyn FnMut() -> Result<()>,
}

impl Context<'_> {
    /// Whether the case of that name was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Refuses names that are not among the suite's cases.
    ///
    /// # Errors
    /// When `--only` names a case that is not known.
    pub fn check_only<'n>(&self, known: impl IntoIterator<Item = &'n str>) -> Result<()> {
        let known: Vec<&str> = known.into_iter().collect();
        let unknown = self
            .only
            .iter()
            .find(|name| !known.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| {
            Err(BenchError::Unknown {
                kind: "case",
                name: name.clone(),
                known: known.join(", "),
            })
        })
    }

    /// Tells how far the suite is.
    pub fn tell(&mut self, line: &str) {
        // Progress that nobody can read is no reason to lose the figures.
        let _ = writeln!(self.progress, "{line}");
    }

    /// The settings of the run in a line, for a title: the data, `what` the suite says of itself, and
    /// whatever is not as usual.
    pub fn settings_line(&self, what: &str) -> String {
        let setting = |name: &str| self.settings.get(name).filter(|value| !value.is_null());
        let mut parts = Vec::new();
        parts.extend(setting("scale").map(|scale| format!("TPC-H SF {scale}")));
        parts.push(what.to_owned());
        parts.push(format!("{} slots", self.workload.slots));
        parts.push(format!("{} s per case", self.secs));
        parts.extend(setting("cpu_quota").map(|quota| format!("CPU quota of {quota}")));
        let hogs = setting("hogs")
            .and_then(Value::as_u64)
            .filter(|hogs| *hogs > 0);
        parts.extend(hogs.map(|hogs| format!("{hogs} hogs")));
        if cfg!(debug_assertions) {
            parts.push("DEBUG BUILD".to_owned());
        }
        parts.join(", ")
    }

    /// A report of this run with the given cases.
    pub fn report(&self, suite: &str, totals: BTreeMap<String, Value>, cases: Vec<Case>) -> Report {
        Report {
            suite: suite.to_owned(),
            seed: self.seed,
            machine: Machine::detect(),
            versions: Versions::built_with(&self.allocator),
            settings: self.settings.clone(),
            totals,
            cases,
        }
    }
}

/// What a suite found.
pub struct Findings {
    /// For machines.
    pub report: Report,
    /// For people at a terminal.
    pub tables: Vec<Table>,
    /// For people with a browser.
    pub charts: Vec<Chart>,
}
