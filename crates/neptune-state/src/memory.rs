//! The memory backend: each table is an ordered map per key group, with a lock of its own.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::changes::{Change, Changes, TableId};
use crate::group::{Group, KeyGroups};
use crate::table::{Row, Table, Tables};
use crate::{Bytes, StateError};

#[derive(Debug)]
pub(crate) struct MemoryTables {
    groups: KeyGroups,
    tables: RwLock<BTreeMap<TableId, Arc<MemoryTable>>>,
}

#[derive(Debug)]
pub(crate) struct MemoryTable {
    groups: KeyGroups,
    /// By group.
    shards: Box<[RwLock<BTreeMap<Bytes, Bytes>>]>,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl MemoryTables {
    pub(crate) fn new(groups: KeyGroups) -> Self {
        Self {
            groups,
            tables: RwLock::default(),
        }
    }

    fn of(&self, id: TableId) -> Arc<MemoryTable> {
        if let Some(table) = self.tables.read().get(&id) {
            return Arc::clone(table);
        }
        let mut tables = self.tables.write();
        let table = tables
            .entry(id)
            .or_insert_with(|| Arc::new(MemoryTable::new(self.groups)));
        Arc::clone(table)
    }

    /// Brings in rows of a snapshot.
    pub(crate) fn restore(
        &self,
        table: TableId,
        group: Group,
        rows: Vec<Change>,
    ) -> Result<(), StateError> {
        self.of(table).apply(group, rows.into_iter())
    }
}

impl Tables for MemoryTables {
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

    fn apply(&self, _number: u64, changes: &Changes) -> Result<(), StateError> {
        for (table, group, changes) in changes.sections() {
            self.of(table).apply(group, changes.iter().cloned())?;
        }
        Ok(())
    }
}

impl MemoryTable {
    fn new(groups: KeyGroups) -> Self {
        Self {
            groups,
            shards: groups.all().map(|_| RwLock::default()).collect(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn shard(&self, group: Group) -> Result<&RwLock<BTreeMap<Bytes, Bytes>>, StateError> {
        Ok(&self.shards[self.groups.check(group)?])
    }

    fn apply(&self, group: Group, changes: impl Iterator<Item = Change>) -> Result<(), StateError> {
        // Differences, which may be below zero in between: two's complement adds up all the same.
        let (mut rows, mut bytes) = (0u64, 0u64);
        let mut shard = self.shard(group)?.write();
        for Change { key, value } in changes {
            let key_length = key.len();
            let old = match value {
                Some(value) => {
                    bytes = bytes.wrapping_add((key_length + value.len()) as u64);
                    rows = rows.wrapping_add(1);
                    shard.insert(key, value)
                }
                None => shard.remove(&key),
            };
            if let Some(old) = old {
                bytes = bytes.wrapping_sub((key_length + old.len()) as u64);
                rows = rows.wrapping_sub(1);
            }
        }
        drop(shard);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Table for MemoryTable {
    fn get(&self, group: Group, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.shard(group)?.read().get(key).cloned())
    }

    fn get_many(&self, group: Group, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StateError> {
        let shard = self.shard(group)?.read();
        Ok(keys.iter().map(|key| shard.get(*key).cloned()).collect())
    }

    fn range(
        &self,
        group: Group,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StateError> {
        let shard = self.shard(group)?.read();
        Ok(shard
            .range::<[u8], _>((from, to))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
