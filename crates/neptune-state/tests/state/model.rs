//! What the tables must hold: a map, and a job that makes the same changes in each run.

use std::collections::BTreeMap;
use std::ops::Bound;

use neptune_state::{
    Changes, Checkpoint, Group, KeyGroups, Operator, Restored, Settings, SnapshotPolicy,
    StateError, StateStore, Storage, TableId,
};
use std::sync::Arc;

pub(crate) type Rows = BTreeMap<(TableId, Group, Vec<u8>), Vec<u8>>;

/// Everything in the tables, read page by page.
pub(crate) fn rows(store: &StateStore) -> Rows {
    let mut rows = Rows::new();
    for table in store.tables() {
        let mut bytes = 0;
        for group in store.groups().all() {
            let mut last: Option<Vec<u8>> = None;
            loop {
                let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let page = table.range(group, from, Bound::Unbounded, 7).unwrap();
                let Some((key, _)) = page.last() else { break };
                last = Some(key.to_vec());
                for (key, value) in page {
                    bytes += (key.len() + value.len()) as u64;
                    let old = rows.insert((table.id(), group, key.to_vec()), value.to_vec());
                    assert_eq!(old, None, "a row came twice");
                }
            }
        }
        let count = rows.keys().filter(|(id, ..)| *id == table.id()).count() as u64;
        assert_eq!(
            (table.len(), table.bytes()),
            (count, bytes),
            "sizes of {:?}",
            table.id()
        );
    }
    assert_eq!(store.rows(), rows.len() as u64);
    rows
}

/// A small generator of numbers that never changes.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// A job whose micro-batch N always makes the same changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) groups: KeyGroups,
    /// Rows touched in a micro-batch.
    pub(crate) touched: u64,
    /// Different keys.
    pub(crate) keys: u64,
}

/// A put (with a value) or a deletion.
type Act = (TableId, Group, Vec<u8>, Option<Vec<u8>>);

impl Job {
    fn acts(&self, number: u64) -> Vec<Act> {
        let mut numbers = Numbers::new(number + 1);
        (0..self.touched)
            .map(|_| {
                let table = TableId(numbers.below(2) as u32 * 7 + 1);
                let key = numbers.below(self.keys);
                // Keys on both sides of what fits into a node, and an empty one.
                let length = key % 40;
                let mut bytes = key.to_be_bytes()[6..].repeat(20);
                bytes.truncate(length as usize);
                if length > 1 {
                    bytes.extend_from_slice(&key.to_be_bytes());
                }
                let value = (numbers.below(4) > 0).then(|| {
                    let length = numbers.below(30) as usize;
                    let mut value = number.to_le_bytes().to_vec();
                    value.resize(8 + length, key as u8);
                    value
                });
                (table, self.groups.of(&bytes), bytes, value)
            })
            .collect()
    }

    pub(crate) fn changes(&self, number: u64) -> Changes {
        let mut changes = Changes::new(self.groups);
        for (table, group, key, value) in self.acts(number) {
            match value {
                Some(value) => changes.put(table, group, key, value).unwrap(),
                None => changes.delete(table, group, key).unwrap(),
            }
        }
        changes
    }

    /// The rows after micro-batch `last`.
    pub(crate) fn rows_after(&self, last: Option<u64>) -> Rows {
        let mut rows = Rows::new();
        for number in 0..last.map_or(0, |last| last + 1) {
            for (table, group, key, value) in self.acts(number) {
                match value {
                    Some(value) => rows.insert((table, group, key), value),
                    None => rows.remove(&(table, group, key)),
                };
            }
        }
        rows
    }

    pub(crate) fn offsets(number: u64) -> Vec<u8> {
        format!("offsets of {number}").into_bytes()
    }

    pub(crate) fn body(number: u64) -> Vec<u8> {
        format!("watermark after {number}").into_bytes()
    }

    /// What was restored must be the state after some micro-batch; returns that.
    pub(crate) fn check(&self, checkpoint: &Checkpoint, restored: &Restored) -> Option<u64> {
        let last = restored.committed.as_ref().map(|committed| {
            assert_eq!(committed.offsets, Self::offsets(committed.number));
            assert_eq!(committed.body, Self::body(committed.number));
            committed.number
        });
        let next = last.map_or(0, |last| last + 1);
        assert_eq!(checkpoint.next(), next);
        if let Some(pending) = &restored.pending {
            assert_eq!(pending.number, next);
            assert_eq!(pending.offsets, Self::offsets(next));
        }
        let expected = self.rows_after(last);
        let found = rows(checkpoint.store());
        assert!(
            found == expected,
            "rows after {last:?} differ: {found:?}\n{expected:?}"
        );
        assert_eq!(restored.rows, expected.len() as u64);
        last
    }
}

pub(crate) fn query() -> Vec<Operator> {
    vec![Operator::new("aggregate 1", "count(*) by a")]
}

/// A snapshot every third commit, in small parts.
pub(crate) fn often() -> Settings {
    Settings {
        snapshots: SnapshotPolicy {
            min_bytes: 3 * (16 << 10),
            state_fraction: 0.0,
            part_bytes: 300,
            ..SnapshotPolicy::default()
        },
        groups: KeyGroups::new(4).unwrap(),
        ..Settings::default()
    }
}

pub(crate) fn small_job() -> Job {
    Job {
        groups: KeyGroups::new(4).unwrap(),
        touched: 6,
        keys: 24,
    }
}

pub(crate) fn open(
    storage: Arc<dyn Storage>,
    settings: &Settings,
) -> Result<(Checkpoint, Restored), StateError> {
    Checkpoint::open(storage, settings, &query())
}
