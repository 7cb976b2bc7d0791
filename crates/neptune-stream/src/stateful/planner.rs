//! From the logical nodes of stateful operators to physical ones.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::aggregate::{Aggregation, Restore, Save};
use super::bound::TimeBound;
use super::changelog::Changelog;
use super::first_seen::FirstSeen;
use super::hold::Hold;
use super::hold_sessions::HoldSessions;
use super::join_node::StreamJoinNode;
use super::late::DropLate;
use super::node::{Kind, StatefulNode};
use super::operator::Operator;
use super::output::OutputMode;
use super::sealed::SealedAggregateExec;
use super::step::StepExec;

/// Plans [`StatefulNode`]s.
#[derive(Debug)]
pub(crate) struct StatefulPlanner;

#[async_trait]
impl ExtensionPlanner for StatefulPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(join) = node.as_any().downcast_ref::<StreamJoinNode>() {
            return join.plan(planner, inputs, session, context).map(Some);
        }
        let Some(node) = node.as_any().downcast_ref::<StatefulNode>() else {
            return Ok(None);
        };
        let [input] = inputs else {
            return internal_err!("a stateful operator has one input");
        };
        let operator = Arc::clone(&node.operator);
        let input = Arc::clone(input);
        Ok(Some(match &node.kind {
            Kind::Aggregate { mode, bound } => aggregate(operator, *mode, *bound, &input)?,
            Kind::FirstSeen { keys, bound } => {
                let step = FirstSeen::new(operator, input.schema(), keys.clone(), *bound)?;
                Arc::new(StepExec::new(Arc::new(step), input))
            }
            Kind::Hold { column, bound } => {
                let step = Hold::new(operator, input.schema(), *column, *bound)?;
                Arc::new(StepExec::new(Arc::new(step), input))
            }
            Kind::Changelog { keys, bound } => {
                let step = Changelog::new(operator, input.schema(), keys.clone(), *bound)?;
                Arc::new(StepExec::new(Arc::new(step), input))
            }
            Kind::HoldSessions { keys, time, gap } => {
                let schema = input.schema();
                let step = HoldSessions::new(operator, schema, keys.clone(), *time, *gap)?;
                Arc::new(StepExec::new(Arc::new(step), input))
            }
        }))
    }
}

/// Takes the two phases of a planned aggregation apart and puts the state between them.
fn aggregate(
    operator: Arc<Operator>,
    mode: OutputMode,
    bound: Option<(usize, TimeBound)>,
    planned: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let phases = planned.downcast_ref::<AggregateExec>().and_then(|last| {
        let first = last.input().downcast_ref::<AggregateExec>()?;
        (*first.mode() == AggregateMode::Partial).then_some((first, last))
    });
    let Some((first, last)) = phases else {
        return plan_err!(
            "an aggregation of this kind cannot be continued from micro-batch to micro-batch: {}",
            operator.what()
        );
    };
    let mut input = Arc::clone(first.input());
    if let Some((column, bound)) = bound {
        let Some((time, _)) = first.group_expr().expr().get(column) else {
            return internal_err!("no group column {column}");
        };
        let step = DropLate {
            operator: Arc::clone(&operator),
            schema: input.schema(),
            time: Arc::clone(time),
            bound,
        };
        input = Arc::new(StepExec::new(Arc::new(step), input));
    }
    let again = |mode, group_by, input| {
        AggregateExec::try_new(
            mode,
            group_by,
            last.aggr_expr().to_vec(),
            last.filter_expr().to_vec(),
            input,
            last.input_schema(),
        )
    };
    let partial: Arc<dyn ExecutionPlan> = Arc::new(AggregateExec::try_new(
        AggregateMode::Partial,
        first.group_expr().clone(),
        first.aggr_expr().to_vec(),
        first.filter_expr().to_vec(),
        input,
        first.input_schema(),
    )?);
    let keys = first.output_group_expr().len();
    let schema = partial.schema();
    let shared = Arc::new(Aggregation::new(operator, mode, schema, keys, bound)?);
    let restored = Arc::new(Restore(Arc::clone(&shared)));
    let restored = Arc::new(StepExec::new(restored, partial));
    let merged = again(
        AggregateMode::PartialReduce,
        last.group_expr().clone(),
        restored,
    )?;
    let merged = Arc::new(SealedAggregateExec::new(merged));
    let saved = Arc::new(StepExec::new(Arc::new(Save(shared)), merged));
    let shown = again(*last.mode(), last.group_expr().clone(), saved)?;
    Ok(Arc::new(SealedAggregateExec::new(shown)))
}
