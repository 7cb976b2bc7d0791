//! What a stream job writes down so that it can go on after its process has ended.
//!
//! Before a micro-batch commits, its offsets are durable; its state and watermarks are with its commit. What a source needs besides
//! offsets to read a range again (the files behind it, the time at which a generator began) is its *memo*, kept in a table of its own,
//! so that each is written once.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use neptune_state::{
    Changes, Checkpoint, Group, KeyGroups, LocalStorage, Operator as Described, Restored, Settings,
    SyncPolicy, TableId,
};
use serde::{Deserialize, Serialize};

use crate::error::StreamError;
use crate::offset::OffsetRange;
use crate::source::StreamTable;

/// Where the state of a stream job lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSpec {
    /// A directory of the job's own.
    pub directory: PathBuf,
    /// Whether a commit survives a power cut and not only the end of the process.
    pub sync: bool,
}

/// Memos are beside the tables of operators.
const MEMOS: TableId = TableId(u32::MAX);

/// What is written before a micro-batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) sources: Vec<PlannedSource>,
    /// What was closed before it.
    pub(crate) late: i64,
    /// What it closes.
    pub(crate) over: i64,
}

/// The part of one source in a micro-batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlannedSource {
    pub(crate) name: String,
    pub(crate) range: OffsetRange,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memo: Option<serde_json::Value>,
}

/// What is written with a commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// What the micro-batch closed, and what the next one closes.
    pub(crate) late: i64,
    pub(crate) over: i64,
    /// How far each source's event time has come.
    pub(crate) watermarks: Vec<Option<i64>>,
}

/// The state of a job, durable or not.
#[derive(Debug, Clone)]
pub(crate) struct Durable {
    checkpoint: Arc<Checkpoint>,
    is_durable: bool,
}

/// Where a job goes on.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    /// Tells this job from all others, if it has been there before.
    pub(crate) run: Option<u64>,
    /// The last micro-batch, with what was written about it.
    pub(crate) last: Option<(u64, Planned, Done)>,
    /// One that was begun after it.
    pub(crate) pending: Option<Planned>,
}

impl Durable {
    /// Opens a job's checkpoint; without one, state lasts as long as the job.
    ///
    /// # Errors
    /// Those of the checkpoint: in use, of another query, damaged.
    pub(crate) async fn open(
        spec: Option<&CheckpointSpec>,
        query: Vec<Described>,
    ) -> Result<(Self, Resumed), StreamError> {
        let Some(spec) = spec.cloned() else {
            let checkpoint = Arc::new(Checkpoint::volatile(KeyGroups::default()));
            let durable = Self {
                checkpoint,
                is_durable: false,
            };
            return Ok((durable, Resumed::default()));
        };
        let opened = SpawnedTask::spawn_blocking(move || {
            let sync = match spec.sync {
                true => SyncPolicy::Always,
                false => SyncPolicy::Never,
            };
            let storage = Arc::new(LocalStorage::new(spec.directory, sync));
            Checkpoint::open(storage, &Settings::default(), &query)
        });
        let (checkpoint, restored) = opened.await.map_err(StreamError::lost)??;
        for skipped in &restored.skipped {
            tracing::warn!("{skipped}");
        }
        let durable = Self {
            checkpoint: Arc::new(checkpoint),
            is_durable: true,
        };
        Ok((durable, resumed(restored)?))
    }

    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Makes what a micro-batch is about to read durable.
    pub(crate) async fn plan(&self, number: u64, planned: &Planned) -> Result<(), StreamError> {
        let body = encode(planned)?;
        self.blocking(move |checkpoint| checkpoint.write_offsets(number, &body))
            .await
    }

    /// Commits a micro-batch.
    pub(crate) async fn commit(
        &self,
        number: u64,
        planned: &Planned,
        done: &Done,
        changes: Option<Changes>,
    ) -> Result<(), StreamError> {
        let mut changes = changes.unwrap_or_else(|| Changes::new(KeyGroups::default()));
        for (index, source) in planned.sources.iter().enumerate() {
            if let Some(memo) = &source.memo {
                let key = [
                    (index as u32).to_be_bytes().as_slice(),
                    &number.to_be_bytes(),
                ]
                .concat();
                changes.put(MEMOS, Group::new(0), key, encode(memo)?)?;
            }
        }
        let body = encode(done)?;
        self.blocking(move |checkpoint| checkpoint.commit(number, &body, &changes).map(drop))
            .await
    }

    /// The memos of the source at `index`, in the order in which they were made.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn memos(&self, index: usize) -> Result<Vec<serde_json::Value>, StreamError> {
        let table = self.checkpoint.store().table(MEMOS)?;
        let prefix = (index as u32).to_be_bytes();
        let rows = table.prefix(Group::new(0), &prefix, usize::MAX)?;
        rows.iter()
            .map(|(_, memo)| decode(memo, "a memo"))
            .collect()
    }

    /// Files are written on a thread that may wait; what is in memory only needs none.
    async fn blocking(
        &self,
        call: impl FnOnce(&Checkpoint) -> Result<(), neptune_state::StateError> + Send + 'static,
    ) -> Result<(), StreamError> {
        if !self.is_durable {
            return Ok(call(&self.checkpoint)?);
        }
        let checkpoint = Arc::clone(&self.checkpoint);
        let called = SpawnedTask::spawn_blocking(move || call(&checkpoint));
        Ok(called.await.map_err(StreamError::lost)??)
    }
}

fn resumed(restored: Restored) -> Result<Resumed, StreamError> {
    let last = restored.committed.map(|last| {
        let planned = decode(&last.offsets, "the offsets of the last micro-batch")?;
        let done = decode(&last.body, "the last commit")?;
        Ok::<_, StreamError>((last.number, planned, done))
    });
    let pending = restored
        .pending
        .map(|pending| decode(&pending.offsets, "the offsets of the micro-batch under way"));
    Ok(Resumed {
        run: Some(restored.run),
        last: last.transpose()?,
        pending: pending.transpose()?,
    })
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, StreamError> {
    serde_json::to_vec(value).map_err(|error| foreign("what is to be written", &error))
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8], what: &str) -> Result<T, StreamError> {
    serde_json::from_slice(bytes).map_err(|error| foreign(what, &error))
}

fn foreign(what: &str, error: &serde_json::Error) -> StreamError {
    StreamError::Query {
        what: format!(
            "the checkpoint holds {what} in a form that this version does not know: {error}"
        ),
        help: "start with a new checkpoint".to_owned(),
    }
}

/// The range of each source in a plan that was written down.
///
/// # Errors
/// If it is of other sources.
pub(crate) fn ranges_of(
    planned: &Planned,
    sources: &[Arc<StreamTable>],
) -> Result<Vec<OffsetRange>, StreamError> {
    let each = sources.iter().map(|table| {
        let name = table.source().name();
        let found = planned.sources.iter().find(|source| source.name == name);
        found
            .map(|source| source.range)
            .ok_or_else(|| StreamError::Query {
                what: format!("the checkpoint knows no source '{name}'"),
                help: "start the changed query with a new checkpoint".to_owned(),
            })
    });
    each.collect()
}
