//! Lines and the fields in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Error;
use crate::index::Limits;

/// A range of bytes in a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset past the last byte.
    pub end: u32,
}

impl Span {
    /// A span from offsets that are known to lie in a description.
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of `body` under this span; empty if it does not lie in `body`.
    pub fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// One `x=value` line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: u16,
    pub(crate) letter: u8,
    /// What follows the equals sign, without white space at its end.
    pub(crate) value: Span,
    /// The whole line, line end included.
    pub(crate) whole: Span,
}

/// Divides a description into lines, which end with CRLF or LF (RFC 8866 section 5). The last one may
/// lack its end, and empty lines may follow it: phones do both.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    body: &'a [u8],
    limits: &'a Limits,
    at: usize,
    number: u16,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(body: &'a [u8], limits: &'a Limits) -> Lines<'a> {
        Lines {
            body,
            limits,
            at: 0,
            number: 0,
        }
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, Error> {
        if self.at >= self.body.len() {
            return Ok(None);
        }
        let start = self.at;
        self.number = self.number.saturating_add(1);
        let number = self.number;
        if number > self.limits.lines_max {
            let lines_max = self.limits.lines_max;
            return Err(Error::TooManyLines { lines_max });
        }
        let (end, next) = self.ends(start, number)?;
        self.at = next;
        if end - start > usize::from(self.limits.line_bytes_max) {
            return Err(Error::LineTooLong {
                line: number,
                line_bytes_max: self.limits.line_bytes_max,
            });
        }
        match &self.body[start..end] {
            [] if self.rest_is_empty() => Ok(None),
            [letter, b'=', value @ ..] => Ok(Some(Line {
                number,
                letter: *letter,
                value: Span::new(start + 2, start + 2 + trim_end(value).len()),
                whole: Span::new(start, next),
            })),
            _ => Err(Error::LineForm { line: number }),
        }
    }

    /// Where the text of the line at `start` ends and where the next line begins.
    fn ends(&self, start: usize, line: u16) -> Result<(usize, usize), Error> {
        let rest = &self.body[start..];
        let found = find_control(rest).unwrap_or(rest.len());
        let end = start + found;
        match &rest[found..] {
            [] => Ok((end, end)),
            [b'\n', ..] => Ok((end, end + 1)),
            [b'\r', b'\n', ..] => Ok((end, end + 2)),
            _ => Err(Error::ControlByte { line }),
        }
    }

    fn rest_is_empty(&self) -> bool {
        self.body[self.at..]
            .iter()
            .all(|byte| matches!(byte, b'\r' | b'\n'))
    }
}

/// The offset of the first CR, LF or NUL. Lines are short: taking eight bytes at a time is quicker than a
/// search that has to set up.
fn find_control(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let is_end = |byte: u8| matches!(byte, b'\r' | b'\n' | 0);
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        // The bytes below 0x0E, the lowest of them for certain: it borrows, and none below it does.
        let bits = u64::from_le_bytes(*word);
        let below = bits.wrapping_sub(LOW * 0x0e) & !bits & HIGH;
        if below == 0 {
            continue;
        }
        let lowest = below.trailing_zeros() as usize / 8;
        if is_end(word[lowest]) {
            return Some(number * 8 + lowest);
        }
        if let Some(at) = word.iter().position(|&byte| is_end(byte)) {
            return Some(number * 8 + at);
        }
    }
    let start = words.len() * 8;
    let at = rest.iter().position(|&byte| is_end(byte))?;
    Some(start + at)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `bytes` without white space at both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        if !is_space(*first) {
            break;
        }
        bytes = rest;
    }
    trim_end(bytes)
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes {
        if !is_space(*last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// The fields of a line, which white space divides; runs of it count as one.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    body: &'a [u8],
    rest: Span,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(body: &'a [u8], value: Span) -> Fields<'a> {
        Fields { body, rest: value }
    }
}

impl Iterator for Fields<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let bytes = self.rest.of(self.body);
        let mut start = 0;
        while is_space(*bytes.get(start)?) {
            start += 1;
        }
        let mut end = start + 1;
        while bytes.get(end).is_some_and(|&byte| !is_space(byte)) {
            end += 1;
        }
        let base = self.rest.start as usize;
        self.rest.start += end as u32;
        Some(Span::new(base + start, base + end))
    }
}

/// The number that `digits` write, up to `max`. Leading zeros are allowed.
pub(crate) fn number(digits: &[u8], max: u32) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
    }
    Some(value).filter(|&value| value <= max)
}

/// The address that `nettype addrtype address` name for one end of media (RFC 8866 section 5.7).
/// `0.0.0.0` and `::` are taken: they hold the stream (RFC 3264 section 8.4).
pub(crate) fn unicast(
    nettype: &[u8],
    addrtype: &[u8],
    address: &[u8],
    line: u16,
) -> Result<IpAddr, Error> {
    if !nettype.eq_ignore_ascii_case(b"IN") {
        return Err(Error::AddressType { line });
    }
    let is_v6 = match addrtype {
        [b'I' | b'i', b'P' | b'p', b'4'] => false,
        [b'I' | b'i', b'P' | b'p', b'6'] => true,
        _ => return Err(Error::AddressType { line }),
    };
    let slash = address.iter().position(|&byte| byte == b'/');
    let host = &address[..slash.unwrap_or(address.len())];
    let address = match is_v6 {
        false => parsed::<Ipv4Addr>(host).map(IpAddr::V4),
        true => parsed::<Ipv6Addr>(host).map(IpAddr::V6),
    };
    let Some(address) = address else {
        return Err(match is_host_name(host) {
            true => Error::HostName { line },
            false => Error::Connection { line },
        });
    };
    let plain = address.to_canonical();
    if plain.is_multicast() || plain == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Error::NotUnicast { line });
    }
    match slash {
        Some(_) => Err(Error::AddressSuffix { line }),
        None => Ok(address),
    }
}

/// What `bytes` write, by the standard library's reading.
fn parsed<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Whether these bytes can be meant as a name: labels of letters, digits and hyphens, the last one not
/// all digits.
fn is_host_name(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
    let is_label = |label: &[u8]| {
        !label.is_empty()
            && (label.iter())
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = bytes.rsplit(|&byte| byte == b'.').next().unwrap_or(bytes);
    bytes.split(|&byte| byte == b'.').all(is_label) && !last.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_found_at_any_offset_and_nothing_else_is() {
        let filler: Vec<u8> = (1..=255u8)
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect();
        assert_eq!(find_control(&filler), None);
        for length in 0..40 {
            for byte in [b'\r', b'\n', 0] {
                let mut bytes = filler[..length].to_vec();
                bytes.extend([byte, b'x', b'\n']);
                assert_eq!(find_control(&bytes), Some(length));
                bytes.extend_from_slice(&filler);
                assert_eq!(find_control(&bytes), Some(length));
            }
        }
    }

    #[test]
    fn fields_are_what_stands_between_white_space() {
        let body = b"xx  a\tbc   d xx";
        let span = Span::new(2, body.len() - 2);
        let fields: Vec<&[u8]> = Fields::new(body, span)
            .map(|field| field.of(body))
            .collect();
        assert_eq!(fields, [b"a".as_slice(), b"bc", b"d"]);
        assert_eq!(Fields::new(body, Span::new(2, 4)).next(), None);
        assert_eq!(Fields::new(body, Span::default()).next(), None);
    }

    #[test]
    fn a_number_is_digits_up_to_its_limit() {
        for (digits, expected) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("65535", Some(65_535)),
            ("65536", None),
            ("4294967296", None),
            ("", None),
            ("-1", None),
            ("1 ", None),
        ] {
            assert_eq!(number(digits.as_bytes(), 65_535), expected, "{digits}");
        }
    }
}
