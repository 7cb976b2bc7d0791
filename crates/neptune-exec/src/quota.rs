//! The CPU quota of this process's cgroup (v1 or v2), which decides how many slots make sense.

use std::fs;
use std::path::{Path, PathBuf};

use crate::os;

/// Cores this process may use at a time: the quota of its cgroup where one is set, in cores.
pub fn cpu_quota() -> Option<f64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    quota_of(&groups, Path::new("/sys/fs/cgroup"))
}

/// Slots an executor gets unless told otherwise: the cores there are, or the quota rounded up if that is less.
pub fn default_slots() -> usize {
    match cpu_quota() {
        Some(quota) => cores().min(quota.ceil() as usize).max(1),
        None => cores(),
    }
}

/// Cores this process may use one after the other. (The standard library's number is that of the quota, rounded down,
/// where there is one.)
pub(crate) fn cores() -> usize {
    let standard = || std::thread::available_parallelism().map_or(1, usize::from);
    os::allowed_cores().unwrap_or_else(standard)
}

/// The smallest quota on the way from the process's group to the root of its hierarchy.
fn quota_of(groups: &str, root: &Path) -> Option<f64> {
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
            let group = group.trim_start_matches('/');
            if controllers.is_empty() {
                smallest(&[root.to_path_buf(), root.join("unified")], group, quota_v2)
            } else if controllers.split(',').any(|c| c == "cpu") {
                smallest(
                    &[root.join("cpu"), root.join("cpu,cpuacct")],
                    group,
                    quota_v1,
                )
            } else {
                None
            }
        })
        .min_by(f64::total_cmp)
}

fn smallest(roots: &[PathBuf], group: &str, read: fn(&Path) -> Option<f64>) -> Option<f64> {
    roots
        .iter()
        .flat_map(|root| {
            let here = root.join(group);
            // Inside a container the path may name what only the host sees; its root then holds the limit.
            let start = if here.is_dir() { here } else { root.clone() };
            start
                .ancestors()
                .take_while(|dir| dir.starts_with(root))
                .filter_map(read)
                .collect::<Vec<_>>()
        })
        .min_by(f64::total_cmp)
}

fn quota_v2(dir: &Path) -> Option<f64> {
    let text = fs::read_to_string(dir.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

fn quota_v1(dir: &Path) -> Option<f64> {
    let number = |file| {
        fs::read_to_string(dir.join(file))
            .ok()?
            .trim()
            .parse::<f64>()
            .ok()
    };
    let quota = number("cpu.cfs_quota_us")?;
    if quota <= 0.0 {
        None
    } else {
        Some(quota / number("cpu.cfs_period_us")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_quota_up_the_tree_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("cpu.max", "max 100000\n");
        file("a/cpu.max", "150000 100000\n");
        file("a/b/cpu.max", "max 100000\n");
        file("cpu/x/cpu.cfs_quota_us", "50000\n");
        file("cpu/x/cpu.cfs_period_us", "100000\n");
        file("cpu/cpu.cfs_quota_us", "-1\n");
        for (groups, quota) in [
            ("0::/a/b\n", Some(1.5)),
            ("0::/\n", None),
            ("4:memory:/x\n3:cpu,cpuacct:/x\n0::/a\n", Some(0.5)),
            ("3:cpu:/not/visible/here\n", None),
            ("nonsense", None),
        ] {
            assert_eq!(quota_of(groups, dir.path()), quota, "{groups:?}");
        }
    }
}
