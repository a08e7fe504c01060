//! URIs: SIP and SIPS (RFC 3261 section 19.1), tel (RFC 3966), any other scheme opaque.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::header::Params;
use crate::lex;

/// The scheme of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other.
    Other,
}

/// Why a URI cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriError {
    /// No scheme, or one that is no scheme (RFC 3986 section 3.1).
    Scheme,
    /// White space, a control character or a bracket where none may stand.
    Character,
    /// `%` without two hexadecimal digits.
    Escape,
    /// More than one `@`, or an empty user before it.
    User,
    /// No host, or one that is neither a name nor an address.
    Host,
    /// A port that is no number up to 65535.
    Port,
}

/// A host: a name or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a> {
    /// As written, brackets included.
    pub bytes: &'a [u8],
    /// The address, if it is one.
    pub address: Option<IpAddr>,
}

impl<'a> Host<'a> {
    /// Reads a host and nothing else.
    ///
    /// # Errors
    /// [`UriError::Host`].
    pub fn parse(bytes: &'a [u8]) -> Result<Host<'a>, UriError> {
        if let Some(inner) = bytes.strip_prefix(b"[") {
            let inner = inner.strip_suffix(b"]").ok_or(UriError::Host)?;
            let address = v6(inner).ok_or(UriError::Host)?;
            return Ok(Host {
                bytes,
                address: Some(IpAddr::V6(address)),
            });
        }
        if let Some(address) = v4(bytes) {
            let address = Some(IpAddr::V4(address));
            return Ok(Host { bytes, address });
        }
        if bytes.is_empty() || bytes.len() > 255 {
            return Err(UriError::Host);
        }
        // Labels are not empty (section 25.1); only the last may end in a dot.
        let mut last = b'.';
        for &byte in bytes {
            if !HOST[byte as usize] || byte == b'.' && last == b'.' {
                return Err(UriError::Host);
            }
            last = byte;
        }
        Ok(Host {
            bytes,
            address: None,
        })
    }

    /// Reads `host[:port]`; white space may stand around the colon, as Via allows (section 25.1).
    ///
    /// # Errors
    /// [`UriError::Host`] or [`UriError::Port`].
    pub fn parse_with_port(bytes: &'a [u8]) -> Result<(Host<'a>, Option<u16>), UriError> {
        let colon = match bytes.first() {
            Some(b'[') => {
                let close = memchr::memchr(b']', bytes).ok_or(UriError::Host)?;
                let rest = lex::trim_start(&bytes[close + 1..]);
                match rest.first() {
                    None => None,
                    Some(b':') => Some(bytes.len() - rest.len()),
                    Some(_) => return Err(UriError::Host),
                }
            }
            _ => memchr::memchr(b':', bytes),
        };
        let Some(colon) = colon else {
            return Ok((Host::parse(lex::trim_end(bytes))?, None));
        };
        let port =
            lex::number(lex::trim_start(&bytes[colon + 1..]), 65_535).ok_or(UriError::Port)?;
        Ok((
            Host::parse(lex::trim_end(&bytes[..colon]))?,
            Some(port as u16),
        ))
    }

    /// Whether both name the same host: addresses by value, names in any case.
    pub fn same(&self, other: &Host<'_>) -> bool {
        match (self.address, other.address) {
            (Some(one), Some(two)) => one == two,
            (None, None) => without_dot(self.bytes).eq_ignore_ascii_case(without_dot(other.bytes)),
            _ => false,
        }
    }
}

fn without_dot(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

fn v6(bytes: &[u8]) -> Option<Ipv6Addr> {
    let read = |bytes| std::str::from_utf8(bytes).ok()?.parse().ok();
    if let Some(address) = read(bytes) {
        return Some(address);
    }
    // RFC 3261's grammar yields three colons before an embedded IPv4 address; they mean two
    // (RFC 5118 section 4.10).
    let at = bytes.windows(3).position(|window| window == b":::")?;
    let (before, after) = (&bytes[..at], &bytes[at + 1..]);
    let mut text = [0u8; ADDRESS_BYTES_MAX];
    let text = text.get_mut(..before.len() + after.len())?;
    text[..at].copy_from_slice(before);
    text[at..].copy_from_slice(after);
    v4(&after[2..])?;
    read(text)
}

/// The longest IPv6 address in text.
const ADDRESS_BYTES_MAX: usize = 45;

/// Four numbers of one to three digits, without zeros before them, and three dots.
fn v4(bytes: &[u8]) -> Option<Ipv4Addr> {
    if !bytes.first()?.is_ascii_digit() || bytes.len() > 15 {
        return None;
    }
    let mut octets = [0u8; 4];
    let (mut place, mut digits, mut value) = (0, 0, 0u16);
    for &byte in bytes {
        match byte {
            b'0'..=b'9' if digits == 0 || value != 0 => {
                value = value * 10 + u16::from(byte - b'0');
                digits += 1;
                *octets.get_mut(place)? = u8::try_from(value).ok()?;
            }
            b'.' if digits > 0 => (place, digits, value) = (place + 1, 0, 0),
            _ => return None,
        }
    }
    (place == 3 && digits > 0).then(|| Ipv4Addr::from(octets))
}

/// A URI, its parts as ranges of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole URI.
    pub bytes: &'a [u8],
    /// Its scheme.
    pub scheme: Scheme,
    /// The user part with its own parameters, escapes as written; the number of a tel URI. The
    /// password is not in it.
    pub user: Option<&'a [u8]>,
    /// The password of a SIP URI (deprecated by section 19.1.1).
    pub password: Option<&'a [u8]>,
    /// The host; empty for tel and other schemes.
    pub host: Host<'a>,
    /// The port, if written.
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params<'a>,
    /// URI headers, after the question mark.
    pub headers: Option<&'a [u8]>,
}

impl<'a> Uri<'a> {
    /// Reads a URI and nothing else.
    ///
    /// # Errors
    /// What cannot be read, by part.
    pub fn parse(bytes: &'a [u8]) -> Result<Uri<'a>, UriError> {
        let colon = memchr::memchr(b':', bytes).ok_or(UriError::Scheme)?;
        let (name, rest) = (&bytes[..colon], &bytes[colon + 1..]);
        let scheme = scheme(name)?;
        check_characters(rest)?;
        match scheme {
            Scheme::Sip | Scheme::Sips => Uri::sip(bytes, scheme, rest),
            Scheme::Tel => Uri::tel(bytes, rest),
            Scheme::Other => Ok(Uri {
                headers: None,
                ..Uri::opaque(bytes, scheme)
            }),
        }
    }

    fn opaque(bytes: &'a [u8], scheme: Scheme) -> Uri<'a> {
        Uri {
            bytes,
            scheme,
            user: None,
            password: None,
            host: Host {
                bytes: &[],
                address: None,
            },
            port: None,
            params: Params::default(),
            headers: None,
        }
    }

    fn sip(bytes: &'a [u8], scheme: Scheme, rest: &'a [u8]) -> Result<Uri<'a>, UriError> {
        let (userinfo, rest) = match memchr::memchr(b'@', rest) {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        if memchr::memchr(b'@', rest).is_some() {
            return Err(UriError::User);
        }
        let (user, password) = match userinfo {
            None => (None, None),
            Some(info) => match memchr::memchr(b':', info) {
                Some(at) => (Some(&info[..at]), Some(&info[at + 1..])),
                None => (Some(info), None),
            },
        };
        if user.is_some_and(<[u8]>::is_empty) {
            return Err(UriError::User);
        }
        let (rest, headers) = match memchr::memchr(b'?', rest) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        let (host_port, params) = match memchr::memchr(b';', rest) {
            Some(at) => (&rest[..at], Params::new(&rest[at + 1..])),
            None => (rest, Params::default()),
        };
        let (host, port) = Host::parse_with_port(host_port)?;
        Ok(Uri {
            bytes,
            scheme,
            user,
            password,
            host,
            port,
            params,
            headers,
        })
    }

    fn tel(bytes: &'a [u8], rest: &'a [u8]) -> Result<Uri<'a>, UriError> {
        let (number, params) = match memchr::memchr(b';', rest) {
            Some(at) => (&rest[..at], Params::new(&rest[at + 1..])),
            None => (rest, Params::default()),
        };
        if !is_number(number) {
            return Err(UriError::User);
        }
        Ok(Uri {
            user: Some(number),
            params,
            ..Uri::opaque(bytes, Scheme::Tel)
        })
    }

    /// Whether the scheme is `sip` or `sips`.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The port to send to: as written, else the default of the scheme.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.scheme == Scheme::Sips {
            5061
        } else {
            5060
        })
    }

    /// Appends the canonical address-of-record (section 10.3 step 5): the user unescaped, the host in
    /// lower case, no port, no parameters; without a user just the host.
    pub fn push_aor(&self, out: &mut Vec<u8>) {
        if let Some(user) = self.user {
            push_unescaped(user, out);
            out.push(b'@');
        }
        self.push_domain(out);
    }

    /// Appends the host in lower case without a trailing dot, an address in its usual form.
    pub fn push_domain(&self, out: &mut Vec<u8>) {
        match self.host.address {
            Some(address) => lex::push_host(out, address),
            None => out.extend(
                without_dot(self.host.bytes)
                    .iter()
                    .map(u8::to_ascii_lowercase),
            ),
        }
    }

    /// Equality of SIP URIs by section 19.1.4; other schemes are compared byte by byte, tel numbers
    /// without visual separators (RFC 3966 section 4).
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if self.bytes == other.bytes {
            return true;
        }
        match (self.scheme, other.scheme) {
            (Scheme::Tel, Scheme::Tel) => {
                same_number(self, other) && same_params(self.params, other.params, false)
            }
            (Scheme::Other, _) | (_, Scheme::Other) => false,
            (one, two) => {
                one == two
                    && self.host.same(&other.host)
                    && self.port == other.port
                    && same_unescaped(self.user, other.user, false)
                    && same_unescaped(self.password, other.password, false)
                    && same_params(self.params, other.params, true)
                    && same_headers(self.headers, other.headers)
            }
        }
    }
}

fn scheme(name: &[u8]) -> Result<Scheme, UriError> {
    let scheme_like =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if name.eq_ignore_ascii_case(b"sip") {
        Ok(Scheme::Sip)
    } else if name.eq_ignore_ascii_case(b"sips") {
        Ok(Scheme::Sips)
    } else if name.eq_ignore_ascii_case(b"tel") {
        Ok(Scheme::Tel)
    } else if name.first().is_some_and(u8::is_ascii_alphabetic) && name.iter().all(scheme_like) {
        Ok(Scheme::Other)
    } else {
        Err(UriError::Scheme)
    }
}

fn check_characters(bytes: &[u8]) -> Result<(), UriError> {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|&byte| MARKED[byte as usize]) {
        at += found;
        if bytes[at] != b'%' {
            return Err(UriError::Character);
        }
        let digits = bytes.get(at + 1..at + 3).ok_or(UriError::Escape)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(UriError::Escape);
        }
        at += 3;
    }
    Ok(())
}

/// What stands in no URI, and `%`.
static MARKED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = matches!(byte as u8, 0..=b' ' | 0x7f | b'<' | b'>' | b'"' | b'%');
        byte += 1;
    }
    table
};

/// What stands in the name of a host. An underscore is in no name but in use.
static HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        let is_letter_or_digit = (byte as u8).is_ascii_alphanumeric();
        table[byte] = is_letter_or_digit || matches!(byte as u8, b'-' | b'.' | b'_');
        byte += 1;
    }
    table
};

/// The bytes of `text` with `%xx` resolved; a `%` without digits stands for itself.
pub fn unescaped(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        if byte == b'%'
            && let [high, low, then @ ..] = after
            && let (Some(high), Some(low)) =
                ((*high as char).to_digit(16), (*low as char).to_digit(16))
        {
            rest = then;
            return Some((high << 4 | low) as u8);
        }
        rest = after;
        Some(byte)
    })
}

/// Appends `text` with escapes resolved.
pub fn push_unescaped(text: &[u8], out: &mut Vec<u8>) {
    if memchr::memchr(b'%', text).is_none() {
        out.extend_from_slice(text);
    } else {
        out.extend(unescaped(text));
    }
}

fn same_unescaped(one: Option<&[u8]>, two: Option<&[u8]>, any_case: bool) -> bool {
    match (one, two) {
        (None, None) => true,
        (Some(one), Some(two)) if any_case => unescaped(one)
            .map(|byte| byte.to_ascii_lowercase())
            .eq(unescaped(two).map(|byte| byte.to_ascii_lowercase())),
        (Some(one), Some(two)) => unescaped(one).eq(unescaped(two)),
        _ => false,
    }
}

/// Digits after a plus, or digits, letters and signs of a local number, with visual separators
/// (RFC 3966 section 3).
fn is_number(number: &[u8]) -> bool {
    let (is_global, number) = match number.strip_prefix(b"+") {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let dialled = |byte: u8| match is_global {
        true => byte.is_ascii_digit(),
        false => byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#'),
    };
    number
        .iter()
        .all(|&byte| dialled(byte) || is_separator(byte))
        && number.iter().any(|&byte| dialled(byte))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')')
}

fn same_number(one: &Uri<'_>, two: &Uri<'_>) -> bool {
    fn dialled<'a>(uri: &Uri<'a>) -> impl Iterator<Item = u8> + use<'a> {
        let number = uri.user.unwrap_or_default().iter();
        number
            .filter(|byte| !is_separator(**byte))
            .map(u8::to_ascii_lowercase)
    }
    dialled(one).eq(dialled(two))
}

/// Section 19.1.4: a parameter in both must match; `user`, `ttl`, `method`, `maddr` and `transport` in
/// only one never match; others in only one are ignored (for SIP).
fn same_params(one: Params<'_>, two: Params<'_>, lenient: bool) -> bool {
    let covers = |one: Params<'_>, two: Params<'_>| {
        one.iter().all(|param| match two.find(param.name) {
            Some(value) => same_unescaped(param.value, value, true),
            None => {
                lenient
                    && ![&b"user"[..], b"ttl", b"method", b"maddr", b"transport"]
                        .iter()
                        .any(|name| param.is(name))
            }
        })
    };
    covers(one, two) && covers(two, one)
}

/// Headers match in any order (section 19.1.4); there are few, so this is quadratic up to a limit.
fn same_headers(one: Option<&[u8]>, two: Option<&[u8]>) -> bool {
    const HEADERS_MAX: usize = 32;
    let (Some(one), Some(two)) = (one, two) else {
        return one.is_none() && two.is_none();
    };
    let list = |text: &'_ [u8]| {
        text.split(|&byte| byte == b'&')
            .take(HEADERS_MAX + 1)
            .count()
    };
    if list(one) > HEADERS_MAX || list(one) != list(two) {
        return false;
    }
    let covers = |one: &[u8], two: &[u8]| {
        one.split(|&byte| byte == b'&').all(|header| {
            two.split(|&byte| byte == b'&')
                .any(|other| same_header(header, other))
        })
    };
    covers(one, two) && covers(two, one)
}

fn same_header(one: &[u8], two: &[u8]) -> bool {
    let split = |text: &'_ [u8]| -> (usize, usize) {
        let at = memchr::memchr(b'=', text).unwrap_or(text.len());
        (at, (at + 1).min(text.len()))
    };
    let ((one_end, one_value), (two_end, two_value)) = (split(one), split(two));
    one[..one_end].eq_ignore_ascii_case(&two[..two_end])
        && unescaped(&one[one_value..]).eq(unescaped(&two[two_value..]))
}

#[cfg(test)]
mod tests;
