//! `--cpu-quota CORES`: runs the bench under a CPU limit, as a container has.
//!
//! A [`Quota`] is a control group with a limit, of version 1 or 2, whichever this machine offers. The
//! bench starts itself again ([`run_inside`]); the new process moves into the group as the first thing
//! it does ([`enter`]), with all the threads it will ever have. The old one waits, and removes the
//! group when the new one has ended, however that came about. How often the kernel had to stop the
//! group is read by [`throttling`], inside or out.
//!
//! The new process watches its standard input, a pipe nobody writes to: when its parent is gone the
//! pipe ends and it ends too. A group left behind by a parent that was killed is removed by the next run.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::child;

mod files;

use files::{Version, find_controller, parse_limit_v1, parse_limit_v2, parse_stat};

/// Environment variable that tells the inner process which group to enter.
const GROUP_VARIABLE: &str = "NEPTUNE_BENCH_CGROUP";
/// Prefix of the names of our groups; the process id of the owner follows.
const GROUP_PREFIX: &str = "neptune-bench-";
/// The period over which the kernel counts, its own default.
const PERIOD_US: u64 = 100_000;
/// The kernel refuses a smaller share of a period than this.
const SMALLEST_QUOTA_US: u64 = 1_000;

/// Why no CPU quota can be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// The limit asked for is not a usable number.
    #[error(
        "a CPU quota of {cores} cores cannot be set: it must be at least 0.01 and at most 4096"
    )]
    Size {
        /// What was asked for.
        cores: f64,
    },
    /// No controller for CPU time is mounted.
    #[error(
        "no CPU quota can be set: this system mounts no cgroup controller for CPU time; \
         run without --cpu-quota, or start the bench in a container that has a limit"
    )]
    NoController,
    /// A controller is there, but this process may not make a group in it.
    #[error(
        "no CPU quota can be set: cannot {action} {}: {source}; \
         it needs root or a delegated cgroup", path.display()
    )]
    Refused {
        /// The verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing above this process lets the groups below it limit CPU time.
    #[error(
        "no CPU quota can be set: no cgroup at or above {} hands the `cpu` controller down \
         (cgroup.subtree_control)", path.display()
    )]
    NotDelegated {
        /// The group of this process.
        path: PathBuf,
    },
    /// The process could not be started again inside the group.
    #[error("cannot start the bench again under its quota: {0}")]
    Start(io::Error),
}

fn refused(action: &'static str, path: &Path, source: io::Error) -> QuotaError {
    QuotaError::Refused {
        action,
        path: path.to_owned(),
        source,
    }
}

/// How often and how long the kernel stopped a group at its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which the group ran at all.
    pub periods: u64,
    /// Those in which it was stopped.
    pub throttled_periods: u64,
    /// How long its threads were stopped.
    pub throttled: Duration,
}

impl Throttling {
    /// What was added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            periods: self.periods.saturating_sub(earlier.periods),
            throttled_periods: self
                .throttled_periods
                .saturating_sub(earlier.throttled_periods),
            throttled: self.throttled.saturating_sub(earlier.throttled),
        }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            periods: self.periods + other.periods,
            throttled_periods: self.throttled_periods + other.throttled_periods,
            throttled: self.throttled + other.throttled,
        }
    }
}

/// A control group with a CPU limit; removed when dropped.
#[derive(Debug)]
pub struct Quota {
    path: PathBuf,
}

impl Quota {
    /// Makes a group of this process's own that may use `cores` cores' worth of time.
    ///
    /// # Errors
    /// When the number is out of range, or the machine has no controller or does not let us use it.
    pub fn create(cores: f64) -> Result<Self, QuotaError> {
        if !(0.01..=4096.0).contains(&cores) {
            return Err(QuotaError::Size { cores });
        }
        let quota_us = ((cores * PERIOD_US as f64).round() as u64).max(SMALLEST_QUOTA_US);
        let controller = find_controller()?;
        let base = match controller.version {
            Version::One => controller.group.clone(),
            Version::Two => controller.delegating_ancestor()?,
        };
        remove_stale(&base);
        let path = base.join(format!("{GROUP_PREFIX}{}", process::id()));
        fs::create_dir(&path).map_err(|source| refused("create", &path, source))?;
        // From here on dropping removes the group, also when a limit cannot be written.
        let quota = Self { path };
        match controller.version {
            Version::One => {
                quota.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
                quota.write("cpu.cfs_quota_us", &quota_us.to_string())?;
            }
            Version::Two => quota.write("cpu.max", &format!("{quota_us} {PERIOD_US}"))?,
        }
        Ok(quota)
    }

    /// Directory of the group.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, file: &str, text: &str) -> Result<(), QuotaError> {
        let path = self.path.join(file);
        fs::write(&path, text).map_err(|source| refused("write", &path, source))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            let path = self.path.display();
            tracing::warn!(%error, "the cgroup {path} stays behind; the next run removes it");
        }
    }
}

/// Removes groups whose owner is gone. One that is still in use cannot be removed, so nothing is lost.
fn remove_stale(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(GROUP_PREFIX));
        if let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok())
            && !Path::new("/proc").join(owner.to_string()).exists()
        {
            // Losing a race against another bench that cleans up is fine.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Runs `command` (this program again) under a quota of `cores` and waits for its end.
///
/// The command must call [`enter`] before it starts a thread. The wait goes on through an interrupt
/// from the keyboard, which reaches the inner process as well, so that the group is always removed.
///
/// # Errors
/// When no group can be made or the process cannot be started.
pub fn run_inside(cores: f64, mut command: Command) -> Result<ExitStatus, QuotaError> {
    let quota = Quota::create(cores)?;
    command
        .env(GROUP_VARIABLE, quota.path())
        .stdin(Stdio::piped());
    let status = child::wait_through_interrupts(command).map_err(QuotaError::Start);
    drop(quota);
    status
}

/// In the inner process: enters the group named by the outer one, if any, and says whether it did.
///
/// # Errors
/// When the group cannot be entered.
pub fn enter() -> Result<bool, QuotaError> {
    let Some(group) = env::var_os(GROUP_VARIABLE) else {
        return Ok(false);
    };
    enter_group(Path::new(&group))?;
    child::exit_with_parent();
    Ok(true)
}

fn enter_group(group: &Path) -> Result<(), QuotaError> {
    let procs = group.join("cgroup.procs");
    let entered = fs::write(&procs, process::id().to_string());
    entered.map_err(|source| refused("enter", &procs, source))
}

/// Whether this process runs under a quota that the bench set.
pub fn is_inside() -> bool {
    env::var_os(GROUP_VARIABLE).is_some()
}

/// The cores that the group of this process, or any above it, limits it to; none without a limit.
pub fn current() -> Option<f64> {
    let controller = find_controller().ok()?;
    let mut tightest: Option<f64> = None;
    for group in controller.ancestors() {
        let limit = match controller.version {
            Version::One => {
                let read = |file| fs::read_to_string(group.join(file)).ok();
                read("cpu.cfs_quota_us")
                    .zip(read("cpu.cfs_period_us"))
                    .and_then(|(quota, period)| parse_limit_v1(&quota, &period))
            }
            Version::Two => fs::read_to_string(group.join("cpu.max"))
                .ok()
                .and_then(|text| parse_limit_v2(&text)),
        };
        tightest = match (tightest, limit) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    tightest
}

/// What the kernel counted for the group of this process; none where it keeps no count.
pub fn throttling() -> Option<Throttling> {
    let controller = find_controller().ok()?;
    let text = fs::read_to_string(controller.group.join("cpu.stat")).ok()?;
    parse_stat(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Environment variable that makes the test below the inner process of the other.
    const BUSY_VARIABLE: &str = "NEPTUNE_BENCH_TEST_BUSY";

    #[test]
    fn sizes_out_of_range_are_refused() {
        for cores in [0.0, -1.0, 1e9, f64::NAN, f64::INFINITY] {
            let error = Quota::create(cores).unwrap_err();
            assert!(matches!(error, QuotaError::Size { .. }), "{cores}: {error}");
        }
    }

    #[test]
    fn throttling_is_counted_between_two_readings() {
        let reading = |n| Throttling {
            periods: 10 * n,
            throttled_periods: 2 * n,
            throttled: Duration::from_millis(n),
        };
        assert_eq!(reading(5).since(reading(3)), reading(2));
        assert_eq!(reading(5).plus(reading(3)), reading(8));
        assert_eq!(reading(1).since(reading(2)), Throttling::default());
    }

    /// Not a test of its own: the inner process of the next one.
    #[test]
    fn inner_process_burns_its_quota() {
        if env::var_os(BUSY_VARIABLE).is_none() {
            return;
        }
        assert!(enter().unwrap());
        let limit = current().unwrap();
        assert!((limit - 0.2).abs() < 1e-9, "{limit}");
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(600) {
            std::hint::spin_loop();
        }
        let counted = throttling().unwrap();
        assert!(counted.throttled_periods >= 2, "{counted:?}");
    }

    #[test]
    fn a_process_under_a_quota_is_throttled_and_its_group_removed() {
        // Where this machine lets nobody make a group, the error must say why and nothing is left to test.
        let group = match Quota::create(0.2) {
            Ok(quota) => quota.path().to_owned(),
            Err(error) => {
                assert!(
                    error.to_string().starts_with("no CPU quota can be set"),
                    "{error}"
                );
                return;
            }
        };
        assert!(!group.exists(), "dropping removes the group");
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "quota::tests::inner_process_burns_its_quota"])
            .env(BUSY_VARIABLE, "1")
            .stdout(Stdio::null());
        let status = run_inside(0.2, command).unwrap();
        assert!(status.success(), "{status}");
        assert!(
            !group.exists(),
            "the group is removed when the process has ended"
        );
    }
}
