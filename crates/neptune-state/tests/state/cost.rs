//! What commits cost: prints it, and checks that all rows are there again. Measure optimised, with `--nocapture`, and
//! `NEPTUNE_STATE_COST_KEYS` for other sizes than one thousand keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neptune_state::{
    Backend, Changes, Checkpoint, Group, KeyGroups, LocalStorage, Operator, Settings, SyncPolicy,
    TableId,
};

use crate::model::Numbers;

const TABLE: TableId = TableId(1);
const TOUCHED: u64 = 10_000;

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&7u64.to_be_bytes());
    key[8..].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key
}

fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * 4096
}

fn quantile(times: &mut [Duration], q: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * q) as usize]
}

fn measure(keys: u64, backend: Backend, sync: SyncPolicy) {
    let dir = tempfile::tempdir_in(
        std::env::var("NEPTUNE_STATE_COST_DIR").unwrap_or_else(|_| "/tmp".into()),
    )
    .unwrap();
    let settings = Settings {
        backend: backend.clone(),
        ..Settings::default()
    };
    let query = [Operator::new("a", "b")];
    let open = || {
        Checkpoint::open(
            Arc::new(LocalStorage::new(dir.path(), sync)),
            &settings,
            &query,
        )
        .unwrap()
    };
    let before = memory();
    let (checkpoint, _) = open();
    let groups = checkpoint.store().groups();
    let value = |number: u64| [number.to_le_bytes(), number.to_le_bytes()].concat();
    let mut next = 0;
    let started = Instant::now();
    for chunk in 0..keys.div_ceil(100_000) {
        let mut changes = Changes::new(groups);
        for number in chunk * 100_000..keys.min((chunk + 1) * 100_000) {
            let key = key(number);
            changes.put(TABLE, groups.of(&key), key, value(0)).unwrap();
        }
        checkpoint.write_offsets(next, b"o").unwrap();
        checkpoint.commit(next, b"b", &changes).unwrap();
        next += 1;
    }
    checkpoint.settle();
    let filled = started.elapsed();
    let per_row = memory().saturating_sub(before) / keys.max(1);
    let table = checkpoint.store().table(TABLE).unwrap();
    let mut numbers = Numbers::new(1);
    let mut all: Vec<(&str, Vec<Duration>)> = [
        "offsets",
        "get_many",
        "collect",
        "commit",
        "commit beside a snapshot",
    ]
    .map(|name| (name, Vec::new()))
    .into();
    for _ in 0..100 {
        let mut by_group: Vec<Vec<[u8; 16]>> = vec![Vec::new(); usize::from(groups.count())];
        for _ in 0..TOUCHED {
            let key = key(numbers.below(keys));
            by_group[usize::from(groups.of(&key).number())].push(key);
        }
        let t = Instant::now();
        checkpoint.write_offsets(next, b"the offsets").unwrap();
        all[0].1.push(t.elapsed());
        let t = Instant::now();
        let mut found = 0;
        for (group, keys) in by_group.iter_mut().enumerate() {
            keys.sort_unstable();
            let group = Group::new(group as u16);
            found += table
                .get_many(group, keys)
                .unwrap()
                .iter()
                .flatten()
                .count();
        }
        all[1].1.push(t.elapsed());
        assert_eq!(found as u64, TOUCHED);
        let t = Instant::now();
        let mut changes = Changes::new(groups);
        for (group, keys) in by_group.iter().enumerate() {
            for key in keys {
                changes
                    .put(TABLE, Group::new(group as u16), *key, value(next))
                    .unwrap();
            }
        }
        all[2].1.push(t.elapsed());
        let running = checkpoint.snapshot_status().running;
        let t = Instant::now();
        checkpoint.commit(next, b"the body", &changes).unwrap();
        all[if running { 4 } else { 3 }].1.push(t.elapsed());
        next += 1;
    }
    println!(
        "{keys} keys, {backend:?}, {sync:?}: filled in {filled:.2?}, {per_row} B of memory a row, {TOUCHED} keys touched:"
    );
    for (name, times) in &mut all {
        if times.is_empty() {
            continue;
        }
        println!(
            "  {name:24} {:4} times: p50 {:9.3?} p99 {:9.3?} max {:9.3?}",
            times.len(),
            quantile(times, 0.5),
            quantile(times, 0.99),
            quantile(times, 1.0)
        );
    }
    let status = checkpoint.settle();
    let t = Instant::now();
    let status_of_one = checkpoint.snapshot();
    println!(
        "  snapshots {}, error {:?}; one alone takes {:.2?}",
        status.finished,
        status_of_one.error,
        t.elapsed()
    );
    drop(table);
    drop(checkpoint);
    let t = Instant::now();
    let (_checkpoint, restored) = open();
    assert_eq!(restored.rows, keys);
    println!(
        "  restored {} rows, {} MB in {:.2?}",
        restored.rows,
        restored.bytes >> 20,
        t.elapsed()
    );
}

#[test]
fn cost_of_a_commit() {
    let keys: Vec<u64> = std::env::var("NEPTUNE_STATE_COST_KEYS")
        .unwrap_or_else(|_| "1000".to_owned())
        .split(',')
        .map(|keys| keys.parse().unwrap())
        .collect();
    let disk = Backend::Disk {
        cache_bytes: 64 << 20,
    };
    for keys in keys {
        measure(keys, Backend::Memory, SyncPolicy::Always);
        measure(keys, Backend::Memory, SyncPolicy::Never);
        measure(keys, disk.clone(), SyncPolicy::Always);
    }
    assert_eq!(KeyGroups::default().count(), 64);
}
