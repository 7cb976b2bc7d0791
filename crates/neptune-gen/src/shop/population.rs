//! Who visits the shop, and from where: users with stable habits, and pools of addresses.

use super::ShopConfig;
use crate::draws::{Draws, Purpose};

/// Countries and how many of a hundred users live there.
const COUNTRIES: [(&str, u64); 12] = [
    ("US", 24),
    ("DE", 14),
    ("GB", 12),
    ("FR", 10),
    ("IN", 9),
    ("BR", 8),
    ("JP", 7),
    ("ES", 5),
    ("PL", 4),
    ("NL", 3),
    ("SE", 2),
    ("GR", 2),
];

/// The numbers below this are addresses of pools; the ones from it are seen once or hardly more.
const FRESH: u32 = 1 << 23;
const ADDRESS_BITS: u32 = 24;

/// A country by its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Country(usize);

impl Country {
    /// The two-letter code.
    pub(super) fn code(self) -> &'static str {
        COUNTRIES[self.0].0
    }

    /// Any country, each as likely.
    pub(super) fn any(draws: &mut Draws) -> Self {
        Self(draws.below(COUNTRIES.len() as u64) as usize)
    }

    /// Any country but this one.
    pub(super) fn other(self, draws: &mut Draws) -> Self {
        let step = 1 + draws.below(COUNTRIES.len() as u64 - 1) as usize;
        Self((self.0 + step) % COUNTRIES.len())
    }

    fn of_resident(draws: &mut Draws) -> Self {
        let mut ticket = draws.below(100);
        for (place, (_, share)) in COUNTRIES.iter().enumerate() {
            if ticket < *share {
                return Self(place);
            }
            ticket -= share;
        }
        Self(0)
    }
}

/// A network address: one of the 16 million of 10.0.0.0/8, which is private, so that no real host is
/// named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address(u32);

impl Address {
    /// The three octets after the 10. Numbers next to each other are far apart as addresses.
    pub(super) fn octets(self) -> [u8; 3] {
        const MASK: u32 = (1 << ADDRESS_BITS) - 1;
        // Each step can be undone within 24 bits, so different numbers stay different.
        let mut bits = self.0.wrapping_mul(0x9e_3779) & MASK;
        bits ^= bits >> 13;
        bits = bits.wrapping_mul(0x85_ebcb) & MASK;
        bits ^= bits >> 11;
        let [_, a, b, c] = bits.to_be_bytes();
        [a, b, c]
    }

    /// An address that hardly anybody else uses.
    pub(super) fn fresh(draws: &mut Draws) -> Self {
        Self(FRESH + draws.below(u64::from(FRESH)) as u32)
    }
}

/// A group of addresses that visitors of one sort share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// Offices and homes of several users.
    Shared,
    /// Mobile networks.
    Mobile,
    /// Hotels and airports.
    Hotel,
    /// Price comparison partners, which are allowed to crawl.
    Partner,
    /// Proxies that hide account takeovers.
    Proxy,
    /// Machines that try leaked passwords.
    StuffingBot,
    /// Machines that try stolen cards.
    CardingBot,
    /// Machines that copy the catalogue.
    ScraperBot,
}

impl Pool {
    /// How many addresses the pool has for a number of users.
    fn size(self, users: u64) -> u64 {
        match self {
            Self::Shared => (users / 80).max(1),
            Self::Mobile => (users / 10).max(4),
            Self::Hotel => (users / 200).max(4),
            Self::Partner => (users / 5000).max(1),
            Self::Proxy | Self::StuffingBot | Self::CardingBot | Self::ScraperBot => {
                (users / 500).max(4)
            }
        }
    }

    /// One of the pool's addresses, each as likely. Homes come first, then the pools in order.
    pub(super) fn address(self, shop: &ShopConfig, draws: &mut Draws) -> Address {
        const ORDER: [Pool; 8] = [
            Pool::Shared,
            Pool::Mobile,
            Pool::Hotel,
            Pool::Partner,
            Pool::Proxy,
            Pool::StuffingBot,
            Pool::CardingBot,
            Pool::ScraperBot,
        ];
        let before = ORDER.iter().take_while(|pool| **pool != self);
        let start: u64 = shop.users + before.map(|pool| pool.size(shop.users)).sum::<u64>();
        Address((start + draws.below(self.size(shop.users))) as u32)
    }
}

/// A registered user and their habits.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    /// The user's number, counting from 0.
    pub(super) number: u64,
    /// Where they live.
    pub(super) country: Country,
    /// Where they mostly come from.
    pub(super) address: Address,
    /// What they mostly pay, in cents.
    pub(super) usual_cents: f64,
}

impl User {
    /// The user of that number; always the same one for a seed.
    pub(super) fn of(shop: &ShopConfig, number: u64) -> Self {
        let mut draws = Draws::new(shop.seed, Purpose::User, number);
        let country = Country::of_resident(&mut draws);
        let wealth = draws.unit();
        let usual_cents = 1_000.0 + 19_000.0 * wealth * wealth * wealth;
        let address = if draws.chance(0.1) {
            Pool::Shared.address(shop, &mut draws)
        } else {
            Address(number as u32)
        };
        Self {
            number,
            country,
            address,
            usual_cents,
        }
    }

    /// A user to visit the shop: the first ones are the most active, the last ones half as active
    /// as the average.
    pub(super) fn visiting(shop: &ShopConfig, draws: &mut Draws) -> Self {
        let place = draws.unit();
        let number = (shop.users as f64 * place * place) as u64;
        Self::of(shop, number.min(shop.users.saturating_sub(1)))
    }

    /// Any user, each as likely.
    pub(super) fn any(shop: &ShopConfig, draws: &mut Draws) -> Self {
        Self::of(shop, draws.below(shop.users))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn countries_share_out_all_users() {
        assert_eq!(COUNTRIES.iter().map(|(_, share)| share).sum::<u64>(), 100);
    }

    #[test]
    fn different_addresses_have_different_octets() {
        let octets: HashSet<[u8; 3]> = (0..1 << 20).map(|n| Address(n * 16).octets()).collect();
        assert_eq!(octets.len(), 1 << 20);
    }

    #[test]
    fn pools_of_the_largest_shop_stay_below_the_fresh_addresses() {
        let users = super::super::USERS_MAX;
        let shop = ShopConfig { seed: 1, users };
        let mut draws = Draws::new(1, Purpose::User, 1);
        // The last pool starts highest.
        assert!(Pool::ScraperBot.address(&shop, &mut draws).0 < FRESH);
    }
}
