//! Changes to a message as a list of splices over its buffer.

use crate::message::{Message, Span};
use crate::name::HeaderName;

/// One change: `remove` bytes at `at` give way to `text` in the scratch buffer.
#[derive(Debug, Clone, Copy)]
struct Splice {
    at: u32,
    remove: u32,
    text: Span,
}

/// Changes to one message, written out in one pass. Reused from message to message.
///
/// Changes may be noted in any order; several insertions at one place come out in the order in which
/// they were noted, and before what takes the place of a range that begins there. Removed ranges must not overlap; of two that do, the later noted loses.
#[derive(Debug, Clone, Default)]
pub struct Splices {
    list: Vec<Splice>,
    scratch: Vec<u8>,
}

impl Splices {
    /// No changes.
    pub fn new() -> Splices {
        Splices::default()
    }

    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.list.clear();
        self.scratch.clear();
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts `text` at offset `at`.
    pub fn insert(&mut self, at: u32, text: &[u8]) {
        self.replace(Span { start: at, end: at }, text);
    }

    /// Takes `span` out.
    pub fn remove(&mut self, span: Span) {
        self.replace(span, &[]);
    }

    /// Puts `text` in the place of `span`.
    pub fn replace(&mut self, span: Span, text: &[u8]) {
        self.replace_with(span, |scratch| scratch.extend_from_slice(text));
    }

    /// Puts what `write` appends in the place of `span`. `write` must only append.
    pub fn replace_with(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.scratch.len();
        write(&mut self.scratch);
        debug_assert!(self.scratch.len() >= start);
        let text = Span::new(start, self.scratch.len());
        let splice = Splice {
            at: span.start,
            remove: span.end - span.start,
            text,
        };
        // An insertion where something is removed comes before what takes its place.
        let is_before = |other: &Splice| {
            other.at < splice.at
                || other.at == splice.at && (other.remove == 0 || splice.remove > 0)
        };
        let place = self.list.iter().rposition(is_before).map_or(0, |at| at + 1);
        self.list.insert(place, splice);
    }

    /// Puts what `write` appends at offset `at`.
    pub fn insert_with(&mut self, at: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.replace_with(Span { start: at, end: at }, write);
    }

    /// Takes the first `count` values of a list header out, whole lines where nothing is left of them.
    pub fn remove_first_values(&mut self, message: &Message<'_>, name: HeaderName, count: usize) {
        let mut left = count;
        let mut values = message.values(name);
        for field in message.fields(name) {
            let mut here = 0;
            let mut kept = None;
            let mut first = None;
            // The values of this line are those that begin inside it.
            let mut ahead = values.clone();
            while let Some(value) = ahead
                .next()
                .filter(|value| value.span.start < field.line.end)
            {
                first.get_or_insert(value.span.start);
                if left > here {
                    here += 1;
                } else {
                    kept.get_or_insert(value.span.start);
                }
                values = ahead.clone();
            }
            left -= here;
            match (first, kept) {
                (_, None) if here > 0 => self.remove(field.line),
                (Some(start), Some(end)) if here > 0 => self.remove(Span { start, end }),
                _ => {}
            }
            if left == 0 {
                return;
            }
        }
    }

    /// By how many bytes the changes so far make what lies under `span` longer.
    pub fn growth(&self, span: Span) -> i64 {
        let within = |splice: &&Splice| splice.at >= span.start && splice.at <= span.end;
        let grown = |splice: &Splice| {
            i64::from(splice.text.end - splice.text.start) - i64::from(splice.remove)
        };
        self.list.iter().filter(within).map(grown).sum()
    }

    /// Appends the bytes of `original` under `span` with the changes in that range made, insertions at
    /// its end included.
    pub fn write_range(&self, original: &[u8], span: Span, out: &mut Vec<u8>) {
        let mut at = span.start;
        for splice in &self.list {
            if splice.at < at
                || splice.at > span.end
                || (splice.at == span.end && splice.remove > 0)
            {
                continue;
            }
            out.extend_from_slice(
                Span {
                    start: at,
                    end: splice.at,
                }
                .of(original),
            );
            out.extend_from_slice(splice.text.of(&self.scratch));
            at = splice.at + splice.remove;
        }
        if at < span.end {
            out.extend_from_slice(
                Span {
                    start: at,
                    end: span.end,
                }
                .of(original),
            );
        }
    }
}

#[cfg(test)]
mod tests;
