//! Typed views of header values.

use std::net::IpAddr;

use crate::lex;
use crate::name::Method;
use crate::uri::{Host, Uri, UriError};

/// A `name[=value]` of a header or URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name as written.
    pub name: &'a [u8],
    /// The value as written, quotes included.
    pub value: Option<&'a [u8]>,
}

impl Param<'_> {
    /// Whether the parameter has this name, in any case.
    pub fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Parameters separated by semicolons: `a=b;c;d="e;f"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a> {
    bytes: &'a [u8],
}

impl<'a> Params<'a> {
    /// Parameters from what follows the first semicolon.
    pub fn new(bytes: &'a [u8]) -> Params<'a> {
        Params { bytes }
    }

    /// The bytes they were made from.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The parameters in order; empty ones are skipped.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let end = lex::find_byte_outside(rest, b';').unwrap_or(None);
                let taken = lex::trim(&rest[..end.unwrap_or(rest.len())]);
                rest = end.map_or(&[][..], |end| &rest[end + 1..]);
                if !taken.is_empty() {
                    return Some(param(taken));
                }
            }
        })
    }

    /// Shows each parameter to `visit`; gives whether every semicolon has a parameter behind it and every
    /// quote its end. What an unclosed quote would swallow could not be divided again by another reader.
    fn visit_whole(&self, mut visit: impl FnMut(Param<'a>)) -> bool {
        let mut rest = self.bytes;
        loop {
            let Ok(end) = lex::find_byte_outside(rest, b';') else {
                return false;
            };
            let taken = lex::trim(&rest[..end.unwrap_or(rest.len())]);
            if taken.is_empty() {
                return false;
            }
            visit(param(taken));
            match end {
                Some(end) => rest = &rest[end + 1..],
                None => return true,
            }
        }
    }

    /// The first parameter of that name: `None` if there is none, `Some(None)` if it has no value.
    pub fn find(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.iter()
            .find(|param| param.is(name))
            .map(|param| param.value)
    }

    /// The value of the first parameter of that name, if it has one.
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.find(name).flatten()
    }

    /// Whether there is a parameter of that name.
    pub fn has(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }
}

fn param(bytes: &[u8]) -> Param<'_> {
    // Short, so a loop is quicker than a search that has to set up.
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) => Param {
            name: lex::trim_end(&bytes[..at]),
            value: Some(lex::trim_start(&bytes[at + 1..])),
        },
        None => Param {
            name: bytes,
            value: None,
        },
    }
}

/// One Via value (RFC 3261 section 20.42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, ... or any token.
    pub transport: &'a [u8],
    /// The sent-by host.
    pub host: Host<'a>,
    /// The sent-by port.
    pub port: Option<u16>,
    /// What follows.
    pub params: Params<'a>,
    /// The whole sent-by as written.
    pub sent_by: &'a [u8],
    branch: Option<&'a [u8]>,
    rport: Option<Option<&'a [u8]>>,
}

/// The cookie that begins every branch of an RFC 3261 element (section 8.1.1.7).
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

impl<'a> Via<'a> {
    /// Reads `SIP / 2.0 / UDP host:port;params`; white space may stand around slashes and colons.
    pub fn parse(bytes: &'a [u8]) -> Option<Via<'a>> {
        let (protocol, rest) = lex::token(bytes);
        let rest = lex::trim_start(lex::trim_start(rest).strip_prefix(b"/")?);
        let (version, rest) = lex::token(rest);
        let rest = lex::trim_start(lex::trim_start(rest).strip_prefix(b"/")?);
        let (transport, rest) = lex::token(rest);
        // Another version is still read: its sender is told which one is spoken here (21.5.6).
        if !protocol.eq_ignore_ascii_case(b"SIP") || version.is_empty() || transport.is_empty() {
            return None;
        }
        let after = lex::trim_start(rest);
        if after.len() == rest.len() {
            return None;
        }
        let semicolon = memchr::memchr(b';', after);
        let sent_by = lex::trim(&after[..semicolon.unwrap_or(after.len())]);
        let (host, port) = Host::parse_with_port(sent_by).ok()?;
        let params = Params::new(semicolon.map_or(&[], |at| &after[at + 1..]));
        let (mut branch, mut rport) = (None, None);
        let are_whole = semicolon.is_none()
            || params.visit_whole(|param| {
                if branch.is_none() && param.is(b"branch") {
                    branch = Some(param.value);
                } else if rport.is_none() && param.is(b"rport") {
                    rport = Some(param.value);
                }
            });
        if !are_whole {
            return None;
        }
        Some(Via {
            transport,
            host,
            port,
            params,
            sent_by,
            branch: branch.flatten(),
            rport,
        })
    }

    /// The branch, if there is one.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.branch
    }

    /// Whether the branch is one of RFC 3261 (section 8.1.1.7).
    pub fn has_magic_cookie(&self) -> bool {
        self.branch().is_some_and(|branch| {
            branch.len() > MAGIC_COOKIE.len()
                && branch[..MAGIC_COOKIE.len()].eq_ignore_ascii_case(MAGIC_COOKIE)
        })
    }

    /// The address in `received`, if there is one that can be read; brackets around IPv6 are taken
    /// as well as their absence (RFC 5118 section 4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.value(b"received")?;
        let bare = text
            .strip_prefix(b"[")
            .and_then(|text| text.strip_suffix(b"]"))
            .unwrap_or(text);
        std::str::from_utf8(bare).ok()?.parse().ok()
    }

    /// `rport` (RFC 3581): `None` if absent, `Some(None)` if it asks, `Some(Some(port))` if it tells.
    pub fn rport(&self) -> Option<Option<u16>> {
        self.rport.map(|value| {
            value
                .and_then(|value| lex::number(value, 65_535))
                .map(|port| port as u16)
        })
    }
}

/// A name-addr or addr-spec with header parameters: From, To, Contact, Route, ... (section 25.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, quotes included; empty if none.
    pub display: &'a [u8],
    /// The URI without brackets.
    pub uri: &'a [u8],
    /// The header's parameters.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value. Without brackets, what follows a semicolon belongs to the header, and the URI
    /// must hold no comma or question mark (section 20.10).
    pub fn parse(bytes: &'a [u8]) -> Option<NameAddr<'a>> {
        let bytes = lex::trim(bytes);
        let open = match bytes.first()? {
            b'"' => {
                let end = lex::quoted_end(bytes, 0)?;
                let gap = lex::trim_start(&bytes[end..]);
                if gap.first() != Some(&b'<') {
                    return None;
                }
                Some(bytes.len() - gap.len())
            }
            _ => memchr::memchr2(b'<', b'"', bytes).filter(|&at| bytes[at] == b'<'),
        };
        let Some(open) = open else {
            return NameAddr::bare(bytes);
        };
        let display = lex::trim(&bytes[..open]);
        if !display_is_valid(display) {
            // `sip:a@b;x=<y>` is an addr-spec with an odd parameter, not a name-addr.
            return None;
        }
        let close = open + memchr::memchr(b'>', &bytes[open..])?;
        let uri = &bytes[open + 1..close];
        let params = after_uri(&bytes[close + 1..])?;
        Some(NameAddr {
            display,
            uri,
            params,
        })
    }

    fn bare(bytes: &'a [u8]) -> Option<NameAddr<'a>> {
        let end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
        let uri = lex::trim_end(&bytes[..end]);
        if uri.is_empty()
            || uri
                .iter()
                .any(|&byte| matches!(byte, b',' | b'?' | b'"' | b'>') || lex::is_lws(byte))
        {
            return None;
        }
        memchr::memchr(b':', uri)?;
        Some(NameAddr {
            display: &[],
            uri,
            params: after_uri(&bytes[end..])?,
        })
    }

    /// The tag of From and To (section 19.3).
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value(b"tag").filter(|tag| !tag.is_empty())
    }

    /// The URI, parsed.
    ///
    /// # Errors
    /// Those of [`Uri::parse`].
    pub fn parse_uri(&self) -> Result<Uri<'a>, UriError> {
        Uri::parse(self.uri)
    }

    /// `q` in thousandths; 1000 when absent, `None` if it cannot be read (section 20.10).
    pub fn q(&self) -> Option<u16> {
        match self.params.find(b"q") {
            None => Some(1000),
            Some(value) => q_value(value?),
        }
    }
}

fn display_is_valid(display: &[u8]) -> bool {
    if display.first() == Some(&b'"') {
        return lex::quoted_end(display, 0) == Some(display.len());
    }
    // Section 25.1 allows tokens; what people send in UTF-8 without quotes is let through, characters
    // that would move the borders are not.
    !display
        .iter()
        .any(|&byte| matches!(byte, b'"' | b'<' | b'>' | b';' | b',' | b'@' | b'\\') || byte == 0)
}

fn after_uri(bytes: &[u8]) -> Option<Params<'_>> {
    let rest = lex::trim_start(bytes);
    if rest.is_empty() {
        return Some(Params::default());
    }
    let params = rest.strip_prefix(b";")?;
    if memchr::memchr2(b'"', b'<', params).is_some() {
        lex::find_outside(params, |_| false).ok()?;
    }
    Some(Params::new(params))
}

fn q_value(bytes: &[u8]) -> Option<u16> {
    let (whole, fraction) = match memchr::memchr(b'.', bytes) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let whole = match whole {
        b"0" | b"" => 0,
        b"1" => 1000,
        _ => return None,
    };
    if fraction.len() > 3 || bytes.is_empty() || bytes == b"." {
        return None;
    }
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = match fraction.get(place) {
            None => 0,
            Some(digit) if digit.is_ascii_digit() => u16::from(digit - b'0'),
            Some(_) => return None,
        };
        thousandths = thousandths * 10 + digit;
    }
    Some(whole + thousandths).filter(|&q| q <= 1000)
}

/// CSeq (section 20.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number, less than 2**31 (section 8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The method as written.
    pub method_bytes: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// Reads `number LWS method`.
    pub fn parse(bytes: &'a [u8]) -> Option<CSeq<'a>> {
        let end = bytes.iter().position(|&byte| lex::is_lws(byte))?;
        let number = lex::number(&bytes[..end], i32::MAX as u32)?;
        let method_bytes = lex::trim_start(&bytes[end..]);
        if !lex::is_token_all(method_bytes) {
            return None;
        }
        Some(CSeq {
            number,
            method: Method::parse(method_bytes),
            method_bytes,
        })
    }
}

#[cfg(test)]
mod tests;
