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
    let written = match address {
        IpAddr::V4(v4) => write!(out, "IP4 {v4}"),
        IpAddr::V6(v6) => write!(out, "IP6 {v6}"),
    };
    written.expect("writing to a Vec cannot fail");
}

/// Appends a port in digits.
pub(crate) fn write_port(out: &mut Vec<u8>, port: u16) {
    write!(out, "{port}").expect("writing to a Vec cannot fail");
}
