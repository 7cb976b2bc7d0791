//! The file operations that a checkpoint on a local disk is made of. A test puts a faulty implementation in their place.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

/// File operations, each as small as the operating system's own.
pub trait FileOps: Send + Sync + Debug + 'static {
    /// Creates an empty file to write to; one that is there is emptied.
    ///
    /// # Errors
    /// Those of the operating system.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;

    /// Gives a file another name, in place of the one that has it.
    ///
    /// # Errors
    /// Those of the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file away.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory in one that is there.
    ///
    /// # Errors
    /// Those of the operating system.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory survive a power cut.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// A whole file.
    ///
    /// # Errors
    /// Those of the operating system.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The names of the files (no directories) in a directory, in any order.
    ///
    /// # Errors
    /// Those of the operating system.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Locks a file, which is made if need be, until what is returned is dropped or the process ends; `owner` is written into it.
    /// `Err` inside is what the present holder has written.
    ///
    /// # Errors
    /// Those of the operating system.
    fn lock(&self, path: &Path, owner: &str) -> io::Result<Result<LockGuard, String>>;
}

/// A file being written.
pub trait NewFile: Debug {
    /// Adds to its end.
    ///
    /// # Errors
    /// Those of the operating system.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes its content survive a power cut.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync(&mut self) -> io::Result<()>;
}

/// Holds a lock until it is dropped.
#[derive(Debug, Default)]
pub struct LockGuard {
    /// Closing it gives the lock back.
    _file: Option<File>,
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFiles;

impl FileOps for OsFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Only Unix can open a directory to sync it; elsewhere a rename is as durable as it gets.
        if cfg!(unix) {
            File::open(path)?.sync_all()
        } else {
            Ok(())
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<Result<LockGuard, String>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // On a full disk the owner stays unnamed; the lock holds all the same.
                let _ = file
                    .set_len(0)
                    .and_then(|()| file.write_all(owner.as_bytes()));
                Ok(Ok(LockGuard { _file: Some(file) }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Where a lock also forbids reading, the holder stays unknown.
                if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
                    "another process".clone_into(&mut holder);
                }
                Ok(Err(holder))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl NewFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
