//! The relay of media: its threads, their ports and what the workers see of them.

mod inbox;
mod open;
mod quality;
mod snapshot;
mod thread;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proxy::{Listener, MediaPort, NoPorts};
use relay::{Command, Port, PortTable, SessionId};

pub use open::MediaError;
pub(crate) use open::{Opened, Opening, open};
pub use quality::{MOS_BOUNDS, MosHistogram};
pub use snapshot::RelaySnapshot;
pub(crate) use snapshot::ThreadSnapshot;
pub(crate) use thread::RelayThread;

use crate::inspect::Snapshot;
use inbox::{Ask, RelayInbox};

/// Most addresses that the relay has its ports on; further ones are left out with a warning.
pub const MEDIA_ADDRESSES_MAX: usize = 16;

/// Commands that one turn hands over at a time. A takeover makes seven a call.
const SLICE_COMMANDS: usize = 4_096;

/// How long a worker waits for a relay thread that does not take commands in; a takeover of 65,536 calls takes less.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// The bits of a session's number that name its worker begin here.
const WORKER_SHIFT: u32 = 56;

/// The worker that a session belongs to.
pub(crate) fn worker_of(session: relay::SessionId) -> usize {
    (session.0 >> WORKER_SHIFT) as usize
}

/// What the relay is started with. It holds from the next start only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// The first port of the range, which is even.
    pub first_port: u16,
    /// The last one, which is odd.
    pub last_port: u16,
    /// Where the ports are; none stands for the addresses of the listeners.
    pub addresses: Vec<IpAddr>,
    /// What descriptions name instead of the address of its family.
    pub advertised: Option<IpAddr>,
    /// Threads, at least one.
    pub threads: usize,
    /// Timeouts and whom to learn from.
    pub relay: relay::Settings,
}

impl RelaySettings {
    /// Pairs of ports in the range.
    pub fn pairs(&self) -> usize {
        (usize::from(self.last_port) + 1).saturating_sub(usize::from(self.first_port)) / 2
    }

    /// How many sockets it will be.
    pub fn sockets(&self, listeners: &[Listener]) -> usize {
        self.pairs() * 2 * open::addresses(self, listeners).len()
    }
}

/// One relay thread as the workers see it.
struct Share {
    inbox: RelayInbox,
    /// The address that each of its sockets is bound to, by index.
    sockets: Box<[SocketAddr]>,
}

/// All relay threads as the workers see them. Without a relay there are none.
pub(crate) struct Relays {
    /// Free ports, in groups of one relay thread and local address; held for one operation.
    table: Mutex<PortTable>,
    addresses: Vec<IpAddr>,
    advertised: Option<IpAddr>,
    shares: Vec<Share>,
    /// Relay thread and port of each address that descriptions name.
    by_address: HashMap<SocketAddr, (u16, Port)>,
    /// What a standby has to have the same to go on with calls: a line each.
    agreement: Vec<String>,
    /// Pairs that were asked for and not there.
    exhausted: AtomicU64,
}

impl Relays {
    /// No relay. A member that has one is told, as it could not go on with this one's office, nor this one with its.
    pub(crate) fn none() -> Relays {
        let mut relays = Relays::new(PortTable::new(0), Vec::new(), None, Vec::new());
        relays.agreement = vec!["edge.rtp_ports = none".to_owned()];
        relays
    }

    /// The relay with these shares; `addresses` are those that it has its ports on.
    fn new(
        table: PortTable,
        addresses: Vec<IpAddr>,
        advertised: Option<IpAddr>,
        shares: Vec<Share>,
    ) -> Relays {
        let mut relays = Relays {
            table: Mutex::new(table),
            addresses,
            advertised,
            shares,
            by_address: HashMap::new(),
            agreement: Vec::new(),
            exhausted: AtomicU64::new(0),
        };
        let mut by_address = HashMap::new();
        for (relay, share) in relays.shares.iter().enumerate() {
            for (at, bound) in share.sockets.iter().enumerate() {
                let told = SocketAddr::new(relays.told(bound.ip()), bound.port());
                let place = (relay as u16, Port(at as u32));
                by_address.entry(told).or_insert(place);
            }
        }
        relays.by_address = by_address;
        relays
    }

    /// What a standby has to have the same: the ports that descriptions name, and the number of threads that they are
    /// divided among, since all ports of a call lie on one.
    pub(crate) fn agreement(&self) -> &[String] {
        &self.agreement
    }

    pub(crate) fn len(&self) -> usize {
        self.shares.len()
    }

    pub(crate) fn inbox(&self, relay: usize) -> Option<&RelayInbox> {
        self.shares.get(relay).map(|share| &share.inbox)
    }

    fn table(&self) -> MutexGuard<'_, PortTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn group(&self, relay: usize, address: usize) -> usize {
        relay * self.addresses.len() + address
    }

    /// The relay's address for a party that is reached from `local`: the same one, or else the first one of
    /// its family.
    fn address_for(&self, local: IpAddr) -> Option<usize> {
        let local = local.to_canonical();
        let same = self.addresses.iter().position(|own| *own == local);
        let is_like = |own: &IpAddr| own.is_ipv4() == local.is_ipv4();
        same.or_else(|| self.addresses.iter().position(is_like))
    }

    /// As [`proxy::MediaPorts::take_ports`].
    pub(crate) fn take(&self, local: IpAddr, relay: Option<u16>) -> Result<MediaPort, NoPorts> {
        let address = self.address_for(local).ok_or(NoPorts::Absent)?;
        let mut table = self.table();
        let is_open = |relay: &usize| {
            let share = self.shares.get(*relay);
            share.is_some_and(|share| !share.inbox.is_nearly_full())
        };
        let relay = match relay {
            Some(relay) => Some(usize::from(relay)).filter(is_open),
            // The one with most room.
            None => (0..self.shares.len())
                .filter(is_open)
                .max_by_key(|relay| table.free(self.group(*relay, address))),
        };
        let taken = relay.and_then(|relay| Some((relay, table.take(self.group(relay, address))?)));
        drop(table);
        let Some((relay, port)) = taken else {
            self.exhausted.fetch_add(1, Ordering::Relaxed);
            return Err(NoPorts::Taken);
        };
        let bound = self.shares[relay].sockets[port.0 as usize];
        Ok(MediaPort {
            relay: relay as u16,
            port,
            address: SocketAddr::new(self.told(bound.ip()), bound.port()),
        })
    }

    /// Takes the pair that a description of another node named (see [`proxy::MediaPorts::claim`]): the same port, at the
    /// address that stands for that one here.
    pub(crate) fn claim(&self, address: SocketAddr) -> Option<MediaPort> {
        let (relay, port) = *self.by_address.get(&address)?;
        let group = self.group_of(usize::from(relay), port)?;
        self.table().claim(group, port).then_some(MediaPort {
            relay,
            port,
            address,
        })
    }

    /// The address that a description names for one of ours.
    fn told(&self, own: IpAddr) -> IpAddr {
        let is_for =
            |advertised: &IpAddr| advertised.is_ipv4() == own.is_ipv4() && !own.is_loopback();
        self.advertised.filter(is_for).unwrap_or(own)
    }

    /// Lets a pair be claimed that its relay thread is still to close (see [`proxy::MediaPorts::leave`]).
    pub(crate) fn leave(&self, relay: usize, port: Port) {
        if let Some(group) = self.group_of(relay, port) {
            self.table().leave(group, port);
        }
    }

    fn group_of(&self, relay: usize, port: Port) -> Option<usize> {
        let bound = self.shares.get(relay)?.sockets.get(port.0 as usize)?.ip();
        let address = self.addresses.iter().position(|own| *own == bound)?;
        Some(self.group(relay, address))
    }

    /// Takes back what a relay thread has closed, or what was never opened.
    pub(crate) fn give_back(&self, relay: usize, port: Port) {
        let Some(group) = self.group_of(relay, port) else {
            return;
        };
        let was_taken = self.table().give_back(group, port);
        debug_assert!(was_taken, "a port is given back once");
    }

    /// Leaves a turn's commands with each relay thread.
    pub(crate) fn hand_over(&self, commands: &mut Commands) {
        if !commands.is_empty {
            for (share, batch) in self.shares.iter().zip(&mut commands.batches) {
                share.inbox.push(batch);
            }
            commands.is_empty = true;
        }
    }

    /// The same in the middle of a turn that makes very many, as a takeover does: it waits until there is room for them.
    pub(crate) fn hand_over_slice(&self, commands: &mut Commands) {
        for share in &self.shares {
            share.inbox.wait_for_room(ROOM_PATIENCE);
        }
        self.hand_over(commands);
    }

    /// Asks the relay threads what they are doing and how the listed calls are.
    pub(crate) fn look(&self, snapshot: &mut Snapshot, timeout: Duration) {
        let mut sessions: Vec<Vec<SessionId>> = vec![Vec::new(); self.shares.len()];
        for anchored in snapshot.listed.iter().filter_map(|call| call.anchored) {
            if let Some(sessions) = sessions.get_mut(usize::from(anchored.relay)) {
                sessions.push(anchored.session);
            }
        }
        let (answer, answers) = sync_channel(self.shares.len());
        for (share, sessions) in self.shares.iter().zip(sessions) {
            let answer = answer.clone();
            share.inbox.ask(Ask { sessions, answer });
        }
        drop(answer);
        let relay = &mut snapshot.relay;
        let mut reports = HashMap::new();
        let deadline = Instant::now() + timeout;
        for _ in &self.shares {
            match answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(thread) => {
                    relay.add(&thread);
                    let those = thread.reports.into_iter();
                    reports.extend(those.map(|report| (report.session, report)));
                }
                Err(_) => relay.silent_threads += 1,
            }
        }
        relay.threads = self.shares.len() as u64;
        let (in_use, free) = self.counts();
        (relay.ports_in_use, relay.ports_free) = (in_use as u64, free as u64);
        // The end of this process would be the end of their sound.
        snapshot.is_idle &= in_use == 0;
        relay.ports_exhausted = self.exhausted.load(Ordering::Relaxed);
        for call in &mut snapshot.listed {
            call.media = call.anchored.and_then(|at| reports.remove(&at.session));
        }
    }

    /// Opens the ports, or closes them, where only the owner of a service has them.
    pub(crate) fn want_ports(&self, wants: bool) {
        for share in &self.shares {
            share.inbox.want_ports(wants);
        }
    }

    /// Ends the threads.
    pub(crate) fn stop(&self) {
        for share in &self.shares {
            share.inbox.stop();
        }
    }

    /// Pairs in use, and pairs that are free.
    fn counts(&self) -> (usize, usize) {
        let table = self.table();
        let groups = self.shares.len() * self.addresses.len();
        let free = (0..groups).map(|group| table.free(group)).sum();
        (table.in_use(), free)
    }
}

/// Commands of one worker's turn, by relay thread, in order.
pub(crate) struct Commands {
    batches: Vec<Vec<Command>>,
    is_empty: bool,
}

impl Commands {
    pub(crate) fn of(relays: &Relays) -> Commands {
        Commands {
            batches: (0..relays.len()).map(|_| Vec::new()).collect(),
            is_empty: true,
        }
    }

    /// Notes a command; whether there are so many that they are to be handed over before the turn is over.
    pub(crate) fn push(&mut self, relay: u16, command: Command) -> bool {
        let Some(batch) = self.batches.get_mut(usize::from(relay)) else {
            return false;
        };
        batch.push(command);
        self.is_empty = false;
        batch.len() >= SLICE_COMMANDS
    }
}

#[cfg(test)]
mod tests;
