//! `bench stream`: what a micro-batch costs, how many events a core takes, and what batch beside it changes.
//!
//! - `micro_batch`: some ten rows every ten milliseconds, so that `commit_ms`, from a trigger's time to the commit, is all
//!   overhead.
//! - `nexmark_qN` and `ysb_json_alone`: everything is there from the start and is taken as fast as possible.
//!   `events_per_s_per_core` is events ÷ seconds of CPU time of the process, generating or parsing them included; `events_per_s`
//!   is by the clock on the wall, over all slots.
//! - `ysb_alone`: the same for the Yahoo benchmark's query, its answer compared with the generator's own; then `commit_ms`
//!   of micro-batches at a fixed pace.
//! - `ysb_beside_batch_<policy>`: `commit_ms` at that pace beside a loop of batch queries, and `batch_per_s`.
//!
//! Each stretch has a session of its own. Percentiles are the medians of the stretches', a maximum is that of all. A case that the
//! engine refuses has its words as `error` and does not end the suite; a wrong answer does.

mod case;
mod figures;
mod files;
mod oracle;
mod script;

use std::time::Duration;

use crate::batch::Work;
use crate::error::{BenchError, Result};
use crate::neptune_design::SessionSettings;
use crate::suite::{Context, Findings, Suite};
use case::Case;
use figures::CaseFigures;

/// Shortest stretch worth measuring, in seconds.
const SHORTEST_STRETCH: f64 = 3.0;
/// More rounds than this tell nothing new.
const MOST_ROUNDS: u32 = 5;

/// The suite, on sessions with these settings.
pub struct Stream {
    settings: SessionSettings,
}

impl Stream {
    /// Measures sessions that are set up as told; their policy is that of the case.
    pub fn new(settings: SessionSettings) -> Self {
        Self { settings }
    }
}

/// What one stretch of a case found.
#[derive(Debug, Clone, Default)]
struct Stretch {
    /// Events taken as fast as possible, and the seconds of wall and of CPU time that took.
    fast: Option<(u64, f64, f64)>,
    /// Micro-batches at a pace.
    paced: Option<script::Ran>,
    /// Batch beside them.
    batch: Option<Work>,
}

impl Suite for Stream {
    fn name(&self) -> &'static str {
        "stream"
    }

    fn run(&self, context: &mut Context<'_>) -> Result<Findings> {
        let all = Case::all();
        let names: Vec<String> = all.iter().map(Case::name).collect();
        context.check_only(names.iter().map(String::as_str))?;
        let wanted: Vec<Case> = all
            .into_iter()
            .filter(|case| context.wants(&case.name()))
            .collect();
        let rounds = ((context.secs / SHORTEST_STRETCH) as u32).clamp(1, MOST_ROUNDS);
        let length = Duration::from_secs_f64(context.secs / f64::from(rounds));
        let mut cases: Vec<CaseFigures> = wanted
            .iter()
            .map(|case| CaseFigures::new(case.name()))
            .collect();
        for round in 0..rounds {
            // Another case goes first in each round: none always follows the same one.
            for turn in 0..wanted.len() {
                let index = (turn + round as usize) % wanted.len();
                let (case, figures) = (&wanted[index], &mut cases[index]);
                if figures.is_refused() {
                    continue;
                }
                context.tell(&format!("round {} of {rounds}: {}", round + 1, case.name()));
                (context.check)()?;
                match case.measure(&self.settings, context, length, figures) {
                    Ok(stretch) => figures.add(stretch),
                    Err(BenchError::Refused { reason }) => figures.refuse(reason),
                    Err(error) => return Err(error),
                }
            }
        }
        (context.check)()?;
        figures::findings(context, cases)
    }
}

#[cfg(test)]
mod tests;
