//! Messages from streams, on their way to the workers.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use net::tcp::{CloseReason, ConnectionId, Flow as Connection, StreamSink};
use proxy::Listener;
use sip::frame::FrameError;
use sip::scan;
use transaction::{Flow, Transport};

use crate::inbox::Item;
use crate::shared::Shared;

/// Takes what the connections bring. The shared state comes after the hub, which needs its sink first.
pub(crate) struct Sink {
    pub(crate) shared: OnceLock<Arc<Shared>>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) opened: AtomicU64,
    pub(crate) framing_errors: AtomicU64,
}

impl Sink {
    pub(crate) fn new(listeners: Vec<Listener>) -> Sink {
        Sink {
            shared: OnceLock::new(),
            listeners,
            opened: AtomicU64::new(0),
            framing_errors: AtomicU64::new(0),
        }
    }

    /// A connection as the core sees it. One that we opened has a port of its own here; peers reach us by
    /// the listener's.
    fn flow(&self, connection: &Connection) -> Flow {
        let mut local = connection.local;
        let streams = || {
            self.listeners
                .iter()
                .filter(|listener| listener.transport == Transport::Tcp)
        };
        if !streams().any(|listener| listener.local.port() == local.port())
            && let Some(listener) =
                streams().find(|listener| listener.local.is_ipv4() == local.is_ipv4())
        {
            local.set_port(listener.local.port());
        }
        Flow {
            transport: Transport::Tcp,
            remote: connection.peer,
            local,
        }
    }

    fn give(&self, connection: &Connection, bytes: Vec<u8>, error: Option<FrameError>) {
        let Some(shared) = self.shared.get() else {
            return;
        };
        let flow = self.flow(connection);
        if shared.is_banned(shared.clock.now().time, &flow) {
            return;
        }
        let worker = scan::call_id(&bytes).map_or(0, |call_id| shared.worker_of(call_id));
        let item = match error {
            Some(error) => Item::Unframed(bytes, flow, error),
            None => Item::Message(bytes, flow),
        };
        if !shared.inboxes[worker].push(item) {
            shared.inbox_overflows.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl StreamSink for Sink {
    fn opened(&self, _: Connection) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn message(&self, connection: Connection, bytes: Vec<u8>) {
        self.give(&connection, bytes, None);
    }

    /// The core answers 400 to what it can read of it; the connection closes after that.
    fn framing_error(&self, connection: Connection, error: FrameError, bytes: Vec<u8>) {
        self.framing_errors.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(
            ?error,
            "a stream could not be divided into messages and is closed"
        );
        self.give(&connection, bytes, Some(error));
    }

    fn closed(&self, connection: Connection, _: CloseReason) {
        if let Some(shared) = self.shared.get() {
            shared.stream_failed(connection.peer);
        }
    }

    fn connect_failed(&self, _: ConnectionId, target: SocketAddr, _: io::ErrorKind) {
        if let Some(shared) = self.shared.get() {
            shared.stream_failed(target);
        }
    }
}
