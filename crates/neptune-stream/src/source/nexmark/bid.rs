//! Bids, column by column, and what they have in common with auctions: prices and who is around.

use std::sync::LazyLock;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::Result;

use super::draws::{Purpose, below, draw};
use super::events::{Events, FIRST_ID, last_auction, last_person};
use super::seller::unknown;
use super::text;

/// Of so many persons or auctions in a row one is hot.
pub(super) const BATCH: u64 = 100;
/// Persons who still sell and bid.
const ACTIVE_PERSONS: u64 = 1_000;
/// Auctions that are still bid for.
const OPEN_AUCTIONS: u64 = 100;
/// How far ids may be ahead of what is there: some bids are for auctions that open later, or never.
const LEAD: u64 = 10;

/// A column of bids.
///
/// # Errors
/// For a column they do not have.
pub(super) fn column(events: &Events, name: &str) -> Result<ArrayRef> {
    match name {
        "auction" => Ok(events.integers(|event| FIRST_ID + auction(event))),
        "bidder" => Ok(events.integers(|event| FIRST_ID + bidder(event))),
        "price" => Ok(events.integers(|event| price(draw(event, Purpose::Price)))),
        "channel" => text::BID_CHANNELS.column(events, text::channel),
        "url" => text::BID_URLS.column(events, text::channel),
        "date_time" => Ok(events.times(|_| 0)),
        "extra" => text::BID_EXTRAS.drawn(events, Purpose::Extra),
        other => Err(unknown(other)),
    }
}

/// What is bid for: half of the time the first auction of the newest hundred.
fn auction(event: u64) -> u64 {
    let bits = draw(event, Purpose::Auction);
    let last = last_auction(event);
    if bits & 1 == 1 {
        return last / BATCH * BATCH;
    }
    let oldest = last.saturating_sub(OPEN_AUCTIONS);
    oldest + below(bits, last - oldest + 1 + LEAD)
}

/// Who bids: three times in four the second person of the newest hundred, who is not the hot seller.
fn bidder(event: u64) -> u64 {
    let bits = draw(event, Purpose::Bidder);
    match bits & 3 {
        0 => any_person(event, bits),
        _ => last_person(event) / BATCH * BATCH + 1,
    }
}

/// Any of the active persons, or one who comes soon.
pub(super) fn any_person(event: u64, bits: u64) -> u64 {
    let persons = last_person(event) + 1;
    let active = persons.min(ACTIVE_PERSONS);
    persons - active + below(bits, active + LEAD)
}

/// Steps into which the logarithms of prices are cut; in between they lie on a line.
const PRICE_STEPS: u64 = 4096;

/// Prices at the steps, in cents: from 1 to a million, evenly by their logarithm.
static PRICES: LazyLock<Vec<u64>> = LazyLock::new(|| {
    // Six decades in so many steps. Multiplications are exact to the last bit everywhere; a power function is not.
    let ratio = 1.003_378_622_102_704_8_f64;
    let mut at = 100.0_f64;
    let mut prices = Vec::with_capacity(PRICE_STEPS as usize + 1);
    for _ in 0..=PRICE_STEPS {
        prices.push(at.round() as u64);
        at *= ratio;
    }
    prices
});

/// A price in cents from a draw.
pub(super) fn price(bits: u64) -> u64 {
    let step = (bits >> 52) as usize;
    let prices = PRICES.get(step..step + 2).unwrap_or(&[100, 100]);
    let within = (bits >> 20) & 0xffff_ffff;
    prices[0] + (((prices[1] - prices[0]) * within) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_span_six_decades_evenly() {
        assert_eq!(price(0), 100);
        let highest = price(u64::MAX);
        assert!((99_990_000..100_010_000).contains(&highest), "{highest}");
        let mut decades = [0; 6];
        for event in 0..60_000 {
            let price = price(draw(event, Purpose::Price));
            decades[(price / 100).ilog10().min(5) as usize] += 1;
        }
        for count in decades {
            assert!((9_500..10_500).contains(&count), "{decades:?}");
        }
    }
}
