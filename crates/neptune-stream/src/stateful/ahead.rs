//! Runs stateful operators ahead of what may not read them to their end.
//!
//! A hash join whose first side is empty never looks at the second, and a limit stops when it has enough: state below them would
//! miss rows. Operators there are run first, bottom up, and their rows handed on from memory.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{TryStreamExt, stream};
use parking_lot::Mutex;

use super::join_exec::StreamJoinExec;
use super::step::StepExec;

/// The rows of an operator that was run ahead, by partition.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<Option<Vec<Vec<RecordBatch>>>>);

impl Ahead {
    /// The rows of a partition, if the operator was run ahead.
    pub(crate) fn take(
        &self,
        partition: usize,
        schema: &SchemaRef,
    ) -> Option<SendableRecordBatchStream> {
        let rows = self.0.lock().as_mut().map(|rows| {
            let rows = rows.get_mut(partition);
            rows.map(std::mem::take).unwrap_or_default()
        })?;
        let rows = stream::iter(rows.into_iter().map(Ok));
        Some(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(schema),
            rows,
        )))
    }
}

/// Runs the operators of `plan` that something above might cut short.
///
/// # Errors
/// Those of the plan.
pub(crate) async fn run_ahead(
    plan: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
) -> Result<()> {
    let mut found = Vec::new();
    collect(plan, false, &mut found);
    for node in found {
        let partitions = node.output_partitioning().partition_count();
        let node = &node;
        let each = (0..partitions).map(|partition| async move {
            let context = Arc::clone(context);
            let rows = match (
                node.downcast_ref::<StepExec>(),
                node.downcast_ref::<StreamJoinExec>(),
            ) {
                (Some(step), _) => step.run(partition, context)?,
                (_, Some(join)) => join.run(partition, context)?,
                _ => return Ok(vec![]),
            };
            rows.try_collect::<Vec<_>>().await
        });
        let rows = futures::future::try_join_all(each).await?;
        if let Some(ahead) = ahead_of(node) {
            *ahead.0.lock() = Some(rows);
        }
    }
    Ok(())
}

/// Where the rows of an operator that changes state go.
fn ahead_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&Ahead> {
    if let Some(join) = plan.downcast_ref::<StreamJoinExec>() {
        return Some(&join.ahead);
    }
    let step = plan.downcast_ref::<StepExec>()?;
    step.changes_state().then_some(&step.ahead)
}

/// Collects operators that change state, those below others first.
fn collect(plan: &Arc<dyn ExecutionPlan>, cut: bool, found: &mut Vec<Arc<dyn ExecutionPlan>>) {
    let is_state = ahead_of(plan).is_some();
    let cut = cut || (!is_state && may_stop_early(plan));
    for child in plan.children() {
        collect(child, cut, found);
    }
    if cut && is_state {
        found.push(Arc::clone(plan));
    }
}

fn may_stop_early(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.fetch().is_some() || plan.name().contains("Join") || plan.name().contains("Limit")
}
