//! The thread that takes snapshots and removes old files, so that commits need not wait for either.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tracing::{debug, warn};

use crate::StateError;
use crate::retention;
use crate::snapshot::{self, Shared, SnapshotReport};

/// How snapshots went so far.
#[derive(Debug, Clone, Default)]
pub struct SnapshotStatus {
    /// Whether one is being taken.
    pub running: bool,
    /// How many were finished since the start.
    pub finished: u64,
    /// The last one finished, of the memory backend.
    pub last: Option<SnapshotReport>,
    /// Why the last attempt, or removing what it made needless, failed, if it did. Commits are not affected; the next attempt comes when
    /// a snapshot is due again.
    pub error: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Worker {
    /// Taken away to end the thread.
    requests: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    common: Arc<Common>,
}

#[derive(Debug, Default)]
struct Common {
    status: Mutex<SnapshotStatus>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Worker {
    /// Starts the thread. It has the scheduling of the caller's thread. `bases` are those there are.
    pub(crate) fn start(
        shared: Arc<Shared>,
        bases: Vec<u64>,
        keep: usize,
    ) -> Result<Self, StateError> {
        let (sender, receiver) = mpsc::channel();
        let common = Arc::<Common>::default();
        let path = shared.storage.locate("");
        let thread = std::thread::Builder::new()
            .name("neptune-state".to_owned())
            .spawn({
                let common = Arc::clone(&common);
                move || run(&shared, &common, &receiver, bases, keep)
            })
            .map_err(|error: io::Error| {
                StateError::io("start the snapshot thread of", path, error)
            })?;
        Ok(Self {
            requests: Some(sender),
            thread: Some(thread),
            common,
        })
    }

    /// Asks for a snapshot; false if one is under way.
    pub(crate) fn request(&self) -> bool {
        let mut status = self.common.status.lock();
        if status.running {
            return false;
        }
        status.running = self
            .requests
            .as_ref()
            .is_some_and(|requests| requests.send(()).is_ok());
        status.running
    }

    pub(crate) fn status(&self) -> SnapshotStatus {
        self.common.status.lock().clone()
    }

    /// Waits until no snapshot is under way.
    pub(crate) fn settle(&self) -> SnapshotStatus {
        let mut status = self.common.status.lock();
        while status.running {
            self.common.changed.wait(&mut status);
        }
        status.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.common.stop.store(true, Ordering::Relaxed);
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed and ends here.
            let _ = thread.join();
        }
    }
}

/// Ends a request even if it panics, so that nobody waits for ever.
struct Running<'a>(&'a Common);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.status.lock().running = false;
        self.0.changed.notify_all();
    }
}

fn run(
    shared: &Shared,
    common: &Common,
    requests: &Receiver<()>,
    mut bases: Vec<u64>,
    keep: usize,
) {
    while requests.recv().is_ok() {
        let _running = Running(common);
        let outcome = advance(shared, common, &mut bases, keep);
        let mut status = common.status.lock();
        match outcome {
            Ok(None) => debug!("no snapshot: the job ends"),
            Ok(Some((report, retained))) => {
                status.finished += 1;
                status.last = report.or(status.last);
                status.error = retained.err().map(|error| error.to_string());
                if let Some(error) = &status.error {
                    warn!("files that are not needed any more stay: {error}");
                }
            }
            Err(error) => {
                warn!("no snapshot of a job's state: {error}");
                status.error = Some(error.to_string());
            }
        }
    }
}

/// What a new base was, and how removing the files that it makes needless went.
type Advance = (Option<SnapshotReport>, Result<(), StateError>);

/// Makes a new base and removes what it makes needless. `None` if it was stopped.
fn advance(
    shared: &Shared,
    common: &Common,
    bases: &mut Vec<u64>,
    keep: usize,
) -> Result<Option<Advance>, StateError> {
    let report = if shared.store.tables.is_durable() {
        let Some(number) = shared.applied.load(Ordering::Acquire).checked_sub(1) else {
            return Ok(None);
        };
        shared.store.tables.persist()?;
        bases.push(number);
        None
    } else {
        let Some(report) = snapshot::write(shared, &common.stop)? else {
            return Ok(None);
        };
        bases.push(report.number);
        Some(report)
    };
    let retained = retention::retain(&*shared.storage, bases, keep);
    Ok(Some((report, retained)))
}
