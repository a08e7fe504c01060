//! The one source of chance of a run.

/// A generator with 64 bits of state (SplitMix64's step and mix). The same seed gives the same numbers on
/// every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }

    /// True once in `odds` times; never for zero.
    pub fn one_in(&mut self, odds: u64) -> bool {
        odds != 0 && self.number().is_multiple_of(odds)
    }

    /// A span of microseconds: mostly near `low`, at times up to `high`.
    pub fn span_us(&mut self, low: u64, high: u64) -> u64 {
        let third = self.number() % 1000;
        let share = third * third * third / 1_000_000;
        low + (high - low) * share / 1000
    }
}
