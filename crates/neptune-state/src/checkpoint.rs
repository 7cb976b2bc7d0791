//! The checkpoint of a stream job: what its micro-batch loop calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tracing::warn;

use crate::changes::{Changes, within};
use crate::codec;
use crate::files::LockGuard;
use crate::frame::{self, Kind, Label};
use crate::metadata::{self, Metadata, Operator};
use crate::recovery::{self, Restored};
use crate::retention;
use crate::settings::{COMMIT_WEIGHT, Settings, SnapshotPolicy};
use crate::snapshot::Shared;
use crate::storage::Storage;
use crate::table::StateStore;
use crate::worker::{SnapshotStatus, Worker};
use crate::{KeyGroups, StateError};

/// The longest body of offsets or of a commit, bytes.
const MAX_BODY: usize = 1 << 30;

/// The durable position and state of one stream job; or, without durability, just its tables behind the same calls.
///
/// The calls may come from any thread. Dropping it waits for the background thread, which stops at once.
#[derive(Debug)]
pub struct Checkpoint {
    store: StateStore,
    progress: Mutex<Progress>,
    /// Held during a commit.
    committing: Mutex<()>,
    durable: Option<Durable>,
}

#[derive(Debug)]
struct Progress {
    /// The micro-batch that comes next.
    next: u64,
    /// Whether its offsets are durable.
    has_offsets: bool,
    /// The commit that did not reach the tables, and why.
    broken: Option<(u64, String)>,
}

#[derive(Debug)]
struct Durable {
    /// Ends before the lock is given back: fields are dropped in this order.
    worker: Worker,
    shared: Arc<Shared>,
    snapshots: SnapshotPolicy,
    since_base: AtomicU64,
    _lock: LockGuard,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitReport {
    /// Bytes of the commit's file; 0 without durability.
    pub file_bytes: u64,
    /// Whether it set off a snapshot.
    pub snapshot_started: bool,
}

impl Checkpoint {
    /// Opens the checkpoint in `storage`, or creates it if there is nothing yet, for a query with these operators.
    ///
    /// Threads it starts (one for snapshots, one more for the disk backend) have the scheduling of the calling thread.
    ///
    /// # Errors
    /// If another job has it open, if it is of another query or backend, if files are missing or damaged, or if the
    /// storage fails.
    pub fn open(
        storage: Arc<dyn Storage>,
        settings: &Settings,
        query: &[Operator],
    ) -> Result<(Self, Restored), StateError> {
        let mut names = BTreeSet::new();
        if let Some(twice) = query.iter().find(|operator| !names.insert(&operator.name)) {
            return Err(StateError::Order(format!(
                "two operators of the query are named '{}'; give each a name of its own",
                twice.name
            )));
        }
        let lock = storage.lock()?;
        let metadata = match Metadata::read(&*storage)? {
            Some(metadata) => {
                metadata.check(storage.locate(""), &settings.backend, query)?;
                metadata
            }
            None => create(&*storage, settings, query)?,
        };
        let recovery = recovery::recover(&*storage, &metadata, &settings.backend)?;
        tidy(&*storage);
        let restored = recovery.restored;
        let next = restored
            .committed
            .as_ref()
            .map_or(0, |committed| committed.number + 1);
        let shared = Arc::new(Shared {
            storage,
            run: metadata.run,
            store: recovery.store.clone(),
            part_bytes: settings.snapshots.part_bytes,
            applied: AtomicU64::new(next),
            applying: AtomicU64::new(next),
        });
        let worker = Worker::start(Arc::clone(&shared), recovery.bases, settings.snapshots.keep)?;
        let checkpoint = Self {
            store: recovery.store,
            progress: Mutex::new(Progress {
                next,
                has_offsets: restored.pending.is_some(),
                broken: None,
            }),
            committing: Mutex::new(()),
            durable: Some(Durable {
                worker,
                shared,
                snapshots: settings.snapshots.clone(),
                since_base: AtomicU64::new(recovery.since_base),
                _lock: lock,
            }),
        };
        Ok((checkpoint, restored))
    }

    /// Tables in memory and nothing on disk, for a job without a checkpoint. All calls work and nothing lasts.
    pub fn volatile(groups: KeyGroups) -> Self {
        Self {
            store: StateStore::in_memory(groups),
            progress: Mutex::new(Progress {
                next: 0,
                has_offsets: false,
                broken: None,
            }),
            committing: Mutex::new(()),
            durable: None,
        }
    }

    /// The tables, as of the last commit.
    pub fn store(&self) -> &StateStore {
        &self.store
    }

    /// The number of the micro-batch that comes next.
    pub fn next(&self) -> u64 {
        self.progress.lock().next
    }

    /// Makes the offsets of micro-batch `number` durable; it may run meanwhile, but its sink must not commit before.
    ///
    /// # Errors
    /// If it is not the next micro-batch or already has offsets, which must then be used; or if the storage fails: then the
    /// call may be repeated.
    pub fn write_offsets(&self, number: u64, body: &[u8]) -> Result<(), StateError> {
        if self.has_offsets(number)? {
            return Err(StateError::Order(format!(
                "micro-batch {number} already has offsets; run it with those"
            )));
        }
        within("body", body.len(), MAX_BODY)?;
        if let Some(durable) = &self.durable {
            durable.put(Kind::Offsets, number, &[body])?;
        }
        let mut progress = self.progress.lock();
        if progress.next == number {
            progress.has_offsets = true;
        }
        Ok(())
    }

    /// Commits micro-batch `number`: makes `body` and `changes` durable in one file, then brings the changes into the tables.
    /// The sink must have committed it before.
    ///
    /// # Errors
    /// If it is not the next micro-batch or its offsets are not durable; if the storage fails: then the last commit is as it
    /// was and the call may be repeated; and [`StateError::NotApplied`], after which the checkpoint must be opened anew.
    pub fn commit(
        &self,
        number: u64,
        body: &[u8],
        changes: &Changes,
    ) -> Result<CommitReport, StateError> {
        let _committing = self.committing.lock();
        if !self.has_offsets(number)? {
            return Err(StateError::Order(format!(
                "micro-batch {number} cannot be committed before its offsets are written"
            )));
        }
        changes.check(self.store.groups())?;
        within("body", body.len(), MAX_BODY)?;
        let file_bytes = match &self.durable {
            Some(durable) => durable.write_commit(number, body, changes)?,
            None => 0,
        };
        if let Some(durable) = &self.durable {
            // Before the first change: a snapshot that sees one must know of it.
            durable.shared.applying.store(number + 1, Ordering::Release);
        }
        if let Err(error) = self.store.tables.apply(number, changes) {
            let reason = error.to_string();
            self.progress.lock().broken = Some((number, reason.clone()));
            return Err(StateError::NotApplied { number, reason });
        }
        let snapshot_started = match &self.durable {
            Some(durable) => {
                durable.shared.applied.store(number + 1, Ordering::Release);
                durable.snapshot_if_due(file_bytes, self.store.bytes())
            }
            None => false,
        };
        let mut progress = self.progress.lock();
        progress.next = number + 1;
        progress.has_offsets = false;
        Ok(CommitReport {
            file_bytes,
            snapshot_started,
        })
    }

    /// Takes a snapshot now, unless one is under way, and waits until none is. Without durability it does nothing.
    pub fn snapshot(&self) -> SnapshotStatus {
        self.durable
            .as_ref()
            .map_or_else(SnapshotStatus::default, |durable| {
                durable.worker.settle();
                durable.since_base.store(0, Ordering::Relaxed);
                durable.worker.request();
                durable.worker.settle()
            })
    }

    /// Waits until no snapshot is under way, and says how they went.
    pub fn settle(&self) -> SnapshotStatus {
        self.durable
            .as_ref()
            .map_or_else(SnapshotStatus::default, |durable| durable.worker.settle())
    }

    /// How snapshots went so far.
    pub fn snapshot_status(&self) -> SnapshotStatus {
        self.durable
            .as_ref()
            .map_or_else(SnapshotStatus::default, |durable| durable.worker.status())
    }

    /// Whether micro-batch `number` has offsets; an error if it is not the next one.
    fn has_offsets(&self, number: u64) -> Result<bool, StateError> {
        let progress = self.progress.lock();
        if let Some((number, reason)) = &progress.broken {
            return Err(StateError::NotApplied {
                number: *number,
                reason: reason.clone(),
            });
        }
        if number != progress.next {
            return Err(StateError::Order(format!(
                "micro-batch {number} is out of order; the next one is {}",
                progress.next
            )));
        }
        Ok(progress.has_offsets)
    }
}

impl Durable {
    fn put(&self, kind: Kind, number: u64, content: &[&[u8]]) -> Result<u64, StateError> {
        let label = Label {
            kind,
            run: self.shared.run,
            number,
            part: 0,
        };
        let header = frame::header(&label, content);
        let mut pieces = Vec::with_capacity(content.len() + 1);
        pieces.push(header.as_slice());
        pieces.extend_from_slice(content);
        self.shared.storage.put(&label.path(), &pieces)?;
        Ok(pieces.iter().map(|piece| piece.len() as u64).sum())
    }

    fn write_commit(&self, number: u64, body: &[u8], changes: &Changes) -> Result<u64, StateError> {
        // Checked against the limit, which is far below.
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let sections = codec::sections(changes);
        self.put(Kind::Commit, number, &[&length, body, &sections])
    }

    fn snapshot_if_due(&self, file_bytes: u64, state_bytes: u64) -> bool {
        let weight = file_bytes + COMMIT_WEIGHT;
        let since = self.since_base.fetch_add(weight, Ordering::Relaxed) + weight;
        let started = self.snapshots.is_due(since, state_bytes) && self.worker.request();
        if started {
            self.since_base.store(0, Ordering::Relaxed);
        }
        started
    }
}

fn create(
    storage: &dyn Storage,
    settings: &Settings,
    query: &[Operator],
) -> Result<Metadata, StateError> {
    for dir in ["offsets", "commits", "snapshots"] {
        if let Some(name) = storage.list(dir)?.first() {
            return Err(StateError::Missing {
                path: storage.locate(metadata::PATH),
                why: format!("{} belongs to it", storage.locate(&format!("{dir}/{name}"))),
            });
        }
    }
    let metadata = Metadata::new(settings.groups, &settings.backend, query);
    metadata.write(storage)?;
    Ok(metadata)
}

/// Removes what crashes have left; what cannot be removed now stays for the next time.
fn tidy(storage: &dyn Storage) {
    let tidied = ["", "offsets", "commits", "snapshots"]
        .iter()
        .try_for_each(|dir| storage.clean(dir))
        .and_then(|()| retention::remove_orphans(storage));
    if let Err(error) = tidied {
        warn!("unfinished files of a checkpoint stay: {error}");
    }
}
