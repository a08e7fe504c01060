//! Remembering which nonce counts were used, in memory that never grows.
//!
//! The filter is a set-associative array. A nonce has one set, chosen by bits that nobody
//! outside knows, and each set holds the nonces most lately issued. When one must go, the set
//! raises a low-water mark to its time: from then on an unknown nonce issued at or before the
//! mark is answered stale. So forgetting costs a client one more round trip, without its user
//! noticing, and never lets a used request in again.
//!
//! Sizing: nothing is stale early while a filter has room for `nonces a second * lifetime`.
//! With less room nonces live shorter; below `nonces a second * round trip` clients would find
//! theirs stale on first use, so stay well above that.

use super::nonce::FreshNonce;

/// How far below the highest nonce count seen a lower one may come late, as UDP reorders.
pub const NONCE_COUNT_WINDOW: u32 = 32;

/// How many nonces a filter remembers if nothing else is configured: 1.6 MiB.
pub const REMEMBERED_NONCES_DEFAULT: usize = 65_536;

/// How many nonces a filter remembers at most: 400 MiB.
pub const REMEMBERED_NONCES_MAX: usize = 1 << 24;

/// Nonces in one set.
const WAYS: usize = 8;

/// What the filter says to one use of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is the first use of this nonce with this count, which is remembered now.
    Accepted,
    /// This nonce was used with this count, or was for one use and had it.
    Replayed,
    /// It cannot be told: the nonce was forgotten or the count is below the window.
    Stale,
}

/// The memory of used nonces.
///
/// Give it only nonces whose response was right; then nobody without a password can fill it.
#[derive(Clone, Debug)]
pub struct ReplayFilter {
    sets: Box<[Set]>,
    evicted_count: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Set {
    /// Unknown nonces issued before this are stale; the low-water mark plus 1.
    known_from_ms: u64,
    entries: [Entry; WAYS],
}

/// One nonce that was used. An empty entry has no highest count, for counts begin at 1.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    issued_ms: u64,
    unique: u64,
    highest: u32,
    /// Bit `i`: the count `highest - 1 - i` was used.
    seen: u32,
}

impl Default for ReplayFilter {
    fn default() -> ReplayFilter {
        ReplayFilter::new(REMEMBERED_NONCES_DEFAULT)
    }
}

impl ReplayFilter {
    /// A filter with room for this many nonces, rounded up to a power of two and held between
    /// 8 and [`REMEMBERED_NONCES_MAX`]. It allocates here and never again.
    #[must_use]
    pub fn new(remembered_nonces: usize) -> ReplayFilter {
        let room = remembered_nonces
            .clamp(WAYS, REMEMBERED_NONCES_MAX)
            .next_power_of_two();
        ReplayFilter {
            sets: vec![Set::default(); room / WAYS].into_boxed_slice(),
            evicted_count: 0,
        }
    }

    /// Judges and remembers one use of a nonce: with the nonce count of `qop=auth`, or none,
    /// and then the nonce is good for this use only.
    pub fn admit(&mut self, nonce: &FreshNonce, nc: Option<u32>) -> Replay {
        // The low 16 bits of the placement chose the filter among its shards.
        let set = (nonce.placement >> 16) as usize & (self.sets.len() - 1);
        let set = &mut self.sets[set];
        if let Some(entry) = set.find(nonce) {
            return nc.map_or(Replay::Replayed, |nc| entry.admit(nc));
        }
        if nonce.issued_ms < set.known_from_ms {
            return Replay::Stale;
        }
        let entry = match nc {
            Some(0) => return Replay::Stale,
            Some(nc) => Entry {
                issued_ms: nonce.issued_ms,
                unique: nonce.unique,
                highest: nc,
                seen: 0,
            },
            // All counts are used up.
            None => Entry {
                issued_ms: nonce.issued_ms,
                unique: nonce.unique,
                highest: u32::MAX,
                seen: u32::MAX,
            },
        };
        self.evicted_count += u64::from(set.insert(entry));
        Replay::Accepted
    }

    /// How many nonces were forgotten for want of room since the filter was made. Those past
    /// their lifetime count too, and harmlessly: the filter has no clock.
    #[must_use]
    pub const fn evicted_count(&self) -> u64 {
        self.evicted_count
    }

    /// The memory it holds, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        std::mem::size_of_val(&*self.sets)
    }
}

impl Set {
    fn find(&mut self, nonce: &FreshNonce) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| {
            entry.unique == nonce.unique && entry.issued_ms == nonce.issued_ms && !entry.is_empty()
        })
    }

    /// Puts an entry in; true if one was forgotten for it, perhaps the new one itself: when
    /// it is the oldest, the mark raised to its time remembers well enough that it was used.
    fn insert(&mut self, entry: Entry) -> bool {
        let mut forgotten = entry;
        // Empty entries are the oldest of all, by a key that sorts them first.
        let oldest = self.entries.iter_mut().min_by_key(|entry| entry.age_key());
        if let Some(oldest) = oldest
            && oldest.age_key() < entry.age_key()
        {
            forgotten = std::mem::replace(oldest, entry);
        }
        if forgotten.is_empty() {
            return false;
        }
        self.known_from_ms = self.known_from_ms.max(forgotten.issued_ms + 1);
        true
    }
}

impl Entry {
    const fn is_empty(&self) -> bool {
        self.highest == 0
    }

    const fn age_key(&self) -> (bool, u64) {
        (!self.is_empty(), self.issued_ms)
    }

    fn admit(&mut self, nc: u32) -> Replay {
        if nc > self.highest {
            let step = nc - self.highest;
            // The old highest becomes bit `step - 1`; what leaves the window is forgotten.
            self.seen =
                self.seen.checked_shl(step).unwrap_or(0) | 1u32.checked_shl(step - 1).unwrap_or(0);
            self.highest = nc;
            return Replay::Accepted;
        }
        let below = self.highest - nc;
        if below > NONCE_COUNT_WINDOW {
            return Replay::Stale;
        }
        let bit = below.checked_sub(1).map_or(0, |bit| 1u32 << bit);
        if below == 0 || self.seen & bit != 0 {
            return Replay::Replayed;
        }
        self.seen |= bit;
        Replay::Accepted
    }
}
