//! A batch of changes to records.

use crate::error::Error;
use crate::tlv::{self, Fields};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Largest batch, in bytes.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A change takes its tag, its length and, at least, the tags and lengths of its kind and its key.
const OP_BYTES_MIN: usize = 6;

const OP: u64 = 1;
const KIND: u64 = 1;
const KEY: u64 = 2;
const VALUE: u64 = 3;

/// One change to one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// What the record is: binding, dialog and so on, by the application's numbers.
    pub kind: u16,
    /// Which one.
    pub key: &'a [u8],
    /// What it is from now on; `None`: it is removed.
    pub value: Option<&'a [u8]>,
}

/// Changes that are applied together. It is emptied and filled again without allocating.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The changes as bytes, for [`Ops`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// It has no more changes than this, by its size.
    pub fn ops_max(&self) -> usize {
        self.bytes.len() / OP_BYTES_MIN
    }

    /// Adds a record or what it is from now on.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: key, value or batch; nothing was added.
    pub fn put(&mut self, kind: u16, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.push(Op {
            kind,
            key,
            value: Some(value),
        })
    }

    /// Adds the end of a record.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: key or batch; nothing was added.
    pub fn remove(&mut self, kind: u16, key: &[u8]) -> Result<(), Error> {
        self.push(Op {
            kind,
            key,
            value: None,
        })
    }

    /// Bytes that it has room for.
    pub(crate) fn room(&self) -> usize {
        BATCH_BYTES_MAX - self.bytes.len()
    }

    /// Adds changes that were written elsewhere, for which there is room.
    pub(crate) fn extend(&mut self, ops: &[u8]) {
        self.bytes.extend_from_slice(ops);
    }

    fn push(&mut self, op: Op<'_>) -> Result<(), Error> {
        fits(op.key.len(), KEY_BYTES_MAX)?;
        fits(op.value.map_or(0, <[u8]>::len), VALUE_BYTES_MAX)?;
        let before = self.bytes.len();
        op.write(&mut self.bytes);
        fits(self.bytes.len(), BATCH_BYTES_MAX).inspect_err(|_| self.bytes.truncate(before))
    }
}

pub(crate) fn fits(size_bytes: usize, size_bytes_max: usize) -> Result<(), Error> {
    if size_bytes <= size_bytes_max {
        Ok(())
    } else {
        Err(Error::TooLarge {
            size_bytes,
            size_bytes_max,
        })
    }
}

fn field_bytes(length: usize) -> usize {
    1 + tlv::varint_bytes(length as u64) + length
}

impl Op<'_> {
    /// Appends the change as bytes, for [`Ops`].
    pub fn write(self, out: &mut Vec<u8>) {
        let kind_bytes = 2 - usize::from(self.kind < 0x100) - usize::from(self.kind == 0);
        let length = field_bytes(kind_bytes)
            + field_bytes(self.key.len())
            + self.value.map_or(0, |value| field_bytes(value.len()));
        tlv::write_varint(OP, out);
        tlv::write_varint(length as u64, out);
        tlv::write_number(KIND, u64::from(self.kind), out);
        tlv::write_bytes(KEY, self.key, out);
        if let Some(value) = self.value {
            tlv::write_bytes(VALUE, value, out);
        }
    }
}

/// Reads the changes in bytes that a peer sent.
#[derive(Clone, Copy, Debug)]
pub struct Ops<'a> {
    fields: Fields<'a>,
}

impl<'a> Ops<'a> {
    /// The changes in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Ops<'a> {
        Ops {
            fields: Fields::new(bytes),
        }
    }

    /// The next change; `None` at the end.
    ///
    /// # Errors
    /// The peer's fault: what the fields may have, or [`Error::TooLarge`].
    pub fn op(&mut self) -> Result<Option<Op<'a>>, Error> {
        while let Some((tag, bytes)) = self.fields.field()? {
            if tag == OP {
                return read_op(bytes).map(Some);
            }
        }
        Ok(None)
    }
}

fn read_op(bytes: &[u8]) -> Result<Op<'_>, Error> {
    let (mut kind, mut key, mut value) = (None, None, None);
    let mut fields = Fields::new(bytes);
    while let Some((tag, bytes)) = fields.field()? {
        match tag {
            KIND => {
                kind = Some(u16::try_from(tlv::number(bytes)?).map_err(|_| Error::Field { tag })?)
            }
            KEY => key = Some(bytes),
            VALUE => value = Some(bytes),
            _ => {}
        }
    }
    let key = key.ok_or(Error::Missing { tag: KEY })?;
    fits(key.len(), KEY_BYTES_MAX)?;
    fits(value.map_or(0, <[u8]>::len), VALUE_BYTES_MAX)?;
    Ok(Op {
        kind: kind.ok_or(Error::Missing { tag: KIND })?,
        key,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_as_they_were_written() {
        let mut batch = Batch::new();
        let long = [7; 300];
        let ops = [
            (0, b"".as_slice(), Some(b"".as_slice())),
            (255, b"k", None),
            (256, &long, Some(&long)),
            (u16::MAX, b"x", Some(b"y")),
        ];
        for (kind, key, value) in ops {
            match value {
                Some(value) => batch.put(kind, key, value).unwrap(),
                None => batch.remove(kind, key).unwrap(),
            }
        }
        let mut read = Ops::new(batch.bytes());
        for (kind, key, value) in ops {
            assert_eq!(read.op(), Ok(Some(Op { kind, key, value })));
        }
        assert_eq!(read.op(), Ok(None));
    }

    #[test]
    fn the_least_changes_are_not_more_than_a_batch_says() {
        let mut batch = Batch::new();
        assert_eq!(batch.ops_max(), 0);
        for _ in 0..100 {
            batch.remove(0, b"").unwrap();
        }
        assert_eq!(batch.ops_max(), 100);
    }

    #[test]
    fn what_is_too_large_is_refused_and_leaves_the_batch_as_it_was() {
        let mut batch = Batch::new();
        let value = vec![0; VALUE_BYTES_MAX + 1];
        assert!(matches!(
            batch.put(1, b"k", &value),
            Err(Error::TooLarge { .. })
        ));
        assert!(batch.is_empty());
        assert!(matches!(
            batch.remove(1, &value[..KEY_BYTES_MAX + 1]),
            Err(Error::TooLarge { .. })
        ));
        while batch.put(1, b"k", &value[1..]).is_ok() {}
        let mut ops = Ops::new(batch.bytes());
        while ops.op().expect("it is whole").is_some() {}
        assert!(batch.bytes().len() <= BATCH_BYTES_MAX);
    }
}
