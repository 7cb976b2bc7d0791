//! A crash after each single file operation: what is found is the state after a commit, and the job goes on from there to
//! the same end.

use neptune_state::SyncPolicy;

use crate::model::{Job, often, open, rows, small_job};
use crate::sim::{End, Fault, SimDisk};

const MICRO_BATCHES: u64 = 10;

/// How far a job came before the disk died.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Reached {
    /// Offsets that were durable, plus one.
    offsets: u64,
    /// Commits that were durable, plus one.
    committed: u64,
}

/// Runs the job to its end or until the disk dies. `sink` is the next epoch of the sink, which only grows.
fn run(disk: &SimDisk, sync: SyncPolicy, job: &Job, sink: &mut u64) -> Reached {
    let mut reached = Reached::default();
    let Ok((checkpoint, restored)) = open(disk.storage(sync), &often()) else {
        return reached;
    };
    let last = job.check(&checkpoint, &restored);
    let mut has_offsets = restored.pending.is_some();
    reached.committed = last.map_or(0, |last| last + 1);
    reached.offsets = reached.committed + u64::from(has_offsets);
    assert!(
        *sink <= reached.offsets,
        "the sink has epoch {}, and its offsets are lost: {restored:?}",
        *sink - 1
    );
    for number in reached.committed..MICRO_BATCHES {
        if !has_offsets
            && checkpoint
                .write_offsets(number, &Job::offsets(number))
                .is_err()
        {
            return reached;
        }
        has_offsets = false;
        reached.offsets = number + 1;
        *sink = (*sink).max(number + 1);
        let commit = checkpoint.commit(number, &Job::body(number), &job.changes(number));
        if commit.is_err() {
            return reached;
        }
        reached.committed = number + 1;
        // Keeps the operations in the same order in each run.
        checkpoint.settle();
    }
    assert_eq!(
        rows(checkpoint.store()),
        job.rows_after(Some(MICRO_BATCHES - 1))
    );
    reached
}

fn crash_everywhere(sync: SyncPolicy, ends: &[End]) {
    let job = small_job();
    let whole = SimDisk::new();
    run(&whole, sync, &job, &mut 0);
    let operations = whole.operations();
    assert!(operations > 100, "{operations} operations");
    for at in 0..operations {
        let disk = SimDisk::new();
        disk.set_fault(Fault::DieAt(at));
        let mut sink = 0;
        let reached = run(&disk, sync, &job, &mut sink);
        for end in ends {
            let found = disk.after(*end);
            let (checkpoint, restored) = open(found.storage(sync), &often())
                .unwrap_or_else(|error| panic!("operation {at}, {end:?}: {error}"));
            let last = job.check(&checkpoint, &restored);
            let committed = last.map_or(0, |last| last + 1);
            assert!(
                (reached.committed..=reached.committed + 1).contains(&committed),
                "operation {at}, {end:?}: {reached:?}, found {committed}"
            );
            drop(checkpoint);
            // A second crash, at each operation of the start and the micro-batch after it.
            let seconds = if at % 4 == 0 { 0..20 } else { 0..0 };
            for again in seconds {
                let mut sink = sink;
                let second = disk.after(*end);
                second.set_fault(Fault::DieAt(again));
                run(&second, sync, &job, &mut sink);
                let third = second.after(*end);
                let reached = run(&third, sync, &job, &mut sink);
                assert_eq!(
                    reached.committed, MICRO_BATCHES,
                    "operations {at} and {again}"
                );
                assert!(
                    third.files().keys().all(|name| !name.ends_with(".tmp")),
                    "operations {at} and {again}: {:?}",
                    third.files().keys()
                );
            }
        }
    }
}

#[test]
fn synced_files_survive_a_power_cut_after_any_operation() {
    crash_everywhere(
        SyncPolicy::Always,
        &[End::PowerLoss, End::PowerLossWithNames],
    );
}

#[test]
fn synced_files_survive_a_kill_after_any_operation() {
    crash_everywhere(SyncPolicy::Always, &[End::Kill]);
}

#[test]
fn files_that_are_not_synced_survive_a_kill_after_any_operation() {
    crash_everywhere(SyncPolicy::Never, &[End::Kill]);
}

#[test]
fn a_power_cut_without_syncs_is_noticed_or_harmless() {
    // Nothing is promised here but that no wrong rows come of it.
    let job = small_job();
    let whole = SimDisk::new();
    run(&whole, SyncPolicy::Never, &job, &mut 0);
    let mut refused = 0;
    for at in 0..whole.operations() {
        let disk = SimDisk::new();
        disk.set_fault(Fault::DieAt(at));
        run(&disk, SyncPolicy::Never, &job, &mut 0);
        for end in [End::PowerLoss, End::PowerLossWithNames] {
            let found = disk.after(end);
            match open(found.storage(SyncPolicy::Never), &often()) {
                Ok((checkpoint, restored)) => {
                    job.check(&checkpoint, &restored);
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 0);
}
