//! One thread of phones: sockets, clock, and the machine.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use net::poll::{Interest, Poller, Token};
use net::udp::{ReceiveBatch, SendBatch, UdpOptions, UdpSocket};
use tokio::runtime::Handle;
use transaction::{Flow, Transport};

use crate::clock::Clock;
use crate::error::Error;
use crate::media::MediaThread;
use crate::settings::Settings;
use crate::station::{Event, Now, Station};
use crate::tally::Tally;
use crate::tcp::{Connections, Inbox};

/// Datagrams that are received with one system call.
const BATCH: usize = 64;
/// Receives of one socket before the others have their turn.
const RECEIVES_PER_TURN: usize = 8;
/// Room for datagrams that came while the thread did something else.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;
/// How often what was counted is shown.
const SHOW_US: u64 = 250_000;
/// The longest sleep: stopping is noticed after it.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// What the threads of a run have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Threads whose users have not registered.
    pub(crate) unregistered: AtomicUsize,
    /// Nothing new begins.
    pub(crate) is_stopping: AtomicBool,
    /// Threads end, whatever is under way.
    pub(crate) is_over: AtomicBool,
    /// The phone's user hangs up.
    pub(crate) hangs_up: AtomicBool,
    /// Threads that are done.
    pub(crate) done: AtomicUsize,
    /// What was told, where somebody listens.
    pub(crate) events: Mutex<Vec<(u64, Event)>>,
}

/// One of our addresses over UDP.
struct Socket {
    socket: UdpSocket,
    outgoing: SendBatch,
}

/// The ways in and out of a thread.
pub(crate) struct Ways {
    poller: Poller,
    sockets: Vec<Socket>,
    connections: Vec<Connections>,
    inbox: Arc<Inbox>,
}

impl Ways {
    /// Opens them.
    ///
    /// # Errors
    /// An address cannot be used.
    pub(crate) fn open(
        settings: &Settings,
        sources: &[SocketAddr],
        runtime: &Handle,
    ) -> Result<Ways, Error> {
        let poller = Poller::new().map_err(Error::Thread)?;
        let inbox = Inbox::new(poller.waker());
        let mut ways = Ways {
            poller,
            sockets: Vec::new(),
            connections: Vec::new(),
            inbox,
        };
        let options = UdpOptions {
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            ..UdpOptions::default()
        };
        for &address in sources {
            let failed = |error| Error::Bind { address, error };
            if settings.transport == Transport::Tcp {
                let inbox = ways.inbox.clone();
                let opened = Connections::open(runtime.clone(), address, inbox);
                ways.connections.push(opened.map_err(failed)?);
                continue;
            }
            let socket = UdpSocket::bind(address, &options).map_err(failed)?;
            let token = Token(ways.sockets.len() as u64);
            ways.poller
                .add(&socket, token, Interest::Readable)
                .map_err(failed)?;
            ways.sockets.push(Socket {
                socket,
                outgoing: SendBatch::new(),
            });
        }
        Ok(ways)
    }

    /// Our own addresses, ports included.
    pub(crate) fn locals(&self) -> Vec<SocketAddr> {
        let udp = self
            .sockets
            .iter()
            .map(|socket| socket.socket.local_address());
        udp.chain(self.connections.iter().map(|connections| connections.local))
            .collect()
    }
}

/// A thread of phones.
pub(crate) struct Worker {
    pub(crate) settings: Arc<Settings>,
    pub(crate) station: Station,
    pub(crate) ways: Ways,
    pub(crate) clock: Clock,
    pub(crate) media: Option<MediaThread>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) shown: Arc<Mutex<Tally>>,
}

impl Worker {
    /// Works until all is done or the run is over.
    pub(crate) fn run(mut self) -> Result<Tally, Error> {
        let mut incoming = ReceiveBatch::new(BATCH);
        let mut messages = Vec::new();
        let (mut show_us, mut counted, mut started, mut done) = (0, false, false, false);
        loop {
            let now = self.now();
            if !counted && self.station.has_registered() {
                counted = true;
                self.shared.unregistered.fetch_sub(1, Ordering::AcqRel);
            }
            if !started && self.shared.unregistered.load(Ordering::Acquire) == 0 {
                started = true;
                self.station.start_calls(now);
            }
            if self.shared.is_stopping.load(Ordering::Acquire) {
                self.station.stop();
            }
            if self.shared.hangs_up.load(Ordering::Acquire) {
                self.station.end_calls(now);
                self.station.end_answers(now);
            }
            self.station.poll(now);
            let is_backed_up = self.flush();
            if !done && self.station.is_done() {
                done = true;
                self.shared.done.fetch_add(1, Ordering::AcqRel);
            }
            if self.shared.is_over.load(Ordering::Acquire) {
                break;
            }
            if now.us >= show_us {
                show_us = now.us + SHOW_US;
                self.show();
            }
            let wait = if is_backed_up {
                Duration::from_millis(1)
            } else {
                self.wait(now)
            };
            let ready = self.ways.poller.wait(Some(wait)).map_err(Error::Thread)?;
            let ready: [Option<(usize, bool)>; 64] = first(ready.iter().map(|ready| {
                (
                    usize::try_from(ready.token.0).unwrap_or(usize::MAX),
                    ready.error,
                )
            }));
            for (index, has_error) in ready.into_iter().flatten() {
                self.receive(index, has_error, &mut incoming)
                    .map_err(Error::Thread)?;
            }
            self.ways.inbox.take(&mut messages);
            for (flow, bytes) in messages.drain(..) {
                let now = self.now();
                self.station.receive(now, flow, &bytes);
            }
        }
        self.end()
    }

    fn now(&self) -> Now {
        Now {
            us: self.clock.us(),
        }
    }

    fn wait(&self, now: Now) -> Duration {
        let next_us = self
            .station
            .next_us(now)
            .map_or(u64::MAX, |next_us| next_us - now.us.min(next_us));
        Duration::from_micros(next_us).min(SLEEP_MAX)
    }

    fn receive(
        &mut self,
        index: usize,
        has_error: bool,
        incoming: &mut ReceiveBatch,
    ) -> io::Result<()> {
        let Some(socket) = self.ways.sockets.get(index) else {
            return Ok(());
        };
        if has_error {
            let unreachable = &mut self.station.tally.messages.unreachable;
            socket.socket.receive_errors(|_, _| *unreachable += 1)?;
        }
        for _ in 0..RECEIVES_PER_TURN {
            let count = self.ways.sockets[index].socket.receive(incoming)?;
            let now = Now {
                us: self.clock.us(),
            };
            for datagram in incoming.datagrams() {
                let flow = Flow {
                    transport: Transport::Udp,
                    remote: datagram.source,
                    local: datagram.local,
                };
                self.station.receive(now, flow, datagram.bytes);
            }
            if count < BATCH {
                break;
            }
        }
        Ok(())
    }

    /// Sends what waits. True when a socket takes no more for now.
    fn flush(&mut self) -> bool {
        if let Some(media) = &self.media {
            media.tell(&mut self.station.media);
        }
        self.station.media.clear();
        if !self.station.events.is_empty() {
            let at_us = self.clock.us();
            let mut told = self
                .shared
                .events
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            told.extend(self.station.events.drain(..).map(|event| (at_us, event)));
        }
        let mut unreachable = 0;
        for (bytes, flow) in self.station.outbox.iter() {
            if flow.transport == Transport::Udp {
                let sockets = &mut self.ways.sockets;
                if let Some(at) = sockets
                    .iter()
                    .position(|one| one.socket.local_address() == flow.local)
                {
                    sockets[at].outgoing.push(flow.remote, None, bytes);
                }
            } else {
                let connections = &self.ways.connections;
                let at = connections.iter().position(|one| one.local == flow.local);
                let sent = at.is_some_and(|at| connections[at].send(flow.remote, bytes));
                unreachable += u64::from(!sent);
            }
        }
        self.station.outbox.clear();
        let mut kept = 0;
        for socket in self
            .ways
            .sockets
            .iter_mut()
            .filter(|socket| !socket.outgoing.is_empty())
        {
            let report = socket.outgoing.flush(&socket.socket);
            unreachable += (report.failed + report.dropped) as u64;
            kept += report.kept;
        }
        self.station.tally.messages.unreachable += unreachable;
        self.station.tally.messages.connections_lost += self.ways.inbox.lost();
        kept > 0
    }

    fn show(&mut self) {
        let dropped = self
            .ways
            .sockets
            .iter()
            .map(|one| one.socket.dropped_by_kernel().unwrap_or(0));
        self.station.tally.messages.dropped_here = dropped.map(u64::from).sum();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone_from(&self.station.tally);
        if let Some(media) = &self.media {
            shown.merge(&media.shown.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn end(mut self) -> Result<Tally, Error> {
        let now = self.now();
        self.station.abandon(now);
        self.flush();
        self.show();
        let mut tally = std::mem::take(&mut self.station.tally);
        if let Some(media) = self.media.take() {
            tally.merge(&media.join().map_err(Error::Thread)?);
        }
        debug_assert!(self.settings.threads > 0);
        Ok(tally)
    }
}

/// The first of them, without memory of their own.
fn first<T: Copy, const N: usize>(all: impl Iterator<Item = T>) -> [Option<T>; N] {
    let mut found = [None; N];
    for (place, one) in found.iter_mut().zip(all) {
        *place = Some(one);
    }
    found
}
