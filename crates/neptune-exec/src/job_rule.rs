//! The optimizer rule that makes every plan of a session run as a job.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::job_exec::JobExec;
use crate::options::NeptuneOptions;
use crate::task::current_task;

/// Puts a [`JobExec`] on top of a plan, unless it is made by a task, whose job it then belongs to.
#[derive(Debug, Default)]
pub struct JobRule;

impl PhysicalOptimizerRule for JobRule {
    fn name(&self) -> &str {
        "neptune_job"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(options) = config.extensions.get::<NeptuneOptions>() else {
            return Ok(plan);
        };
        let Some(executor) = &options.executor else {
            return Ok(plan);
        };
        if current_task().is_some() {
            return Ok(plan);
        }
        Ok(Arc::new(JobExec::new(
            plan,
            executor.clone(),
            options.job_settings("query"),
        )))
    }

    fn schema_check(&self) -> bool {
        true
    }
}
