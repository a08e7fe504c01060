//! Connections: what comes by them goes into the inbox of their thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use net::poll::Waker;
use net::tcp::{
    CloseReason, ConnectionId, Flow as Link, ListenOptions, SendRefused, StreamOptions, StreamSink,
    Streams, Target,
};
use sip::frame::FrameError;
use tokio::runtime::Handle;
use transaction::{Flow, Transport};

/// Most messages that wait for a thread; those beyond are dropped and counted as lost connections' are.
pub(crate) const INBOX_MAX: usize = 65_536;

/// Messages that wait for their thread.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<Vec<(Flow, Vec<u8>)>>,
    /// Connections lost, and messages dropped.
    lost: AtomicU64,
    waker: Waker,
}

impl Inbox {
    pub(crate) fn new(waker: Waker) -> Arc<Inbox> {
        Arc::new(Inbox {
            waiting: Mutex::default(),
            lost: AtomicU64::new(0),
            waker,
        })
    }

    /// Takes what waits, into `all`, which is empty.
    pub(crate) fn take(&self, all: &mut Vec<(Flow, Vec<u8>)>) {
        std::mem::swap(
            &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner),
            all,
        );
    }

    /// Connections lost since the last call.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// The sink of the connections of one of our addresses.
struct Sink {
    inbox: Arc<Inbox>,
    /// As which messages are known to have come here.
    local: Mutex<SocketAddr>,
}

impl StreamSink for Sink {
    fn opened(&self, _: Link) {}

    fn message(&self, link: Link, bytes: Vec<u8>) {
        let local = *self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let flow = Flow {
            transport: Transport::Tcp,
            remote: link.peer,
            local,
        };
        let mut waiting = self
            .inbox
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= INBOX_MAX {
            self.inbox.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push((flow, bytes));
        drop(waiting);
        self.inbox.waker.wake();
    }

    fn framing_error(&self, _: Link, _: FrameError, _: Vec<u8>) {
        self.inbox.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn closed(&self, _: Link, reason: CloseReason) {
        if !matches!(
            reason,
            CloseReason::Requested | CloseReason::Shutdown | CloseReason::Peer
        ) {
            self.inbox.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn connect_failed(&self, _: ConnectionId, _: SocketAddr, _: io::ErrorKind) {
        self.inbox.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// The connections of one of our addresses.
#[derive(Debug)]
pub(crate) struct Connections {
    streams: Streams,
    pub(crate) local: SocketAddr,
}

impl Connections {
    /// Listens at `address`; connections that are made come from there, but from another port.
    ///
    /// # Errors
    /// The address cannot be used.
    pub(crate) fn open(
        runtime: Handle,
        address: SocketAddr,
        inbox: Arc<Inbox>,
    ) -> io::Result<Connections> {
        let mut options = StreamOptions::default();
        match address.ip() {
            IpAddr::V4(v4) => options.source_v4 = Some(v4),
            IpAddr::V6(v6) => options.source_v6 = Some(v6),
        }
        let sink = Arc::new(Sink {
            inbox,
            local: Mutex::new(address),
        });
        let streams = Streams::new(runtime, options, sink.clone());
        let local = streams.listen(address, ListenOptions::default())?;
        *sink.local.lock().unwrap_or_else(PoisonError::into_inner) = local;
        Ok(Connections { streams, local })
    }

    /// Queues a message. False when it is lost.
    pub(crate) fn send(&self, peer: SocketAddr, bytes: &[u8]) -> bool {
        let sent: Result<ConnectionId, SendRefused> =
            self.streams.send(Target::Address(peer), bytes.to_vec());
        sent.is_ok()
    }
}
