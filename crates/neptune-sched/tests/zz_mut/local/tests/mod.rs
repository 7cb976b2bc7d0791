//! Tests of the scheduler: tables of short scripts, properties of random ones, and simulated time.

use super::*;

/// One test for each script: name, slots, policies, script.
macro_rules! scripts {
    ($($name:ident: $slots:literal, [$($policy:ident),+], $script:literal;)+) => {
        $(#[test] fn $name() {
            for policy in [$(PolicyName::$policy),+] {
                script::play($slots, policy, $script);
            }
        })+
    };
}

mod invariants;
mod policies;
mod properties;
mod script;
mod shares;
mod simulation;
mod stale;
mod suspension;
