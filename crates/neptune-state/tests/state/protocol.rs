//! The protocol when nothing fails: order, restarts, refusals, and which files are kept.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use neptune_state::{
    Backend, Changes, Checkpoint, Group, KeyGroups, LocalStorage, Operator, Pending, Settings,
    SnapshotPolicy, StateError, Storage, SyncPolicy, TableId,
};

use crate::model::{Job, often, open, query, rows, small_job};

fn storage(dir: &Path) -> Arc<dyn Storage> {
    Arc::new(LocalStorage::new(dir, SyncPolicy::Always))
}

fn backends() -> [Backend; 2] {
    [
        Backend::Memory,
        Backend::Disk {
            cache_bytes: 1 << 20,
        },
    ]
}

fn run(checkpoint: &Checkpoint, job: &Job, number: u64) {
    checkpoint
        .write_offsets(number, &Job::offsets(number))
        .unwrap();
    checkpoint
        .commit(number, &Job::body(number), &job.changes(number))
        .unwrap();
}

#[test]
fn a_job_goes_on_where_it_was_in_both_backends() {
    for backend in backends() {
        let dir = tempfile::tempdir().unwrap();
        let job = small_job();
        let settings = Settings { backend, ..often() };
        let mut run_id = None;
        for start in 0..10u64 {
            let (checkpoint, restored) = open(storage(dir.path()), &settings).unwrap();
            assert_eq!(job.check(&checkpoint, &restored), start.checked_sub(1));
            assert_eq!(*run_id.get_or_insert(restored.run), restored.run);
            assert_eq!(
                restored.pending,
                (start > 0).then(|| Pending {
                    number: start,
                    offsets: Job::offsets(start)
                })
            );
            if restored.pending.is_none() {
                checkpoint
                    .write_offsets(start, &Job::offsets(start))
                    .unwrap();
            }
            let body = Job::body(start);
            checkpoint
                .commit(start, &body, &job.changes(start))
                .unwrap();
            checkpoint
                .write_offsets(start + 1, &Job::offsets(start + 1))
                .unwrap();
        }
    }
}

#[test]
fn calls_out_of_order_are_refused() {
    let volatile = Checkpoint::volatile(KeyGroups::default());
    let dir = tempfile::tempdir().unwrap();
    let (durable, _) = open(storage(dir.path()), &Settings::default()).unwrap();
    for checkpoint in [volatile, durable] {
        let none = Changes::new(KeyGroups::default());
        let refused = |result: Result<(), StateError>, what: &str| match result {
            Err(StateError::Order(text)) => assert!(text.contains(what), "{text}"),
            other => panic!("{other:?}"),
        };
        let commit = |number| checkpoint.commit(number, b"", &none).map(|_| ());
        refused(commit(0), "before its offsets");
        refused(checkpoint.write_offsets(1, b"a"), "the next one is 0");
        checkpoint.write_offsets(0, b"a").unwrap();
        refused(checkpoint.write_offsets(0, b"b"), "already has offsets");
        refused(commit(1), "out of order");
        commit(0).unwrap();
        refused(commit(0), "the next one is 1");
        let other = Changes::new(KeyGroups::new(3).unwrap());
        checkpoint.write_offsets(1, b"b").unwrap();
        assert!(matches!(
            checkpoint.commit(1, b"", &other),
            Err(StateError::Groups { groups: 64, .. })
        ));
        assert_eq!(checkpoint.next(), 1);
    }
}

#[test]
fn without_durability_the_tables_are_the_same() {
    let job = small_job();
    let checkpoint = Checkpoint::volatile(job.groups);
    for number in 0..20 {
        run(&checkpoint, &job, number);
        assert_eq!(rows(checkpoint.store()), job.rows_after(Some(number)));
    }
    assert_eq!(checkpoint.snapshot().finished, 0);
}

#[test]
fn a_changed_query_is_refused_with_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(storage(dir.path()), &Settings::default()).unwrap());
    let refused = |settings: &Settings, query: &[Operator]| {
        Checkpoint::open(storage(dir.path()), settings, query)
            .unwrap_err()
            .to_string()
    };
    let changed = [
        Operator::new("aggregate 1", "sum(x) by a"),
        Operator::new("distinct 1", "b"),
    ];
    let text = refused(&Settings::default(), &changed);
    assert!(
        text.contains("operator 'aggregate 1' was `count(*) by a` and is `sum(x) by a`")
            && text.contains("operator 'distinct 1' (`b`) is new")
            && text.contains("new checkpoint"),
        "{text}"
    );
    let disk = Settings {
        backend: Backend::Disk {
            cache_bytes: 1 << 20,
        },
        ..Settings::default()
    };
    let text = refused(&disk, &query());
    assert!(
        text.contains("keeps its state in the 'memory' backend, not in 'disk'"),
        "{text}"
    );
    let twice = [Operator::new("a", "1"), Operator::new("a", "2")];
    assert!(refused(&Settings::default(), &twice).contains("named 'a'"));
    // A refusal gives the lock back.
    open(storage(dir.path()), &Settings::default()).unwrap();
}

#[test]
fn the_key_groups_are_those_of_its_creation() {
    let dir = tempfile::tempdir().unwrap();
    let with = |groups| Settings {
        groups: KeyGroups::new(groups).unwrap(),
        ..Settings::default()
    };
    drop(open(storage(dir.path()), &with(5)).unwrap());
    let (checkpoint, restored) = open(storage(dir.path()), &with(9)).unwrap();
    assert_eq!(restored.groups.count(), 5);
    assert_eq!(checkpoint.store().groups().count(), 5);
    let table = checkpoint.store().table(TableId(1)).unwrap();
    assert!(matches!(
        table.get(Group::new(5), b"k"),
        Err(StateError::Groups { groups: 5, .. })
    ));
}

#[test]
fn a_second_opening_in_the_same_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(storage(dir.path()), &Settings::default()).unwrap();
    let text = open(storage(dir.path()), &Settings::default())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains(&format!("in use by process {}", std::process::id())),
        "{text}"
    );
    drop(first);
    open(storage(dir.path()), &Settings::default()).unwrap();
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_last_snapshots_and_what_is_behind_them_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let job = small_job();
    let settings = Settings {
        snapshots: SnapshotPolicy {
            part_bytes: 1 << 20,
            ..often().snapshots
        },
        ..often()
    };
    let (checkpoint, _) = open(storage(dir.path()), &settings).unwrap();
    let numbers = |range: std::ops::Range<u64>| range.map(|n| n.to_string()).collect();
    for number in 0..12 {
        run(&checkpoint, &job, number);
        let status = checkpoint.settle();
        assert_eq!(status.error, None);
        // Snapshots come after 2, 5, 8 and 11; nothing goes before there are two.
        let base = if number < 5 {
            0
        } else {
            (number + 1) / 3 * 3 - 4
        };
        let kept: BTreeSet<String> = numbers(base..number + 1);
        assert_eq!(names(&dir.path().join("commits")), kept, "after {number}");
        assert_eq!(names(&dir.path().join("offsets")), kept, "after {number}");
    }
    let expected = ["8", "8.0", "11", "11.0"].map(str::to_owned).into();
    assert_eq!(names(&dir.path().join("snapshots")), expected);
    drop(checkpoint);
    let (checkpoint, restored) = open(storage(dir.path()), &settings).unwrap();
    assert_eq!(job.check(&checkpoint, &restored), Some(11));
    assert_eq!((restored.snapshot, restored.deltas), (Some(11), 0));
    // What was kept before a restart counts after it.
    for number in 12..15 {
        run(&checkpoint, &job, number);
        checkpoint.settle();
    }
    let expected = ["11", "11.0", "14", "14.0"].map(str::to_owned).into();
    assert_eq!(names(&dir.path().join("snapshots")), expected);
}

#[test]
fn what_was_not_yet_in_a_snapshot_counts_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let job = small_job();
    for number in 0..3 {
        let (checkpoint, _) = open(storage(dir.path()), &often()).unwrap();
        run(&checkpoint, &job, number);
        let finished = checkpoint.settle().finished;
        assert_eq!(finished, u64::from(number == 2));
    }
}

#[test]
fn reads_are_those_of_an_ordered_map() {
    for backend in backends() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            backend,
            ..Settings::default()
        };
        let (checkpoint, _) = open(storage(dir.path()), &settings).unwrap();
        let groups = checkpoint.store().groups();
        let (id, group) = (TableId(3), Group::new(63));
        let mut changes = Changes::new(groups);
        for key in ["", "a", "ab", "abc", "b", "ba"] {
            changes.put(id, group, key, key.to_uppercase()).unwrap();
        }
        changes
            .put(id, Group::new(62), "zz", "other group")
            .unwrap();
        changes.put(TableId(4), group, "a", "other table").unwrap();
        checkpoint.write_offsets(0, b"").unwrap();
        checkpoint.commit(0, b"", &changes).unwrap();
        let table = checkpoint.store().table(id).unwrap();
        let text = |rows: Vec<neptune_state::Row>| -> Vec<String> {
            rows.iter()
                .map(|(key, _)| String::from_utf8(key.to_vec()).unwrap())
                .collect()
        };
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let range = |from, to, limit| text(table.range(group, from, to, limit).unwrap());
        assert_eq!(
            range(Unbounded, Unbounded, 100),
            ["", "a", "ab", "abc", "b", "ba"]
        );
        assert_eq!(
            range(Included(b"a"), Excluded(b"b"), 100),
            ["a", "ab", "abc"]
        );
        assert_eq!(range(Excluded(b"a"), Included(b"b"), 2), ["ab", "abc"]);
        assert!(range(Included(b"b"), Included(b"a"), 9).is_empty());
        assert!(range(Excluded(b"a"), Excluded(b"a"), 9).is_empty());
        assert!(range(Unbounded, Unbounded, 0).is_empty());
        let prefix = |prefix: &str| text(table.prefix(group, prefix.as_bytes(), 100).unwrap());
        assert_eq!(prefix("ab"), ["ab", "abc"]);
        assert_eq!(prefix("").len(), 6);
        assert!(prefix("c").is_empty());
        assert_eq!(table.first_key(group).unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(table.first_key(Group::new(0)).unwrap(), None);
        let many = table.get_many(group, &["ba", "zz", "a"]).unwrap();
        let many: Vec<_> = many.iter().map(|value| value.as_deref()).collect();
        assert_eq!(many, [Some(&b"BA"[..]), None, Some(b"A")]);
        assert_eq!(
            table.get(Group::new(62), b"zz").unwrap().as_deref(),
            Some(&b"other group"[..])
        );
        assert_eq!((table.len(), checkpoint.store().rows()), (7, 8));
    }
}
