//! What can be wrong with a description.

/// A part that every description has (RFC 8866 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `v=`
    Version,
    /// `o=`
    Origin,
    /// `s=`
    SessionName,
}

/// Why a description is refused. Lines are counted from 1, m-lines (`media`) from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Longer than the limit.
    TooLarge {
        /// The limit, in bytes.
        size_bytes_max: u32,
    },
    /// More lines than the limit.
    TooManyLines {
        /// The limit.
        lines_max: u16,
    },
    /// A line is longer than the limit.
    LineTooLong {
        /// Which line.
        line: u16,
        /// The limit, in bytes.
        line_bytes_max: u16,
    },
    /// More m-lines than the limit.
    TooManyMedia {
        /// The limit.
        media_max: u8,
    },
    /// A NUL, or a CR that ends no line (section 5).
    ControlByte {
        /// Which line.
        line: u16,
    },
    /// A line that is no `x=...`, or an empty one between others.
    LineForm {
        /// Which line.
        line: u16,
    },
    /// A type that RFC 8866 does not have (section 5: such a description is rejected as a whole).
    LineType {
        /// Which line.
        line: u16,
        /// The type as written.
        letter: u8,
    },
    /// A part is absent.
    Missing(Part),
    /// A part stands where it does not belong.
    Order {
        /// Which line.
        line: u16,
    },
    /// What may be there once is there again: with two readings of one fact, two ends may differ.
    Repeated {
        /// Which line.
        line: u16,
    },
    /// The version is not 0 (section 5.1).
    Version,
    /// `o=` without its six fields (section 5.2).
    Origin {
        /// Which line.
        line: u16,
    },
    /// `c=` without its three fields, or an address that is none (section 5.7).
    Connection {
        /// Which line.
        line: u16,
    },
    /// An address with a TTL or a count of addresses that is no multicast address (section 5.7).
    AddressSuffix {
        /// Which line.
        line: u16,
    },
    /// A network type other than IN or an address type other than IP4 and IP6.
    AddressType {
        /// Which line.
        line: u16,
    },
    /// A host name where a relay needs an address. Resolving it would let a peer's DNS choose who gets
    /// the media.
    HostName {
        /// Which line.
        line: u16,
    },
    /// A multicast or broadcast address.
    NotUnicast {
        /// Which line.
        line: u16,
    },
    /// An m-line that is to have media has no `c=`, neither its own nor the session's.
    NoAddress {
        /// Which m-line.
        media: u8,
    },
    /// `m=` without its four fields (section 5.14).
    MediaLine {
        /// Which line.
        line: u16,
    },
    /// A port that is no number up to 65535.
    Port {
        /// Which line.
        line: u16,
    },
    /// A count of ports other than one: hierarchically encoded streams (section 5.14).
    PortCount {
        /// Which line.
        line: u16,
    },
    /// A payload type that is no number up to 127 (RFC 3551), or more of them than there are, in an m-line of RTP.
    PayloadType {
        /// Which line.
        line: u16,
    },
    /// An unreadable `a=rtcp` (RFC 3605 section 2.1).
    Rtcp {
        /// Which line.
        line: u16,
    },
    /// An answer with another number of m-lines than its offer (RFC 3264 section 6).
    MediaCount {
        /// How many were offered.
        offered: u8,
        /// How many were answered.
        answered: u8,
    },
    /// An m-line of an answer with another kind of media than the one that it answers.
    KindChanged {
        /// Which m-line.
        media: u8,
    },
    /// An m-line of an answer with another transport than the one that it answers.
    TransportChanged {
        /// Which m-line.
        media: u8,
    },
    /// An m-line that was offered with port 0 is answered with another port.
    Revived {
        /// Which m-line.
        media: u8,
    },
}

impl Error {
    /// Whether the description can be read, and is only more than is served here.
    pub fn is_well_formed(self) -> bool {
        matches!(
            self,
            Error::TooManyMedia { .. }
                | Error::AddressType { .. }
                | Error::HostName { .. }
                | Error::NotUnicast { .. }
                | Error::PortCount { .. }
        )
    }

    /// The status code and reason phrase for an offer in a request: 400 for what is malformed, 488 for
    /// what is not served (RFC 3261 sections 13.3.1.3 and 21.4.26).
    pub fn status(self) -> (u16, &'static str) {
        match self.is_well_formed() {
            true => (488, "Not Acceptable Here"),
            false => (400, "Bad Session Description"),
        }
    }

    /// A short fixed word for counters and log lines.
    pub fn label(self) -> &'static str {
        match self {
            Error::TooLarge { .. } => "too-large",
            Error::TooManyLines { .. } => "too-many-lines",
            Error::LineTooLong { .. } => "line-too-long",
            Error::TooManyMedia { .. } => "too-many-media",
            Error::ControlByte { .. } => "control-byte",
            Error::LineForm { .. } => "line-form",
            Error::LineType { .. } => "line-type",
            Error::Missing(Part::Version) => "missing-version",
            Error::Missing(Part::Origin) => "missing-origin",
            Error::Missing(Part::SessionName) => "missing-session-name",
            Error::Order { .. } => "order",
            Error::Repeated { .. } => "repeated",
            Error::Version => "version",
            Error::Origin { .. } => "origin",
            Error::Connection { .. } => "connection",
            Error::AddressSuffix { .. } => "address-suffix",
            Error::AddressType { .. } => "address-type",
            Error::HostName { .. } => "host-name",
            Error::NotUnicast { .. } => "not-unicast",
            Error::NoAddress { .. } => "no-address",
            Error::MediaLine { .. } => "media-line",
            Error::Port { .. } => "port",
            Error::PortCount { .. } => "port-count",
            Error::PayloadType { .. } => "payload-type",
            Error::Rtcp { .. } => "rtcp",
            Error::MediaCount { .. } => "media-count",
            Error::KindChanged { .. } => "kind-changed",
            Error::TransportChanged { .. } => "transport-changed",
            Error::Revived { .. } => "revived",
        }
    }
}
