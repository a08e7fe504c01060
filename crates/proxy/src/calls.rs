//! The calls that are in progress, for those who look.

use std::hash::Hasher;

use hashbrown::HashTable;
use transaction::layer::Id;
use transaction::{Slab, Time};

/// Most calls tracked on one thread; further ones go on untracked and are counted.
pub const CALLS_MAX: usize = 1_000_000;

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// INVITE forwarded.
    Calling,
    /// Somebody rings.
    Ringing,
    /// Answered.
    Answered,
}

/// One call: a dialog-forming INVITE from its arrival to its BYE.
#[derive(Debug, Clone)]
pub struct Call {
    hash: u64,
    /// The Call-ID.
    pub call_id: Box<[u8]>,
    /// The URI in From.
    pub from: Box<[u8]>,
    /// The URI in To.
    pub to: Box<[u8]>,
    /// How far it is.
    pub stage: Stage,
    /// When its INVITE arrived.
    pub started: Time,
    /// When it was answered.
    pub answered: Option<Time>,
}

/// The calls of one thread, by Call-ID and the caller's tag.
#[derive(Debug)]
pub struct Calls {
    calls: Slab<Call>,
    by_hash: HashTable<Id>,
    secret: (u64, u64),
    /// Calls that were not tracked since the table was full.
    pub untracked: u64,
}

impl Calls {
    /// None.
    pub fn new(secret: (u64, u64)) -> Calls {
        Calls {
            calls: Slab::default(),
            by_hash: HashTable::new(),
            secret,
            untracked: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The calls.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().map(|(_, call)| call)
    }

    /// A call.
    pub fn get(&self, id: Id) -> Option<&Call> {
        self.calls.get(id)
    }

    /// A call.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut Call> {
        self.calls.get_mut(id)
    }

    /// Notes a call; one that is already there is given again.
    pub fn start(
        &mut self,
        now: Time,
        call_id: &[u8],
        tag: &[u8],
        from: &[u8],
        to: &[u8],
    ) -> Option<Id> {
        let hash = self.hash(call_id, tag);
        if let Some(id) = self.find_hash(hash) {
            return Some(id);
        }
        if self.calls.len() >= CALLS_MAX {
            self.untracked += 1;
            return None;
        }
        let id = self.calls.insert(Call {
            hash,
            call_id: call_id.into(),
            from: from.into(),
            to: to.into(),
            stage: Stage::Calling,
            started: now,
            answered: None,
        });
        let calls = &self.calls;
        self.by_hash
            .insert_unique(hash, id, |id| calls.get(*id).map_or(0, |call| call.hash));
        Some(id)
    }

    /// The call that an in-dialog request belongs to, by the tag of either end.
    pub fn find(&self, call_id: &[u8], one_tag: &[u8], other_tag: &[u8]) -> Option<Id> {
        self.find_hash(self.hash(call_id, one_tag))
            .or_else(|| self.find_hash(self.hash(call_id, other_tag)))
    }

    /// Takes a call out.
    pub fn end(&mut self, id: Id) -> Option<Call> {
        let call = self.calls.remove(id)?;
        if let Ok(entry) = self.by_hash.find_entry(call.hash, |other| *other == id) {
            entry.remove();
        }
        Some(call)
    }

    fn find_hash(&self, hash: u64) -> Option<Id> {
        self.by_hash
            .find(hash, |id| {
                self.calls.get(*id).is_some_and(|call| call.hash == hash)
            })
            .copied()
    }

    fn hash(&self, call_id: &[u8], tag: &[u8]) -> u64 {
        let mut hasher = siphasher::sip::SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write_usize(call_id.len());
        hasher.write(call_id);
        hasher.write(tag);
        hasher.finish()
    }
}
