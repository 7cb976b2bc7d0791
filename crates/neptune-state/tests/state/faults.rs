//! A disk that is full for a while, beginning at each single operation: calls fail, may be repeated, and nothing is lost.

use neptune_state::{StateError, SyncPolicy};

use crate::model::{Job, often, open, rows, small_job};
use crate::sim::{End, Fault, SimDisk};

const MICRO_BATCHES: u64 = 8;

/// Repeats a call until it goes well; after each failure the checkpoint on the disk is that of micro-batch `before`, or
/// of the one under way.
fn until_done<T>(
    disk: &SimDisk,
    job: &Job,
    before: u64,
    mut call: impl FnMut() -> Result<T, StateError>,
) -> u64 {
    let mut failures = 0;
    loop {
        match call() {
            Ok(_) => return failures,
            Err(error @ StateError::Io { .. }) => {
                assert!(
                    error.to_string().contains("make room and try again"),
                    "{error}"
                );
                failures += 1;
                assert!(failures < 100);
                let copy = disk.after(End::Kill);
                let (checkpoint, restored) =
                    open(copy.storage(SyncPolicy::Always), &often()).unwrap();
                let committed = job.check(&checkpoint, &restored).map_or(0, |last| last + 1);
                assert!((before..=before + 1).contains(&committed));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_full_disk_fails_the_call_and_nothing_else() {
    let job = small_job();
    let mut at = 0;
    let mut failed_calls = 0;
    let mut failed_snapshots = 0;
    loop {
        for length in [1, 2, 9] {
            let disk = SimDisk::new();
            disk.set_fault(Fault::FullDuring(at, at + length));
            let mut opened = None;
            failed_calls += until_done(&disk, &job, 0, || {
                opened = Some(open(disk.storage(SyncPolicy::Always), &often())?);
                Ok(())
            });
            let (checkpoint, _) = opened.unwrap();
            for number in 0..MICRO_BATCHES {
                failed_calls += until_done(&disk, &job, number, || {
                    checkpoint.write_offsets(number, &Job::offsets(number))
                });
                let changes = job.changes(number);
                failed_calls += until_done(&disk, &job, number, || {
                    checkpoint.commit(number, &Job::body(number), &changes)
                });
                assert_eq!(rows(checkpoint.store()), job.rows_after(Some(number)));
                failed_snapshots += u64::from(checkpoint.settle().error.is_some());
            }
            drop(checkpoint);
            let reached = disk.operations();
            disk.set_fault(Fault::None);
            let (checkpoint, restored) = open(disk.storage(SyncPolicy::Always), &often()).unwrap();
            assert_eq!(job.check(&checkpoint, &restored), Some(MICRO_BATCHES - 1));
            if reached < at {
                assert!(failed_calls > 100 && failed_snapshots > 10);
                return;
            }
        }
        at += 1;
    }
}
