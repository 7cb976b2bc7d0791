//! Objects in a store: a prefix to which each write adds some, or one object that is replaced as a whole.
//!
//! Rows go up in parts, or are kept where they are few; an object is in sight only when its upload is completed, which
//! the commit does. The names tell the epoch and the partition, `part-JOB-RUN-MICROBATCH-PARTITION.FORMAT[.gz|.zst]`: a write
//! that is run again gives its objects the same names, and removes those of partitions it does not have any more.
//! Between the first and the last object of a commit readers may see some of them. What a crash leaves of an
//! upload nobody sees; a rule of the store has to remove it in time.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::{StreamExt, TryStreamExt};
use neptune_exec::yielding::poll_yield;
use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;

use crate::error::StreamError;
use crate::format::{Encoder, WriteOptions};
use crate::remote::{Remote, Upload, run};
use crate::sink::encoder::PackedEncoder;
use crate::sink::filesystem::{ENCODE_ROWS, epoch_stem};
use crate::sink::{Epoch, Sink, Transaction, WriteMode};

/// Encoded bytes that are worth handing over.
const HAND_OVER_BYTES: usize = 1 << 20;

/// Encodes rows into one upload.
struct ObjectWriter {
    encoder: PackedEncoder,
    upload: Upload,
}

impl ObjectWriter {
    /// Takes the rows of a stream in; gives their number.
    async fn take(&mut self, mut rows: SendableRecordBatchStream) -> Result<u64, StreamError> {
        let mut count = 0;
        while let Some(batch) = rows.try_next().await? {
            for start in (0..batch.num_rows()).step_by(ENCODE_ROWS) {
                poll_fn(poll_yield).await;
                let slice = batch.slice(start, ENCODE_ROWS.min(batch.num_rows() - start));
                self.encoder.encode(&slice).await?;
                if self.encoder.ready.len() >= HAND_OVER_BYTES {
                    self.upload.write(&mut self.encoder.ready).await?;
                }
                count += slice.num_rows() as u64;
            }
        }
        Ok(count)
    }

    async fn finish(mut self) -> Result<Upload, StreamError> {
        self.encoder.finish(true).await?;
        self.upload.write(&mut self.encoder.ready).await?;
        self.upload.finish().await?;
        Ok(self.upload)
    }
}

/// Which write of each run of a job was committed last.
type Committed = Arc<Mutex<HashMap<(String, u64), u64>>>;

/// Adds objects to a prefix.
#[derive(Debug)]
pub(crate) struct ObjectsSink {
    name: String,
    remote: Arc<Remote>,
    options: WriteOptions,
    committed: Committed,
}

impl ObjectsSink {
    pub(crate) fn new(name: impl Into<String>, remote: Arc<Remote>, options: WriteOptions) -> Self {
        Self {
            name: name.into(),
            remote,
            options,
            committed: Committed::default(),
        }
    }
}

#[async_trait]
impl Sink for ObjectsSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn begin(
        &self,
        epoch: &Epoch,
        mode: WriteMode,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        self.options.check(&self.name, &schema)?;
        Ok(Box::new(AddObjects {
            epoch: epoch.clone(),
            remote: Arc::clone(&self.remote),
            options: self.options,
            mode,
            schema,
            committed: Arc::clone(&self.committed),
            staged: Mutex::default(),
        }))
    }
}

struct AddObjects {
    epoch: Epoch,
    remote: Arc<Remote>,
    options: WriteOptions,
    mode: WriteMode,
    schema: SchemaRef,
    committed: Committed,
    /// Uploads that have rows, ready to be published.
    staged: Mutex<Vec<Upload>>,
}

#[async_trait]
impl Transaction for AddObjects {
    async fn stage(
        &self,
        partition: usize,
        rows: SendableRecordBatchStream,
    ) -> Result<u64, StreamError> {
        let compression = self.options.packing.of_new_files();
        let name = format!(
            "{}-{partition:04}.{}{}",
            epoch_stem(&self.epoch),
            self.options.format,
            compression.ending()
        );
        let mut writer = ObjectWriter {
            encoder: PackedEncoder::new(Encoder::new(&self.options, &self.schema)?, compression),
            upload: Upload::new(Arc::clone(&self.remote), self.remote.child(&name)),
        };
        let count = writer.take(rows).await?;
        if count > 0 {
            let upload = writer.finish().await?;
            self.staged.lock().push(upload);
        }
        Ok(count)
    }

    async fn commit(self: Box<Self>) -> Result<(), StreamError> {
        let this = *self;
        let run_of_job = (this.epoch.job.clone(), this.epoch.run);
        // Only a write that may have been here before can have left something: in this life of the sink,
        // writes of a run come in order, and one that failed is forgotten.
        let last = this.committed.lock().remove(&run_of_job);
        let is_first = last.is_none_or(|last| last >= this.epoch.micro_batch);

        let uploads = this.staged.into_inner();
        let kept: Vec<ObjectPath> = uploads
            .iter()
            .map(|upload| upload.location().clone())
            .collect();
        let published = async {
            for upload in uploads {
                upload.publish().await?;
            }
            Ok::<_, StreamError>(())
        };
        if let Err(error) = published.await {
            // Some may be in sight: the write has not been, as far as that can be had.
            if let Err(error) = remove(&this.remote, kept).await {
                tracing::warn!(%error, "objects of a failed write stay behind");
            }
            return Err(error);
        }
        let stem = epoch_stem(&this.epoch);
        let old = match this.mode {
            WriteMode::Overwrite => {
                let files = run(this.remote.as_ref().clone().list()).await?;
                let locations = files.iter().map(|file| this.remote.location_of(&file.path));
                locations.collect::<Result<Vec<_>, _>>()?
            }
            WriteMode::Append if is_first => of_epoch(&this.remote, &stem).await?,
            WriteMode::Append => vec![],
        };
        let old = old.into_iter().filter(|location| !kept.contains(location));
        remove(&this.remote, old.collect()).await?;
        let number = this.epoch.micro_batch;
        this.committed.lock().insert(run_of_job, number);
        Ok(())
    }
}

/// The objects of one epoch.
async fn of_epoch(remote: &Arc<Remote>, stem: &str) -> Result<Vec<ObjectPath>, StreamError> {
    let (remote, begins) = (Arc::clone(remote), format!("{stem}-"));
    run(async move {
        let directory = Some(remote.path()).filter(|path| !path.as_ref().is_empty());
        // Names before it are passed over by the store, those after it here.
        let objects = remote
            .store()
            .list_with_offset(directory, &remote.child(&begins));
        let locations = objects
            .map_ok(|object| object.location)
            .try_filter(|location| {
                let name = location.filename().unwrap_or_default();
                futures::future::ready(name.starts_with(&begins))
            });
        let all = locations.try_collect().await;
        all.map_err(|error| remote.failed("list", remote.path(), error))
    })
    .await
}

async fn remove(remote: &Arc<Remote>, locations: Vec<ObjectPath>) -> Result<(), StreamError> {
    if locations.is_empty() {
        return Ok(());
    }
    let remote = Arc::clone(remote);
    run(async move {
        let locations = futures::stream::iter(locations.into_iter().map(Ok)).boxed();
        let mut removed = remote.store().delete_stream(locations);
        while let Some(outcome) = removed.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(remote.failed("remove from", remote.path(), error)),
            }
        }
        Ok(())
    })
    .await
}

/// Replaces one object.
#[derive(Debug)]
pub(crate) struct ObjectSink {
    name: String,
    remote: Arc<Remote>,
    options: WriteOptions,
}

impl ObjectSink {
    pub(crate) fn new(name: impl Into<String>, remote: Arc<Remote>, options: WriteOptions) -> Self {
        Self {
            name: name.into(),
            remote,
            options,
        }
    }
}

#[async_trait]
impl Sink for ObjectSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn begin(
        &self,
        _: &Epoch,
        mode: WriteMode,
        schema: SchemaRef,
    ) -> Result<Box<dyn Transaction>, StreamError> {
        if mode == WriteMode::Append {
            return Err(StreamError::Unsupported {
                table: self.name.clone(),
                what: "appended to",
                help: "an object can only be written as a whole: use INSERT OVERWRITE, or \
                       connector = 'filesystem' to add an object for each write"
                    .to_owned(),
            });
        }
        self.options.check(&self.name, &schema)?;
        let encoder = Encoder::new(&self.options, &schema)?;
        let compression = self.options.packing.of(&self.remote.url());
        let mut writer = ObjectWriter {
            encoder: PackedEncoder::new(encoder, compression),
            upload: Upload::new(Arc::clone(&self.remote), self.remote.path().clone()),
        };
        // The header of CSV is there without rows, too.
        let empty = RecordBatch::new_empty(schema);
        writer.encoder.encode(&empty).await?;
        Ok(Box::new(ReplaceObject {
            writer: tokio::sync::Mutex::new(writer),
        }))
    }
}

struct ReplaceObject {
    /// One object, so the partitions take turns.
    writer: tokio::sync::Mutex<ObjectWriter>,
}

#[async_trait]
impl Transaction for ReplaceObject {
    async fn stage(&self, _: usize, rows: SendableRecordBatchStream) -> Result<u64, StreamError> {
        self.writer.lock().await.take(rows).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StreamError> {
        let upload = self.writer.into_inner().finish().await?;
        upload.publish().await
    }
}
