//! Points on a monotonic clock.

/// A point in time: milliseconds on a monotonic clock.
///
/// The crate has no clock of its own; every time in it came in as a parameter. Only differences
/// mean anything, and arithmetic saturates, so [`Time::MAX`] serves as "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The clock's origin.
    pub const ZERO: Time = Time(0);
    /// Later than anything that will come: never.
    pub const MAX: Time = Time(u64::MAX);

    /// The point `ms` milliseconds after the clock's origin.
    pub const fn from_ms(ms: u64) -> Time {
        Time(ms)
    }

    /// Milliseconds since the clock's origin.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// The point `ms` milliseconds later; saturates at [`Time::MAX`].
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }

    /// The point `ms` milliseconds earlier; saturates at [`Time::ZERO`].
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this point; zero when `earlier` is not earlier.
    pub const fn ms_since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Time::MAX.plus_ms(1), Time::MAX);
        assert_eq!(Time::from_ms(3).minus_ms(5), Time::ZERO);
        assert_eq!(Time::from_ms(3).ms_since(Time::from_ms(5)), 0);
    }

    #[test]
    fn a_difference_is_in_milliseconds() {
        let start = Time::from_ms(1_000);
        assert_eq!(start.plus_ms(500).ms_since(start), 500);
    }
}
