//! The pseudo-random numbers that runs are varied with: SplitMix64 (Steele, Lea, Flood: *Fast
//! splittable pseudorandom number generators*, OOPSLA 2014).
//!
//! Own code because a run's number must mean the same run with any version of a library.

/// A generator; equal seeds give equal sequences.
#[derive(Clone, Debug, Default)]
pub struct Random(u64);

impl Random {
    /// The generator of these words.
    pub fn of(words: &[u64]) -> Self {
        let mut random = Self(0);
        for word in words {
            random.0 = random.word() ^ word;
        }
        random.word();
        random
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The bias of a remainder is of no matter here.
        self.word() % limit.max(1)
    }

    /// One of these, of which there must be some.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_words_give_equal_numbers_and_others_do_not() {
        let first = |words: &[u64]| Random::of(words).word();
        assert_eq!(first(&[1, 2]), first(&[1, 2]));
        assert_ne!(first(&[1, 2]), first(&[2, 1]));
        assert_ne!(first(&[0]), first(&[0, 0]));
    }
}
