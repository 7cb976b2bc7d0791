//! What can go wrong: every error names the file, says what is wrong with it and what can be done.

use std::error::Error;
use std::fmt::{self, Display};
use std::io;

use crate::metadata::OperatorChange;

/// An error of the state of a stream job.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The operating system refused a file operation. Nothing that was committed is touched; the call may be tried again.
    #[error("cannot {action} {path}: {source}{}", remedy(.source))]
    Io {
        /// What was tried, as "write" or "list".
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another job writes to the same checkpoint.
    #[error(
        "the checkpoint {path} is in use by {holder}; stop that job first, or give this one a checkpoint of its own"
    )]
    Locked {
        /// The checkpoint.
        path: String,
        /// Who holds it, as "process 4711".
        holder: String,
    },
    /// A file does not hold what it should.
    #[error("{path} {damage}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        damage: Damage,
    },
    /// A file that must be there is not.
    #[error(
        "{path} is missing: {why}; bring it back from a backup, or start with a new checkpoint"
    )]
    Missing {
        /// The file.
        path: String,
        /// Why it must be there.
        why: String,
    },
    /// Something newer than the last commit is there, so commits were lost.
    #[error(
        "{path} is of micro-batch {number}, but the last commit found is {}: commits were lost, by a power cut under \
         SyncPolicy::Never or by deleting files; bring them back from a backup, or start with a new checkpoint",
        or_none(.last)
    )]
    CommitsLost {
        /// The newer thing.
        path: String,
        /// The micro-batch it is of.
        number: u64,
        /// The last commit.
        last: Option<u64>,
    },
    /// The checkpoint is of a query that kept its state in another way.
    #[error(
        "the checkpoint {path} was written by a different query: {}; start the changed query with a new checkpoint, or \
         undo the change",
        list(.changes)
    )]
    QueryChanged {
        /// The checkpoint.
        path: String,
        /// What differs.
        changes: Vec<OperatorChange>,
    },
    /// The checkpoint keeps its state in another backend.
    #[error(
        "the checkpoint {path} keeps its state in the '{was}' backend, not in '{asked}'; open it with '{was}', or start \
         with a new checkpoint"
    )]
    BackendChanged {
        /// The checkpoint.
        path: String,
        /// The backend it was created with.
        was: String,
        /// The backend asked for.
        asked: String,
    },
    /// The storage has no place on a local disk, which the disk backend needs.
    #[error(
        "the disk backend needs a checkpoint on a local disk, and {path} is none; use the memory backend"
    )]
    NotLocal {
        /// The checkpoint.
        path: String,
    },
    /// The embedded store of the disk backend failed.
    #[error("the embedded store in {path} failed: {source}")]
    Store {
        /// Its directory.
        path: String,
        /// The store's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A micro-batch was committed, but the tables could not take its changes.
    #[error(
        "micro-batch {number} is committed, but its changes did not reach the tables: {reason}; open the checkpoint anew, \
         which applies them"
    )]
    NotApplied {
        /// The micro-batch.
        number: u64,
        /// What the backend said.
        reason: String,
    },
    /// A call came out of order.
    #[error("{0}")]
    Order(String),
    /// A key or value is larger than a file can hold.
    #[error(
        "a {what} of {length} bytes is too long for the state of a stream job; at most {limit} bytes are possible"
    )]
    TooLong {
        /// "key", "value" or "body".
        what: &'static str,
        /// Its length, bytes.
        length: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// A key group does not exist, or changes are divided into another number of groups than the tables.
    #[error(
        "{found} does not fit tables of {groups} key groups; use the groups that the checkpoint was opened with"
    )]
    Groups {
        /// What was given.
        found: String,
        /// The number of key groups of the tables.
        groups: u16,
    },
}

impl StateError {
    pub(crate) fn io(action: &'static str, path: impl Display, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_string(),
            source,
        }
    }

    pub(crate) fn malformed(path: impl Display, what: impl Display) -> Self {
        Self::Damaged {
            path: path.to_string(),
            damage: Damage::Malformed(what.to_string()),
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// It ends too early.
    Truncated {
        /// Its length, bytes.
        found: u64,
        /// The length it should have, bytes; of a file without a whole header, the header's.
        expected: u64,
    },
    /// It goes on after its end.
    TooLong {
        /// Its length, bytes.
        found: u64,
        /// The length it should have, bytes.
        expected: u64,
    },
    /// It is none of Neptune's files.
    NotOurs,
    /// A later version of Neptune wrote it.
    Newer {
        /// The file's format version.
        found: u32,
        /// The newest one this program knows.
        known: u32,
    },
    /// The bits of its first bytes have changed.
    Header,
    /// The bits of its content have changed.
    Content,
    /// It is a whole file, but of another kind, micro-batch or part.
    Misplaced {
        /// What it says it is.
        found: String,
        /// What belongs there.
        expected: String,
    },
    /// It belongs to another checkpoint.
    OtherRun {
        /// The run in the file.
        found: u64,
        /// The run of the checkpoint.
        expected: u64,
    },
    /// Its checksum is right and its content makes no sense.
    Malformed(String),
}

impl Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BACKUP: &str = "bring it back from a backup, or start with a new checkpoint";
        match self {
            Self::Truncated { found, expected } => write!(
                f,
                "is cut off: it has {found} bytes where {expected} are needed; {BACKUP}"
            ),
            Self::TooLong { found, expected } => write!(
                f,
                "goes on after its end: it has {found} bytes where {expected} are right; {BACKUP}"
            ),
            Self::NotOurs => write!(
                f,
                "was not written by Neptune; take it away if it came there by mistake, else {BACKUP}"
            ),
            Self::Newer { found, known } => write!(
                f,
                "has format version {found}, and this program knows versions up to {known}; run the version of Neptune \
                 that wrote it, or a later one"
            ),
            Self::Header => write!(f, "has a damaged header (its checksum is wrong); {BACKUP}"),
            Self::Content => write!(f, "is damaged (its checksum is wrong); {BACKUP}"),
            Self::Misplaced { found, expected } => write!(
                f,
                "is {found}, and {expected} belongs there: files were renamed or copied; {BACKUP}"
            ),
            Self::OtherRun { found, expected } => write!(
                f,
                "belongs to another checkpoint (run {found:016x}, this one is {expected:016x}): files were copied; {BACKUP}"
            ),
            Self::Malformed(what) => write!(f, "cannot be understood: {what}; {BACKUP}"),
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room and try again, the last commit is whole"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; the checkpoint must be writable by this user"
        }
        _ => "",
    }
}

fn or_none(number: &Option<u64>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

fn list(changes: &[OperatorChange]) -> String {
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    changes.join("; ")
}
