//! Fair sharing among jobs: the one that had the least slot time for its weight goes first.
//!
//! A job starts with the share of the job served least among those present, not with zero: it neither pays
//! for the time before it came nor gets it back.

use std::cmp::Reverse;

use super::{Policy, PolicyName, Rank};
use crate::JobView;

#[derive(Debug)]
pub(super) struct Fair;

impl Policy for Fair {
    fn name(&self) -> PolicyName {
        PolicyName::Fair
    }

    fn rank(&self, job: &JobView) -> Rank {
        (job.virtual_time.0, Reverse(0), false, job.age)
    }
}
