//! First in, first out: what engines do that know no classes.

use std::cmp::Reverse;

use super::{Policy, PolicyName, Rank};
use crate::JobView;

#[derive(Debug)]
pub(super) struct Fifo;

impl Policy for Fifo {
    fn name(&self) -> PolicyName {
        PolicyName::Fifo
    }

    fn rank(&self, job: &JobView) -> Rank {
        (0, Reverse(0), false, job.age)
    }
}
