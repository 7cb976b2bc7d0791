//! Runs stateful operators ahead of what may not read them to their end.
//!
//! A hash join whose first side is empty never looks at the second, and a limit stops when it has enough: state below them would
//! miss rows. Operators there are run first, bottom up, and their rows handed on from memory.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;

use super::step::StepExec;

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
        if let Some(step) = node.downcast_ref::<StepExec>() {
            step.run_ahead(context).await?;
        }
    }
    Ok(())
}

/// Collects operators that change state, those below others first.
fn collect(plan: &Arc<dyn ExecutionPlan>, cut: bool, found: &mut Vec<Arc<dyn ExecutionPlan>>) {
    let cut = cut || may_stop_early(plan);
    for child in plan.children() {
        collect(child, cut, found);
    }
    let changes = plan
        .downcast_ref::<StepExec>()
        .is_some_and(StepExec::changes_state);
    if cut && changes {
        found.push(Arc::clone(plan));
    }
}

fn may_stop_early(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.fetch().is_some() || plan.name().contains("Join") || plan.name().contains("Limit")
}
