//! Holds rows back until they are over, and then lets all of a kind go in the same micro-batch.
//!
//! What stands above may then treat a closed window as complete: window functions such as `ROW_NUMBER`, joins on the
//! window, any operator of DataFusion's, without state of its own.
//!
//! An entry is `(time over, micro-batch, number) -> rows`, the rows of one batch that are over at one time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use neptune_state::{Group, KeyGroups};

use super::bound::TimeBound;
use super::codec::{RowCodec, batch_of, nullable, over_at, pack, time_bytes, unpack};
use super::operator::{Delta, Operator};
use super::step::{Part, Run, Step};

/// Entries let go between two yield points.
const CHUNK: usize = 64;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Hold {
    operator: Arc<Operator>,
    schema: SchemaRef,
    column: usize,
    bound: TimeBound,
    codec: RowCodec,
    /// Tells entries of one time and micro-batch apart.
    sequence: AtomicU64,
}

impl Hold {
    /// Holds rows by their bounded column `column`.
    ///
    /// # Errors
    /// For a column that cannot be kept in state.
    pub(crate) fn new(
        operator: Arc<Operator>,
        schema: SchemaRef,
        column: usize,
        bound: TimeBound,
    ) -> Result<Self> {
        Ok(Self {
            codec: RowCodec::new(schema.fields().iter().map(|field| nullable(field)))?,
            operator,
            schema,
            column,
            bound,
            sequence: AtomicU64::new(0),
        })
    }
}

impl Step for Hold {
    fn name(&self) -> &'static str {
        "HoldUntilOverExec"
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {}", self.schema.field(self.column).name())
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn changes_state(&self) -> bool {
        true
    }

    fn start(self: Arc<Self>, part: Part) -> Result<Box<dyn Run>> {
        // Any partition may hold any row: the entries of a group belong to the partition of its number.
        let all = KeyGroups::default();
        let own = |group: &Group| usize::from(group.number()) % part.partitions == part.partition;
        let number = part.partition % usize::from(all.count());
        Ok(Box::new(HoldRun {
            group: Group::new(number as u16),
            rest: all.all().filter(own).collect(),
            from: Vec::new(),
            delta: Some(self.operator.delta()),
            shared: self,
        }))
    }
}

struct HoldRun {
    shared: Arc<Hold>,
    /// Where rows of this run go.
    group: Group,
    /// Groups whose entries are still to be looked at.
    rest: Vec<Group>,
    /// Where to go on in the last of them.
    from: Vec<u8>,
    /// Until it is handed over.
    delta: Option<Delta>,
}

impl Run for HoldRun {
    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let shared = &self.shared;
        let (late, now) = {
            let watermarks = shared.operator.watermarks();
            (watermarks.late(), watermarks.over())
        };
        let over = over_at(batch.column(shared.column), shared.bound)?;
        let mut held: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        let mut free = Vec::new();
        let mut dropped = 0;
        for (index, at) in over.values().iter().enumerate() {
            if *at <= late {
                dropped += 1;
            } else if *at <= now {
                free.push(index as u64);
            } else {
                held.entry(*at).or_default().push(index);
            }
        }
        shared.operator.late(dropped);
        if !held.is_empty() {
            let rows = shared.codec.encode(batch.columns(), batch.num_rows())?;
            for (at, indices) in held {
                let sequence = shared.sequence.fetch_add(1, Ordering::Relaxed);
                let micro_batch = shared.operator.watermarks().micro_batch();
                let key = [
                    time_bytes(at),
                    micro_batch.to_be_bytes(),
                    sequence.to_be_bytes(),
                ]
                .concat();
                let value = pack(indices.into_iter().map(|index| rows.row(index)));
                if let Some(delta) = &mut self.delta {
                    delta.put(0, self.group, key, value)?;
                }
            }
        }
        match free.len() {
            0 => Ok(vec![]),
            all if all == batch.num_rows() => Ok(vec![batch]),
            _ => Ok(vec![take_record_batch(&batch, &UInt64Array::from(free))?]),
        }
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let shared = Arc::clone(&self.shared);
        let after = shared.operator.watermarks().over().checked_add(1);
        let to = after.map(time_bytes);
        let to = to.as_ref().map(|to| to.as_slice());
        while let Some(group) = self.rest.last().copied() {
            let entries = shared.operator.range(0, group, &self.from, to, CHUNK)?;
            let Some((last, _)) = entries.last() else {
                self.rest.pop();
                self.from.clear();
                continue;
            };
            // The state stays as it was committed while the micro-batch runs: go on behind what was read.
            self.from = [last.as_ref(), &[0]].concat();
            let mut rows = Vec::new();
            for (key, value) in &entries {
                if let Some(delta) = &mut self.delta {
                    delta.delete(0, group, key.to_vec())?;
                }
                rows.extend(unpack(value)?);
            }
            let count = rows.len();
            let columns = shared.codec.decode(rows)?;
            return Ok(Some(batch_of(&shared.schema, columns, count)?));
        }
        if let Some(delta) = self.delta.take() {
            shared.operator.change(delta)?;
        }
        Ok(None)
    }
}
