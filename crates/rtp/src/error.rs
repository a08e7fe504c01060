//! Why bytes are not what they claim to be.

use std::fmt;

/// A part of a packet that an [`Error`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The fixed header.
    Header,
    /// The list of contributing sources.
    Csrcs,
    /// The header extension.
    Extension,
    /// The padding at the end.
    Padding,
    /// The blocks of a report.
    ReportBlocks,
    /// The chunks of a source description.
    Chunks,
    /// The sources or the reason of a BYE.
    Bye,
    /// What follows the header of another RTCP packet.
    Body,
}

/// Why a packet is refused, or could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Error {
    /// The packet ends before the end of a part.
    Short(Part),
    /// More bytes than [`PACKET_BYTES_MAX`](crate::PACKET_BYTES_MAX).
    Huge {
        /// How many there are.
        bytes: usize,
    },
    /// Not version 2.
    Version(u8),
    /// Padding that says it is nothing, more than there is room for, no multiple of four in RTCP, or in another
    /// packet than the last of a compound.
    Padding(u8),
    /// A compound RTCP packet that begins with another than SR or RR (RFC 3550 section 6.1).
    FirstPacket(u8),
    /// A chunk of a source description does not end, or an item goes beyond it.
    Chunk,
    /// More of something than its count in the header can say. Our own mistake, in writing.
    TooMany(Part),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(part) => write!(f, "ends within {part:?}"),
            Self::Huge { bytes } => write!(f, "{bytes} bytes"),
            Self::Version(version) => write!(f, "version {version}"),
            Self::Padding(count) => write!(f, "padding of {count}"),
            Self::FirstPacket(kind) => write!(f, "begins with RTCP packet type {kind}"),
            Self::Chunk => write!(f, "a chunk that does not end"),
            Self::TooMany(part) => write!(f, "too many of {part:?}"),
        }
    }
}

impl std::error::Error for Error {}
