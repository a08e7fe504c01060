//! One m-line and what belongs to it.

use std::net::{IpAddr, SocketAddr};

use crate::error::Error;
use crate::index::{Description, Entry, is_unspecified};
use crate::line::{Fields, Span, number};

/// What an m-line is about (RFC 8866 section 8.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// `image`, fax over UDPTL among it (RFC 3362)
    Image,
    /// `application`
    Application,
    /// `text`
    Text,
    /// `message`
    Message,
    /// Any other.
    Other,
}

impl Kind {
    pub(crate) fn parse(word: &[u8]) -> Kind {
        const KINDS: [(&[u8], Kind); 6] = [
            (b"audio", Kind::Audio),
            (b"video", Kind::Video),
            (b"image", Kind::Image),
            (b"application", Kind::Application),
            (b"text", Kind::Text),
            (b"message", Kind::Message),
        ];
        let found = KINDS
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map_or(Kind::Other, |&(_, kind)| kind)
    }
}

/// The protocol of an m-line (RFC 8866 section 8.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `RTP/AVP` (RFC 3551)
    RtpAvp,
    /// `RTP/AVPF` (RFC 4585)
    RtpAvpf,
    /// `RTP/SAVP` (RFC 3711)
    RtpSavp,
    /// `RTP/SAVPF` (RFC 5124)
    RtpSavpf,
    /// `UDP/TLS/RTP/SAVP` (RFC 5764)
    UdpTlsRtpSavp,
    /// `UDP/TLS/RTP/SAVPF` (RFC 5764)
    UdpTlsRtpSavpf,
    /// `udptl`: T.38 fax (RFC 3362)
    Udptl,
    /// `udp` and anything else over it, such as `UDP/DTLS/SCTP` (RFC 8841) and `UDP/TLS/UDPTL` (RFC 7345).
    Udp,
    /// Anything else, which does not go over UDP as far as is known here.
    Other,
}

/// What a relay has to understand to carry a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// RTP and RTCP, plain or encrypted.
    Rtp,
    /// Datagrams that it does not look into.
    Datagram,
    /// No datagrams: it cannot be relayed.
    Other,
}

impl Protocol {
    pub(crate) fn parse(word: &[u8]) -> Protocol {
        const PROTOCOLS: [(&[u8], Protocol); 8] = [
            (b"RTP/AVP", Protocol::RtpAvp),
            (b"RTP/AVPF", Protocol::RtpAvpf),
            (b"RTP/SAVP", Protocol::RtpSavp),
            (b"RTP/SAVPF", Protocol::RtpSavpf),
            (b"UDP/TLS/RTP/SAVP", Protocol::UdpTlsRtpSavp),
            (b"UDP/TLS/RTP/SAVPF", Protocol::UdpTlsRtpSavpf),
            (b"udptl", Protocol::Udptl),
            (b"udp", Protocol::Udp),
        ];
        let found = PROTOCOLS
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name));
        let is_over_udp = || word.len() > 4 && word[..4].eq_ignore_ascii_case(b"UDP/");
        match found {
            Some(&(_, protocol)) => protocol,
            None if is_over_udp() => Protocol::Udp,
            None => Protocol::Other,
        }
    }

    /// What a relay has to understand to carry it.
    pub fn transport(self) -> Transport {
        match self {
            Protocol::RtpAvp
            | Protocol::RtpAvpf
            | Protocol::RtpSavp
            | Protocol::RtpSavpf
            | Protocol::UdpTlsRtpSavp
            | Protocol::UdpTlsRtpSavpf => Transport::Rtp,
            Protocol::Udptl | Protocol::Udp => Transport::Datagram,
            Protocol::Other => Transport::Other,
        }
    }
}

/// Who sends, as seen by the one who wrote the description (RFC 8866 section 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both; where nothing is said.
    #[default]
    SendRecv,
    /// The writer sends only.
    SendOnly,
    /// The writer receives only.
    RecvOnly,
    /// Nobody.
    Inactive,
}

/// One payload type of an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format<'a> {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding's name by `a=rtpmap` or RFC 3551; empty if neither names one.
    pub encoding: &'a [u8],
    /// What its timestamps count, in Hz, if it is known.
    pub clock_rate_hz: Option<u32>,
}

/// One m-line of a description and the lines below it.
#[derive(Debug, Clone, Copy)]
pub struct Media<'a> {
    pub(crate) description: Description<'a>,
    pub(crate) entry: &'a Entry,
    pub(crate) number: usize,
}

impl<'a> Media<'a> {
    /// Its place among the m-lines, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        self.entry.kind
    }

    /// The same as written.
    pub fn kind_bytes(&self) -> &'a [u8] {
        self.entry.kind_span.of(self.description.body)
    }

    /// The port; 0 where the line is rejected or disabled.
    pub fn port(&self) -> u16 {
        self.entry.port
    }

    /// The protocol.
    pub fn protocol(&self) -> Protocol {
        self.entry.protocol
    }

    /// The same as written.
    pub fn protocol_bytes(&self) -> &'a [u8] {
        self.entry.protocol_span.of(self.description.body)
    }

    /// What a relay has to understand to carry it.
    pub fn transport(&self) -> Transport {
        self.entry.protocol.transport()
    }

    /// Whether it goes over UDP, so that a relay can carry it.
    pub fn is_relayable(&self) -> bool {
        self.transport() != Transport::Other
    }

    /// Whether its port is 0 and no other m-line's transport stands in for it: rejected in an answer,
    /// disabled in an offer (RFC 3264 sections 5.1, 6).
    pub fn is_rejected(&self) -> bool {
        self.entry.port == 0 && !self.entry.is_bundle_only
    }

    /// Whether it is to have media only together with others on their port (RFC 9143 section 6). A relay
    /// that takes BUNDLE out leaves it with port 0.
    pub fn is_bundle_only(&self) -> bool {
        self.entry.is_bundle_only
    }

    /// Whether it is to be relayed: it can be, and it has a port. [`crate::Index::parse`] has
    /// checked that such a line has an address too.
    pub fn needs_ports(&self) -> bool {
        self.entry.needs_ports()
    }

    /// Its address by its own `c=` line or that of the session; unspecified (`0.0.0.0`, `::`) where the
    /// writer wants no media (RFC 3264 section 8.4).
    ///
    /// # Errors
    /// When it has none, or one that a relay cannot use; never where [`Media::needs_ports`] holds.
    pub fn address(&self) -> Result<IpAddr, Error> {
        let session = self.description.index.session.connection;
        let media = self.number as u8;
        let connection = self.entry.section.connection.or(session);
        connection.ok_or(Error::NoAddress { media })?.address
    }

    /// Whether the address is unspecified: the hold of RFC 2543.
    pub fn is_held_by_address(&self) -> bool {
        self.address().is_ok_and(is_unspecified)
    }

    /// Where its writer wants RTP or datagrams; `None` if nowhere.
    pub fn rtp(&self) -> Option<SocketAddr> {
        destination(self.address().ok(), self.entry.port)
    }

    /// Where its writer wants RTCP if it is not multiplexed: by `a=rtcp` (RFC 3605), else one port above
    /// RTP (RFC 3550 section 11); `None` if nowhere.
    pub fn rtcp(&self) -> Option<SocketAddr> {
        if self.transport() != Transport::Rtp || self.entry.port == 0 {
            return None;
        }
        let address = self.address().ok();
        match self.entry.rtcp {
            Some(Ok(rtcp)) => destination(rtcp.address.or(address), rtcp.port),
            Some(Err(_)) => None,
            None => destination(address, self.entry.port.checked_add(1)?),
        }
    }

    /// Whether there is an `a=rtcp` line.
    pub fn has_explicit_rtcp(&self) -> bool {
        self.entry.rtcp.is_some()
    }

    /// Whether its writer takes, or in an answer wants, RTP and RTCP on one port (RFC 5761).
    pub fn has_rtcp_mux(&self) -> bool {
        self.entry.has_rtcp_mux
    }

    /// Who sends: by its own attribute, else by the session's.
    pub fn direction(&self) -> Direction {
        let session = self.description.index.session.direction;
        (self.entry.section.direction.or(session)).unwrap_or_default()
    }

    /// How much time one packet holds, in milliseconds (RFC 8866 section 6.4), if it says so.
    pub fn ptime_ms(&self) -> Option<u16> {
        self.entry.ptime_ms
    }

    /// The format list as written; of RTP it is [`Media::formats`].
    pub fn format_bytes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let body = self.description.body;
        Fields::new(body, self.entry.formats).map(move |field| field.of(body))
    }

    /// The payload types of RTP, in order of preference; nothing for other protocols.
    pub fn formats(&self) -> impl Iterator<Item = Format<'a>> + use<'a> {
        let span = match self.transport() {
            Transport::Rtp => self.entry.formats,
            Transport::Datagram | Transport::Other => Span::default(),
        };
        let body = self.description.body;
        let (start, end) = self.entry.encodings;
        let encodings = &self.description.index.encodings[start as usize..end as usize];
        Fields::new(body, span).filter_map(move |field| {
            let payload_type = number(field.of(body), 127)? as u8;
            let mapped = encodings
                .iter()
                .find(|encoding| encoding.payload_type == payload_type);
            Some(match mapped {
                Some(mapped) => Format {
                    payload_type,
                    encoding: mapped.name.of(body),
                    clock_rate_hz: mapped.clock_rate_hz,
                },
                None => static_format(payload_type),
            })
        })
    }
}

fn destination(address: Option<IpAddr>, port: u16) -> Option<SocketAddr> {
    let address = address.filter(|&address| !is_unspecified(address))?;
    (port != 0).then(|| SocketAddr::new(address, port))
}

/// The assignments of RFC 3551 section 6, tables 4 and 5.
fn static_format(payload_type: u8) -> Format<'static> {
    let (encoding, clock_rate_hz): (&[u8], u32) = match payload_type {
        0 => (b"PCMU", 8_000),
        3 => (b"GSM", 8_000),
        4 => (b"G723", 8_000),
        5 => (b"DVI4", 8_000),
        6 => (b"DVI4", 16_000),
        7 => (b"LPC", 8_000),
        8 => (b"PCMA", 8_000),
        // Sampled at 16,000 Hz, but its timestamps count 8,000 (section 4.5.2).
        9 => (b"G722", 8_000),
        10 | 11 => (b"L16", 44_100),
        12 => (b"QCELP", 8_000),
        13 => (b"CN", 8_000),
        14 => (b"MPA", 90_000),
        15 => (b"G728", 8_000),
        16 => (b"DVI4", 11_025),
        17 => (b"DVI4", 22_050),
        18 => (b"G729", 8_000),
        25 => (b"CelB", 90_000),
        26 => (b"JPEG", 90_000),
        28 => (b"nv", 90_000),
        31 => (b"H261", 90_000),
        32 => (b"MPV", 90_000),
        33 => (b"MP2T", 90_000),
        34 => (b"H263", 90_000),
        _ => (b"", 0),
    };
    Format {
        payload_type,
        encoding,
        clock_rate_hz: Some(clock_rate_hz).filter(|&rate| rate > 0),
    }
}
