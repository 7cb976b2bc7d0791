//! The shop: its users, its visitors' events, and the attackers among them.
//!
//! Event *n* of a seed is a pure function of (seed, *n*): randomness is drawn by hashing counters,
//! never from a running generator. So the history on disk and the live events come from one
//! definition, any range can be made without the ones before it, and ranges join without a seam.
//!
//! Normal users have habits: a home country, a home address, an amount they usually pay. Half a per
//! cent of the events belong to [attacks](Attack), each recognisable by statistics over the history,
//! but not perfectly: some attackers come from addresses never seen before, some users travel, and
//! partners crawl the catalogue with permission.

mod columns;
mod event;
mod history;
mod population;
mod visit;

use std::ops::Range;

use datafusion::arrow::array::RecordBatch;

use self::columns::Columns;
pub use self::columns::schema;
use self::event::Event;
pub use self::history::{ShopHistory, ensure_history};
use self::visit::{LANES, Lane, Visit};
use crate::{GenError, Result};

/// The share of events that belong to attacks, all kinds alike.
pub const ATTACK_SHARE: f64 = 0.005;

/// Event numbers are below this, for the event time to fit its column.
pub const EVENTS_MAX: u64 = 1 << 36;

/// A shop has at most this many users, for the addresses to suffice.
pub const USERS_MAX: u64 = 1 << 22;

/// The most events of one record batch.
pub const BATCH_ROWS_MAX: u64 = 1 << 22;

/// How many events of the history each user has on average.
const EVENTS_PER_USER: u64 = 400;

/// A kind of attack: the truth that detection is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Attack {
    /// One address tries leaked passwords on many accounts.
    CredentialStuffing,
    /// One address makes many small payments to learn which stolen cards work.
    Carding,
    /// One address copies the catalogue, page after page.
    Scraper,
    /// Somebody uses another's account, mostly from abroad, and buys far more than they do.
    AccountTakeover,
}

impl Attack {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::CredentialStuffing,
        Self::Carding,
        Self::Scraper,
        Self::AccountTakeover,
    ];

    /// The kind's name in the column `attack`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CredentialStuffing => "credential_stuffing",
            Self::Carding => "carding",
            Self::Scraper => "scraper",
            Self::AccountTakeover => "account_takeover",
        }
    }
}

/// Which shop: everything that its events depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShopConfig {
    /// Another seed gives another shop.
    pub seed: u64,
    /// The number of registered users, from 1 to [`USERS_MAX`].
    pub users: u64,
}

impl ShopConfig {
    /// The shop whose history of `rows` events has about 400 events of each user, 16 of them
    /// purchases.
    ///
    /// Its live events are the ones from number `rows` on.
    pub fn for_history(seed: u64, rows: u64) -> Self {
        Self {
            seed,
            users: (rows / EVENTS_PER_USER).clamp(100, USERS_MAX),
        }
    }

    /// The events of a range of numbers as one record batch of [`schema`].
    ///
    /// # Errors
    /// A range that ends before it starts, after [`EVENTS_MAX`], or holds more than
    /// [`BATCH_ROWS_MAX`] events.
    pub fn batch(&self, range: Range<u64>) -> Result<RecordBatch> {
        let Range { start, end } = range;
        let refused = |reason| GenError::BadRange { start, end, reason };
        if start > end {
            return Err(refused("it ends before it starts"));
        }
        if end > EVENTS_MAX {
            return Err(refused("event numbers end at 2^36, where event time ends"));
        }
        if end - start > BATCH_ROWS_MAX {
            return Err(refused("one batch has at most 2^22 events"));
        }
        let shop = Self {
            users: self.users.clamp(1, USERS_MAX),
            ..*self
        };
        let lanes = Lane::all(shop.seed);
        let mut columns = Columns::with_capacity((end - start) as usize);
        for n in start..end {
            let (visit, step) = lanes[(n % LANES) as usize].place(n);
            columns.push(&Event::of(&shop, n, Visit::of(&shop, visit), step));
        }
        columns.finish()
    }
}
