//! Randomness that depends only on an event's number and on what it is for, so that a column can be made without the
//! others.
//!
//! The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
//! Generators", 2014). Only whole numbers are used: every machine draws the same.

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a draw is for; different purposes draw independently.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Letters = 1,
    Extra,
    Name,
    Email,
    CreditCard,
    City,
    State,
    Item,
    Description,
    InitialBid,
    Reserve,
    Expires,
    Seller,
    Category,
    Auction,
    Bidder,
    Price,
    Channel,
    Url,
}

/// 64 random bits of an event (or of anything else that is counted).
pub(super) fn draw(number: u64, purpose: Purpose) -> u64 {
    let key = (purpose as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
    mix(mix(number.wrapping_mul(GAMMA) ^ key).wrapping_add(GAMMA))
}

/// A number below `limit` from the high bits of a draw; its low bits can decide something else.
pub(super) fn below(bits: u64, limit: u64) -> u64 {
    ((u128::from(bits) * u128::from(limit)) >> 64) as u64
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
