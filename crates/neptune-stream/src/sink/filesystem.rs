//! A directory of data files: each write adds some, or replaces all.
//!
//! The file names tell the epoch, `part-JOB-RUN-MICROBATCH-NUMBER.FORMAT[.gz|.zst]`: a write that is run again gives its
//! files the same names. The files of one write are numbered without gaps, so that what an earlier
//! run of it left over is found by looking for the next number.

use std::fs;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use neptune_exec::yielding::poll_yield;
use parking_lot::Mutex;

use crate::error::StreamError;
use crate::format::{Encoder, WriteOptions};
use crate::sink::encoder::PackedEncoder;
use crate::sink::temp::{TempFile, TempWriter, remove_leftovers, sync_directory};
use crate::sink::{Epoch, Sink, Transaction, WriteMode};
use crate::source::data_files;

/// Rows encoded between two yield points.
pub(crate) const ENCODE_ROWS: usize = 1024;

/// Writes data files into a directory.
#[derive(Debug)]
pub struct FilesystemSink {
    name: String,
    directory: PathBuf,
    options: WriteOptions,
    swept: AtomicBool,
}

impl FilesystemSink {
    /// A sink that writes files into `directory`.
    pub fn new(name: impl Into<String>, directory: PathBuf, options: WriteOptions) -> Self {
        Self {
            name: name.into(),
            directory,
            options,
            swept: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl Sink for FilesystemSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn begin(
        &self,
        epoch: &Epoch,
        mode: WriteMode,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        self.options.check(&self.name, &schema)?;
        if !self.swept.swap(true, Ordering::Relaxed) {
            let (directory, stem) = (self.directory.clone(), job_stem(epoch));
            SpawnedTask::spawn_blocking(move || remove_leftovers(&directory, &stem))
                .await
                .map_err(StreamError::lost)??;
        }
        Ok(Box::new(Write {
            stem: epoch_stem(epoch),
            directory: self.directory.clone(),
            options: self.options,
            mode,
            schema,
            staged: Mutex::default(),
        }))
    }
}

/// `part-JOB-`.
fn job_stem(epoch: &Epoch) -> String {
    format!("part-{}-", plain(&epoch.job))
}

/// `part-JOB-RUN-MICROBATCH`.
pub(crate) fn epoch_stem(epoch: &Epoch) -> String {
    format!(
        "{}{:x}-{:09}",
        job_stem(epoch),
        epoch.run,
        epoch.micro_batch
    )
}

/// A job's name as part of a file name; different names stay different.
fn plain(job: &str) -> String {
    let mut out = String::with_capacity(job.len());
    for byte in job.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => out.push(char::from(byte)),
            // `-` separates the parts of the name.
            byte => out.push_str(&format!("~{byte:02x}")),
        }
    }
    out
}

struct Write {
    stem: String,
    directory: PathBuf,
    options: WriteOptions,
    mode: WriteMode,
    schema: SchemaRef,
    /// Finished files that have rows, by partition.
    staged: Mutex<Vec<(usize, TempFile)>>,
}

#[async_trait]
impl Transaction for Write {
    async fn stage(
        &self,
        partition: usize,
        mut rows: SendableRecordBatchStream,
    ) -> Result<u64, StreamError> {
        let encoder = Encoder::new(&self.options, &self.schema)?;
        let stem = format!("{}-{partition}", self.stem);
        let compression = self.options.packing.of_new_files();
        let encoder = PackedEncoder::new(encoder, compression);
        let mut writer = TempWriter::new(self.directory.clone(), stem, encoder);
        let mut count = 0;
        while let Some(batch) = rows.try_next().await? {
            for start in (0..batch.num_rows()).step_by(ENCODE_ROWS) {
                poll_fn(poll_yield).await;
                let slice = batch.slice(start, ENCODE_ROWS.min(batch.num_rows() - start));
                writer.write(&slice).await?;
                count += slice.num_rows() as u64;
            }
        }
        if count > 0 {
            let file = writer.finish(self.options.sync, true).await?;
            self.staged.lock().push((partition, file));
        }
        Ok(count)
    }

    async fn commit(self: Box<Self>) -> Result<(), StreamError> {
        SpawnedTask::spawn_blocking(move || self.publish())
            .await
            .map_err(StreamError::lost)?
    }
}

impl Write {
    fn publish(self) -> Result<(), StreamError> {
        // Also for a write without rows: the table is there, and empty.
        fs::create_dir_all(&self.directory).map_err(StreamError::io("create", &self.directory))?;
        let mut staged = self.staged.into_inner();
        staged.sort_by_key(|(partition, _)| *partition);
        let target = |number: usize| {
            let packed = self.options.packing.of_new_files().ending();
            let name = format!("{}-{number:04}.{}{packed}", self.stem, self.options.format);
            self.directory.join(name)
        };
        let old = match self.mode {
            WriteMode::Overwrite => data_files(&self.directory, &Default::default())?,
            WriteMode::Append => vec![],
        };

        let count = staged.len();
        for (number, (_, file)) in staged.into_iter().enumerate() {
            if let Err(error) = file.keep(&target(number)) {
                // The files still to come go with the iterator; those already in sight here.
                for number in 0..number {
                    remove(&target(number))?;
                }
                return Err(error);
            }
        }
        // What an earlier run of this write had more of; from the end, so that no gap is left by a crash.
        let extra = (count..).take_while(|number| target(*number).exists());
        for number in extra.collect::<Vec<_>>().into_iter().rev() {
            remove(&target(number))?;
        }
        for old in old {
            if !(0..count).any(|number| target(number) == old.path) {
                remove(&old.path)?;
            }
        }
        if self.options.sync {
            sync_directory(&self.directory)?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), StreamError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StreamError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
