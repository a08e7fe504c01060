//! RTP packets: a checked view of what came, and the writing of headers (RFC 3550 section 5).

use crate::{Error, Part, PayloadType, Sequence, Ssrc, Timestamp};

/// Bytes of the header that every RTP packet has (RFC 3550 section 5.1).
pub const HEADER_BYTES: usize = 12;
/// The longest packet that is taken. A packet that fits into Ethernet's frames has 1,472 bytes at most; the longest
/// of use for telephony, 20 ms of 16-bit stereo at 48,000 Hz, has 3,852.
pub const PACKET_BYTES_MAX: usize = 4_096;
/// Contributing sources that a header can count.
const CSRCS_MAX: usize = 15;

/// A view of an RTP packet whose lengths agree with one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    /// End of the contributing sources.
    csrcs_end: u16,
    /// End of the header extension, where the payload begins.
    payload_start: u16,
    /// End of the payload, where padding begins.
    payload_end: u16,
}

/// A header extension (RFC 3550 section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// What the profile defines; 0xbede for the one-byte elements of RFC 8285.
    pub profile: u16,
    /// The contents, a multiple of four bytes.
    pub data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks a packet in the clear: version, room for what the header announces, and padding (RFC 3550 section 5.1
    /// and appendix A.1).
    ///
    /// # Errors
    /// `Short`, `Huge`, `Version`, `Padding`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut packet = Self::parse_secure(bytes)?;
        if bytes[0] & 0x20 != 0 {
            let count = bytes[bytes.len() - 1];
            let room = packet.payload_end - packet.payload_start;
            if count == 0 || u16::from(count) > room {
                return Err(Error::Padding(count));
            }
            packet.payload_end -= u16::from(count);
        }
        Ok(packet)
    }

    /// Checks a packet of SRTP: as [`Packet::parse`], but for the padding, whose count is encrypted (RFC 3711
    /// section 3.1). The payload then is ciphertext with its authentication tag.
    ///
    /// # Errors
    /// `Short`, `Huge`, `Version`.
    pub fn parse_secure(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(Error::Huge { bytes: bytes.len() });
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(Error::Short(Part::Header));
        };
        let first = header[0];
        if first >> 6 != 2 {
            return Err(Error::Version(first >> 6));
        }
        let csrcs_end = HEADER_BYTES + usize::from(first & 0x0f) * 4;
        if bytes.len() < csrcs_end {
            return Err(Error::Short(Part::Csrcs));
        }
        let mut payload_start = csrcs_end;
        if first & 0x10 != 0 {
            let Some(&[_, _, high, low]) = bytes[csrcs_end..].first_chunk::<4>() else {
                return Err(Error::Short(Part::Extension));
            };
            payload_start += 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
            if bytes.len() < payload_start {
                return Err(Error::Short(Part::Extension));
            }
        }
        // All of them are below PACKET_BYTES_MAX.
        Ok(Self {
            bytes,
            csrcs_end: csrcs_end as u16,
            payload_start: payload_start as u16,
            payload_end: bytes.len() as u16,
        })
    }

    /// All of the packet.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The marker bit: for sound, the first packet after a silence (RFC 3551 section 4.1).
    #[must_use]
    pub fn marker(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    /// What the payload is encoded as.
    #[must_use]
    pub fn payload_type(&self) -> PayloadType {
        PayloadType::of_byte(self.bytes[1])
    }

    /// The sequence number.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence(u16::from_be_bytes([self.bytes[2], self.bytes[3]]))
    }

    /// The timestamp.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        Timestamp(self.word(4))
    }

    /// The source.
    #[must_use]
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(self.word(8))
    }

    /// The sources that a mixer put together, at most 15.
    pub fn csrcs(&self) -> impl ExactSizeIterator<Item = Ssrc> + use<'a> {
        let list = &self.bytes[HEADER_BYTES..usize::from(self.csrcs_end)];
        list.chunks_exact(4)
            .map(|csrc| Ssrc(u32::from_be_bytes([csrc[0], csrc[1], csrc[2], csrc[3]])))
    }

    /// The header extension, where there is one.
    #[must_use]
    pub fn extension(&self) -> Option<Extension<'a>> {
        let all = &self.bytes[usize::from(self.csrcs_end)..usize::from(self.payload_start)];
        let (&[high, low, _, _], data) = all.split_first_chunk::<4>()?;
        Some(Extension {
            profile: u16::from_be_bytes([high, low]),
            data,
        })
    }

    /// The payload, without padding where it can be told.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.payload_range()]
    }

    /// Where the payload lies in the packet.
    #[must_use]
    pub fn payload_range(&self) -> std::ops::Range<usize> {
        usize::from(self.payload_start)..usize::from(self.payload_end)
    }

    fn word(&self, at: usize) -> u32 {
        let b = self.bytes;
        u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
    }
}

/// A header to write, without extension or padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// The marker bit.
    pub marker: bool,
    /// What the payload is encoded as.
    pub payload_type: PayloadType,
    /// The sequence number.
    pub sequence: Sequence,
    /// The timestamp.
    pub timestamp: Timestamp,
    /// The source.
    pub ssrc: Ssrc,
}

impl Header {
    /// The header as sent, without contributing sources.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = 0x80;
        bytes[1] = self.payload_type.number() | u8::from(self.marker) << 7;
        bytes[2..4].copy_from_slice(&self.sequence.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.0.to_be_bytes());
        bytes
    }

    /// Appends the header with the sources that were mixed, as a mixer does (RFC 3550 section 7.1). Those beyond the
    /// fifteenth are left out, for the header cannot count them.
    pub fn push_mixed(&self, csrcs: &[Ssrc], out: &mut Vec<u8>) {
        let csrcs = &csrcs[..csrcs.len().min(CSRCS_MAX)];
        let mut bytes = self.to_bytes();
        bytes[0] |= csrcs.len() as u8;
        out.extend_from_slice(&bytes);
        for csrc in csrcs {
            out.extend_from_slice(&csrc.0.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
