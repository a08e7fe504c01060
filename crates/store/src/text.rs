//! Bytes in text columns.
//!
//! SIP lets any byte through in places (quoted strings, user parts, tags), while a text column of
//! PostgreSQL or MySQL takes valid UTF-8 without NUL only. Binary columns would hold everything but
//! an operator's `SELECT` would show hex. So columns are text, and what does not fit is escaped:
//!
//! - `\` is stored as `\\`;
//! - NUL, a byte that is not part of valid UTF-8, and a space at the very end (which MySQL ignores
//!   when it compares keys) are stored as `\xHH`.
//!
//! A value becomes four times as long at most. Distinct bytes give distinct text, so keys and comparisons keep their meaning, and nearly every
//! value met in practice is stored as it is.

use std::borrow::Cow;
use std::fmt::Write;

/// The text that stands for `bytes` in a column.
pub(crate) fn to_column(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && memchr::memchr2(b'\\', 0, bytes).is_none()
        && bytes.last() != Some(&b' ')
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    let (body, space) = match bytes.split_last() {
        Some((b' ', body)) => (body, true),
        _ => (bytes, false),
    };
    for chunk in body.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '\0' => out.push_str("\\x00"),
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    if space {
        out.push_str("\\x20");
    }
    Cow::Owned(out)
}

/// The bytes that a column's text stands for; `None` if it was not written by [`to_column`].
pub(crate) fn from_column(text: &[u8]) -> Option<Vec<u8>> {
    if memchr::memchr(b'\\', text).is_none() {
        return Some(text.to_vec());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = match &rest[at + 1..] {
            [b'\\', after @ ..] => {
                out.push(b'\\');
                after
            }
            [b'x', high, low, after @ ..] => {
                out.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
                after
            }
            _ => return None,
        };
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// `bytes` in lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a String cannot fail");
        out
    })
}

/// Exactly `N` bytes from hex of either case.
pub(crate) fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_string_comes_back_and_ordinary_text_is_stored_as_it_is() {
        let ordinary = "sip:alice@example.org;transport=tcp ü \" ' % _ ;";
        assert_eq!(to_column(ordinary.as_bytes()), ordinary);
        let mut cases: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        cases.extend((0..=255u8).map(|byte| vec![b'a', byte, b' ']));
        cases.push(Vec::new());
        cases.push(b"\\x41".to_vec());
        cases.push(b"a\0b\\\xff\xc3\x28 x  ".to_vec());
        cases.push((0..=255u8).collect());
        for case in cases {
            let column = to_column(&case);
            assert!(!column.contains('\0') && !column.ends_with(' '));
            assert!(column.len() <= case.len() * 4);
            assert_eq!(from_column(column.as_bytes()), Some(case));
        }
    }

    #[test]
    fn text_that_was_never_written_here_is_refused() {
        for text in ["\\", "\\x", "\\x4", "\\xg0", "a\\n"] {
            assert_eq!(from_column(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn hex_comes_back_and_wrong_hex_is_refused() {
        assert_eq!(to_hex(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(from_hex(b"00ABff"), Some([0, 0xab, 0xff]));
        assert_eq!(from_hex::<3>(b"00abf"), None);
        assert_eq!(from_hex::<3>(b"00abfg"), None);
    }
}
