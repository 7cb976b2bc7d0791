//! Processes: a second one is refused, and one that is killed at any time loses nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use neptune_state::{
    Backend, Checkpoint, KeyGroups, LocalStorage, Restored, Settings, SnapshotPolicy, StateError,
    SyncPolicy,
};

use crate::model::{Job, Numbers, open};

const DIR: &str = "NEPTUNE_STATE_TEST_DIR";
const BACKEND: &str = "NEPTUNE_STATE_TEST_BACKEND";

fn job() -> Job {
    Job {
        groups: KeyGroups::new(8).unwrap(),
        touched: 200,
        keys: 2000,
    }
}

fn open_dir(dir: &Path, backend: &str) -> Result<(Checkpoint, Restored), StateError> {
    let settings = Settings {
        groups: job().groups,
        backend: match backend {
            "disk" => Backend::Disk {
                cache_bytes: 1 << 20,
            },
            _ => Backend::Memory,
        },
        snapshots: SnapshotPolicy {
            min_bytes: 100_000,
            state_fraction: 0.0,
            part_bytes: 10_000,
            ..SnapshotPolicy::default()
        },
    };
    open(
        Arc::new(LocalStorage::new(dir, SyncPolicy::Never)),
        &settings,
    )
}

/// Not a test by itself: what the other process does, until it is killed. Says the number of each commit.
#[test]
fn child_process() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let (checkpoint, restored) =
        open_dir(Path::new(&dir), &std::env::var(BACKEND).unwrap()).unwrap();
    let job = job();
    let mut has_offsets = restored.pending.is_some();
    println!("\nopen");
    for number in checkpoint.next().. {
        if !has_offsets {
            checkpoint
                .write_offsets(number, &Job::offsets(number))
                .unwrap();
        }
        has_offsets = false;
        checkpoint
            .commit(number, &Job::body(number), &job.changes(number))
            .unwrap();
        println!("committed {number}");
    }
}

/// Starts another process on `dir`; its lines after "open".
fn start(dir: &Path, backend: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child::child_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR, dir)
        .env(BACKEND, backend)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(
        lines.any(|line| line == "open"),
        "the other process did not start"
    );
    (child, lines)
}

#[test]
fn a_second_process_is_refused_by_the_id_of_the_first() {
    for backend in ["memory", "disk"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, _lines) = start(dir.path(), backend);
        let error = open_dir(dir.path(), backend).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StateError::Locked { .. }), "{text}");
        assert!(
            text.contains(&format!("in use by process {}", child.id())),
            "{text}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        open_dir(dir.path(), backend).unwrap();
    }
}

#[test]
fn a_killed_process_loses_no_commit() {
    for backend in ["memory", "disk"] {
        let dir = tempfile::tempdir().unwrap();
        let mut numbers = Numbers::new(5);
        let mut snapshots = 0;
        for _ in 0..8 {
            let (mut child, mut lines) = start(dir.path(), backend);
            let wanted = numbers.below(40);
            let mut said = None;
            for _ in 0..=wanted {
                said = lines.next();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            // What it said before the kill took effect counts as well.
            let said = lines.last().or(said).unwrap();
            let said: u64 = said
                .strip_prefix("committed ")
                .and_then(|number| number.parse().ok())
                // The last line may be cut off.
                .unwrap_or(0);
            let (checkpoint, restored) = open_dir(dir.path(), backend).unwrap();
            let last = job().check(&checkpoint, &restored).unwrap();
            assert!(
                last >= said,
                "{backend}: {said} was committed, {last} found"
            );
            snapshots += u64::from(restored.snapshot.is_some());
        }
        assert!(snapshots > 0 || backend == "disk");
    }
}
