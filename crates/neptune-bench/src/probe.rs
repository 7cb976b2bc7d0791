//! The stream half of the mix: a small aggregation in two stages over a table in memory, the size of
//! a micro-batch, planned afresh each time as a query of a dashboard is.

use std::sync::Arc;

use datafusion::arrow::array::{Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{BenchError, Result};

/// Name of the table that the probe reads.
pub const PROBE_TABLE: &str = "neptune_probe";
/// Name under which the probe's failures are told.
const PROBE_NAME: &str = "probe";
/// Rows of a batch, the engine's own default.
const BATCH_ROWS: usize = 8192;

/// Size of the probe's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeShape {
    /// Rows of the table, over all partitions.
    pub rows: usize,
    /// Groups of the aggregation.
    pub groups: i64,
    /// Partitions, which is how many tasks its first stage has.
    pub partitions: usize,
    /// Seed of the values.
    pub seed: u64,
}

impl ProbeShape {
    /// The shape behind the figures in DESIGN.md: a probe of one to two milliseconds on two cores.
    pub fn standard(partitions: usize, seed: u64) -> Self {
        Self {
            rows: 140_000,
            groups: 1_000,
            partitions,
            seed,
        }
    }
}

/// The probe's table, made once and shared by every design: memory placed differently for each would
/// tell on a query this short.
#[derive(Debug, Clone)]
pub struct Probe {
    table: Arc<MemTable>,
    sql: Arc<str>,
    groups: usize,
}

impl Probe {
    /// Makes the table: a key, evenly spread, and two values.
    ///
    /// # Errors
    /// When the engine refuses the table, as it does without any partition.
    pub fn new(shape: ProbeShape) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("key", DataType::Int64, false),
            Field::new("amount", DataType::Float64, false),
            Field::new("at", DataType::Int64, false),
        ]));
        let mut rng = ChaCha8Rng::seed_from_u64(shape.seed);
        let mut partitions = vec![Vec::new(); shape.partitions];
        let mut first = 0;
        while first < shape.rows && !partitions.is_empty() {
            let rows = BATCH_ROWS.min(shape.rows - first);
            let index = (first / BATCH_ROWS) % partitions.len();
            partitions[index].push(batch(&schema, first, rows, shape.groups, &mut rng)?);
            first += rows;
        }
        let table = MemTable::try_new(schema, partitions)
            .map_err(|error| BenchError::query(PROBE_NAME, error))?;
        let sql = format!(
            "SELECT key, count(*) AS events, sum(amount) AS total, max(at) AS latest \
             FROM {PROBE_TABLE} WHERE amount >= 0 GROUP BY key"
        );
        Ok(Self {
            table: Arc::new(table),
            sql: sql.into(),
            groups: usize::try_from(shape.groups.max(1))
                .unwrap_or(usize::MAX)
                .min(shape.rows),
        })
    }

    /// Makes the table known to a session.
    ///
    /// # Errors
    /// When the session already has a table of that name.
    pub fn register(&self, context: &SessionContext) -> Result<()> {
        let table = Arc::clone(&self.table);
        let registered = context.register_table(PROBE_TABLE, table);
        registered.map_err(|error| BenchError::query(PROBE_NAME, error))?;
        Ok(())
    }

    /// Text of the query.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Plans and runs the query on the calling runtime and checks the number of groups it gives.
    ///
    /// # Errors
    /// When the query fails or its answer is wrong.
    pub async fn run(&self, context: &SessionContext) -> Result<()> {
        let answer = async { context.sql(&self.sql).await?.collect().await };
        let batches = answer
            .await
            .map_err(|error| BenchError::query(PROBE_NAME, error))?;
        self.check(batches.iter().map(RecordBatch::num_rows).sum())
    }

    /// Checks the number of rows of an answer that was got by other means.
    ///
    /// # Errors
    /// When it is not the number of groups.
    pub fn check(&self, rows: usize) -> Result<()> {
        if rows == self.groups {
            return Ok(());
        }
        let reason = format!("{rows} groups instead of {}", self.groups);
        Err(BenchError::query(
            PROBE_NAME,
            DataFusionError::Execution(reason),
        ))
    }
}

fn batch(
    schema: &Arc<Schema>,
    first: usize,
    rows: usize,
    groups: i64,
    rng: &mut ChaCha8Rng,
) -> Result<RecordBatch> {
    let groups = groups.max(1);
    // Keys in turn, so that each group exists as soon as there are as many rows; 7,919 is a prime that
    // keeps neighbours apart.
    let keys = (first..first + rows).map(|row| (row as i64).wrapping_mul(7_919).rem_euclid(groups));
    let amounts = (0..rows).map(|_| rng.random_range(0.0..100.0));
    let times = (first..first + rows).map(|row| row as i64);
    let columns: Vec<Arc<dyn datafusion::arrow::array::Array>> = vec![
        Arc::new(Int64Array::from_iter_values(keys)),
        Arc::new(Float64Array::from_iter_values(amounts)),
        Arc::new(Int64Array::from_iter_values(times)),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| BenchError::query(PROBE_NAME, error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::physical_plan::{displayable, execution_plan::ExecutionPlanProperties};
    use datafusion::prelude::SessionConfig;

    fn shape(partitions: usize) -> ProbeShape {
        ProbeShape {
            rows: 30_000,
            groups: 100,
            partitions,
            seed: 1,
        }
    }

    fn context(partitions: usize) -> SessionContext {
        SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions))
    }

    #[tokio::test]
    async fn the_probe_is_an_aggregation_of_two_stages() {
        let probe = Probe::new(shape(2)).unwrap();
        let context = context(2);
        probe.register(&context).unwrap();
        probe.run(&context).await.unwrap();
        let plan = context.sql(probe.sql()).await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        let text = displayable(plan.as_ref()).indent(false).to_string();
        assert!(
            text.contains("mode=Partial") && text.contains("mode=FinalPartitioned"),
            "{text}"
        );
        assert_eq!(plan.output_partitioning().partition_count(), 2);
    }

    #[tokio::test]
    async fn every_row_is_read_whatever_the_partitions() {
        for partitions in [1, 2, 5] {
            let probe = Probe::new(shape(partitions)).unwrap();
            let context = context(2);
            probe.register(&context).unwrap();
            let rows = context
                .table(PROBE_TABLE)
                .await
                .unwrap()
                .count()
                .await
                .unwrap();
            assert_eq!(rows, 30_000, "{partitions} partitions");
            probe.run(&context).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_wrong_answer_or_a_missing_table_is_an_error() {
        let probe = Probe::new(shape(1)).unwrap();
        let error = probe.run(&context(1)).await.unwrap_err().to_string();
        assert!(error.starts_with("query probe failed"), "{error}");
        assert!(probe.check(99).is_err());
        assert!(probe.check(100).is_ok());
    }

    #[test]
    fn no_partition_is_refused() {
        assert!(Probe::new(shape(0)).is_err());
    }
}
