//! What becomes of malformed records: fail, skip or dead letter.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::runtime::SpawnedTask;
use parking_lot::Mutex;
use serde::Serialize;

use crate::error::StreamError;
use crate::format::OnError;
use crate::source::FileEntry;

/// A record that was turned down, or a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Line on which the record starts, counted from 1; `None` for a file.
    pub(crate) line: Option<u64>,
    /// The column at fault; `None` when the record as a whole is no record.
    pub(crate) column: Option<String>,
    pub(crate) reason: String,
    /// The record as it stands in the file, without the end of line.
    pub(crate) raw: Vec<u8>,
}

impl Rejected {
    pub(crate) fn into_error(self, file: &Path) -> StreamError {
        StreamError::Malformed {
            file: file.to_owned(),
            line: self.line,
            column: self.column,
            reason: self.reason,
        }
    }

    /// What comes later in a file is larger; a file as a whole comes last.
    fn order(&self) -> u64 {
        self.line.unwrap_or(u64::MAX)
    }
}

/// One table's policy and what it has done so far.
#[derive(Debug)]
pub(crate) struct Policy {
    on_error: OnError,
    count: AtomicU64,
    /// Last line of each file that has been set aside, so that a file that is read again (a micro-batch
    /// run again, a table queried twice) does not give the same letters twice.
    written: Arc<Mutex<HashMap<FileEntry, u64>>>,
}

#[derive(Serialize)]
struct Letter<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<&'a str>,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
}

impl Policy {
    pub(crate) fn new(on_error: OnError) -> Self {
        Self {
            on_error,
            count: AtomicU64::new(0),
            written: Arc::default(),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Deals with the malformed records of one stretch of `file`, in the order of their lines.
    ///
    /// # Errors
    /// The first record under [`OnError::Fail`]; [`StreamError::Io`] when a letter cannot be written.
    pub(crate) async fn reject(
        &self,
        file: &FileEntry,
        rejected: Vec<Rejected>,
    ) -> Result<(), StreamError> {
        let count = rejected.len() as u64;
        match &self.on_error {
            OnError::Fail => {
                if let Some(first) = rejected.into_iter().next() {
                    return Err(first.into_error(&file.path));
                }
            }
            OnError::Skip => {}
            OnError::DeadLetter(path) => {
                let (written, path, file) = (Arc::clone(&self.written), path.clone(), file.clone());
                SpawnedTask::spawn_blocking(move || {
                    write_letters(&mut written.lock(), &path, file, &rejected)
                })
                .await
                .map_err(StreamError::lost)??;
            }
        }
        self.count.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    /// Deals with a file that was there when it was found and is not any more; counts as one record.
    ///
    /// # Errors
    /// [`StreamError::Io`] under [`OnError::Fail`], and when a letter cannot be written.
    pub(crate) async fn gone(&self, file: &FileEntry) -> Result<(), StreamError> {
        let reason = "it has gone since it was found";
        if self.on_error == OnError::Fail {
            let error = io::Error::new(io::ErrorKind::NotFound, reason);
            return Err(StreamError::io("read", &file.path)(error));
        }
        tracing::warn!(file = %file.path.display(), "a file has gone since it was found");
        let rejected = Rejected {
            line: None,
            column: None,
            reason: reason.to_owned(),
            raw: vec![],
        };
        self.reject(file, vec![rejected]).await
    }
}

fn write_letters(
    written: &mut HashMap<FileEntry, u64>,
    path: &PathBuf,
    file: FileEntry,
    rejected: &[Rejected],
) -> Result<(), StreamError> {
    let last = written.get(&file).copied().unwrap_or(0);
    let mut lines = Vec::new();
    for record in rejected.iter().filter(|record| record.order() > last) {
        let raw = String::from_utf8_lossy(&record.raw);
        let letter = Letter {
            file: &file.path.to_string_lossy(),
            line: record.line,
            column: record.column.as_deref(),
            error: &record.reason,
            record: record.line.is_some().then_some(&*raw),
        };
        serde_json::to_writer(&mut lines, &letter)
            .map_err(|error| StreamError::io("write", path)(error.into()))?;
        lines.push(b'\n');
    }
    if let Some(newest) = rejected.last()
        && !lines.is_empty()
    {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(StreamError::io("create", parent))?;
        }
        // One write of whole lines in append mode: writers do not mix their lines.
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut out| out.write_all(&lines))
            .map_err(StreamError::io("write", path))?;
        written.insert(file, newest.order());
    }
    Ok(())
}
