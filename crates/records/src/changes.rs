//! What changed, as a machine notes it.

use crate::batch::{Batch, KEY_BYTES_MAX, Op, VALUE_BYTES_MAX, fits};
use crate::error::Error;

/// Where a change lies in the buffer.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u16,
    key_end: usize,
    /// Where the value ends; `None`: the record is removed.
    value_end: Option<usize>,
}

/// Changes to records in the order in which they happened, in two buffers whatever their number. It is
/// emptied and filled again without allocating.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Changes {
    /// No changes.
    pub fn new() -> Changes {
        Changes::default()
    }

    /// Adds a record, or what it is from now on: `write` appends its value.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: key or value; nothing was added.
    pub fn put(
        &mut self,
        kind: u16,
        key: &[u8],
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        fits(key.len(), KEY_BYTES_MAX)?;
        let before = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        write(&mut self.bytes);
        fits(self.bytes.len() - key_end, VALUE_BYTES_MAX)
            .inspect_err(|_| self.bytes.truncate(before))?;
        self.entries.push(Entry {
            kind,
            key_end,
            value_end: Some(self.bytes.len()),
        });
        Ok(())
    }

    /// Adds the end of a record.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: the key; nothing was added.
    pub fn remove(&mut self, kind: u16, key: &[u8]) -> Result<(), Error> {
        fits(key.len(), KEY_BYTES_MAX)?;
        self.bytes.extend_from_slice(key);
        self.entries.push(Entry {
            kind,
            key_end: self.bytes.len(),
            value_end: None,
        });
        Ok(())
    }

    /// The changes, in order.
    pub fn iter(&self) -> impl Iterator<Item = Op<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let key = &self.bytes[start..entry.key_end];
            let value = entry.value_end.map(|end| &self.bytes[entry.key_end..end]);
            start = entry.value_end.unwrap_or(entry.key_end);
            Op {
                kind: entry.kind,
                key,
                value,
            }
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the changes, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Adds changes from `from` on to `batch` until it is full, and returns the number of the first that had no
    /// room: [`Changes::len`] when all are in.
    pub fn fill(&self, from: usize, batch: &mut Batch) -> usize {
        for (at, op) in self.iter().enumerate().skip(from) {
            let added = match op.value {
                Some(value) => batch.put(op.kind, op.key, value),
                None => batch.remove(op.kind, op.key),
            };
            if added.is_err() {
                return at;
            }
        }
        self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BATCH_BYTES_MAX, Ops};

    #[test]
    fn changes_come_back_in_order() {
        let mut changes = Changes::new();
        changes
            .put(1, b"a", |out| out.extend_from_slice(b"value"))
            .unwrap();
        changes.remove(2, b"bb").unwrap();
        changes.put(3, b"", |_| {}).unwrap();
        let ops: Vec<_> = changes.iter().collect();
        let op = |kind, key: &'static [u8], value| Op { kind, key, value };
        assert_eq!(
            ops,
            [
                op(1, b"a", Some(b"value".as_slice())),
                op(2, b"bb", None),
                op(3, b"", Some(b"")),
            ]
        );
        changes.clear();
        assert!(changes.is_empty() && changes.iter().next().is_none());
    }

    #[test]
    fn what_is_too_large_is_refused_and_leaves_the_rest() {
        let mut changes = Changes::new();
        changes.remove(1, b"k").unwrap();
        let refused = changes.put(1, b"k", |out| {
            out.resize(out.len() + VALUE_BYTES_MAX + 1, 0)
        });
        assert!(matches!(refused, Err(Error::TooLarge { .. })));
        assert!(changes.remove(1, &[0; KEY_BYTES_MAX + 1]).is_err());
        assert_eq!(changes.iter().count(), 1);
    }

    #[test]
    fn many_changes_fill_several_batches() {
        let mut changes = Changes::new();
        for number in 0..20u8 {
            changes
                .put(1, &[number], |out| {
                    out.resize(out.len() + VALUE_BYTES_MAX, number)
                })
                .unwrap();
        }
        let (mut from, mut read, mut batches) = (0, 0, 0);
        while from < changes.len() {
            let mut batch = Batch::new();
            from = changes.fill(from, &mut batch);
            assert!(batch.bytes().len() <= BATCH_BYTES_MAX && !batch.is_empty());
            let mut ops = Ops::new(batch.bytes());
            while let Some(op) = ops.op().unwrap() {
                assert_eq!(op.key, [read]);
                read += 1;
            }
            batches += 1;
        }
        assert_eq!(read, 20);
        assert!(batches >= 5);
    }
}
