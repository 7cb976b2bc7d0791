//! Where the kernel keeps control groups, and how to read what it says about them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{QuotaError, Throttling};

/// Which of the two kinds of control groups a controller belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The controller of CPU time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Controller {
    pub(super) version: Version,
    /// Directory where it is mounted.
    pub(super) mount: PathBuf,
    /// Directory of the group that this process is in.
    pub(super) group: PathBuf,
}

impl Controller {
    /// The group of this process and those above it, up to the mount.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &Path> {
        let mount = self.mount.as_path();
        self.group
            .ancestors()
            .take_while(move |group| group.starts_with(mount))
    }

    /// The nearest group, from that of this process upwards, whose children may limit CPU time. In
    /// version 2 a group with processes of its own hands no controller down, so it is seldom our own.
    pub(super) fn delegating_ancestor(&self) -> Result<PathBuf, QuotaError> {
        let delegates = |group: &&Path| {
            fs::read_to_string(group.join("cgroup.subtree_control"))
                .is_ok_and(|text| text.split_whitespace().any(|name| name == "cpu"))
        };
        self.ancestors()
            .find(delegates)
            .map(Path::to_owned)
            .ok_or_else(|| QuotaError::NotDelegated {
                path: self.group.clone(),
            })
    }
}

pub(super) fn find_controller() -> Result<Controller, QuotaError> {
    let read = |path: &str| fs::read_to_string(path).ok();
    read("/proc/self/mountinfo")
        .zip(read("/proc/self/cgroup"))
        .and_then(|(mounts, groups)| parse_controller(&mounts, &groups))
        .ok_or(QuotaError::NoController)
}

/// Finds the CPU controller in the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
///
/// Version 1 comes first: where both are mounted, a controller that version 1 has is missing from
/// version 2.
pub(super) fn parse_controller(mountinfo: &str, cgroup: &str) -> Option<Controller> {
    let one =
        |kind: &str, options: &str| kind == "cgroup" && options.split(',').any(|o| o == "cpu");
    let two = |kind: &str, _: &str| kind == "cgroup2";
    let groups: Vec<(&str, &str)> = cgroup
        .lines()
        .filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            Some((controllers, path))
        })
        .collect();
    let own = |wanted: &dyn Fn(&str) -> bool| {
        let found = groups.iter().find(|(controllers, _)| wanted(controllers));
        found.map(|(_, path)| *path)
    };
    let has_cpu = |controllers: &str| controllers.split(',').any(|name| name == "cpu");
    if let Some((root, mount)) = find_mount(mountinfo, one) {
        return locate(Version::One, root, mount, own(&has_cpu)?);
    }
    let (root, mount) = find_mount(mountinfo, two)?;
    locate(Version::Two, root, mount, own(&str::is_empty)?)
}

/// Root and place of the first mount whose kind and options are wanted.
fn find_mount(mountinfo: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<(&str, &str)> {
    mountinfo.lines().find_map(|line| {
        // `31 23 0:28 ROOT PLACE OPTIONS [more…] - KIND SOURCE OPTIONS`
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
        let mut before = before.split(' ').skip(3);
        let found = (before.next()?, before.next()?);
        wanted(kind, options).then_some(found)
    })
}

/// The directory of group `own` below a mount that shows only what is below `root`.
fn locate(version: Version, root: &str, mount: &str, own: &str) -> Option<Controller> {
    let below = Path::new(own).strip_prefix(root).ok()?;
    let mount = PathBuf::from(mount);
    let group = if below.as_os_str().is_empty() {
        mount.clone()
    } else {
        mount.join(below)
    };
    Some(Controller {
        version,
        mount,
        group,
    })
}

/// Cores of `cpu.cfs_quota_us` and `cpu.cfs_period_us`; none when there is no limit.
pub(super) fn parse_limit_v1(quota: &str, period: &str) -> Option<f64> {
    let quota: i64 = quota.trim().parse().ok()?;
    let period: i64 = period.trim().parse().ok()?;
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// Cores of `cpu.max`, such as `50000 100000` or `max 100000`; none when there is no limit.
pub(super) fn parse_limit_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    parse_limit_v1(quota, period)
}

/// The counts of `cpu.stat`; none when it has no counts of periods, as at the root.
pub(super) fn parse_stat(text: &str) -> Option<Throttling> {
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.trim().parse::<u64>().ok())
    };
    // Version 1 counts nanoseconds, version 2 microseconds.
    let throttled = field("throttled_time")
        .map(Duration::from_nanos)
        .or_else(|| field("throttled_usec").map(Duration::from_micros))?;
    Some(Throttling {
        periods: field("nr_periods")?,
        throttled_periods: field("nr_throttled")?,
        throttled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpuset rw shared:9 - cgroup cgroup rw,cpuset
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const V2_MOUNTS: &str =
        "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const CONTAINER_MOUNTS: &str =
        "33 31 0:30 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";

    #[test]
    fn the_controller_is_found_in_either_version() {
        let cases = [
            (
                V1_MOUNTS,
                "9:cpuset:/\n3:cpu,cpuacct:/\n0::/\n",
                Some((Version::One, "")),
            ),
            (
                V1_MOUNTS,
                "3:cpu,cpuacct:/user/a\n0::/\n",
                Some((Version::One, "user/a")),
            ),
            (
                V2_MOUNTS,
                "0::/user.slice/b.scope\n",
                Some((Version::Two, "user.slice/b.scope")),
            ),
            (
                CONTAINER_MOUNTS,
                "3:cpu:/docker/abc\n",
                Some((Version::One, "")),
            ),
            (
                CONTAINER_MOUNTS,
                "3:cpu:/docker/abc/in\n",
                Some((Version::One, "in")),
            ),
            (CONTAINER_MOUNTS, "3:cpu:/elsewhere\n", None),
            (V2_MOUNTS, "3:cpu:/a\n", None),
            ("", "0::/\n", None),
            ("no such thing - here", "nonsense", None),
        ];
        for (mounts, groups, expected) in cases {
            let found = parse_controller(mounts, groups);
            let found = found.map(|found| {
                let below = found.group.strip_prefix(&found.mount).unwrap().to_owned();
                (found.version, below.to_str().unwrap().to_owned())
            });
            let expected = expected.map(|(version, below)| (version, below.to_owned()));
            assert_eq!(found, expected, "{groups}");
        }
    }

    #[test]
    fn ancestors_end_at_the_mount() {
        let controller = parse_controller(V2_MOUNTS, "0::/a/b\n").unwrap();
        let found: Vec<_> = controller.ancestors().map(Path::to_owned).collect();
        let expected = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn limits_are_read_in_cores() {
        let one = [
            ("-1\n", "100000\n", None),
            ("150000\n", "100000\n", Some(1.5)),
            ("5000", "10000", Some(0.5)),
            ("max", "100000", None),
            ("1000", "0", None),
        ];
        for (quota, period, expected) in one {
            assert_eq!(parse_limit_v1(quota, period), expected, "{quota} {period}");
        }
        let two = [
            ("max 100000\n", None),
            ("100000 100000\n", Some(1.0)),
            ("25000 50000", Some(0.5)),
            ("", None),
        ];
        for (text, expected) in two {
            assert_eq!(parse_limit_v2(text), expected, "{text:?}");
        }
    }

    #[test]
    fn counts_are_read_from_either_version() {
        let expected = Some(Throttling {
            periods: 40,
            throttled_periods: 12,
            throttled: Duration::from_micros(345_678),
        });
        let one = "nr_periods 40\nnr_throttled 12\nthrottled_time 345678000\nnr_bursts 0\n";
        let two =
            "usage_usec 9\nuser_usec 8\nnr_periods 40\nnr_throttled 12\nthrottled_usec 345678\n";
        assert_eq!(parse_stat(one), expected);
        assert_eq!(parse_stat(two), expected);
        for bad in [
            "",
            "usage_usec 9\nuser_usec 8\n",
            "nr_periods x\nthrottled_time 1\n",
        ] {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
    }
}
