//! Numbers for jitter and first turns, from a seed.

/// A small generator (SplitMix64): the same seed gives the same numbers.
///
/// It spreads probes in time and first turns over targets; nothing secret hangs on it.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`; zero when `end` is zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(end)) >> 64) as u64
    }

    /// `value` give or take `permille` thousandths of it.
    pub(crate) fn around(&mut self, value: u64, permille: u64) -> u64 {
        let width = value * permille / 1_000;
        value - width + self.below(2 * width + 1)
    }
}

/// Makes of a number another one in which every bit depends on every bit.
pub(crate) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn numbers_stay_in_their_range() {
        let mut random = Random::new(7);
        for _ in 0..10_000 {
            assert!(random.below(10) < 10);
            assert!((200..=300).contains(&random.around(250, 200)));
        }
        assert_eq!(random.below(0), 0);
        assert_eq!(random.around(0, 200), 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (Random::new(3), Random::new(3));
        assert!((0..100).all(|_| a.word() == b.word()));
        assert_ne!(Random::new(4).word(), Random::new(3).word());
    }
}
