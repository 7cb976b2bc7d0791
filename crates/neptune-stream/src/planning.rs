//! What a session needs to plan the operators of this crate.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use crate::stateful::StatefulPlanner;
use crate::window::{SessionWindowPlanner, WindowRule, functions};

/// The planners of this crate's logical operators; each new one is added here.
pub fn extension_planners() -> Vec<Arc<dyn ExtensionPlanner + Send + Sync>> {
    vec![Arc::new(StatefulPlanner), Arc::new(SessionWindowPlanner)]
}

/// `builder` with the functions, rules and operators of this crate. DataFusion's own have to be in it already.
#[must_use]
pub fn with_stream_planning(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    // Before DataFusion's own rules, which coerce types.
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(WindowRule)];
    rules.extend(Analyzer::new().rules);
    builder
        .scalar_functions()
        .get_or_insert_default()
        .extend(functions());
    builder
        .with_analyzer_rules(rules)
        .with_query_planner(Arc::new(StreamQueryPlanner))
}

/// DataFusion's planner, and those of [`extension_planners`].
#[derive(Debug)]
struct StreamQueryPlanner;

#[async_trait]
impl QueryPlanner for StreamQueryPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(extension_planners())
            .create_physical_plan(plan, session)
            .await
    }
}
