//! The static split: each class has slots of its own, and leaves them empty rather than lend them.

use super::{Policy, PolicyName, Rank, by_urgency};
use crate::{Class, JobView, SchedSettings};

#[derive(Debug)]
pub(super) struct Static;

impl Policy for Static {
    fn name(&self) -> PolicyName {
        PolicyName::Static
    }

    fn rank(&self, job: &JobView) -> Rank {
        by_urgency(job)
    }

    /// With a single slot there is nothing to divide, and the classes share it.
    fn class_limit(&self, class: Class, settings: &SchedSettings) -> usize {
        if settings.slots < 2 {
            return settings.slots;
        }
        let stream = settings.static_stream_slots.clamp(1, settings.slots - 1);
        match class {
            Class::Stream => stream,
            Class::Batch => settings.slots - stream,
        }
    }
}
