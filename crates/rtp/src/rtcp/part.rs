//! What RTCP packets are made of: report blocks, the sender's figures, sources, chunks and items.

use crate::{Error, NtpTime, Part, ShortNtp, Ssrc, Timestamp};

/// What a receiver says of a source (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source it is about.
    pub ssrc: Ssrc,
    /// The share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all, 24 bits with a sign: repetitions can make it negative.
    pub lost: i32,
    /// The highest sequence number, extended by its cycles.
    pub highest: u32,
    /// Jitter in units of the timestamp.
    pub jitter: u32,
    /// The middle of the NTP time of the source's last SR; 0 if none has come.
    pub last_report: ShortNtp,
    /// The time since it came.
    pub delay: ShortNtp,
}

impl ReportBlock {
    /// Bytes of a block.
    pub(crate) const BYTES: usize = 24;
    /// The lowest value of `lost`.
    pub const LOST_MIN: i32 = -0x80_0000;
    /// The highest value of `lost`.
    pub const LOST_MAX: i32 = 0x7f_ffff;

    fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            ssrc: Ssrc(word(0)),
            fraction_lost: bytes[4],
            // Shifted up and down again to spread the sign.
            lost: (word(4) << 8).cast_signed() >> 8,
            highest: word(8),
            jitter: word(12),
            last_report: ShortNtp(word(16)),
            delay: ShortNtp(word(20)),
        }
    }

    /// The block as sent. `lost` is brought into its range.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let lost = self.lost.clamp(Self::LOST_MIN, Self::LOST_MAX);
        let loss = u32::from(self.fraction_lost) << 24 | (lost.cast_unsigned() & 0xff_ffff);
        let words = [
            self.ssrc.0,
            loss,
            self.highest,
            self.jitter,
            self.last_report.0,
            self.delay.0,
        ];
        let mut bytes = [0; Self::BYTES];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// The blocks of a report, at most 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blocks<'a>(&'a [u8]);

impl<'a> Blocks<'a> {
    /// What follows the last block is an extension of some profile, and is passed over (section 6.4.3).
    pub(super) fn read(bytes: &'a [u8], count: u8) -> Result<Self, Error> {
        bytes
            .get(..usize::from(count) * ReportBlock::BYTES)
            .map(Self)
            .ok_or(Error::Short(Part::ReportBlocks))
    }
}

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(ReportBlock::read(block))
    }
}

/// What a sender says of itself (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// When the report was sent.
    pub ntp: NtpTime,
    /// The same moment on the media's clock.
    pub timestamp: Timestamp,
    /// Packets sent.
    pub packets: u32,
    /// Bytes of payload sent.
    pub bytes: u32,
}

impl SenderInfo {
    const BYTES: usize = 20;

    pub(super) fn split(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (info, rest) = bytes
            .split_first_chunk::<{ Self::BYTES }>()
            .ok_or(Error::Short(Part::Header))?;
        let word =
            |at: usize| u32::from_be_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        let info = Self {
            ntp: NtpTime(u64::from(word(0)) << 32 | u64::from(word(4))),
            timestamp: Timestamp(word(8)),
            packets: word(12),
            bytes: word(16),
        };
        Ok((info, rest))
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ntp.0.to_be_bytes());
        for word in [self.timestamp.0, self.packets, self.bytes] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// The sources that a BYE names, at most 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ssrcs<'a>(&'a [u8]);

impl<'a> Ssrcs<'a> {
    pub(super) fn split(bytes: &'a [u8], count: u8) -> Result<(Self, &'a [u8]), Error> {
        bytes
            .split_at_checked(usize::from(count) * 4)
            .map(|(ssrcs, rest)| (Self(ssrcs), rest))
            .ok_or(Error::Short(Part::Bye))
    }
}

impl Iterator for Ssrcs<'_> {
    type Item = Ssrc;

    fn next(&mut self) -> Option<Ssrc> {
        let (ssrc, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(Ssrc(u32::from_be_bytes(*ssrc)))
    }
}

/// The chunks of a source description, at most 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chunks<'a> {
    bytes: &'a [u8],
    count: u8,
}

/// What a source description says of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The source.
    pub ssrc: Ssrc,
    items: &'a [u8],
}

/// An item of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// What it says: 1 is CNAME (RFC 3550 section 12.2).
    pub kind: u8,
    /// UTF-8 by the rules.
    pub text: &'a [u8],
}

impl Item<'_> {
    /// The item that names a source over all its SSRCs (section 6.5.1).
    pub const CNAME: u8 = 1;
}

impl<'a> Chunks<'a> {
    pub(super) fn read(bytes: &'a [u8], count: u8) -> Result<Self, Error> {
        let mut rest = bytes;
        for _ in 0..count {
            rest = Chunk::split(rest)?.1;
        }
        Ok(Self { bytes, count })
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        self.count = self.count.checked_sub(1)?;
        let (chunk, rest) = Chunk::split(self.bytes).ok()?;
        self.bytes = rest;
        Some(chunk)
    }
}

impl<'a> Chunk<'a> {
    /// A chunk ends with an item of kind 0, and zeros up to the next word (section 6.5).
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (ssrc, items) = bytes
            .split_first_chunk::<4>()
            .ok_or(Error::Short(Part::Chunks))?;
        let mut at = 0;
        loop {
            match items[at..] {
                [0, ..] => break,
                [_, len, ..] => at += 2 + usize::from(len),
                _ => return Err(Error::Chunk),
            }
            if at >= items.len() {
                return Err(Error::Chunk);
            }
        }
        let end = (at + 1).next_multiple_of(4);
        if end > items.len() {
            return Err(Error::Chunk);
        }
        let chunk = Self {
            ssrc: Ssrc(u32::from_be_bytes(*ssrc)),
            items: &items[..at],
        };
        Ok((chunk, &items[end..]))
    }

    /// Its items.
    pub fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let mut rest = self.items;
        std::iter::from_fn(move || {
            let (&[kind, len], after) = rest.split_first_chunk::<2>()?;
            let (text, after) = after.split_at_checked(usize::from(len))?;
            rest = after;
            Some(Item { kind, text })
        })
    }

    /// The canonical name, where it is given.
    #[must_use]
    pub fn cname(&self) -> Option<&'a [u8]> {
        self.items()
            .find(|item| item.kind == Item::CNAME)
            .map(|item| item.text)
    }
}
