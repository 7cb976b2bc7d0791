//! What a figure was measured on: the machine and the versions of everything that has a say in it.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use serde::Serialize;

use crate::quota;

/// The machine as this process sees it; whatever cannot be read is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Model name of the first processor.
    pub cpu: String,
    /// Processors of the machine that are online.
    pub cores: usize,
    /// Processors this process may use, after affinity and quota.
    pub usable_cores: usize,
    /// Main memory in bytes.
    pub memory_bytes: u64,
    /// Operating system and architecture, such as `linux x86_64`.
    pub os: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Preemption model of the kernel: `none`, `voluntary`, `full`, `lazy`; with `dynamic` alone the
    /// kernel can do several and does not let this process read which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption: Option<String>,
    /// Frequency governor of the first processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// Whether a hypervisor runs below, where that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtualised: Option<bool>,
    /// Cores that a control group limits this process to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<f64>,
}

impl Machine {
    /// Looks at the machine this process runs on.
    pub fn detect() -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let usable_cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            cpu: cpu_model(&cpuinfo).unwrap_or("unknown").to_owned(),
            cores: read("/sys/devices/system/cpu/online")
                .and_then(|list| count_of_list(&list))
                .unwrap_or(usable_cores),
            usable_cores,
            memory_bytes: read("/proc/meminfo")
                .and_then(|text| memory_total(&text))
                .unwrap_or(0),
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            preemption: preemption(
                read("/sys/kernel/debug/sched/preempt").as_deref(),
                read("/proc/sys/kernel/version").as_deref(),
            ),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            virtualised: hypervisor(&cpuinfo),
            cpu_quota: quota::current(),
        }
    }
}

/// The versions of what is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// This program.
    pub neptune: &'static str,
    /// The query engine.
    pub datafusion: &'static str,
    /// The column format.
    pub arrow: &'static str,
    /// The compiler.
    pub rustc: &'static str,
    /// The memory allocator of the process.
    pub allocator: String,
    /// `release`, or `debug`, whose figures say nothing about speed.
    pub profile: &'static str,
}

impl Versions {
    /// The versions built in; the caller knows which `allocator` the program installed.
    pub fn built_with(allocator: &str) -> Self {
        Self {
            neptune: env!("CARGO_PKG_VERSION"),
            datafusion: datafusion::DATAFUSION_VERSION,
            arrow: datafusion::arrow::ARROW_VERSION,
            rustc: env!("NEPTUNE_RUSTC_VERSION"),
            allocator: allocator.to_owned(),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    field(cpuinfo, "model name").or_else(|| field(cpuinfo, "Model"))
}

fn hypervisor(cpuinfo: &str) -> Option<bool> {
    let flags = field(cpuinfo, "flags")?;
    Some(flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let kibibytes = field(meminfo, "MemTotal")?.split_whitespace().next()?;
    Some(kibibytes.parse::<u64>().ok()? * 1024)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// How many numbers a list such as `0-3,8` names.
fn count_of_list(list: &str) -> Option<usize> {
    list.split(',').try_fold(0, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        Some(sum + last.checked_sub(first)? + 1)
    })
}

/// The model marked by parentheses in the scheduler's own file, else what the build string says.
fn preemption(modes: Option<&str>, version: Option<&str>) -> Option<String> {
    let marked = modes.and_then(|modes| {
        modes
            .split_whitespace()
            .find_map(|mode| mode.strip_prefix('(')?.strip_suffix(')'))
    });
    if let Some(mode) = marked {
        return Some(mode.to_owned());
    }
    let words: Vec<&str> = version?.split_whitespace().collect();
    let built = [
        ("PREEMPT_RT", "real-time"),
        ("PREEMPT_DYNAMIC", "dynamic"),
        ("PREEMPT_LAZY", "lazy"),
        ("PREEMPT", "full"),
    ];
    built
        .into_iter()
        .find(|(word, _)| words.contains(word))
        .map(|(_, model)| model.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str =
        "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu vme hypervisor lm\n";

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(cpu_model(CPUINFO), Some("AMD EPYC"));
        assert_eq!(
            cpu_model("Model\t: Raspberry Pi 5\n"),
            Some("Raspberry Pi 5")
        );
        assert_eq!(hypervisor(CPUINFO), Some(true));
        assert_eq!(hypervisor("flags : fpu vme\n"), Some(false));
        assert_eq!(hypervisor("Features : fp asimd\n"), None);
        let meminfo = "MemTotal:       16384 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_total(meminfo), Some(16384 * 1024));
        assert_eq!(memory_total("nonsense"), None);
    }

    #[test]
    fn lists_of_processors_are_counted() {
        let cases = [
            ("0", Some(1)),
            ("0-3", Some(4)),
            ("0-1,4,6-7", Some(5)),
            ("", None),
            ("3-1", None),
        ];
        for (list, expected) in cases {
            assert_eq!(count_of_list(list), expected, "{list:?}");
        }
    }

    #[test]
    fn the_preemption_model_is_the_marked_one_or_the_built_one() {
        let cases = [
            (Some("none voluntary (full) lazy"), None, Some("full")),
            (None, Some("#1 SMP PREEMPT_DYNAMIC Mon"), Some("dynamic")),
            (
                Some("none full"),
                Some("#1 SMP PREEMPT_RT Mon"),
                Some("real-time"),
            ),
            (None, Some("#1 SMP Mon"), None),
            (None, None, None),
        ];
        for (modes, version, expected) in cases {
            assert_eq!(preemption(modes, version).as_deref(), expected);
        }
    }

    #[test]
    fn this_machine_has_cores_and_versions() {
        let machine = Machine::detect();
        assert!(
            machine.cores >= 1 && machine.usable_cores >= 1,
            "{machine:?}"
        );
        let versions = Versions::built_with("system");
        assert!(versions.datafusion.starts_with("55."), "{versions:?}");
        assert!(versions.rustc.starts_with("rustc "), "{versions:?}");
    }
}
