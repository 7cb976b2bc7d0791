//! Persons and the auctions they open, column by column.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringViewBuilder};
use datafusion::common::{DataFusionError, Result};

use super::bid::{BATCH, any_person, price};
use super::draws::{Purpose, below, draw};
use super::events::{Events, FIRST_ID, last_auction, last_person};
use super::text;

/// The first of the categories.
const FIRST_CATEGORY: u64 = 10;
/// Categories there are.
const CATEGORIES: u64 = 5;
/// Auctions that are open at a time, on average, and the events it takes to open as many.
const EVENTS_OPEN: u64 = 100 * 50 / 3;
/// The shortest auction, in nanoseconds.
const SHORTEST: u64 = 1_000_000;

/// A column of persons.
///
/// # Errors
/// For a column they do not have.
pub(super) fn person_column(events: &Events, name: &str) -> Result<ArrayRef> {
    match name {
        "id" => Ok(events.integers(|event| FIRST_ID + last_person(event))),
        "name" => text::NAMES.drawn(events, Purpose::Name),
        "email_address" => Ok(written(events, |address, event| {
            let bits = draw(event, Purpose::Email);
            text::push_letters(address, bits, 7);
            address.push('@');
            text::push_letters(address, bits << 35, 5);
            address.push_str(".com");
        })),
        "credit_card" => Ok(written(events, |card, event| {
            let bits = draw(event, Purpose::CreditCard);
            for group in 0..4 {
                let separator = if group == 0 { "" } else { " " };
                let digits = below(bits << (16 * group), 10_000);
                // Writing into a string cannot fail.
                let _ = write!(card, "{separator}{digits:04}");
            }
        })),
        "city" => text::PERSON_CITIES.drawn(events, Purpose::City),
        "state" => text::PERSON_STATES.drawn(events, Purpose::State),
        "date_time" => Ok(events.times(|_| 0)),
        "extra" => text::PERSON_EXTRAS.drawn(events, Purpose::Extra),
        other => Err(unknown(other)),
    }
}

/// A column of auctions.
///
/// # Errors
/// For a column they do not have.
pub(super) fn auction_column(events: &Events, name: &str) -> Result<ArrayRef> {
    match name {
        "id" => Ok(events.integers(|event| FIRST_ID + last_auction(event))),
        "item_name" => text::ITEMS.drawn(events, Purpose::Item),
        "description" => text::DESCRIPTIONS.drawn(events, Purpose::Description),
        "initial_bid" => Ok(events.integers(|event| price(draw(event, Purpose::InitialBid)))),
        "reserve" => Ok(events.integers(|event| {
            price(draw(event, Purpose::InitialBid)) + price(draw(event, Purpose::Reserve))
        })),
        "date_time" => Ok(events.times(|_| 0)),
        "expires" => {
            let longest = 2 * events.span_nanos(EVENTS_OPEN);
            Ok(events
                .times(|event| SHORTEST + below(draw(event, Purpose::Expires), longest.max(1))))
        }
        "seller" => Ok(events.integers(|event| FIRST_ID + seller(event))),
        "category" => Ok(events
            .integers(|event| FIRST_CATEGORY + below(draw(event, Purpose::Category), CATEGORIES))),
        "extra" => text::AUCTION_EXTRAS.drawn(events, Purpose::Extra),
        other => Err(unknown(other)),
    }
}

/// Who sells: three times in four the first person of the newest hundred.
fn seller(event: u64) -> u64 {
    let bits = draw(event, Purpose::Seller);
    match bits & 3 {
        0 => any_person(event, bits),
        _ => last_person(event) / BATCH * BATCH,
    }
}

/// A column of texts of their own.
fn written(events: &Events, write: impl Fn(&mut String, u64)) -> ArrayRef {
    let mut column = StringViewBuilder::new();
    let mut text = String::new();
    for event in events.numbers() {
        text.clear();
        write(&mut text, event);
        column.append_value(&text);
    }
    Arc::new(column.finish())
}

pub(super) fn unknown(name: &str) -> DataFusionError {
    DataFusionError::Internal(format!("a table of Nexmark has no column {name}"))
}
