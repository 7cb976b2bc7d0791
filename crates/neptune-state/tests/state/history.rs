//! Random histories of commits, snapshots and restarts with other numbers of partitions, against an ordered map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use neptune_state::{
    Backend, Changes, Checkpoint, Group, KeyGroups, LocalStorage, Settings, SnapshotPolicy,
    Storage, SyncPolicy, TableId,
};
use proptest::prelude::*;

use crate::model::{Rows, open, rows};
use crate::sim::SimDisk;

#[derive(Debug, Clone)]
enum Step {
    /// Puts (with a value) and deletions.
    Commit(Vec<(u8, Vec<u8>, Option<Vec<u8>>)>),
    Snapshot,
    /// Goes on with that many partitions.
    Restart(usize),
    /// Begins a micro-batch that is found at the next start.
    BeginAndRestart(Vec<u8>),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few different short keys, and some that do not fit into a node.
    prop_oneof![
        8 => proptest::collection::vec(0u8..4, 0..4),
        1 => proptest::collection::vec(any::<u8>(), 18..24),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..40));
    let row = (0u8..3, key(), value);
    prop_oneof![
        6 => proptest::collection::vec(row, 0..40).prop_map(Step::Commit),
        2 => Just(Step::Snapshot),
        2 => (1usize..9).prop_map(Step::Restart),
        1 => proptest::collection::vec(any::<u8>(), 0..9).prop_map(Step::BeginAndRestart),
    ]
}

/// Compares every kind of read with the model, each partition in its own groups.
fn compare(checkpoint: &Checkpoint, model: &Rows, partitions: usize, probes: &[Vec<u8>]) {
    let store = checkpoint.store();
    assert_eq!(&rows(store), model);
    let size: usize = model
        .iter()
        .map(|((_, _, key), value)| key.len() + value.len())
        .sum();
    assert_eq!(store.bytes(), size as u64);
    for id in (0..3).map(TableId) {
        let table = store.table(id).unwrap();
        for partition in 0..partitions {
            for group in store
                .groups()
                .owned_by(partition, partitions)
                .map(Group::new)
            {
                let expected: BTreeMap<&[u8], &[u8]> = model
                    .iter()
                    .filter(|((table, at, _), _)| (*table, *at) == (id, group))
                    .map(|((_, _, key), value)| (key.as_slice(), value.as_slice()))
                    .collect();
                let first = table.first_key(group).unwrap();
                assert_eq!(first.as_deref(), expected.keys().next().copied());
                let found = table.get_many(group, probes).unwrap();
                for (probe, found) in probes.iter().zip(found) {
                    let value = expected.get(probe.as_slice()).copied();
                    assert_eq!(found.as_deref(), value);
                    assert_eq!(table.get(group, probe).unwrap().as_deref(), value);
                    let prefix = table.prefix(group, probe, usize::MAX).unwrap();
                    let with_prefix = expected.iter().filter(|(key, _)| key.starts_with(probe));
                    assert!(
                        prefix
                            .iter()
                            .map(|(k, v)| (&**k, &**v))
                            .eq(with_prefix.map(|(k, v)| (*k, *v)))
                    );
                }
                for pair in probes.windows(2) {
                    let (from, to) = (Bound::Excluded(&*pair[0]), Bound::Included(&*pair[1]));
                    let found = table.range(group, from, to, 3).unwrap();
                    let between = expected
                        .iter()
                        .filter(|(key, _)| **key > &*pair[0] && **key <= &*pair[1])
                        .take(3);
                    assert!(found.iter().map(|(k, _)| &**k).eq(between.map(|(k, _)| *k)));
                }
            }
        }
    }
}

fn play(
    storage: impl Fn() -> Arc<dyn Storage>,
    backend: Backend,
    steps: Vec<Step>,
    probes: &[Vec<u8>],
) {
    let groups = KeyGroups::new(8).unwrap();
    let settings = Settings {
        groups,
        backend,
        snapshots: SnapshotPolicy {
            min_bytes: 5 * (16 << 10),
            part_bytes: 500,
            ..SnapshotPolicy::default()
        },
    };
    let mut model = Rows::new();
    let mut partitions = 3;
    let mut next = 0;
    let (mut checkpoint, _) = open(storage(), &settings).unwrap();
    let mut has_offsets = false;
    for step in steps {
        match step {
            Step::Commit(acts) => {
                let mut collected = vec![Changes::new(groups); partitions];
                for (table, key, value) in acts {
                    let (id, group) = (TableId(u32::from(table)), groups.of(&key));
                    let mine = &mut collected[groups.owner(group, partitions)];
                    match value {
                        Some(value) => {
                            mine.put(id, group, key.clone(), value.clone()).unwrap();
                            model.insert((id, group, key), value);
                        }
                        None => {
                            mine.delete(id, group, key.clone()).unwrap();
                            model.remove(&(id, group, key));
                        }
                    }
                }
                let mut changes = Changes::new(groups);
                for mine in collected.into_iter().rev() {
                    changes.merge(mine).unwrap();
                }
                if !has_offsets {
                    checkpoint.write_offsets(next, b"o").unwrap();
                }
                has_offsets = false;
                checkpoint
                    .commit(next, &next.to_le_bytes(), &changes)
                    .unwrap();
                next += 1;
            }
            Step::Snapshot => assert_eq!(checkpoint.snapshot().error, None),
            Step::Restart(_) | Step::BeginAndRestart(_) => {
                let begun = match step {
                    Step::BeginAndRestart(offsets) if !has_offsets => {
                        checkpoint.write_offsets(next, &offsets).unwrap();
                        has_offsets = true;
                        Some(offsets)
                    }
                    Step::Restart(count) => {
                        partitions = count;
                        None
                    }
                    _ => None,
                };
                drop(checkpoint);
                let (opened, restored) = open(storage(), &settings).unwrap();
                checkpoint = opened;
                assert_eq!(restored.pending.is_some(), has_offsets);
                if let Some(begun) = begun {
                    assert_eq!(restored.pending.unwrap().offsets, begun);
                }
                let committed = restored.committed.map(|committed| committed.body);
                assert_eq!(
                    committed,
                    next.checked_sub(1)
                        .map(|last: u64| last.to_le_bytes().to_vec())
                );
            }
        }
        compare(&checkpoint, &model, partitions, probes);
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn the_memory_backend_is_an_ordered_map_that_lasts(
        steps in proptest::collection::vec(step(), 1..25),
        probes in proptest::collection::vec(key(), 4..5),
    ) {
        let disk = SimDisk::new();
        play(|| disk.storage(SyncPolicy::Always), Backend::Memory, steps, &probes);
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn the_disk_backend_is_an_ordered_map_that_lasts(
        steps in proptest::collection::vec(step(), 1..16),
        probes in proptest::collection::vec(key(), 4..5),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let backend = Backend::Disk { cache_bytes: 1 << 20 };
        play(
            || Arc::new(LocalStorage::new(dir.path(), SyncPolicy::Never)),
            backend,
            steps,
            &probes,
        );
    }
}
