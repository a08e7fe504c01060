//! Which contexts and calls were touched, and their records, once a turn.

use records::Changes;
use transaction::layer::Id;
use transaction::{Layer, Time};

use super::invite::Recorded;
use super::{BRANCH, CALL_ID_BYTES_MAX, DIALOG, INVITE, INVITE_STATE, write_key};
use crate::context::Context;
use crate::pool::Farm;
use crate::proxy::{Proxy, SPARE_MAX, Surroundings};

/// What an owner has to tell its standby. Without a cluster it stays empty.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) is_on: bool,
    changes: Changes,
    /// Contexts and calls that were touched since the last turn, each once.
    contexts: Vec<Id>,
    calls: Vec<Id>,
    key: Vec<u8>,
    value: Vec<u8>,
    name: Vec<u8>,
    /// What contexts had for their records, for its memory: most contexts have none.
    spare: Vec<Recorded>,
}

impl Journal {
    /// Forgets what was touched.
    pub(crate) fn clear(&mut self) {
        self.changes.clear();
        self.contexts.clear();
        self.calls.clear();
    }

    /// Notes that a call is over.
    pub(crate) fn call_over(&mut self, number: u64, call_id: &[u8]) {
        write_key(number, None, call_id, &mut self.key);
        self.remove(DIALOG);
    }

    fn keep(&mut self, mut recorded: Recorded) {
        if self.spare.len() < SPARE_MAX {
            recorded.clear();
            self.spare.push(recorded);
        }
    }

    fn remove(&mut self, kind: u16) {
        // Its record had this key and fitted.
        let _ = self.changes.remove(kind, &self.key);
    }

    /// Notes what `key` and `value` hold now; gives whether that is not too large for a record.
    fn put(&mut self, kind: u16) -> bool {
        self.changes.put_value(kind, &self.key, &self.value).is_ok()
    }
}

impl Proxy {
    /// Notes that something of a context changes in this turn, or of the call that it is about.
    pub(crate) fn touch(&mut self, id: Id) {
        if !self.journal.is_on {
            return;
        }
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        let recorded = &mut context.recorded;
        if recorded.number != 0 && !recorded.is_noted {
            recorded.is_noted = true;
            self.journal.contexts.push(id);
        }
        let call = context.call;
        let anchor = context.exchange.map(|exchange| exchange.anchor);
        if let Some(call) = call {
            self.touch_call(call);
        }
        if let Some(anchor) = anchor {
            self.touch_anchor(anchor);
        }
    }

    /// Notes that something of the call changes whose media these are.
    pub(crate) fn touch_anchor(&mut self, anchor: Id) {
        if self.journal.is_on
            && let Some(anchor) = self.anchors.get(anchor)
        {
            self.touch_call(anchor.call);
        }
    }

    /// Notes that something of a call changes in this turn.
    pub(crate) fn touch_call(&mut self, id: Id) {
        if self.journal.is_on
            && let Some(call) = self.calls.get_mut(id)
            && call.record.number != 0
            && !call.record.is_noted
        {
            call.record.is_noted = true;
            self.journal.calls.push(id);
        }
    }

    /// Gives a call that begins its number.
    pub(crate) fn record_call<N>(&mut self, s: &mut Surroundings<'_, N>, id: Id, call_id: &[u8]) {
        if self.journal.is_on
            && call_id.len() <= CALL_ID_BYTES_MAX
            && let Some(call) = self.calls.get_mut(id)
        {
            call.record.number = s.layer.new_branch();
            self.touch_call(id);
        }
    }

    /// Gives an INVITE that begins its number.
    pub(crate) fn record_invite<N>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        context: &mut Context,
        call_id: &[u8],
    ) {
        if self.journal.is_on && context.is_invite && call_id.len() <= CALL_ID_BYTES_MAX {
            if let Some(spare) = self.journal.spare.pop() {
                context.recorded = spare;
            }
            context.recorded.number = s.layer.new_branch();
            context.recorded.call_id.extend_from_slice(call_id);
        }
    }

    /// Notes the end of a call's record.
    pub(crate) fn call_over(&mut self, id: Id) {
        if self.journal.is_on
            && let Some(call) = self.calls.get(id)
            && call.record.number != 0
        {
            let number = call.record.number;
            self.journal.call_over(number, &call.call_id);
        }
    }

    /// Notes the end of a context's records.
    pub(crate) fn context_over(&mut self, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if context.recorded.number == 0 {
            return;
        }
        let recorded = std::mem::take(&mut context.recorded);
        if recorded.is_written {
            self.remove_invite(&recorded);
        }
        self.journal.keep(recorded);
    }

    fn remove_invite(&mut self, recorded: &Recorded) {
        let journal = &mut self.journal;
        for sent in recorded.sent.iter().filter(|sent| sent.is_written) {
            let branch = Some(sent.index);
            write_key(recorded.number, branch, &recorded.call_id, &mut journal.key);
            journal.remove(BRANCH);
        }
        write_key(recorded.number, None, &recorded.call_id, &mut journal.key);
        journal.remove(INVITE_STATE);
        journal.remove(INVITE);
    }

    /// Puts what was noted since the last time into `changes`, which is empty. `unix_ms` is the time of day.
    pub fn note<N: Farm>(
        &mut self,
        (now, unix_ms): (Time, u64),
        layer: &Layer,
        network: &mut N,
        changes: &mut Changes,
    ) {
        if !self.journal.is_on {
            return;
        }
        let mut contexts = std::mem::take(&mut self.journal.contexts);
        for id in contexts.drain(..) {
            self.note_context(layer, network, id);
        }
        self.journal.contexts = contexts;
        let mut calls = std::mem::take(&mut self.journal.calls);
        for id in calls.drain(..) {
            self.note_dialog((now, unix_ms), network, id);
        }
        self.journal.calls = calls;
        if changes.is_empty() {
            std::mem::swap(changes, &mut self.journal.changes);
        }
    }

    fn note_context<N: Farm>(&mut self, layer: &Layer, network: &mut N, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        context.recorded.is_noted = false;
        let (number, mut is_written) = (context.recorded.number, context.recorded.is_written);
        // Nobody waits for an answer any more, and what is left of its branches needs no successor.
        if number == 0 || context.server.is_none() && !is_written {
            return;
        }
        let journal = &mut self.journal;
        if !is_written {
            journal.value.clear();
            journal.name.clear();
            if let Some(pool) = context.pool {
                network.pool_name(pool, &mut journal.name);
            }
            let call = context.call.and_then(|call| self.calls.get(call));
            let call = call.map_or(0, |call| call.record.number);
            let exchange = context.exchange.and_then(|exchange| {
                let anchor = self.anchors.get(exchange.anchor)?;
                Some((self.calls.get(anchor.call)?.record.number, exchange))
            });
            context.write_invite(layer, (call, exchange), &journal.name, &mut journal.value);
            write_key(number, None, &context.recorded.call_id, &mut journal.key);
            is_written = journal.put(INVITE);
            if !is_written {
                // Too large to go on elsewhere: what it is part of ends with this node.
                context.recorded.number = 0;
                return;
            }
            context.recorded.is_written = true;
        }
        for at in 0..context.recorded.sent.len() {
            if context.recorded.sent[at].is_written {
                continue;
            }
            journal.value.clear();
            context.write_branch(layer, at, &mut journal.value);
            let branch = Some(context.recorded.sent[at].index);
            write_key(number, branch, &context.recorded.call_id, &mut journal.key);
            context.recorded.sent[at].is_written = journal.put(BRANCH);
        }
        journal.value.clear();
        context.write_state(layer, &mut journal.value);
        let hash = hash_of(&journal.value);
        if context.recorded.state != hash {
            write_key(number, None, &context.recorded.call_id, &mut journal.key);
            if journal.put(INVITE_STATE) {
                context.recorded.state = hash;
            }
        }
    }

    fn note_dialog<N: Farm>(&mut self, now: (Time, u64), network: &mut N, id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.record.is_noted = false;
        let journal = &mut self.journal;
        journal.value.clear();
        journal.name.clear();
        if let Some((pool, ..)) = call.place {
            network.pool_name(pool, &mut journal.name);
        }
        let anchor = call.anchor.and_then(|anchor| self.anchors.get(anchor));
        call.write_record(now, anchor, &journal.name, &mut journal.value);
        let hash = hash_of(&journal.value);
        if call.record.hash != hash {
            write_key(call.record.number, None, &call.call_id, &mut journal.key);
            if journal.put(DIALOG) {
                call.record.hash = hash;
            }
        }
    }
}

/// What stands for a value that was written. Who makes two values of one call alike, so that the second is not written, harms that call
/// at a takeover and nothing else: it need not be proof against that, and is made for each change.
pub(super) fn hash_of(value: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |hash: u64, word: [u8; 8]| {
        let product = u128::from(hash ^ u64::from_le_bytes(word)) * u128::from(FACTOR);
        product as u64 ^ (product >> 64) as u64
    };
    let (words, rest) = value.as_chunks();
    let hash = words.iter().copied().fold(value.len() as u64, fold);
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // Nothing was written yet: 0.
    fold(hash, last).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_anywhere_are_told_apart() {
        let value: Vec<u8> = (0..100).collect();
        let mut hashes = vec![hash_of(&value)];
        for at in 0..value.len() {
            let mut other = value.clone();
            other[at] ^= 1;
            hashes.push(hash_of(&other));
            hashes.push(hash_of(&value[..at]));
        }
        // Zeros at the end, and none at all.
        hashes.extend((2..20).map(|length| hash_of(&vec![0; length])));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
        assert!(!hashes.contains(&0));
    }
}
