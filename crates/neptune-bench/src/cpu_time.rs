//! The CPU time that a process has used, read from the kernel.

use std::fs;
use std::io;
use std::time::Duration;

/// Length of one unit of the kernel's report: 10 ms on every architecture that Linux still supports.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of this process, all threads, ended ones included.
///
/// # Errors
/// When the kernel's report cannot be read.
pub fn of_self() -> io::Result<Duration> {
    parse(&fs::read_to_string("/proc/self/stat")?)
}

/// The same of another process.
///
/// # Errors
/// When there is no such process or its report cannot be read.
#[cfg(test)]
pub(crate) fn of_process(id: u32) -> io::Result<Duration> {
    parse(&fs::read_to_string(format!("/proc/{id}/stat"))?)
}

fn parse(stat: &str) -> io::Result<Duration> {
    // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    let ticks = stat.rsplit_once(')').and_then(|(_, rest)| {
        let mut times = rest.split_whitespace().skip(11);
        let user: u32 = times.next()?.parse().ok()?;
        let system: u32 = times.next()?.parse().ok()?;
        user.checked_add(system)
    });
    ticks
        .map(|ticks| TICK * ticks)
        .ok_or_else(|| io::Error::other("unreadable process status"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let stat = "42 (a b) c) R 1 42 42 0 -1 4194560 1 2 3 4 150 25 7 8 20 0 1 0 5";
        assert_eq!(parse(stat).unwrap(), Duration::from_millis(1750));
        assert!(parse("42 (short) R 1").is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn busy_time_is_counted() {
        let (before, started) = (of_self().unwrap(), Instant::now());
        while of_self().unwrap() - before < Duration::from_millis(50) {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "no CPU time is counted"
            );
        }
    }
}
