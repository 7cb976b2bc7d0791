//! The cases: what each runs, and how much of it.

use std::time::Duration;

use neptune::{Class, PolicyName, Session};
use neptune_gen::ysb::{self, Ysb};

use super::figures::CaseFigures;
use super::files::JsonFiles;
use super::script::{self, JOB, Ran};
use super::{Stretch, oracle};
use crate::annals::Annals;
use crate::batch::BatchLoop;
use crate::error::{BenchError, Result};
use crate::neptune_design::{SessionSettings, batch_runner};
use crate::nexmark::{self, NexmarkQuery, QUERIES};
use crate::suite::Context;
use crate::workload::Workload;

/// Events of a micro-batch that takes what is there.
const EVENTS_PER_MICRO_BATCH: u64 = 100_000;
/// Events of the first run of a case, from which the size of the others is found.
const FIRST_EVENTS: u64 = 50_000;
/// A run at least so long tells how fast a case is.
const TELLING_S: f64 = 0.25;
/// The most that a stretch takes, so that a wrong guess ends.
const MOST_EVENTS: u64 = 2_000_000_000;
/// The most of them as JSON: half a gigabyte.
const MOST_JSON_EVENTS: u64 = 2_000_000;
/// Events of the Yahoo benchmark per second of event time.
const YSB_RATE: u64 = 1_000_000;
/// Events per second where they come at a pace.
pub(super) const PACE: u64 = 100_000;
/// Time between two micro-batches where events come at a pace.
pub(super) const PACE_TRIGGER: &str = "50 ms";

/// A case of the suite.
#[derive(Debug, Clone, Copy)]
pub(super) enum Case {
    MicroBatch,
    Nexmark(&'static NexmarkQuery),
    YsbAlone,
    YsbJsonAlone,
    YsbBesideBatch(PolicyName),
}

impl Case {
    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        let mut cases = vec![Self::MicroBatch];
        cases.extend(QUERIES.iter().map(Self::Nexmark));
        cases.extend([Self::YsbAlone, Self::YsbJsonAlone]);
        cases.extend(PolicyName::ALL.map(Self::YsbBesideBatch));
        cases
    }

    /// Its name, as `--only` takes it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::MicroBatch => "micro_batch".to_owned(),
            Self::Nexmark(query) => format!("nexmark_{}", query.name),
            Self::YsbAlone => "ysb_alone".to_owned(),
            Self::YsbJsonAlone => "ysb_json_alone".to_owned(),
            Self::YsbBesideBatch(policy) => format!("ysb_beside_batch_{}", policy.name()),
        }
    }

    /// One stretch of about `length`.
    ///
    /// # Errors
    /// [`BenchError::Refused`] when the engine cannot run it; other errors end the suite.
    pub(super) fn measure(
        self,
        settings: &SessionSettings,
        context: &Context<'_>,
        length: Duration,
        figures: &mut CaseFigures,
    ) -> Result<Stretch> {
        let workload = Workload {
            // Batch beside the stream is the only one that reads tables.
            tables: match self {
                Self::YsbBesideBatch(_) => context.workload.tables.clone(),
                _ => crate::workload::Tables::ProbeOnly,
            },
            ..context.workload.clone()
        };
        let start = |settings: &SessionSettings| {
            let session = settings.start(&workload)?;
            nexmark::register(session.context());
            Ok::<Session, BenchError>(session)
        };
        match self {
            Self::MicroBatch => {
                let paced = script::run(&start(settings)?, &ticks(), Some(length))?;
                Ok(Stretch {
                    paced: Some(paced),
                    ..Stretch::default()
                })
            }
            Self::Nexmark(query) => {
                let fast =
                    |events| script::run(&start(settings)?, &nexmark_script(query, events), None);
                let ran = sized(figures, length, MOST_EVENTS, fast)?;
                Ok(fast_only(ran))
            }
            Self::YsbAlone => {
                let fast = |events| {
                    let session = start(settings)?;
                    let ran = script::run(&session, &ysb_script(&ysb_events(events)), None)?;
                    oracle::check(&session, &ysb_of_script(), events)?;
                    Ok(ran)
                };
                let half = length / 2;
                let ran = sized(figures, half, MOST_EVENTS, fast)?;
                let paced = script::run(&start(settings)?, &paced_script(), Some(half))?;
                Ok(Stretch {
                    paced: Some(paced),
                    ..fast_only(ran)
                })
            }
            Self::YsbJsonAlone => {
                // Refused before gigabytes are written for nothing.
                let few = JsonFiles::write(&ysb_of_script(), 1)?;
                script::run(&start(settings)?, &ysb_script(&few.declare()), None)?;
                let fast = |events| {
                    let files = JsonFiles::write(&ysb_of_script(), events)?;
                    let session = start(settings)?;
                    let ran = script::run(&session, &ysb_script(&files.declare()), None)?;
                    oracle::check(&session, &ysb_of_script(), events)?;
                    Ok(ran)
                };
                Ok(fast_only(sized(figures, length, MOST_JSON_EVENTS, fast)?))
            }
            Self::YsbBesideBatch(policy) => {
                let settings = SessionSettings {
                    policy,
                    ..settings.clone()
                };
                let session = start(&settings)?;
                let runner = batch_runner(&session, &Annals::default());
                let batch = BatchLoop::start(
                    session.executor().handle(Class::Batch),
                    &workload.queries,
                    figures.next_query,
                    workload.loops,
                    &runner,
                );
                let paced = script::run(&session, &paced_script(), Some(length));
                let log = batch.stop();
                let paced = paced?;
                if let Some(reason) = log.error() {
                    let reason = format!("batch failed: {reason}");
                    return Err(BenchError::failed(&self.name(), reason));
                }
                figures.next_query = log.next_query().unwrap_or(0);
                Ok(Stretch {
                    fast: None,
                    paced: Some(paced),
                    batch: Some(log.work(&[])),
                })
            }
        }
    }
}

fn fast_only(ran: Ran) -> Stretch {
    Stretch {
        fast: Some((ran.rows, ran.wall_s, ran.cpu_s)),
        ..Stretch::default()
    }
}

/// Runs a case over as many events as it takes in about `length`, at most `most`; finds out how many first, where no
/// earlier stretch has.
fn sized(
    figures: &mut CaseFigures,
    length: Duration,
    most: u64,
    mut run: impl FnMut(u64) -> Result<Ran>,
) -> Result<Ran> {
    while figures.events_per_s.is_none() {
        let events = figures
            .tried
            .map_or(FIRST_EVENTS, |(events, wall_s): (u64, f64)| {
                let more = (2.0 * TELLING_S / wall_s.max(1e-3)).clamp(2.0, 100.0);
                (events as f64 * more) as u64
            });
        let events = events.min(most);
        let ran = run(events)?;
        figures.tried = Some((events, ran.wall_s));
        if ran.wall_s >= TELLING_S || events == most {
            figures.events_per_s = Some(events as f64 / ran.wall_s);
        }
    }
    let events = figures.events_per_s.unwrap_or(1.0) * length.as_secs_f64();
    run((events as u64).clamp(1, most))
}

/// A stream of ten rows every ten milliseconds.
fn ticks() -> String {
    format!(
        "CREATE TABLE ticks WITH (connector = 'rate', rows_per_second = 1000);\n\
         CREATE TABLE found WITH (connector = 'noop');\n\
         CREATE JOB {JOB} WITH (class = 'stream', trigger = '10 ms') AS\n\
         INSERT INTO found SELECT * FROM ticks WHERE value % 2 = 0;"
    )
}

fn nexmark_script(query: &NexmarkQuery, events: u64) -> String {
    format!(
        "{}CREATE TABLE found WITH (connector = 'noop');\n{}INSERT INTO found\n{};",
        nexmark::declare(query, events, !query.is_stateless()),
        fast_job(),
        query.sql
    )
}

/// The beginning of a job that takes what is there.
fn fast_job() -> String {
    format!(
        "CREATE JOB {JOB} WITH (class = 'stream', trigger = 'available_now',\n\
         max_rows_per_trigger = {EVENTS_PER_MICRO_BATCH}, max_files_per_trigger = 2) AS\n"
    )
}

/// The events of all scripts that do not run at a pace.
fn ysb_of_script() -> Ysb {
    Ysb {
        start_nanos: ysb::DEFAULT_START_NANOS,
        events_per_second: YSB_RATE,
    }
}

fn ysb_events(events: u64) -> String {
    format!(
        "CREATE TABLE events (WATERMARK FOR event_time) WITH (connector = 'ysb', part = 'events', rows = {events}, \
         rows_per_second = {YSB_RATE}, start = '2026-01-01 00:00:00', paced = 'false');\n"
    )
}

/// The benchmark's query over declared events, into a table in memory.
fn ysb_script(events: &str) -> String {
    format!(
        "{events}CREATE TABLE campaigns WITH (connector = 'ysb', part = 'campaigns');\n\
         CREATE TABLE {} WITH (connector = 'memory');\n{}INSERT INTO {}\n{};",
        oracle::ANSWERS,
        fast_job(),
        oracle::ANSWERS,
        ysb::QUERY
    )
}

/// The benchmark's query over events that happen now.
fn paced_script() -> String {
    format!(
        "CREATE TABLE events (WATERMARK FOR event_time) WITH (connector = 'ysb', part = 'events', \
         rows_per_second = {PACE}, start = 'now');\n\
         CREATE TABLE campaigns WITH (connector = 'ysb', part = 'campaigns');\n\
         CREATE TABLE found WITH (connector = 'noop');\n\
         CREATE JOB {JOB} WITH (class = 'stream', trigger = '{PACE_TRIGGER}', output_mode = 'update') AS\n\
         INSERT INTO found\n{};",
        ysb::QUERY
    )
}
