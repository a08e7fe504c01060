//! One worker thread.

mod farm;
mod office;
mod strain;
mod tell;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use edge::{Edge, Output};
use net::poll::{Interest, Poller, Ready, Token};
use net::tcp::{SendRefused, Streams, Target};
use net::udp::{ReceiveBatch, SendBatch, UdpSocket};
use proxy::Listener;
use sip::scan;
use transaction::{Flow, Transport};

use crate::endings::{ENDING_WAIT, Endings};
use crate::inbox::{Item, Parcel};
use crate::inspect::WorkerSnapshot;
use crate::network::{Means, Surface};
use crate::shared::Shared;
use crate::tasks::Tasks;
use office::Office;
use strain::Strain;

/// Datagrams taken in one receive.
const BATCH: usize = 64;

/// Receives of one socket in a turn; what is left waits for the next.
const RECEIVES_PER_TURN: usize = 4;

/// Longest sleep.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Least time between hand-overs to the store by a busy worker.
const SUBMIT_SPACING: Duration = Duration::from_millis(5);

/// As many changes are handed over at once, whatever the time.
const SUBMIT_CHANGES_MAX: usize = 1_024;

/// Least time between hand-overs of what nobody waits for.
const DEFER_SPACING: Duration = Duration::from_millis(100);

/// From this many messages a second on, a worker lets them gather.
const GATHER_FROM_PER_S: u64 = 2_000;

/// One UDP socket of a worker.
pub(crate) struct Port {
    pub(crate) socket: UdpSocket,
    /// Datagrams for it that wait for the end of the turn.
    pub(crate) outgoing: SendBatch,
    is_wildcard: bool,
    wants_write: bool,
}

impl Port {
    pub(crate) fn new(socket: UdpSocket) -> Port {
        let is_wildcard = socket.local_address().ip().is_unspecified();
        Port {
            socket,
            outgoing: SendBatch::new(),
            is_wildcard,
            wants_write: false,
        }
    }
}

/// What a worker counts besides the core.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WorkerCounters {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) keep_alives: u64,
    pub(crate) stun: u64,
    pub(crate) truncated: u64,
    pub(crate) send_failures: u64,
    pub(crate) send_drops: u64,
    pub(crate) turns: u64,
    /// Datagrams that came while another node owned the service.
    pub(crate) ignored: u64,
}

/// A worker, before and while it runs.
pub(crate) struct Worker {
    pub(crate) number: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) poller: Poller,
    pub(crate) ports: Vec<Port>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) streams: Option<Streams>,
    pub(crate) tasks: Tasks,
    pub(crate) gather: Duration,
    pub(crate) seed: (u64, u64),
}

/// What a worker has while it runs.
struct Turn {
    edge: Edge,
    settings: Arc<edge::Settings>,
    output: Output,
    means: Means,
    parcels: Vec<Parcel>,
    items: Vec<Item>,
    counters: WorkerCounters,
    strain: Strain,
    is_over: bool,
    /// Messages of the second that runs, and when it began: decides about gathering.
    recent: u64,
    recent_since: Instant,
    gathers: bool,
    /// When something was last handed over to be stored: for which phones wait, and the rest.
    submitted: Instant,
    deferred: Instant,
    /// Ends of calls that are told when the figures of their media are there.
    endings: Endings,
    /// In a cluster: whether it acts, and what waits for the standby.
    office: Option<Office>,
}

impl Worker {
    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        let now = Instant::now();
        let settings = self.shared.settings();
        let mut turn = Turn {
            edge: Edge::new(self.shared.clock.at(now).time, self.seed, &settings),
            settings,
            output: Output::default(),
            means: Means::of(&self.shared),
            parcels: (0..self.shared.inboxes.len())
                .map(|_| Parcel::default())
                .collect(),
            items: Vec::new(),
            counters: WorkerCounters::default(),
            strain: Strain::default(),
            is_over: false,
            recent: 0,
            recent_since: now,
            gathers: false,
            submitted: now,
            deferred: now,
            endings: Endings::default(),
            office: self
                .shared
                .place
                .as_ref()
                .map(|place| Office::new(place.desk.clone())),
        };
        if turn.office.is_some() {
            turn.edge.join(&turn.settings);
        }
        for (at, port) in self.ports.iter().enumerate() {
            if let Err(error) = self
                .poller
                .add(port_fd(port), Token(at as u64), Interest::Readable)
            {
                tracing::error!(%error, "a socket cannot be watched; the worker ends");
                return;
            }
        }
        let mut batch = ReceiveBatch::new(BATCH);
        let mut ready = Vec::new();
        while !turn.is_over {
            self.wait(&turn, &mut ready);
            turn.counters.turns += 1;
            let now = Instant::now();
            turn.output.is_watched = self.shared.events.receiver_count() > 0;
            turn.look_for_standby();
            turn.edge
                .drain(self.shared.is_draining.load(Ordering::Acquire));
            for event in &ready {
                self.ready(event, &mut batch, now, &mut turn);
            }
            if turn.gathers {
                for port in 0..self.ports.len() {
                    self.receive(port, &mut batch, now, &mut turn);
                }
            }
            self.shared.inboxes[self.number].take(&mut turn.items);
            self.items(now, &mut turn);
            let core_now = self.shared.clock.at(now);
            self.with_core(now, &mut turn, |edge, settings, surface, output| {
                edge.poll(settings, core_now, surface, output);
                edge.note(core_now, surface, output);
            });
            self.hand_over(now, &mut turn);
            self.pace(now, &mut turn);
            self.observe(now, &mut turn);
        }
        // What was being gathered is not lost.
        turn.gathers = false;
        self.hand_over(Instant::now() + DEFER_SPACING, &mut turn);
    }

    /// Sleeps until there is something to do. A busy worker sleeps a fixed moment instead, so that what
    /// arrives meanwhile costs one receive and one send together.
    fn wait(&mut self, turn: &Turn, ready: &mut Vec<Ready>) {
        ready.clear();
        let timeout = if turn.gathers {
            std::thread::sleep(self.gather);
            Duration::ZERO
        } else {
            let now = self.shared.clock.now().time;
            let pause_max = match turn.endings.is_empty() {
                true => pause_max(&turn.output),
                false => pause_max(&turn.output).min(ENDING_WAIT),
            };
            let next = turn.edge.next(now);
            next.map_or(pause_max, |next| {
                pause_max.min(Duration::from_millis(next.ms_since(now)))
            })
        };
        if turn.gathers && !turn.counters.turns.is_multiple_of(8) {
            // Only errors and room to send are left to hear of; they can wait a few turns.
            return;
        }
        match self.poller.wait(Some(timeout)) {
            Ok(events) => ready.extend_from_slice(events),
            Err(error) => {
                tracing::error!(%error, "waiting for sockets failed");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Decides, once in a tenth of a second, whether messages come fast enough to let them gather.
    fn pace(&self, now: Instant, turn: &mut Turn) {
        let passed = now.saturating_duration_since(turn.recent_since);
        if passed < Duration::from_millis(100) || self.gather.is_zero() {
            return;
        }
        let per_s =
            (turn.counters.received - turn.recent) as u128 * 1_000_000 / passed.as_micros().max(1);
        turn.gathers = per_s >= u128::from(GATHER_FROM_PER_S);
        turn.recent = turn.counters.received;
        turn.recent_since = now;
    }

    fn ready(&mut self, event: &Ready, batch: &mut ReceiveBatch, now: Instant, turn: &mut Turn) {
        if event.token == Token::WAKER {
            return;
        }
        let at = event.token.0 as usize;
        if event.error {
            self.errors(at, now, turn);
        }
        if event.readable && !turn.gathers {
            self.receive(at, batch, now, turn);
        }
    }

    fn receive(&mut self, at: usize, batch: &mut ReceiveBatch, now: Instant, turn: &mut Turn) {
        let core_now = self.shared.clock.at(now);
        for _ in 0..RECEIVES_PER_TURN {
            match self.ports[at].socket.receive(batch) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "receiving failed");
                    return;
                }
            }
            if !turn.acts() {
                turn.counters.ignored += batch.len() as u64;
                return;
            }
            for datagram in batch.datagrams() {
                turn.counters.received += 1;
                let flow = Flow {
                    transport: Transport::Udp,
                    remote: datagram.source,
                    local: datagram.local,
                };
                if self.shared.is_banned(core_now.time, &flow) {
                    continue;
                }
                if datagram.truncated {
                    turn.counters.truncated += 1;
                    continue;
                }
                match scan::kind(datagram.bytes) {
                    scan::Kind::KeepAlive => turn.counters.keep_alives += 1,
                    scan::Kind::Stun => {
                        turn.counters.stun += 1;
                        let port = &mut self.ports[at];
                        let source = port.is_wildcard.then_some(datagram.local.ip());
                        port.outgoing.push_with(datagram.source, source, |out| {
                            net::stun::binding_response(datagram.bytes, datagram.source, out);
                        });
                    }
                    scan::Kind::Sip => self.message(datagram.bytes, flow, now, turn),
                }
            }
            if batch.len() < batch.size() {
                return;
            }
        }
        turn.strain.is_behind = true;
    }

    /// Gives a message to the core, or to the worker that has its call.
    fn message(&self, bytes: &[u8], flow: Flow, now: Instant, turn: &mut Turn) {
        if turn.parcels.len() > 1 {
            let owner =
                scan::call_id(bytes).map_or(self.number, |call_id| self.shared.worker_of(call_id));
            if owner != self.number {
                turn.parcels[owner].push(bytes, flow);
                return;
            }
        }
        self.take(bytes, flow, now, turn);
    }

    /// Takes ICMP errors: what waits for an answer from there fails at once (RFC 3261 section 18.4).
    /// Of sockets on one port the system tells one of its choice, whichever sent.
    fn errors(&mut self, at: usize, now: Instant, turn: &mut Turn) {
        let mut failed = Vec::new();
        let taken = self.ports[at].socket.receive_errors(|destination, error| {
            use net::udp::DeliveryError::{Refused, Unreachable};
            if matches!(error, Refused | Unreachable)
                && failed.len() < BATCH
                && !failed.contains(&destination)
            {
                failed.push(destination);
            }
        });
        if let Err(error) = taken {
            tracing::warn!(%error, "reading delivery errors failed");
        }
        for destination in failed {
            turn.counters.send_failures += 1;
            if self.shared.moves(destination) {
                continue;
            }
            self.flow_failed(Transport::Udp, destination, now, turn);
            self.shared.datagrams_failed(self.number, destination);
        }
    }

    fn flow_failed(
        &self,
        transport: Transport,
        remote: std::net::SocketAddr,
        now: Instant,
        turn: &mut Turn,
    ) {
        if !turn.edge.may_wait_for(remote) {
            return;
        }
        let failed = |flow: &Flow| flow.transport == transport && flow.remote == remote;
        let core_now = self.shared.clock.at(now);
        self.with_core(now, turn, |edge, settings, surface, output| {
            edge.flow_failed(settings, core_now, failed, surface, output);
        });
    }

    fn items(&mut self, now: Instant, turn: &mut Turn) {
        let mut items = std::mem::take(&mut turn.items);
        for item in items.drain(..) {
            self.item(item, now, turn);
        }
        turn.items = items;
    }

    fn item(&mut self, item: Item, now: Instant, turn: &mut Turn) {
        let core_now = self.shared.clock.at(now);
        match item {
            Item::Parcel(_) | Item::Message(..) | Item::Unframed(..) if !turn.acts() => {
                turn.counters.ignored += 1;
            }
            Item::Apply(records) => self.apply(&records, now, turn),
            Item::Forget => self.forget(now, turn),
            Item::TakeOffice(epoch, is_new) => self.take_office((epoch, is_new), now, turn),
            Item::LeaveOffice => self.leave_office(now, turn),
            Item::Parcel(parcel) => {
                for (bytes, flow) in parcel.iter() {
                    self.take(bytes, flow, now, turn);
                }
            }
            Item::Message(bytes, flow) => {
                turn.counters.received += 1;
                self.take(&bytes, flow, now, turn);
            }
            Item::Unframed(head, flow, error) => {
                if let Some(status) = error.status() {
                    let (settings, answer) = (&turn.settings, (error.label(), status));
                    let output = &mut turn.output;
                    turn.edge
                        .receive_unframed(settings, &head, answer, flow, output);
                }
            }
            Item::Stored(tokens, is_durable) => {
                for token in tokens {
                    let stored = (token, is_durable);
                    self.with_core(now, turn, |edge, settings, surface, output| {
                        edge.stored(settings, core_now, stored, surface, output);
                    });
                }
            }
            Item::Resolved(token, addresses) => {
                self.with_core(now, turn, |edge, settings, surface, output| {
                    edge.resolved(settings, core_now, (token, &addresses), surface, output);
                });
            }
            Item::FlowFailed(transport, peer) => self.flow_failed(transport, peer, now, turn),
            Item::Probe(probe) => self.probe(&probe, now, turn),
            Item::TargetLost(target) => self.target_lost(target, now, turn),
            Item::Media(events) => self.media(events, now, turn),
            Item::Reload => {
                turn.settings = self.shared.settings();
                turn.edge.reload(&turn.settings);
            }
            Item::Inspect(answer, calls_max) => {
                let drops = self
                    .ports
                    .iter()
                    .filter_map(|port| port.socket.dropped_by_kernel().ok());
                let drops = drops.map(u64::from).sum();
                let snapshot =
                    WorkerSnapshot::of(&turn.edge, turn.counters, drops, core_now, calls_max);
                // Who asked may have stopped waiting.
                let _ = answer.try_send(snapshot);
            }
            Item::Stop => turn.is_over = true,
        }
    }

    /// Gives the core one message of this worker's.
    fn take(&self, bytes: &[u8], flow: Flow, now: Instant, turn: &mut Turn) {
        turn.strain.handled += 1;
        let core_now = self.shared.clock.at(now);
        self.with_core(now, turn, |edge, settings, surface, output| {
            edge.receive(settings, core_now, bytes, flow, surface, output);
        });
    }

    /// Lets the core work with what it works with here.
    fn with_core(
        &self,
        now: Instant,
        turn: &mut Turn,
        work: impl FnOnce(&mut Edge, &edge::Settings, &mut Surface<'_>, &mut Output),
    ) {
        let mut surface = Surface {
            shared: &self.shared,
            listeners: &self.listeners,
            number: self.number,
            now,
            means: &mut turn.means,
        };
        work(
            &mut turn.edge,
            &turn.settings,
            &mut surface,
            &mut turn.output,
        );
    }

    /// Passes on what the turn made: to the store, to look-ups, to other workers, to the network.
    fn hand_over(&mut self, now: Instant, turn: &mut Turn) {
        self.write(now, turn);
        let output = &mut turn.output;
        for resolve in output.resolves.drain(..) {
            self.tasks.resolve(&self.shared, self.number, resolve);
        }
        for parcel in 0..turn.parcels.len() {
            if !turn.parcels[parcel].is_empty() {
                let full = std::mem::take(&mut turn.parcels[parcel]);
                if !self.shared.inboxes[parcel].push(Item::Parcel(full)) {
                    self.shared.inbox_overflows.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.tell(now, turn);
        // An offer leaves when its ports are on their way.
        self.shared.relays.hand_over(&mut turn.means.commands);
        self.release(now, turn);
    }

    /// Hands what is to be stored over: at once by a worker that is not busy, else a few milliseconds
    /// together, since each hand-over wakes other threads.
    fn write(&self, now: Instant, turn: &mut Turn) {
        let output = &mut turn.output;
        let since_submit = now.saturating_duration_since(turn.submitted);
        let submits = !turn.gathers
            || since_submit >= SUBMIT_SPACING
            || output.durable.len() >= SUBMIT_CHANGES_MAX;
        if submits && (!output.commits.is_empty() || !output.durable.is_empty()) {
            turn.submitted = now;
            let changes = std::mem::take(&mut output.durable);
            self.tasks.submit(
                &self.shared,
                self.number,
                changes,
                std::mem::take(&mut output.commits),
            );
        }
        let since_defer = now.saturating_duration_since(turn.deferred);
        let defers = since_defer >= DEFER_SPACING || output.deferred.len() >= SUBMIT_CHANGES_MAX;
        if defers && !output.deferred.is_empty() {
            turn.deferred = now;
            let renewals = std::mem::take(&mut output.renewals);
            self.tasks
                .defer(&self.shared, &mut output.deferred, renewals);
        }
    }

    /// Sends what the core made.
    fn send(&mut self, now: Instant, turn: &mut Turn) {
        self.queue(now, turn);
        self.flush_all(now, turn);
    }

    /// Gives what the core made to the sockets: datagrams wait for [`Worker::flush_all`].
    fn queue(&mut self, now: Instant, turn: &mut Turn) {
        let mut failed_streams = Vec::new();
        for (bytes, flow) in turn.output.outbox.iter() {
            turn.counters.sent += 1;
            match flow.transport {
                Transport::Udp => match port_of(&mut self.ports, flow) {
                    Some(port) => {
                        let source = source(port, flow);
                        port.outgoing.push(flow.remote, source, bytes);
                    }
                    None => turn.counters.send_failures += 1,
                },
                Transport::Tcp => {
                    let sent = self
                        .streams
                        .as_ref()
                        .map(|streams| streams.send(Target::Address(flow.remote), bytes.to_vec()));
                    if !matches!(sent, Some(Ok(_))) {
                        turn.counters.send_failures += 1;
                        if !matches!(sent, Some(Err(SendRefused::QueueFull))) {
                            failed_streams.push(flow.remote);
                        }
                    }
                }
            }
        }
        turn.output.outbox.clear();
        for remote in failed_streams {
            self.flow_failed(Transport::Tcp, remote, now, turn);
        }
    }

    fn flush_all(&mut self, now: Instant, turn: &mut Turn) {
        for at in 0..self.ports.len() {
            self.flush(at, now, turn);
        }
    }

    fn flush(&mut self, at: usize, now: Instant, turn: &mut Turn) {
        if self.ports[at].outgoing.is_empty() {
            return;
        }
        let Port {
            socket,
            outgoing,
            wants_write,
            ..
        } = &mut self.ports[at];
        let report = outgoing.flush(socket);
        turn.counters.send_drops += report.dropped as u64;
        let wants = report.kept > 0;
        if wants != *wants_write {
            *wants_write = wants;
            let interest = if wants {
                Interest::ReadableAndWritable
            } else {
                Interest::Readable
            };
            if let Err(error) = self.poller.modify(&*socket, Token(at as u64), interest) {
                tracing::warn!(%error, "watching a socket failed");
            }
        }
        if report.failed > 0 {
            let failed: Vec<_> = outgoing
                .failures()
                .iter()
                .map(|failure| failure.destination)
                .collect();
            turn.counters.send_failures += failed.len() as u64;
            for destination in failed {
                if self.shared.moves(destination) {
                    continue;
                }
                self.flow_failed(Transport::Udp, destination, now, turn);
            }
        }
    }
}

/// How long a worker may sleep on what it has not handed over yet. Changes that phones wait for are left
/// behind when a busy worker has just become a quiet one.
fn pause_max(output: &Output) -> Duration {
    if !output.commits.is_empty() || !output.durable.is_empty() {
        SUBMIT_SPACING
    } else if !output.deferred.is_empty() {
        DEFER_SPACING
    } else {
        PAUSE_MAX
    }
}

fn port_fd(port: &Port) -> &UdpSocket {
    &port.socket
}

/// The socket that a flow leaves by.
pub(crate) fn port_of<'a>(ports: &'a mut [Port], flow: &Flow) -> Option<&'a mut Port> {
    let fits = |port: &Port| {
        let local = port.socket.local_address();
        local.port() == flow.local.port()
            && local.is_ipv4() == flow.local.is_ipv4()
            && (local.ip() == flow.local.ip() || local.ip().is_unspecified())
    };
    ports.iter_mut().find(|port| fits(port))
}

/// The source address to be asked for: that of the flow, on a socket that has several.
pub(crate) fn source(port: &Port, flow: &Flow) -> Option<IpAddr> {
    let ip = flow.local.ip();
    (port.is_wildcard && !ip.is_unspecified()).then_some(ip)
}

/// Opens a worker's sockets.
pub(crate) fn open_ports(
    listeners: &[Listener],
    reuse_port: bool,
    freebind: bool,
) -> Result<Vec<Port>, (std::net::SocketAddr, io::Error)> {
    let udp = listeners
        .iter()
        .filter(|listener| listener.transport == Transport::Udp);
    udp.map(|listener| {
        let options = net::udp::UdpOptions {
            reuse_port,
            freebind,
            ..Default::default()
        };
        let socket =
            UdpSocket::bind(listener.local, &options).map_err(|error| (listener.local, error))?;
        Ok(Port::new(socket))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_does_not_sleep_on_what_waits_to_be_stored() {
        let mut output = Output::default();
        assert_eq!(pause_max(&output), PAUSE_MAX);
        output.deferred.push(registrar::Change::Delete { id: 1 });
        assert_eq!(pause_max(&output), DEFER_SPACING);
        output.commits.push(1);
        assert_eq!(pause_max(&output), SUBMIT_SPACING);
    }
}
