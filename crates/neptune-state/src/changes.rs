//! What one micro-batch changes: rows put and rows deleted, by table and key group.

use std::collections::BTreeMap;

use crate::group::{Group, KeyGroups};
use crate::{Bytes, StateError};

/// The longest key, bytes. The disk backend puts the key group before it and can hold 64 KiB.
pub const MAX_KEY: usize = 65_000;

/// The longest value, bytes.
pub const MAX_VALUE: usize = 1 << 30;

/// The number of a keyed table, given by the query: the same operator has the same one after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

/// One row put (`value` is there) or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
}

impl Change {
    /// Key and value, bytes.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// The changes of one micro-batch. Each partition of a job collects its own; [`Changes::merge`] makes them one.
///
/// Of several changes of one key the last one holds.
#[derive(Debug, Clone)]
pub struct Changes {
    groups: KeyGroups,
    sections: BTreeMap<(TableId, Group), Vec<Change>>,
    count: usize,
}

impl Changes {
    /// No changes yet, of tables with that many key groups.
    pub fn new(groups: KeyGroups) -> Self {
        Self {
            groups,
            sections: BTreeMap::new(),
            count: 0,
        }
    }

    /// Puts a row in, or in place of the one with the same key.
    ///
    /// # Errors
    /// If key or value are too long or the group does not exist.
    pub fn put(
        &mut self,
        table: TableId,
        group: Group,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(), StateError> {
        let value = value.into();
        within("value", value.len(), MAX_VALUE)?;
        self.add(table, group, key.into(), Some(value))
    }

    /// Takes the row with this key out, if there is one.
    ///
    /// # Errors
    /// If the key is too long or the group does not exist.
    pub fn delete(
        &mut self,
        table: TableId,
        group: Group,
        key: impl Into<Bytes>,
    ) -> Result<(), StateError> {
        self.add(table, group, key.into(), None)
    }

    fn add(
        &mut self,
        table: TableId,
        group: Group,
        key: Bytes,
        value: Option<Bytes>,
    ) -> Result<(), StateError> {
        within("key", key.len(), MAX_KEY)?;
        self.groups.check(group)?;
        self.sections
            .entry((table, group))
            .or_default()
            .push(Change { key, value });
        self.count += 1;
        Ok(())
    }

    /// Adds changes that were checked before.
    pub(crate) fn add_all(&mut self, table: TableId, group: Group, mut changes: Vec<Change>) {
        self.count += changes.len();
        let mine = self.sections.entry((table, group)).or_default();
        if mine.is_empty() {
            *mine = changes;
        } else {
            mine.append(&mut changes);
        }
    }

    /// Adds the changes of another partition, which come after these.
    ///
    /// # Errors
    /// If they are of tables with another number of key groups.
    pub fn merge(&mut self, other: Changes) -> Result<(), StateError> {
        other.check(self.groups)?;
        for ((table, group), changes) in other.sections {
            self.add_all(table, group, changes);
        }
        Ok(())
    }

    /// How many changes.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn check(&self, groups: KeyGroups) -> Result<(), StateError> {
        if self.groups == groups {
            Ok(())
        } else {
            Err(StateError::Groups {
                found: format!("a set of changes in {} key groups", self.groups.count()),
                groups: groups.count(),
            })
        }
    }

    pub(crate) fn sections(&self) -> impl Iterator<Item = (TableId, Group, &[Change])> {
        self.sections
            .iter()
            .map(|((table, group), changes)| (*table, *group, changes.as_slice()))
    }
}

pub(crate) fn within(what: &'static str, length: usize, limit: usize) -> Result<(), StateError> {
    if length <= limit {
        Ok(())
    } else {
        Err(StateError::TooLong {
            what,
            length,
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut changes = Changes::new(KeyGroups::default());
        let (table, group) = (TableId(1), Group::new(0));
        assert!(matches!(
            changes.put(table, group, vec![0; MAX_KEY + 1], b"v"),
            Err(StateError::TooLong { what: "key", .. })
        ));
        assert!(matches!(
            changes.delete(table, Group::new(64), b"k"),
            Err(StateError::Groups { groups: 64, .. })
        ));
        let other = Changes::new(KeyGroups::new(3).unwrap());
        assert!(matches!(
            changes.merge(other),
            Err(StateError::Groups { .. })
        ));
        assert!(changes.is_empty());
    }

    #[test]
    fn merged_changes_come_after_the_own_ones() {
        let mut first = Changes::new(KeyGroups::default());
        let mut second = first.clone();
        let (table, group) = (TableId(1), Group::new(5));
        first.put(table, group, b"k", b"1").unwrap();
        second.delete(table, group, b"k").unwrap();
        first.merge(second).unwrap();
        let sections: Vec<_> = first.sections().collect();
        assert_eq!(first.len(), 2);
        assert_eq!(sections.len(), 1);
        assert_eq!(sections[0].2[1].value, None);
    }
}
