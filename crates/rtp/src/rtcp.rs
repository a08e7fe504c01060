//! RTCP: compound packets, checked as a whole and then read one by one (RFC 3550 section 6, appendix A.2; RFC 4585;
//! RFC 5506).

mod part;
pub mod write;

pub use part::{Blocks, Chunk, Chunks, Item, ReportBlock, SenderInfo, Ssrcs};

use crate::{Error, PACKET_BYTES_MAX, Part, Ssrc};

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1, RFC 3611 section 2).
mod kind {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const APPLICATION: u8 = 204;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
    pub(super) const EXTENDED_REPORT: u8 = 207;
}

/// Bytes of the header that each RTCP packet begins with.
const HEADER_BYTES: usize = 4;

/// What may stand first in a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A report first, as RFC 3550 section 6.1 has it.
    Compound,
    /// Anything, as RFC 5506 allows where it was negotiated (`a=rtcp-rsize`).
    ReducedSize,
}

/// A datagram of RTCP whose packets hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compound<'a> {
    bytes: &'a [u8],
}

/// One packet of a [`Compound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rtcp<'a> {
    /// SR (section 6.4.1).
    SenderReport {
        /// Who sends it.
        ssrc: Ssrc,
        /// What it has sent.
        info: SenderInfo,
        /// What it has received.
        blocks: Blocks<'a>,
    },
    /// RR (section 6.4.2).
    ReceiverReport {
        /// Who sends it.
        ssrc: Ssrc,
        /// What it has received.
        blocks: Blocks<'a>,
    },
    /// SDES (section 6.5).
    SourceDescription(Chunks<'a>),
    /// BYE (section 6.6).
    Bye {
        /// Who leaves.
        ssrcs: Ssrcs<'a>,
        /// Why, in UTF-8 by the rules; empty where nothing is said.
        reason: &'a [u8],
    },
    /// APP (section 6.7).
    Application {
        /// What the name's owner defines, 0 to 31.
        subtype: u8,
        /// Who sends it.
        ssrc: Ssrc,
        /// Four letters.
        name: [u8; 4],
        /// The rest.
        data: &'a [u8],
    },
    /// RTPFB and PSFB (RFC 4585 section 6.1): NACK, PLI and the like.
    Feedback {
        /// Of the payload, such as PLI, and not of the transport, such as NACK.
        is_of_payload: bool,
        /// FMT, 0 to 31.
        format: u8,
        /// Who sends it.
        sender: Ssrc,
        /// Whom it is about.
        media: Ssrc,
        /// The rest.
        data: &'a [u8],
    },
    /// XR (RFC 3611), whose blocks are not read.
    ExtendedReport {
        /// Who sends it.
        ssrc: Ssrc,
        /// Its blocks.
        data: &'a [u8],
    },
    /// Another packet type.
    Other {
        /// The packet type.
        kind: u8,
        /// What follows the header.
        data: &'a [u8],
    },
}

impl<'a> Compound<'a> {
    /// Checks a datagram by appendix A.2 (version, first packet, padding, lengths that fill it exactly), and each packet it
    /// knows by its own length.
    ///
    /// # Errors
    /// `Short`, `Huge`, `Version`, `FirstPacket`, `Padding`, `Chunk`.
    pub fn parse(bytes: &'a [u8], form: Form) -> Result<Self, Error> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(Error::Huge { bytes: bytes.len() });
        }
        let mut rest = bytes;
        let mut is_first = true;
        while is_first || !rest.is_empty() {
            let (raw, after) = Raw::split(rest)?;
            let is_report = matches!(raw.kind, kind::SENDER_REPORT | kind::RECEIVER_REPORT);
            if is_first && form == Form::Compound && !is_report {
                return Err(Error::FirstPacket(raw.kind));
            }
            if raw.padding != 0 && !after.is_empty() {
                return Err(Error::Padding(raw.padding));
            }
            Rtcp::read(&raw)?;
            is_first = false;
            rest = after;
        }
        Ok(Self { bytes })
    }

    /// All of the datagram.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The packets in their order.
    pub fn packets(&self) -> impl Iterator<Item = Rtcp<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (raw, after) = Raw::split(rest).ok()?;
            rest = after;
            Rtcp::read(&raw).ok()
        })
    }

    /// All report blocks of its sender and receiver reports.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.packets().flat_map(|packet| match packet {
            Rtcp::SenderReport { blocks, .. } | Rtcp::ReceiverReport { blocks, .. } => blocks,
            _ => Blocks::default(),
        })
    }
}

/// One packet, cut out of its datagram.
struct Raw<'a> {
    /// The five bits beside version and padding.
    count: u8,
    kind: u8,
    padding: u8,
    /// What lies between header and padding.
    body: &'a [u8],
}

impl<'a> Raw<'a> {
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let Some(&[first, kind, high, low]) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(Error::Short(Part::Header));
        };
        if first >> 6 != 2 {
            return Err(Error::Version(first >> 6));
        }
        let end = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low])) * 4;
        if bytes.len() < end {
            return Err(Error::Short(Part::Body));
        }
        let (packet, after) = bytes.split_at(end);
        let mut body = &packet[HEADER_BYTES..];
        let mut padding = 0;
        if first & 0x20 != 0 {
            padding = packet[end - 1];
            let is_valid = padding != 0 && padding % 4 == 0 && usize::from(padding) <= body.len();
            if !is_valid {
                return Err(Error::Padding(padding));
            }
            body = &body[..body.len() - usize::from(padding)];
        }
        let raw = Self {
            count: first & 0x1f,
            kind,
            padding,
            body,
        };
        Ok((raw, after))
    }
}

impl<'a> Rtcp<'a> {
    fn read(raw: &Raw<'a>) -> Result<Self, Error> {
        let body = raw.body;
        Ok(match raw.kind {
            kind::SENDER_REPORT => {
                let (ssrc, rest) = split_ssrc(body)?;
                let (info, rest) = SenderInfo::split(rest)?;
                let blocks = Blocks::read(rest, raw.count)?;
                Self::SenderReport { ssrc, info, blocks }
            }
            kind::RECEIVER_REPORT => {
                let (ssrc, rest) = split_ssrc(body)?;
                let blocks = Blocks::read(rest, raw.count)?;
                Self::ReceiverReport { ssrc, blocks }
            }
            kind::SOURCE_DESCRIPTION => Self::SourceDescription(Chunks::read(body, raw.count)?),
            kind::BYE => {
                let (ssrcs, rest) = Ssrcs::split(body, raw.count)?;
                let reason = match rest.split_first() {
                    None => &[],
                    Some((&len, text)) => text
                        .get(..usize::from(len))
                        .ok_or(Error::Short(Part::Bye))?,
                };
                Self::Bye { ssrcs, reason }
            }
            kind::APPLICATION => {
                let (ssrc, rest) = split_ssrc(body)?;
                let (name, data) = rest.split_first_chunk().ok_or(Error::Short(Part::Body))?;
                Self::Application {
                    subtype: raw.count,
                    ssrc,
                    name: *name,
                    data,
                }
            }
            kind::TRANSPORT_FEEDBACK | kind::PAYLOAD_FEEDBACK => {
                let (sender, rest) = split_ssrc(body)?;
                let (media, data) = split_ssrc(rest)?;
                Self::Feedback {
                    is_of_payload: raw.kind == kind::PAYLOAD_FEEDBACK,
                    format: raw.count,
                    sender,
                    media,
                    data,
                }
            }
            kind::EXTENDED_REPORT => {
                let (ssrc, data) = split_ssrc(body)?;
                Self::ExtendedReport { ssrc, data }
            }
            kind => Self::Other { kind, data: body },
        })
    }
}

fn split_ssrc(bytes: &[u8]) -> Result<(Ssrc, &[u8]), Error> {
    let (ssrc, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or(Error::Short(Part::Body))?;
    Ok((Ssrc(u32::from_be_bytes(*ssrc)), rest))
}

#[cfg(test)]
mod tests;
