//! One event: what a visitor does at one step of a visit.

use super::population::User;
use super::visit::{Visit, Visitor};
use super::{Attack, ShopConfig};
use crate::draws::{Draws, Purpose};

/// Event number 0 happens at 2026-01-01 00:00:00, in nanoseconds since 1970.
const START_NS: i64 = 1_767_225_600_000_000_000;

/// Each event has a slot of 100 ms of event time and happens somewhere within it.
const SLOT_NS: i64 = 100_000_000;

/// How many products the catalogue has.
pub(super) const PRODUCTS: u64 = 5000;

/// What a visitor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Looks at the product of that number.
    View(u64),
    Search,
    AddToCart,
    /// Pays that many cents.
    Purchase(u64),
    Login,
    LoginFailed,
}

impl Action {
    /// The action's name in the column `action`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::View(_) => "view",
            Self::Search => "search",
            Self::AddToCart => "add_to_cart",
            Self::Purchase(_) => "purchase",
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
        }
    }

    /// What was paid.
    pub(super) fn amount(self) -> Option<f64> {
        match self {
            Self::Purchase(cents) => Some(cents as f64 / 100.0),
            _ => None,
        }
    }
}

/// One event of the shop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) number: u64,
    /// Nanoseconds since 1970; grows with the number.
    pub(super) time_ns: i64,
    /// The account's number, counting from 0.
    pub(super) user: u64,
    pub(super) visit: Visit,
    pub(super) action: Action,
}

impl Event {
    /// Event `number` at step `step` of its visit. The number must be below
    /// [`super::EVENTS_MAX`], for the time to fit.
    pub(super) fn of(shop: &ShopConfig, number: u64, visit: Visit, step: u64) -> Self {
        let mut draws = Draws::new(shop.seed, Purpose::Event, number);
        let within = draws.below(SLOT_NS as u64 / 1000) as i64 * 1000;
        let time_ns = START_NS + number as i64 * SLOT_NS + within;
        let account = match visit.visitor {
            Visitor::Attacker(Attack::CredentialStuffing | Attack::Carding) => {
                User::any(shop, &mut draws).number
            }
            _ => visit.user.number,
        };
        let action = match visit.visitor {
            Visitor::Shopper | Visitor::Traveller => shop_around(&visit.user, step, &mut draws),
            Visitor::Partner => crawl(0.9, &mut draws),
            Visitor::Attacker(attack) => attack_step(attack, &visit.user, step, &mut draws),
        };
        Self {
            number,
            time_ns,
            user: account,
            visit,
            action,
        }
    }

    /// The truth about the event: the kind of attack it belongs to.
    pub(super) fn attack(&self) -> Option<Attack> {
        match self.visit.visitor {
            Visitor::Attacker(attack) => Some(attack),
            _ => None,
        }
    }
}

fn attack_step(attack: Attack, user: &User, step: u64, draws: &mut Draws) -> Action {
    match attack {
        Attack::CredentialStuffing if draws.chance(0.96) => Action::LoginFailed,
        Attack::CredentialStuffing => Action::Login,
        // Small payments show whether a stolen card works.
        Attack::Carding if draws.chance(0.85) => Action::Purchase(50 + draws.below(250)),
        Attack::Carding => Action::AddToCart,
        Attack::Scraper => crawl(0.98, draws),
        Attack::AccountTakeover if step == 0 => Action::Login,
        Attack::AccountTakeover if draws.chance(0.5) => {
            let times = 4.0 + 8.0 * draws.unit();
            Action::Purchase((user.usual_cents * times) as u64)
        }
        Attack::AccountTakeover => view(draws),
    }
}

fn shop_around(user: &User, step: u64, draws: &mut Draws) -> Action {
    let ticket = draws.unit();
    if step == 0 && ticket < 0.4 {
        return if draws.chance(0.08) {
            Action::LoginFailed
        } else {
            Action::Login
        };
    }
    match ticket {
        t if t < 0.63 => view(draws),
        t if t < 0.82 => Action::Search,
        t if t < 0.93 => Action::AddToCart,
        t if t < 0.97 => Action::Purchase(purchase_cents(user, draws)),
        t if t < 0.99 => Action::Login,
        _ => Action::LoginFailed,
    }
}

/// What a user pays: mostly near the usual amount, once in 300 times a multiple of it.
fn purchase_cents(user: &User, draws: &mut Draws) -> u64 {
    let bell: f64 = (0..4).map(|_| draws.unit()).sum::<f64>() / 4.0;
    let times = if draws.chance(1.0 / 300.0) {
        3.0 + 3.0 * bell
    } else {
        0.25 + 1.5 * bell
    };
    (user.usual_cents * times) as u64
}

fn crawl(views: f64, draws: &mut Draws) -> Action {
    if draws.chance(views) {
        view(draws)
    } else {
        Action::Search
    }
}

/// A view of a product; the first ones are the most popular.
fn view(draws: &mut Draws) -> Action {
    let place = draws.unit();
    Action::View(((PRODUCTS as f64 * place * place) as u64).min(PRODUCTS - 1))
}
