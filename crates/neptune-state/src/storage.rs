//! Where the files of a checkpoint are: whole files are put, got, listed and deleted, nothing else. That is as much as an
//! object store can do too.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::StateError;
use crate::files::{FileOps, LockGuard, OsFiles};

/// Keeps whole files under paths such as `commits/12`.
pub trait Storage: Send + Sync + Debug {
    /// Puts a file made of `pieces` at `path`, in place of the one that is there. After success it is there for good; after
    /// an error or a crash either it or what was there before is, and nothing in between is ever seen.
    ///
    /// # Errors
    /// [`StateError::Io`]; the call may be repeated.
    fn put(&self, path: &str, pieces: &[&[u8]]) -> Result<(), StateError>;

    /// The file at `path`, if there is one.
    ///
    /// # Errors
    /// [`StateError::Io`].
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StateError>;

    /// The names of the files that were put into the directory `dir` (empty: the root), in any order.
    ///
    /// # Errors
    /// [`StateError::Io`].
    fn list(&self, dir: &str) -> Result<Vec<String>, StateError>;

    /// Deletes the file at `path`; if there is none that is no error.
    ///
    /// # Errors
    /// [`StateError::Io`].
    fn delete(&self, path: &str) -> Result<(), StateError>;

    /// Removes what unfinished puts have left in `dir`.
    ///
    /// # Errors
    /// [`StateError::Io`].
    fn clean(&self, dir: &str) -> Result<(), StateError>;

    /// Keeps all others from writing, until what is returned is dropped or the process ends.
    ///
    /// # Errors
    /// [`StateError::Locked`] if another one writes, and [`StateError::Io`].
    fn lock(&self) -> Result<LockGuard, StateError>;

    /// How to name a path in a message; an empty one is the whole storage.
    fn locate(&self, path: &str) -> String;

    /// Its directory on a local disk, if it has one.
    fn local_dir(&self) -> Option<&Path> {
        None
    }
}

/// What a finished write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// A power cut: each file is synced before it gets its name, and the directory after it.
    #[default]
    Always,
    /// The end of the process by any means, not a power cut or a crash of the operating system. A power cut may lose
    /// the last commits, which is noticed at the next start if anything newer is left.
    Never,
}

/// A directory of a local disk.
#[derive(Debug)]
pub struct LocalStorage {
    root: PathBuf,
    sync: SyncPolicy,
    files: Arc<dyn FileOps>,
}

const UNFINISHED: &str = ".tmp";

impl LocalStorage {
    /// The directory `root`, which is made when it is first written to.
    pub fn new(root: impl Into<PathBuf>, sync: SyncPolicy) -> Self {
        Self::with_files(root, sync, Arc::new(OsFiles))
    }

    /// The same over other file operations.
    pub fn with_files(root: impl Into<PathBuf>, sync: SyncPolicy, files: Arc<dyn FileOps>) -> Self {
        Self {
            root: root.into(),
            sync,
            files,
        }
    }

    fn full(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            self.root.clone()
        } else {
            self.root.join(path)
        }
    }

    /// Makes a directory and those above it, for good.
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let above = match dir.parent() {
            Some(above) if above.as_os_str().is_empty() => Path::new("."),
            Some(above) => above,
            None => return Ok(()),
        };
        let created = match self.files.create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_dir(above)?;
                self.files.create_dir(dir)
            }
            created => created,
        };
        let was_there = match created {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
            Err(error) => return Err(error),
        };
        if self.sync == SyncPolicy::Never {
            return Ok(());
        }
        // One that is there may have been made by a process that was killed before it came to the sync.
        match self.files.sync_dir(above) {
            // Whoever made it could read the directory it is in.
            Err(error) if was_there && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    }

    fn write(&self, path: &Path, pieces: &[&[u8]]) -> io::Result<()> {
        let mut file = match self.files.create(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    self.make_dir(dir)?;
                }
                self.files.create(path)?
            }
            created => created?,
        };
        for piece in pieces {
            file.write(piece)?;
        }
        if self.sync == SyncPolicy::Always {
            file.sync()?;
        }
        Ok(())
    }
}

impl Storage for LocalStorage {
    fn put(&self, path: &str, pieces: &[&[u8]]) -> Result<(), StateError> {
        let to = self.full(path);
        // A file whose sync has failed is never synced again: the kernel may have dropped its pages and would call it
        // written. A repeated put starts with an empty file.
        let unfinished = self.full(&format!("{path}{UNFINISHED}"));
        let put = self
            .write(&unfinished, pieces)
            .and_then(|()| self.files.rename(&unfinished, &to));
        if let Err(error) = put {
            // Makes room on a full disk; what cannot be removed now is at the next start.
            let _ = self.files.remove(&unfinished);
            return Err(StateError::io("write", to.display(), error));
        }
        if self.sync == SyncPolicy::Always
            && let Some(dir) = to.parent()
        {
            self.files
                .sync_dir(dir)
                .map_err(|error| StateError::io("sync", dir.display(), error))?;
        }
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.full(path);
        match self.files.read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateError::io("read", path.display(), error)),
        }
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StateError> {
        let mut names = list(self, dir)?;
        names.retain(|name| !name.ends_with(UNFINISHED));
        Ok(names)
    }

    fn delete(&self, path: &str) -> Result<(), StateError> {
        let path = self.full(path);
        match self.files.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::io("remove", path.display(), error))
            }
            _ => Ok(()),
        }
    }

    fn clean(&self, dir: &str) -> Result<(), StateError> {
        for name in list(self, dir)? {
            if name.ends_with(UNFINISHED) {
                let path = if dir.is_empty() {
                    name
                } else {
                    format!("{dir}/{name}")
                };
                self.delete(&path)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<LockGuard, StateError> {
        self.make_dir(&self.root)
            .map_err(|error| StateError::io("create", self.root.display(), error))?;
        let path = self.root.join("lock");
        let owner = format!("process {}", std::process::id());
        self.files
            .lock(&path, &owner)
            .map_err(|error| StateError::io("lock", path.display(), error))?
            .map_err(|holder| StateError::Locked {
                path: self.root.display().to_string(),
                holder,
            })
    }

    fn locate(&self, path: &str) -> String {
        self.full(path).display().to_string()
    }

    fn local_dir(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

fn list(storage: &LocalStorage, dir: &str) -> Result<Vec<String>, StateError> {
    let path = storage.full(dir);
    match storage.files.list(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| StateError::io("list", path.display(), error)),
    }
}
