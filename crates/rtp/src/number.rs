//! The numbers of RTP, each with its own arithmetic.

/// A point in time in microseconds, by a monotonic clock of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// Microseconds since `earlier`, 0 if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A synchronization source: who sends a stream (RFC 3550 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ssrc(pub u32);

/// A sequence number, which wraps around (RFC 3550 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sequence(pub u16);

impl Sequence {
    /// The number that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How far `self` lies ahead of `other`, on the shorter way round; negative when behind.
    #[must_use]
    pub fn ahead_of(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

/// A media timestamp in units of its stream's [`ClockRate`], which wraps around (RFC 3550 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timestamp(pub u32);

impl Timestamp {
    /// The timestamp `units` later.
    #[must_use]
    pub fn plus(self, units: u32) -> Self {
        Self(self.0.wrapping_add(units))
    }

    /// How far `self` lies ahead of `other`, on the shorter way round; negative when behind.
    #[must_use]
    pub fn ahead_of(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

/// What a payload is encoded as: 0 to 127 (RFC 3550 section 5.1, RFC 3551 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PayloadType(u8);

impl PayloadType {
    /// The type of that number; `None` above 127.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match number {
            0..128 => Some(Self(number)),
            _ => None,
        }
    }

    /// The type in the second byte of a packet, whose highest bit is the marker.
    pub(crate) fn of_byte(byte: u8) -> Self {
        Self(byte & 0x7f)
    }

    /// The number, 0 to 127.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The clock rate of the types that RFC 3551 section 6 assigns statically, for a stream whose session
    /// description does not name it. G.722 counts at 8,000 though it samples at 16,000 (section 4.5.2).
    #[must_use]
    pub fn static_clock_rate(self) -> Option<ClockRate> {
        let hz = match self.0 {
            0 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 13 | 15 | 18 => 8_000,
            6 => 16_000,
            10 | 11 => 44_100,
            14 | 25 | 26 | 28 | 31..=34 => 90_000,
            16 => 11_025,
            17 => 22_050,
            _ => return None,
        };
        ClockRate::new(hz)
    }
}

/// How many units of [`Timestamp`] a second has, in Hz: 1 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockRate(std::num::NonZeroU32);

impl ClockRate {
    /// The highest rate that is taken. Payload formats use 90,000 at most.
    pub const HZ_MAX: u32 = 1_000_000;

    /// That rate in Hz; `None` for 0 and above [`ClockRate::HZ_MAX`].
    #[must_use]
    pub const fn new(hz: u32) -> Option<Self> {
        match std::num::NonZeroU32::new(hz) {
            Some(rate) if hz <= Self::HZ_MAX => Some(Self(rate)),
            _ => None,
        }
    }

    /// The rate in Hz.
    #[must_use]
    pub fn hz(self) -> u32 {
        self.0.get()
    }

    /// `units` of this clock in microseconds.
    #[must_use]
    pub fn to_us(self, units: u32) -> u64 {
        u64::from(units) * 1_000_000 / u64::from(self.hz())
    }

    /// The time `at` in units of this clock, modulo 2^32 as timestamps are.
    #[must_use]
    pub fn units_at(self, at: Micros) -> u32 {
        let hz = u64::from(self.hz());
        // Divided by a constant, so by a multiplication. Seconds apart, so that nothing overflows.
        let (seconds, us) = (at.0 / 1_000_000, at.0 % 1_000_000);
        let units = seconds.wrapping_mul(hz).wrapping_add(us * hz / 1_000_000);
        units as u32
    }
}

/// The time of day in RTCP: seconds since 1900 in the high half, their fraction in the low one (RFC 3550 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Seconds from 1900 to 1970.
    const UNIX_EPOCH_S: u64 = 2_208_988_800;

    /// The time `us` microseconds after the start of 1970. It wraps around in 2036, as NTP does.
    #[must_use]
    pub fn of_unix_us(us: u64) -> Self {
        let seconds = (us / 1_000_000 + Self::UNIX_EPOCH_S) & 0xffff_ffff;
        let fraction = ((us % 1_000_000) << 32) / 1_000_000;
        Self(seconds << 32 | fraction)
    }

    /// The middle 32 bits, which report blocks refer to (RFC 3550 section 6.4.1, LSR).
    #[must_use]
    pub fn short(self) -> ShortNtp {
        ShortNtp((self.0 >> 16) as u32)
    }
}

/// A time or a duration in 1/65,536 s, the middle bits of an [`NtpTime`] (RFC 3550 section 6.4.1, LSR and DLSR).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ShortNtp(pub u32);

impl ShortNtp {
    /// The first duration in microseconds that does not fit: 65,536 s.
    const US_END: u64 = 65_536_000_000;

    /// A duration of `us` microseconds, at most the 18 hours that fit.
    #[must_use]
    pub fn of_us(us: u64) -> Self {
        let units = (us.min(Self::US_END) << 16) / 1_000_000;
        Self(u32::try_from(units).unwrap_or(u32::MAX))
    }

    /// The duration in microseconds.
    #[must_use]
    pub fn to_us(self) -> u64 {
        (u64::from(self.0) * 1_000_000) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_and_timestamps_wrap_around() {
        assert_eq!(Sequence(65_535).next(), Sequence(0));
        assert_eq!(Sequence(2).ahead_of(Sequence(65_534)), 4);
        assert_eq!(Sequence(65_534).ahead_of(Sequence(2)), -4);
        assert_eq!(Timestamp(10).ahead_of(Timestamp(u32::MAX - 9)), 20);
        assert_eq!(Timestamp(u32::MAX).plus(2), Timestamp(1));
    }

    #[test]
    fn rates_outside_their_range_do_not_exist() {
        assert_eq!(ClockRate::new(0), None);
        assert_eq!(ClockRate::new(ClockRate::HZ_MAX + 1), None);
        assert_eq!(PayloadType::new(128), None);
        let g722 = PayloadType::new(9).and_then(PayloadType::static_clock_rate);
        assert_eq!(g722.map(ClockRate::hz), Some(8_000));
    }

    #[test]
    fn time_is_converted_there_and_back() {
        let rate = ClockRate::new(48_000).expect("a rate");
        assert_eq!(rate.units_at(Micros(20_000)), 960);
        assert_eq!(rate.to_us(960), 20_000);
        assert_eq!(ShortNtp::of_us(1_500_000), ShortNtp(0x0001_8000));
        assert_eq!(ShortNtp(0x0001_8000).to_us(), 1_500_000);
        assert_eq!(ShortNtp::of_us(u64::MAX), ShortNtp(u32::MAX));
        // 1970-01-01T00:00:00.5.
        assert_eq!(NtpTime::of_unix_us(500_000), NtpTime(0x83aa_7e80_8000_0000));
        assert_eq!(
            NtpTime(0x83aa_7e80_8000_0000).short(),
            ShortNtp(0x7e80_8000)
        );
    }
}
