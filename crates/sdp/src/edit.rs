//! Changes to a description.

use std::io::Write;
use std::net::IpAddr;

use crate::line::Span;

/// One change: what lies under `span` gives way to `text`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit<'a> {
    /// What goes; empty where something is inserted.
    pub span: Span,
    /// What comes.
    pub text: &'a [u8],
}

/// Changes to one description, sorted, none overlapping another. Reused from description to description.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    /// What goes, and where in `text` lies what comes.
    list: Vec<(Span, Span)>,
    text: Vec<u8>,
    removed_bytes: usize,
}

impl Edits {
    /// No changes.
    pub fn new() -> Edits {
        Edits::default()
    }

    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
        self.removed_bytes = 0;
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The changes in order; an insertion comes before what takes the place of a range that begins there.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Edit<'_>> {
        self.list.iter().map(|&(span, text)| Edit {
            span,
            text: text.of(&self.text),
        })
    }

    /// How long a description of `length` bytes is after the changes.
    pub fn size_after(&self, length: usize) -> usize {
        (length + self.text.len()).saturating_sub(self.removed_bytes)
    }

    /// Appends `body` with the changes made.
    pub fn write(&self, body: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        for edit in self.iter() {
            let kept = Span {
                start: at,
                end: edit.span.start,
            };
            out.extend_from_slice(kept.of(body));
            out.extend_from_slice(edit.text);
            at = edit.span.end;
        }
        out.extend_from_slice(body.get(at as usize..).unwrap_or_default());
    }

    pub(crate) fn remove(&mut self, span: Span) {
        // Lines that go are often neighbours.
        if let Some((last, text)) = self.list.last_mut()
            && last.end == span.start
            && text.start == text.end
        {
            last.end = span.end;
            self.removed_bytes += (span.end - span.start) as usize;
            return;
        }
        self.insert_sorted(span, Span::default());
    }

    /// Puts what `write` appends in the place of `span`, if it differs from what is there.
    pub(crate) fn replace(&mut self, body: &[u8], span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        write(&mut self.text);
        if self.text[start..] == *span.of(body) {
            self.text.truncate(start);
            return;
        }
        let text = Span::new(start, self.text.len());
        self.insert_sorted(span, text);
    }

    fn insert_sorted(&mut self, span: Span, text: Span) {
        self.removed_bytes += (span.end - span.start) as usize;
        // Changes come nearly in order, so the place is near the end.
        let is_before = |&(other, _): &(Span, Span)| {
            other.start < span.start
                || other.start == span.start && (other.end == other.start || span.end > span.start)
        };
        let place = self.list.iter().rposition(is_before);
        self.list.insert(place.map_or(0, |at| at + 1), (span, text));
    }
}

/// Appends `IP4 192.0.2.1` or `IP6 2001:db8::1`.
pub(crate) fn write_type_and_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.extend_from_slice(b"IP4 ");
            let [first, rest @ ..] = v4.octets();
            write_number(out, first.into());
            for octet in rest {
                out.push(b'.');
                write_number(out, octet.into());
            }
        }
        IpAddr::V6(v6) => write!(out, "IP6 {v6}").expect("writing to a Vec cannot fail"),
    }
}

/// Appends a number in digits, in a fraction of the time that formatting takes.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u16) {
    let mut digits = [0; 5];
    let mut left = number;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 7, 10, 99, 100, 9_999, 65_535] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn addresses_are_written_with_their_type() {
        for (address, expected) in [
            ("203.0.113.255", "IP4 203.0.113.255"),
            ("0.0.0.0", "IP4 0.0.0.0"),
            ("2001:DB8::1", "IP6 2001:db8::1"),
        ] {
            let mut out = Vec::new();
            write_type_and_address(&mut out, address.parse().expect("an address"));
            assert_eq!(out, expected.as_bytes());
        }
    }
}
