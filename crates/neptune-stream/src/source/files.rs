//! Files as a source: each data file is read once, in the order in which it was found.
//!
//! The source keeps a log of the files it has found; an offset is a position in that log.
//! Writers should finish a file under a hidden or `.tmp` name and rename it: a file counts as it is when
//! it is first seen. A file that is replaced under the same name is not read again.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::common::runtime::SpawnedTask;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use crate::error::StreamError;
use crate::format::FileReader;
use crate::offset::{Offset, OffsetRange};
use crate::source::listing::FileEntry;
use crate::source::place::{Finder, Place};
use crate::source::{ScanRequest, Source};

/// Every data file found so far.
#[derive(Debug, Default)]
struct Log {
    entries: Vec<FileEntry>,
    seen: HashSet<PathBuf>,
    finder: Finder,
    /// A bounded source looks once.
    complete: bool,
}

impl Log {
    fn refresh(&mut self, place: &Place, bounded: bool) -> Result<u64, StreamError> {
        if !self.complete {
            for entry in self.finder.new_files(place, &self.seen)? {
                if self.seen.insert(entry.path.clone()) {
                    self.entries.push(entry);
                }
            }
            self.complete = bounded;
        }
        Ok(self.entries.len() as u64)
    }
}

/// The files of a directory as they come, or one file.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    place: Place,
    bounded: bool,
    reader: Arc<FileReader>,
    log: Arc<Mutex<Log>>,
}

impl FileSource {
    pub(crate) fn new(
        name: impl Into<String>,
        place: Place,
        bounded: bool,
        reader: Arc<FileReader>,
    ) -> Self {
        Self {
            name: name.into(),
            bounded: bounded || place.is_single(),
            place,
            reader,
            log: Arc::default(),
        }
    }

    /// The files that a range of offsets stands for, as a checkpoint must keep them.
    ///
    /// # Errors
    /// [`StreamError::Offset`] for a range beyond the files found so far.
    pub fn entries(&self, range: &OffsetRange) -> Result<Vec<FileEntry>, StreamError> {
        let files = range.files(&self.name)?;
        let log = self.log.lock();
        let part = usize::try_from(files.start)
            .ok()
            .zip(usize::try_from(files.end).ok())
            .and_then(|(start, end)| log.entries.get(start..end));
        part.map(<[FileEntry]>::to_vec)
            .ok_or_else(|| StreamError::Offset {
                name: self.name.clone(),
                reason: format!(
                    "files {} to {} were asked for and {} are known",
                    files.start,
                    files.end,
                    log.entries.len()
                ),
            })
    }
}

#[async_trait]
impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    fn is_bounded(&self) -> bool {
        self.bounded
    }

    fn initial_offset(&self) -> Offset {
        Offset::Files(0)
    }

    async fn latest_offset(&self) -> Result<Offset, StreamError> {
        let (log, place, bounded) = (Arc::clone(&self.log), self.place.clone(), self.bounded);
        SpawnedTask::spawn_blocking(move || log.lock().refresh(&place, bounded))
            .await
            .map_err(StreamError::lost)?
            .map(Offset::Files)
    }

    fn final_offset(&self) -> Option<Offset> {
        let log = self.log.lock();
        log.complete
            .then(|| Offset::Files(log.entries.len() as u64))
    }

    fn filter_pushdown(&self, filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
        self.reader.filter_pushdown(filters)
    }

    /// The files.
    fn memo(&self, range: &OffsetRange) -> Result<Option<serde_json::Value>, StreamError> {
        if range.is_empty() {
            return Ok(None);
        }
        let entries = serde_json::to_value(self.entries(range)?);
        Ok(Some(entries.map_err(StreamError::lost)?))
    }

    /// These files are the first offsets, and are not found again.
    fn recall(&self, memos: Vec<serde_json::Value>) -> Result<(), StreamError> {
        let mut log = self.log.lock();
        for memo in memos {
            let entries: Vec<FileEntry> =
                serde_json::from_value(memo).map_err(|error| StreamError::Offset {
                    name: self.name.clone(),
                    reason: format!("the checkpoint's list of files is of another source: {error}"),
                })?;
            log.seen
                .extend(entries.iter().map(|entry| entry.path.clone()));
            log.entries.extend(entries);
        }
        Ok(())
    }

    async fn plan(
        &self,
        state: &dyn Session,
        range: &OffsetRange,
        request: ScanRequest<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>, StreamError> {
        let entries = self.entries(range)?;
        self.reader.plan(&self.name, state, entries, request).await
    }

    fn malformed_records(&self) -> u64 {
        self.reader.malformed_records()
    }
}

/// The same files as a plain table: every scan reads all that are there when it is planned.
#[derive(Debug)]
pub struct FileTable {
    name: String,
    place: Place,
    reader: Arc<FileReader>,
}

impl FileTable {
    pub(crate) fn new(name: impl Into<String>, place: Place, reader: Arc<FileReader>) -> Self {
        Self {
            name: name.into(),
            place,
            reader,
        }
    }
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let place = self.place.clone();
        let entries = SpawnedTask::spawn_blocking(move || place.files())
            .await
            .map_err(StreamError::lost)??;
        let request = ScanRequest {
            projection,
            filters,
            limit,
        };
        Ok(self
            .reader
            .plan(&self.name, state, entries, request)
            .await?)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(self.reader.filter_pushdown(filters))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::format::{Format, ReadOptions};

    fn source(root: &std::path::Path) -> FileSource {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let reader = FileReader::new("t", schema, ReadOptions::new(Format::Json));
        let place = Place::Directory(root.to_owned());
        FileSource::new("t", place, false, Arc::new(reader.unwrap()))
    }

    #[tokio::test]
    async fn a_source_goes_on_from_a_log_kept_earlier() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "{}").unwrap();
        let first = source(dir.path());
        let end = first.latest_offset().await.unwrap();
        let range = OffsetRange::new(first.initial_offset(), end);
        let kept = first.memo(&range).unwrap().unwrap();

        fs::write(dir.path().join("a"), "{}").unwrap();
        let again = source(dir.path());
        again.recall(vec![kept]).unwrap();
        assert_eq!(again.latest_offset().await.unwrap(), Offset::Files(2));
        let fresh = OffsetRange::new(end, Offset::Files(2));
        assert_eq!(again.entries(&range).unwrap()[0].path, dir.path().join("b"));
        assert_eq!(again.entries(&fresh).unwrap()[0].path, dir.path().join("a"));
    }
}
