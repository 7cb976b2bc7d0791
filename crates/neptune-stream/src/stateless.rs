//! Which queries can run as micro-batches that remember nothing.
//!
//! A micro-batch sees only its own rows of a stream. What it computes is right for the whole stream only where each
//! output row depends on one input row of the stream, besides tables that are whole. Everything else needs
//! state kept between micro-batches; it is refused here, with what it would need, until that exists.

use datafusion::common::JoinType;
use datafusion::logical_expr::{LogicalPlan, TableScan};

use crate::error::StreamError;

/// Whether `plan` reads a stream, as told by `is_stream`.
///
/// # Errors
/// [`StreamError::NotYet`] where it does so in a way that needs state.
pub fn reads_stream(
    plan: &LogicalPlan,
    is_stream: &dyn Fn(&TableScan) -> bool,
) -> Result<bool, StreamError> {
    if let LogicalPlan::TableScan(scan) = plan {
        return Ok(is_stream(scan));
    }
    let inputs: Vec<bool> = plan
        .inputs()
        .into_iter()
        .map(|input| reads_stream(input, is_stream))
        .collect::<Result<_, _>>()?;
    let streams = inputs.iter().any(|stream| *stream);
    let mut in_subquery = false;
    let mut failed = None;
    // An infallible walk: the closure always says to go on.
    let _ = plan.apply_subqueries(|subquery| {
        match reads_stream(subquery, is_stream) {
            Ok(stream) => in_subquery |= stream,
            Err(error) => failed = Some(error),
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Jump)
    });
    if let Some(error) = failed {
        return Err(error);
    }
    if in_subquery {
        return Err(refused("a subquery over a stream"));
    }
    if !streams {
        return Ok(false);
    }
    match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Dml(_) => Ok(true),
        LogicalPlan::Join(join) => {
            let kept = match (inputs.as_slice(), join.join_type) {
                ([true, true], _) => return Err(refused("a join of two streams")),
                (_, JoinType::Inner) => true,
                ([true, false], kind) => matches!(
                    kind,
                    JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark
                ),
                ([false, true], kind) => matches!(
                    kind,
                    JoinType::Right
                        | JoinType::RightSemi
                        | JoinType::RightAnti
                        | JoinType::RightMark
                ),
                _ => false,
            };
            if kept {
                Ok(true)
            } else {
                Err(refused(
                    "an outer join that keeps rows of a table no stream row has matched yet",
                ))
            }
        }
        LogicalPlan::Aggregate(_) => Err(refused("GROUP BY or an aggregate over a stream")),
        LogicalPlan::Distinct(_) => Err(refused("DISTINCT over a stream")),
        LogicalPlan::Window(_) => Err(refused("a window function over a stream")),
        LogicalPlan::Sort(_) => Err(refused("ORDER BY over a stream")),
        LogicalPlan::Limit(_) => Err(refused("LIMIT over a stream")),
        other => Err(refused(&format!("{} over a stream", other.display()))),
    }
}

fn refused(what: &str) -> StreamError {
    StreamError::NotYet {
        what: what.to_owned(),
        plan: "it needs state between micro-batches, which comes with event-time windows; until then a stream \
               query may filter, project, UNION ALL, UNNEST and join tables that are not streams"
            .to_owned(),
    }
}
