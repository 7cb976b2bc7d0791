//! Keyed tables: what operators read, and what the backends behind them do.

use std::fmt::Debug;
use std::ops::Bound;
use std::sync::Arc;

use crate::changes::{Changes, TableId};
use crate::group::{Group, KeyGroups};
use crate::memory::MemoryTables;
use crate::{Bytes, StateError};

/// A row: key and value.
pub type Row = (Bytes, Bytes);

/// One keyed table of a backend.
pub(crate) trait Table: Send + Sync + Debug {
    fn get(&self, group: Group, key: &[u8]) -> Result<Option<Bytes>, StateError>;

    fn get_many(&self, group: Group, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StateError>;

    /// `from` is not behind `to`.
    fn range(
        &self,
        group: Group,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StateError>;

    fn rows(&self) -> u64;

    fn bytes(&self) -> u64;
}

/// All keyed tables of a job.
pub(crate) trait Tables: Send + Sync + Debug {
    /// A table, made if need be.
    fn table(&self, id: TableId) -> Result<Arc<dyn Table>, StateError>;

    /// Those there are, in order.
    fn list(&self) -> Vec<(TableId, Arc<dyn Table>)>;

    /// Brings in the changes of micro-batch `number`.
    fn apply(&self, number: u64, changes: &Changes) -> Result<(), StateError>;

    /// Whether the tables persist by themselves, so that they need no snapshots.
    fn is_durable(&self) -> bool {
        false
    }

    /// Makes what was applied survive a power cut, if the tables persist by themselves.
    fn persist(&self) -> Result<(), StateError> {
        Ok(())
    }
}

/// The keyed tables of a job, as of the last commit.
#[derive(Debug, Clone)]
pub struct StateStore {
    groups: KeyGroups,
    pub(crate) tables: Arc<dyn Tables>,
}

impl StateStore {
    pub(crate) fn new(groups: KeyGroups, tables: Arc<dyn Tables>) -> Self {
        Self { groups, tables }
    }

    pub(crate) fn in_memory(groups: KeyGroups) -> Self {
        Self::new(groups, Arc::new(MemoryTables::new(groups)))
    }

    /// A table; it is empty if it was never written to.
    ///
    /// # Errors
    /// [`StateError::Store`] if the disk backend cannot make it.
    pub fn table(&self, id: TableId) -> Result<StateTable, StateError> {
        Ok(StateTable {
            id,
            groups: self.groups,
            table: self.tables.table(id)?,
        })
    }

    /// The tables there are, in order.
    pub fn tables(&self) -> Vec<StateTable> {
        let tables = self.tables.list().into_iter();
        tables
            .map(|(id, table)| StateTable {
                id,
                groups: self.groups,
                table,
            })
            .collect()
    }

    /// The key groups of all tables.
    pub fn groups(&self) -> KeyGroups {
        self.groups
    }

    /// Rows in all tables.
    pub fn rows(&self) -> u64 {
        self.tables
            .list()
            .iter()
            .map(|(_, table)| table.rows())
            .sum()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.tables
            .list()
            .iter()
            .map(|(_, table)| table.bytes())
            .sum()
    }
}

/// One keyed table, as of the last commit. Many threads may read it; a clone is the same table.
///
/// Rows are ordered by the bytes of their keys within each key group.
#[derive(Debug, Clone)]
pub struct StateTable {
    id: TableId,
    groups: KeyGroups,
    table: Arc<dyn Table>,
}

impl StateTable {
    /// Its number.
    pub fn id(&self) -> TableId {
        self.id
    }

    /// The value of a key.
    ///
    /// # Errors
    /// If the group does not exist or the store cannot be read.
    pub fn get(&self, group: Group, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        self.groups.check(group)?;
        self.table.get(group, key)
    }

    /// The values of many keys of one group, in the order of `keys`. Sorted keys are found fastest.
    ///
    /// # Errors
    /// If the group does not exist or the store cannot be read.
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        group: Group,
        keys: &[K],
    ) -> Result<Vec<Option<Bytes>>, StateError> {
        self.groups.check(group)?;
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        self.table.get_many(group, &keys)
    }

    /// At most `limit` rows between two keys, in order. To go on, start behind the last key.
    ///
    /// # Errors
    /// If the group does not exist or the store cannot be read.
    pub fn range(
        &self,
        group: Group,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StateError> {
        self.groups.check(group)?;
        let is_empty = match (from, to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
            | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        };
        if is_empty || limit == 0 {
            return Ok(Vec::new());
        }
        self.table.range(group, from, to, limit)
    }

    /// At most `limit` rows whose keys begin with `prefix`, in order.
    ///
    /// # Errors
    /// If the group does not exist or the store cannot be read.
    pub fn prefix(
        &self,
        group: Group,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, StateError> {
        let end = after_prefix(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.range(group, Bound::Included(prefix), to, limit)
    }

    /// The first key of a group.
    ///
    /// # Errors
    /// If the group does not exist or the store cannot be read.
    pub fn first_key(&self, group: Group) -> Result<Option<Bytes>, StateError> {
        let first = self.range(group, Bound::Unbounded, Bound::Unbounded, 1)?;
        Ok(first.into_iter().next().map(|(key, _)| key))
    }

    /// How many rows it has.
    pub fn len(&self) -> u64 {
        self.table.rows()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of its keys and values, without what the backend adds to them.
    pub fn bytes(&self) -> u64 {
        self.table.bytes()
    }
}

/// The first key behind all that begin with `prefix`; none if there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(after_prefix(b""), None);
        assert_eq!(after_prefix(&[255, 255]), None);
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(&[1, 255]), Some(vec![2]));
    }
}
