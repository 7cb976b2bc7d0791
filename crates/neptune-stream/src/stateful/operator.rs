//! What a stateful operator works with: its tables, the changes of the present micro-batch, and the watermarks.
//!
//! Within a micro-batch an operator reads its state as the micro-batch before left it and buffers what it changes; the
//! loop commits the changes of all operators at once, or drops them.

use std::ops::Bound;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use datafusion::common::{Result, internal_err};
use neptune_state::{Bytes, Changes, Group, KeyGroups, StateStore, StateTable, TableId};
use parking_lot::Mutex;

use super::codec::{time_bytes, time_of};
use crate::error::StreamError;
use crate::event_time::START_OF_TIME;

/// The watermarks of a micro-batch. Fixed while it runs.
#[derive(Debug)]
pub(crate) struct Watermarks {
    micro_batch: AtomicU64,
    late: AtomicI64,
    over: AtomicI64,
}

impl Watermarks {
    pub(crate) fn new() -> Self {
        Self {
            micro_batch: AtomicU64::new(0),
            late: AtomicI64::new(START_OF_TIME),
            over: AtomicI64::new(START_OF_TIME),
        }
    }

    /// The number of the micro-batch.
    pub(crate) fn micro_batch(&self) -> u64 {
        self.micro_batch.load(Ordering::Relaxed)
    }

    /// What was over by this was given out by an earlier micro-batch: rows for it are too late.
    pub(crate) fn late(&self) -> i64 {
        self.late.load(Ordering::Relaxed)
    }

    /// What is over by this is given out by the present micro-batch.
    pub(crate) fn over(&self) -> i64 {
        self.over.load(Ordering::Relaxed)
    }

    /// Micro-batch `number` begins.
    pub(crate) fn begin(&self, number: u64, late: i64, over: i64) {
        self.micro_batch.store(number, Ordering::Relaxed);
        self.late.store(late, Ordering::Relaxed);
        self.over.store(over, Ordering::Relaxed);
    }
}

/// One stateful operator of a query.
#[derive(Debug)]
pub(crate) struct Operator {
    /// What it does, for messages and to tell whether a query has changed.
    what: String,
    /// What the form of its keys depends on besides.
    keyed: String,
    /// The number of its first table.
    first: u32,
    /// Its tables, once the query runs.
    tables: OnceLock<Vec<StateTable>>,
    changes: Mutex<Option<Changes>>,
    watermarks: Arc<Watermarks>,
    late_rows: AtomicU64,
    /// The tables whose keys begin with the time at which they are over.
    timed: &'static [usize],
}

/// Tables that each operator has.
const TABLES: u32 = 4;

impl Operator {
    /// The operator with this number in its query.
    pub(crate) fn new(
        number: u32,
        what: String,
        keyed: String,
        watermarks: Arc<Watermarks>,
        timed: &'static [usize],
    ) -> Self {
        Self {
            what,
            keyed,
            first: number * TABLES,
            tables: OnceLock::new(),
            changes: Mutex::new(None),
            watermarks,
            late_rows: AtomicU64::new(0),
            timed,
        }
    }

    /// Gives it its tables, before the first micro-batch.
    ///
    /// # Errors
    /// If the store cannot make them.
    pub(crate) fn attach(&self, store: &StateStore) -> Result<(), StreamError> {
        let tables = (self.first..self.first + TABLES).map(|id| store.table(TableId(id)));
        let tables = tables.collect::<Result<_, _>>()?;
        // Attached once: a second store would change nothing.
        let _ = self.tables.set(tables);
        Ok(())
    }

    fn table(&self, table: usize) -> Result<&StateTable> {
        match self.tables.get().and_then(|tables| tables.get(table)) {
            Some(table) => Ok(table),
            None => internal_err!("{} has no state yet", self.what),
        }
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Tells state apart that another operator could not go on from.
    pub(crate) fn identity(&self) -> String {
        format!("{}, {}", self.what, self.keyed)
    }

    pub(crate) fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    /// The committed value of a key of table `table`; `group` is that of the key without its time.
    pub(crate) fn get(&self, table: usize, group: Group, key: &[u8]) -> Result<Option<Bytes>> {
        let found = self.table(table)?.get(group, key);
        Ok(found.map_err(StreamError::from)?)
    }

    /// Committed entries of a group, in the order of their keys: up to `most` of those from `from` that come before `to`.
    pub(crate) fn range(
        &self,
        table: usize,
        group: Group,
        from: &[u8],
        to: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let table = self.table(table)?;
        let found = table.range(group, Bound::Included(from), to, most);
        Ok(found.map_err(StreamError::from)?)
    }

    /// Begins the changes of a partition.
    pub(crate) fn delta(&self) -> Delta {
        Delta {
            first: self.first,
            changes: Changes::new(KeyGroups::default()),
        }
    }

    /// Adds the changes of a partition to those of the micro-batch.
    pub(crate) fn change(&self, delta: Delta) -> Result<()> {
        let mut changes = self.changes.lock();
        match &mut *changes {
            Some(changes) => changes.merge(delta.changes).map_err(StreamError::from)?,
            None => *changes = Some(delta.changes),
        }
        Ok(())
    }

    /// Takes the changes of the micro-batch.
    pub(crate) fn take_changes(&self) -> Option<Changes> {
        self.changes.lock().take()
    }

    pub(crate) fn late(&self, rows: usize) {
        self.late_rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Rows that were too late so far.
    pub(crate) fn late_rows(&self) -> u64 {
        self.late_rows.load(Ordering::Relaxed)
    }

    /// Entries in its tables, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let tables = self.tables.get().into_iter().flatten();
        tables.fold((0, 0), |(rows, bytes), table| {
            (rows + table.len(), bytes + table.bytes())
        })
    }

    /// The earliest time at which something in its state is over.
    pub(crate) fn next_over(&self) -> Result<Option<i64>> {
        let mut next: Option<i64> = None;
        for table in self.timed {
            let table = self.table(*table)?;
            for group in KeyGroups::default().all() {
                if let Some(key) = table.first_key(group).map_err(StreamError::from)? {
                    let at = time_of(&key);
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
            }
        }
        Ok(next)
    }
}

/// What one partition changes in the tables of its operator.
#[derive(Debug)]
pub(crate) struct Delta {
    first: u32,
    changes: Changes,
}

impl Delta {
    pub(crate) fn put(
        &mut self,
        table: u32,
        group: Group,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Result<()> {
        let table = TableId(self.first + table);
        let put = self.changes.put(table, group, key, value);
        Ok(put.map_err(StreamError::from)?)
    }

    pub(crate) fn delete(&mut self, table: u32, group: Group, key: Vec<u8>) -> Result<()> {
        let table = TableId(self.first + table);
        let deleted = self.changes.delete(table, group, key);
        Ok(deleted.map_err(StreamError::from)?)
    }
}

/// The key of a row: when it is over, where that is known, and its key columns.
pub(crate) fn key_of(over: Option<i64>, row: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(row.len() + 8);
    if let Some(over) = over {
        key.extend_from_slice(&time_bytes(over));
    }
    key.extend_from_slice(row);
    key
}

/// The group of a row's key columns, the same on every machine.
pub(crate) fn group(row: &[u8]) -> Group {
    KeyGroups::default().of(row)
}
