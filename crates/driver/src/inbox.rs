//! What other threads leave for a worker.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use net::poll::Waker;
use sip::Span;
use sip::frame::FrameError;
use transaction::{Flow, Transport};

use crate::inspect::WorkerSnapshot;

/// Most items that wait for one worker; further ones are dropped and counted.
pub(crate) const INBOX_MAX: usize = 16_384;

/// Messages for another worker, gathered over one turn.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    bytes: Vec<u8>,
    entries: Vec<(Span, Flow)>,
}

impl Parcel {
    pub(crate) fn push(&mut self, bytes: &[u8], flow: Flow) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.entries
            .push((Span::new(start, self.bytes.len()), flow));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Flow)> {
        self.entries
            .iter()
            .map(|(span, flow)| (span.of(&self.bytes), *flow))
    }
}

/// One thing for a worker.
pub(crate) enum Item {
    /// Messages that another worker received.
    Parcel(Parcel),
    /// A message from a stream.
    Message(Vec<u8>, Flow),
    /// The head of what a stream could not be divided at, and what to answer to it.
    Unframed(Vec<u8>, Flow, FrameError),
    /// What became of a group of changes: the answers that wait for it, and whether it is durable.
    Stored(Vec<u64>, bool),
    /// The answer to a look-up.
    Resolved(u64, Vec<(Transport, SocketAddr)>),
    /// Nothing reaches this peer over this transport any more.
    FlowFailed(Transport, SocketAddr),
    /// A target of a pool is to be probed.
    Probe(Box<crate::farm::Probe>),
    /// A target of a pool is dead.
    TargetLost(balancer::TargetId),
    /// What became of the media of this worker's calls.
    Media(Vec<relay::Event>),
    /// Records of the service that this node is a member of, as [`records::Ops`].
    Apply(Vec<u8>),
    /// All records are gone: others follow.
    Forget,
    /// This node owns the service from now on, in this term; whether its records may lack what the store knows.
    TakeOffice(u64, bool),
    /// It does no more.
    LeaveOffice,
    /// Settings or domains changed.
    Reload,
    /// Tell what there is; with calls, at most so many.
    Inspect(std::sync::mpsc::SyncSender<WorkerSnapshot>, usize),
    /// End.
    Stop,
}

/// A worker's inbox.
pub(crate) struct Inbox {
    items: Mutex<Vec<Item>>,
    waker: Waker,
}

impl Inbox {
    pub(crate) fn new(waker: Waker) -> Inbox {
        Inbox {
            items: Mutex::new(Vec::new()),
            waker,
        }
    }

    /// Leaves something; what belongs to the network is refused when the inbox is full, what others wait
    /// for is not (its senders are bounded themselves).
    pub(crate) fn push(&self, item: Item) -> bool {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let may_be_lost = matches!(
            item,
            Item::Parcel(_)
                | Item::Message(..)
                | Item::Unframed(..)
                | Item::FlowFailed(Transport::Udp, _)
        );
        if may_be_lost && items.len() >= INBOX_MAX {
            return false;
        }
        let was_empty = items.is_empty();
        items.push(item);
        drop(items);
        if was_empty {
            self.waker.wake();
        }
        true
    }

    /// Has the worker look at what it waits for.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Takes everything, in order, into `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut Vec<Item>) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *items, taken);
    }
}
