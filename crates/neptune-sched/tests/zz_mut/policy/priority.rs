//! Order only: streams go before batch work in the queue, and nobody is interrupted.

use super::{Policy, PolicyName, Rank, by_urgency};
use crate::JobView;

#[derive(Debug)]
pub(super) struct Priority;

impl Policy for Priority {
    fn name(&self) -> PolicyName {
        PolicyName::Priority
    }

    fn rank(&self, job: &JobView) -> Rank {
        by_urgency(job)
    }

    fn protects_batch(&self) -> bool {
        true
    }
}
