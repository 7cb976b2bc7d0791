//! One file: replaced as a whole, or appended to, one write at a time.
//!
//! Rows are staged in a temporary file beside it. Replacing is a rename. Appending copies the staged rows to the
//! end; a log beside the file, `.NAME.writes`, tells where the last write of each job began and ended, so that
//! half a write is cut off again, by the error handling or, after a crash, by the next write, and a
//! write that is run again replaces itself. In a packed file each write is a gzip member or zstd frame of its own.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::future::poll_fn;
use std::io::{self, Read as _, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use neptune_exec::yielding::poll_yield;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::StreamError;
use crate::format::{Compression, Encoder, Format, WriteOptions, packed};
use crate::sink::encoder::PackedEncoder;
use crate::sink::filesystem::ENCODE_ROWS;
use crate::sink::temp::{TempFile, TempWriter, remove_leftovers, sync_directory};
use crate::sink::{Epoch, Sink, Transaction, WriteMode};

/// Writes one file.
#[derive(Debug)]
pub struct SingleFileSink {
    target: Target,
}

/// Where and how.
#[derive(Debug, Clone)]
struct Target {
    name: String,
    path: PathBuf,
    options: WriteOptions,
}

impl SingleFileSink {
    /// A sink that writes the file `path`.
    pub fn new(name: impl Into<String>, path: PathBuf, options: WriteOptions) -> Self {
        Self {
            target: Target {
                name: name.into(),
                path,
                options,
            },
        }
    }
}

impl Target {
    fn directory(&self) -> PathBuf {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    fn compression(&self) -> Compression {
        self.options.packing.of(&self.path)
    }

    /// Whether rows can be put after others.
    fn takes_more(&self) -> bool {
        matches!(self.options.format, Format::Json | Format::Csv)
    }

    fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

#[async_trait]
impl Sink for SingleFileSink {
    fn name(&self) -> &str {
        &self.target.name
    }

    async fn begin(
        &self,
        epoch: &Epoch,
        mode: WriteMode,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        self.target.options.check(&self.target.name, &schema)?;
        let target = self.target.clone();
        let refused = SpawnedTask::spawn_blocking(move || {
            remove_leftovers(&target.directory(), &target.file_name())?;
            match mode {
                WriteMode::Append => refused(&target),
                WriteMode::Overwrite => Ok(None),
            }
        });
        if let Some(help) = refused.await.map_err(StreamError::lost)?? {
            return Err(StreamError::Unsupported {
                table: self.target.name.clone(),
                what: "appended to",
                help,
            });
        }
        // The head of a file is written when it turns out that the file is new.
        let target = self.target.clone();
        let (options, compression) = (target.options, target.compression());
        let encoder = match mode {
            WriteMode::Overwrite => Encoder::new(&options, &schema)?,
            WriteMode::Append => Encoder::headless(&options, &schema)?,
        };
        let mut head = Vec::new();
        if mode == WriteMode::Append && target.takes_more() {
            let empty = RecordBatch::new_empty(Arc::clone(&schema));
            Encoder::new(&options, &schema)?.encode(&empty, &mut head)?;
            head = packed(compression, &head)?;
        }
        let encoder = PackedEncoder::new(encoder, compression);
        let writer = TempWriter::new(target.directory(), target.file_name(), encoder);
        Ok(Box::new(Write {
            target,
            epoch: epoch.clone(),
            mode,
            schema,
            head,
            writer: tokio::sync::Mutex::new(writer),
        }))
    }
}

struct Write {
    target: Target,
    epoch: Epoch,
    mode: WriteMode,
    schema: SchemaRef,
    head: Vec<u8>,
    /// One file, so the partitions take turns.
    writer: tokio::sync::Mutex<TempWriter>,
}

#[async_trait]
impl Transaction for Write {
    async fn stage(
        &self,
        _: usize,
        mut rows: SendableRecordBatchStream,
    ) -> Result<u64, StreamError> {
        let mut count = 0;
        while let Some(batch) = rows.try_next().await? {
            for start in (0..batch.num_rows()).step_by(ENCODE_ROWS) {
                poll_fn(poll_yield).await;
                let slice = batch.slice(start, ENCODE_ROWS.min(batch.num_rows() - start));
                self.writer.lock().await.write(&slice).await?;
                count += slice.num_rows() as u64;
            }
        }
        Ok(count)
    }

    async fn commit(self: Box<Self>) -> Result<(), StreamError> {
        let this = *self;
        let (sync, whole) = (this.target.options.sync, this.mode == WriteMode::Overwrite);
        let mut writer = this.writer.into_inner();
        if whole && this.target.takes_more() {
            // Without rows there would be no header, and rows appended later would lack it.
            writer.write(&RecordBatch::new_empty(this.schema)).await?;
        }
        let staged = writer.finish(sync, whole).await?;
        let (target, epoch, mode, head) = (this.target, this.epoch, this.mode, this.head);
        SpawnedTask::spawn_blocking(move || {
            let lock = lock_for(&target.path);
            let _guard = lock.lock();
            match mode {
                WriteMode::Append if target.takes_more() => append(&target, &epoch, &head, &staged),
                _ => replace(&target, staged),
            }
        })
        .await
        .map_err(StreamError::lost)?
    }
}

/// Why rows cannot be appended to what is there, if there is a reason.
fn refused(target: &Target) -> Result<Option<String>, StreamError> {
    let path = &target.path;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StreamError::io("read", path)(error)),
    };
    let format = target.options.format;
    if !target.takes_more() {
        return Ok(Some(format!(
            "a file of format {format} can only be written as a whole: use INSERT OVERWRITE, or \
             connector = 'filesystem' to add a file for each write"
        )));
    }
    // Rows packed in one way after rows packed in another could not be read again.
    let mut first = Vec::new();
    file.take(4)
        .read_to_end(&mut first)
        .map_err(StreamError::io("read", path))?;
    let packed_by_others = [Compression::Gzip, Compression::Zstd]
        .into_iter()
        .find(|other| *other != target.compression() && other.may_begin(&first));
    // A crash may have left less than the beginning.
    let fits = first.len() < 4 || target.compression().may_begin(&first);
    Ok((!fits || packed_by_others.is_some()).then(|| {
        format!(
            "'{}' is not packed as option compression or its ending says; use INSERT OVERWRITE, or another file",
            path.display()
        )
    }))
}

fn replace(target: &Target, staged: TempFile) -> Result<(), StreamError> {
    let log = log_path(target);
    if log.exists() {
        fs::remove_file(&log).map_err(StreamError::io("remove", &log))?;
    }
    staged.keep(&target.path)?;
    if target.options.sync {
        sync_directory(&target.directory())?;
    }
    Ok(())
}

/// The last write of one job.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Written {
    run: u64,
    micro_batch: u64,
    /// Length of the file before it.
    start: u64,
    /// Length of the file after it; `None` while it is being appended.
    end: Option<u64>,
}

fn append(
    target: &Target,
    epoch: &Epoch,
    head: &[u8],
    staged: &TempFile,
) -> Result<(), StreamError> {
    let path = &target.path;
    let failed = |action| StreamError::io(action, path);
    let mut writes = read_log(target)?;
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed("open"))?;
    let mut end = file.metadata().map_err(failed("look at"))?.len();

    // A crash left half a write.
    for half in writes.extract_if(.., |_, write| write.end.is_none()) {
        if half.1.start < end {
            end = half.1.start;
            file.set_len(end).map_err(failed("cut"))?;
        }
    }
    let before = writes.get(&epoch.job).filter(|write| {
        // A file that is shorter than it was has been replaced by somebody else.
        write.run == epoch.run && write.end.is_some_and(|after| after <= end)
    });
    if let Some(later) = before.filter(|write| write.micro_batch > epoch.micro_batch) {
        return Err(StreamError::Sink {
            name: target.name.clone(),
            reason: format!(
                "{epoch} cannot be written: '{}' already has the job's micro-batch {}, as if its checkpoint had been set \
                 back; bring the newer checkpoint back, or begin with a new one and a new file",
                path.display(),
                later.micro_batch
            ),
        });
    }
    if let Some(write) = before.filter(|write| write.micro_batch == epoch.micro_batch) {
        if write.end != Some(end) {
            return Err(StreamError::Sink {
                name: target.name.clone(),
                reason: format!(
                    "{epoch} cannot be written again: '{}' has been appended to since; \
                     connector = 'filesystem' keeps the writes of several jobs apart",
                    path.display()
                ),
            });
        }
        end = write.start;
        file.set_len(end).map_err(failed("cut"))?;
    }

    let mut write = Written {
        run: epoch.run,
        micro_batch: epoch.micro_batch,
        start: end,
        end: None,
    };
    writes.insert(epoch.job.clone(), write.clone());
    write_log(target, &writes)?;
    let copied = copy(&mut file, end, head, staged, target.options.sync);
    match copied {
        Ok(end) => write.end = Some(end),
        Err(error) => {
            file.set_len(end).map_err(failed("cut"))?;
            writes.remove(&epoch.job);
            write_log(target, &writes)?;
            return Err(failed("append to")(error));
        }
    }
    writes.insert(epoch.job.clone(), write);
    write_log(target, &writes)
}

/// Puts the staged rows at `at`, which is the end, and the head before them in an empty file.
fn copy(file: &mut File, at: u64, head: &[u8], staged: &TempFile, sync: bool) -> io::Result<u64> {
    file.seek(SeekFrom::Start(at))?;
    let mut source = staged.reopen().map_err(io::Error::other)?;
    if at == 0 {
        file.write_all(head)?;
    }
    io::copy(&mut source, file)?;
    if sync {
        file.sync_all()?;
    }
    file.stream_position()
}

fn log_path(target: &Target) -> PathBuf {
    let name = format!(".{}.writes", target.file_name());
    target.directory().join(name)
}

fn read_log(target: &Target) -> Result<BTreeMap<String, Written>, StreamError> {
    let path = log_path(target);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| StreamError::io("understand", &path)(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(StreamError::io("read", &path)(error)),
    }
}

fn write_log(target: &Target, writes: &BTreeMap<String, Written>) -> Result<(), StreamError> {
    let path = log_path(target);
    let next = path.with_extension("next");
    let mut text = serde_json::to_vec(writes)
        .map_err(|error| StreamError::io("write", &path)(error.into()))?;
    text.push(b'\n');
    let write = || -> io::Result<()> {
        let mut file = File::create(&next)?;
        file.write_all(&text)?;
        if target.options.sync {
            file.sync_all()?;
        }
        fs::rename(&next, &path)
    };
    write().map_err(StreamError::io("write", &path))
}

/// One lock for each file that this process writes, whichever sinks do it.
fn lock_for(path: &Path) -> Arc<Mutex<()>> {
    static LOCKS: LazyLock<Mutex<HashMap<PathBuf, Weak<Mutex<()>>>>> =
        LazyLock::new(Mutex::default);
    let key = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut locks = LOCKS.lock();
    locks.retain(|_, lock| lock.strong_count() > 0);
    if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
        return lock;
    }
    let lock = Arc::new(Mutex::new(()));
    locks.insert(key, Arc::downgrade(&lock));
    lock
}
