//! Where messages come from and go to, and what is to be sent.

use std::net::SocketAddr;

use sip::Span;

/// A transport protocol (RFC 3261 section 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

impl Transport {
    /// Whether messages arrive or the sender learns that they did not.
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// The token that Via uses.
    pub const fn via_token(self) -> &'static [u8] {
        match self {
            Transport::Udp => b"UDP",
            Transport::Tcp => b"TCP",
        }
    }

    /// The value of the URI parameter `transport`.
    pub const fn uri_token(self) -> &'static [u8] {
        match self {
            Transport::Udp => b"udp",
            Transport::Tcp => b"tcp",
        }
    }

    /// The transport that a token names, in any case.
    pub const fn parse(token: &[u8]) -> Option<Transport> {
        if token.eq_ignore_ascii_case(b"udp") {
            Some(Transport::Udp)
        } else if token.eq_ignore_ascii_case(b"tcp") {
            Some(Transport::Tcp)
        } else {
            None
        }
    }
}

/// A way to and from one peer: the local address and the remote one.
///
/// For a stream the remote address names the connection too: the driver reuses the one that is open
/// to it, and opens one if it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The protocol.
    pub transport: Transport,
    /// The peer.
    pub remote: SocketAddr,
    /// Our own address; its IP is what peers of this flow know us by.
    pub local: SocketAddr,
}

/// Messages to be sent, in order. The driver drains it after each batch of inputs.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sends: Vec<(Span, Flow)>,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Appends a message to `flow`, made by `write`, which must only append.
    pub fn send(&mut self, flow: Flow, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.sends.push((Span::new(start, self.bytes.len()), flow));
    }

    /// The bytes of the message appended last.
    pub fn last(&self) -> &[u8] {
        self.sends
            .last()
            .map_or(&[], |(span, _)| span.of(&self.bytes))
    }

    /// What is to be sent, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Flow)> {
        self.sends
            .iter()
            .map(|(span, flow)| (span.of(&self.bytes), flow))
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.sends.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// Forgets the messages, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sends.clear();
    }
}
