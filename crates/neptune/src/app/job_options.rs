//! What the `WITH (…)` of `CREATE JOB` says.

use std::time::Duration;

use neptune_sched::Class;
use neptune_stream::{CheckpointSpec, Limits, OutputMode, Trigger};

use super::job::Repeat;
use crate::dialect::{DialectError, Options, Position, Statement, parse_duration};

/// The longest time between two runs of a job.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The caps on a micro-batch.
const CAPS: [&str; 2] = ["max_rows_per_trigger", "max_files_per_trigger"];

/// What else only a job has that reads a stream.
const STREAM_ONLY: [&str; 4] = [
    "output_mode",
    "checkpoint",
    "checkpoint_fsync",
    "idle_timeout",
];

/// The options of a job, read.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobOptions {
    pub(crate) class: Option<Class>,
    pub(crate) priority: Option<i32>,
    pub(crate) weight: Option<u32>,
    pub(crate) limits: Limits,
    pub(crate) mode: Option<OutputMode>,
    pub(crate) checkpoint: Option<CheckpointSpec>,
    pub(crate) idle_after: Option<Duration>,
    trigger: Option<JobTrigger>,
    every: Option<Duration>,
    /// As they stand in the file; none for a statement that has no options.
    given: Option<Options>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobTrigger {
    MicroBatch(Trigger),
    AtEnd,
}

impl JobOptions {
    /// Reads and checks all options.
    pub(crate) fn read(given: &Options) -> Result<Self, DialectError> {
        let mut given = given.clone();
        let class = given.one_of("class", &["stream", "batch"])?;
        let options =
            Self {
                class: class.map(|name| match name {
                    "stream" => Class::Stream,
                    _ => Class::Batch,
                }),
                priority: match given.str("priority") {
                    None => None,
                    Some(text) => {
                        let number = text.trim().parse();
                        Some(number.map_err(|_| {
                            given.bad_value("priority", "it must be a whole number")
                        })?)
                    }
                },
                weight: at_least_one(&mut given, "weight")?,
                limits: Limits {
                    max_rows: at_least_one(&mut given, CAPS[0])?,
                    max_files: at_least_one(&mut given, CAPS[1])?,
                },
                mode: given
                    .one_of("output_mode", &OutputMode::NAMES)?
                    .and_then(|name| name.parse().ok()),
                checkpoint: checkpoint(&mut given)?,
                idle_after: given.duration("idle_timeout")?,
                trigger: trigger(&mut given)?,
                every: every(&mut given)?,
                given: None,
            };
        given.finish()?;
        Ok(Self {
            given: Some(given),
            ..options
        })
    }

    /// When a batch job with these options runs.
    pub(crate) fn repeat(&self, statement: &Statement) -> Result<Repeat, DialectError> {
        let refused = |key: &str, what: &str| {
            let source = statement.source();
            source.error(self.position(key).unwrap_or(statement.position), what)
        };
        for cap in CAPS.iter().chain(&STREAM_ONLY) {
            if self.position(cap).is_some() {
                let what =
                    format!("option `{cap}` is for jobs that read a stream; this one reads none");
                return Err(refused(cap, &what));
            }
        }
        match (self.every, self.trigger) {
            (Some(every), None) => Ok(Repeat::Every(every)),
            (None, Some(JobTrigger::AtEnd)) => Ok(Repeat::AtEnd),
            (None, None) => Ok(Repeat::Once),
            (Some(_), Some(_)) => Err(refused("every", "give either `every` or `trigger`")),
            (None, Some(JobTrigger::MicroBatch(_))) => {
                let what = "this job reads no stream, so it has no micro-batches to trigger";
                let help = "use every = '30 s' to repeat it, or trigger = 'end' to run it when all others have ended";
                Err(refused("trigger", what).with_help(help))
            }
        }
    }

    /// When the micro-batches of a stream job with these options start.
    pub(crate) fn micro_batches(&self, statement: &Statement) -> Result<Trigger, DialectError> {
        let refused = |key: &str, what: &str| {
            let source = statement.source();
            source.error(self.position(key).unwrap_or(statement.position), what)
        };
        if self.every.is_some() {
            let what = "this job reads a stream: it runs all the time, not every so often";
            return Err(refused("every", what).with_help("use trigger = '50 ms'"));
        }
        match self.trigger {
            None => Ok(Trigger::AsFastAsPossible),
            Some(JobTrigger::MicroBatch(trigger)) => Ok(trigger),
            Some(JobTrigger::AtEnd) => {
                let what = "this job reads a stream and cannot wait for the end of the others";
                Err(refused("trigger", what))
            }
        }
    }

    fn position(&self, key: &str) -> Option<Position> {
        let value = self.given.as_ref()?.get(key)?;
        Some(value.key_position)
    }
}

fn at_least_one<T: TryFrom<u64>>(
    given: &mut Options,
    key: &str,
) -> Result<Option<T>, DialectError> {
    let Some(number) = given.u64(key)? else {
        return Ok(None);
    };
    match T::try_from(number) {
        Ok(fits) if number > 0 => Ok(Some(fits)),
        _ => Err(given.bad_value(
            key,
            "it must be a whole number of at least 1, and not enormous",
        )),
    }
}

/// Where a job's state lasts; it survives a power cut unless `checkpoint_fsync` is off.
fn checkpoint(given: &mut Options) -> Result<Option<CheckpointSpec>, DialectError> {
    let directory = given.str("checkpoint");
    let sync = given.bool("checkpoint_fsync")?;
    match directory {
        Some(directory) if directory.trim().is_empty() => {
            Err(given.bad_value("checkpoint", "it must be a directory"))
        }
        Some(directory) => Ok(Some(CheckpointSpec {
            directory: directory.into(),
            sync: sync.unwrap_or(true),
        })),
        None if sync.is_some() => {
            let what = "it is about a checkpoint, and this job has none";
            Err(given.bad_value("checkpoint_fsync", what))
        }
        None => Ok(None),
    }
}

const TOO_LONG: &str = "it must be at most ten years";

fn every(given: &mut Options) -> Result<Option<Duration>, DialectError> {
    let every = given.duration("every")?;
    if every.is_some_and(|every| every > LONGEST) {
        return Err(given.bad_value("every", TOO_LONG));
    }
    Ok(every)
}

fn trigger(given: &mut Options) -> Result<Option<JobTrigger>, DialectError> {
    let Some(text) = given.str("trigger") else {
        return Ok(None);
    };
    let trigger = match text.trim().to_ascii_lowercase().as_str() {
        "end" => return Ok(Some(JobTrigger::AtEnd)),
        "once" => Trigger::Once,
        "available_now" => Trigger::AvailableNow,
        "as_fast_as_possible" => Trigger::AsFastAsPossible,
        _ => match parse_duration(text.trim()) {
            Some(every) if every > LONGEST => {
                return Err(given.bad_value("trigger", TOO_LONG));
            }
            Some(every) => Trigger::Interval(every),
            None => {
                let what = "it must be a time such as '50 ms', or one of 'as_fast_as_possible', 'once', \
                            'available_now' and 'end'";
                return Err(given.bad_value("trigger", what));
            }
        },
    };
    Ok(Some(JobTrigger::MicroBatch(trigger)))
}
