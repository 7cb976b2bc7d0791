//! The way back: from the files of a checkpoint to the state after its last commit.

use std::sync::Arc;

use tracing::warn;

use crate::changes::Changes;
use crate::codec::Reader;
use crate::disk::DiskTables;
use crate::frame::{self, Kind, Label};
use crate::memory::MemoryTables;
use crate::metadata::Metadata;
use crate::retention::numbers;
use crate::settings::COMMIT_WEIGHT;
use crate::snapshot;
use crate::storage::Storage;
use crate::table::{StateStore, Tables};
use crate::{Backend, KeyGroups, StateError};

/// What a checkpoint was found to hold.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Tells this checkpoint from all others, for as long as it exists.
    pub run: u64,
    /// The key groups of its tables.
    pub groups: KeyGroups,
    /// The last micro-batch that was committed.
    pub committed: Option<Committed>,
    /// The micro-batch that was begun after it: it must be run again with the same offsets.
    pub pending: Option<Pending>,
    /// Rows in the tables.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// The snapshot it was restored from, if there was one.
    pub snapshot: Option<u64>,
    /// How many deltas were applied after that.
    pub deltas: u64,
    /// What is wrong with newer snapshots that could not be used.
    pub skipped: Vec<String>,
}

/// A micro-batch that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its number.
    pub number: u64,
    /// What was given to `write_offsets`.
    pub offsets: Vec<u8>,
    /// What was given to `commit`.
    pub body: Vec<u8>,
}

/// A micro-batch of which only the offsets are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its number.
    pub number: u64,
    /// What was given to `write_offsets`.
    pub offsets: Vec<u8>,
}

pub(crate) struct Recovery {
    pub(crate) store: StateStore,
    pub(crate) restored: Restored,
    /// What the commits since the last base count towards the next snapshot.
    pub(crate) since_base: u64,
    /// Usable snapshots.
    pub(crate) bases: Vec<u64>,
}

struct Reading<'a> {
    storage: &'a dyn Storage,
    run: u64,
    groups: KeyGroups,
    commits: Vec<u64>,
}

impl Reading<'_> {
    fn last(&self) -> Option<u64> {
        self.commits.last().copied()
    }

    /// The content of a file; `why` says why it must be there.
    fn content<T>(
        &self,
        kind: Kind,
        number: u64,
        why: &str,
        read: impl FnOnce(&mut Reader<'_>, &[u8]) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let label = Label {
            kind,
            run: self.run,
            number,
            part: 0,
        };
        let path = self.storage.locate(&label.path());
        let Some(file) = self.storage.get(&label.path())? else {
            return Err(StateError::Missing {
                path,
                why: why.to_owned(),
            });
        };
        let content = frame::open(&path, &label, &file)?;
        read(&mut Reader::new(&path, content), content)
    }

    fn offsets(&self, number: u64) -> Result<Vec<u8>, StateError> {
        let why = format!("micro-batch {number} has a commit");
        self.content(Kind::Offsets, number, &why, |_, content| {
            Ok(content.to_vec())
        })
    }

    fn body(&self, number: u64) -> Result<Vec<u8>, StateError> {
        let why = "it is the last commit";
        self.content(Kind::Commit, number, why, |reader, _| reader.body())
    }

    /// Applies the deltas behind `base`; how many there were, and what they count.
    fn replay(&self, tables: &dyn Tables, base: Option<u64>) -> Result<(u64, u64), StateError> {
        let first = base.map_or(0, |base| base + 1);
        let end = self.last().map_or(0, |last| last + 1);
        let why = match base {
            Some(base) => {
                format!("commits follow it, and the state begins with micro-batch {base}")
            }
            None => "commits follow it, and no usable snapshot does".to_owned(),
        };
        let mut weight = 0;
        for number in first..end {
            let mut changes = Changes::new(self.groups);
            self.content(Kind::Commit, number, &why, |reader, content| {
                weight += content.len() as u64 + COMMIT_WEIGHT;
                reader.body()?;
                reader.sections(self.groups, |table, group, section| {
                    changes.add_all(table, group, section);
                    Ok(())
                })
            })?;
            tables.apply(number, &changes)?;
        }
        Ok((end.saturating_sub(first), weight))
    }

    /// The micro-batch of which only the offsets are there.
    fn pending(&self) -> Result<Option<Pending>, StateError> {
        let next = self.last().map_or(0, |last| last + 1);
        let Some(newest) = numbers(self.storage, "offsets")?.last().copied() else {
            return Ok(None);
        };
        if newest > next {
            return Err(StateError::CommitsLost {
                path: self.storage.locate(&format!("offsets/{newest}")),
                number: newest,
                last: self.last(),
            });
        }
        if newest < next {
            return Ok(None);
        }
        let offsets = self.offsets(next)?;
        Ok(Some(Pending {
            number: next,
            offsets,
        }))
    }
}

/// Restores the state that `metadata` and the other files tell of.
pub(crate) fn recover(
    storage: &dyn Storage,
    metadata: &Metadata,
    backend: &Backend,
) -> Result<Recovery, StateError> {
    let groups = KeyGroups::new(metadata.key_groups)?;
    let reading = Reading {
        storage,
        run: metadata.run,
        groups,
        commits: numbers(storage, "commits")?,
    };
    let last = reading.last();
    let pending = reading.pending()?;
    let committed = match last {
        Some(number) => Some(Committed {
            number,
            offsets: reading.offsets(number)?,
            body: reading.body(number)?,
        }),
        None => None,
    };
    let mut skipped = Vec::new();
    let mut bases = Vec::new();
    let (tables, base): (Arc<dyn Tables>, Option<u64>) = match backend {
        Backend::Memory => {
            bases = numbers(storage, "snapshots")?;
            let (tables, base) = newest_snapshot(&reading, &mut bases, &mut skipped)?;
            (Arc::new(tables), base)
        }
        Backend::Disk { cache_bytes } => {
            let Some(dir) = storage.local_dir() else {
                let path = storage.locate("");
                return Err(StateError::NotLocal { path });
            };
            let dir = dir.join("store");
            let (tables, applied) = DiskTables::open(&dir, metadata.run, *cache_bytes)?;
            if let Some(number) = applied.filter(|applied| Some(*applied) > last) {
                let path = dir.display().to_string();
                return Err(StateError::CommitsLost { path, number, last });
            }
            (Arc::new(tables), applied)
        }
    };
    let (deltas, since_base) = reading
        .replay(&*tables, base)
        .map_err(|error| explain(error, &skipped))?;
    let store = StateStore::new(groups, tables);
    let restored = Restored {
        run: metadata.run,
        groups,
        committed,
        pending,
        rows: store.rows(),
        bytes: store.bytes(),
        snapshot: base.filter(|_| *backend == Backend::Memory),
        deltas,
        skipped: skipped.iter().map(ToString::to_string).collect(),
    };
    Ok(Recovery {
        store,
        restored,
        since_base,
        bases,
    })
}

/// The newest usable snapshot; those that are not usable are taken out of `snapshots`.
fn newest_snapshot(
    reading: &Reading<'_>,
    snapshots: &mut Vec<u64>,
    skipped: &mut Vec<StateError>,
) -> Result<(MemoryTables, Option<u64>), StateError> {
    while let Some(number) = snapshots.last().copied() {
        match snapshot::read(
            reading.storage,
            reading.run,
            reading.groups,
            number,
            reading.last(),
        ) {
            Ok(tables) => return Ok((tables, Some(number))),
            Err(error @ (StateError::CommitsLost { .. } | StateError::Io { .. })) => {
                return Err(error);
            }
            Err(error) => {
                warn!("a snapshot cannot be used, trying the one before: {error}");
                skipped.push(error);
                snapshots.pop();
            }
        }
    }
    Ok((MemoryTables::new(reading.groups), None))
}

/// If deltas are missing because a snapshot is damaged, the damage is what to tell.
fn explain(error: StateError, skipped: &[StateError]) -> StateError {
    match (error, skipped.first()) {
        (StateError::Missing { .. }, Some(StateError::Damaged { path, damage })) => {
            StateError::Damaged {
                path: path.clone(),
                damage: damage.clone(),
            }
        }
        (StateError::Missing { .. }, Some(StateError::Missing { path, why })) => {
            StateError::Missing {
                path: path.clone(),
                why: why.clone(),
            }
        }
        (error, _) => error,
    }
}
