//! A random sequence that follows from its seed alone, for ever: `SplitMix64`.
//!
//! A crate's generator may change its sequence with a version; the payments of a seed must not. Not for secrets.
//! Next room: `generate`, which draws from it.

/// A sequence of 64-bit numbers (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts the sequence of a seed. Any seed is as good as another, zero included.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// Draws the next number, over all 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Draws a number below `bound`. The bias is under `bound / 2^64`, which no test here can see.
    ///
    /// # Panics
    /// If `bound` is zero: there is no such number.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a bound of zero leaves nothing to draw");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_sequence_of_seed_zero_is_the_published_one() {
        let mut random = Random::new(0);
        assert_eq!(random.next_u64(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next_u64(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn a_bound_is_kept_and_reached() {
        let mut random = Random::new(7);
        let drawn: Vec<u64> = (0..1000).map(|_| random.below(3)).collect();
        assert!(drawn.iter().all(|number| *number < 3));
        assert!((0..3).all(|number| drawn.contains(&number)));
    }
}
