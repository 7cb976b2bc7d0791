//! From the logical plan's session windows to the physical plan's.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::session_exec::SessionWindowExec;
use super::session_node::SessionWindow;
use super::sessions::Layout;

/// Plans [`SessionWindow`].
#[derive(Debug, Default)]
pub struct SessionWindowPlanner;

#[async_trait]
impl ExtensionPlanner for SessionWindowPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<SessionWindow>() else {
            return Ok(None);
        };
        let [input] = inputs else {
            return internal_err!("SessionWindow has one input");
        };
        let place = |expr: &Expr| match expr {
            Expr::Column(column) => node.input().schema().index_of_column(column),
            other => internal_err!("session windows are over columns, not over {other}"),
        };
        let schema = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node);
        let layout = Layout {
            keys: node.keys().iter().map(place).collect::<Result<_>>()?,
            time: place(node.time())?,
            time_type: node.time_type().clone(),
            gap: node.gap(),
            schema: Arc::clone(schema.inner()),
        };
        Ok(Some(Arc::new(SessionWindowExec::new(
            Arc::clone(input),
            layout,
        ))))
    }
}
