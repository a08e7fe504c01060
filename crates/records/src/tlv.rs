//! Fields as tag, length, value: a reader passes over tags that it does not know, and fills in for those
//! that are absent. Tags and lengths are variable-length numbers (seven bits a byte, the lowest first);
//! a number as a value is big-endian without leading zeros.

use crate::error::Error;

/// Most bytes that a variable-length number takes.
const VARINT_BYTES_MAX: usize = 10;

/// Appends a variable-length number.
pub fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes that [`write_varint`] takes for `number`.
pub const fn varint_bytes(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends a field of bytes.
pub fn write_bytes(tag: u64, value: &[u8], out: &mut Vec<u8>) {
    let length = value.len() as u64;
    if tag < 0x80 && length < 0x80 {
        // Nearly all.
        out.extend_from_slice(&[tag as u8, length as u8]);
    } else {
        write_varint(tag, out);
        write_varint(length, out);
    }
    out.extend_from_slice(value);
}

/// Appends a field that holds a number.
pub fn write_number(tag: u64, number: u64, out: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let zeros = number.leading_zeros() as usize / 8;
    write_bytes(tag, &bytes[zeros..], out);
}

/// A number as [`write_number`] wrote it.
///
/// # Errors
/// [`Error::Number`] if it takes more than eight bytes.
pub fn number(value: &[u8]) -> Result<u64, Error> {
    if value.len() > 8 {
        return Err(Error::Number);
    }
    Ok(value
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// Reads fields one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    /// The next field's tag and value; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Number`]: nothing more can be read.
    pub fn field(&mut self) -> Result<Option<(u64, &'a [u8])>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let length = self.varint()?;
        let length = usize::try_from(length).map_err(|_| Error::Truncated)?;
        if length > self.rest.len() {
            self.rest = &[];
            return Err(Error::Truncated);
        }
        let (value, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(Some((tag, value)))
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut number = 0u64;
        for index in 0..VARINT_BYTES_MAX {
            let Some(&byte) = self.rest.get(index) else {
                self.rest = &[];
                return Err(Error::Truncated);
            };
            let low = u64::from(byte & 0x7f);
            let shift = 7 * index as u32;
            if low << shift >> shift != low {
                break;
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(number);
            }
        }
        self.rest = &[];
        Err(Error::Number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(fields in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..10), last: u64) {
            let mut out = Vec::new();
            for (tag, value) in &fields {
                let before = out.len();
                write_bytes(*tag, value, &mut out);
                prop_assert_eq!(out.len() - before, varint_bytes(*tag) + varint_bytes(value.len() as u64) + value.len());
            }
            write_number(7, last, &mut out);
            let mut read = Fields::new(&out);
            for (tag, value) in &fields {
                prop_assert_eq!(read.field(), Ok(Some((*tag, value.as_slice()))));
            }
            let (tag, value) = read.field().unwrap().unwrap();
            prop_assert_eq!((tag, number(value)), (7, Ok(last)));
            prop_assert_eq!(read.field(), Ok(None));
        }

        #[test]
        fn no_bytes_make_a_reader_panic_or_go_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut fields = Fields::new(&bytes);
            let mut count = 0;
            while let Ok(Some(_)) = fields.field() {
                count += 1;
                prop_assert!(count <= bytes.len());
            }
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let mut fields = Fields::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]);
        assert_eq!(fields.field(), Err(Error::Number));
        assert_eq!(fields.field(), Ok(None));
        assert_eq!(number(&[0; 9]), Err(Error::Number));
    }
}
