//! What changed, as a machine notes it.

use crate::batch::{Batch, KEY_BYTES_MAX, Op, Ops, VALUE_BYTES_MAX, fits};
use crate::error::Error;

/// Changes to records in the order in which they happened, in few buffers whatever their number, as batches have them. It is
/// emptied and filled again without allocating.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// A value that is being written.
    value: Vec<u8>,
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
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        write(&mut value);
        let put = self.put_value(kind, key, &value);
        self.value = value;
        put
    }

    /// The same of a value that lies there.
    ///
    /// # Errors
    /// As those of [`Changes::put`].
    pub fn put_value(&mut self, kind: u16, key: &[u8], value: &[u8]) -> Result<(), Error> {
        fits(key.len(), KEY_BYTES_MAX)?;
        fits(value.len(), VALUE_BYTES_MAX)?;
        let value = Some(value);
        self.push(Op { kind, key, value });
        Ok(())
    }

    /// Adds the end of a record.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: the key; nothing was added.
    pub fn remove(&mut self, kind: u16, key: &[u8]) -> Result<(), Error> {
        fits(key.len(), KEY_BYTES_MAX)?;
        let value = None;
        self.push(Op { kind, key, value });
        Ok(())
    }

    fn push(&mut self, op: Op<'_>) {
        op.write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The changes, in order.
    pub fn iter(&self) -> impl Iterator<Item = Op<'_>> {
        let mut ops = Ops::new(&self.bytes);
        // They were written here.
        std::iter::from_fn(move || ops.op().ok().flatten())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets the changes, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds changes from `from` on to `batch` until it is full, and returns the number of the first that had no
    /// room: [`Changes::len`] when all are in.
    pub fn fill(&self, from: usize, batch: &mut Batch) -> usize {
        let begin = from.checked_sub(1).map_or(0, |before| self.ends[before]);
        let (ends, room) = (&self.ends[from..], batch.room());
        let count = ends.partition_point(|end| end - begin <= room);
        if let Some(last) = count.checked_sub(1) {
            batch.extend(&self.bytes[begin..ends[last]]);
        }
        from + count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BATCH_BYTES_MAX;

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
