//! The Yahoo benchmark's events as files of JSON lines, for the time of a stretch.

use std::fs;

use neptune_gen::ysb::Ysb;
use tempfile::TempDir;

use crate::error::{BenchError, Result};

/// Events of each file.
const EVENTS_PER_FILE: u64 = 50_000;

/// A directory of files, removed with this value.
#[derive(Debug)]
pub(super) struct JsonFiles {
    dir: TempDir,
}

impl JsonFiles {
    /// Writes the first `events` events.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn write(ysb: &Ysb, events: u64) -> Result<Self> {
        let dir = tempfile::tempdir();
        let dir = dir.map_err(|source| BenchError::io("create", std::env::temp_dir(), source))?;
        let mut lines = Vec::new();
        for first in (0..events).step_by(EVENTS_PER_FILE as usize) {
            lines.clear();
            let range = first..events.min(first + EVENTS_PER_FILE);
            let written = ysb.write_json(range, &mut lines);
            written.map_err(|error| BenchError::Data(error.to_string()))?;
            let path = dir.path().join(format!("{first:012}.json"));
            fs::write(&path, &lines).map_err(|source| BenchError::io("write", &path, source))?;
        }
        Ok(Self { dir })
    }

    /// The statement that declares them as table `events`.
    pub(super) fn declare(&self) -> String {
        let path = self.dir.path().display().to_string().replace('\'', "''");
        format!(
            "CREATE TABLE events (user_id TEXT, page_id TEXT, ad_id TEXT, ad_type TEXT, event_type TEXT, \
             event_time TIMESTAMP, ip_address TEXT, WATERMARK FOR event_time)\n\
             WITH (connector = 'filesystem', format = 'json', bounded = 'true', type = 'source', path = '{path}');\n"
        )
    }
}
