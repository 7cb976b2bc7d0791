//! Joins of two streams: each row is kept until no row of the other side can match it any more.
//!
//! In a micro-batch new rows of each side meet new and kept rows of the other. A row is kept under its join key, and named in an index by
//! the time at which it is over; then it goes, and an outer join gives it out without a partner if it never had one. What tells the
//! time is in the condition: for `l.ts >= r.ts - INTERVAL '5 s'` a row `l` can only meet rows `r` up to five seconds after it,
//! so it is over when the watermark is past that.
//!
//! Tables of the operator: an index `time over, id -> key` and the rows `key, id -> matched, row`, for either side.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt64Array,
};
use datafusion::arrow::compute::{concat_batches, filter, take, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, exec_err};
use datafusion::physical_expr::PhysicalExpr;
use neptune_state::{Bytes, Group};

use super::bound::TimeBound;
use super::codec::{EncodedRows, RowCodec, TIME_BYTES, batch_of, nullable, over_at, time_bytes};
use super::operator::{Delta, Operator, group};

/// Index entries looked at at a time.
const CHUNK: usize = 1024;

/// Bytes of a row's id: micro-batch and number.
const ID_BYTES: usize = 16;

/// One side of a join.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) schema: SchemaRef,
    /// The join key.
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Gives the time at which no row of the other side can match any more, where the condition says.
    pub(crate) kept_until: Option<(Arc<dyn PhysicalExpr>, TimeBound)>,
    /// The column that tells which rows are too late.
    pub(crate) late_by: Option<(usize, TimeBound)>,
    /// Whether rows without a partner are given out.
    pub(crate) outer: bool,
    rows: RowCodec,
    /// The number of its index; that of its rows follows.
    table: u32,
}

impl Side {
    /// The side with this number, 0 or 1.
    ///
    /// # Errors
    /// For a column that cannot be kept in state.
    pub(crate) fn new(
        number: u32,
        schema: SchemaRef,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        kept_until: Option<(Arc<dyn PhysicalExpr>, TimeBound)>,
        late_by: Option<(usize, TimeBound)>,
        outer: bool,
    ) -> Result<Self> {
        Ok(Self {
            rows: RowCodec::new(schema.fields().iter().map(|field| nullable(field)))?,
            schema,
            keys,
            kept_until,
            late_by,
            outer,
            table: number * 2,
        })
    }
}

/// What a join is made from.
#[derive(Debug)]
pub(crate) struct StreamJoin {
    pub(crate) operator: Arc<Operator>,
    pub(crate) sides: [Side; 2],
    pub(crate) key_codec: Arc<RowCodec>,
    /// The rest of the condition, over the columns of both sides.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) nulls_are_equal: bool,
    /// The columns of both sides.
    pub(crate) schema: SchemaRef,
}

/// Rows of one side in one micro-batch: those that came, then those that were kept and may match.
struct Rows {
    batch: RecordBatch,
    /// Their keys; `None` where NULL matches nothing.
    keys: Vec<Option<Vec<u8>>>,
    /// When each is over.
    over: Option<Vec<i64>>,
    /// How many came in this micro-batch; the others were kept.
    fresh: usize,
    /// The ids of those that were kept, and whether they had a partner before.
    kept: Vec<([u8; ID_BYTES], bool)>,
    matched: Vec<bool>,
}

impl StreamJoin {
    /// Joins the new rows of one partition; `groups` are those that it owns.
    ///
    /// # Errors
    /// Those of the condition and of the state.
    pub(crate) fn run(
        &self,
        left: &[RecordBatch],
        right: &[RecordBatch],
        groups: &[Group],
        partition: usize,
    ) -> Result<Vec<RecordBatch>> {
        let mut delta = self.operator.delta();
        let mut sides = [self.fresh(0, left)?, self.fresh(1, right)?];
        let mut kept = Vec::new();
        for side in [0, 1] {
            kept.push(self.partners(side, &sides[1 - side])?);
        }
        for (side, kept) in kept.into_iter().enumerate() {
            self.add_kept(side, &mut sides[side], kept)?;
        }
        let mut out = Vec::new();
        if let Some(batch) = self.pairs(&mut sides)? {
            out.push(batch);
        }
        let number = (partition as u64) << 48;
        for side in [0, 1] {
            let alone = self.keep(side, &sides[side], number, &mut delta)?;
            out.extend(self.without_partner(side, alone)?);
            let alone = self.close(side, &sides[side], groups, &mut delta)?;
            out.extend(self.without_partner(side, alone)?);
        }
        self.operator.change(delta)?;
        Ok(out)
    }

    /// The rows that came, without those that are too late.
    fn fresh(&self, side: usize, batches: &[RecordBatch]) -> Result<Rows> {
        let late = self.operator.watermarks().late();
        let side = &self.sides[side];
        let mut batch = concat_batches(&side.schema, batches)?;
        if let Some((column, bound)) = side.late_by {
            let over = over_at(batch.column(column), bound)?;
            let open: BooleanArray = over.values().iter().map(|at| Some(*at > late)).collect();
            let dropped = batch.num_rows() - open.true_count();
            if dropped > 0 {
                self.operator.late(dropped);
                batch = datafusion::arrow::compute::filter_record_batch(&batch, &open)?;
            }
        }
        let count = batch.num_rows();
        let keys = self.keys_of(side, &batch)?;
        let over = over_of(side, &batch)?;
        Ok(Rows {
            keys,
            over,
            fresh: count,
            kept: vec![],
            matched: vec![false; count],
            batch,
        })
    }

    fn keys_of(&self, side: &Side, batch: &RecordBatch) -> Result<Vec<Option<Vec<u8>>>> {
        let rows = batch.num_rows();
        let columns: Result<Vec<ArrayRef>> = side
            .keys
            .iter()
            .map(|key| key.evaluate(batch)?.into_array(rows))
            .collect();
        let columns = columns?;
        let encoded: EncodedRows = self.key_codec.encode(&columns, rows)?;
        let key = |row: usize| {
            let has_null = columns.iter().any(|column| column.is_null(row));
            (self.nulls_are_equal || !has_null).then(|| encoded.row(row).to_vec())
        };
        Ok((0..rows).map(key).collect())
    }

    /// The kept rows of `side` whose keys the new rows of the other side have.
    fn partners(&self, side: usize, others: &Rows) -> Result<Vec<(Vec<u8>, Bytes, Bytes)>> {
        let table = self.sides[side].table as usize + 1;
        let mut wanted: Vec<&Vec<u8>> = others.keys.iter().take(others.fresh).flatten().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = Vec::new();
        for key in wanted {
            let mut from = key.clone();
            let mut to = key.clone();
            to.extend_from_slice(&[u8::MAX; ID_BYTES + 1]);
            loop {
                let some = self
                    .operator
                    .range(table, group(key), &from, Some(&to), CHUNK)?;
                let full = some.len() == CHUNK;
                if let Some((last, _)) = some.last() {
                    from = [last.as_ref(), &[0]].concat();
                }
                // Of this very key: what follows it is an id.
                let own = some
                    .into_iter()
                    .filter(|(k, _)| k.len() == key.len() + ID_BYTES);
                found.extend(own.map(|(k, value)| (key.clone(), k, value)));
                if !full {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn add_kept(
        &self,
        side: usize,
        rows: &mut Rows,
        kept: Vec<(Vec<u8>, Bytes, Bytes)>,
    ) -> Result<()> {
        if kept.is_empty() {
            return Ok(());
        }
        let side = &self.sides[side];
        let bytes = kept
            .iter()
            .map(|(_, _, value)| value.get(1..).unwrap_or(&[]));
        let columns = side.rows.decode(bytes)?;
        let batch = batch_of(&side.schema, columns, kept.len())?;
        rows.batch = concat_batches(&side.schema, [&rows.batch, &batch])?;
        for (key, stored, value) in kept {
            let matched = value.first() == Some(&1);
            rows.kept.push((id_of(&stored)?, matched));
            rows.matched.push(matched);
            rows.keys.push(Some(key));
        }
        if rows.over.is_some() {
            rows.over = over_of(side, &rows.batch)?;
        }
        Ok(())
    }

    /// The pairs of rows that match, of which one at least is new; notes who had a partner.
    fn pairs(&self, sides: &mut [Rows; 2]) -> Result<Option<RecordBatch>> {
        let [left, right] = sides;
        let mut by_key: HashMap<&[u8], Vec<u64>> = HashMap::new();
        for (index, key) in right.keys.iter().enumerate() {
            if let Some(key) = key {
                by_key.entry(key).or_default().push(index as u64);
            }
        }
        let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
        for (index, key) in left.keys.iter().enumerate() {
            let Some(matches) = key.as_ref().and_then(|key| by_key.get(key.as_slice())) else {
                continue;
            };
            for other in matches {
                // Two kept rows have met before.
                if index < left.fresh || (*other as usize) < right.fresh {
                    of_left.push(index as u64);
                    of_right.push(*other);
                }
            }
        }
        if of_left.is_empty() {
            return Ok(None);
        }
        let (mut of_left, mut of_right) = (UInt64Array::from(of_left), UInt64Array::from(of_right));
        let mut batch = self.joined(&left.batch, &right.batch, &of_left, &of_right)?;
        if let Some(condition) = &self.filter {
            let passed = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
            let passed = passed.as_boolean();
            batch = datafusion::arrow::compute::filter_record_batch(&batch, passed)?;
            of_left = filter(&of_left, passed)?.as_primitive().clone();
            of_right = filter(&of_right, passed)?.as_primitive().clone();
        }
        of_left
            .values()
            .iter()
            .for_each(|row| left.matched[*row as usize] = true);
        of_right
            .values()
            .iter()
            .for_each(|row| right.matched[*row as usize] = true);
        Ok(Some(batch))
    }

    fn joined(
        &self,
        left: &RecordBatch,
        right: &RecordBatch,
        of_left: &UInt64Array,
        of_right: &UInt64Array,
    ) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for column in left.columns() {
            columns.push(take(column, of_left, None)?);
        }
        for column in right.columns() {
            columns.push(take(column, of_right, None)?);
        }
        batch_of(&self.schema, columns, of_left.len())
    }

    /// Keeps the new rows, and notes of kept ones that they have a partner now; gives the new rows that are over at once
    /// without one.
    fn keep(
        &self,
        side: usize,
        rows: &Rows,
        number: u64,
        delta: &mut Delta,
    ) -> Result<Option<RecordBatch>> {
        let now = self.operator.watermarks().over();
        let side = &self.sides[side];
        let micro_batch = self.operator.watermarks().micro_batch();
        let encoded = side
            .rows
            .encode(rows.batch.columns(), rows.batch.num_rows())?;
        let value = |row: usize| {
            let mut value = vec![u8::from(rows.matched[row])];
            value.extend_from_slice(encoded.row(row));
            value
        };
        let mut alone = Vec::new();
        for row in 0..rows.fresh {
            let over = rows.over.as_ref().map(|over| over[row]);
            if over.is_some_and(|at| at <= now) {
                if side.outer && !rows.matched[row] {
                    alone.push(row as u64);
                }
                continue;
            }
            let key = match &rows.keys[row] {
                Some(key) => key.clone(),
                // It will never have a partner, and waits only to be given out without one.
                None if side.outer => Vec::new(),
                None => continue,
            };
            let mut id = [0; ID_BYTES];
            id[..8].copy_from_slice(&micro_batch.to_be_bytes());
            id[8..].copy_from_slice(&(number | row as u64).to_be_bytes());
            let group = group(&key);
            if let Some(over) = over {
                let index = [time_bytes(over).as_slice(), &id].concat();
                delta.put(side.table, group, index, key.clone())?;
            }
            let stored = [key.as_slice(), &id].concat();
            delta.put(side.table + 1, group, stored, value(row))?;
        }
        for (at, (id, had_partner)) in rows.kept.iter().enumerate() {
            let row = rows.fresh + at;
            let over = rows.over.as_ref().map(|over| over[row]);
            let goes = over.is_some_and(|at| at <= now);
            if let Some(key) = &rows.keys[row]
                && side.outer
                && rows.matched[row]
                && !had_partner
                && !goes
            {
                let stored = [key.as_slice(), id].concat();
                delta.put(side.table + 1, group(key), stored, value(row))?;
            }
        }
        match alone.is_empty() {
            true => Ok(None),
            false => Ok(Some(take_record_batch(
                &rows.batch,
                &UInt64Array::from(alone),
            )?)),
        }
    }

    /// Takes kept rows that are over out of the state; gives those that never had a partner.
    fn close(
        &self,
        side: usize,
        rows: &Rows,
        groups: &[Group],
        delta: &mut Delta,
    ) -> Result<Option<RecordBatch>> {
        let side = &self.sides[side];
        if side.kept_until.is_none() {
            return Ok(None);
        }
        let after = self.operator.watermarks().over().checked_add(1);
        let to = after.map(time_bytes);
        let to = to.as_ref().map(|to| to.as_slice());
        // Those that found their first partner in this very micro-batch.
        let now_matched: BTreeMap<[u8; ID_BYTES], bool> = rows
            .kept
            .iter()
            .zip(&rows.matched[rows.fresh..])
            .map(|((id, _), matched)| (*id, *matched))
            .collect();
        let mut alone: Vec<Bytes> = Vec::new();
        for group in groups {
            let mut from = Vec::new();
            loop {
                let table = side.table as usize;
                let over = self.operator.range(table, *group, &from, to, CHUNK)?;
                let Some((last, _)) = over.last() else { break };
                from = [last.as_ref(), &[0]].concat();
                for (index, key) in &over {
                    let id = index.get(TIME_BYTES..).unwrap_or(&[]);
                    let stored = [key.as_ref(), id].concat();
                    delta.delete(side.table, *group, index.to_vec())?;
                    if side.outer
                        && let Some(value) = self.operator.get(table + 1, *group, &stored)?
                    {
                        let matched = now_matched.get(id).copied();
                        if !matched.unwrap_or(value.first() == Some(&1)) {
                            alone.push(value);
                        }
                    }
                    delta.delete(side.table + 1, *group, stored)?;
                }
            }
        }
        if alone.is_empty() {
            return Ok(None);
        }
        let bytes = alone.iter().map(|value| value.get(1..).unwrap_or(&[]));
        let columns = side.rows.decode(bytes)?;
        Ok(Some(batch_of(&side.schema, columns, alone.len())?))
    }

    /// Rows of one side with NULL in the columns of the other.
    fn without_partner(
        &self,
        side: usize,
        rows: Option<RecordBatch>,
    ) -> Result<Option<RecordBatch>> {
        let Some(rows) = rows else {
            return Ok(None);
        };
        let count = rows.num_rows();
        let other = &self.sides[1 - side].schema;
        let empty = RecordBatch::new_empty(Arc::clone(other));
        let all: UInt64Array = (0..count as u64).map(Some).collect();
        let none = UInt64Array::new_null(count);
        match side {
            0 => self.joined(&rows, &empty, &all, &none).map(Some),
            _ => self.joined(&empty, &rows, &none, &all).map(Some),
        }
    }
}

fn over_of(side: &Side, batch: &RecordBatch) -> Result<Option<Vec<i64>>> {
    let Some((time, bound)) = &side.kept_until else {
        return Ok(None);
    };
    let times = time.evaluate(batch)?.into_array(batch.num_rows())?;
    let over: Int64Array = over_at(&times, *bound)?;
    Ok(Some(over.values().to_vec()))
}

fn id_of(stored: &[u8]) -> Result<[u8; ID_BYTES]> {
    match stored.last_chunk::<ID_BYTES>() {
        Some(id) => Ok(*id),
        None => exec_err!("a row in the state of a join has no id"),
    }
}
