//! The disk backend's own store: behind, ahead, foreign, damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use neptune_state::{
    Backend, Checkpoint, Damage, LocalStorage, Restored, Settings, StateError, SyncPolicy,
};

use crate::model::{Job, often, open, small_job};

fn settings() -> Settings {
    Settings {
        backend: Backend::Disk {
            cache_bytes: 1 << 20,
        },
        ..often()
    }
}

fn open_dir(dir: &Path) -> Result<(Checkpoint, Restored), StateError> {
    open(
        Arc::new(LocalStorage::new(dir, SyncPolicy::Always)),
        &settings(),
    )
}

fn commit(checkpoint: &Checkpoint, numbers: std::ops::Range<u64>) {
    let job = small_job();
    for number in numbers {
        checkpoint
            .write_offsets(number, &Job::offsets(number))
            .unwrap();
        checkpoint
            .commit(number, &Job::body(number), &job.changes(number))
            .unwrap();
        checkpoint.settle();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn replace_store(dir: &Path, with: &Path) {
    fs::remove_dir_all(dir.join("store")).unwrap();
    copy(with, &dir.join("store"));
}

#[test]
fn a_store_that_is_behind_gets_the_deltas_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let old = tempfile::tempdir().unwrap();
    let (checkpoint, _) = open_dir(dir.path()).unwrap();
    commit(&checkpoint, 0..2);
    drop(checkpoint);
    copy(&dir.path().join("store"), old.path());
    let (checkpoint, _) = open_dir(dir.path()).unwrap();
    commit(&checkpoint, 2..4);
    drop(checkpoint);
    replace_store(dir.path(), old.path());
    let (checkpoint, restored) = open_dir(dir.path()).unwrap();
    assert_eq!(restored.deltas, 2);
    assert_eq!(small_job().check(&checkpoint, &restored), Some(3));
}

#[test]
fn a_lost_store_is_made_anew_only_while_all_deltas_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, _) = open_dir(dir.path()).unwrap();
    commit(&checkpoint, 0..2);
    drop(checkpoint);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    let (checkpoint, restored) = open_dir(dir.path()).unwrap();
    assert_eq!(small_job().check(&checkpoint, &restored), Some(1));
    commit(&checkpoint, 2..12);
    drop(checkpoint);
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    let error = open_dir(dir.path()).unwrap_err();
    assert!(
        matches!(&error, StateError::Missing { path, .. } if path.ends_with("commits/0")),
        "{error}"
    );
}

#[test]
fn a_store_that_is_ahead_of_the_commits_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, _) = open_dir(dir.path()).unwrap();
    commit(&checkpoint, 0..3);
    drop(checkpoint);
    fs::remove_file(dir.path().join("commits/2")).unwrap();
    let error = open_dir(dir.path()).unwrap_err();
    assert!(
        matches!(
            error,
            StateError::CommitsLost {
                number: 2,
                last: Some(1),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn the_store_of_another_checkpoint_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&one, &two] {
        let (checkpoint, _) = open_dir(dir.path()).unwrap();
        commit(&checkpoint, 0..1);
    }
    replace_store(two.path(), &one.path().join("store"));
    let error = open_dir(two.path()).unwrap_err();
    assert!(
        matches!(
            error,
            StateError::Damaged {
                damage: Damage::OtherRun { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn tables_of_an_earlier_opening_keep_the_store_busy() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, _) = open_dir(dir.path()).unwrap();
    let table = checkpoint.store().table(neptune_state::TableId(1)).unwrap();
    drop(checkpoint);
    let text = open_dir(dir.path()).unwrap_err().to_string();
    assert!(
        text.contains("drop all tables of an earlier opening"),
        "{text}"
    );
    drop(table);
    open_dir(dir.path()).unwrap();
}

fn journals(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("store"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect()
}

#[test]
fn a_journal_cut_at_any_place_leaves_a_store_that_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, _) = open_dir(dir.path()).unwrap();
    commit(&checkpoint, 0..4);
    drop(checkpoint);
    let journals = journals(dir.path());
    let [journal] = journals.as_slice() else {
        panic!("{journals:?}")
    };
    // The store gives the file its full length at once; behind what was written are zeros.
    let content = fs::read(journal).unwrap();
    let length = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let mut before = 1;
    for tenth in (0..10).rev() {
        let cut = tempfile::tempdir().unwrap();
        copy(dir.path(), cut.path());
        let journal = cut.path().join("store").join(journal.file_name().unwrap());
        let file = fs::OpenOptions::new().write(true).open(journal).unwrap();
        file.set_len(length * tenth / 10).unwrap();
        let (checkpoint, restored) = open_dir(cut.path()).unwrap();
        assert_eq!(small_job().check(&checkpoint, &restored), Some(3));
        assert!(
            restored.deltas >= before,
            "{} deltas after a shorter journal",
            restored.deltas
        );
        before = restored.deltas;
    }
    assert_eq!(before, 4);
}
