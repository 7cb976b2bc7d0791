//! The physical plan of a stream job, which outlives its micro-batches.

use std::sync::Arc;

use datafusion::execution::context::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use crate::error::StreamError;
use crate::offset::OffsetRange;
use crate::shared::PinnedTable;
use crate::source::StreamTable;

/// A micro-batch so many times larger or smaller than the one planned for is planned anew: the sides of its joins were chosen
/// by size.
const OUTGROWN: u64 = 16;

/// Below so many rows the size of a micro-batch does not matter.
const SMALL: u64 = 4096;

/// Makes a plan for each micro-batch, from the last one where that fits.
#[derive(Debug, Default)]
pub(crate) struct PlanCache {
    last: Option<Planned>,
}

#[derive(Debug)]
struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    /// Of the shared tables it reads.
    versions: Vec<u64>,
    /// Rows its sources expected.
    rows: u64,
}

/// What a plan is made for.
#[derive(Debug)]
pub(crate) struct PlanRequest<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) plan: &'a LogicalPlan,
    pub(crate) sources: &'a [Arc<StreamTable>],
    pub(crate) ranges: &'a [OffsetRange],
    pub(crate) pinned: &'a [Arc<PinnedTable>],
    /// Whether all that it reads besides is fixed when it is planned.
    pub(crate) reusable: bool,
}

impl PlanCache {
    /// The plan of a micro-batch, and the versions of the shared tables it reads: the newest.
    ///
    /// # Errors
    /// Those of planning and of the sources.
    pub(crate) async fn plan(
        &mut self,
        request: PlanRequest<'_>,
    ) -> Result<(Arc<dyn ExecutionPlan>, Vec<u64>), StreamError> {
        let versions: Vec<u64> = request
            .pinned
            .iter()
            .map(|table| table.pin_newest())
            .collect();
        let expected = || {
            let each = request
                .sources
                .iter()
                .filter_map(|table| table.rows_expected());
            each.max().unwrap_or(0).max(SMALL)
        };
        if let Some(last) = self
            .last
            .take()
            .filter(|last| last.versions == versions && request.reusable)
        {
            for (table, range) in request.sources.iter().zip(request.ranges) {
                table.refill(request.state, *range).await?;
            }
            let rows = expected();
            if rows / last.rows < OUTGROWN && last.rows / rows < OUTGROWN {
                let plan = reset_plan_states(last.plan)?;
                self.last = Some(Planned {
                    plan: Arc::clone(&plan),
                    ..last
                });
                return Ok((plan, versions));
            }
        }
        for (table, range) in request.sources.iter().zip(request.ranges) {
            table.set_range(*range);
        }
        let planner = request.state.query_planner();
        let plan = planner
            .create_physical_plan(request.plan, request.state)
            .await?;
        tracing::debug!("planned:\n{}", displayable(plan.as_ref()).indent(false));
        self.last = Some(Planned {
            plan: Arc::clone(&plan),
            versions: versions.clone(),
            rows: expected(),
        });
        Ok((plan, versions))
    }
}
