//! What the driver has to do, and the bytes it has to send.

use std::ops::Range;

use crate::node::{Epoch, NodeId, Seq};
use crate::ownership::{Basis, Event, LossReason};
use crate::record::{Record, Version};
use crate::time::Time;
use crate::wire::Frame;

/// A request to the coordinator; its answer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// One thing that the driver has to do. They are done in order, and one is finished before the next is
/// begun where the order matters: `LoseAuthority` before everything after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send the bytes in this range of [`Output::bytes`] to a node, on its connection.
    Send {
        /// To whom.
        to: NodeId,
        /// Which bytes.
        range: Range<usize>,
    },
    /// Read the record.
    CoordinatorRead {
        /// To be named with the answer.
        request: RequestId,
    },
    /// Write the record if it is still the version expected, by its revision and by what it says.
    CoordinatorCas {
        /// To be named with the answer.
        request: RequestId,
        /// The version that it replaces.
        expected: Version,
        /// What to write.
        record: Record,
    },
    /// This node is the owner now: set the kernel's deadline, take the address, begin to act.
    GainAuthority {
        /// The term of office.
        epoch: Epoch,
        /// Until when it may act unless this is extended.
        until: Time,
        /// By what right it claimed.
        basis: Basis,
    },
    /// Set the kernel's deadline anew.
    ExtendAuthority {
        /// Until when this node may act.
        until: Time,
    },
    /// Stop acting: remove the kernel's lease and the address, discard what is held.
    LoseAuthority {
        /// The term of office.
        epoch: Epoch,
        /// Why.
        reason: LossReason,
    },
    /// Take no new work and finish what is held: the service is about to move.
    Pause {
        /// To whom it moves, if it is known.
        successor: Option<NodeId>,
    },
    /// It does not move after all.
    Resume,
    /// Run the fence agent against a node; the claim waits for its result.
    Fence {
        /// The node.
        target: NodeId,
        /// To be named with the result.
        attempt: u64,
    },
    /// Outputs that depend on batches up to this one may leave.
    Committed {
        /// The batch.
        seq: Seq,
    },
    /// For the operator.
    Event(Event),
}

/// What one input led to. Emptied by the driver after it has done it, and used again.
#[derive(Debug, Default)]
pub struct Output {
    /// What to do, in order.
    pub effects: Vec<Effect>,
    /// What [`Effect::Send`] points into.
    pub bytes: Vec<u8>,
}

impl Output {
    /// Nothing to do.
    pub fn new() -> Output {
        Output::default()
    }

    /// Forgets what has been done; keeps the memory.
    pub fn clear(&mut self) {
        self.effects.clear();
        self.bytes.clear();
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }

    pub(crate) fn send(&mut self, to: NodeId, frame: Frame<'_>) {
        let begin = self.bytes.len();
        frame.write(&mut self.bytes);
        let range = begin..self.bytes.len();
        self.effects.push(Effect::Send { to, range });
    }
}
