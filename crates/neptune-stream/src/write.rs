//! Runs a physical plan into a sink, partition by partition, as one write.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::error::StreamError;
use crate::sink::{Epoch, Sink, Transaction, WriteMode};

/// A write whose rows are all staged, and which is not visible yet. Dropped, it has never been.
pub struct Staged {
    transaction: Box<dyn Transaction>,
    rows: u64,
}

impl Staged {
    /// Makes it visible; gives the number of rows.
    ///
    /// # Errors
    /// Those of the sink.
    pub async fn commit(self) -> Result<u64, StreamError> {
        self.transaction.commit().await?;
        Ok(self.rows)
    }
}

/// Runs `plan` and stages its rows in `sink`, all partitions at the same time.
///
/// The partitions are polled by the calling task; what is heavy in them DataFusion spawns by itself, below its exchanges.
/// Dropping the future leaves nothing visible.
///
/// # Errors
/// Those of the plan and of the sink.
pub async fn stage(
    plan: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
    sink: &dyn Sink,
    epoch: &Epoch,
    mode: WriteMode,
) -> Result<Staged, StreamError> {
    let transaction = sink.begin(epoch, mode, plan.schema()).await?;
    stage_into(plan, context, transaction).await
}

/// As [`stage`], into a write that has begun.
pub(crate) async fn stage_into(
    plan: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
    transaction: Box<dyn Transaction>,
) -> Result<Staged, StreamError> {
    let mut stages = FuturesUnordered::new();
    for partition in 0..plan.output_partitioning().partition_count() {
        let rows = plan.execute(partition, Arc::clone(context))?;
        stages.push(transaction.stage(partition, rows));
    }
    let mut rows = 0;
    while let Some(staged) = stages.next().await {
        rows += staged?;
    }
    drop(stages);
    Ok(Staged { transaction, rows })
}

/// Rows that the leaves of a plan have given so far.
pub fn rows_read(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let children = plan.children();
    if children.is_empty() {
        let rows = plan.metrics().and_then(|metrics| metrics.output_rows());
        return rows.unwrap_or(0) as u64;
    }
    children.into_iter().map(rows_read).sum()
}
