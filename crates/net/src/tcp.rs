//! Framed SIP over streams, on tokio, behind a hub that is called without waiting.
//!
//! The hub ([`Streams`]) owns the listeners and the connections. What arrives is divided into
//! messages and given to a [`StreamSink`]; what is to be sent is queued by any thread, in bounded
//! queues, and connections are reused by the remote address whoever opened them (RFC 3261 section 18,
//! RFC 5626 section 5.3). One task a connection reads, writes and keeps time; it needs no more of its
//! stream than [`AsyncRead`] and [`AsyncWrite`], so TLS and WebSocket come in by [`Streams::attach`].
//!
//! Locks are held for table look-ups only, never across an await.

mod connection;
mod listener;
mod table;

use crate::sys::{Kind, Socket};
use connection::{Command, Connection, Link, Rules};
use sip::frame::{FrameError, FrameLimits};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Table;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Most bytes queued for one connection. A peer that reads too slowly for that is cut off: the
/// connection is closed with [`CloseReason::QueueFull`].
pub const STREAM_QUEUE_MAX_BYTES: usize = 1 << 20;

/// Names a connection for as long as the process lives; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A connection as the upper layers see it (a flow, RFC 5626 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its name.
    pub connection: ConnectionId,
    /// The other side.
    pub peer: SocketAddr,
    /// This side.
    pub local: SocketAddr,
    /// The other side opened it.
    pub inbound: bool,
}

/// Where to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// On this connection and no other.
    Connection(ConnectionId),
    /// To this peer: on a connection there is, or on a new one.
    Address(SocketAddr),
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendRefused {
    /// No such connection (any more).
    NotConnected,
    /// Its queue is full; it is closed for that.
    QueueFull,
    /// There are as many connections as there may be.
    TooManyConnections,
    /// The hub is shutting down.
    ShuttingDown,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it.
    Peer,
    /// [`Streams::close`] was called.
    Requested,
    /// Nothing came or went for the idle timeout.
    Idle,
    /// The peer opened it and sent no whole message in time.
    Silent,
    /// A message was begun and not completed in time.
    PartialMessage,
    /// The peer took nothing for the write timeout.
    WriteStalled,
    /// More than [`STREAM_QUEUE_MAX_BYTES`] waited to be sent.
    QueueFull,
    /// What came could not be divided into messages.
    Framing(FrameError),
    /// The hub was shut down.
    Shutdown,
    /// The connection broke.
    Broken(io::ErrorKind),
}

/// Receives what the connections bring. Called on tokio's threads: it must not wait. For one
/// connection the calls come in order: `opened`, then any others, then `closed`; or else
/// `connect_failed` alone.
pub trait StreamSink: Send + Sync + 'static {
    /// A connection is there.
    fn opened(&self, flow: Flow);

    /// A whole message came.
    fn message(&self, flow: Flow, bytes: Vec<u8>);

    /// What came is no message; `bytes` are its start line and headers as far as they came. An answer
    /// sent to the connection within [`FRAMING_LINGER`] still leaves, then the connection is closed.
    fn framing_error(&self, flow: Flow, error: FrameError, bytes: Vec<u8>);

    /// The connection is gone, and what was queued for it is lost.
    fn closed(&self, flow: Flow, reason: CloseReason);

    /// The connection could not be made, and what was queued for it is lost. `TimedOut` when the
    /// connect timeout passed.
    fn connect_failed(&self, connection: ConnectionId, target: SocketAddr, error: io::ErrorKind);
}

/// How long a connection with a framing error waits for the answer to be sent.
pub const FRAMING_LINGER: Duration = Duration::from_millis(500);

/// How a [`Streams`] hub treats its connections.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// What a message may measure.
    pub frame_limits: FrameLimits,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// A connection without traffic is closed after this, unless
    /// [`Streams::set_idle_timeout`] says otherwise for it.
    pub idle_timeout: Duration,
    /// A connection opened by the peer has to bring its first whole message within this; keep-alives do
    /// not count. Until then nobody says who they are, so that strangers cannot hold descriptors for the
    /// idle timeout, which is long for the sake of phones.
    pub first_message_timeout: Duration,
    /// A message has to be complete this long after its first byte.
    pub message_timeout: Duration,
    /// A peer has to take something within this while something waits to be sent.
    pub write_timeout: Duration,
    /// Most connections altogether.
    pub connections_max: usize,
    /// Most connections opened by one remote IP address (many phones share one behind a NAT).
    pub connections_per_source_max: usize,
    /// Connections the kernel holds until they are accepted.
    pub backlog: u32,
    /// Local address of outbound IPv4 connections; it need not be on this machine yet.
    pub source_v4: Option<Ipv4Addr>,
    /// Local address of outbound IPv6 connections; it need not be on this machine yet.
    pub source_v6: Option<Ipv6Addr>,
}

impl Default for StreamOptions {
    fn default() -> StreamOptions {
        StreamOptions {
            frame_limits: FrameLimits::default(),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(3_600),
            first_message_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            connections_max: 100_000,
            connections_per_source_max: 10_000,
            backlog: 4_096,
            source_v4: None,
            source_v6: None,
        }
    }
}

/// How a listener is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// The address need not be on this machine yet (`IP_FREEBIND`).
    pub freebind: bool,
    /// An IPv6 listener takes IPv4 connections too.
    pub dual_stack: bool,
}

/// Counts since the start, but for `connections`, which is now. What a [`StreamSink`] is told is for
/// it to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Connections open, or being made, now.
    pub connections: u64,
    /// Connections turned away because there were too many altogether.
    pub refused_total: u64,
    /// Connections turned away because their source had too many.
    pub refused_source: u64,
    /// Failures of accept(2), running out of descriptors among them.
    pub accept_failures: u64,
    /// Connections closed because their queue was full.
    pub queue_overflows: u64,
}

#[derive(Default)]
struct Counters {
    refused_total: AtomicU64,
    refused_source: AtomicU64,
    accept_failures: AtomicU64,
    queue_overflows: AtomicU64,
}

/// The listeners and connections of one transport. Cheap to clone; the clones are one hub.
#[derive(Clone)]
pub struct Streams {
    hub: Arc<Hub>,
}

struct Hub {
    runtime: Handle,
    options: StreamOptions,
    sink: Arc<dyn StreamSink>,
    table: Mutex<Table>,
    counters: Counters,
    /// Tasks of connections that have not ended.
    tasks: watch::Sender<usize>,
}

impl Streams {
    /// A hub without listeners or connections, whose tasks run on `runtime`.
    pub fn new(runtime: Handle, options: StreamOptions, sink: Arc<dyn StreamSink>) -> Streams {
        let table = Table::new(options.connections_max, options.connections_per_source_max);
        Streams {
            hub: Arc::new(Hub {
                runtime,
                options,
                sink,
                table: Mutex::new(table),
                counters: Counters::default(),
                tasks: watch::Sender::new(0),
            }),
        }
    }

    /// Accepts connections on `address` until [`unlisten`](Self::unlisten) or shutdown; port 0 lets the
    /// kernel choose. Returns the address listened on. Never blocks.
    pub fn listen(&self, address: SocketAddr, options: ListenOptions) -> io::Result<SocketAddr> {
        listener::listen(&self.hub, address, options)
    }

    /// Accepts no more on `address`; the connections made there stay. False if nobody listened.
    pub fn unlisten(&self, address: SocketAddr) -> bool {
        self.hub.table().remove_listener(address)
    }

    /// Queues `bytes`, one or several whole messages. Never blocks. Returns the connection it goes
    /// by; if that is being made just now and fails, the sink is told.
    pub fn send(&self, target: Target, bytes: Vec<u8>) -> Result<ConnectionId, SendRefused> {
        let hub = &self.hub;
        let mut table = hub.table();
        let known = match target {
            Target::Connection(id) => Some(id),
            Target::Address(peer) => table.by_peer(canonical(peer)),
        };
        if let Some(id) = known {
            let link = table.link(id).ok_or(SendRefused::NotConnected)?;
            if link.queue(bytes).is_err() {
                link.command(Command::Overflow);
                table.remove(id);
                hub.counters.queue_overflows.fetch_add(1, Ordering::Relaxed);
                return Err(SendRefused::QueueFull);
            }
            return Ok(id);
        }
        let Target::Address(peer) = target else {
            return Err(SendRefused::NotConnected);
        };
        let (link, commands) = connection::link();
        if link.queue(bytes).is_err() {
            return Err(SendRefused::QueueFull);
        }
        let peer = canonical(peer);
        let task = Hub::insert(hub, &mut table, peer, false, link.clone())?;
        drop(table);
        let id = task.connection;
        hub.runtime
            .spawn(connect_and_run(task, peer, link, commands));
        Ok(id)
    }

    /// Takes over a connection made elsewhere (a TLS or WebSocket session after its handshake), as
    /// if it had been accepted (`inbound`) or connected here. `peer` and `local` are the addresses of
    /// the connection underneath.
    pub fn attach<S>(
        &self,
        stream: S,
        peer: SocketAddr,
        local: SocketAddr,
        inbound: bool,
    ) -> Result<ConnectionId, SendRefused>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Hub::attach(&self.hub, stream, peer, local, inbound)
    }

    /// Closes a connection after what is queued for it has been sent. False if there is none.
    pub fn close(&self, connection: ConnectionId) -> bool {
        let table = self.hub.table();
        table
            .link(connection)
            .is_some_and(|link| link.command(Command::Close))
    }

    /// Closes all connections after what is queued for each has been sent. Listening goes on.
    pub fn close_all(&self) {
        self.hub.table().close_all();
    }

    /// Sets the idle timeout of one connection, such as the lifetime of the registration that uses
    /// it. False if there is no such connection.
    pub fn set_idle_timeout(&self, connection: ConnectionId, timeout: Duration) -> bool {
        let table = self.hub.table();
        table
            .link(connection)
            .is_some_and(|link| link.command(Command::IdleTimeout(timeout)))
    }

    /// Whether there is a connection to this peer, or one being made.
    pub fn is_connected(&self, peer: SocketAddr) -> bool {
        self.hub.table().by_peer(canonical(peer)).is_some()
    }

    /// What happened so far.
    pub fn counters(&self) -> StreamCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.hub.counters;
        StreamCounters {
            connections: self.hub.table().len() as u64,
            refused_total: load(&counters.refused_total),
            refused_source: load(&counters.refused_source),
            accept_failures: load(&counters.accept_failures),
            queue_overflows: load(&counters.queue_overflows),
        }
    }

    /// Stops listening and refuses what is sent from now on, lets each connection send what is queued,
    /// for `grace` at most, and returns when all of them are closed.
    pub async fn shutdown(&self, grace: Duration) {
        self.hub.table().stop(Command::Shutdown {
            deadline: Instant::now() + grace,
        });
        let mut tasks = self.hub.tasks.subscribe();
        // The sender lives in the hub, which `self` keeps alive.
        let _ = tasks.wait_for(|running| *running == 0).await;
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("counters", &self.counters())
            .finish()
    }
}

impl Hub {
    /// The table. A panic elsewhere while it was locked leaves it whole: its changes are single steps.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection to the table, for as long as the returned value lives.
    fn insert(
        hub: &Arc<Hub>,
        table: &mut Table,
        peer: SocketAddr,
        inbound: bool,
        link: Link,
    ) -> Result<Task, SendRefused> {
        match table.insert(peer, inbound, link) {
            Ok(connection) => {
                // Under the table's lock: a shutdown that stops this connection also waits for it.
                hub.tasks.send_modify(|tasks| *tasks += 1);
                Ok(Task {
                    hub: hub.clone(),
                    connection,
                })
            }
            Err(table::Refused::Stopping) => Err(SendRefused::ShuttingDown),
            Err(table::Refused::Total) => {
                hub.counters.refused_total.fetch_add(1, Ordering::Relaxed);
                Err(SendRefused::TooManyConnections)
            }
            Err(table::Refused::Source) => {
                hub.counters.refused_source.fetch_add(1, Ordering::Relaxed);
                Err(SendRefused::TooManyConnections)
            }
        }
    }

    fn attach<S>(
        hub: &Arc<Hub>,
        stream: S,
        peer: SocketAddr,
        local: SocketAddr,
        inbound: bool,
    ) -> Result<ConnectionId, SendRefused>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (peer, local) = (canonical(peer), canonical(local));
        let (link, commands) = connection::link();
        let task = Hub::insert(hub, &mut hub.table(), peer, inbound, link.clone())?;
        let connection = task.connection;
        let flow = Flow {
            connection,
            peer,
            local,
            inbound,
        };
        hub.runtime.spawn(async move {
            run(&task, stream, flow, link, Vec::new(), commands).await;
        });
        Ok(connection)
    }
}

/// The task of a connection, which is in the table while it lives and out of it however it ends.
struct Task {
    hub: Arc<Hub>,
    connection: ConnectionId,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.hub.table().remove(self.connection);
        self.hub.tasks.send_modify(|tasks| *tasks -= 1);
    }
}

/// Runs a connection to its end, beginning with the `early` commands.
async fn run<S>(
    task: &Task,
    stream: S,
    flow: Flow,
    link: Link,
    early: Vec<Command>,
    commands: mpsc::UnboundedReceiver<Command>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hub = &task.hub;
    hub.sink.opened(flow);
    let rules = Rules {
        frame_limits: hub.options.frame_limits,
        idle_timeout: hub.options.idle_timeout,
        first_message_timeout: hub.options.first_message_timeout,
        message_timeout: hub.options.message_timeout,
        write_timeout: hub.options.write_timeout,
    };
    let leave = || hub.table().remove(flow.connection);
    let sink = hub.sink.as_ref();
    let connection = Connection::new(stream, flow, rules, link, commands, sink, leave);
    let reason = connection.run(early).await;
    hub.table().remove(flow.connection);
    hub.sink.closed(flow, reason);
}

async fn connect_and_run(
    task: Task,
    peer: SocketAddr,
    link: Link,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let (hub, connection) = (&task.hub, task.connection);
    let mut early = Vec::new();
    let connecting = tokio::time::timeout(hub.options.connect_timeout, connect(&hub.options, peer));
    let outcome = tokio::select! {
        outcome = connecting => match outcome {
            Ok(connected) => connected.map_err(|error| error.kind()),
            Err(_) => Err(io::ErrorKind::TimedOut),
        },
        () = wait_for_end(&mut commands, &mut early) => Err(io::ErrorKind::ConnectionAborted),
    };
    match outcome {
        Ok((stream, local)) => {
            let flow = Flow {
                connection,
                peer,
                local,
                inbound: false,
            };
            run(&task, stream, flow, link, early, commands).await;
        }
        Err(error) => {
            hub.table().remove(connection);
            hub.sink.connect_failed(connection, peer, error);
        }
    }
}

/// Returns when a command says to end; keeps the others.
async fn wait_for_end(commands: &mut mpsc::UnboundedReceiver<Command>, early: &mut Vec<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Send(_) | Command::IdleTimeout(_) => early.push(command),
            Command::Close | Command::Overflow | Command::Shutdown { .. } => return,
        }
    }
}

async fn connect(options: &StreamOptions, peer: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let source = match peer {
        SocketAddr::V4(_) => options.source_v4.map(IpAddr::V4),
        SocketAddr::V6(_) => options.source_v6.map(IpAddr::V6),
    };
    let socket = Socket::open(Kind::Stream, peer)?;
    if let Some(source) = source {
        socket.set(libc::IPPROTO_IP, libc::IP_FREEBIND, 1)?;
        // The port is chosen at connect, so that one local port serves many peers.
        socket.set(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let socket = TcpSocket::from_std_stream(socket.into_descriptor().into());
    let stream = socket.connect(peer).await?;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    Ok((stream, canonical(local)))
}

/// `address` with an IPv4-mapped IPv6 address as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests;
