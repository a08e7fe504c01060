//! The sample rates of telephony.

/// Samples a second of a piece of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleRate {
    /// 8,000: G.711 and the telephone network.
    Hz8000,
    /// 16,000: G.722.
    Hz16000,
    /// 48,000: Opus.
    Hz48000,
}

impl SampleRate {
    /// All of them, the lowest first.
    pub const ALL: [Self; 3] = [Self::Hz8000, Self::Hz16000, Self::Hz48000];

    /// The rate of this number in Hz, if it is one of ours.
    #[must_use]
    pub fn of_hz(hz: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|rate| rate.hz() == hz)
    }

    /// Samples a second.
    #[must_use]
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8_000,
            Self::Hz16000 => 16_000,
            Self::Hz48000 => 48_000,
        }
    }

    /// Samples in `ms` milliseconds.
    #[must_use]
    pub const fn samples(self, ms: u32) -> usize {
        (self.hz() / 1_000) as usize * ms as usize
    }
}
