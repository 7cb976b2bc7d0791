//! Files under construction: hidden names, gone unless kept, written on the blocking pool.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;

use crate::error::StreamError;
use crate::sink::encoder::PackedEncoder;

/// Encoded bytes that are worth a write.
const WRITE_BYTES: usize = 256 << 10;

/// The number of this process's next temporary file.
static NEXT: AtomicU64 = AtomicU64::new(0);

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
        fs::create_dir_all(directory).map_err(StreamError::io("create", directory))?;
        let process = std::process::id();
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!(".{stem}.{process}-{number}.tmp"));
            match File::create_new(&path) {
                // Of an earlier process that had the same id, as the first one of a container has each time.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => {
                    return Ok(Self {
                        file: Some(created.map_err(StreamError::io("create", &path))?),
                        path,
                    });
                }
            }
        }
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
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StreamError::io("list", directory)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(StreamError::io("list", directory))?;
        let owner = owner(&entry.file_name().to_string_lossy(), stem);
        if owner.is_some_and(|(process, number)| !is_in_use(process, number)) {
            let path = entry.path();
            fs::remove_file(&path).map_err(StreamError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The process that created the temporary file `name`, and its number, if the file's stem begins with `stem`.
fn owner(name: &str, stem: &str) -> Option<(u32, u64)> {
    let (name, number) = name
        .strip_prefix('.')
        .filter(|name| name.starts_with(stem))?
        .strip_suffix(".tmp")?
        .rsplit_once('-')?;
    let process = name.rsplit_once('.')?.1;
    Some((process.parse().ok()?, number.parse().ok()?))
}

/// Whether a process may still be writing its temporary file with this number. Without `/proc` only this process is known.
fn is_in_use(process: u32, number: u64) -> bool {
    if process == std::process::id() {
        // A number that is still to come was given by an earlier process that had the same id.
        return number < NEXT.load(Ordering::Relaxed);
    }
    Path::new("/proc").join(process.to_string()).exists()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_an_earlier_process_with_the_same_id_are_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let name = |number: u64| format!(".part-j-0.{}-{number}.tmp", std::process::id());
        let ours = TempFile::create(root, "part-j-0").unwrap();
        // Other tests of this process take numbers too, but not so many.
        let next = NEXT.load(Ordering::Relaxed);
        let left: Vec<PathBuf> = (next..next + 50)
            .map(|number| root.join(name(number)))
            .collect();
        for path in &left {
            fs::write(path, "half").unwrap();
        }
        let new = TempFile::create(root, "part-j-0").unwrap();
        assert_eq!(fs::read(&new.path).unwrap(), b"");
        assert!(!left.contains(&new.path) && left.iter().all(|path| path.exists()));
        drop(new);

        let (later, far) = (NEXT.load(Ordering::Relaxed), root.join(name(u64::MAX)));
        fs::write(&far, "half").unwrap();
        remove_leftovers(root, "part-j-").unwrap();
        assert!(ours.path.exists() && later > next && !far.exists());
    }
}
