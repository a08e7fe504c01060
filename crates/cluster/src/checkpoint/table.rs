//! The records of a service, as its owner and each of its members hold them.

use std::hash::Hasher;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::error::Error;
use records::{Batch, Op, Ops};

/// Most records of a table.
pub const RECORDS_MAX: usize = 4_000_000;
/// A slot that is free keeps at most this much memory for its next record.
const SPARE_BYTES_MAX: usize = 4096;

/// What an application makes of changes as they arrive: its own index of decoded records.
pub trait Apply {
    /// A record is there, or is from now on what `value` says.
    fn put(&mut self, kind: u16, key: &[u8], value: &[u8]);
    /// A record is gone.
    fn remove(&mut self, kind: u16, key: &[u8]);
    /// All records are gone: a snapshot begins.
    fn clear(&mut self);
}

/// Makes nothing of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignore;

impl Apply for Ignore {
    fn put(&mut self, _: u16, _: &[u8], _: &[u8]) {}
    fn remove(&mut self, _: u16, _: &[u8]) {}
    fn clear(&mut self) {}
}

#[derive(Debug, Default)]
struct Slot {
    used: bool,
    kind: u16,
    key_len: u16,
    /// The key, then the value.
    bytes: Vec<u8>,
}

impl Slot {
    fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_len)]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[usize::from(self.key_len)..]
    }
}

/// Records by kind and key. What it does not understand it keeps all the same, so that a node of an older
/// version passes on what a newer one wrote.
#[derive(Debug)]
pub struct Table {
    index: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    seed: (u64, u64),
    records_max: usize,
}

impl Table {
    /// An empty table of at most `records_max` records (and [`RECORDS_MAX`]). The seed keys its hashes, since
    /// keys come from strangers.
    pub fn new(seed: (u64, u64), records_max: usize) -> Table {
        Table {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            seed,
            records_max: records_max.min(RECORDS_MAX),
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The value of a record.
    pub fn find(&self, kind: u16, key: &[u8]) -> Option<&[u8]> {
        let slot = self.slot_of(kind, key)?;
        Some(self.slots[slot as usize].value())
    }

    /// All records: kind, key, value. In the order of slots, which says nothing.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
        let used = self.slots.iter().filter(|slot| slot.used);
        used.map(|slot| (slot.kind, slot.key(), slot.value()))
    }

    /// The records from a slot on, each with its slot: to go over the table in parts, while it changes. What is put or removed meanwhile
    /// may be met or not.
    pub fn iter_from(&self, slot: usize) -> impl Iterator<Item = (usize, Op<'_>)> {
        let numbered = self.slots.iter().enumerate().skip(slot);
        numbered
            .filter(|(_, slot)| slot.used)
            .map(|(number, slot)| {
                let op = Op {
                    kind: slot.kind,
                    key: slot.key(),
                    value: Some(slot.value()),
                };
                (number, op)
            })
    }

    /// Applies one change.
    ///
    /// # Errors
    /// [`Error::TableFull`] for a new record beyond the limit.
    pub fn apply(&mut self, op: Op<'_>) -> Result<(), Error> {
        match op.value {
            Some(value) => self.put(op.kind, op.key, value),
            None => {
                self.remove(op.kind, op.key);
                Ok(())
            }
        }
    }

    /// For how many more records there is room.
    pub fn room(&self) -> usize {
        self.records_max.saturating_sub(self.len())
    }

    /// Whether a change makes a record that is not there.
    pub fn is_new(&self, op: Op<'_>) -> bool {
        op.value.is_some() && self.slot_of(op.kind, op.key).is_none()
    }

    /// What a full table takes of a batch: changes and ends of records that are there. What has ended makes room.
    pub fn fitting(&self, batch: &Batch) -> Batch {
        let mut fitting = Batch::new();
        let mut ops = Ops::new(batch.bytes());
        while let Ok(Some(op)) = ops.op() {
            // A part of a batch is not too large for one.
            let _ = match op.value {
                Some(_) if self.is_new(op) => Ok(()),
                Some(value) => fitting.put(op.kind, op.key, value),
                None => fitting.remove(op.kind, op.key),
            };
        }
        fitting
    }

    fn put(&mut self, kind: u16, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let hash = hash(self.seed, kind, key);
        let same = |&slot: &u32| is(&self.slots[slot as usize], kind, key);
        let slot = match self.index.find(hash, same) {
            Some(slot) => *slot,
            None => self.take_slot(hash, kind, (key, value))?,
        };
        let slot = &mut self.slots[slot as usize];
        slot.bytes.truncate(usize::from(slot.key_len));
        slot.bytes.extend_from_slice(value);
        Ok(())
    }

    /// A slot for a record that is not there, with its key; room for its value.
    fn take_slot(
        &mut self,
        hash_of_key: u64,
        kind: u16,
        (key, value): (&[u8], &[u8]),
    ) -> Result<u32, Error> {
        let key_len = u16::try_from(key.len()).map_err(|_| Error::TableFull)?;
        if self.len() >= self.records_max {
            return Err(Error::TableFull);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[number as usize];
        slot.used = true;
        slot.kind = kind;
        slot.key_len = key_len;
        slot.bytes.clear();
        // Once, and no more than it takes: most never grow.
        slot.bytes.reserve_exact(key.len() + value.len());
        slot.bytes.extend_from_slice(key);
        let (seed, slots) = (self.seed, &self.slots);
        self.index.insert_unique(hash_of_key, number, |&other| {
            let slot = &slots[other as usize];
            hash(seed, slot.kind, slot.key())
        });
        Ok(number)
    }

    fn remove(&mut self, kind: u16, key: &[u8]) {
        let slots = &self.slots;
        let same = |&slot: &u32| is(&slots[slot as usize], kind, key);
        if let Ok(found) = self.index.find_entry(hash(self.seed, kind, key), same) {
            let (number, _) = found.remove();
            let slot = &mut self.slots[number as usize];
            slot.used = false;
            if slot.bytes.capacity() > SPARE_BYTES_MAX {
                slot.bytes = Vec::new();
            }
            self.free.push(number);
        }
    }

    /// Removes all records.
    pub fn clear(&mut self) {
        self.index.clear();
        self.slots.clear();
        self.free.clear();
    }

    fn slot_of(&self, kind: u16, key: &[u8]) -> Option<u32> {
        let same = |&slot: &u32| is(&self.slots[slot as usize], kind, key);
        self.index.find(hash(self.seed, kind, key), same).copied()
    }

    /// Writes records from slot `from` on as puts, until `out` holds `bytes_max`. Returns the slot to go on
    /// with; `None` at the end.
    pub(super) fn copy(&self, from: u32, bytes_max: usize, out: &mut Vec<u8>) -> Option<u32> {
        let begin = out.len();
        for (number, slot) in self.slots.iter().enumerate().skip(from as usize) {
            if out.len() - begin >= bytes_max {
                return Some(number as u32);
            }
            if slot.used {
                let op = Op {
                    kind: slot.kind,
                    key: slot.key(),
                    value: Some(slot.value()),
                };
                op.write(out);
            }
        }
        None
    }
}

fn is(slot: &Slot, kind: u16, key: &[u8]) -> bool {
    slot.kind == kind && slot.key() == key
}

fn hash(seed: (u64, u64), kind: u16, key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed.0, seed.1);
    hasher.write_u16(kind);
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(ops in proptest::collection::vec((0u16..3, 0u8..20, proptest::option::of(any::<u8>())), 0..200)) {
            let mut table = Table::new((1, 2), 1000);
            let mut map = BTreeMap::new();
            for (kind, key, value) in ops {
                let value = value.map(|value| vec![value; usize::from(value)]);
                table.apply(Op { kind, key: &[key], value: value.as_deref() }).unwrap();
                match value {
                    Some(value) => map.insert((kind, key), value),
                    None => map.remove(&(kind, key)),
                };
            }
            prop_assert_eq!(table.len(), map.len());
            for (&(kind, key), value) in &map {
                prop_assert_eq!(table.find(kind, &[key]), Some(value.as_slice()));
            }
            prop_assert_eq!(table.iter().count(), map.len());
            let mut copied = Table::new((3, 4), 1000);
            let mut from = Some(0);
            let mut out = Vec::new();
            while let Some(slot) = from {
                out.clear();
                from = table.copy(slot, 100, &mut out);
                let mut ops = super::super::Ops::new(&out);
                while let Some(op) = ops.op().unwrap() {
                    copied.apply(op).unwrap();
                }
            }
            prop_assert_eq!(copied.len(), map.len());
        }
    }

    #[test]
    fn a_full_table_takes_changes_but_no_new_record() {
        let mut table = Table::new((1, 2), 1);
        let op = |key, value| Op {
            kind: 1,
            key,
            value,
        };
        table.apply(op(b"a", Some(b"1"))).unwrap();
        assert!(table.is_new(op(b"b", Some(b"1"))) && table.room() == 0);
        assert_eq!(table.apply(op(b"b", Some(b"1"))), Err(Error::TableFull));
        table.apply(op(b"a", Some(b"2"))).unwrap();
        let mut batch = Batch::new();
        batch.put(1, b"b", b"1").unwrap();
        batch.put(1, b"a", b"3").unwrap();
        batch.remove(1, b"a").unwrap();
        let fitting = table.fitting(&batch);
        let mut ops = Ops::new(fitting.bytes());
        let first = ops.op().unwrap().unwrap();
        assert_eq!((first.key, first.value), (&b"a"[..], Some(&b"3"[..])));
        assert_eq!(ops.op().unwrap().unwrap().value, None);
        assert!(ops.op().unwrap().is_none());
        table.apply(op(b"a", None)).unwrap();
        assert!(table.is_empty());
        table.apply(op(b"b", Some(b"1"))).unwrap();
    }
}
