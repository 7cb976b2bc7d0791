//! The operating system's part: what threads of a class ask of the kernel, and CPU clocks.
//!
//! This is the only module of the project with `unsafe` code: each block is one system call on plain values.
//!
//! Three settings, in the order in which they help:
//!
//! * **Real time** (`SCHED_RR`, priority 1): a stream thread gets its core the moment it wakes. Needs
//!   `CAP_SYS_NICE` or a matching `RLIMIT_RTPRIO`.
//! * **Slices** (`sched_setattr` with a custom `sched_runtime`, Linux 6.12 and later, no privilege): with a
//!   0.1 ms slice a stream thread that slept preempts a batch thread with a 20 ms slice at once, and both keep
//!   the same weight, so that batch work is not starved by somebody else's processes.
//! * **Demotion** (`SCHED_IDLE` or a nice level): for kernels without custom slices, or machines of one's own.
//!   It cannot be taken back without privilege, and `SCHED_IDLE` beside busy processes of others starves.

#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

/// Slice of a stream thread under the fair scheduler.
const STREAM_SLICE: Duration = Duration::from_micros(100);

/// Slice of a batch thread under the fair scheduler.
const BATCH_SLICE: Duration = Duration::from_millis(20);

/// Nice level of a batch thread under `neptune.os.demote = nice`.
const BATCH_NICE: i32 = 10;

#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Gives the calling thread round-robin real-time priority 1; threads it starts do not inherit that.
///
/// # Errors
/// The kernel's refusal, usually for want of privilege.
pub fn make_realtime() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `param` outlives the call; thread 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, policy, &param) })
}

/// Gives the calling thread the `SCHED_IDLE` policy: it runs when nothing else wants the core.
///
/// # Errors
/// The kernel's refusal.
pub fn make_idle() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: `param` outlives the call; thread 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &param) })
}

/// Lowers the calling thread's weight by ten nice levels (to about a tenth).
///
/// # Errors
/// The kernel's refusal.
pub fn make_nice() -> io::Result<()> {
    // SAFETY: plain values; with id 0 Linux changes the calling thread only.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, BATCH_NICE) })
}

/// Gives the calling thread a short slice, which lets it preempt threads with longer ones when it wakes.
///
/// # Errors
/// The kernel's refusal; kernels before 6.12 accept and ignore the value.
pub fn make_short_slice() -> io::Result<()> {
    set_slice(STREAM_SLICE)
}

/// Gives the calling thread a long slice, at the same weight as before.
///
/// # Errors
/// As [`make_short_slice`].
pub fn make_long_slice() -> io::Result<()> {
    set_slice(BATCH_SLICE)
}

fn set_slice(slice: Duration) -> io::Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        runtime: slice.as_nanos() as u64,
        ..SchedAttr::default()
    };
    // SAFETY: the structure has the kernel's first published layout, its size says so, and it outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) } as i32)
}

/// Lets the calling thread's timed waits end within a microsecond of their time instead of fifty.
///
/// # Errors
/// The kernel's refusal.
pub fn make_timers_sharp() -> io::Result<()> {
    // SAFETY: plain values.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000_u64, 0, 0, 0) })
}

/// Cores that the calling thread may run on, whatever quota it has; `None` if the kernel does not say.
pub fn allowed_cores() -> Option<usize> {
    // SAFETY: an all-zero set is a valid, empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writing and of the size given; thread 0 is the calling thread.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) }).ok()?;
    // SAFETY: reads the set that was just filled in.
    Some(unsafe { libc::CPU_COUNT(&set) } as usize).filter(|cores| *cores > 0)
}

/// CPU time that all threads of this process have used.
pub fn process_cpu_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time that the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writing; both clocks exist on every Linux, and on failure it stays zero.
    unsafe { libc::clock_gettime(id, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn check(returned: i32) -> io::Result<()> {
    if returned == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowering_oneself_needs_no_privilege() {
        for lower in [
            make_long_slice,
            make_short_slice,
            make_nice,
            make_idle,
            make_timers_sharp,
        ] {
            std::thread::spawn(move || lower().unwrap()).join().unwrap();
        }
    }

    #[test]
    fn no_fewer_cores_are_allowed_than_a_quota_leaves() {
        let with_quota = std::thread::available_parallelism().unwrap().get();
        assert!(allowed_cores().unwrap() >= with_quota);
    }

    #[test]
    fn cpu_clocks_advance_with_work() {
        let before = (process_cpu_time(), thread_cpu_time());
        let mut x = 1_u64;
        while thread_cpu_time() - before.1 < Duration::from_millis(2) {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(process_cpu_time() - before.0 >= Duration::from_millis(2));
    }
}
