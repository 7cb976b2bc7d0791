//! Snapshots of tables that change meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use neptune_state::{KeyGroups, Settings, SnapshotPolicy, SyncPolicy};

use crate::model::{Job, open, rows};
use crate::sim::{End, SimDisk};

fn job() -> Job {
    Job {
        groups: KeyGroups::new(4).unwrap(),
        touched: 400,
        keys: 3000,
    }
}

fn settings(min_bytes: u64) -> Settings {
    Settings {
        snapshots: SnapshotPolicy {
            min_bytes,
            state_fraction: 0.0,
            part_bytes: 4000,
            keep: 1,
        },
        groups: job().groups,
        ..Settings::default()
    }
}

#[test]
fn a_commit_between_any_two_parts_of_a_snapshot_is_not_lost() {
    let job = job();
    let disk = SimDisk::new();
    let settings = settings(u64::MAX);
    let (checkpoint, _) = open(disk.storage(SyncPolicy::Always), &settings).unwrap();
    let commit = |number| {
        checkpoint
            .write_offsets(number, &Job::offsets(number))
            .unwrap();
        checkpoint
            .commit(number, &Job::body(number), &job.changes(number))
            .unwrap();
    };
    for number in 0..20 {
        commit(number);
    }
    // The snapshot thread stops before each of its files until a micro-batch has committed.
    let (ask, asked) = channel();
    let (answer, answered) = channel();
    let channels = Mutex::new((ask, answered));
    disk.set_hook(move |path| {
        if path.to_str().unwrap().contains("/snapshots/") {
            let channels = channels.lock().unwrap();
            if channels.0.send(path.to_owned()).is_ok() {
                let _ = channels.1.recv();
            }
        }
    });
    let mut next = 20;
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let snapshot = scope.spawn(|| checkpoint.snapshot());
        loop {
            let path = asked.recv().unwrap();
            commit(next);
            next += 1;
            let is_list = path.ends_with("snapshots/19.tmp");
            // Whatever is on the disk at this moment leads to the state of the last commit.
            found.push((disk.after(End::PowerLoss), next - 1));
            answer.send(()).unwrap();
            if is_list {
                break;
            }
        }
        let status = snapshot.join().unwrap();
        assert_eq!(status.error, None);
        let report = status.last.unwrap();
        assert_eq!(report.number, 19);
        assert!(report.parts > 5, "{report:?}");
    });
    found.push((disk.after(End::PowerLoss), next - 1));
    drop((asked, answer));
    for (disk, last) in found {
        let (checkpoint, restored) = open(disk.storage(SyncPolicy::Always), &settings).unwrap();
        assert_eq!(job.check(&checkpoint, &restored), Some(last));
    }
    let (checkpoint, restored) =
        open(disk.after(End::Kill).storage(SyncPolicy::Always), &settings).unwrap();
    assert_eq!(restored.snapshot, Some(19));
    assert_eq!(job.check(&checkpoint, &restored), Some(next - 1));
    // The last commit came after all parts; without it the snapshot is good.
    let mut files = disk.files();
    let mut without = |number| {
        files.remove(&format!("commits/{number}"));
        files.remove(&format!("offsets/{number}"));
        open(
            SimDisk::with_files(&files).storage(SyncPolicy::Always),
            &settings,
        )
    };
    let (checkpoint, restored) = without(next - 1).unwrap();
    assert_eq!(restored.snapshot, Some(19));
    assert_eq!(job.check(&checkpoint, &restored), Some(next - 2));
    // The one before may be in the last part: the snapshot must not be used.
    let text = without(next - 2).unwrap_err().to_string();
    assert!(text.contains("commits were lost"), "{text}");
}

#[test]
fn readers_commits_and_snapshots_get_along_and_a_kill_at_any_time_loses_nothing() {
    let job = Job {
        touched: 60,
        ..job()
    };
    let disk = SimDisk::new();
    // A snapshot is always due.
    let settings = settings(0);
    let (checkpoint, _) = open(disk.storage(SyncPolicy::Never), &settings).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        for reader in 0..2u64 {
            let (checkpoint, done) = (&checkpoint, Arc::clone(&done));
            scope.spawn(move || {
                let mut reads = 0u64;
                while !done.load(Ordering::Relaxed) {
                    for table in checkpoint.store().tables() {
                        for group in checkpoint.store().groups().all() {
                            let keys = table.prefix(group, b"", 1000).unwrap();
                            assert!(keys.is_sorted_by(|(a, _), (b, _)| a < b));
                            reads += reader;
                        }
                    }
                }
                reads
            });
        }
        for number in 0..150 {
            checkpoint
                .write_offsets(number, &Job::offsets(number))
                .unwrap();
            checkpoint
                .commit(number, &Job::body(number), &job.changes(number))
                .unwrap();
            if number % 7 == 0 {
                let copy = disk.after(End::Kill);
                let (copied, restored) = open(copy.storage(SyncPolicy::Never), &settings).unwrap();
                assert_eq!(job.check(&copied, &restored), Some(number));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let status = checkpoint.settle();
    assert_eq!(status.error, None);
    assert!(status.finished > 3, "{status:?}");
    assert_eq!(rows(checkpoint.store()), job.rows_after(Some(149)));
}
