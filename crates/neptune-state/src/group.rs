//! Key groups: the fixed number of slices that all keys of a checkpoint fall into.
//!
//! The group of a key never changes, on no machine and in no version, and a partition of a job owns a run of groups.
//! So a job can be restarted with another number of partitions without touching a row of its state.

use std::fmt::{self, Display};
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::StateError;

/// The number of a key group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(u16);

impl Group {
    /// The group with this number; that it exists is checked where it is used.
    pub fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number, from 0.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key group {}", self.0)
    }
}

/// How many key groups there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyGroups(u16);

impl Default for KeyGroups {
    /// 64 groups.
    fn default() -> Self {
        Self(64)
    }
}

impl KeyGroups {
    /// The most there can be.
    pub const MAX: u16 = 4096;

    /// That many groups.
    ///
    /// # Errors
    /// If `count` is 0 or above [`KeyGroups::MAX`].
    pub fn new(count: u16) -> Result<Self, StateError> {
        if (1..=Self::MAX).contains(&count) {
            Ok(Self(count))
        } else {
            Err(StateError::Order(format!(
                "{count} key groups are not possible; choose between 1 and {}",
                Self::MAX
            )))
        }
    }

    /// How many.
    pub fn count(self) -> u16 {
        self.0
    }

    /// The group of a key, from the part of it that decides: the grouping columns, without the window for example.
    ///
    /// It is the upper end of XXH3 (64 bits, seed 0) of `prefix`, scaled to the number of groups.
    pub fn of(self, prefix: &[u8]) -> Group {
        // A product of 64 and 16 bits, cut back to its upper 16, is below the second factor.
        Group(((u128::from(xxh3_64(prefix)) * u128::from(self.0)) >> 64) as u16)
    }

    /// All groups in order.
    pub fn all(self) -> impl Iterator<Item = Group> {
        (0..self.0).map(Group)
    }

    /// The numbers of the groups that partition `partition` of `partitions` owns. Every group has one owner; with more
    /// partitions than groups some own none.
    pub fn owned_by(self, partition: usize, partitions: usize) -> Range<u16> {
        let partitions = partitions.max(1) as u64;
        let bound = |partition: u64| -> u16 {
            let first = (partition * u64::from(self.0)).div_ceil(partitions);
            u16::try_from(first).unwrap_or(self.0).min(self.0)
        };
        let partition = partition as u64;
        bound(partition)..bound(partition.saturating_add(1))
    }

    /// The partition of `partitions` that owns `group`.
    pub fn owner(self, group: Group, partitions: usize) -> usize {
        usize::from(group.0) * partitions.max(1) / usize::from(self.0)
    }

    pub(crate) fn check(self, group: Group) -> Result<usize, StateError> {
        if group.0 < self.0 {
            Ok(usize::from(group.0))
        } else {
            Err(StateError::Groups {
                found: group.to_string(),
                groups: self.0,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_key_is_the_same_for_ever() {
        let groups = KeyGroups::default();
        let of = |key: &[u8]| groups.of(key).number();
        assert_eq!(
            [
                of(b""),
                of(b"a"),
                of(b"campaign-17"),
                of(&7u64.to_be_bytes())
            ],
            [11, 57, 7, 62]
        );
    }

    #[test]
    fn keys_spread_evenly() {
        for count in [1, 3, 64, 1000] {
            let groups = KeyGroups::new(count).unwrap();
            let mut hits = vec![0u32; usize::from(count)];
            let per_group = 1000;
            for key in 0..u32::from(count) * per_group {
                hits[usize::from(groups.of(&key.to_be_bytes()).number())] += 1;
            }
            assert!(
                hits.iter()
                    .all(|hits| hits.abs_diff(per_group) < per_group / 5),
                "{count} groups: {hits:?}"
            );
        }
    }

    #[test]
    fn every_group_has_one_owner() {
        for count in [1, 2, 63, 64, 4096] {
            let groups = KeyGroups::new(count).unwrap();
            for partitions in [1, 2, 3, 7, 64, 100] {
                let mut next = 0;
                for partition in 0..partitions {
                    let owned = groups.owned_by(partition, partitions);
                    assert_eq!(owned.start, next);
                    next = owned.end;
                    for group in owned {
                        assert_eq!(groups.owner(Group::new(group), partitions), partition);
                    }
                }
                assert_eq!(next, count);
            }
        }
    }

    #[test]
    fn impossible_numbers_of_groups_are_refused() {
        assert!(KeyGroups::new(0).is_err());
        assert!(KeyGroups::new(KeyGroups::MAX + 1).is_err());
        assert!(KeyGroups::default().check(Group::new(64)).is_err());
    }
}
