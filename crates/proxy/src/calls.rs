//! The calls that are in progress, for those who look.

use std::hash::Hasher;

use balancer::CallSlot;
use hashbrown::HashTable;
use transaction::layer::Id;
use transaction::{Slab, Time};

use crate::media::Anchored;
use crate::record::CallRecord;

/// Most calls tracked on one thread; further ones go on untracked and are counted.
pub const CALLS_MAX: usize = 1_000_000;

/// Most calls kept for use again, and the longest texts of one, in bytes.
const SPARE_MAX: usize = 4_096;
const SPARE_BYTES_MAX: usize = 1_024;

/// What is kept of a Call-ID or URI of a call, in bytes: enough to show, and a call stays small whatever
/// its messages hold. Calls are told apart by a hash over the whole.
const TEXT_BYTES_MAX: usize = 512;

/// Most dialogs of one call that are told apart, one for each callee that answered its INVITE. The BYE of one
/// beyond them counts for nothing.
const DIALOGS_MAX: usize = 16;

/// Most calls at one time with the same Call-ID and caller's tag: a request that was forked before us.
const SAME_MAX: usize = 16;

/// In how many parts the table is swept, one at a time.
const SWEEP_PARTS: usize = 64;

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
    /// The Call-ID; as the other texts no longer than 512 bytes.
    pub call_id: Vec<u8>,
    /// The URI in From.
    pub from: Vec<u8>,
    /// The URI in To.
    pub to: Vec<u8>,
    /// How far it is.
    pub stage: Stage,
    /// When its INVITE arrived.
    pub started: Time,
    /// When it was answered.
    pub answered: Option<Time>,
    /// Where its media are, if they are anchored.
    pub media: Option<Anchored>,
    /// The proxy's side of that.
    pub(crate) anchor: Option<Id>,
    /// Its place among the calls that are counted at its target.
    pub(crate) slot: Counted,
    /// Where it is counted.
    pub(crate) place: Option<(
        balancer::PoolId,
        transaction::Transport,
        std::net::SocketAddr,
    )>,
    pub(crate) record: CallRecord,
    /// What its answers began: each callee's tag is a dialog of its own (RFC 3261 section 12.1).
    dialogs: Dialogs,
}

/// The dialogs of a call. Copies of a call have none.
#[derive(Debug, Default)]
struct Dialogs(Vec<Dialog>);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialog {
    /// Stands for the callee's tag.
    pub(crate) tag: u64,
    pub(crate) is_over: bool,
}

impl Clone for Dialogs {
    fn clone(&self) -> Dialogs {
        Dialogs::default()
    }
}

/// A call that an in-dialog request may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) call: Id,
    /// Whether the request would be its caller's.
    pub(crate) is_callers: bool,
    /// What stands for its callee's tag.
    pub(crate) tag: u64,
}

/// What a BYE has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HungUp {
    /// No dialog that is known.
    Nothing,
    /// One of several dialogs.
    Dialog,
    /// The last one, and so the call.
    Call,
}

/// A place among the calls of a target. Copies of a call are for those who look, and have none.
#[derive(Debug, Default)]
pub(crate) struct Counted(pub(crate) Option<CallSlot>);

impl Clone for Counted {
    fn clone(&self) -> Counted {
        Counted(None)
    }
}

impl Call {
    fn new(now: Time) -> Call {
        Call {
            hash: 0,
            call_id: Vec::new(),
            from: Vec::new(),
            to: Vec::new(),
            stage: Stage::Calling,
            started: now,
            answered: None,
            media: None,
            anchor: None,
            slot: Counted::default(),
            place: None,
            record: CallRecord::default(),
            dialogs: Dialogs::default(),
        }
    }

    /// Makes another call of this one, with the memory of its texts.
    fn begin(&mut self, now: Time, hash: u64) {
        self.hash = hash;
        self.call_id.clear();
        self.from.clear();
        self.to.clear();
        self.stage = Stage::Calling;
        self.started = now;
        self.answered = None;
        self.media = None;
        self.anchor = None;
        self.place = None;
        self.record = CallRecord::default();
        self.dialogs.0.clear();
    }

    /// What the call is known by on all members of a cluster, over takeovers too; 0 without a cluster.
    pub fn number(&self) -> u64 {
        self.record.number
    }

    /// Its hash, which is the same on all members.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// All of its dialogs.
    pub(crate) fn all_dialogs(&self) -> &[Dialog] {
        &self.dialogs.0
    }

    /// Sets its dialogs, each with whether it is over.
    pub(crate) fn set_dialogs(&mut self, dialogs: &[(u64, bool)]) {
        let dialogs = dialogs.iter().take(DIALOGS_MAX);
        self.dialogs.0.clear();
        self.dialogs
            .0
            .extend(dialogs.map(|&(tag, is_over)| Dialog { tag, is_over }));
    }
}

/// The calls of one thread, by Call-ID and the caller's tag.
#[derive(Debug)]
pub struct Calls {
    calls: Slab<Call>,
    /// Calls that are over, for their memory.
    spare: Vec<Call>,
    by_hash: HashTable<Id>,
    secret: (u64, u64),
    /// Where the sweep goes on.
    cursor: usize,
    /// Calls that were not tracked since the table was full.
    pub untracked: u64,
}

impl Calls {
    /// None.
    pub fn new(secret: (u64, u64)) -> Calls {
        Calls {
            calls: Slab::default(),
            spare: Vec::new(),
            by_hash: HashTable::new(),
            secret,
            cursor: 0,
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

    /// Notes a call. `None` if the table is full, or there are too many with this Call-ID and tag.
    pub fn start(
        &mut self,
        now: Time,
        call_id: &[u8],
        tag: &[u8],
        from: &[u8],
        to: &[u8],
    ) -> Option<Id> {
        let hash = self.hash(call_id, tag);
        self.restore(now, hash, (call_id, from, to))
    }

    /// Notes a call by what its Call-ID and its caller's tag hash to. `None` as of [`Calls::start`].
    pub(crate) fn restore(
        &mut self,
        now: Time,
        hash: u64,
        (call_id, from, to): (&[u8], &[u8], &[u8]),
    ) -> Option<Id> {
        if self.calls.len() >= CALLS_MAX || self.same(hash).count() >= SAME_MAX {
            self.untracked += 1;
            return None;
        }
        let mut call = self.spare.pop().unwrap_or_else(|| Call::new(now));
        call.begin(now, hash);
        call.call_id.extend_from_slice(shown(call_id));
        call.from.extend_from_slice(shown(from));
        call.to.extend_from_slice(shown(to));
        let id = self.calls.insert(call);
        let calls = &self.calls;
        self.by_hash
            .insert_unique(hash, id, |id| calls.get(*id).map_or(0, |call| call.hash));
        Some(id)
    }

    /// The call that an in-dialog request belongs to, by the tag of either end.
    pub fn find(&self, call_id: &[u8], one_tag: &[u8], other_tag: &[u8]) -> Option<Id> {
        let mut ends = self.ends(call_id, one_tag, other_tag);
        ends.next().map(|end| end.call)
    }

    /// The call of a dialog that was answered and is not over, and what stands for the tag of its callee.
    pub(crate) fn find_dialog(
        &self,
        call_id: &[u8],
        from_tag: &[u8],
        to_tag: &[u8],
    ) -> Option<(Id, u64)> {
        let mut ends = self.ends(call_id, from_tag, to_tag);
        let found = ends.find(|end| self.dialogs(end.call).any(|tag| tag == end.tag))?;
        Some((found.call, found.tag))
    }

    /// The calls that an in-dialog request may belong to.
    pub(crate) fn ends(
        &self,
        call_id: &[u8],
        from_tag: &[u8],
        to_tag: &[u8],
    ) -> impl Iterator<Item = End> {
        let (from, to) = (self.key(call_id, from_tag), self.key(call_id, to_tag));
        let end = |is_callers: bool, tag: u64| {
            move |call| End {
                call,
                is_callers,
                tag,
            }
        };
        let by_caller = self.same(from).map(end(true, to));
        by_caller.chain(self.same(to).map(end(false, from)))
    }

    /// A number that stands for a tag of a call.
    pub(crate) fn key(&self, call_id: &[u8], tag: &[u8]) -> u64 {
        self.hash(call_id, tag)
    }

    /// Notes that the callee with this tag has answered a call, or says so again.
    pub(crate) fn answered_by(&mut self, id: Id, tag: u64) {
        if let Some(call) = self.calls.get_mut(id) {
            let dialogs = &mut call.dialogs.0;
            let is_known = dialogs.iter().any(|dialog| dialog.tag == tag);
            if !is_known && dialogs.len() < DIALOGS_MAX {
                let is_over = false;
                dialogs.push(Dialog { tag, is_over });
            }
        }
    }

    /// Notes that the dialog with the callee of this tag is over.
    pub(crate) fn hang_up(&mut self, id: Id, tag: u64) -> HungUp {
        let dialogs = self.calls.get_mut(id).map(|call| &mut call.dialogs.0);
        let dialogs = dialogs.map_or(&mut [][..], |dialogs| dialogs);
        let mut open = dialogs.iter_mut().filter(|dialog| !dialog.is_over);
        let Some(dialog) = open.find(|dialog| dialog.tag == tag) else {
            return HungUp::Nothing;
        };
        dialog.is_over = true;
        match dialogs.iter().all(|dialog| dialog.is_over) {
            true => HungUp::Call,
            false => HungUp::Dialog,
        }
    }

    /// The callees' tags of the dialogs of a call that are not over.
    pub(crate) fn dialogs(&self, id: Id) -> impl Iterator<Item = u64> {
        let dialogs = self.get(id).into_iter().flat_map(|call| &call.dialogs.0);
        let open = dialogs.filter(|dialog| !dialog.is_over);
        open.map(|dialog| dialog.tag)
    }

    /// Looks on through the table for an answered call older than `age_ms`. `None` at the end of the part
    /// that is looked at in one go.
    pub(crate) fn sweep(&mut self, now: Time, age_ms: u64) -> Option<Id> {
        let part = self.calls.slots() / SWEEP_PARTS + 1;
        let end = (self.cursor / part + 1) * part;
        while self.cursor < end {
            let slot = self.cursor;
            self.cursor += 1;
            let Some((id, call)) = self.calls.at(slot as u32) else {
                continue;
            };
            let is_old = call
                .answered
                .is_some_and(|answered| now.ms_since(answered) >= age_ms);
            if is_old {
                return Some(id);
            }
        }
        if self.cursor >= self.calls.slots() {
            self.cursor = 0;
        }
        None
    }

    /// Keys the table with a secret that other members have too; it is empty.
    pub(crate) fn share_secret(&mut self, shared: (u64, u64)) {
        debug_assert!(self.is_empty(), "the table is keyed before it is filled");
        self.secret = shared;
    }

    /// Takes all calls out, each shown to `visit` before.
    pub(crate) fn clear(&mut self, mut visit: impl FnMut(&mut Call)) {
        self.calls.drain().for_each(|mut call| visit(&mut call));
        self.by_hash.clear();
        self.cursor = 0;
    }

    /// Whether there is a call with this Call-ID and caller's tag.
    pub fn is_known(&self, call_id: &[u8], tag: &[u8]) -> bool {
        self.same(self.hash(call_id, tag)).next().is_some()
    }

    /// Takes a call out.
    pub fn end(&mut self, id: Id) {
        let Some(call) = self.calls.remove(id) else {
            return;
        };
        if let Ok(entry) = self.by_hash.find_entry(call.hash, |other| *other == id) {
            entry.remove();
        }
        let size_bytes = call.call_id.capacity() + call.from.capacity() + call.to.capacity();
        if self.spare.len() < SPARE_MAX && size_bytes <= SPARE_BYTES_MAX {
            self.spare.push(call);
        }
    }

    fn same(&self, hash: u64) -> impl Iterator<Item = Id> {
        let ids = self.by_hash.iter_hash(hash).copied();
        ids.filter(move |id| self.calls.get(*id).is_some_and(|call| call.hash == hash))
    }

    fn hash(&self, call_id: &[u8], tag: &[u8]) -> u64 {
        let mut hasher = siphasher::sip::SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write_usize(call_id.len());
        hasher.write(call_id);
        hasher.write(tag);
        hasher.finish()
    }
}

/// What is kept of a text.
pub(crate) fn shown(text: &[u8]) -> &[u8] {
    &text[..text.len().min(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_with_huge_names_stay_small_and_apart() {
        let mut calls = Calls::new((1, 2));
        let mut call_id = vec![b'x'; 60_000];
        let first = calls.start(Time::ZERO, &call_id, b"a", &call_id, &call_id);
        call_id.push(b'y');
        let second = calls.start(Time::ZERO, &call_id, b"a", b"from", b"to");
        assert!(calls.is_known(&call_id, b"a"));
        assert_ne!(first, second);
        for id in [first, second].into_iter().flatten() {
            let call = calls.get(id).expect("it was just begun");
            assert!(call.call_id.len() <= TEXT_BYTES_MAX && call.from.len() <= TEXT_BYTES_MAX);
            calls.end(id);
        }
        assert!(calls.is_empty());
    }
}
