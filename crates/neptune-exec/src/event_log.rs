//! What happened to every task: a bounded log in memory and, if asked for, JSON lines in a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// It let go, or its user suspended its job while it was not being polled.
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
    /// Why, where there is a choice: `stream`, `priority`, `share`, `quota` or `user` for suspensions and kills;
    /// `cancelled`, `dropped`, `shutdown` or `panicked` for tasks that did not come to their end.
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
struct Recent {
    events: VecDeque<Event>,
    /// Events the file has not got yet.
    pending: Vec<Event>,
}

#[derive(Debug, Default)]
struct Lines {
    file: Option<BufWriter<File>>,
    failed: Option<io::ErrorKind>,
}

/// The log of one executor.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    recent: Mutex<Recent>,
    has_file: AtomicBool,
    lines: Mutex<Lines>,
}

impl EventLog {
    /// Also writes every further event to `path`, one JSON object a line; an existing file is replaced.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn write_to(&self, path: &Path) -> io::Result<()> {
        *self.lines.lock() = Lines {
            file: Some(BufWriter::new(File::create(path)?)),
            failed: None,
        };
        self.has_file.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Adds an event. Its time is moved up to the last one's if it is earlier, since clocks are read before the
    /// order is decided. The file gets it with [`write_pending`](Self::write_pending).
    pub(crate) fn push(&self, mut event: Event) {
        let mut recent = self.recent.lock();
        if let Some(last) = recent.events.back() {
            event.t_us = event.t_us.max(last.t_us);
        }
        if self.has_file.load(Ordering::Relaxed) {
            recent.pending.push(event.clone());
        }
        if recent.events.len() == CAPACITY {
            recent.events.pop_front();
        }
        recent.events.push_back(event);
    }

    /// Writes events to the file that it has not got yet, if there is one.
    pub(crate) fn write_pending(&self) {
        if self.has_file.load(Ordering::Relaxed) {
            self.write(&mut self.lines.lock());
        }
    }

    fn write(&self, lines: &mut Lines) {
        // Taken while the file is locked, which keeps the order.
        let pending = std::mem::take(&mut self.recent.lock().pending);
        let Some(file) = lines.file.as_mut() else {
            return;
        };
        for event in pending {
            let written = serde_json::to_writer(&mut *file, &event)
                .map_err(io::Error::from)
                .and_then(|()| file.write_all(b"\n"));
            if let Err(error) = written {
                tracing::warn!(%error, "the event log file cannot be written; it ends here");
                *lines = Lines {
                    file: None,
                    failed: Some(error.kind()),
                };
                self.has_file.store(false, Ordering::Relaxed);
                return;
            }
        }
    }

    /// The events still in memory, oldest first.
    pub(crate) fn recent(&self) -> Vec<Event> {
        self.recent.lock().events.iter().cloned().collect()
    }

    /// Writes buffered lines to the file, if there is one.
    ///
    /// # Errors
    /// If that fails now, or failed before.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut lines = self.lines.lock();
        self.write(&mut lines);
        match (lines.failed, lines.file.as_mut()) {
            (Some(kind), _) => Err(kind.into()),
            (None, Some(file)) => file.flush(),
            (None, None) => Ok(()),
        }
    }
}
