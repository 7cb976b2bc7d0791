//! The disk backend: an embedded store of its own beside the commits, for state larger than memory.
//!
//! All tables are one keyspace of the store, because only within one keyspace is what the store has flushed to its
//! tables always a whole number of batches, whatever part of its journal a power cut takes. A batch holds the changes of a
//! micro-batch, the new sizes of the tables and the micro-batch's number; so what the store comes back with is the state
//! after some micro-batch that was committed, and the deltas behind it do the rest.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use parking_lot::RwLock;

use crate::changes::{Changes, TableId};
use crate::error::Damage;
use crate::group::Group;
use crate::table::{Row, Table, Tables};
use crate::{Bytes, StateError};

const RUN: &[u8] = &[0, 0];
const APPLIED: &[u8] = &[0, 1];
/// Before the number of a table: its rows and bytes.
const SIZES: &[u8] = &[0, 2];
/// Before table, key group and key: a value.
const ROW: u8 = 1;
/// What the store collects in memory before it writes a table, bytes. It may have some five of them before it makes writers wait.
const MEMTABLE: u64 = 32 << 20;
/// Of what stands before a row's key.
const PREFIX: usize = 7;

#[derive(Debug)]
pub(crate) struct DiskTables {
    store: Arc<Store>,
    run: u64,
    tables: RwLock<BTreeMap<TableId, Arc<DiskTable>>>,
}

struct Store {
    database: Database,
    rows: Keyspace,
    path: String,
}

#[derive(Debug)]
struct DiskTable {
    store: Arc<Store>,
    id: TableId,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl DiskTables {
    /// Opens the store in `dir`, or makes it; also the micro-batch it has applied last.
    pub(crate) fn open(
        dir: &Path,
        run: u64,
        cache_bytes: u64,
    ) -> Result<(Self, Option<u64>), StateError> {
        let path = dir.display().to_string();
        let store = Arc::new(Store::open(dir, &path, cache_bytes)?);
        if let Some(found) = store.number(RUN)?
            && found != run
        {
            let damage = Damage::OtherRun {
                found,
                expected: run,
            };
            return Err(StateError::Damaged { path, damage });
        }
        let applied = store.number(APPLIED)?;
        let mut tables = BTreeMap::new();
        for row in store.rows.prefix(SIZES) {
            let (key, sizes) = row.into_inner().map_err(|error| store.error(error))?;
            let malformed =
                || StateError::malformed(&path, "the sizes of a table have a wrong length");
            let id: [u8; 4] = key[SIZES.len()..].try_into().map_err(|_| malformed())?;
            let (rows, bytes) = sizes.split_first_chunk::<8>().ok_or_else(malformed)?;
            let bytes: [u8; 8] = bytes.try_into().map_err(|_| malformed())?;
            let id = TableId(u32::from_be_bytes(id));
            let table = DiskTable {
                store: Arc::clone(&store),
                id,
                rows: AtomicU64::new(u64::from_le_bytes(*rows)),
                bytes: AtomicU64::new(u64::from_le_bytes(bytes)),
            };
            tables.insert(id, Arc::new(table));
        }
        let tables = Self {
            store,
            run,
            tables: RwLock::new(tables),
        };
        Ok((tables, applied))
    }

    fn of(&self, id: TableId) -> Arc<DiskTable> {
        if let Some(table) = self.tables.read().get(&id) {
            return Arc::clone(table);
        }
        let mut tables = self.tables.write();
        let table = tables.entry(id).or_insert_with(|| {
            Arc::new(DiskTable {
                store: Arc::clone(&self.store),
                id,
                rows: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
            })
        });
        Arc::clone(table)
    }
}

impl Tables for DiskTables {
    fn table(&self, id: TableId) -> Result<Arc<dyn Table>, StateError> {
        Ok(self.of(id))
    }

    fn list(&self) -> Vec<(TableId, Arc<dyn Table>)> {
        let tables = self.tables.read();
        tables
            .iter()
            .map(|(id, table)| (*id, Arc::clone(table) as Arc<dyn Table>))
            .collect()
    }

    fn apply(&self, number: u64, changes: &Changes) -> Result<(), StateError> {
        let rows = &self.store.rows;
        let mut batch =
            OwnedWriteBatch::with_capacity(self.store.database.clone(), changes.len() + 3)
                .durability(Some(PersistMode::Buffer));
        let mut sizes: BTreeMap<TableId, (u64, u64)> = BTreeMap::new();
        for (id, group, changes) in changes.sections() {
            let table = self.of(id);
            let (count, bytes) = sizes
                .entry(id)
                .or_insert_with(|| (table.rows(), table.bytes()));
            // Within a batch the store does not know which of two changes of a key is the later one.
            let last: BTreeMap<&[u8], Option<&Bytes>> = changes
                .iter()
                .map(|change| (&*change.key, change.value.as_ref()))
                .collect();
            for (key, value) in last {
                let place = place(id, group, key);
                let old = rows
                    .size_of(&place)
                    .map_err(|error| self.store.error(error))?;
                if let Some(old) = old {
                    *count = count.wrapping_sub(1);
                    *bytes = bytes.wrapping_sub((key.len() + old as usize) as u64);
                }
                match value {
                    Some(value) => {
                        *count = count.wrapping_add(1);
                        *bytes = bytes.wrapping_add((key.len() + value.len()) as u64);
                        batch.insert(rows, place, value.clone());
                    }
                    None if old.is_some() => batch.remove(rows, place),
                    None => {}
                }
            }
        }
        for (id, (count, bytes)) in &sizes {
            let key = [SIZES, &id.0.to_be_bytes()].concat();
            batch.insert(
                rows,
                key,
                [count.to_le_bytes(), bytes.to_le_bytes()].concat(),
            );
        }
        batch.insert(rows, RUN, self.run.to_le_bytes());
        batch.insert(rows, APPLIED, number.to_le_bytes());
        batch.commit().map_err(|error| self.store.error(error))?;
        for (id, (count, bytes)) in sizes {
            let table = self.of(id);
            table.rows.store(count, Ordering::Relaxed);
            table.bytes.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn persist(&self) -> Result<(), StateError> {
        self.store
            .database
            .persist(PersistMode::SyncAll)
            .map_err(|error| self.store.error(error))
    }
}

impl Store {
    fn open(dir: &Path, path: &str, cache_bytes: u64) -> Result<Self, StateError> {
        let failed = |source: Box<dyn Error + Send + Sync>| StateError::Store {
            path: path.to_owned(),
            source,
        };
        // The store panics at some kinds of damage.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = Database::builder(dir)
                .cache_size(cache_bytes)
                .worker_threads(1)
                .open()?;
            let rows = database.keyspace("rows", || {
                KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE)
            })?;
            Ok::<_, fjall::Error>((database, rows))
        }));
        let (database, rows) = opened
            .map_err(|panic| failed(message(&*panic).into()))?
            .map_err(|error| match error {
                fjall::Error::Locked => failed(
                    "it is in use; drop all tables of an earlier opening of this checkpoint first"
                        .into(),
                ),
                error => failed(error.into()),
            })?;
        Ok(Self {
            database,
            rows,
            path: path.to_owned(),
        })
    }

    fn number(&self, key: &[u8]) -> Result<Option<u64>, StateError> {
        let Some(bytes) = self.rows.get(key).map_err(|error| self.error(error))? else {
            return Ok(None);
        };
        let bytes: [u8; 8] = (*bytes)
            .try_into()
            .map_err(|_| StateError::malformed(&self.path, "a number has a wrong length"))?;
        Ok(Some(u64::from_le_bytes(bytes)))
    }

    fn error(&self, error: fjall::Error) -> StateError {
        StateError::Store {
            path: self.path.clone(),
            source: error.into(),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.path).finish()
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it cannot be opened").to_owned()
}

fn place(table: TableId, group: Group, key: &[u8]) -> Bytes {
    let mut prefix = [0; PREFIX];
    prefix[0] = ROW;
    prefix[1..5].copy_from_slice(&table.0.to_be_bytes());
    prefix[5..7].copy_from_slice(&group.number().to_be_bytes());
    Bytes::fused(&prefix, key)
}

impl Table for DiskTable {
    fn get(&self, group: Group, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let value = self.store.rows.get(place(self.id, group, key));
        Ok(value
            .map_err(|error| self.store.error(error))?
            .map(Bytes::from))
    }

    fn get_many(&self, group: Group, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StateError> {
        keys.iter().map(|key| self.get(group, key)).collect()
    }

    fn range(
        &self,
        group: Group,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StateError> {
        let at = |key: &[u8]| place(self.id, group, key);
        let from = match from {
            Bound::Unbounded => Bound::Included(at(&[])),
            from => from.map(at),
        };
        let to = match to {
            // Key groups end far below the largest number.
            Bound::Unbounded => {
                Bound::Excluded(place(self.id, Group::new(group.number() + 1), &[]))
            }
            to => to.map(at),
        };
        let rows = self.store.rows.range((from, to)).take(limit);
        rows.map(|row| {
            let (key, value) = row.into_inner().map_err(|error| self.store.error(error))?;
            let key = Bytes::from(key).slice(PREFIX..);
            Ok((key, Bytes::from(value)))
        })
        .collect()
    }

    fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
