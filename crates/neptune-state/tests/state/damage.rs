//! Damage to every byte of every file: it is refused, or the state is the same.

use std::collections::BTreeMap;

use neptune_state::{StateError, SyncPolicy};

use crate::model::{Job, often, open, small_job};
use crate::sim::SimDisk;

const LAST: u64 = 7;

type Files = BTreeMap<String, Vec<u8>>;

/// The files of a job with two snapshots, deltas behind the last one, and a micro-batch begun.
fn files() -> (Job, Files) {
    let job = Job {
        touched: 3,
        keys: 6,
        ..small_job()
    };
    let disk = SimDisk::new();
    let (checkpoint, _) = open(disk.storage(SyncPolicy::Never), &often()).unwrap();
    for number in 0..=LAST {
        checkpoint
            .write_offsets(number, &Job::offsets(number))
            .unwrap();
        checkpoint
            .commit(number, &Job::body(number), &job.changes(number))
            .unwrap();
        checkpoint.settle();
    }
    checkpoint
        .write_offsets(LAST + 1, &Job::offsets(LAST + 1))
        .unwrap();
    drop(checkpoint);
    let files = disk.files();
    for name in [
        "snapshots/2",
        "snapshots/5",
        "snapshots/5.0",
        "commits/7",
        "offsets/8",
    ] {
        assert!(files.contains_key(name), "{:?}", files.keys());
    }
    (job, files)
}

/// Opens a checkpoint with these files. `None`: it is whole, with the right rows.
fn outcome(job: &Job, files: &Files, what: &str) -> Option<StateError> {
    let disk = SimDisk::with_files(files);
    match open(disk.storage(SyncPolicy::Never), &often()) {
        Ok((checkpoint, restored)) => {
            let last = job.check(&checkpoint, &restored);
            assert_eq!(last, Some(LAST), "{what}");
            assert!(restored.pending.is_some(), "{what}");
            None
        }
        Err(error) => Some(error),
    }
}

fn with(files: &Files, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Files {
    let mut files = files.clone();
    change(files.get_mut(name).unwrap());
    files
}

/// Whether the state can be restored although this file is not read or cannot be used.
fn is_spare(name: &str) -> bool {
    // The newest snapshot has an older one behind it; of older things only what is behind the newest snapshot is read.
    name.starts_with("snapshots/")
        || ["commits/", "offsets/"].iter().any(|dir| {
            name.strip_prefix(dir)
                .is_some_and(|number| number.parse::<u64>().unwrap() <= 5)
        })
        || name.starts_with("offsets/6")
}

#[test]
fn no_changed_byte_makes_wrong_rows() {
    let (job, files) = files();
    assert!(outcome(&job, &files, "whole").is_none());
    for (name, content) in &files {
        for at in 0..content.len() {
            for mask in [0x01, 0x80, 0xFF] {
                let what = format!("{name}, byte {at} ^ {mask:#x}");
                let changed = with(&files, name, |content| content[at] ^= mask);
                let error = outcome(&job, &changed, &what);
                let Some(error) = error else {
                    assert!(
                        is_spare(name) || name == "metadata.json",
                        "{what} is not noticed"
                    );
                    continue;
                };
                assert!(!is_spare(name), "{what}: {error}");
                let text = error.to_string();
                assert!(text.contains(name), "{what}: {text}");
            }
        }
    }
}

#[test]
fn no_file_that_is_cut_off_or_too_long_makes_wrong_rows() {
    let (job, files) = files();
    for (name, content) in &files {
        for length in 0..content.len() {
            let what = format!("{name} cut to {length}");
            let cut = with(&files, name, |content| content.truncate(length));
            let error = outcome(&job, &cut, &what);
            match error {
                None => assert!(
                    is_spare(name) || (name == "metadata.json" && length + 1 == content.len()),
                    "{what} is not noticed"
                ),
                Some(error) => {
                    let text = error.to_string();
                    assert!(!is_spare(name) && text.contains(name), "{what}: {text}");
                    assert!(
                        text.contains("is cut off") || name == "metadata.json",
                        "{what}: {text}"
                    );
                }
            }
        }
        let longer = with(&files, name, |content| content.push(b'x'));
        let error = outcome(&job, &longer, name);
        assert_eq!(error.is_none(), is_spare(name), "{name}: {error:?}");
    }
}

#[test]
fn no_file_in_the_place_of_another_makes_wrong_rows() {
    let (job, files) = files();
    let (_, foreign) = crate::damage::files();
    for name in files.keys() {
        for (other, content) in files.iter().chain(&foreign) {
            if files.get(name) == Some(content) {
                continue;
            }
            let what = format!("{other} as {name}");
            let swapped = with(&files, name, |place| place.clone_from(content));
            let error = outcome(&job, &swapped, &what);
            assert_eq!(error.is_none(), is_spare(name), "{what}: {error:?}");
        }
    }
}

#[test]
fn a_missing_file_is_an_error_or_an_earlier_state() {
    let (job, files) = files();
    for name in files.keys() {
        let mut fewer = files.clone();
        fewer.remove(name);
        let disk = SimDisk::with_files(&fewer);
        match open(disk.storage(SyncPolicy::Never), &often()) {
            Ok((checkpoint, restored)) => {
                let last = job.check(&checkpoint, &restored);
                assert_eq!(last, Some(LAST), "without {name}");
                assert_eq!(restored.pending.is_some(), name != "offsets/8");
                assert!(is_spare(name) || name == "offsets/8", "without {name}");
            }
            Err(error) => {
                assert!(!is_spare(name), "without {name}: {error}");
                let text = error.to_string();
                // Without the last commit it is the begun micro-batch that tells.
                assert!(
                    text.contains(name) || (name == "commits/7" && text.contains("offsets/8")),
                    "without {name}: {text}"
                );
            }
        }
    }
}

#[test]
fn both_snapshots_damaged_is_an_error_that_names_the_newest() {
    let (job, mut files) = files();
    // The deltas before the older snapshot are gone.
    files.retain(|name, _| !["commits/0", "commits/1"].contains(&name.as_str()));
    for name in ["snapshots/2.0", "snapshots/5.0"] {
        files.get_mut(name).unwrap()[60] ^= 1;
    }
    let text = outcome(&job, &files, "both").unwrap().to_string();
    assert!(text.contains("snapshots/5.0 is damaged"), "{text}");
}

#[test]
fn a_snapshot_that_was_passed_over_is_reported() {
    let (job, mut files) = files();
    files.get_mut("snapshots/5.0").unwrap()[60] ^= 1;
    let disk = SimDisk::with_files(&files);
    let (checkpoint, restored) = open(disk.storage(SyncPolicy::Never), &often()).unwrap();
    assert_eq!(job.check(&checkpoint, &restored), Some(LAST));
    assert_eq!((restored.snapshot, restored.deltas), (Some(2), 5));
    assert_eq!(restored.skipped.len(), 1);
    assert!(restored.skipped[0].contains("snapshots/5.0 is damaged"));
}
