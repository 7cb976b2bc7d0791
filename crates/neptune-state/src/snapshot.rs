//! Snapshots: the whole state in a few files, so that the deltas before it can go.
//!
//! A snapshot is taken while micro-batches go on committing. It reads the tables page by page and holds the lock of a key
//! group for one page only; so it may have the rows of one micro-batch here and of a later one there. That does no harm:
//! a delta holds whole values, and all deltas since the snapshot began are applied on top of it again. A row that changed in
//! that time gets its last value from them, and one that did not was read right. Hence two numbers: the micro-batch after
//! which it began, which is its name, and the last one it may have seen something of (`through`), which must be committed.
//!
//! The parts come first, each a file, then the list of them under the snapshot's own name: without it there is no snapshot.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::codec::{Manifest, Reader, SectionWriter};
use crate::error::Damage;
use crate::frame::{self, Kind, Label};
use crate::memory::MemoryTables;
use crate::storage::Storage;
use crate::table::StateStore;
use crate::{KeyGroups, StateError};

/// Rows read at once.
const PAGE: usize = 512;

/// What the thread that commits and the one that takes snapshots share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) run: u64,
    pub(crate) store: StateStore,
    /// Bytes in a part.
    pub(crate) part_bytes: usize,
    /// How many micro-batches are applied as a whole.
    pub(crate) applied: AtomicU64,
    /// How many are applied or being applied.
    pub(crate) applying: AtomicU64,
}

impl Shared {
    fn label(&self, kind: Kind, number: u64, part: u32) -> Label {
        Label {
            kind,
            run: self.run,
            number,
            part,
        }
    }
}

/// A finished snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotReport {
    /// The micro-batch after which it was begun.
    pub number: u64,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Files, without the list of them.
    pub parts: usize,
}

struct Parts<'a> {
    shared: &'a Shared,
    number: u64,
    writer: SectionWriter,
    written: Vec<(u64, u32)>,
}

impl Parts<'_> {
    fn flush(&mut self) -> Result<(), StateError> {
        let content = std::mem::take(&mut self.writer).finish();
        let part = u32::try_from(self.written.len()).unwrap_or(u32::MAX);
        let label = self.shared.label(Kind::Part, self.number, part);
        let header = frame::header(&label, &[&content]);
        self.written
            .push((content.len() as u64, frame::content_crc(&header)));
        self.shared.storage.put(&label.path(), &[&header, &content])
    }

    fn discard(&self) {
        for part in 0..self.written.len() {
            let part = u32::try_from(part).unwrap_or(u32::MAX);
            let label = self.shared.label(Kind::Part, self.number, part);
            // What stays is removed at the next start.
            let _ = self.shared.storage.delete(&label.path());
        }
    }
}

/// Takes a snapshot of what is applied; none if nothing is, or if `stop` became true on the way.
pub(crate) fn write(
    shared: &Shared,
    stop: &AtomicBool,
) -> Result<Option<SnapshotReport>, StateError> {
    let Some(number) = shared.applied.load(Ordering::Acquire).checked_sub(1) else {
        return Ok(None);
    };
    let mut parts = Parts {
        shared,
        number,
        writer: SectionWriter::default(),
        written: Vec::new(),
    };
    let written = write_parts(&mut parts, stop);
    if !matches!(written, Ok(Some(_))) {
        parts.discard();
    }
    written
}

fn write_parts(
    parts: &mut Parts<'_>,
    stop: &AtomicBool,
) -> Result<Option<SnapshotReport>, StateError> {
    let shared = parts.shared;
    let (mut rows, mut bytes) = (0, 0);
    for table in shared.store.tables() {
        for group in shared.store.groups().all() {
            let mut last = None;
            loop {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let page = table.range(group, from, Bound::Unbounded, PAGE)?;
                for (key, value) in &page {
                    parts.writer.row(table.id(), group, key, Some(value));
                    rows += 1;
                    bytes += (key.len() + value.len()) as u64;
                    if parts.writer.len() >= shared.part_bytes {
                        parts.flush()?;
                    }
                }
                let is_last = page.len() < PAGE;
                last = page.into_iter().next_back().map(|(key, _)| key);
                if is_last {
                    break;
                }
            }
        }
    }
    if parts.writer.len() > 0 {
        parts.flush()?;
    }
    // Whoever applies says so before it takes the first lock of a table.
    let through = shared.applying.load(Ordering::Acquire).saturating_sub(1);
    let manifest = Manifest {
        groups: shared.store.groups().count(),
        through,
        rows,
        bytes,
        parts: parts.written.clone(),
    };
    let content = manifest.encode();
    let label = shared.label(Kind::Snapshot, parts.number, 0);
    let header = frame::header(&label, &[&content]);
    shared.storage.put(&label.path(), &[&header, &content])?;
    Ok(Some(SnapshotReport {
        number: parts.number,
        rows,
        bytes,
        parts: parts.written.len(),
    }))
}

/// Reads the snapshot `number` into tables of their own. `last` is the last commit.
///
/// # Errors
/// [`StateError::CommitsLost`] if it has seen more than that, and what is wrong with its files.
pub(crate) fn read(
    storage: &dyn Storage,
    run: u64,
    groups: KeyGroups,
    number: u64,
    last: Option<u64>,
) -> Result<MemoryTables, StateError> {
    let label = Label {
        kind: Kind::Snapshot,
        run,
        number,
        part: 0,
    };
    let path = storage.locate(&label.path());
    let file = get(storage, &label)?;
    let manifest = Manifest::decode(&path, frame::open(&path, &label, &file)?)?;
    if manifest.groups != groups.count() {
        let what = format!("it has {} key groups", manifest.groups);
        return Err(StateError::malformed(path, what));
    }
    if last.is_none_or(|last| last < manifest.through.max(number)) {
        return Err(StateError::CommitsLost {
            path,
            number: manifest.through.max(number),
            last,
        });
    }
    let tables = MemoryTables::new(groups);
    let mut rows = 0;
    for (part, expected) in manifest.parts.iter().enumerate() {
        let label = Label {
            kind: Kind::Part,
            part: u32::try_from(part).unwrap_or(u32::MAX),
            ..label
        };
        let path = storage.locate(&label.path());
        let file = get(storage, &label)?;
        let content = frame::open(&path, &label, &file)?;
        if (content.len() as u64, crc32fast::hash(content)) != *expected {
            return Err(StateError::Damaged {
                path,
                damage: Damage::Misplaced {
                    found: "a part of another snapshot".to_owned(),
                    expected: format!("part {part} of the snapshot at micro-batch {number}"),
                },
            });
        }
        Reader::new(&path, content).sections(groups, |table, group, changes| {
            if changes.iter().any(|change| change.value.is_none()) {
                return Err(StateError::malformed(&path, "it has a deleted row"));
            }
            rows += changes.len() as u64;
            tables.restore(table, group, changes)
        })?;
    }
    if rows == manifest.rows {
        Ok(tables)
    } else {
        let what = format!("its parts have {rows} rows instead of {}", manifest.rows);
        Err(StateError::malformed(path, what))
    }
}

fn get(storage: &dyn Storage, label: &Label) -> Result<Vec<u8>, StateError> {
    let path = label.path();
    storage.get(&path)?.ok_or_else(|| StateError::Missing {
        path: storage.locate(&path),
        why: format!("the snapshot at micro-batch {} needs it", label.number),
    })
}
