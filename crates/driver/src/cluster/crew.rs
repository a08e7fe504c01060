//! Who acts for a service on this node.

use std::sync::Arc;

use edge::record::{Shard, shard_key};
use records::Op;

use crate::farm::WORD;
use crate::inbox::Item;
use crate::shared::{LOCATION_SHARDS, Shared};

/// Bytes of records that are gathered for one worker before they are handed over.
const APPLY_BYTES: usize = 64 * 1024;

/// Who acts for a service on this node: takes records in as a member, and office when it is the owner. What is said to a crew
/// is done in the order in which it was said.
pub(crate) trait Crew: Send {
    /// All records are gone: others follow.
    fn clear(&mut self);
    /// A record changed.
    fn apply(&mut self, op: Op<'_>);
    /// Hands over what was gathered.
    fn flush(&mut self);
    /// This node owns the service from now on; `is_new`: what it was told may not be all that there was.
    fn take_office(&mut self, epoch: u64, is_new: bool);
    /// It does no more: what it holds is void, and what is known is given anew.
    fn leave_office(&mut self);
    /// What these (as bits) wait for is committed.
    fn wake(&self, waiting: u64);
    /// What members have to have the same so that each can go on with the records of another: settings, a line each.
    fn agreement(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Gives a machine of `cluster` its crew.
pub(crate) struct ToCrew<'a>(pub(crate) &'a mut dyn Crew);

impl cluster::Apply for ToCrew<'_> {
    fn put(&mut self, kind: u16, key: &[u8], value: &[u8]) {
        self.0.apply(Op {
            kind,
            key,
            value: Some(value),
        });
    }

    fn remove(&mut self, kind: u16, key: &[u8]) {
        self.0.apply(Op {
            kind,
            key,
            value: None,
        });
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// The workers of the edge.
pub(crate) struct EdgeCrew {
    shared: Arc<Shared>,
    /// Changes for each worker.
    gathered: Vec<Vec<u8>>,
}

impl EdgeCrew {
    pub(crate) fn new(shared: Arc<Shared>) -> EdgeCrew {
        let workers = shared.inboxes.len();
        EdgeCrew {
            shared,
            gathered: vec![Vec::new(); workers],
        }
    }

    fn tell(&mut self, item: impl Fn() -> Item) {
        self.flush();
        for inbox in &self.shared.inboxes {
            inbox.push(item());
        }
    }

    fn hand_over(&mut self, worker: usize) {
        let records = std::mem::take(&mut self.gathered[worker]);
        if !records.is_empty() {
            self.shared.inboxes[worker].push(Item::Apply(records));
        }
    }
}

impl Shared {
    /// The worker that takes the bindings of an address of record in: that of its shard.
    pub(crate) fn keeper_of(&self, aor: &[u8]) -> usize {
        registrar::shard_of(self.seed, aor, LOCATION_SHARDS) % self.inboxes.len()
    }
}

impl Crew for EdgeCrew {
    fn clear(&mut self) {
        for gathered in &mut self.gathered {
            gathered.clear();
        }
        self.shared.forget_words();
        self.tell(|| Item::Forget);
    }

    fn apply(&mut self, op: Op<'_>) {
        if op.kind == WORD {
            return self.shared.take_word(op.key, op.value);
        }
        let worker = match shard_key(op.kind, op.key) {
            Shard::CallId(call_id) => self.shared.worker_of(call_id),
            Shard::Aor(aor) => self.shared.keeper_of(aor),
            Shard::Nobody => return,
        };
        op.write(&mut self.gathered[worker]);
        if self.gathered[worker].len() >= APPLY_BYTES {
            self.hand_over(worker);
        }
    }

    fn flush(&mut self) {
        for worker in 0..self.gathered.len() {
            self.hand_over(worker);
        }
    }

    fn take_office(&mut self, epoch: u64, is_new: bool) {
        self.shared.renew_nonces();
        self.tell(|| Item::Reload);
        self.tell(|| Item::TakeOffice(epoch, is_new));
        if is_new {
            self.shared.leave_words();
        }
    }

    fn leave_office(&mut self) {
        for gathered in &mut self.gathered {
            gathered.clear();
        }
        self.tell(|| Item::LeaveOffice);
    }

    fn agreement(&self) -> Vec<String> {
        self.shared.relays.agreement().to_vec()
    }

    fn wake(&self, waiting: u64) {
        for (number, inbox) in self.shared.inboxes.iter().enumerate() {
            if waiting & 1 << (number % 64) != 0 {
                inbox.wake();
            }
        }
    }
}
