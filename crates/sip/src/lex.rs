//! Bytes and tokens of RFC 3261 section 25.1.

/// Whether `byte` may stand in a token (section 25.1).
pub const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
            | b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        byte += 1;
    }
    table
};

/// Whether every byte may stand in a token and there is at least one.
pub fn is_token_all(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token(byte))
}

/// Whether `byte` is white space, a folded line's CR and LF included.
pub const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `bytes` without white space at both ends.
#[inline]
pub fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

/// `bytes` without white space at its start.
#[inline]
pub fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        if !is_lws(*first) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// `bytes` without white space at its end.
#[inline]
pub fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes {
        if !is_lws(*last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// The leading token and what follows it.
pub fn token(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|&byte| !is_token(byte))
        .unwrap_or(bytes.len());
    bytes.split_at(end)
}

/// The offset of the first `wanted`, which is expected within a few words: [`memchr::memchr`] takes
/// longer to get going.
#[inline]
pub(crate) fn find_near(bytes: &[u8], wanted: u8) -> Option<usize> {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        // A byte that is equal becomes zero; the lowest zero byte borrows, none below it does.
        let equal = u64::from_le_bytes(*word) ^ (LOW * wanted as u64);
        let found = equal.wrapping_sub(LOW) & !equal & HIGH;
        if found != 0 {
            return Some(number * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let start = words.len() * 8;
    rest.iter()
        .position(|&byte| byte == wanted)
        .map(|at| start + at)
}

/// The offset just past the quoted string that begins at `start` (which holds the opening quote), or
/// `None` if it is not closed. A backslash escapes the next byte.
pub fn quoted_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[found] {
            b'"' => return Some(found + 1),
            _ => at = found + 2,
        }
    }
}

/// The offset of the first byte for which `stop` holds, outside quoted strings and `<...>`.
/// `None` if there is none; `Err` if a quoted string or a bracket is not closed.
pub fn find_outside(bytes: &[u8], stop: impl Fn(u8) -> bool) -> Result<Option<usize>, Unclosed> {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = quoted_end(bytes, at).ok_or(Unclosed)?,
            b'<' => at += memchr::memchr(b'>', &bytes[at..]).ok_or(Unclosed)? + 1,
            _ if stop(byte) => return Ok(Some(at)),
            _ => at += 1,
        }
    }
    Ok(None)
}

/// As [`find_outside`], for one byte.
pub fn find_byte_outside(bytes: &[u8], stop: u8) -> Result<Option<usize>, Unclosed> {
    let mut at = 0;
    while let Some(found) = memchr::memchr3(stop, b'"', b'<', &bytes[at..]) {
        at += found;
        match bytes[at] {
            byte if byte == stop => return Ok(Some(at)),
            b'"' => at = quoted_end(bytes, at).ok_or(Unclosed)?,
            _ => at += memchr::memchr(b'>', &bytes[at..]).ok_or(Unclosed)? + 1,
        }
    }
    Ok(None)
}

/// A quoted string or a `<` that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclosed;

/// A decimal number of at most ten digits and nothing else, at most `max`.
pub fn number(bytes: &[u8], max: u32) -> Option<u32> {
    let significant = {
        let zeros = bytes.iter().take_while(|&&byte| byte == b'0').count();
        &bytes[zeros..]
    };
    if bytes.is_empty() || significant.len() > 10 {
        return None;
    }
    let mut value = 0u64;
    for &byte in significant {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
    }
    u32::try_from(value).ok().filter(|&value| value <= max)
}

/// Appends `value` in decimal.
pub fn push_number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `value` as sixteen lower-case hexadecimal digits.
pub fn push_hex(out: &mut Vec<u8>, value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 16];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = DIGITS[(value >> (60 - 4 * at)) as usize & 15];
    }
    out.extend_from_slice(&text);
}

/// The number that sixteen hexadecimal digits spell.
pub fn hex(bytes: &[u8]) -> Option<u64> {
    if bytes.len() != 16 {
        return None;
    }
    bytes.iter().try_fold(0u64, |value, &byte| {
        let digit = (byte as char).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

/// Appends `address` as a SIP host: IPv6 in brackets (section 25.1, IPv6reference).
pub fn push_host(out: &mut Vec<u8>, address: std::net::IpAddr) {
    match address {
        std::net::IpAddr::V4(v4) => push_v4(out, v4),
        std::net::IpAddr::V6(v6) => {
            use std::io::Write;
            out.push(b'[');
            write!(out, "{v6}").expect("writing to a Vec cannot fail");
            out.push(b']');
        }
    }
}

/// Appends `address` in dotted form.
pub fn push_v4(out: &mut Vec<u8>, address: std::net::Ipv4Addr) {
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        push_number(out, u64::from(octet));
    }
}

/// Appends `host:port`.
pub fn push_host_port(out: &mut Vec<u8>, address: std::net::SocketAddr) {
    push_host(out, address.ip());
    out.push(b':');
    push_number(out, u64::from(address.port()));
}

#[cfg(test)]
mod tests;
