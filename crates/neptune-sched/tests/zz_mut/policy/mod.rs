//! Policies: the order of waiting tasks, how many slots a class may hold, and who has to make room.
//!
//! A policy is one file and holds no state: it judges views that the scheduler hands it. It is chosen by
//! `neptune.scheduler.policy` and may be changed while tasks run.

mod fair;
mod fifo;
mod fixed;
mod kill;
mod neptune;
mod priority;

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Class, JobView, SchedSettings};

/// Order among jobs that have a task waiting; the smallest goes first.
pub type Rank = (u64, Reverse<i32>, bool, u64);

/// What happens to a running task that has to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preemption {
    /// Nobody makes room; the newcomer waits until a task blocks, yields or ends.
    None,
    /// The victim stops at its next yield point and goes on later.
    Suspend,
    /// The victim's job is cancelled and run again from its beginning.
    Kill,
}

/// A scheduling policy. See the module's text.
pub trait Policy: Send + Sync + fmt::Debug {
    /// Which one it is.
    fn name(&self) -> PolicyName;

    /// The place of `job` in the order of jobs with waiting tasks.
    fn rank(&self, job: &JobView) -> Rank;

    /// How many slots tasks of `class` may hold at a time.
    fn class_limit(&self, class: Class, settings: &SchedSettings) -> usize {
        let _ = class;
        settings.slots
    }

    /// What is done to make room.
    fn preemption(&self) -> Preemption {
        Preemption::None
    }

    /// Whether a task of `newcomer` may take the slot of a running task of `victim`.
    fn preempts(&self, newcomer: &JobView, victim: &JobView) -> bool {
        let _ = (newcomer, victim);
        false
    }

    /// Whether batch work has its minimum share guaranteed: where streams would otherwise always go first.
    fn protects_batch(&self) -> bool {
        false
    }

    /// Whether stream tasks start at once, before a victim has let go.
    fn stream_starts_at_once(&self) -> bool {
        self.preemption() != Preemption::None
    }
}

/// The name of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// Jobs in the order they were submitted.
    Fifo,
    /// The job that used its weight's share least goes first.
    Fair,
    /// Slots are divided between the classes once and for all.
    Static,
    /// Streams first, but nobody is interrupted.
    Priority,
    /// Streams first; batch jobs in the way are cancelled and run again.
    Kill,
    /// Streams first; batch tasks in the way are suspended and resumed.
    Neptune,
}

impl PolicyName {
    /// Every policy.
    pub const ALL: [Self; 6] = [
        Self::Fifo,
        Self::Fair,
        Self::Static,
        Self::Priority,
        Self::Kill,
        Self::Neptune,
    ];

    /// The name used in SQL and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Fair => "fair",
            Self::Static => "static",
            Self::Priority => "priority",
            Self::Kill => "kill",
            Self::Neptune => "neptune",
        }
    }

    /// The policy of that name.
    pub fn policy(self) -> &'static dyn Policy {
        match self {
            Self::Fifo => &fifo::Fifo,
            Self::Fair => &fair::Fair,
            Self::Static => &fixed::Static,
            Self::Priority => &priority::Priority,
            Self::Kill => &kill::Kill,
            Self::Neptune => &neptune::Neptune,
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A policy name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scheduling policy '{0}': use one of fifo, fair, static, priority, kill, neptune")]
pub struct UnknownPolicy(pub String);

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|p| p.name().eq_ignore_ascii_case(s.trim()))
            .ok_or_else(|| UnknownPolicy(s.to_owned()))
    }
}

/// Class first, then priority (larger first), then jobs with suspended tasks, then age.
fn by_urgency(job: &JobView) -> Rank {
    (
        job.class as u64,
        Reverse(job.priority),
        !job.has_suspended,
        job.age,
    )
}

/// Whether `newcomer` is of a more urgent class, or of the same class with a higher priority.
fn more_urgent(newcomer: &JobView, victim: &JobView) -> bool {
    (newcomer.class, Reverse(newcomer.priority)) < (victim.class, Reverse(victim.priority))
}
