//! A worker in a cluster: as a member it takes records in, as the owner it sends what is committed.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use cluster::{Held, Seq};
use edge::record::{BINDING, binding_key};
use records::Ops;
use registrar::Cursor;
use transaction::{Outbox, Transport};

use super::{Turn, Worker, open_ports};
use crate::cluster::{Desk, Ticket};
use crate::shared::LOCATION_SHARDS;
use net::poll::{Interest, Token};

/// Turns whose messages wait for a commit; those of one more are lost, as datagrams may be.
const HELD_MAX: usize = 8_192;
/// Outboxes whose memory is kept.
const SPARE_MAX: usize = 64;
/// How often, and how far apart, a socket is tried that the owner before has open still.
const OPEN_TRIES: u32 = 1_000;
const OPEN_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// A worker's part in the office of its service.
pub(super) struct Office {
    desk: Arc<Desk>,
    /// The term, while this node owns the service.
    epoch: Option<u64>,
    held: Held<Outbox>,
    last: Ticket,
    spare: Vec<Outbox>,
    /// Messages that never left, since another may have answered otherwise.
    pub(super) discarded: u64,
    /// Records that could not be read.
    pub(super) unreadable: u64,
}

impl Office {
    pub(super) fn new(desk: Arc<Desk>) -> Office {
        Office {
            desk,
            epoch: None,
            held: Held::new(HELD_MAX),
            last: Ticket(0),
            spare: Vec::new(),
            discarded: 0,
            unreadable: 0,
        }
    }

    fn give_back(&mut self, mut outbox: Outbox) {
        outbox.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(outbox);
        }
    }

    fn discard(&mut self) {
        self.discarded += self.held.len() as u64;
        self.held.discard();
    }
}

impl Turn {
    /// Whether what comes from the network is for this worker.
    pub(super) fn acts(&self) -> bool {
        self.office
            .as_ref()
            .is_none_or(|office| office.epoch.is_some())
    }

    /// Tells the core whether a standby would go on with what it does.
    pub(super) fn look_for_standby(&mut self) {
        if let Some(office) = &self.office {
            self.output.has_standby = office.epoch.is_some() && office.desk.has_standby();
        }
    }
}

impl Worker {
    /// Sends what may leave: at once without a cluster; else when the standby has what it depends on, in the order in
    /// which it was made, and only while this node may act.
    pub(super) fn release(&mut self, now: Instant, turn: &mut Turn) {
        let Some(mut office) = turn.office.take() else {
            self.send(now, turn);
            return;
        };
        let mut made = std::mem::take(&mut turn.output.outbox);
        if let Some(epoch) = office.epoch {
            self.hold(epoch, &mut office, &mut made, turn);
            let committed = office.desk.committed(epoch);
            while let Some(Ticket(committed)) = committed
                && let Some(outbox) = office.held.release(Seq(committed))
            {
                let before = std::mem::replace(&mut turn.output.outbox, outbox);
                office.give_back(before);
                self.queue_as_owner(now, turn, &office.desk);
            }
        }
        let empty = std::mem::replace(&mut turn.output.outbox, made);
        office.give_back(empty);
        if office.epoch.is_none() {
            turn.output.outbox.clear();
        }
        self.queue_as_owner(now, turn, &office.desk);
        self.flush_as_owner(now, turn, &office.desk);
        turn.office = Some(office);
    }

    /// Leaves the changes of the turn for the standby; `made` is empty afterwards if it has to wait.
    fn hold(&self, epoch: u64, office: &mut Office, made: &mut Outbox, turn: &mut Turn) {
        let changes = &mut turn.output.changes;
        if !changes.is_empty() {
            let ticket = office.desk.submit(epoch, self.number, changes);
            changes.clear();
            match ticket {
                Some(ticket) => office.last = ticket,
                // The term is over, and word of it is on its way.
                None => {
                    office.discarded += 1;
                    made.clear();
                    return;
                }
            }
        } else if office.held.is_empty() {
            return;
        }
        if !made.is_empty() {
            let next = office.spare.pop().unwrap_or_default();
            let outbox = std::mem::replace(made, next);
            if office.held.hold(Seq(office.last.0), outbox).is_err() {
                office.discarded += 1;
            }
        }
    }

    /// Gives messages to their sockets if this node may act at this moment; datagrams leave together with those that follow.
    fn queue_as_owner(&mut self, now: Instant, turn: &mut Turn, desk: &Desk) {
        if turn.output.outbox.is_empty() || desk.may_act() {
            self.queue(now, turn);
        } else {
            turn.output.outbox.clear();
        }
    }

    /// Sends the datagrams that are queued, if this node may act at this moment.
    fn flush_as_owner(&mut self, now: Instant, turn: &mut Turn, desk: &Desk) {
        if desk.may_act() {
            self.flush_all(now, turn);
            return;
        }
        for port in &mut self.ports {
            port.outgoing.clear();
        }
    }

    /// Takes records in.
    pub(super) fn apply(&self, records: &[u8], now: Instant, turn: &mut Turn) {
        let core_now = self.shared.clock.at(now);
        let mut ops = Ops::new(records);
        // The cluster's thread wrote them.
        while let Ok(Some(op)) = ops.op() {
            let mut result = Ok(());
            self.with_core(now, turn, |edge, _, surface, _| {
                result = edge.apply(core_now, &op, surface);
            });
            if let (Err(error), Some(office)) = (result, &mut turn.office) {
                office.unreadable += 1;
                tracing::debug!(kind = op.kind, %error, "a record could not be read");
            }
        }
    }

    /// Owns the service from now on.
    pub(super) fn take_office(
        &mut self,
        (epoch, is_new): (u64, bool),
        now: Instant,
        turn: &mut Turn,
    ) {
        self.open_late();
        let core_now = self.shared.clock.at(now);
        if let Some(office) = &mut turn.office {
            office.epoch = Some(epoch);
        }
        turn.look_for_standby();
        self.with_core(now, turn, |edge, settings, surface, output| {
            edge.take_office(settings, core_now, epoch, surface, output);
        });
        if is_new {
            self.note_stored(turn);
        }
    }

    /// Notes the bindings of this worker's share that the store alone knew.
    fn note_stored(&self, turn: &mut Turn) {
        let changes = &mut turn.output.changes;
        let now_unix_s = self.shared.clock.unix_s();
        let mut key = Vec::new();
        for shard in self.shards() {
            let location = self.shared.locations[shard]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            location.page(now_unix_s, Cursor::START, usize::MAX, |aor, binding| {
                key.clear();
                binding_key(aor, binding.id(), &mut key);
                // Keys and values of bindings are shorter than a record may be.
                let _ = changes.put(BINDING, &key, |out| binding.fields().write(out));
            });
        }
    }

    /// The shards of bindings that this worker takes in and empties.
    fn shards(&self) -> impl Iterator<Item = usize> {
        let (workers, number) = (self.shared.inboxes.len(), self.number);
        (0..LOCATION_SHARDS).filter(move |shard| shard % workers == number)
    }

    /// Is a member again, and knows nothing.
    pub(super) fn leave_office(&mut self, now: Instant, turn: &mut Turn) {
        self.forget(now, turn);
        if self
            .shared
            .place
            .as_ref()
            .is_some_and(|place| place.opens_late)
        {
            self.close_late();
        }
    }

    /// Empties the core and this worker's share of the bindings.
    pub(super) fn forget(&self, now: Instant, turn: &mut Turn) {
        let core_now = self.shared.clock.at(now);
        self.with_core(now, turn, |edge, _, surface, _| {
            edge.leave_office(core_now, surface);
        });
        if let Some(office) = &mut turn.office {
            office.epoch = None;
            office.discard();
        }
        let output = &mut turn.output;
        output.outbox.clear();
        output.changes.clear();
        output.has_standby = false;
        output.durable.clear();
        output.commits.clear();
        output.deferred.clear();
        output.renewals.clear();
        for shard in self.shards() {
            let mut location = self.shared.locations[shard]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            location.clear();
        }
    }

    /// Opens the sockets that only the owner has. The owner before may be about to close its own.
    fn open_late(&mut self) {
        if !self
            .shared
            .place
            .as_ref()
            .is_some_and(|place| place.opens_late)
            || !self.ports.is_empty()
        {
            return;
        }
        if self.number == 0 {
            self.shared.relays.want_ports(true);
        }
        let reuse_port = self.shared.inboxes.len() > 1;
        for _ in 0..OPEN_TRIES {
            match open_ports(&self.listeners, reuse_port, false) {
                Ok(ports) => {
                    self.ports = ports;
                    break;
                }
                Err((_, error)) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    std::thread::sleep(OPEN_PAUSE);
                }
                Err((address, error)) => {
                    tracing::error!(%address, %error, "the service's sockets cannot be opened");
                    return;
                }
            }
        }
        if self.ports.is_empty() {
            tracing::error!(
                "the service's sockets are another process's; is it the owner before, and hangs?"
            );
        }
        for (at, port) in self.ports.iter().enumerate() {
            let token = Token(at as u64);
            if let Err(error) = self.poller.add(&port.socket, token, Interest::Readable) {
                tracing::error!(%error, "a socket cannot be watched");
            }
        }
        if self.number == 0 {
            self.listen_late();
        }
    }

    fn close_late(&mut self) {
        if self.number == 0 {
            self.shared.relays.want_ports(false);
        }
        for port in self.ports.drain(..) {
            // Closing it does the same.
            let _ = self.poller.remove(&port.socket);
        }
        if let (0, Some(streams)) = (self.number, &self.streams) {
            streams.close_all();
            for listener in &self.listeners {
                if listener.transport == Transport::Tcp {
                    streams.unlisten(listener.local);
                }
            }
        }
    }

    fn listen_late(&self) {
        let Some(streams) = &self.streams else { return };
        let tcp = self
            .listeners
            .iter()
            .filter(|listener| listener.transport == Transport::Tcp);
        for listener in tcp {
            let listen = || streams.listen(listener.local, net::tcp::ListenOptions::default());
            let opened = (0..OPEN_TRIES).any(|_| match listen() {
                Ok(_) => true,
                Err(_) => {
                    std::thread::sleep(OPEN_PAUSE);
                    false
                }
            });
            if !opened {
                tracing::error!(address = %listener.local, "connections cannot be taken there");
            }
        }
    }
}
