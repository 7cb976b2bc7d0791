//! `--hogs N`: busy processes beside the bench, as neighbours on a shared machine are.
//!
//! Each is this program again, doing nothing but using a core; they are killed when [`Hogs`] is
//! dropped, and end by themselves when the bench does without dropping it.

use std::env;
use std::hint;
use std::io;
use std::process::{Child, Command, Stdio};

use crate::child;
use crate::error::{BenchError, Result};

/// Environment variable that makes this program a hog.
const HOG_VARIABLE: &str = "NEPTUNE_BENCH_HOG";

/// Busy processes; dropping it ends them.
#[derive(Debug)]
pub struct Hogs {
    children: Vec<Child>,
}

impl Hogs {
    /// Starts `count` busy processes. The program must call [`hog_main`] first thing in `main`.
    ///
    /// # Errors
    /// When one cannot be started; those started before it are ended.
    pub fn start(count: usize) -> Result<Self> {
        let program = env::current_exe();
        let program = program.map_err(|source| BenchError::Start {
            what: "a hog: the path of this program is unknown",
            source,
        })?;
        Self::start_with(count, || Command::new(&program))
    }

    fn start_with(count: usize, program: impl Fn() -> Command) -> Result<Self> {
        let mut hogs = Self {
            children: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let child = program()
                .env(HOG_VARIABLE, "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn();
            hogs.children
                .push(child.map_err(|source| BenchError::Start {
                    what: "a hog",
                    source,
                })?);
        }
        Ok(hogs)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Checks that all are still running: figures beside a dead hog would be about another setting.
    ///
    /// # Errors
    /// When one has ended.
    pub fn check(&mut self) -> Result<()> {
        for child in &mut self.children {
            let ended = child.try_wait().map_err(|source| BenchError::Start {
                what: "a hog: its state is unknown",
                source,
            })?;
            if let Some(status) = ended {
                return Err(BenchError::Start {
                    what: "a hog that lasts",
                    source: io::Error::other(status.to_string()),
                });
            }
        }
        Ok(())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Makes this process a hog if it was started as one, and then never returns.
pub fn hog_main() {
    if env::var_os(HOG_VARIABLE).is_none() {
        return;
    }
    child::exit_with_parent();
    loop {
        hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu_time;
    use std::path::Path;
    use std::time::{Duration, Instant};

    /// The test program as a hog: it runs the one test below, which never returns.
    fn as_hog() -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "hogs::tests::hog_process", "--nocapture"]);
        command
    }

    /// Not a test of its own: what the hogs of the others run.
    #[test]
    fn hog_process() {
        hog_main();
    }

    fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
        let started = Instant::now();
        while !reached() {
            assert!(started.elapsed() < Duration::from_secs(30), "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn hogs_use_their_core_and_die_when_dropped() {
        let mut hogs = Hogs::start_with(2, as_hog).unwrap();
        let ids: Vec<u32> = hogs.children.iter().map(Child::id).collect();
        for &id in &ids {
            wait_until("a hog uses CPU time", || {
                cpu_time::of_process(id).unwrap() >= Duration::from_millis(50)
            });
        }
        hogs.check().unwrap();
        drop(hogs);
        for id in ids {
            assert!(
                !Path::new("/proc").join(id.to_string()).exists(),
                "{id} lives on"
            );
        }
    }

    #[test]
    fn a_hog_ends_when_its_parent_is_gone() {
        let mut hogs = Hogs::start_with(1, as_hog).unwrap();
        // What the end of the parent does to a hog is to close the pipe.
        drop(hogs.children[0].stdin.take());
        wait_until("the hog ends", || {
            hogs.children[0].try_wait().unwrap().is_some()
        });
        let error = hogs.check().unwrap_err().to_string();
        assert!(error.contains("a hog that lasts"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = Hogs::start_with(1, || Command::new("/no/such/program")).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot start a hog"),
            "{error}"
        );
    }
}
