//! The `neptune.*` settings of a session, as DataFusion sees them: `SET neptune.job.class = 'stream'`.
//!
//! Settings of a job take effect for the statements that follow. Settings of the scheduler act on the executor at
//! once, where the session has one.

use std::any::Any;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::common::{DataFusionError, Result};
use neptune_sched::{Class, Nanos, PolicyName, SchedSettings};

use crate::executor::{Demote, Executor, Realtime};
use crate::job::JobSettings;

/// The settings. Fields are read where they matter; they are changed by `SET`.
#[derive(Debug, Clone)]
pub struct NeptuneOptions {
    /// Class of the jobs that follow.
    pub job_class: Class,
    /// Name of the jobs that follow; empty for what they are, such as `query`.
    pub job_name: String,
    /// Priority of the jobs that follow.
    pub job_priority: i32,
    /// Weight of the jobs that follow under the `fair` policy.
    pub job_weight: u32,
    /// Whether plans get yield nodes at all.
    pub yield_nodes: bool,
    /// Aim for the time between two yield points of a batch task; zero for no slicing.
    pub yield_target: Duration,
    /// Whether operators with long polls are replaced by ones with short polls.
    pub short_polls: bool,
    /// Policy of a session without executor.
    pub policy: PolicyName,
    /// Scheduling numbers.
    pub sched: SchedSettings,
    /// Set before the executor starts.
    pub os_realtime: Realtime,
    /// Set before the executor starts.
    pub os_demote: Demote,
    /// Set before the executor starts.
    pub slots: usize,
    /// Bytes all queries together may use, or 0 for no limit; set before the executor starts.
    pub memory_limit: usize,
    /// The executor that scheduler settings act on.
    pub executor: Option<Executor>,
}

impl Default for NeptuneOptions {
    fn default() -> Self {
        let slots = crate::quota::default_slots();
        Self {
            job_class: Class::Batch,
            job_name: String::new(),
            job_priority: 0,
            job_weight: 1,
            yield_nodes: true,
            yield_target: Duration::from_micros(500),
            short_polls: true,
            policy: PolicyName::Neptune,
            sched: SchedSettings::new(slots),
            os_realtime: Realtime::Auto,
            os_demote: Demote::Auto,
            slots,
            memory_limit: 0,
            executor: None,
        }
    }
}

/// Every setting: its key after `neptune.` and what it means.
pub(crate) const SETTINGS: [(&str, &str); 17] = [
    (
        "job.class",
        "Class of the jobs that follow: stream or batch",
    ),
    ("job.name", "Name of the jobs that follow"),
    (
        "job.priority",
        "Priority of the jobs that follow within their class; larger goes first",
    ),
    (
        "job.weight",
        "Weight of the jobs that follow under the fair policy",
    ),
    (
        "scheduler.policy",
        "fifo, fair, static, priority, kill or neptune; acts at once",
    ),
    (
        "static.stream_slots",
        "Slots kept for stream jobs under the static policy; acts at once",
    ),
    (
        "stream.linger",
        "How long a slot stays with the stream class in a pause; acts at once",
    ),
    (
        "suspend.max_count",
        "Suspensions after which a task runs undisturbed for a while; acts at once",
    ),
    (
        "suspend.grace",
        "How long such a task runs undisturbed; acts at once",
    ),
    (
        "batch.min_share",
        "Share of slot time that batch jobs keep under any stream load; acts at once",
    ),
    ("yield.enabled", "Whether plans get yield nodes"),
    (
        "yield.target",
        "Aim for the time between two yield points of a batch task",
    ),
    (
        "yield.short_polls",
        "Whether operators with long polls are replaced",
    ),
    (
        "os.realtime",
        "Real-time priority for stream threads: auto, on or off; at start only",
    ),
    (
        "os.demote",
        "What batch threads ask the kernel for: auto, off, nice or idle; at start only",
    ),
    ("slots", "Tasks that run at a time; at start only"),
    (
        "memory.limit",
        "Bytes all queries together may use, 0 for no limit; at start only",
    ),
];

impl NeptuneOptions {
    /// The settings of a job that starts now.
    pub fn job_settings(&self, name: &str) -> JobSettings {
        JobSettings {
            name: if self.job_name.is_empty() {
                name.to_owned()
            } else {
                self.job_name.clone()
            },
            class: self.job_class,
            priority: self.job_priority,
            weight: self.job_weight,
            killable: false,
        }
    }

    fn value(&self, key: &str) -> String {
        let duration = |d: Duration| format!("{} us", d.as_micros());
        let nanos = |n: Nanos| duration(Duration::from_nanos(n.0));
        match key {
            "job.class" => self.job_class.to_string(),
            "job.name" => self.job_name.clone(),
            "job.priority" => self.job_priority.to_string(),
            "job.weight" => self.job_weight.to_string(),
            "scheduler.policy" => self.policy.to_string(),
            "static.stream_slots" => self.sched.static_stream_slots.to_string(),
            "stream.linger" => nanos(self.sched.linger),
            "suspend.max_count" => self.sched.max_suspensions.to_string(),
            "suspend.grace" => nanos(self.sched.grace),
            "batch.min_share" => self.sched.batch_min_share.to_string(),
            "yield.enabled" => self.yield_nodes.to_string(),
            "yield.target" => duration(self.yield_target),
            "yield.short_polls" => self.short_polls.to_string(),
            "os.realtime" => self.os_realtime.to_string(),
            "os.demote" => self.os_demote.to_string(),
            "slots" => self.slots.to_string(),
            "memory.limit" => self.memory_limit.to_string(),
            _ => String::new(),
        }
    }

    /// Tells the executor one setting that acts at once; what others have told it stays.
    fn apply(&self, key: &str) {
        let Some(executor) = &self.executor else {
            return;
        };
        executor.configure(|policy, sched| match key {
            "scheduler.policy" => *policy = self.policy,
            "static.stream_slots" => sched.static_stream_slots = self.sched.static_stream_slots,
            "stream.linger" => sched.linger = self.sched.linger,
            "suspend.max_count" => sched.max_suspensions = self.sched.max_suspensions,
            "suspend.grace" => sched.grace = self.sched.grace,
            "batch.min_share" => sched.batch_min_share = self.sched.batch_min_share,
            _ => {}
        });
    }

    fn only_at_start(&self, key: &str) -> Result<()> {
        if self.executor.is_none() {
            return Ok(());
        }
        Err(DataFusionError::Configuration(format!(
            "neptune.{key} can only be set before the session starts: use --set neptune.{key}=… or the builder"
        )))
    }
}

fn parse<T: FromStr>(key: &str, value: &str) -> Result<T>
where
    T::Err: Display,
{
    value
        .trim()
        .parse()
        .map_err(|error: T::Err| invalid(key, value, &error))
}

fn invalid(key: &str, value: &str, reason: &dyn Display) -> DataFusionError {
    DataFusionError::Configuration(format!("neptune.{key} = '{value}': {reason}"))
}

fn parse_duration(key: &str, value: &str) -> Result<Duration> {
    humantime::parse_duration(value.trim()).map_err(|error| {
        invalid(
            key,
            value,
            &format_args!("{error}; write a time with its unit, such as '500 us'"),
        )
    })
}

fn parse_nanos(key: &str, value: &str) -> Result<Nanos> {
    Ok(Nanos(parse_duration(key, value)?.as_nanos() as u64))
}

fn at_least_one<T: PartialOrd + From<u8>>(key: &str, value: &str, parsed: T) -> Result<T> {
    if parsed < T::from(1) {
        Err(invalid(key, value, &"must be at least 1"))
    } else {
        Ok(parsed)
    }
}

impl ConfigExtension for NeptuneOptions {
    const PREFIX: &'static str = "neptune";
}

impl ExtensionOptions for NeptuneOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "job.class" => self.job_class = parse(key, value)?,
            "job.name" => self.job_name = value.to_owned(),
            "job.priority" => self.job_priority = parse(key, value)?,
            "job.weight" => self.job_weight = at_least_one(key, value, parse::<u32>(key, value)?)?,
            "scheduler.policy" => self.policy = parse(key, value)?,
            "static.stream_slots" => {
                self.sched.static_stream_slots =
                    at_least_one(key, value, parse::<u32>(key, value)?)? as usize;
            }
            "stream.linger" => self.sched.linger = parse_nanos(key, value)?,
            "suspend.max_count" => self.sched.max_suspensions = parse(key, value)?,
            "suspend.grace" => self.sched.grace = parse_nanos(key, value)?,
            "batch.min_share" => {
                let share: f64 = parse(key, value)?;
                if !(0.0..=1.0).contains(&share) {
                    return Err(invalid(key, value, &"must be between 0 and 1"));
                }
                self.sched.batch_min_share = share;
            }
            "yield.enabled" => self.yield_nodes = parse(key, value)?,
            "yield.target" => self.yield_target = parse_duration(key, value)?,
            "yield.short_polls" => self.short_polls = parse(key, value)?,
            "os.realtime" => {
                self.only_at_start(key)?;
                self.os_realtime = parse(key, value)?;
            }
            "os.demote" => {
                self.only_at_start(key)?;
                self.os_demote = parse(key, value)?;
            }
            "slots" => {
                self.only_at_start(key)?;
                self.slots = at_least_one(key, value, parse::<u32>(key, value)?)? as usize;
                let before = SchedSettings::new(self.sched.slots).static_stream_slots;
                let sched = SchedSettings::new(self.slots);
                self.sched.slots = sched.slots;
                // Follows the slots unless it was set by itself.
                if self.sched.static_stream_slots == before {
                    self.sched.static_stream_slots = sched.static_stream_slots;
                }
            }
            "memory.limit" => {
                self.only_at_start(key)?;
                self.memory_limit = parse(key, value)?;
            }
            _ => {
                let keys: Vec<_> = SETTINGS
                    .iter()
                    .map(|(key, _)| format!("neptune.{key}"))
                    .collect();
                return Err(DataFusionError::Configuration(format!(
                    "unknown setting neptune.{key}; there are {}",
                    keys.join(", ")
                )));
            }
        }
        self.apply(key);
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        SETTINGS
            .iter()
            .map(|&(key, description)| ConfigEntry {
                key: format!("neptune.{key}"),
                value: Some(self.value(key)),
                description,
            })
            .collect()
    }
}
