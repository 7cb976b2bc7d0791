//! The texts of events, each made once.

use std::sync::LazyLock;

use datafusion::arrow::array::StringViewArray;

use super::{AD_TYPES, ADS, CAMPAIGNS, EVENT_TYPES};
use crate::draws::{Draws, Purpose};

/// Users there are, and pages.
const USERS: u64 = 100;

/// Everything a column of text can hold.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) users: StringViewArray,
    pub(super) pages: StringViewArray,
    pub(super) ads: StringViewArray,
    pub(super) campaigns: StringViewArray,
    pub(super) ad_types: StringViewArray,
    pub(super) event_types: StringViewArray,
    pub(super) ip_addresses: StringViewArray,
}

pub(super) static POOLS: LazyLock<Pools> = LazyLock::new(|| Pools {
    users: ids(0, USERS),
    pages: ids(1, USERS),
    ads: ids(2, ADS),
    campaigns: ids(3, CAMPAIGNS),
    ad_types: StringViewArray::from_iter_values(AD_TYPES),
    event_types: StringViewArray::from_iter_values(EVENT_TYPES),
    ip_addresses: StringViewArray::from_iter_values(["1.2.3.4"]),
});

/// The user of an event.
pub(super) fn user(event: u64) -> u64 {
    Draws::new(0, Purpose::YsbEvent, event).below(USERS)
}

/// The page of an event.
pub(super) fn page(event: u64) -> u64 {
    Draws::new(1, Purpose::YsbEvent, event).below(USERS)
}

/// So many random UUIDs (version 4) of a kind.
fn ids(kind: u64, count: u64) -> StringViewArray {
    let ids = (0..count).map(|number| {
        let mut draws = Draws::new(kind, Purpose::YsbIds, number);
        let (high, low) = (draws.bits(), draws.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:x}{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            8 | (low >> 62),
            (low >> 48) & 0xfff,
            low & 0xffff_ffff_ffff
        )
    });
    StringViewArray::from_iter_values(ids)
}
