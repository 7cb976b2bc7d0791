//! Who owns which key: rows are exchanged by the group of their key, and a partition owns whole groups.
//!
//! DataFusion's exchange hashes whatever expression it is given. Given the group's number, equal groups meet in one
//! partition, and which one that is can be asked for any group: so a partition may also close what nobody sent it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use neptune_state::{Group, KeyGroups};

use super::codec::RowCodec;
use super::operator::group;

/// Gives each row the group of its key columns.
#[derive(Debug)]
pub(crate) struct KeyGroup {
    columns: Vec<Arc<dyn PhysicalExpr>>,
    codec: Arc<RowCodec>,
}

impl KeyGroup {
    pub(crate) fn new(columns: Vec<Arc<dyn PhysicalExpr>>, codec: Arc<RowCodec>) -> Self {
        Self { columns, codec }
    }
}

impl PartialEq for KeyGroup {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns
    }
}

impl Eq for KeyGroup {}

impl Hash for KeyGroup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.columns.hash(state);
    }
}

impl fmt::Display for KeyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        write!(f, "key_group({})", columns.join(", "))
    }
}

impl PhysicalExpr for KeyGroup {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::UInt32)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(false)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let columns: Result<Vec<ArrayRef>> = self
            .columns
            .iter()
            .map(|column| column.evaluate(batch)?.into_array(rows))
            .collect();
        let encoded = self.codec.encode(&columns?, rows)?;
        let groups: UInt32Array = (0..rows)
            .map(|row| Some(u32::from(group(encoded.row(row)).number())))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(groups)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.columns.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        if children.len() != self.columns.len() {
            return internal_err!("key_group has {} columns", self.columns.len());
        }
        Ok(Arc::new(Self::new(children, Arc::clone(&self.codec))))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The groups that `partition` of `partitions` owns, after an exchange by [`KeyGroup`].
pub(crate) fn owned_groups(partition: usize, partitions: usize) -> Result<Vec<Group>> {
    let groups = KeyGroups::default();
    if partitions <= 1 {
        return Ok(groups.all().collect());
    }
    let schema = Arc::new(Schema::new(vec![Field::new("g", DataType::UInt32, false)]));
    let numbers = UInt32Array::from_iter_values(0..u32::from(groups.count()));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(numbers)])?;
    let by_group = vec![Arc::new(Column::new("g", 0)) as _];
    let mut partitioner =
        BatchPartitioner::new_hash_partitioner(by_group, partitions, Time::new())?;
    let mut owned = Vec::new();
    partitioner.partition(batch, |to, part| {
        if to == partition {
            let numbers = part.column(0);
            let numbers = numbers.as_any().downcast_ref::<UInt32Array>();
            let numbers = numbers.into_iter().flatten().flatten();
            owned.extend(numbers.map(|number| Group::new(number as u16)));
        }
        Ok(())
    })?;
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_group_has_one_owner() {
        for partitions in [1, 2, 3, 7, 64, 100] {
            let mut all = BTreeSet::new();
            for partition in 0..partitions {
                for group in owned_groups(partition, partitions).unwrap() {
                    assert!(all.insert(group), "group {group} of {partitions}");
                }
            }
            assert_eq!(all.len(), usize::from(KeyGroups::default().count()));
        }
    }
}
