//! The history: the events from number 0 on as Parquet files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use datafusion::parquet::basic::{Compression, Encoding};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::schema::types::ColumnPath;
use serde::Serialize;

use super::{EVENTS_MAX, ShopConfig, schema};
use crate::dataset::{DataSet, write_parquet};
use crate::{GenError, Result};

/// The number of files, so that a scan can use many cores.
const FILES: u64 = 8;

const ROWS_PER_BATCH: u64 = 16 * 1024;
const ROWS_PER_GROUP: usize = 256 * 1024;

/// Raised whenever the events of the same seed change.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Manifest {
    generator: &'static str,
    version: u32,
    rows: u64,
    seed: u64,
    files: Vec<String>,
}

/// A history on disk.
#[derive(Debug, Clone)]
pub struct ShopHistory {
    /// The data set's directory.
    pub dir: PathBuf,
    /// Its Parquet files, in the order of their events.
    pub files: Vec<PathBuf>,
    /// The number of events; live events start with this number.
    pub rows: u64,
    /// The shop that the events, and the live ones after them, are of.
    pub shop: ShopConfig,
}

/// Makes the history of `rows` events of a seed in `dir`, or only what is missing of it.
///
/// `progress` is told how many events are done, unless there is nothing to do. A history of other
/// rows or another seed in `dir` is replaced. All cores are used, up to one a file. Two processes
/// may call this at once: the second waits for the first.
///
/// # Errors
/// A number of rows that is 0 or above [`EVENTS_MAX`], a directory with files of others, or a
/// failed write.
pub fn ensure_history(
    dir: &Path,
    rows: u64,
    seed: u64,
    mut progress: impl FnMut(u64),
) -> Result<ShopHistory> {
    if rows == 0 || rows > EVENTS_MAX {
        return Err(GenError::BadRows {
            rows,
            max: EVENTS_MAX,
        });
    }
    let names: Vec<String> = (0..FILES)
        .map(|file| format!("events-{file}.parquet"))
        .collect();
    let manifest = Manifest {
        generator: "shop",
        version: VERSION,
        rows,
        seed,
        files: names.clone(),
    };
    let data_set = DataSet::open(dir, &manifest)?;
    let shop = ShopConfig::for_history(seed, rows);
    let parts: Vec<Part> = names
        .iter()
        .zip(0..)
        .map(|(name, n)| Part::of(rows, n, name))
        .collect();
    let (missing, made): (Vec<&Part>, Vec<&Part>) = parts
        .iter()
        .partition(|part| data_set.is_missing(part.name));

    let mut done: u64 = made.iter().map(|part| part.end - part.start).sum();
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = |sender: Sender<u64>| -> Result<()> {
        while let Some(part) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            let written = part.write(&data_set, &shop, &sender);
            if written.is_err() {
                failed.store(true, Ordering::Relaxed);
                return written;
            }
        }
        Ok(())
    };
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(missing.len());
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (work, sender) = (&work, sender.clone());
                scope.spawn(move || work(sender))
            })
            .collect();
        drop(sender);
        for more in receiver {
            done += more;
            progress(done);
        }
        let lost = |_| {
            Err(GenError::WorkerLost {
                path: dir.to_path_buf(),
            })
        };
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(lost))
    })?;
    let files = names.iter().map(|name| data_set.path(name)).collect();
    Ok(ShopHistory {
        dir: dir.to_path_buf(),
        files,
        rows,
        shop,
    })
}

/// The events of one file.
struct Part<'a> {
    name: &'a str,
    start: u64,
    end: u64,
}

impl<'a> Part<'a> {
    fn of(rows: u64, number: u64, name: &'a str) -> Self {
        let start_of = |part| (u128::from(rows) * u128::from(part) / u128::from(FILES)) as u64;
        Self {
            name,
            start: start_of(number),
            end: start_of(number + 1),
        }
    }

    fn write(&self, data_set: &DataSet, shop: &ShopConfig, done: &Sender<u64>) -> Result<()> {
        let batches = (self.start..self.end)
            .step_by(ROWS_PER_BATCH as usize)
            .map(|start| {
                let end = self.end.min(start + ROWS_PER_BATCH);
                let batch = shop.batch(start..end);
                // Nobody listens any more only when the caller is gone; then nobody needs to know.
                let _ = done.send(end - start);
                batch
            });
        data_set.write(self.name, |temporary| {
            write_parquet(temporary, &schema(), properties(), batches)
        })?;
        Ok(())
    }
}

/// Numbers that grow from row to row are stored as differences, the others by dictionary where that
/// pays; Snappy decodes fast.
fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP));
    for name in ["event_id", "ts", "session_id"] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}
