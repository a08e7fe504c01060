//! A cheap look at a message before it is indexed.

use crate::lex;

/// The Call-ID of an unindexed message, found by walking line starts only. Used to choose the thread
/// that handles the message; a message without one goes to any.
pub fn call_id(buffer: &[u8]) -> Option<&[u8]> {
    let mut at = memchr::memchr(b'\n', buffer)? + 1;
    loop {
        let rest = &buffer[at..];
        match rest.first()? {
            b'\r' | b'\n' => return None,
            b'C' | b'c' | b'I' | b'i' => {
                if let Some(value) = call_id_value(rest) {
                    return Some(value);
                }
            }
            _ => {}
        }
        at += memchr::memchr(b'\n', rest)? + 1;
    }
}

fn call_id_value(line: &[u8]) -> Option<&[u8]> {
    let (name, rest) = lex::token(line);
    if !name.eq_ignore_ascii_case(b"call-id") && !name.eq_ignore_ascii_case(b"i") {
        return None;
    }
    let mut rest = rest;
    while let [b' ' | b'\t', after @ ..] = rest {
        rest = after;
    }
    let mut value = rest.strip_prefix(b":")?;
    loop {
        let end = memchr::memchr(b'\n', value)?;
        let text = lex::trim(&value[..end]);
        let folded = matches!(value.get(end + 1), Some(b' ' | b'\t'));
        if !text.is_empty() || !folded {
            return Some(text).filter(|text| !text.is_empty());
        }
        value = &value[end + 1..];
    }
}

/// What a datagram on a SIP port can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Line ends or NULs only: a keep-alive (RFC 5626 section 3.5.1 and what phones send).
    KeepAlive,
    /// A STUN message (RFC 8489 section 5: two zero bits and the magic cookie).
    Stun,
    /// Perhaps SIP.
    Sip,
}

/// Sorts a datagram by its first bytes.
pub fn kind(datagram: &[u8]) -> Kind {
    match datagram {
        [0 | 1, _, _, _, 0x21, 0x12, 0xA4, 0x42, ..] if datagram.len() >= 20 => Kind::Stun,
        [b'\r' | b'\n' | 0 | b' ', ..] | []
            if datagram.len() <= 8
                && datagram
                    .iter()
                    .all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' ')) =>
        {
            Kind::KeepAlive
        }
        _ => Kind::Sip,
    }
}

#[cfg(test)]
mod tests;
