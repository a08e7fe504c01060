//! A stream that is sent, whose numbers follow from its start and the clock alone.

use crate::rtcp::SenderInfo;
use crate::{ClockRate, Header, Micros, NtpTime, PayloadType, Sequence, Ssrc, Timestamp};

/// A stream of packets of one length. Packet `n` is due `n` lengths after the start, and its sequence number and timestamp lie `n`
/// steps after the first ones: so whoever knows this value can go on with the stream at any time, after a takeover
/// too. Each packet has to be sent, as sound or as a telephone event; one that is left out looks lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmission {
    /// Who sends it.
    pub ssrc: Ssrc,
    /// The number of the first packet.
    pub sequence: Sequence,
    /// The timestamp of the first packet.
    pub timestamp: Timestamp,
    /// When the first packet is due.
    pub start: Micros,
    /// How timestamps count.
    pub clock: ClockRate,
    /// Sound in a packet, in units of the timestamp; not 0.
    pub packet_units: u32,
}

impl Transmission {
    /// How many packets are due at `now`: the last of them is this less one.
    #[must_use]
    pub fn due(&self, now: Micros) -> u64 {
        if now < self.start {
            return 0;
        }
        let hz = u128::from(self.clock.hz());
        let packet = u128::from(self.packet_units.max(1)) * 1_000_000;
        // Less than the microseconds since the start.
        (u128::from(now.since(self.start)) * hz / packet) as u64 + 1
    }

    /// When packet `n` is due, to the microsecond above.
    #[must_use]
    pub fn due_at(&self, n: u64) -> Micros {
        let units = u128::from(n) * u128::from(self.packet_units.max(1)) * 1_000_000;
        let us = units.div_ceil(u128::from(self.clock.hz()));
        let us = u64::try_from(us).unwrap_or(u64::MAX);
        Micros(self.start.0.saturating_add(us))
    }

    /// The header of packet `n`.
    #[must_use]
    pub fn header(&self, n: u64, payload_type: PayloadType, marker: bool) -> Header {
        Header {
            marker,
            payload_type,
            sequence: Sequence(self.sequence.0.wrapping_add(n as u16)),
            timestamp: self.timestamp_of(n),
            ssrc: self.ssrc,
        }
    }

    /// The timestamp of packet `n`: also of a telephone event that begins with it.
    #[must_use]
    pub fn timestamp_of(&self, n: u64) -> Timestamp {
        // Timestamps count modulo 2^32.
        let units = (n as u32).wrapping_mul(self.packet_units.max(1));
        self.timestamp.plus(units)
    }

    /// What a sender report says at `now`, which is `ntp` by the time of day. `payload_bytes` is what one packet has; the count is of
    /// all that were due (RFC 3550 section 6.4.1 has both modulo 2^32).
    #[must_use]
    pub fn sender_info(&self, now: Micros, ntp: NtpTime, payload_bytes: u32) -> SenderInfo {
        let packets = self.due(now) as u32;
        let units = self.clock.units_at(Micros(now.since(self.start)));
        SenderInfo {
            ntp,
            timestamp: self.timestamp.plus(units),
            packets,
            bytes: packets.wrapping_mul(payload_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transmission(hz: u32, packet_units: u32) -> Transmission {
        Transmission {
            ssrc: Ssrc(7),
            sequence: Sequence(65_530),
            timestamp: Timestamp(u32::MAX - 100),
            start: Micros(5_000_000),
            clock: ClockRate::new(hz).expect("a rate"),
            packet_units,
        }
    }

    #[test]
    fn packets_are_due_one_length_apart() {
        let stream = transmission(8_000, 160);
        for (now, due) in [
            (0, 0),
            (4_999_999, 0),
            (5_000_000, 1),
            (5_019_999, 1),
            (5_020_000, 2),
            (15_000_000, 501),
        ] {
            assert_eq!(stream.due(Micros(now)), due, "{now}");
        }
    }

    #[test]
    fn a_packet_is_due_when_its_time_comes_and_not_before() {
        for (hz, units) in [
            (8_000, 160),
            (48_000, 960),
            (44_100, 882),
            (44_100, 1_000),
            (90_000, 3_003),
        ] {
            let stream = transmission(hz, units);
            for n in [0, 1, 2, 3, 49, 1_000, 1_000_003, 1 << 40] {
                let at = stream.due_at(n);
                assert_eq!(stream.due(at), n + 1, "{hz} {units} {n}");
                assert_eq!(stream.due(Micros(at.0 - 1)), n, "{hz} {units} {n}");
            }
        }
    }

    #[test]
    fn numbers_wrap_around_and_anybody_can_go_on() {
        let stream = transmission(8_000, 160);
        let pcmu = PayloadType::default();
        let header = stream.header(10, pcmu, false);
        assert_eq!(
            (header.sequence, header.timestamp),
            (Sequence(4), Timestamp(1_499))
        );
        // Weeks later.
        let n = 100_000_000;
        let (one, other) = (
            stream.header(n, pcmu, false),
            stream.header(n + 1, pcmu, false),
        );
        assert_eq!(other.sequence.ahead_of(one.sequence), 1);
        assert_eq!(other.timestamp.ahead_of(one.timestamp), 160);
    }

    #[test]
    fn the_report_tells_the_media_time_of_now() {
        let stream = transmission(8_000, 160);
        let info = stream.sender_info(Micros(6_010_000), NtpTime(9), 160);
        assert_eq!(
            (info.packets, info.bytes, info.ntp),
            (51, 51 * 160, NtpTime(9))
        );
        assert_eq!(info.timestamp, Timestamp(u32::MAX - 100).plus(8_080));
    }
}
