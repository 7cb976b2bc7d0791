//! What each node of a plan gives per micro-batch, where it needs no state; and what cannot be a stream.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use crate::error::StreamError;

/// What a plan gives in one micro-batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The same as always: it reads no stream.
    Static,
    /// New rows, which will never change.
    Rows,
    /// Rows that are new or changed.
    Changes {
        /// The columns by which a row replaces an earlier one, where they are all there.
        keys: Option<Vec<usize>>,
    },
    /// All rows.
    Whole,
}

/// What a join of a stream with a table gives.
pub(super) fn beside_table(
    stream: &Flow,
    kind: JoinType,
    stream_is_left: bool,
    offset: usize,
) -> Result<Flow, StreamError> {
    let kept = match kind {
        JoinType::Inner => true,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            stream_is_left
        }
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            !stream_is_left
        }
        JoinType::Full => false,
    };
    let is_semi = !matches!(
        kind,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
    );
    if !kept && is_semi {
        return Err(refused(
            "EXISTS, IN and their negations over a stream choose rows of a table by one micro-batch only, and would give them \
             anew with every one",
            "select from the stream: SELECT DISTINCT … FROM the stream JOIN the table",
        ));
    }
    if !kept {
        return Err(refused(
            "an outer join that keeps the rows of a table which no row of the stream has matched would give them anew \
             with every micro-batch",
            "keep the rows of the stream only: LEFT JOIN with the stream on the left",
        ));
    }
    let moved = |keys: &Vec<usize>| match is_semi {
        true => keys.clone(),
        false => keys.iter().map(|key| key + offset).collect(),
    };
    Ok(match stream {
        // A table may have several matches: its columns would belong to the key.
        Flow::Changes { keys } if is_semi => Flow::Changes {
            keys: keys.as_ref().map(moved),
        },
        Flow::Changes { .. } => Flow::Changes { keys: None },
        other => other.clone(),
    })
}

/// What a node without state gives.
pub(super) fn stateless(plan: &LogicalPlan, flows: &[Flow]) -> Result<Flow, StreamError> {
    let first = flows.first().cloned().unwrap_or(Flow::Static);
    match plan {
        LogicalPlan::Projection(projection) => Ok(match first {
            Flow::Changes { keys: Some(keys) } => {
                let input = &projection.input;
                let column = |key: &usize| {
                    let is_key = |expr: &Expr| key_column(expr, input) == Some(*key);
                    projection.expr.iter().position(is_key)
                };
                let keys = keys.iter().map(column).collect();
                Flow::Changes { keys }
            }
            other => other,
        }),
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Repartition(_) => Ok(first),
        LogicalPlan::Unnest(_) => Ok(match first {
            Flow::Changes { .. } => Flow::Changes { keys: None },
            other => other,
        }),
        LogicalPlan::Union(_) => {
            let same = |wanted: &Flow| flows.iter().all(|flow| flow == wanted);
            if same(&Flow::Rows) {
                Ok(Flow::Rows)
            } else if flows
                .iter()
                .all(|flow| matches!(flow, Flow::Whole | Flow::Static))
            {
                Ok(Flow::Whole)
            } else if flows.contains(&Flow::Static) {
                Err(refused(
                    "a UNION of a stream with a table would give the rows of the table anew with every micro-batch",
                    "write the table's rows with an INSERT of their own",
                ))
            } else {
                Err(refused(
                    "a UNION of streams needs the same kind of rows from all: new ones, or whole results",
                    "aggregate above the UNION, or write two INSERTs",
                ))
            }
        }
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => match first {
            Flow::Whole => Ok(Flow::Whole),
            _ => Err(refused(
                "ORDER BY and LIMIT over a stream have no last row to wait for",
                "use output_mode = 'complete' over an aggregate, or ROW_NUMBER() over an event-time window",
            )),
        },
        other => match first {
            Flow::Whole => Ok(Flow::Whole),
            _ => Err(refused(
                &format!("this cannot be computed over a stream: {}", other.display()),
                "write the stream into a table, and compute it there in a batch job",
            )),
        },
    }
}

pub(super) fn column_of(expr: &Expr, input: &LogicalPlan) -> Option<usize> {
    match expr {
        Expr::Column(column) => index_of(column, input),
        Expr::Alias(alias) => column_of(&alias.expr, input),
        _ => None,
    }
}

/// The column of an expression that has another value wherever the column has.
fn key_column(expr: &Expr, input: &LogicalPlan) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => key_column(&alias.expr, input),
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(input.schema()).ok()?;
            keeps_apart(&from, cast.field.data_type()).then(|| key_column(&cast.expr, input))?
        }
        other => column_of(other, input),
    }
}

fn index_of(column: &Column, input: &LogicalPlan) -> Option<usize> {
    input.schema().maybe_index_of_column(column)
}

pub(super) fn refused(what: &str, help: &str) -> StreamError {
    StreamError::Query {
        what: what.to_owned(),
        help: help.to_owned(),
    }
}

/// Whether a cast gives different values for different values.
fn keeps_apart(from: &DataType, to: &DataType) -> bool {
    let text = |kind: &DataType| {
        matches!(
            kind,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        )
    };
    let width = |kind: &DataType| kind.primitive_width().unwrap_or(0);
    from == to
        || (text(from) && text(to))
        || (from.is_signed_integer() && to.is_signed_integer() && width(from) <= width(to))
        || (from.is_unsigned_integer() && to.is_unsigned_integer() && width(from) <= width(to))
        || (from.is_unsigned_integer() && to.is_signed_integer() && width(from) < width(to))
        || matches!((from, to), (DataType::Float32, DataType::Float64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_that_joins_values_is_no_key() {
        for (from, to, apart) in [
            (DataType::Int32, DataType::Int64, true),
            (DataType::UInt32, DataType::Int64, true),
            (DataType::UInt64, DataType::Int64, false),
            (DataType::Int64, DataType::Int32, false),
            (DataType::Utf8View, DataType::Utf8, true),
            (DataType::Utf8, DataType::Int64, false),
            (DataType::Float64, DataType::Int64, false),
        ] {
            assert_eq!(keeps_apart(&from, &to), apart, "{from} to {to}");
        }
    }
}
