//! The bytes of files, unpacked, one block ahead of the reader.
//!
//! Reading and unpacking happen on the blocking pool, one block at a time: a task that is suspended leaves at most
//! one block on the way.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;

use crate::error::StreamError;
use crate::format::{Compression, Packing};
use crate::source::{Access, FileEntry};

/// Bytes read at a time.
const BLOCK_BYTES: usize = 256 << 10;

/// A data file from its beginning up to the length it was found with, unpacked.
pub(crate) struct FileBytes {
    bytes: Box<dyn Read + Send>,
    entry: FileEntry,
}

impl FileBytes {
    /// # Errors
    /// [`StreamError::Io`] when it cannot be opened.
    pub(crate) fn open(
        access: &Access,
        entry: &FileEntry,
        packing: Packing,
    ) -> Result<Self, StreamError> {
        let failed = |error| StreamError::io("read", &entry.path)(error);
        let raw = Raw {
            bytes: access.open(entry)?,
            left: entry.len,
        };
        // An empty file is one without records, not half of a packed one.
        let bytes: Box<dyn Read + Send> = if entry.len == 0 {
            Box::new(io::empty())
        } else {
            packing.of(&entry.path).unpack(raw).map_err(failed)?
        };
        Ok(Self {
            bytes,
            entry: entry.clone(),
        })
    }

    /// Appends up to `most` bytes to `data`; false when the file ends with them.
    ///
    /// # Errors
    /// [`StreamError::Io`] when the file cannot be read, [`StreamError::Corrupt`] when it cannot be unpacked.
    pub(crate) fn fill(&mut self, data: &mut Vec<u8>, most: usize) -> Result<bool, StreamError> {
        let read = self.bytes.by_ref().take(most as u64).read_to_end(data);
        match read {
            Ok(read) => Ok(read == most),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> StreamError {
        let from_file = error.get_ref().is_some_and(|inner| inner.is::<FromFile>());
        if from_file {
            return StreamError::io("read", &self.entry.path)(error);
        }
        StreamError::Corrupt {
            file: self.entry.path.clone(),
            reason: error.to_string(),
        }
    }
}

/// The bytes as they lie in the file. Its errors are marked, to be told from those of unpacking.
struct Raw<R> {
    bytes: R,
    left: u64,
}

impl<R: Read> Read for Raw<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let marked = |error: io::Error| io::Error::new(error.kind(), FromFile(error));
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let wanted = buffer.get_mut(..most).unwrap_or_default();
        if wanted.is_empty() {
            return Ok(0);
        }
        let read = self.bytes.read(wanted).map_err(marked)?;
        if read == 0 {
            let reason = "it has become shorter since it was found";
            return Err(marked(io::Error::new(io::ErrorKind::UnexpectedEof, reason)));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[derive(Debug)]
struct FromFile(io::Error);

impl fmt::Display for FromFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for FromFile {}

/// A piece of a file.
pub(crate) struct Block {
    /// Which file.
    pub(crate) file: usize,
    pub(crate) data: Vec<u8>,
    /// No more of this file follows.
    pub(crate) last: bool,
    /// The file had gone before it was opened.
    pub(crate) gone: bool,
}

/// Reads files one after the other, one block ahead of the reader.
pub(crate) struct Blocks {
    reading: Option<Reading>,
    idle: Option<Cursor>,
}

impl Blocks {
    pub(crate) fn new(access: Access, files: Arc<[FileEntry]>, packing: Packing) -> Self {
        Self {
            reading: None,
            idle: Some(Cursor {
                access,
                files,
                packing,
                index: 0,
                file: None,
            }),
        }
    }

    /// The next block; `None` after the last file.
    ///
    /// # Errors
    /// [`StreamError::Io`] and [`StreamError::Corrupt`].
    pub(crate) async fn next(&mut self) -> Result<Option<Block>, StreamError> {
        if self.reading.is_none() {
            let Some(cursor) = self.idle.take() else {
                return Ok(None);
            };
            self.reading = Some(cursor.start());
        }
        let Some(task) = &mut self.reading else {
            return Ok(None);
        };
        let (cursor, block) = task.await.map_err(StreamError::lost)?;
        self.reading = None;
        let block = block?;
        if block.is_some() && cursor.index < cursor.files.len() {
            self.reading = Some(cursor.start());
        }
        Ok(block)
    }
}

/// A block on its way, with where the one after it begins.
type Reading = SpawnedTask<(Cursor, Result<Option<Block>, StreamError>)>;

/// Where the next block begins.
struct Cursor {
    access: Access,
    files: Arc<[FileEntry]>,
    packing: Packing,
    index: usize,
    file: Option<FileBytes>,
}

impl Cursor {
    fn start(mut self) -> Reading {
        SpawnedTask::spawn_blocking(move || {
            let block = self.read();
            (self, block)
        })
    }

    fn read(&mut self) -> Result<Option<Block>, StreamError> {
        let Some(entry) = self.files.get(self.index) else {
            return Ok(None);
        };
        let mut block = Block {
            file: self.index,
            data: Vec::new(),
            last: true,
            gone: false,
        };
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => FileBytes::open(&self.access, entry, self.packing),
        };
        match file {
            Ok(mut file) => {
                // One more than a small file has, to see its end at once; what a packed one has nobody knows.
                let bytes = match (self.packing.of(&entry.path), usize::try_from(entry.len)) {
                    (Compression::None, Ok(len)) => len.saturating_add(1).min(BLOCK_BYTES),
                    _ => BLOCK_BYTES,
                };
                block.data.reserve_exact(bytes);
                block.last = !file.fill(&mut block.data, bytes)?;
                if !block.last {
                    self.file = Some(file);
                }
            }
            Err(error) if error.is_not_found() => block.gone = true,
            Err(error) => return Err(error),
        }
        if block.last {
            self.index += 1;
        }
        Ok(Some(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_file_are_told_from_those_of_unpacking() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        let text = vec![b'x'; 1 << 20];
        let packed = crate::format::compression::packed(Compression::Gzip, &text).unwrap();
        for (bytes, len, corrupt) in [
            (packed.clone(), packed.len() + 1, false),
            (packed[..packed.len() - 9].to_vec(), packed.len() - 9, true),
            (b"no gzip at all".to_vec(), 14, true),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let entry = FileEntry {
                path: path.clone(),
                len: len as u64,
                modified_nanos: 0,
            };
            let mut file = FileBytes::open(&Access::Local, &entry, Packing::ByEnding).unwrap();
            let error = loop {
                match file.fill(&mut Vec::new(), 10_000) {
                    Ok(more) => assert!(more, "an error was expected"),
                    Err(error) => break error,
                }
            };
            match (corrupt, &error) {
                (true, StreamError::Corrupt { file, .. }) => assert_eq!(file, &path),
                (false, StreamError::Io { .. }) => {
                    assert!(error.to_string().contains("shorter"), "{error}");
                }
                _ => panic!("{error}"),
            }
        }
    }
}
