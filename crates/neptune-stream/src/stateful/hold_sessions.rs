//! Holds rows back until their session is over, and then lets all of it go in the same micro-batch.
//!
//! The operator for session windows above then meets whole sessions, and needs no state of its own.
//!
//! Tables of the operator: the index `time over, key, start -> last` of open sessions; the rows `key, time, id -> row`; and the open
//! sessions of each key, `key -> (start, last), …`. A micro-batch costs what it brings and what it closes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, exec_err};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use neptune_state::{Bytes, Group};

use super::bound::{TimeBound, TimeKind};
use super::codec::{RowCodec, TIME_BYTES, batch_of, nullable, over_at, time_bytes, time_of};
use super::exchange::{KeyGroup, owned_groups};
use super::operator::{Delta, Operator, group};
use super::step::{Part, Run, Step};

const INDEX: u32 = 0;
const ROWS: u32 = 1;
const OPEN: u32 = 2;

/// Entries looked at at a time.
const CHUNK: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct HoldSessions {
    operator: Arc<Operator>,
    schema: SchemaRef,
    keys: Vec<usize>,
    time: usize,
    /// Nanoseconds.
    gap: i64,
    key_codec: Arc<RowCodec>,
    row_codec: RowCodec,
}

/// First and last time of a session, nanoseconds.
type Span = (i64, i64);

impl HoldSessions {
    /// Sessions of the rows with equal `keys`, by the column `time`.
    ///
    /// # Errors
    /// For a column that cannot be kept in state.
    pub(crate) fn new(
        operator: Arc<Operator>,
        schema: SchemaRef,
        keys: Vec<usize>,
        time: usize,
        gap: i64,
    ) -> Result<Self> {
        let key_fields = keys.iter().map(|key| nullable(schema.field(*key)));
        Ok(Self {
            key_codec: Arc::new(RowCodec::new(key_fields)?),
            row_codec: RowCodec::new(schema.fields().iter().map(|field| nullable(field)))?,
            operator,
            schema,
            keys,
            time,
            gap,
        })
    }

    /// A row exactly at the end still belongs to the session.
    fn over(&self, last: i64) -> i64 {
        last.saturating_add(self.gap).saturating_add(1)
    }

    fn open(&self, key: &[u8]) -> Result<Vec<Span>> {
        let Some(packed) = self.operator.get(OPEN as usize, group(key), key)? else {
            return Ok(vec![]);
        };
        let spans = packed.chunks_exact(2 * TIME_BYTES);
        Ok(spans
            .map(|span| (time_of(span), time_of(&span[TIME_BYTES..])))
            .collect())
    }

    fn index(&self, key: &[u8], span: Span) -> Vec<u8> {
        [&time_bytes(self.over(span.1)), key, &time_bytes(span.0)].concat()
    }

    /// Takes the stored rows of a session out of the state.
    fn release(
        &self,
        key: &[u8],
        span: Span,
        delta: &mut Delta,
        out: &mut Vec<Bytes>,
    ) -> Result<()> {
        let mut from = [key, &time_bytes(span.0)].concat();
        let mut to = [key, &time_bytes(span.1)].concat();
        to.extend_from_slice(&[u8::MAX; 17]);
        loop {
            let rows = self
                .operator
                .range(ROWS as usize, group(key), &from, Some(&to), CHUNK)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            from = [last.as_ref(), &[0]].concat();
            for (row, value) in rows {
                delta.delete(ROWS, group(key), row.to_vec())?;
                out.push(value);
            }
        }
    }
}

impl Step for HoldSessions {
    fn name(&self) -> &'static str {
        "HoldSessionsExec"
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operator.what())
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn distribution(&self) -> Distribution {
        if self.keys.is_empty() {
            return Distribution::SinglePartition;
        }
        let columns = self.keys.iter().map(|key| {
            let name = self.schema.field(*key).name();
            Arc::new(Column::new(name, *key)) as Arc<dyn PhysicalExpr>
        });
        let by_group = KeyGroup::new(columns.collect(), Arc::clone(&self.key_codec));
        Distribution::KeyPartitioned(vec![Arc::new(by_group)])
    }

    fn changes_state(&self) -> bool {
        true
    }

    fn start(self: Arc<Self>, part: Part) -> Result<Box<dyn Run>> {
        Ok(Box::new(HoldSessionsRun {
            groups: owned_groups(part.partition, part.partitions)?,
            number: (part.partition as u64) << 48,
            shared: self,
            fresh: Vec::new(),
            done: false,
        }))
    }
}

struct HoldSessionsRun {
    shared: Arc<HoldSessions>,
    groups: Vec<Group>,
    /// Tells rows of this partition from those of others.
    number: u64,
    fresh: Vec<RecordBatch>,
    done: bool,
}

impl Run for HoldSessionsRun {
    fn batch(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        self.fresh.push(batch);
        Ok(vec![])
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let shared = Arc::clone(&self.shared);
        let mut delta = shared.operator.delta();
        let mut out = Vec::new();
        let mut touched = self.take_in(&mut delta, &mut out)?;
        self.close(&mut touched, &mut delta, &mut out)?;
        for (key, open) in touched {
            let packed: Vec<u8> = open
                .iter()
                .flat_map(|(start, last)| [time_bytes(*start), time_bytes(*last)].concat())
                .collect();
            match packed.is_empty() {
                true => delta.delete(OPEN, group(&key), key)?,
                false => delta.put(OPEN, group(&key), key, packed)?,
            }
        }
        shared.operator.change(delta)?;
        if out.is_empty() {
            return Ok(None);
        }
        let columns = shared.row_codec.decode(out.iter().map(AsRef::as_ref))?;
        Ok(Some(batch_of(&shared.schema, columns, out.len())?))
    }
}

impl HoldSessionsRun {
    /// Gives the new rows their sessions; returns the open sessions of every key they have.
    fn take_in(
        &mut self,
        delta: &mut Delta,
        out: &mut Vec<Bytes>,
    ) -> Result<HashMap<Vec<u8>, Vec<Span>>> {
        let shared = Arc::clone(&self.shared);
        let watermarks = shared.operator.watermarks();
        let (late, now) = (watermarks.late(), watermarks.over());
        let batch = concat_batches(&shared.schema, &std::mem::take(&mut self.fresh))?;
        let rows = batch.num_rows();
        let columns: Vec<ArrayRef> = shared
            .keys
            .iter()
            .map(|key| Arc::clone(batch.column(*key)))
            .collect();
        let keys = shared.key_codec.encode(&columns, rows)?;
        let values = shared.row_codec.encode(batch.columns(), rows)?;
        let value = TimeBound {
            kind: TimeKind::Value,
            delay: 0,
            span: None,
        };
        let times = over_at(batch.column(shared.time), value)?;
        let mut by_key: HashMap<&[u8], Vec<(i64, usize)>> = HashMap::new();
        let mut dropped = 0;
        for row in 0..rows {
            let time = times.value(row);
            if shared.over(time) <= late {
                dropped += 1;
            } else {
                by_key.entry(keys.row(row)).or_default().push((time, row));
            }
        }
        shared.operator.late(dropped);

        let mut touched = HashMap::new();
        for (key, mut fresh) in by_key {
            fresh.sort_unstable();
            let before = shared.open(key)?;
            let spans = merged(&before, &fresh, shared.gap);
            let mut open = Vec::new();
            for span in &spans {
                let is_over = shared.over(span.1) <= now;
                if is_over {
                    shared.release(key, *span, delta, out)?;
                } else {
                    open.push(*span);
                }
                let own = fresh
                    .iter()
                    .filter(|(time, _)| span.0 <= *time && *time <= span.1);
                for (time, row) in own {
                    if is_over {
                        out.push(Bytes::from(values.row(*row)));
                        continue;
                    }
                    let mut stored = [key, &time_bytes(*time)].concat();
                    stored.extend_from_slice(&watermarks.micro_batch().to_be_bytes());
                    stored.extend_from_slice(&(self.number | *row as u64).to_be_bytes());
                    delta.put(ROWS, group(key), stored, values.row(*row).to_vec())?;
                }
            }
            for old in before.iter().filter(|old| !open.contains(old)) {
                delta.delete(INDEX, group(key), shared.index(key, *old))?;
            }
            for new in open.iter().filter(|new| !before.contains(new)) {
                let last = time_bytes(new.1).to_vec();
                delta.put(INDEX, group(key), shared.index(key, *new), last)?;
            }
            touched.insert(key.to_vec(), open);
        }
        Ok(touched)
    }

    /// Lets go the sessions that are over and have no new rows.
    fn close(
        &self,
        touched: &mut HashMap<Vec<u8>, Vec<Span>>,
        delta: &mut Delta,
        out: &mut Vec<Bytes>,
    ) -> Result<()> {
        let shared = &self.shared;
        let after = shared.operator.watermarks().over().checked_add(1);
        let to = after.map(time_bytes);
        let to = to.as_ref().map(|to| to.as_slice());
        let with_rows: std::collections::HashSet<Vec<u8>> = touched.keys().cloned().collect();
        for group in &self.groups {
            let mut from = Vec::new();
            loop {
                let over = shared
                    .operator
                    .range(INDEX as usize, *group, &from, to, CHUNK)?;
                let Some((last, _)) = over.last() else { break };
                from = [last.as_ref(), &[0]].concat();
                for (index, last) in &over {
                    let Some(end) = index
                        .len()
                        .checked_sub(TIME_BYTES)
                        .filter(|end| *end >= TIME_BYTES)
                    else {
                        return exec_err!("the index of sessions in the state is cut short");
                    };
                    let (key, span) = (
                        &index[TIME_BYTES..end],
                        (time_of(&index[end..]), time_of(last)),
                    );
                    if with_rows.contains(key) {
                        continue;
                    }
                    shared.release(key, span, delta, out)?;
                    delta.delete(INDEX, *group, index.to_vec())?;
                    let open = match touched.get_mut(key) {
                        Some(open) => open,
                        None => touched.entry(key.to_vec()).or_insert(shared.open(key)?),
                    };
                    open.retain(|other| *other != span);
                }
            }
        }
        Ok(())
    }
}

/// The sessions of a key when rows at `fresh`, in order, are added to those it has.
fn merged(open: &[Span], fresh: &[(i64, usize)], gap: i64) -> Vec<Span> {
    let mut all: Vec<Span> = open.to_vec();
    all.extend(fresh.iter().map(|(time, _)| (*time, *time)));
    all.sort_unstable();
    let mut spans: Vec<Span> = Vec::new();
    for (start, last) in all {
        match spans.last_mut() {
            Some(before) if start <= before.1.saturating_add(gap) => before.1 = before.1.max(last),
            _ => spans.push((start, last)),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_extend_and_join_sessions() {
        for (open, fresh, sessions) in [
            (vec![], vec![5], vec![(5, 5)]),
            (vec![(0, 10)], vec![20], vec![(0, 20)]),
            (vec![(0, 10)], vec![21], vec![(0, 10), (21, 21)]),
            (vec![(0, 10), (25, 30)], vec![18], vec![(0, 30)]),
            (vec![(10, 12)], vec![3, 4], vec![(3, 12)]),
            (
                vec![(i64::MAX - 1, i64::MAX)],
                vec![0],
                vec![(0, 0), (i64::MAX - 1, i64::MAX)],
            ),
        ] {
            let fresh: Vec<_> = fresh.into_iter().map(|time| (time, 0)).collect();
            assert_eq!(
                merged(&open, &fresh, 10),
                sessions,
                "{open:?} and {fresh:?}"
            );
        }
    }
}
