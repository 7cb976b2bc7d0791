//! Preemption by killing: the batch job in the way loses its work and starts again.

use super::{Policy, PolicyName, Preemption, Rank, by_urgency, more_urgent};
use crate::JobView;

#[derive(Debug)]
pub(super) struct Kill;

impl Policy for Kill {
    fn name(&self) -> PolicyName {
        PolicyName::Kill
    }

    fn rank(&self, job: &JobView) -> Rank {
        by_urgency(job)
    }

    fn protects_batch(&self) -> bool {
        true
    }

    fn preemption(&self) -> Preemption {
        Preemption::Kill
    }

    fn preempts(&self, newcomer: &JobView, victim: &JobView) -> bool {
        victim.killable && more_urgent(newcomer, victim)
    }
}
