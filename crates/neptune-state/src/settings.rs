//! What can be chosen about the state of a job.

use crate::KeyGroups;

/// Settings of a checkpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Key groups of a checkpoint that is created now; one that is there keeps its number.
    pub groups: KeyGroups,
    /// Where the tables are.
    pub backend: Backend,
    /// When snapshots are taken.
    pub snapshots: SnapshotPolicy,
}

/// Where the tables of a job are while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Backend {
    /// In memory.
    #[default]
    Memory,
    /// In an embedded store in the directory `store` of the checkpoint.
    Disk {
        /// Memory for what is read often, bytes. Writes take up to some 160 MiB besides.
        cache_bytes: u64,
    },
}

impl Backend {
    /// Its name in settings and in `metadata.json`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk { .. } => "disk",
        }
    }
}

/// When a snapshot of the memory backend is taken, and how many are kept. The disk backend persists its store at these times.
///
/// A snapshot is due when the commits since the last one have grown to the larger of `min_bytes` and `state_fraction` of the
/// state. So over time a byte of changes costs at most `1 / state_fraction` bytes of snapshots. Each commit counts as 16 KiB more
/// than its changes, which bounds how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotPolicy {
    /// Bytes of commits, at least. Default: 16 MiB.
    pub min_bytes: u64,
    /// The part of the state's bytes that commits must reach. Default: 0.5.
    pub state_fraction: f64,
    /// How many snapshots are kept, one at least, with the deltas behind the oldest: if the newest one turns out damaged, the
    /// one before does as well. Default: 2.
    pub keep: usize,
    /// Bytes in one file of a snapshot, which is as much as is held in memory to write it. Default: 8 MiB.
    pub part_bytes: usize,
}

/// What a commit counts besides its bytes.
pub(crate) const COMMIT_WEIGHT: u64 = 16 << 10;

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self {
            min_bytes: 16 << 20,
            state_fraction: 0.5,
            keep: 2,
            part_bytes: 8 << 20,
        }
    }
}

impl SnapshotPolicy {
    /// Whether a snapshot is due.
    pub(crate) fn is_due(&self, commit_bytes: u64, state_bytes: u64) -> bool {
        // A fraction below zero or no number at all becomes zero.
        let fraction = (state_bytes as f64 * self.state_fraction) as u64;
        commit_bytes >= self.min_bytes.max(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_by_bytes_and_by_fraction() {
        let policy = SnapshotPolicy {
            min_bytes: 100,
            state_fraction: 0.5,
            ..SnapshotPolicy::default()
        };
        assert!(!policy.is_due(99, 0));
        assert!(policy.is_due(100, 0));
        assert!(policy.is_due(100, 200));
        assert!(!policy.is_due(100, 202));
        assert!(policy.is_due(101, 202));
        let odd = SnapshotPolicy {
            state_fraction: f64::NAN,
            ..policy
        };
        assert!(odd.is_due(100, u64::MAX));
    }
}
