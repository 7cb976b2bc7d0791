//! The logical nodes that stand for stateful operators.
//!
//! A node wraps the plan of what it makes stateful: for an aggregation the stock `Aggregate`, whose physical form it takes
//! apart; for the others the plan whose rows go through it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::bound::TimeBound;
use super::operator::Operator;
use super::output::OutputMode;

/// What a node does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Goes on aggregating where the micro-batch before ended.
    Aggregate {
        mode: OutputMode,
        /// The group column that tells when a group is over.
        bound: Option<(usize, TimeBound)>,
    },
    /// Lets the first row of each key pass.
    FirstSeen {
        keys: Vec<usize>,
        bound: Option<(usize, TimeBound)>,
    },
    /// Holds rows until they are over.
    Hold { column: usize, bound: TimeBound },
    /// Puts rows into envelopes that say what became of them.
    Changelog {
        /// None where rows never change.
        keys: Option<Vec<usize>>,
        bound: Option<(usize, TimeBound)>,
    },
    /// Holds rows until their session is over.
    HoldSessions {
        keys: Vec<usize>,
        time: usize,
        /// Nanoseconds.
        gap: i64,
    },
}

/// A stateful operator in a logical plan.
#[derive(Debug, Clone)]
pub(crate) struct StatefulNode {
    pub(crate) kind: Kind,
    pub(crate) input: LogicalPlan,
    pub(crate) operator: Arc<Operator>,
    /// The columns it gives.
    pub(crate) schema: DFSchemaRef,
}

impl StatefulNode {
    /// Operators are told apart by what they are: each is made once.
    fn identity(&self) -> (&Kind, *const Operator, &LogicalPlan) {
        (&self.kind, Arc::as_ptr(&self.operator), &self.input)
    }
}

impl PartialEq for StatefulNode {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for StatefulNode {}

impl Hash for StatefulNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialOrd for StatefulNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.identity().partial_cmp(&other.identity())
    }
}

impl UserDefinedLogicalNodeCore for StatefulNode {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Aggregate { .. } => "StatefulAggregate",
            Kind::FirstSeen { .. } => "FirstSeen",
            Kind::Hold { .. } => "HoldUntilOver",
            Kind::HoldSessions { .. } => "HoldSessions",
            Kind::Changelog { .. } => "Changelog",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.operator.what())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Self {
                input,
                ..self.clone()
            }),
            _ => plan_err!("{} has one input", self.name()),
        }
    }
}
