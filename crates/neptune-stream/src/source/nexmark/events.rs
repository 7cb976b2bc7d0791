//! The sequence of events: which of them are of a kind, who is around at each, and when it happens.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, TimestampNanosecondArray};
use datafusion::common::{DataFusionError, Result};

/// Events after which the kinds come again in the same order.
const PERIOD: u64 = 50;
/// Auctions among them.
const AUCTIONS: u64 = 3;
/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// Persons and auctions are numbered from here on, so that no query takes an id for a row number.
pub(super) const FIRST_ID: u64 = 1_000;
/// Ids grow by about one sixteenth of the event number: below this many events nothing overflows.
const EVENTS_MAX: u64 = 1 << 60;

/// The events of one kind: their places in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    first: u64,
    count: u64,
}

impl Kind {
    pub(super) const PERSON: Self = Self { first: 0, count: 1 };
    pub(super) const AUCTION: Self = Self {
        first: 1,
        count: AUCTIONS,
    };
    pub(super) const BID: Self = Self {
        first: 1 + AUCTIONS,
        count: PERIOD - 1 - AUCTIONS,
    };

    /// How many of the first `events` events are of this kind.
    pub(super) fn rows_among(self, events: u64) -> u64 {
        let (periods, rest) = (events / PERIOD, events % PERIOD);
        periods * self.count + rest.saturating_sub(self.first).min(self.count)
    }

    /// The event that is row `row` of the kind.
    pub(super) fn event(self, row: u64) -> u64 {
        (row / self.count)
            .saturating_mul(PERIOD)
            .saturating_add(self.first + row % self.count)
    }
}

/// The number of the newest person at an event, from 0.
pub(super) fn last_person(event: u64) -> u64 {
    event / PERIOD
}

/// The number of the newest auction at an event, from 0; 0 also before the first.
pub(super) fn last_auction(event: u64) -> u64 {
    let (period, place) = (event / PERIOD, event % PERIOD);
    (period * AUCTIONS + place.min(AUCTIONS)).saturating_sub(1)
}

/// Rows of one kind, with their event times.
#[derive(Debug)]
pub(super) struct Events {
    kind: Kind,
    rows: Range<u64>,
    start_nanos: i64,
    rate: u64,
}

impl Events {
    /// Rows `rows` of `kind` where `rate` events of any kind happen each second from `start_nanos` on.
    ///
    /// # Errors
    /// For events that happen after the end of TIMESTAMP.
    pub(super) fn new(kind: Kind, rows: Range<u64>, start_nanos: i64, rate: u64) -> Result<Self> {
        let events = Self {
            kind,
            rows,
            start_nanos,
            rate: rate.max(1),
        };
        let end = kind.event(events.rows.end);
        // Twice the event's own time: auctions expire after that.
        let horizon = u128::from(end) * 2 * u128::from(SECOND) / u128::from(events.rate);
        let latest = i128::from(start_nanos) + i128::try_from(horizon).unwrap_or(i128::MAX / 2);
        if end > EVENTS_MAX || latest > i128::from(i64::MAX) - (1 << 60) {
            return Err(DataFusionError::Execution(format!(
                "event {end} at {} events per second is beyond the range of TIMESTAMP",
                events.rate
            )));
        }
        Ok(events)
    }

    /// The event numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let kind = self.kind;
        self.rows.clone().map(move |row| kind.event(row))
    }

    /// A column of whole numbers, each made from its event's number.
    pub(super) fn integers(&self, make: impl Fn(u64) -> u64) -> ArrayRef {
        let values = self.numbers().map(|event| make(event) as i64);
        Arc::new(Int64Array::from_iter_values(values))
    }

    /// The column of event times, each `later(event)` nanoseconds after its event.
    pub(super) fn times(&self, later: impl Fn(u64) -> u64) -> ArrayRef {
        let start = self.start_nanos;
        let rate = self.rate;
        let array = if SECOND.is_multiple_of(rate) {
            // Two divisions fewer for each row.
            let gap = SECOND / rate;
            let at = move |event| start + (event * gap + later(event)) as i64;
            TimestampNanosecondArray::from_iter_values(self.numbers().map(at))
        } else {
            let at = move |event| start + (since_start(event, rate) + later(event)) as i64;
            TimestampNanosecondArray::from_iter_values(self.numbers().map(at))
        };
        Arc::new(array)
    }

    /// The time in nanoseconds in which `events` events happen.
    pub(super) fn span_nanos(&self, events: u64) -> u64 {
        since_start(events, self.rate)
    }
}

/// When event `event` happens, in nanoseconds since event 0. The product fits: a remainder is below the rate, and
/// where that is too large the event has no whole nanoseconds of its own.
fn since_start(event: u64, rate: u64) -> u64 {
    let (seconds, rest) = (event / rate, event % rate);
    let nanos = match rest.checked_mul(SECOND) {
        Some(product) => product / rate,
        // Below one second, hence within 64 bits.
        None => (u128::from(rest) * u128::from(SECOND) / u128::from(rate)) as u64,
    };
    seconds * SECOND + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_share_the_events_without_gap_or_overlap() {
        let kinds = [Kind::PERSON, Kind::AUCTION, Kind::BID];
        let (mut next, mut order) = ([0_u64; 3], Vec::new());
        for event in 0..1_000 {
            let owners: Vec<_> = (0..3)
                .filter(|kind| kinds[*kind].event(next[*kind]) == event)
                .collect();
            assert_eq!(owners.len(), 1, "event {event}");
            for (kind, rows) in kinds.iter().zip(next) {
                assert_eq!(kind.rows_among(event), rows, "before event {event}");
            }
            next[owners[0]] += 1;
            order.push(owners[0]);
        }
        assert_eq!(next, [20, 60, 920], "1 : 3 : 46");
        assert_eq!(order[..6], [0, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn the_newest_person_and_auction_are_those_made_before() {
        for event in 1..500 {
            let (persons, auctions) = (
                Kind::PERSON.rows_among(event + 1),
                Kind::AUCTION.rows_among(event + 1),
            );
            assert_eq!(last_person(event), persons - 1, "event {event}");
            assert_eq!(last_auction(event), auctions - 1, "event {event}");
        }
        assert_eq!(last_auction(0), 0);
    }

    #[test]
    fn times_do_not_drift_at_any_rate() {
        for (event, rate, nanos) in [
            (0, 3, 0),
            (1, 3, 333_333_333),
            (3_000_000_001, 3, 1_000_000_000_333_333_333),
            (50_000, 10_000, 5 * SECOND),
            (7, u64::MAX, 0),
            (u64::MAX / 2, u64::MAX, SECOND / 2 - 1),
        ] {
            assert_eq!(since_start(event, rate), nanos, "{event} at {rate}/s");
        }
    }

    #[test]
    fn events_beyond_the_end_of_time_are_refused() {
        for (row, rate, fits) in [
            (1 << 40, 1_000_000, true),
            (1 << 40, 1_000, true),
            (1 << 40, 1, false),
            (u64::MAX, 1 << 50, false),
        ] {
            let made = Events::new(Kind::BID, row..row, 0, rate);
            assert_eq!(made.is_ok(), fits, "{row} at {rate}/s");
        }
    }
}
