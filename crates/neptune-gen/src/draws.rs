//! Counter-based randomness: draws that depend only on a seed, a purpose and a number.
//!
//! The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast Splittable
//! Pseudorandom Number Generators", 2014); a stream of draws is that generator started at a mixed
//! state. Only integer and exact floating-point operations are used, so that every machine draws
//! the same.

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// What draws are for; different purposes draw independently.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Lane = 1,
    Visit = 2,
    Event = 3,
    User = 4,
    YsbIds = 5,
    YsbEvent = 6,
}

/// A stream of draws.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    state: u64,
}

impl Draws {
    /// The draws of `seed` for thing number `number` of a purpose.
    pub(crate) fn new(seed: u64, purpose: Purpose, number: u64) -> Self {
        let key = mix(seed.wrapping_add((purpose as u64).wrapping_mul(GAMMA)));
        Self {
            state: mix(key ^ number.wrapping_mul(GAMMA)),
        }
    }

    /// A number from 0 to below `limit`; 0 if the limit is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product: as even as a 64-bit draw can be, and without a division.
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of probability `probability` happens.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_independent_of_neighbours() {
        let mut counts = [[0_u32; 8]; 8];
        for number in 0..64_000 {
            let first = Draws::new(7, Purpose::Event, number).below(8);
            let second = Draws::new(7, Purpose::Event, number + 1).below(8);
            counts[first as usize][second as usize] += 1;
        }
        for count in counts.into_iter().flatten() {
            assert!((850..1150).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn purposes_and_seeds_draw_differently() {
        let first = |seed, purpose| Draws::new(seed, purpose, 5).bits();
        assert_ne!(first(1, Purpose::User), first(1, Purpose::Visit));
        assert_ne!(first(1, Purpose::User), first(2, Purpose::User));
        assert_eq!(Draws::new(1, Purpose::User, 5).below(0), 0);
    }
}
