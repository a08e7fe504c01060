//! One shard of the location table.
//!
//! Each address of record has one block of bytes (see `record`). Blocks lie in slots that keep their
//! number for the life of the address, 1024 to a segment, so that growing copies no more than a list
//! of segments. A hash table maps the keyed hash of the address to the slot; it holds 32 bits of the
//! hash as well, so that neither growing it nor passing over a stranger touches a block. Beside the
//! blocks lies the earliest end of each, which is all that a sweep reads where nothing has expired.

use std::hash::Hasher;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::record::{self, BindingFields, BindingRow, BindingView};

/// Longest address of record, in bytes.
pub const AOR_BYTES_MAX: usize = 512;

const SEGMENT: usize = 1024;
/// The end of a slot that holds nothing.
const NEVER: u32 = u32::MAX;

/// Where a sweep or a listing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(u32);

impl Cursor {
    /// The beginning.
    pub const START: Cursor = Cursor(0);

    /// The cursor as a number, for an operator's next page.
    pub fn to_number(self) -> u32 {
        self.0
    }

    /// A cursor from [`Cursor::to_number`]; one past the end shows nothing.
    pub fn from_number(number: u32) -> Cursor {
        Cursor(number)
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    slot: u32,
}

struct Segment {
    records: Vec<Box<[u8]>>,
    /// The earliest end of a binding in each record, in seconds since the Unix epoch.
    earliest_s: Vec<u32>,
}

impl Segment {
    fn new() -> Segment {
        Segment {
            records: Vec::with_capacity(SEGMENT),
            earliest_s: Vec::with_capacity(SEGMENT),
        }
    }
}

/// One shard of the location table: addresses of record and their bindings.
pub struct Location {
    seed: (u64, u64),
    table: HashTable<Entry>,
    segments: Vec<Segment>,
    free: Vec<u32>,
    slots: u32,
    aors: usize,
    bindings: usize,
    scratch: Vec<u8>,
}

/// The hash as the table takes it, which looks at the highest bits and at the lowest.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Which of `shards` tables holds an address of record. The seed keeps strangers from choosing
/// addresses that fall together; it may be the tables' own.
pub fn shard_of(seed: (u64, u64), aor: &[u8], shards: usize) -> usize {
    let mut hasher = SipHasher13::new_with_keys(!seed.0, seed.1);
    hasher.write(aor);
    (hasher.finish() % shards.max(1) as u64) as usize
}

impl Location {
    /// An empty table. `seed` is the secret key of its hash.
    pub fn new(seed: (u64, u64)) -> Location {
        Location {
            seed,
            table: HashTable::new(),
            segments: Vec::new(),
            free: Vec::new(),
            slots: 0,
            aors: 0,
            bindings: 0,
            scratch: Vec::new(),
        }
    }

    /// How many addresses of record have a binding, expired ones that are not swept included.
    pub fn aors(&self) -> usize {
        self.aors
    }

    /// How many bindings there are, expired ones that are not swept included.
    pub fn bindings(&self) -> usize {
        self.bindings
    }

    /// The bindings of `aor` that are in force at `now_unix_s`, oldest first.
    pub fn lookup(
        &self,
        aor: &[u8],
        now_unix_s: u64,
    ) -> impl Iterator<Item = BindingView<'_>> + Clone {
        record::bindings(self.record(aor)).filter(move |binding| binding.is_live(now_unix_s))
    }

    /// Removes all bindings, as one that is to be told of them anew.
    pub fn clear(&mut self) {
        self.table.clear();
        self.segments.clear();
        self.free.clear();
        (self.slots, self.aors, self.bindings) = (0, 0, 0);
    }

    /// Takes a binding over from the store. One of the same number is replaced; an address or a
    /// contact beyond its limit is refused with `false`.
    pub fn restore(&mut self, row: &BindingRow) -> bool {
        self.restore_as(row, row.expires_at_unix_s)
    }

    /// Takes a binding over from another member, with the end that the store surely holds: 0 for none.
    pub fn restore_as(&mut self, row: &BindingRow, durable_expires_at_unix_s: u64) -> bool {
        let contact_is_cut = row.contact.len() > crate::contact::CONTACT_BYTES_MAX;
        let others_are_cut = row.path.len() > crate::contact::PATH_BYTES_MAX
            || row.instance.len() > crate::contact::INSTANCE_BYTES_MAX
            || row.call_id.len() > record::CALL_ID_BYTES_MAX;
        if row.aor.len() > AOR_BYTES_MAX || contact_is_cut || others_are_cut {
            return false;
        }
        let fields = BindingFields {
            durable_expires_at_unix_s,
            ..row.fields()
        };
        self.rewrite(&row.aor, |old, out| {
            for binding in record::bindings(old).filter(|binding| binding.id() != row.id) {
                out.extend_from_slice(binding.as_bytes());
            }
            record::push(&fields, out);
        });
        true
    }

    /// Notes that the store holds the binding `id` of `aor` with this end. While it holds none, that
    /// counts only for the newest write, which is known by its end.
    pub fn committed(&mut self, aor: &[u8], id: u64, expires_at_unix_s: u64) {
        let Some(slot) = self.find(aor) else { return };
        record::settle(self.record_mut(slot), id, |binding| {
            let is_newest = binding.expires_at_unix_s() == expires_at_unix_s;
            let is_known = binding.durable_expires_at_unix_s() > 0;
            (is_newest || is_known).then_some(expires_at_unix_s)
        });
    }

    /// Removes all bindings of `aor`, each shown to `visit` before.
    pub fn remove(&mut self, aor: &[u8], mut visit: impl FnMut(BindingView<'_>)) {
        self.rewrite(aor, |old, _| record::bindings(old).for_each(&mut visit));
    }

    /// Removes one binding of `aor`. Returns whether it was there.
    pub fn remove_binding(&mut self, aor: &[u8], id: u64) -> bool {
        let before = self.bindings;
        self.rewrite(aor, |old, out| {
            for binding in record::bindings(old).filter(|binding| binding.id() != id) {
                out.extend_from_slice(binding.as_bytes());
            }
        });
        self.bindings < before
    }

    /// Looks at up to `budget` addresses from `cursor` on and removes what has expired, each shown to
    /// `visit` with its address before. Returns where to go on: at the start again after the last.
    pub fn sweep(
        &mut self,
        now_unix_s: u64,
        cursor: Cursor,
        budget: usize,
        mut visit: impl FnMut(&[u8], BindingView<'_>),
    ) -> Cursor {
        let end = (cursor.0 as usize)
            .saturating_add(budget)
            .min(self.slots as usize) as u32;
        for slot in cursor.0..end {
            let (segment, place) = place(slot);
            if u64::from(self.segments[segment].earliest_s[place]) <= now_unix_s {
                self.expire(slot, now_unix_s, &mut visit);
            }
        }
        if end >= self.slots {
            Cursor::START
        } else {
            Cursor(end)
        }
    }

    fn expire(
        &mut self,
        slot: u32,
        now_unix_s: u64,
        visit: &mut impl FnMut(&[u8], BindingView<'_>),
    ) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let old = self.record_at(slot);
        let aor = record::aor(old);
        record::begin(aor, &mut scratch);
        for binding in record::bindings(old) {
            if binding.is_live(now_unix_s) {
                scratch.extend_from_slice(binding.as_bytes());
            } else {
                visit(aor, binding);
            }
        }
        self.store(Some(slot), &scratch);
        self.scratch = scratch;
    }

    /// Shows up to `limit` addresses from `cursor` on, each binding that is in force. The order is
    /// that of the slots: an address keeps its place as long as it has a binding. Returns where the
    /// next page begins, if there is one.
    pub fn page(
        &self,
        now_unix_s: u64,
        cursor: Cursor,
        limit: usize,
        mut visit: impl FnMut(&[u8], BindingView<'_>),
    ) -> Option<Cursor> {
        let mut left = limit;
        for slot in cursor.0..self.slots {
            let old = self.record_at(slot);
            let mut live = record::bindings(old)
                .filter(|binding| binding.is_live(now_unix_s))
                .peekable();
            if live.peek().is_none() {
                continue;
            }
            if left == 0 {
                return Some(Cursor(slot));
            }
            left -= 1;
            live.for_each(|binding| visit(record::aor(old), binding));
        }
        None
    }

    /// The block of an address; empty if it has none.
    pub(crate) fn record(&self, aor: &[u8]) -> &[u8] {
        self.find(aor).map_or(&[], |slot| self.record_at(slot))
    }

    /// Puts `new`, a record, in the place of what the address in it had.
    pub(crate) fn replace(&mut self, new: &[u8]) {
        let slot = self.find(record::aor(new));
        self.store(slot, new);
    }

    fn rewrite(&mut self, aor: &[u8], write: impl FnOnce(&[u8], &mut Vec<u8>)) {
        let mut scratch = std::mem::take(&mut self.scratch);
        record::begin(aor, &mut scratch);
        let slot = self.find(aor);
        write(slot.map_or(&[], |slot| self.record_at(slot)), &mut scratch);
        self.store(slot, &scratch);
        self.scratch = scratch;
    }

    fn store(&mut self, slot: Option<u32>, new: &[u8]) {
        let (mut count, mut earliest_s) = (0, NEVER);
        for binding in record::bindings(new) {
            count += 1;
            earliest_s = earliest_s.min(binding.expires_at_unix_s() as u32);
        }
        let Some(slot) = slot else {
            if count > 0 {
                self.bindings += count;
                self.insert(new, earliest_s);
            }
            return;
        };
        self.bindings = self.bindings + count - record::bindings(self.record_at(slot)).count();
        if count == 0 {
            return self.vacate(slot);
        }
        let (segment, place) = place(slot);
        let segment = &mut self.segments[segment];
        segment.earliest_s[place] = earliest_s;
        let old = &mut segment.records[place];
        if old.len() == new.len() {
            old.copy_from_slice(new);
        } else {
            *old = new.into();
        }
    }

    fn insert(&mut self, new: &[u8], earliest_s: u32) {
        let hash = self.hash(record::aor(new));
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.slots;
            self.slots += 1;
            if place(slot).1 == 0 {
                self.segments.push(Segment::new());
            }
            let segment = &mut self.segments[place(slot).0];
            segment.records.push(Box::default());
            segment.earliest_s.push(NEVER);
            slot
        });
        let (segment, place) = place(slot);
        self.segments[segment].records[place] = new.into();
        self.segments[segment].earliest_s[place] = earliest_s;
        self.table
            .insert_unique(spread(hash), Entry { hash, slot }, |entry| {
                spread(entry.hash)
            });
        self.aors += 1;
    }

    fn vacate(&mut self, slot: u32) {
        let hash = self.hash(record::aor(self.record_at(slot)));
        if let Ok(entry) = self
            .table
            .find_entry(spread(hash), |entry| entry.slot == slot)
        {
            entry.remove();
        }
        let (segment, place) = place(slot);
        self.segments[segment].records[place] = Box::default();
        self.segments[segment].earliest_s[place] = NEVER;
        self.free.push(slot);
        self.aors -= 1;
    }

    fn hash(&self, aor: &[u8]) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write(aor);
        hasher.finish() as u32
    }

    fn find(&self, aor: &[u8]) -> Option<u32> {
        let hash = self.hash(aor);
        let same =
            |entry: &Entry| entry.hash == hash && record::aor(self.record_at(entry.slot)) == aor;
        self.table.find(spread(hash), same).map(|entry| entry.slot)
    }

    fn record_at(&self, slot: u32) -> &[u8] {
        let (segment, place) = place(slot);
        &self.segments[segment].records[place]
    }

    fn record_mut(&mut self, slot: u32) -> &mut [u8] {
        let (segment, place) = place(slot);
        &mut self.segments[segment].records[place]
    }
}

fn place(slot: u32) -> (usize, usize) {
    (slot as usize / SEGMENT, slot as usize % SEGMENT)
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Location")
            .field("aors", &self.aors)
            .field("bindings", &self.bindings)
            .finish_non_exhaustive()
    }
}
