//! What a datagram on a media port is, by its first two bytes (RFC 7983 section 7, RFC 5761 section 4).

/// What a datagram on a media port claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// RTP, or SRTP (first byte 128 to 191, no RTCP).
    Rtp,
    /// RTCP, or SRTCP (first byte 128 to 191, second 192 to 223).
    Rtcp,
    /// STUN (first byte 0 to 3).
    Stun,
    /// DTLS (first byte 20 to 63).
    Dtls,
    /// ZRTP (first byte 16 to 19).
    Zrtp,
    /// A message on a channel of TURN (first byte 64 to 79).
    TurnChannel,
    /// Of none of these, or with fewer bytes than the header of what it claims to be.
    Short,
    /// Long enough for a header and of no protocol that RFC 7983 knows.
    Other,
}

/// Fewer bytes than this are `Short` whatever they are: the smallest header of all, TURN's channel data
/// (RFC 8656 section 12.4).
const BYTES_MIN: usize = 4;
/// A header of RTP (RFC 3550 section 5.1).
const RTP_BYTES_MIN: usize = 12;
/// An RTCP report without blocks (RFC 3550 section 6.4.2).
const RTCP_BYTES_MIN: usize = 8;
/// A header of STUN (RFC 8489 section 5).
const STUN_BYTES_MIN: usize = 20;
/// A record's header of DTLS (RFC 6347 section 4.1). Version 1.3 has shorter headers, but its smallest
/// record is longer than this (RFC 9147 section 4).
const DTLS_BYTES_MIN: usize = 13;
/// Header and checksum of ZRTP (RFC 6189 section 5).
const ZRTP_BYTES_MIN: usize = 16;

/// Tells what `bytes` are, by the ranges of RFC 7983 and, between RTP and RTCP, of RFC 5761 section 4. The
/// contents are not looked at: what is `Rtp` may still be refused by [`Packet::parse`](crate::Packet::parse).
#[must_use]
pub fn classify(bytes: &[u8]) -> Class {
    let &[first, second, _, _, ..] = bytes else {
        return Class::Short;
    };
    let (class, bytes_min) = match (first, second) {
        (128..=191, 192..=223) => (Class::Rtcp, RTCP_BYTES_MIN),
        (128..=191, _) => (Class::Rtp, RTP_BYTES_MIN),
        (0..=3, _) => (Class::Stun, STUN_BYTES_MIN),
        (16..=19, _) => (Class::Zrtp, ZRTP_BYTES_MIN),
        (20..=63, _) => (Class::Dtls, DTLS_BYTES_MIN),
        (64..=79, _) => (Class::TurnChannel, BYTES_MIN),
        _ => (Class::Other, BYTES_MIN),
    };
    if bytes.len() < bytes_min {
        return Class::Short;
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(first: u8, second: u8, len: usize) -> Class {
        let mut bytes = vec![0; len];
        bytes[0] = first;
        bytes[1] = second;
        classify(&bytes)
    }

    #[test]
    fn the_ranges_are_those_of_rfc_7983() {
        let class = |first: u8| match first {
            0..=3 => Class::Stun,
            16..=19 => Class::Zrtp,
            20..=63 => Class::Dtls,
            64..=79 => Class::TurnChannel,
            128..=191 => Class::Rtp,
            _ => Class::Other,
        };
        for first in 0..=255 {
            assert_eq!(of(first, 0, 40), class(first), "{first}");
        }
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_the_second_byte_as_in_rfc_5761() {
        for second in 0..=255 {
            let expected = match second {
                192..=223 => Class::Rtcp,
                _ => Class::Rtp,
            };
            assert_eq!(of(0x80, second, 40), expected, "{second}");
        }
    }

    #[test]
    fn what_is_shorter_than_its_header_is_short() {
        assert_eq!(classify(&[]), Class::Short);
        assert_eq!(classify(&[0x80]), Class::Short);
        for (first, second, min) in [
            (0x80, 0, 12),
            (0x80, 200, 8),
            (0, 1, 20),
            (22, 254, 13),
            (16, 0, 16),
            (64, 0, 4),
            (255, 0, 4),
        ] {
            assert_eq!(of(first, second, min - 1), Class::Short, "{first}");
            assert_ne!(of(first, second, min), Class::Short, "{first}");
        }
    }
}
