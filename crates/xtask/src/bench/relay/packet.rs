//! The packets of the relay rows: G.711 in RTP, whose payload says what it is and when it left.

/// 20 ms of G.711 with its RTP header (RFC 3550 §5.1, RFC 3551 §4.5.14).
pub(crate) const PACKET_BYTES: usize = 172;
/// The header's part.
const HEADER_BYTES: usize = 12;
/// Samples in a packet, which is what its timestamp rises by.
const SAMPLES: u32 = 160;
const MARK: u32 = 0x686f_6c64;
/// Where the fill begins: after mark, stream, number and time.
const FILL: usize = HEADER_BYTES + 24;

/// What a packet says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    /// One direction of one call.
    pub(crate) stream: u32,
    /// How many of its stream went before it.
    pub(crate) number: u32,
    /// When it was handed to the kernel, in nanoseconds since 1970.
    pub(crate) sent_ns: u64,
}

impl Packet {
    /// The packet's bytes.
    ///
    /// `salt` makes the sources of one run others than those of the run before.
    pub(crate) fn write(self, salt: u32, out: &mut [u8; PACKET_BYTES]) {
        out[0] = 0x80;
        out[1] = 0;
        let sequence = u16::try_from(self.number & 0xffff).unwrap_or(0);
        out[2..4].copy_from_slice(&sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.number.wrapping_mul(SAMPLES).to_be_bytes());
        out[8..12].copy_from_slice(&ssrc(self.stream, salt).to_be_bytes());
        out[12..16].copy_from_slice(&MARK.to_be_bytes());
        out[16..20].copy_from_slice(&self.stream.to_be_bytes());
        out[20..24].copy_from_slice(&self.number.to_be_bytes());
        out[24..32].copy_from_slice(&self.sent_ns.to_be_bytes());
        out[32..36].copy_from_slice(&[0; 4]);
        out[FILL..].fill(self.fill());
    }

    /// What the bytes say, if not one of them is other than [`Packet::write`] makes it.
    pub(crate) fn read(salt: u32, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; PACKET_BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| {
            let word = bytes[at..at + 4].try_into().unwrap_or([0; 4]);
            u32::from_be_bytes(word)
        };
        let packet = Self {
            stream: word(16),
            number: word(20),
            sent_ns: u64::from(word(24)) << 32 | u64::from(word(28)),
        };
        let mut expected = [0; PACKET_BYTES];
        packet.write(salt, &mut expected);
        (bytes == &expected).then_some(packet)
    }

    /// A byte that differs between neighbours, so that a payload in the wrong packet shows.
    fn fill(self) -> u8 {
        let mixed = self.stream.wrapping_mul(31).wrapping_add(self.number);
        u8::try_from(mixed & 0xff).unwrap_or(0)
    }
}

/// One SSRC a stream.
fn ssrc(stream: u32, salt: u32) -> u32 {
    (stream + 1).wrapping_mul(0x9e37_79b1) ^ salt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let packet = Packet {
            stream: 1_999,
            number: 70_000,
            sent_ns: 1_700_000_000_123_456_789,
        };
        let mut bytes = [0; PACKET_BYTES];
        packet.write(5, &mut bytes);
        assert_eq!(Packet::read(5, &bytes), Some(packet));
    }

    #[test]
    fn one_changed_bit_is_noticed() {
        let packet = Packet {
            stream: 7,
            number: 8,
            sent_ns: 9,
        };
        let mut bytes = [0; PACKET_BYTES];
        packet.write(5, &mut bytes);
        // Another time of sending is the one thing that a packet cannot tell from its own.
        for at in (0..24).chain(32..PACKET_BYTES) {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert_eq!(Packet::read(5, &changed), None, "byte {at}");
        }
    }
}
