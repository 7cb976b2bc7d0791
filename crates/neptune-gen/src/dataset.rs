//! A generated data set: a directory of files that one manifest describes.
//!
//! The manifest is written first and names the settings the files are made with; each file is
//! written under a temporary name and renamed when it is whole. So after a crash at any point every
//! file that has its final name is complete and of the manifest's settings, and the next run makes
//! only what is missing. Under other settings the files that the old manifest names go first and the
//! new manifest then replaces the old one.
//! A lock file keeps two processes from making the same data set at once.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use serde::Serialize;

use crate::{GenError, Result};

/// The name of the manifest within a data set's directory.
pub const MANIFEST: &str = "manifest.json";

const LOCK: &str = ".lock";
const TEMPORARY: &str = ".tmp";

/// An open data set; other processes wait for it until it is dropped.
pub(crate) struct DataSet {
    dir: PathBuf,
    _lock: File,
}

impl DataSet {
    /// Makes `dir` a data set described by `manifest`, removing one of other settings.
    ///
    /// Refuses a directory that holds files but no manifest, so that nobody's files are lost.
    pub(crate) fn open(dir: &Path, manifest: &impl Serialize) -> Result<Self> {
        fs::create_dir_all(dir).map_err(GenError::io("create", dir))?;
        let lock_path = dir.join(LOCK);
        let lock = File::create(&lock_path).map_err(GenError::io("create", &lock_path))?;
        lock.lock().map_err(GenError::io("lock", &lock_path))?;
        let data_set = Self {
            dir: dir.to_path_buf(),
            _lock: lock,
        };

        let path = dir.join(MANIFEST);
        let wanted =
            serde_json::to_string_pretty(manifest).map_err(|source| GenError::Manifest {
                path: path.clone(),
                source,
            })?;
        match fs::read_to_string(&path) {
            Ok(found) if found == wanted => return Ok(data_set),
            Ok(found) => data_set.remove_files(&found)?,
            Err(e) if e.kind() == ErrorKind::NotFound => data_set.refuse_strangers()?,
            Err(e) => return Err(GenError::io("read", &path)(e)),
        }
        data_set.write(MANIFEST, |temporary| {
            fs::write(temporary, &wanted).map_err(GenError::io("write", temporary))
        })?;
        Ok(data_set)
    }

    /// Where the file `name` is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether the file `name` is yet to be made.
    pub(crate) fn is_missing(&self, name: &str) -> bool {
        !self.path(name).exists()
    }

    /// Makes the file `name`: `fill` writes the temporary path it is given, which is then renamed.
    pub(crate) fn write<T>(&self, name: &str, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let temporary = self.path(&format!("{name}{TEMPORARY}"));
        let filled = fill(&temporary);
        if filled.is_err() {
            // The cause is in `filled`; a leftover is overwritten by the next run.
            let _ = fs::remove_file(&temporary);
            return filled;
        }
        let path = self.path(name);
        fs::rename(&temporary, &path).map_err(GenError::io("rename to", &path))?;
        filled
    }

    /// Removes the files that the manifest text `manifest` names.
    fn remove_files(&self, manifest: &str) -> Result<()> {
        for name in named_files(manifest) {
            let path = self.path(&name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(GenError::io("remove", &path)(e));
                }
                _ => {}
            }
        }
        // Files that no manifest names must not pass for files of the next one.
        self.refuse_strangers()
    }

    fn refuse_strangers(&self) -> Result<()> {
        for entry in fs::read_dir(&self.dir).map_err(GenError::io("list", &self.dir))? {
            let entry = entry.map_err(GenError::io("list", &self.dir))?;
            let file = entry.file_name().to_string_lossy().into_owned();
            if file != LOCK && file != MANIFEST && !file.ends_with(TEMPORARY) {
                return Err(GenError::NotADataSet {
                    dir: self.dir.clone(),
                    file,
                });
            }
        }
        Ok(())
    }
}

/// The plain file names in the manifest's list `files`.
fn named_files(manifest: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
    let names = value.get("files").and_then(|files| files.as_array());
    names
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str())
        .filter(|name| {
            Path::new(name)
                .file_name()
                .is_some_and(|plain| plain == *name)
        })
        .map(str::to_owned)
        .collect()
}

/// Writes record batches as one Parquet file and returns the number of rows.
pub(crate) fn write_parquet(
    path: &Path,
    schema: &SchemaRef,
    properties: WriterProperties,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> Result<u64> {
    let file = File::create(path).map_err(GenError::io("create", path))?;
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))
        .map_err(GenError::parquet(path))?;
    let mut rows = 0;
    for batch in batches {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(GenError::parquet(path))?;
    }
    writer.close().map_err(GenError::parquet(path))?;
    Ok(rows)
}
