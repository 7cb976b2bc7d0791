//! Which files are still needed, and removing the others.
//!
//! A base is a state that recovery can begin with: a snapshot, or what the disk backend has persisted. The last few are
//! kept, with all deltas behind the oldest of them. A removal that a crash cuts short leaves files that nobody reads; the next one
//! takes them.

use std::collections::BTreeSet;

use crate::StateError;
use crate::storage::Storage;

/// The numbers of the files in `dir`, in order; names that are no numbers are left out.
pub(crate) fn numbers(storage: &dyn Storage, dir: &str) -> Result<Vec<u64>, StateError> {
    let mut numbers: Vec<u64> = storage
        .list(dir)?
        .iter()
        .filter_map(|name| number(name))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn number(name: &str) -> Option<u64> {
    let number: u64 = name.parse().ok()?;
    // "+1" and "01" are not how a number is written here.
    (number.to_string() == name).then_some(number)
}

/// Removes what lies before the oldest of the last `keep` bases, and forgets older bases.
pub(crate) fn retain(
    storage: &dyn Storage,
    bases: &mut Vec<u64>,
    keep: usize,
) -> Result<(), StateError> {
    let Some(oldest) = bases.len().checked_sub(keep.max(1)) else {
        return Ok(());
    };
    bases.drain(..oldest);
    let Some(base) = bases.first().copied() else {
        return Ok(());
    };
    // Snapshots first: one without the deltas behind it is of no use.
    for snapshot in numbers(storage, "snapshots")? {
        if snapshot < base {
            storage.delete(&format!("snapshots/{snapshot}"))?;
        }
    }
    remove_orphans(storage)?;
    for dir in ["commits", "offsets"] {
        // In order, so that a crash leaves no gap behind the base. The base's own commit stays: if nothing came after it,
        // it is the last one.
        for number in numbers(storage, dir)? {
            if number < base {
                storage.delete(&format!("{dir}/{number}"))?;
            }
        }
    }
    Ok(())
}

/// Removes the parts that belong to no snapshot.
pub(crate) fn remove_orphans(storage: &dyn Storage) -> Result<(), StateError> {
    let names = storage.list("snapshots")?;
    let snapshots: BTreeSet<u64> = names.iter().filter_map(|name| number(name)).collect();
    for name in names {
        if let Some((snapshot, part)) = name.split_once('.')
            && let (Some(snapshot), Some(_)) = (number(snapshot), number(part))
            && !snapshots.contains(&snapshot)
        {
            storage.delete(&format!("snapshots/{name}"))?;
        }
    }
    Ok(())
}
