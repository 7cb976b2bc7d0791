//! What happened to every task: a bounded log in memory and, if asked for, JSON lines in a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use neptune_sched::{Class, JobId, Nanos, TaskId};
use parking_lot::Mutex;
use serde::{Serialize, Serializer};

/// Events kept in memory; older ones are forgotten (and counted).
const CAPACITY: usize = 65_536;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The task exists.
    Submitted,
    /// It was polled for the first time.
    Started,
    /// It was asked to let go of its core.
    SuspendRequested,
    /// It let go.
    Suspended,
    /// It is polled again.
    Resumed,
    /// Its job is cancelled and will run again.
    Killed,
    /// It is over: finished, failed or cancelled.
    Finished,
}

/// One entry of a task's history.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Microseconds since the executor started.
    pub t_us: f64,
    /// What happened.
    pub event: EventKind,
    /// The job.
    pub job: JobId,
    /// The job's name.
    #[serde(serialize_with = "as_str")]
    pub name: Arc<str>,
    /// The task.
    pub task: TaskId,
    /// The job's class.
    pub class: Class,
    /// Why, where there is a choice: `stream`, `user`, `cancelled`, `panicked`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// For `suspended`: from the request; for `resumed`: from the slot's grant. Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<f64>,
}

fn as_str<S: Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name)
}

impl Event {
    pub(crate) fn latency(latency: Nanos) -> Option<f64> {
        Some(latency.0 as f64 / 1e3)
    }
}

#[derive(Debug, Default)]
struct Inner {
    recent: VecDeque<Event>,
    forgotten: u64,
    file: Option<BufWriter<File>>,
    failed: Option<io::ErrorKind>,
}

/// The log of one executor.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    inner: Mutex<Inner>,
}

impl EventLog {
    /// Also writes every further event to `path`, one JSON object a line; an existing file is replaced.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn write_to(&self, path: &Path) -> io::Result<()> {
        let file = BufWriter::new(File::create(path)?);
        self.inner.lock().file = Some(file);
        Ok(())
    }

    pub(crate) fn push(&self, event: Event) {
        let mut inner = self.inner.lock();
        if let Some(file) = inner.file.as_mut() {
            let written = serde_json::to_writer(&mut *file, &event)
                .map_err(io::Error::from)
                .and_then(|()| file.write_all(b"\n"));
            if let Err(error) = written {
                tracing::warn!(%error, "the event log file cannot be written; it ends here");
                inner.failed = Some(error.kind());
                inner.file = None;
            }
        }
        if inner.recent.len() == CAPACITY {
            inner.recent.pop_front();
            inner.forgotten += 1;
        }
        inner.recent.push_back(event);
    }

    /// The events still in memory, oldest first.
    pub(crate) fn recent(&self) -> Vec<Event> {
        self.inner.lock().recent.iter().cloned().collect()
    }

    /// Writes buffered lines to the file, if there is one.
    ///
    /// # Errors
    /// If that fails now, or failed before.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if let Some(kind) = inner.failed {
            return Err(kind.into());
        }
        inner.file.as_mut().map_or(Ok(()), |f| f.flush())
    }
}
