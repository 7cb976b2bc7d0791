//! Changes as a log: for each row what it was before and what it is now.
//!
//! The operator remembers the last row given out for each key, and gives envelopes with the columns `before`, `after` and `op`
//! (`c` for a new row, `u` for a changed one) as Debezium writes them. Rows that never change are all new, and nothing is remembered.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use neptune_state::Group;

use super::bound::TimeBound;
use super::codec::{RowCodec, nullable, over_at, time_bytes};
use super::exchange::{KeyGroup, owned_groups};
use super::operator::{Delta, Operator, group, key_of};
use super::step::{Part, Run, Step};

/// Keys forgotten between two yield points.
const CHUNK: usize = 1024;

/// The columns of envelopes around rows of `schema`.
pub(crate) fn envelope(schema: &Schema) -> Schema {
    let row: Fields = schema
        .fields()
        .iter()
        .map(|field| nullable(field))
        .collect();
    Schema::new(vec![
        Field::new("before", DataType::Struct(row.clone()), true),
        Field::new("after", DataType::Struct(row), true),
        Field::new("op", DataType::Utf8, false),
    ])
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Changelog {
    operator: Arc<Operator>,
    input: SchemaRef,
    schema: SchemaRef,
    /// None where rows never change.
    keys: Option<Vec<usize>>,
    bound: Option<(usize, TimeBound)>,
    key_codec: Arc<RowCodec>,
    row_codec: RowCodec,
}

impl Changelog {
    /// # Errors
    /// For a column that cannot be kept in state.
    pub(crate) fn new(
        operator: Arc<Operator>,
        input: SchemaRef,
        keys: Option<Vec<usize>>,
        bound: Option<(usize, TimeBound)>,
    ) -> Result<Self> {
        let fields = || input.fields().iter().map(|field| nullable(field));
        let key_fields = keys.iter().flatten().map(|key| nullable(input.field(*key)));
        let key_codec = Arc::new(RowCodec::new(key_fields)?);
        let row_codec = match keys {
            Some(_) => RowCodec::new(fields())?,
            None => RowCodec::new([])?,
        };
        Ok(Self {
            schema: Arc::new(envelope(&input)),
            key_codec,
            row_codec,
            operator,
            input,
            keys,
            bound,
        })
    }

    fn row(
        &self,
        columns: Vec<ArrayRef>,
        nulls: Option<NullBuffer>,
        rows: usize,
    ) -> Result<ArrayRef> {
        let fields: Vec<FieldRef> = self.input.fields().iter().map(|f| nullable(f)).collect();
        let row = StructArray::try_new_with_length(fields.into(), columns, nulls, rows)?;
        Ok(Arc::new(row))
    }
}

impl Step for Changelog {
    fn name(&self) -> &'static str {
        "ChangelogExec"
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operator.what())
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn distribution(&self) -> Distribution {
        let keys = self.keys.as_deref().unwrap_or_default();
        if keys.is_empty() {
            return match self.keys {
                Some(_) => Distribution::SinglePartition,
                None => Distribution::UnspecifiedDistribution,
            };
        }
        let columns = keys.iter().map(|key| {
            let name = self.input.field(*key).name();
            Arc::new(Column::new(name, *key)) as Arc<dyn PhysicalExpr>
        });
        let by_group = KeyGroup::new(columns.collect(), Arc::clone(&self.key_codec));
        Distribution::KeyPartitioned(vec![Arc::new(by_group)])
    }

    fn changes_state(&self) -> bool {
        self.keys.is_some()
    }

    fn start(self: Arc<Self>, part: Part) -> Result<Box<dyn Run>> {
        let groups = match self.bound {
            Some(_) => owned_groups(part.partition, part.partitions)?,
            None => vec![],
        };
        Ok(Box::new(ChangelogRun {
            delta: Some(self.operator.delta()),
            seen: HashMap::new(),
            shared: self,
            groups,
        }))
    }
}

struct ChangelogRun {
    shared: Arc<Changelog>,
    /// Rows given out in this micro-batch.
    seen: HashMap<Vec<u8>, Vec<u8>>,
    /// Until it is handed over.
    delta: Option<Delta>,
    /// Groups whose old keys are still to be forgotten.
    groups: Vec<Group>,
}

impl Run for ChangelogRun {
    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let shared = Arc::clone(&self.shared);
        let rows = batch.num_rows();
        let Some(key_columns) = &shared.keys else {
            let none = NullBuffer::new_null(rows);
            let empty = shared.input.fields().iter();
            let empty =
                empty.map(|f| datafusion::arrow::array::new_null_array(f.data_type(), rows));
            let before = shared.row(empty.collect(), Some(none), rows)?;
            let after = shared.row(batch.columns().to_vec(), None, rows)?;
            let op: ArrayRef = Arc::new(StringArray::from(vec!["c"; rows]));
            let columns = vec![before, after, op];
            return Ok(vec![RecordBatch::try_new(shared.schema(), columns)?]);
        };
        let columns: Vec<ArrayRef> = key_columns
            .iter()
            .map(|key| Arc::clone(batch.column(*key)))
            .collect();
        let keys = shared.key_codec.encode(&columns, rows)?;
        let values = shared.row_codec.encode(batch.columns(), rows)?;
        let over = match shared.bound {
            Some((column, bound)) => Some(over_at(batch.column(column), bound)?),
            None => None,
        };
        let closed = shared.operator.watermarks().over();
        // What each row was, and what it is; rows that stay what they were are left out.
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let over = over.as_ref().map(|over| over.value(row));
            let key = key_of(over, keys.row(row));
            let old = match self.seen.get(&key) {
                Some(old) => Some(old.clone()),
                None => {
                    let kept = shared.operator.get(0, group(keys.row(row)), &key)?;
                    kept.map(|old| old.to_vec())
                }
            };
            let new = values.row(row).to_vec();
            if old.as_ref() == Some(&new) {
                continue;
            }
            if let Some(delta) = &mut self.delta
                && over.is_none_or(|at| at > closed)
            {
                delta.put(0, group(keys.row(row)), key.clone(), new.clone())?;
            }
            self.seen.insert(key, new.clone());
            before.push(old);
            after.push(new);
        }
        if after.is_empty() {
            return Ok(vec![]);
        }
        let count = after.len();
        let known: NullBuffer = before
            .iter()
            .map(Option::is_some)
            .collect::<Vec<_>>()
            .into();
        // A row that was not there is decoded as what it became, and hidden.
        let old = before.iter().zip(&after);
        let old = old.map(|(old, new)| old.as_ref().unwrap_or(new).as_slice());
        let op = before.iter().map(|old| match old {
            Some(_) => "u",
            None => "c",
        });
        let op: ArrayRef = Arc::new(StringArray::from_iter_values(op));
        let was = shared.row(shared.row_codec.decode(old)?, Some(known), count)?;
        let is = shared.row_codec.decode(after.iter().map(Vec::as_slice))?;
        let is = shared.row(is, None, count)?;
        Ok(vec![RecordBatch::try_new(
            shared.schema(),
            vec![was, is, op],
        )?])
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let shared = Arc::clone(&self.shared);
        let after = shared.operator.watermarks().over().checked_add(1);
        let to = after.map(time_bytes);
        let to = to.as_ref().map(|to| to.as_slice());
        for group in std::mem::take(&mut self.groups) {
            let mut from = Vec::new();
            loop {
                let old = shared.operator.range(0, group, &from, to, CHUNK)?;
                let Some((last, _)) = old.last() else { break };
                from = [last.as_ref(), &[0]].concat();
                for (key, _) in &old {
                    if let Some(delta) = &mut self.delta {
                        delta.delete(0, group, key.to_vec())?;
                    }
                }
            }
        }
        if let Some(delta) = self.delta.take() {
            shared.operator.change(delta)?;
        }
        Ok(None)
    }
}
