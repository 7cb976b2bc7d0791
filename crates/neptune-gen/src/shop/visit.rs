//! Visits: the events that belong together because one visitor makes them.
//!
//! Many visits go on at once. Event number *n* belongs to lane *n* mod [`LANES`]; a lane is a row of
//! visits of equal length, one after the other, and lanes start in the middle of their first visit
//! so that they do not end together. From *n* alone follow the lane, the visit in the lane and the
//! step within the visit.

use super::Attack;
use super::ShopConfig;
use super::population::{Address, Country, Pool, User};
use crate::draws::{Draws, Purpose};

/// How many visits go on at once.
pub(super) const LANES: u64 = 1024;

/// The share of visits by travellers, who come from foreign countries like an attacker would.
const TRAVELLERS: f64 = 0.001;

/// The share of visits by partners, who crawl the catalogue and may.
const PARTNERS: f64 = 0.0003;

/// How visits follow each other in one lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    /// Events of each visit: 8 to 24, 16 on average over the lanes.
    length: u64,
    /// How many events of the first visit lie before the lane's start.
    offset: u64,
}

impl Lane {
    /// All lanes of a seed.
    pub(super) fn all(seed: u64) -> Vec<Self> {
        let lane = |number| {
            let mut draws = Draws::new(seed, Purpose::Lane, number);
            let length = 8 + draws.below(17);
            Self {
                length,
                offset: draws.below(length),
            }
        };
        (0..LANES).map(lane).collect()
    }

    /// The number of the visit, unique in the shop, and the step in it that event `n` is.
    pub(super) fn place(self, n: u64) -> (u64, u64) {
        let position = n / LANES + self.offset;
        (
            position / self.length * LANES + n % LANES,
            position % self.length,
        )
    }
}

/// Who makes a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visitor {
    /// A user as usual.
    Shopper,
    /// A user far from home.
    Traveller,
    /// A partner's crawler.
    Partner,
    /// An attacker.
    Attacker(Attack),
}

/// One visit: what all its events have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit {
    /// Unique in the shop.
    pub(super) number: u64,
    pub(super) visitor: Visitor,
    /// The account in use; attackers that try many take another one for every event.
    pub(super) user: User,
    pub(super) address: Address,
    pub(super) country: Country,
}

impl Visit {
    /// Visit number `number`; always the same one for a seed.
    pub(super) fn of(shop: &ShopConfig, number: u64) -> Self {
        let mut draws = Draws::new(shop.seed, Purpose::Visit, number);
        let visitor = Visitor::of(draws.unit());
        let user = User::visiting(shop, &mut draws);
        let (address, country) = match visitor {
            Visitor::Shopper => (Self::shopper_address(shop, &user, &mut draws), user.country),
            Visitor::Traveller => {
                let known = draws.chance(0.7);
                let address = pool_or_fresh(known, Pool::Hotel, shop, &mut draws);
                (address, user.country.other(&mut draws))
            }
            Visitor::Partner => (
                Pool::Partner.address(shop, &mut draws),
                Country::any(&mut draws),
            ),
            Visitor::Attacker(Attack::AccountTakeover) => {
                let proxied = draws.chance(0.3);
                let address = pool_or_fresh(proxied, Pool::Proxy, shop, &mut draws);
                let abroad = draws.chance(0.92);
                (
                    address,
                    if abroad {
                        user.country.other(&mut draws)
                    } else {
                        user.country
                    },
                )
            }
            Visitor::Attacker(attack) => {
                let pool = match attack {
                    Attack::CredentialStuffing => Pool::StuffingBot,
                    Attack::Carding => Pool::CardingBot,
                    Attack::Scraper | Attack::AccountTakeover => Pool::ScraperBot,
                };
                let settled = draws.chance(0.9);
                let address = pool_or_fresh(settled, pool, shop, &mut draws);
                (address, Country::any(&mut draws))
            }
        };
        Self {
            number,
            visitor,
            user,
            address,
            country,
        }
    }

    fn shopper_address(shop: &ShopConfig, user: &User, draws: &mut Draws) -> Address {
        match draws.unit() {
            way if way < 0.88 => user.address,
            way if way < 0.998 => Pool::Mobile.address(shop, draws),
            _ => Address::fresh(draws),
        }
    }
}

impl Visitor {
    /// The visitor that a draw from 0 to below 1 stands for.
    fn of(ticket: f64) -> Self {
        if ticket < super::ATTACK_SHARE {
            let kind = ticket / super::ATTACK_SHARE * Attack::ALL.len() as f64;
            let last = Attack::ALL.len() - 1;
            Self::Attacker(Attack::ALL[(kind as usize).min(last)])
        } else if ticket < super::ATTACK_SHARE + TRAVELLERS {
            Self::Traveller
        } else if ticket < super::ATTACK_SHARE + TRAVELLERS + PARTNERS {
            Self::Partner
        } else {
            Self::Shopper
        }
    }
}

fn pool_or_fresh(from_pool: bool, pool: Pool, shop: &ShopConfig, draws: &mut Draws) -> Address {
    if from_pool {
        pool.address(shop, draws)
    } else {
        Address::fresh(draws)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn visits_are_8_to_24_events_and_steps_count_up() {
        let lanes = Lane::all(3);
        let mut visits: HashMap<u64, Vec<u64>> = HashMap::new();
        for n in 0..LANES * 100 {
            let (visit, step) = lanes[(n % LANES) as usize].place(n);
            visits.entry(visit).or_default().push(step);
        }
        let whole = visits.values().filter(|steps| steps[0] == 0);
        for steps in whole {
            assert!(steps.len() <= 24);
            assert!(steps.iter().copied().eq(0..steps.len() as u64));
        }
        let events: usize = visits.values().map(Vec::len).sum();
        assert_eq!(events as u64, LANES * 100);
    }
}
