//! Preemption by suspension (SoCC 2019): the batch task in the way stops at its next yield point, keeps its
//! progress in memory and goes on, before new tasks start, when the stream task is done.
//!
//! Unlike the original, any higher class preempts a lower one, and among batch jobs any higher priority a lower one, not only
//! priority exactly 1. Streams start at once: one does not preempt another while streams hold all slots.

use super::{Policy, PolicyName, Preemption, Rank, by_urgency, more_urgent};
use crate::JobView;

#[derive(Debug)]
pub(super) struct Neptune;

impl Policy for Neptune {
    fn name(&self) -> PolicyName {
        PolicyName::Neptune
    }

    fn rank(&self, job: &JobView) -> Rank {
        by_urgency(job)
    }

    fn protects_batch(&self) -> bool {
        true
    }

    fn preemption(&self) -> Preemption {
        Preemption::Suspend
    }

    fn preempts(&self, newcomer: &JobView, victim: &JobView) -> bool {
        more_urgent(newcomer, victim)
    }
}
