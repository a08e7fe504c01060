//! A description indexed in place.

use std::net::IpAddr;

use crate::error::{Error, Part};
use crate::line::{Fields, Line, Lines, Span, number, trim, unicast};
use crate::media::{Direction, Kind, Media, Protocol, Transport};

mod attribute;

use attribute::Attribute;

/// Bounds on what is taken for a description.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest description, in bytes.
    pub size_bytes_max: u32,
    /// Most lines.
    pub lines_max: u16,
    /// Longest line without its end, in bytes.
    pub line_bytes_max: u16,
    /// Most m-lines, rejected ones included.
    pub media_max: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            size_bytes_max: 65_535,
            lines_max: 1_024,
            line_bytes_max: 4_096,
            media_max: 32,
        }
    }
}

/// How many payload types there are (RFC 3550 section 5.1).
const PAYLOAD_TYPES: usize = 128;

/// The `o=` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The session's identifier as written.
    pub session_id: &'a [u8],
    /// The version of the description as written; it grows with each change (RFC 3264 section 8).
    pub version: &'a [u8],
    /// The address or host name as written.
    pub address: &'a [u8],
    /// Where address type and address lie.
    pub address_span: Span,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OriginSpans {
    session_id: Span,
    version: Span,
    address: Span,
    pub(crate) type_and_address: Span,
}

/// A `c=` line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    /// All of the value.
    pub(crate) value: Span,
    pub(crate) type_and_address: Span,
    /// The address, or why no relay can use it.
    pub(crate) address: Result<IpAddr, Error>,
}

impl Connection {
    /// Whether it is the hold of RFC 2543, which has no address.
    pub(crate) fn is_hold(&self) -> bool {
        self.address.is_ok_and(is_unspecified)
    }
}

pub(crate) fn is_unspecified(address: IpAddr) -> bool {
    address.to_canonical().is_unspecified()
}

/// An `a=rtcp` line (RFC 3605).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rtcp {
    pub(crate) port: u16,
    pub(crate) port_span: Span,
    pub(crate) address: Option<IpAddr>,
    pub(crate) type_and_address: Option<Span>,
}

/// What session and m-line can both have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Section {
    pub(crate) connection: Option<Connection>,
    pub(crate) direction: Option<Direction>,
    /// Which of the lines that a relay takes out are here.
    pub(crate) removed: (u32, u32),
}

/// One m-line and what follows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) line: u16,
    pub(crate) kind: Kind,
    pub(crate) kind_span: Span,
    pub(crate) port: u16,
    pub(crate) port_span: Span,
    /// The count after the port's slash; `None` if it is no number.
    port_count: Option<u32>,
    pub(crate) protocol: Protocol,
    pub(crate) protocol_span: Span,
    pub(crate) formats: Span,
    pub(crate) section: Section,
    /// Where a `c=` would stand: after `m=` and `i=` (RFC 8866 section 5).
    pub(crate) connection_at: u32,
    /// Past the last line.
    pub(crate) end: u32,
    pub(crate) rtcp: Option<Result<Rtcp, Error>>,
    pub(crate) has_rtcp_mux: bool,
    pub(crate) is_bundle_only: bool,
    pub(crate) ptime_ms: Option<u16>,
    /// Which of the index's encodings are of this m-line.
    pub(crate) encodings: (u32, u32),
}

impl Entry {
    pub(crate) fn needs_ports(&self) -> bool {
        self.port != 0 && self.protocol.transport() != Transport::Other
    }
}

/// An `a=rtpmap` line (RFC 8866 section 6.6).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding {
    pub(crate) payload_type: u8,
    pub(crate) name: Span,
    pub(crate) clock_rate_hz: Option<u32>,
}

/// Where the parts of one description lie. Reused from description to description.
#[derive(Debug, Clone, Default)]
pub struct Index {
    pub(crate) origin: OriginSpans,
    pub(crate) session: Section,
    pub(crate) media: Vec<Entry>,
    pub(crate) encodings: Vec<Encoding>,
    /// Lines that a relay takes out, in order.
    pub(crate) removed: Vec<Span>,
    pub(crate) has_bundle: bool,
    has_origin: bool,
    has_session_name: bool,
}

impl Index {
    /// An empty index.
    pub fn new() -> Index {
        Index::default()
    }

    /// Indexes `body`, a message body or the part of one that is `application/sdp`.
    ///
    /// Beyond its form it is checked that each m-line which is to be relayed has an address and a port
    /// that a relay can use. No m-line at all is a description too (RFC 3264 section 5).
    ///
    /// # Errors
    /// What is wrong first.
    pub fn parse<'a>(
        &'a mut self,
        body: &'a [u8],
        limits: &Limits,
    ) -> Result<Description<'a>, Error> {
        self.clear();
        if body.len() > limits.size_bytes_max.min(u32::MAX / 2) as usize {
            let size_bytes_max = limits.size_bytes_max;
            return Err(Error::TooLarge { size_bytes_max });
        }
        let mut lines = Lines::new(body, limits);
        let first = lines.next()?.filter(|line| line.letter == b'v');
        let first = first.ok_or(Error::Missing(Part::Version))?;
        if first.value.of(body) != b"0" {
            return Err(Error::Version);
        }
        while let Some(line) = lines.next()? {
            self.line(body, line, limits)?;
        }
        if !self.has_origin {
            return Err(Error::Missing(Part::Origin));
        }
        if !self.has_session_name {
            return Err(Error::Missing(Part::SessionName));
        }
        self.check(body)?;
        Ok(self.description(body))
    }

    /// The description that this index was made from.
    ///
    /// `body` must be the indexed one or a byte-identical copy; spans outside it read as empty.
    pub fn description<'a>(&'a self, body: &'a [u8]) -> Description<'a> {
        Description { body, index: self }
    }

    fn clear(&mut self) {
        self.origin = OriginSpans::default();
        self.session = Section::default();
        self.media.clear();
        self.encodings.clear();
        self.removed.clear();
        self.has_bundle = false;
        self.has_origin = false;
        self.has_session_name = false;
    }

    fn line(&mut self, body: &[u8], line: Line, limits: &Limits) -> Result<(), Error> {
        if let Some(entry) = self.media.last_mut()
            && line.letter != b'm'
        {
            if line.letter == b'i' && entry.connection_at == entry.end {
                entry.connection_at = line.whole.end;
            }
            entry.end = line.whole.end;
        }
        let number = line.number;
        match line.letter {
            b'a' => self.attribute(body, line),
            b'm' => self.media_line(body, line, limits),
            b'c' => self.connection(body, line),
            b'v' | b'o' | b's' if !self.media.is_empty() => Err(Error::Order { line: number }),
            b'o' if !self.has_origin => self.origin(body, line),
            b's' if !self.has_session_name => {
                self.has_session_name = true;
                Ok(())
            }
            b'v' | b'o' | b's' => Err(Error::Repeated { line: number }),
            // Order matters to no reader of these; what phones send out of order passes.
            b'i' | b'u' | b'e' | b'p' | b'b' | b't' | b'r' | b'z' | b'k' => Ok(()),
            letter => Err(Error::LineType {
                line: number,
                letter,
            }),
        }
    }

    /// `o=<username> <sess-id> <sess-version> <nettype> <addrtype> <unicast-address>`. User names with
    /// spaces, and none at all, are seen; so it is read from its end.
    fn origin(&mut self, body: &[u8], line: Line) -> Result<(), Error> {
        self.has_origin = true;
        let mut last = [Span::default(); 5];
        let mut count = 0;
        for field in Fields::new(body, line.value) {
            last.rotate_left(1);
            last[4] = field;
            count += 1;
        }
        let has_user = !line.value.of(body).starts_with(b" ");
        if count < 5 + usize::from(has_user) {
            return Err(Error::Origin { line: line.number });
        }
        let [session_id, version, nettype, addrtype, address] = last;
        let is_known = nettype.of(body).eq_ignore_ascii_case(b"IN")
            && (addrtype.of(body).eq_ignore_ascii_case(b"IP4")
                || addrtype.of(body).eq_ignore_ascii_case(b"IP6"));
        if !is_known {
            return Err(Error::AddressType { line: line.number });
        }
        self.origin = OriginSpans {
            session_id,
            version,
            address,
            type_and_address: Span {
                start: addrtype.start,
                end: address.end,
            },
        };
        Ok(())
    }

    /// `c=<nettype> <addrtype> <connection-address>`
    fn connection(&mut self, body: &[u8], line: Line) -> Result<(), Error> {
        let mut fields = Fields::new(body, line.value);
        let (Some(nettype), Some(addrtype), Some(address), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(Error::Connection { line: line.number });
        };
        let connection = Connection {
            value: line.value,
            type_and_address: Span {
                start: addrtype.start,
                end: address.end,
            },
            address: unicast(
                nettype.of(body),
                addrtype.of(body),
                address.of(body),
                line.number,
            ),
        };
        let section = self.section();
        // Several are for layers on multicast addresses only (section 5.7).
        if section.connection.replace(connection).is_some() {
            return Err(Error::Repeated { line: line.number });
        }
        Ok(())
    }

    fn section(&mut self) -> &mut Section {
        match self.media.last_mut() {
            Some(entry) => &mut entry.section,
            None => &mut self.session,
        }
    }

    /// `m=<media> <port>[/<count>] <proto> <fmt> ...`
    fn media_line(&mut self, body: &[u8], line: Line, limits: &Limits) -> Result<(), Error> {
        let Line { number: at, .. } = line;
        if self.media.len() >= usize::from(limits.media_max) {
            let media_max = limits.media_max;
            return Err(Error::TooManyMedia { media_max });
        }
        let mut fields = Fields::new(body, line.value);
        let (Some(kind), Some(port), Some(protocol)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Err(Error::MediaLine { line: at });
        };
        let text = port.of(body);
        let slash = text.iter().position(|&byte| byte == b'/');
        let port_span = Span {
            start: port.start,
            end: slash.map_or(port.end, |slash| port.start + slash as u32),
        };
        let port = number(port_span.of(body), 65_535).ok_or(Error::Port { line: at })? as u16;
        let removed = self.removed.len() as u32;
        let encodings = self.encodings.len() as u32;
        self.media.push(Entry {
            line: at,
            kind: Kind::parse(kind.of(body)),
            kind_span: kind,
            port,
            port_span,
            port_count: match slash {
                Some(slash) => number(&text[slash + 1..], u32::MAX),
                None => Some(1),
            },
            protocol: Protocol::parse(protocol.of(body)),
            protocol_span: protocol,
            formats: Span {
                start: protocol.end,
                end: line.value.end,
            },
            section: Section {
                removed: (removed, removed),
                ..Section::default()
            },
            connection_at: line.whole.end,
            end: line.whole.end,
            rtcp: None,
            has_rtcp_mux: false,
            is_bundle_only: false,
            ptime_ms: None,
            encodings: (encodings, encodings),
        });
        Ok(())
    }

    fn attribute(&mut self, body: &[u8], line: Line) -> Result<(), Error> {
        let text = line.value.of(body);
        let colon = text.iter().position(|&byte| byte == b':');
        let name = trim(&text[..colon.unwrap_or(text.len())]);
        let Some(attribute) = Attribute::parse(name) else {
            return Ok(());
        };
        let value = Span {
            start: line.value.start + colon.map_or(text.len(), |colon| colon + 1) as u32,
            end: line.value.end,
        };
        match attribute {
            Attribute::Direction(direction) => {
                self.section().direction.get_or_insert(direction);
            }
            Attribute::Removed => self.take_out(line),
            Attribute::Group => {
                let semantics = Fields::new(body, value).next();
                if semantics.is_some_and(|word| word.of(body).eq_ignore_ascii_case(b"BUNDLE")) {
                    self.has_bundle = true;
                    self.take_out(line);
                }
            }
            Attribute::BundleOnly => {
                if let Some(entry) = self.media.last_mut() {
                    entry.is_bundle_only = true;
                }
                self.take_out(line);
            }
            Attribute::RtcpMux => {
                if let Some(entry) = self.media.last_mut() {
                    entry.has_rtcp_mux = true;
                }
            }
            Attribute::Rtcp => match self.media.last_mut() {
                Some(entry) => {
                    let rtcp = rtcp(body, value, line.number);
                    if entry.rtcp.replace(rtcp).is_some() {
                        return Err(Error::Repeated { line: line.number });
                    }
                }
                // It belongs to an m-line (RFC 3605 section 2.1); for all of them it cannot be true.
                None => self.take_out(line),
            },
            Attribute::Rtpmap => self.rtpmap(body, value),
            Attribute::Ptime => {
                if let (Some(entry), Some(field)) =
                    (self.media.last_mut(), Fields::new(body, value).next())
                {
                    let time = number(field.of(body), u32::from(u16::MAX));
                    entry.ptime_ms = time.map(|time| time as u16);
                }
            }
        }
        Ok(())
    }

    fn take_out(&mut self, line: Line) {
        self.removed.push(line.whole);
        let end = self.removed.len() as u32;
        self.section().removed.1 = end;
    }

    /// `a=rtpmap:<payload type> <encoding name>/<clock rate>[/<channels>]`. One that cannot be read names
    /// nothing.
    fn rtpmap(&mut self, body: &[u8], value: Span) {
        let Some(entry) = self.media.last_mut() else {
            return;
        };
        let mut fields = Fields::new(body, value);
        let payload_type = fields.next().and_then(|field| number(field.of(body), 127));
        let (Some(payload_type), Some(encoding)) = (payload_type, fields.next()) else {
            return;
        };
        let mut parts = encoding.of(body).split(|&byte| byte == b'/');
        let name = parts.next().unwrap_or_default();
        let rate = parts.next().and_then(|rate| number(rate, u32::MAX));
        self.encodings.push(Encoding {
            payload_type: payload_type as u8,
            name: Span {
                start: encoding.start,
                end: encoding.start + name.len() as u32,
            },
            clock_rate_hz: rate.filter(|&rate| rate > 0),
        });
        entry.encodings.1 = self.encodings.len() as u32;
    }

    /// What the m-lines that are to be relayed need.
    fn check(&self, body: &[u8]) -> Result<(), Error> {
        for (media, entry) in self.media.iter().enumerate() {
            let line = entry.line;
            if entry.port_count.is_none() {
                return Err(Error::Port { line });
            }
            if entry.port == 0 {
                continue;
            }
            if Fields::new(body, entry.formats).next().is_none() {
                return Err(Error::MediaLine { line });
            }
            if !entry.needs_ports() {
                continue;
            }
            if entry.port_count != Some(1) {
                return Err(Error::PortCount { line });
            }
            if entry.protocol.transport() == Transport::Rtp {
                let are_good = are_payload_types(body, entry.formats);
                are_good.then_some(()).ok_or(Error::PayloadType { line })?;
            }
            let connection = entry.section.connection.or(self.session.connection);
            let media = media as u8;
            connection.ok_or(Error::NoAddress { media })?.address?;
            entry.rtcp.transpose()?;
        }
        Ok(())
    }
}

/// Whether a format list is one of payload types, and not of more than there are.
fn are_payload_types(body: &[u8], formats: Span) -> bool {
    let mut count = 0;
    Fields::new(body, formats).all(|format| {
        count += 1;
        count <= PAYLOAD_TYPES && number(format.of(body), 127).is_some()
    })
}

/// `a=rtcp:<port> [<nettype> <addrtype> <connection-address>]`
fn rtcp(body: &[u8], value: Span, line: u16) -> Result<Rtcp, Error> {
    let mut fields = Fields::new(body, value);
    let port_span = fields.next().ok_or(Error::Rtcp { line })?;
    let port = number(port_span.of(body), 65_535).ok_or(Error::Rtcp { line })? as u16;
    let Some(nettype) = fields.next() else {
        return Ok(Rtcp {
            port,
            port_span,
            address: None,
            type_and_address: None,
        });
    };
    let (Some(addrtype), Some(address), None) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(Error::Rtcp { line });
    };
    let named = unicast(nettype.of(body), addrtype.of(body), address.of(body), line)?;
    Ok(Rtcp {
        port,
        port_span,
        address: Some(named),
        type_and_address: Some(Span {
            start: addrtype.start,
            end: address.end,
        }),
    })
}

/// A description and its index.
#[derive(Debug, Clone, Copy)]
pub struct Description<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) index: &'a Index,
}

impl<'a> Description<'a> {
    /// The bytes that were indexed.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The `o=` line (RFC 8866 section 5.2).
    pub fn origin(&self) -> Origin<'a> {
        let spans = self.index.origin;
        Origin {
            session_id: spans.session_id.of(self.body),
            version: spans.version.of(self.body),
            address: spans.address.of(self.body),
            address_span: spans.type_and_address,
        }
    }

    /// How many m-lines there are.
    pub fn media_count(&self) -> usize {
        self.index.media.len()
    }

    /// The m-lines in order.
    pub fn media(&self) -> impl ExactSizeIterator<Item = Media<'a>> + use<'a> {
        let description = *self;
        (0..self.index.media.len()).map(move |number| Media {
            description,
            entry: &description.index.media[number],
            number,
        })
    }

    /// One m-line, counted from 0.
    pub fn media_at(&self, number: usize) -> Option<Media<'a>> {
        Some(Media {
            description: *self,
            entry: self.index.media.get(number)?,
            number,
        })
    }

    /// Whether m-lines are grouped to share one transport (RFC 9143).
    pub fn has_bundle(&self) -> bool {
        self.index.has_bundle
    }
}
