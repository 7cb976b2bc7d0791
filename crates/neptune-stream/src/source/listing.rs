//! What data files are there in a directory with its subdirectories.
//!
//! Names that begin with `.` or `_` or end in `.tmp` belong to writers that have not finished and are passed
//! over, directories as well as files. Files come in the order of their modification time, then their name.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::StreamError;

/// A data file as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes it had; readers stop there, so that a replay reads the same.
    pub len: u64,
    /// Last modification, in nanoseconds since the Unix epoch.
    pub modified_nanos: u64,
}

/// Finds the new files of a directory, cheaply when nothing has changed.
#[derive(Debug, Default)]
pub(crate) struct Lister {
    /// When the root last changed, if it had settled by the time it was listed and holds only files.
    settled: Option<SystemTime>,
}

/// A directory's time stamp may stand still over several changes within one tick of the file system's
/// clock; beyond this age a change is sure to move it.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

impl Lister {
    /// The data files below `root` whose paths are not in `seen`, in order.
    pub(crate) fn new_files(
        &mut self,
        root: &Path,
        seen: &HashSet<PathBuf>,
    ) -> Result<Vec<FileEntry>, StreamError> {
        let modified = fs::metadata(root)
            .and_then(|metadata| metadata.modified())
            .map_err(StreamError::io("look at", root))?;
        if self.settled == Some(modified) {
            return Ok(vec![]);
        }
        let now = SystemTime::now();
        let mut walk = Walk::default();
        walk.directory(root, seen)?;
        let old = now
            .duration_since(modified)
            .is_ok_and(|age| age >= SETTLED_AFTER);
        self.settled = (old && !walk.nested).then_some(modified);
        Ok(walk.in_order())
    }
}

/// The data files below `root` whose paths are not in `seen`, in order.
pub(crate) fn data_files(
    root: &Path,
    seen: &HashSet<PathBuf>,
) -> Result<Vec<FileEntry>, StreamError> {
    let mut walk = Walk::default();
    walk.directory(root, seen)?;
    Ok(walk.in_order())
}

#[derive(Default)]
struct Walk {
    found: Vec<FileEntry>,
    nested: bool,
}

impl Walk {
    fn directory(&mut self, path: &Path, seen: &HashSet<PathBuf>) -> Result<(), StreamError> {
        for entry in fs::read_dir(path).map_err(StreamError::io("list", path))? {
            let entry = entry.map_err(StreamError::io("list", path))?;
            if is_hidden(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let child = entry.path();
            // Symbolic links to files are followed, those to directories are not: they may form circles.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.nested = true;
                self.directory(&child, seen)?;
            } else if !seen.contains(&child)
                && let Some(found) = stat(&child)?
            {
                self.found.push(found);
            }
        }
        Ok(())
    }

    fn in_order(mut self) -> Vec<FileEntry> {
        self.found
            .sort_by(|a, b| (a.modified_nanos, &a.path).cmp(&(b.modified_nanos, &b.path)));
        self.found
    }
}

/// The entry of the regular file at `path`.
///
/// # Errors
/// [`StreamError::Io`] when there is none.
pub(crate) fn data_file(path: &Path) -> Result<FileEntry, StreamError> {
    stat(path)?.ok_or_else(|| not_a_file(path))
}

/// The entry of a regular file; `None` for anything else and for a file that has gone meanwhile.
fn stat(path: &Path) -> Result<Option<FileEntry>, StreamError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StreamError::io("look at", path)(error)),
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let nanos = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some(FileEntry {
        path: path.to_owned(),
        len: metadata.len(),
        modified_nanos: u64::try_from(nanos.as_nanos()).unwrap_or(u64::MAX),
    }))
}

fn not_a_file(path: &Path) -> StreamError {
    let error = match fs::metadata(path) {
        Ok(_) => std::io::Error::other("it is not a regular file"),
        Err(error) => error,
    };
    StreamError::io("read", path)(error)
}

/// Whether a file or directory of this name belongs to a writer that has not finished.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_']) || name.ends_with(".tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(entries: &[FileEntry]) -> Vec<String> {
        entries
            .iter()
            .map(|e| e.path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    fn touch(path: &Path, seconds: u64) {
        fs::write(path, "x").unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
    }

    #[test]
    fn files_come_by_time_then_name_and_unfinished_ones_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (name, seconds) in [
            ("b", 5),
            ("a", 5),
            ("z", 1),
            (".h", 0),
            ("_h", 0),
            ("c.tmp", 0),
        ] {
            touch(&root.join(name), seconds);
        }
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir_all(root.join("_sub")).unwrap();
        touch(&root.join("sub/y"), 3);
        touch(&root.join("_sub/n"), 3);
        let all = data_files(root, &HashSet::new()).unwrap();
        assert_eq!(names(&all), ["z", "y", "a", "b"]);
        let seen = HashSet::from([root.join("z"), root.join("a")]);
        assert_eq!(names(&data_files(root, &seen).unwrap()), ["y", "b"]);
    }

    #[test]
    fn a_lister_skips_a_settled_directory_and_sees_every_later_change() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        touch(&root.join("a"), 1);
        let age = |seconds: u64| {
            let at = SystemTime::now() - Duration::from_secs(seconds);
            fs::File::open(root).unwrap().set_modified(at).unwrap();
        };
        let (mut lister, seen) = (Lister::default(), HashSet::new());
        // Just changed: listed again and again.
        assert_eq!(lister.new_files(root, &seen).unwrap().len(), 1);
        assert_eq!(lister.new_files(root, &seen).unwrap().len(), 1);
        age(60);
        assert_eq!(lister.new_files(root, &seen).unwrap().len(), 1);
        assert_eq!(lister.new_files(root, &seen).unwrap().len(), 0, "settled");
        touch(&root.join("b"), 2);
        assert_eq!(names(&lister.new_files(root, &seen).unwrap()), ["a", "b"]);
    }
}
