//! Aggregation that goes on from micro-batch to micro-batch: `partial -> restore -> merge -> save -> final`, around DataFusion's own
//! accumulators.
//!
//! [`Restore`] passes the partial states of the micro-batch on and adds, for each key it meets, the state that the key had before; DataFusion
//! merges them; [`Save`] notes the merged states as changes and passes on what is to be seen: the keys touched (`update`),
//! the keys that are over (`append`), or all there are (`complete`). A micro-batch therefore costs what the keys cost that it
//! touches or closes, whatever the state holds.
//!
//! A key's entry is `key columns -> accumulator states`, both as rows of bytes; the key begins with the time at which it is over if
//! one of its columns is bounded.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use neptune_state::{Bytes, Group};

use super::bound::TimeBound;
use super::codec::{EncodedRows, RowCodec, TIME_BYTES, batch_of, nullable, over_at, time_bytes};
use super::exchange::{KeyGroup, owned_groups};
use super::operator::{Delta, Operator, group, key_of};
use super::output::OutputMode;
use super::step::{Part, Run, Step};

/// Entries looked at between two yield points.
const CHUNK: usize = 1024;

/// What the nodes of one aggregation share.
#[derive(Debug)]
pub(crate) struct Aggregation {
    pub(crate) operator: Arc<Operator>,
    pub(crate) mode: OutputMode,
    /// Key columns, then accumulator states: the columns of a partial aggregation.
    schema: SchemaRef,
    /// How many are key columns.
    keys: usize,
    /// The key column that tells when a key is over.
    bound: Option<(usize, TimeBound)>,
    key_codec: Arc<RowCodec>,
    value_codec: RowCodec,
}

impl Aggregation {
    /// # Errors
    /// For a column that cannot be kept in state.
    pub(crate) fn new(
        operator: Arc<Operator>,
        mode: OutputMode,
        schema: SchemaRef,
        keys: usize,
        bound: Option<(usize, TimeBound)>,
    ) -> Result<Self> {
        let fields = || schema.fields().iter().map(|field| nullable(field));
        Ok(Self {
            key_codec: Arc::new(RowCodec::new(fields().take(keys))?),
            value_codec: RowCodec::new(fields().skip(keys))?,
            operator,
            mode,
            schema,
            keys,
            bound,
        })
    }

    fn key_columns(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        let named = self.schema.fields().iter().take(self.keys).enumerate();
        named
            .map(|(index, field)| Arc::new(Column::new(field.name(), index)) as _)
            .collect()
    }

    fn distribution(&self) -> Distribution {
        match self.keys {
            0 => Distribution::SinglePartition,
            _ => Distribution::KeyPartitioned(vec![Arc::new(KeyGroup::new(
                self.key_columns(),
                Arc::clone(&self.key_codec),
            ))]),
        }
    }

    /// The keys of a batch's rows, and when each is over.
    fn keys_of(&self, batch: &RecordBatch) -> Result<(EncodedRows, Option<Int64Array>)> {
        let rows = batch.num_rows();
        let encoded = self.key_codec.encode(&batch.columns()[..self.keys], rows)?;
        let over = match self.bound {
            Some((column, bound)) => Some(over_at(batch.column(column), bound)?),
            None => None,
        };
        Ok((encoded, over))
    }

    /// The rows of entries.
    fn rows_of(&self, entries: &[(Bytes, Bytes)]) -> Result<RecordBatch> {
        let skip = if self.bound.is_some() { TIME_BYTES } else { 0 };
        let keys = entries
            .iter()
            .map(|(key, _)| key.get(skip..).unwrap_or(&[]));
        let mut columns: Vec<ArrayRef> = self.key_codec.decode(keys)?;
        columns.extend(
            self.value_codec
                .decode(entries.iter().map(|(_, value)| value.as_ref()))?,
        );
        batch_of(&self.schema, columns, entries.len())
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, mode={}", self.operator.what(), self.mode)
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Restore(pub(crate) Arc<Aggregation>);

impl Step for Restore {
    fn name(&self) -> &'static str {
        "StateRestoreExec"
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe(f)
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn distribution(&self) -> Distribution {
        self.0.distribution()
    }

    fn start(self: Arc<Self>, _: Part) -> Result<Box<dyn Run>> {
        Ok(Box::new(RestoreRun {
            shared: Arc::clone(&self.0),
            seen: HashSet::new(),
        }))
    }
}

struct RestoreRun {
    shared: Arc<Aggregation>,
    /// Keys met in this micro-batch.
    seen: HashSet<Vec<u8>>,
}

impl Run for RestoreRun {
    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let shared = &self.shared;
        let (keys, over) = shared.keys_of(&batch)?;
        let mut found = Vec::new();
        for index in 0..keys.len() {
            let row = keys.row(index);
            let key = key_of(over.as_ref().map(|over| over.value(index)), row);
            if self.seen.contains(&key) {
                continue;
            }
            if let Some(value) = shared.operator.get(0, group(row), &key)? {
                found.push((Bytes::from(key.as_slice()), value));
            }
            self.seen.insert(key);
        }
        match found.is_empty() {
            true => Ok(vec![batch]),
            false => Ok(vec![batch, shared.rows_of(&found)?]),
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Save(pub(crate) Arc<Aggregation>);

impl Step for Save {
    fn name(&self) -> &'static str {
        "StateSaveExec"
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe(f)
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn changes_state(&self) -> bool {
        true
    }

    fn start(self: Arc<Self>, part: Part) -> Result<Box<dyn Run>> {
        Ok(Box::new(SaveRun {
            shared: Arc::clone(&self.0),
            delta: Some(self.0.operator.delta()),
            touched: HashSet::new(),
            rest: owned_groups(part.partition, part.partitions)?,
            from: Vec::new(),
        }))
    }
}

struct SaveRun {
    shared: Arc<Aggregation>,
    /// Until it is handed over.
    delta: Option<Delta>,
    /// Keys whose committed entry is out of date.
    touched: HashSet<Vec<u8>>,
    /// Groups whose other entries are still to be looked at.
    rest: Vec<Group>,
    /// Where to go on in the last of them.
    from: Vec<u8>,
}

impl Run for SaveRun {
    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let shared = Arc::clone(&self.shared);
        let (keys, over) = shared.keys_of(&batch)?;
        let values = &batch.columns()[shared.keys..];
        let values = shared.value_codec.encode(values, batch.num_rows())?;
        let closed = shared.operator.watermarks().over();
        let mut shown = Vec::with_capacity(batch.num_rows());
        for index in 0..keys.len() {
            let row = keys.row(index);
            let over = over.as_ref().map(|over| over.value(index));
            let key = key_of(over, row);
            let is_over =
                shared.mode != OutputMode::Complete && over.is_some_and(|at| at <= closed);
            if let Some(delta) = &mut self.delta {
                match is_over {
                    true => delta.delete(0, group(row), key.clone())?,
                    false => delta.put(0, group(row), key.clone(), values.row(index).to_vec())?,
                }
            }
            if is_over || shared.mode != OutputMode::Append {
                shown.push(index as u64);
            }
            self.touched.insert(key);
        }
        if shown.len() == batch.num_rows() {
            return Ok(vec![batch]);
        }
        let shown = datafusion::arrow::array::UInt64Array::from(shown);
        Ok(vec![datafusion::arrow::compute::take_record_batch(
            &batch, &shown,
        )?])
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let shared = Arc::clone(&self.shared);
        let complete = shared.mode == OutputMode::Complete;
        let to = match (complete, shared.bound) {
            (true, _) => None,
            // Up to and with what is over now.
            (false, Some(_)) => {
                let after = shared.operator.watermarks().over().checked_add(1);
                after.map(|after| time_bytes(after).to_vec())
            }
            (false, None) => {
                self.rest.clear();
                None
            }
        };
        while let Some(group) = self.rest.last().copied() {
            let entries = shared
                .operator
                .range(0, group, &self.from, to.as_deref(), CHUNK)?;
            match entries.last() {
                Some((last, _)) if entries.len() == CHUNK => {
                    self.from = [last.as_ref(), &[0]].concat();
                }
                _ => {
                    self.rest.pop();
                    self.from.clear();
                }
            }
            let untouched: Vec<_> = entries
                .into_iter()
                .filter(|(key, _)| !self.touched.contains(key.as_ref()))
                .collect();
            if let (false, Some(delta)) = (complete, &mut self.delta) {
                for (key, _) in &untouched {
                    delta.delete(0, group, key.to_vec())?;
                }
            }
            if !untouched.is_empty() && shared.mode != OutputMode::Update {
                return Ok(Some(shared.rows_of(&untouched)?));
            }
        }
        if let Some(delta) = self.delta.take() {
            shared.operator.change(delta)?;
        }
        Ok(None)
    }
}
