//! Deduplication: lets the first row of each key pass, and remembers the key until it is over.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
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
const CHUNK: usize = 4096;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct FirstSeen {
    operator: Arc<Operator>,
    schema: SchemaRef,
    keys: Vec<usize>,
    bound: Option<(usize, TimeBound)>,
    codec: Arc<RowCodec>,
}

impl FirstSeen {
    /// Lets the first row of each combination of the columns `keys` pass; `bound` is the bounded one among them.
    ///
    /// # Errors
    /// For a column that cannot be kept in state.
    pub(crate) fn new(
        operator: Arc<Operator>,
        schema: SchemaRef,
        keys: Vec<usize>,
        bound: Option<(usize, TimeBound)>,
    ) -> Result<Self> {
        let fields = keys.iter().map(|key| nullable(schema.field(*key)));
        Ok(Self {
            codec: Arc::new(RowCodec::new(fields)?),
            operator,
            schema,
            keys,
            bound,
        })
    }

    fn key_columns(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        let columns = self.keys.iter();
        columns
            .map(|key| Arc::new(Column::new(self.schema.field(*key).name(), *key)) as _)
            .collect()
    }
}

impl Step for FirstSeen {
    fn name(&self) -> &'static str {
        "FirstSeenExec"
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .keys
            .iter()
            .map(|key| self.schema.field(*key).name().as_str())
            .collect();
        write!(f, "by [{}]", names.join(", "))
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn distribution(&self) -> Distribution {
        Distribution::KeyPartitioned(vec![Arc::new(KeyGroup::new(
            self.key_columns(),
            Arc::clone(&self.codec),
        ))])
    }

    fn changes_state(&self) -> bool {
        true
    }

    fn start(self: Arc<Self>, part: Part) -> Result<Box<dyn Run>> {
        let rest = match self.bound {
            Some(_) => owned_groups(part.partition, part.partitions)?,
            None => vec![],
        };
        Ok(Box::new(FirstSeenRun {
            delta: Some(self.operator.delta()),
            shared: self,
            seen: HashSet::new(),
            rest,
        }))
    }
}

struct FirstSeenRun {
    shared: Arc<FirstSeen>,
    seen: HashSet<Vec<u8>>,
    /// Until it is handed over.
    delta: Option<Delta>,
    /// Groups whose old keys are still to be forgotten.
    rest: Vec<Group>,
}

impl Run for FirstSeenRun {
    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let shared = &self.shared;
        let (late, closed) = {
            let watermarks = shared.operator.watermarks();
            (watermarks.late(), watermarks.over())
        };
        let columns: Vec<ArrayRef> = shared
            .keys
            .iter()
            .map(|key| Arc::clone(batch.column(*key)))
            .collect();
        let rows = shared.codec.encode(&columns, batch.num_rows())?;
        let over = match shared.bound {
            Some((column, bound)) => Some(over_at(batch.column(column), bound)?),
            None => None,
        };
        let mut dropped = 0;
        let mut kept = Vec::with_capacity(batch.num_rows());
        for index in 0..rows.len() {
            let row = rows.row(index);
            let over = over.as_ref().map(|over| over.value(index));
            if over.is_some_and(|at| at <= late) {
                dropped += 1;
                kept.push(false);
                continue;
            }
            let key = key_of(over, row);
            if self.seen.contains(&key) || shared.operator.get(0, group(row), &key)?.is_some() {
                kept.push(false);
                continue;
            }
            if let Some(delta) = &mut self.delta
                && over.is_none_or(|at| at > closed)
            {
                delta.put(0, group(row), key.clone(), vec![])?;
            }
            self.seen.insert(key);
            kept.push(true);
        }
        shared.operator.late(dropped);
        Ok(vec![filter_record_batch(
            &batch,
            &BooleanArray::from(kept),
        )?])
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let shared = Arc::clone(&self.shared);
        let after = shared.operator.watermarks().over().checked_add(1);
        let to = after.map(time_bytes);
        let to = to.as_ref().map(|to| to.as_slice());
        while let Some(group) = self.rest.pop() {
            let mut from = Vec::new();
            loop {
                let old = shared.operator.range(0, group, &from, to, CHUNK)?;
                for (key, _) in &old {
                    if let Some(delta) = &mut self.delta {
                        delta.delete(0, group, key.to_vec())?;
                    }
                }
                match old.last() {
                    Some((last, _)) if old.len() == CHUNK => {
                        from = [last.as_ref(), &[0]].concat();
                    }
                    _ => break,
                }
            }
        }
        if let Some(delta) = self.delta.take() {
            shared.operator.change(delta)?;
        }
        Ok(None)
    }
}
