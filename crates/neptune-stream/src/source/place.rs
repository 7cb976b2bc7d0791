//! Where a table's files are: on this machine or in an object store, a directory or one file.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::StreamError;
use crate::remote::{Remote, wait};
use crate::source::listing::{FileEntry, Lister, data_file, data_files};

/// Where a table's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// All data files below a directory.
    Directory(PathBuf),
    /// One file.
    File(PathBuf),
    /// All data files below a prefix, which is looked through at most once in this time.
    Prefix(Arc<Remote>, Duration),
    /// One object.
    Object(Arc<Remote>),
}

/// How the files of a place are opened.
#[derive(Debug, Clone, Default)]
pub(crate) enum Access {
    /// As files of this machine.
    #[default]
    Local,
    /// As objects.
    Remote(Arc<Remote>),
}

impl Place {
    /// The directory or file, as messages call it.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Place::Directory(path) | Place::File(path) => path.clone(),
            Place::Prefix(remote, _) | Place::Object(remote) => remote.url(),
        }
    }

    /// Whether it is one file.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self, Place::File(_) | Place::Object(_))
    }

    pub(crate) fn access(&self) -> Access {
        match self {
            Place::Directory(_) | Place::File(_) => Access::Local,
            Place::Prefix(remote, _) | Place::Object(remote) => Access::Remote(Arc::clone(remote)),
        }
    }

    /// All data files that are there now, in order. Waits: not for a thread that must not.
    ///
    /// # Errors
    /// [`StreamError::Io`] when the place is absent or cannot be read.
    pub(crate) fn files(&self) -> Result<Vec<FileEntry>, StreamError> {
        match self {
            Place::Directory(path) => data_files(path, &HashSet::new()),
            Place::File(path) => Ok(vec![data_file(path)?]),
            Place::Prefix(remote, _) => wait(remote.as_ref().clone().list()),
            Place::Object(remote) => Ok(vec![wait(remote.as_ref().clone().stat())?]),
        }
    }
}

/// Finds what is new in a place.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    lister: Lister,
    /// When objects were last listed.
    listed: Option<Instant>,
}

impl Finder {
    /// The data files whose paths are not in `seen`, in order; none of a prefix that was looked through just now.
    ///
    /// # Errors
    /// As [`Place::files`].
    pub(crate) fn new_files(
        &mut self,
        place: &Place,
        seen: &HashSet<PathBuf>,
    ) -> Result<Vec<FileEntry>, StreamError> {
        match place {
            Place::Directory(root) => self.lister.new_files(root, seen),
            Place::Prefix(_, pause) => {
                if self.listed.is_some_and(|listed| listed.elapsed() < *pause) {
                    return Ok(vec![]);
                }
                let mut found = place.files()?;
                self.listed = Some(Instant::now());
                found.retain(|entry| !seen.contains(&entry.path));
                Ok(found)
            }
            Place::File(_) | Place::Object(_) => {
                let mut found = place.files()?;
                found.retain(|entry| !seen.contains(&entry.path));
                Ok(found)
            }
        }
    }
}

impl Access {
    /// Opens a file at its beginning. Waits: not for a thread that must not.
    ///
    /// # Errors
    /// [`StreamError::Io`] when it is not there or cannot be read.
    pub(crate) fn open(&self, entry: &FileEntry) -> Result<Box<dyn Read + Send>, StreamError> {
        match self {
            Access::Local => {
                let file = File::open(&entry.path).map_err(StreamError::io("read", &entry.path))?;
                Ok(Box::new(file))
            }
            Access::Remote(remote) => remote.read(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_place_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        for place in [
            Place::Directory(dir.path().join("nowhere")),
            Place::File(dir.path().join("nowhere")),
        ] {
            let error = place.files().unwrap_err().to_string();
            assert!(error.contains("nowhere"), "{error}");
        }
        let error = Place::File(dir.path().to_owned()).files().unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}
