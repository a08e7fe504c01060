//! Timestamps of streams of different clocks on one line of 8,000 units a second, so that one jitter buffer serves them all.

use crate::decoders::UNITS_HZ;
use crate::types::Time;

/// The line counts in this fraction of a second, of which all clocks are parts.
const FINE_HZ: u32 = audio::opus::CLOCK_HZ;

/// Where a stream is on the line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    ssrc: u32,
    clock_hz: u32,
    timestamp: u32,
    at: Time,
    /// In units of [`FINE_HZ`], modulo 2^64.
    position: u64,
}

impl Timeline {
    /// The place of a packet. A stream of another source or clock goes on where the time is.
    pub(crate) fn place(&mut self, now: Time, ssrc: u32, clock_hz: u32, timestamp: u32) -> u32 {
        let is_same = self.ssrc == ssrc && self.clock_hz == clock_hz;
        let fine = match is_same {
            true => {
                let step = timestamp.wrapping_sub(self.timestamp).cast_signed();
                i64::from(step) * i64::from(FINE_HZ / clock_hz.max(1))
            }
            false => {
                let us = now.micros_since(self.at).min(60_000_000);
                (us * u64::from(FINE_HZ) / 1_000_000) as i64
            }
        };
        let position = self.position.wrapping_add_signed(fine);
        if fine > 0 || !is_same {
            *self = Timeline {
                ssrc,
                clock_hz,
                timestamp,
                at: now,
                position,
            };
        }
        (position / u64::from(FINE_HZ / UNITS_HZ)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_both_clocks_lie_on_one_line() {
        let mut line = Timeline::default();
        let at = |ms: u64| Time::from_ms(1_000_000 + ms);
        let first = line.place(at(0), 1, 8_000, u32::MAX - 100);
        assert_eq!(line.place(at(20), 1, 8_000, 59), first + 160);
        // A late one does not move the line.
        assert_eq!(line.place(at(21), 1, 8_000, u32::MAX - 100), first);
        assert_eq!(line.place(at(40), 1, 8_000, 219), first + 320);
        assert_eq!(line.place(at(60), 1, 48_000, 7), first + 480);
        assert_eq!(line.place(at(80), 1, 48_000, 967), first + 640);
    }

    #[test]
    fn the_line_goes_on_where_numbers_wrap_around() {
        let mut line = Timeline::default();
        let mut place = line.place(Time::ZERO, 1, 48_000, 0);
        for n in 1..10_000_u32 {
            let next = line.place(Time::ZERO, 1, 48_000, n.wrapping_mul(960_000));
            assert_eq!(next.wrapping_sub(place), 160_000);
            place = next;
        }
    }
}
