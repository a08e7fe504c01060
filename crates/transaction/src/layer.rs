//! All transactions of one thread: matching, sending again, forgetting.
//!
//! The layer keeps for each transaction what its machine needs and nothing of what it is for; the
//! transaction user's own number (`user`) comes back with each event.

mod client;
mod restore;
mod server;
mod slab;

use std::collections::VecDeque;
use std::hash::Hasher;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13x128};

use crate::flow::Outbox;
use crate::machine::{Event, Kind, State};
use crate::time::Time;
use crate::timer::{Role, Timers, delay_ms};
use crate::wheel::Wheel;

pub use client::{CancelOutcome, ClientTransaction, NOBODY};
pub use restore::{ClientRecord, ServerRecord};
pub use server::{Request, ServerKey, ServerTransaction};
pub use slab::{Buffers, Id, Slab};

/// A server transaction's number.
pub type ServerId = Id;
/// A client transaction's number.
pub type ClientId = Id;

/// Something that the transaction user has to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// A client transaction got no answer in time (timers B and F); it is gone.
    ClientTimeout {
        /// Which.
        client: ClientId,
        /// The user's number.
        user: u64,
    },
    /// Timer C: no final answer to an INVITE that is being answered (RFC 3261 section 16.8).
    TimerC {
        /// Which; it is still there, waiting to be cancelled.
        client: ClientId,
        /// The user's number.
        user: u64,
    },
    /// A client transaction is over, for whatever reason.
    ClientGone {
        /// Which.
        client: ClientId,
        /// The user's number.
        user: u64,
    },
    /// A server transaction is over. Timer H is silent about it: nothing can be done (section 17.2.1).
    ServerGone {
        /// Which.
        server: ServerId,
        /// The user's number.
        user: u64,
    },
}

/// Deadlines of one transaction, of which the wheel holds the earliest.
#[derive(Debug, Clone, Copy)]
struct Deadlines {
    by_role: [Time; 3],
    /// The deadline under which the wheel holds this transaction; later entries are stale.
    armed: Time,
    /// Retransmissions made.
    attempt: u32,
}

impl Deadlines {
    const NONE: Deadlines = Deadlines {
        by_role: [Time::MAX; 3],
        armed: Time::MAX,
        attempt: 0,
    };

    fn earliest(&self) -> Time {
        self.by_role[0].min(self.by_role[1]).min(self.by_role[2])
    }
}

/// The transactions of one thread.
pub struct Layer {
    timers: Timers,
    transactions_max: usize,
    servers: Slab<ServerTransaction>,
    clients: Slab<ClientTransaction>,
    by_key: HashTable<u32>,
    by_branch: HashTable<u32>,
    /// How many client transactions there are to the peers of each bucket.
    by_peer: Vec<u32>,
    wheel: Wheel<u64>,
    pub(crate) buffers: Buffers,
    secret: (u64, u64),
    /// Keys what has to be alike on all members of a cluster: the matching tables and the tags. Without a
    /// cluster it is `secret`.
    shared: (u64, u64),
    epoch: u64,
    branches: u64,
    fired: VecDeque<Fired>,
    index: sip::Index,
    scratch: Vec<u8>,
}

/// Wheel entries, stale ones included, for each transaction there may be, beyond which no more
/// transactions are begun. The wheel itself has room for twice as many, so that those there are
/// never lack a timer: each has one entry that counts and few that do not.
const TIMERS_PER_TRANSACTION: u32 = 8;

/// The wheel is told no deadline farther off than this, in milliseconds, and asked again then: timer C
/// would leave an entry behind for minutes after most calls. A little over 64*T1, so that no other
/// timer at its default needs two entries.
const ARM_AHEAD_MAX_MS: u64 = 33_000;

/// In how many buckets peers are counted, a power of two.
const PEER_BUCKETS: usize = 4_096;

/// For messages that were made or taken here already.
const OWN: sip::Limits = sip::Limits {
    size_bytes_max: u32::MAX,
    headers_max: u16::MAX,
};

/// Set in a wheel key for a client transaction.
const CLIENT: u64 = 1 << 63;

impl Layer {
    /// An empty layer. `seed` keys the matching tables and the branches, and must be unpredictable
    /// outside and different on every thread. At most `transactions_max` of each kind are kept.
    pub fn new(now: Time, seed: (u64, u64), timers: Timers, transactions_max: u32) -> Layer {
        Layer {
            timers,
            transactions_max: transactions_max as usize,
            servers: Slab::default(),
            clients: Slab::default(),
            by_key: HashTable::new(),
            by_branch: HashTable::new(),
            by_peer: vec![0; PEER_BUCKETS],
            wheel: Wheel::new(
                now,
                transactions_max.saturating_mul(2 * TIMERS_PER_TRANSACTION),
            ),
            buffers: Buffers::default(),
            secret: seed,
            shared: seed,
            epoch: 0,
            branches: 0,
            fired: VecDeque::new(),
            index: sip::Index::new(),
            scratch: Vec::new(),
        }
    }

    /// How many server and client transactions there are.
    pub fn len(&self) -> (usize, usize) {
        (self.servers.len(), self.clients.len())
    }

    /// Whether there is none of either.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// Whether no more can be taken; a request that needs one is answered with 503.
    pub fn is_full(&self) -> bool {
        let timers_max = self
            .transactions_max
            .saturating_mul(TIMERS_PER_TRANSACTION as usize);
        self.servers.len() >= self.transactions_max
            || self.clients.len() >= self.transactions_max
            || self.wheel.len() >= timers_max
    }

    /// Replaces the base values of the timers; running ones keep theirs.
    pub fn set_timers(&mut self, timers: Timers) {
        self.timers = timers;
    }

    /// A number for a new branch: unique on this thread, in this epoch too, and not to be guessed.
    pub fn new_branch(&mut self) -> u64 {
        self.branches += 1;
        let mut hasher = SipHasher13::new_with_keys(self.secret.1, self.secret.0);
        hasher.write_u64(self.branches);
        if self.epoch > 0 {
            hasher.write_u64(self.epoch);
        }
        hasher.finish()
    }

    /// A keyed hash of what `write` feeds, for tags and loop detection.
    pub fn hash(&self, write: impl FnOnce(&mut dyn Hasher)) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.shared.0, self.shared.1);
        write(&mut hasher);
        hasher.finish()
    }

    fn key(&self, write: impl FnOnce(&mut SipHasher13x128)) -> u128 {
        let mut hasher = SipHasher13x128::new_with_keys(self.shared.0, self.shared.1);
        write(&mut hasher);
        hasher.finish128().as_u128()
    }

    /// When [`Layer::poll`] has something to do next.
    pub fn next(&self, now: Time) -> Option<Time> {
        if self.fired.is_empty() {
            self.wheel.next(now)
        } else {
            Some(now)
        }
    }

    /// Does what is due at `now` (messages sent again go to `outbox`) until there is something for the
    /// transaction user, and gives that. `None`: nothing more for now.
    pub fn poll(&mut self, now: Time, outbox: &mut Outbox) -> Option<Fired> {
        loop {
            if let Some(fired) = self.fired.pop_front() {
                return Some(fired);
            }
            let (deadline, key) = self.wheel.pop(now)?;
            let id = Id::from_bits(key & !CLIENT);
            if key & CLIENT != 0 {
                self.client_timer(now, deadline, id, outbox);
            } else {
                self.server_timer(now, deadline, id, outbox);
            }
        }
    }

    fn arm(&mut self, now: Time, client: bool, id: Id) {
        let deadlines = if client {
            self.clients.get_mut(id).map(|client| &mut client.deadlines)
        } else {
            self.servers.get_mut(id).map(|server| &mut server.deadlines)
        };
        let Some(deadlines) = deadlines else { return };
        let earliest = deadlines.earliest();
        if earliest == Time::MAX {
            return;
        }
        let earliest = earliest.min(now.plus_ms(ARM_AHEAD_MAX_MS));
        if earliest < deadlines.armed {
            let key = id.to_bits() | if client { CLIENT } else { 0 };
            if self.wheel.insert(earliest, key).is_ok() {
                deadlines.armed = earliest;
            }
        }
    }
}

/// The bucket of a peer. Nobody gains by making peers fall together: it costs what no index would.
fn peer_bucket(peer: std::net::SocketAddr) -> usize {
    let address = match peer.ip() {
        std::net::IpAddr::V4(v4) => u64::from(v4.to_bits()),
        std::net::IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ v6.to_bits() as u64,
    };
    let mixed = (address << 16 ^ u64::from(peer.port())).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 52) as usize % PEER_BUCKETS
}

/// The roles that are due, each with its deadline taken away, in the order retransmit, timeout, linger.
fn due(deadlines: &mut Deadlines, now: Time) -> [Option<Event>; 3] {
    let events = [
        Event::RetransmitTimer,
        Event::TimeoutTimer,
        Event::LingerTimer,
    ];
    let mut fired = [None; 3];
    for ((deadline, event), slot) in deadlines.by_role.iter_mut().zip(events).zip(&mut fired) {
        if *deadline <= now {
            *deadline = Time::MAX;
            *slot = Some(event);
        }
    }
    fired
}

/// Starts the timer of `role` for the state that was entered. A timer of zero is due at once.
fn start_timer(
    timers: &Timers,
    now: Time,
    machine: (Kind, State, bool),
    role: Role,
    deadlines: &mut Deadlines,
) {
    let (kind, state, reliable) = machine;
    if let Some(delay) = delay_ms(timers, kind, state, role, deadlines.attempt, reliable) {
        let deadline = now.plus_ms(delay);
        deadlines.by_role[role as usize] = match role {
            Role::Linger if delay > 0 => timers.linger_end(deadline),
            _ => deadline,
        };
    }
}

#[cfg(test)]
mod tests;
