//! Durable state of stream jobs: versioned keyed tables and checkpoints.
//!
//! A stream job runs micro-batches, numbered from 0. Its stateful operators keep rows in keyed tables, which this crate
//! holds, makes durable and restores. It knows bytes only: no Arrow, no DataFusion, no async runtime.
//!
//! # The protocol
//!
//! For micro-batch N the loop
//!
//! 1. chooses the offset ranges of the sources and calls [`Checkpoint::write_offsets`], while the plan may already run;
//! 2. runs the plan: operators read [`StateTable`]s as of the commit of N-1 and collect [`Changes`];
//! 3. lets the sink commit epoch N, which must do no harm if done twice;
//! 4. calls [`Checkpoint::commit`]: one durable file takes the loop's own body (its watermark, say) and all changes, then
//!    the tables take the changes.
//!
//! [`Checkpoint::open`] brings all of it back: [`Restored::committed`] is the last commit C, the tables are as of C, and if
//! micro-batch C+1 was begun, [`Restored::pending`] has its offsets: it must run again with those, so that it makes the same rows.
//!
//! # What a crash leaves
//!
//! | the process or the power ends | on disk | the next start |
//! |---|---|---|
//! | while a checkpoint is created | no `metadata.json` | creates it anew |
//! | before the offsets of N are durable | perhaps `offsets/N.tmp` | goes on behind N-1, with any offsets for N |
//! | after that, before the sink commits | `offsets/N` | runs N again with the same offsets |
//! | after the sink's commit, before ours is durable | `offsets/N`, perhaps `commits/N.tmp` | the same; the sink meets epoch N a second time |
//! | after our commit is durable, whether or not the tables have it | `commits/N` | goes on behind N |
//! | during a snapshot | parts without a list | uses the snapshot before; deltas are all there; removes the parts |
//! | while old files are removed | some old files | uses the newest snapshot, for which nothing was removed |
//! | between a commit and the disk backend's taking it | `commits/N`, a store that is behind | applies the deltas that the store lacks |
//!
//! A failed write (a full disk, for example) is an error of that call and leaves the last commit as it was; the call may be repeated. The
//! one exception is [`StateError::NotApplied`]: the commit is durable, the disk backend could not follow, and the checkpoint must
//! be opened anew.
//!
//! # Files
//!
//! ```text
//! metadata.json    run, key groups, backend and operators of the query; refused if the query has changed
//! lock             locked while a job has the checkpoint open; holds its process id
//! offsets/N        what write_offsets was given for micro-batch N
//! commits/N        what commit was given: the body, and the changes of all tables (the delta)
//! snapshots/N      the list of the parts of a snapshot
//! snapshots/N.P    part P of it
//! store/           the disk backend's own files
//! ```
//!
//! Each file is written under another name and then renamed; under [`SyncPolicy::Always`] it is synced before and its directory after.
//! Each has a magic number, a format version, its length, what it is of, and CRC-32 checksums, so that one that is cut off, damaged, foreign,
//! misplaced or of a newer version is told as what it is, and never read as rows. A damaged snapshot is passed over for the one before, from which
//! the deltas lead to the same state.
//!
//! # Tables
//!
//! All keys of a checkpoint fall into a fixed number of [`KeyGroups`], by a hash that never changes; a partition of the job
//! owns a run of groups, so that the number of partitions is free at each start. Within a group rows are ordered by key, for eviction by
//! time and for prefixes. In memory a group is a B-tree with a lock of its own; keys and values up to 20 bytes lie in its nodes. The disk
//! backend keeps the same tables in an embedded log-structured store.
//!
//! # What it costs
//!
//! A commit costs what it changes, and one file. Snapshots are taken by a thread of their own, page by page, while commits go
//! on; when they are due is such that over time they cost a fixed multiple of the changes ([`SnapshotPolicy`]).

mod changes;
mod checkpoint;
mod codec;
mod disk;
mod error;
mod files;
mod frame;
mod group;
mod memory;
mod metadata;
mod recovery;
mod retention;
mod settings;
mod snapshot;
mod storage;
mod table;
mod worker;

/// Immutable bytes that are cheap to clone; up to 20 of them take no memory of their own. One that was cut out of a larger one
/// keeps all of that in memory.
pub use byteview::ByteView as Bytes;

pub use changes::{Changes, MAX_KEY, MAX_VALUE, TableId};
pub use checkpoint::{Checkpoint, CommitReport};
pub use error::{Damage, StateError};
pub use files::{FileOps, LockGuard, NewFile, OsFiles};
pub use group::{Group, KeyGroups};
pub use metadata::{Operator, OperatorChange};
pub use recovery::{Committed, Pending, Restored};
pub use settings::{Backend, Settings, SnapshotPolicy};
pub use snapshot::SnapshotReport;
pub use storage::{LocalStorage, Storage, SyncPolicy};
pub use table::{Row, StateStore, StateTable};
pub use worker::SnapshotStatus;
