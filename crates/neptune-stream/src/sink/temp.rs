//! Files under construction: hidden names, gone unless kept, written on the blocking pool.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;

use crate::error::StreamError;
use crate::sink::encoder::PackedEncoder;

/// Encoded bytes that are worth a write.
const WRITE_BYTES: usize = 256 << 10;

/// A file that is removed when it is dropped, unless it was renamed to its final name.
///
/// The operations on the blocking pool take the file with them and bring it back; when the task that waits for
/// them is cancelled, the file goes when they are done.
#[derive(Debug)]
pub(crate) struct TempFile {
    path: PathBuf,
    file: Option<File>,
}

impl TempFile {
    /// Creates `directory/.{stem}.{process}-{number}.tmp`, the directory too.
    fn create(directory: &Path, stem: &str) -> Result<Self, StreamError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(directory).map_err(StreamError::io("create", directory))?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let path = directory.join(format!(".{stem}.{process}-{number}.tmp"));
        let file = File::create_new(&path).map_err(StreamError::io("create", &path))?;
        Ok(Self {
            path,
            file: Some(file),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        match &mut self.file {
            Some(file) => file
                .write_all(bytes)
                .map_err(StreamError::io("write", &self.path)),
            None => Ok(()),
        }
    }

    fn close(&mut self, sync: bool) -> Result<(), StreamError> {
        match self.file.take() {
            Some(file) if sync => file.sync_all().map_err(StreamError::io("sync", &self.path)),
            _ => Ok(()),
        }
    }

    /// The finished file, to be read.
    pub(crate) fn reopen(&self) -> Result<File, StreamError> {
        File::open(&self.path).map_err(StreamError::io("read", &self.path))
    }

    /// Gives the file its final name.
    pub(crate) fn keep(mut self, path: &Path) -> Result<(), StreamError> {
        fs::rename(&self.path, path).map_err(StreamError::io("create", path))?;
        self.path.clear();
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a temporary file stays behind");
        }
    }
}

/// Removes what crashed processes left of files whose stem begins with `stem`.
pub(crate) fn remove_leftovers(directory: &Path, stem: &str) -> Result<(), StreamError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StreamError::io("list", directory)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(StreamError::io("list", directory))?;
        if owner(&entry.file_name().to_string_lossy(), stem).is_some_and(|pid| !is_alive(pid)) {
            let path = entry.path();
            fs::remove_file(&path).map_err(StreamError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The process that created the temporary file `name`, if the file's stem begins with `stem`.
fn owner(name: &str, stem: &str) -> Option<u32> {
    let (name, _number) = name
        .strip_prefix('.')
        .filter(|name| name.starts_with(stem))?
        .strip_suffix(".tmp")?
        .rsplit_once('-')?;
    name.rsplit_once('.')?.1.parse().ok()
}

/// Whether a process may still be writing. Without `/proc` only this one is known.
fn is_alive(pid: u32) -> bool {
    pid == std::process::id() || Path::new("/proc").join(pid.to_string()).exists()
}

/// Makes the names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), StreamError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(StreamError::io("sync", directory))
}

/// Encodes and packs batches into a [`TempFile`] that is created with the first bytes.
pub(crate) struct TempWriter {
    directory: PathBuf,
    stem: String,
    encoder: PackedEncoder,
    file: Option<TempFile>,
}

impl TempWriter {
    pub(crate) fn new(directory: PathBuf, stem: String, encoder: PackedEncoder) -> Self {
        Self {
            directory,
            stem,
            encoder,
            file: None,
        }
    }

    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<(), StreamError> {
        self.encoder.encode(batch).await?;
        if self.encoder.ready.len() < WRITE_BYTES {
            return Ok(());
        }
        let (directory, stem) = (self.directory.clone(), self.stem.clone());
        let (buffer, file) = (std::mem::take(&mut self.encoder.ready), self.file.take());
        let written = SpawnedTask::spawn_blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => TempFile::create(&directory, &stem)?,
            };
            file.write(&buffer)?;
            Ok::<_, StreamError>((file, buffer))
        });
        let (file, mut buffer) = written.await.map_err(StreamError::lost)??;
        buffer.clear();
        (self.file, self.encoder.ready) = (Some(file), buffer);
        Ok(())
    }

    /// Writes the end of the file. With `whole`, a file without rows is a packed one too, not just an empty one.
    pub(crate) async fn finish(self, sync: bool, whole: bool) -> Result<TempFile, StreamError> {
        let Self {
            directory,
            stem,
            mut encoder,
            file,
        } = self;
        encoder.finish(whole).await?;
        let finished = SpawnedTask::spawn_blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => TempFile::create(&directory, &stem)?,
            };
            file.write(&encoder.ready)?;
            file.close(sync)?;
            Ok(file)
        });
        finished.await.map_err(StreamError::lost)?
    }
}
