//! What the operator decides, as one immutable value.

use std::net::{IpAddr, SocketAddr};

use sip::Host;
use transaction::{Flow, Transport};

/// One address the edge listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The protocol.
    pub transport: Transport,
    /// The address bound; its IP may be unspecified.
    pub local: SocketAddr,
    /// The host that Via and Record-Route carry in the place of the flow's own address.
    pub advertise: Option<Box<[u8]>>,
}

/// Settings of the proxy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domains the edge is responsible for, in lower case, at least one; the first is the one that
    /// stands for the edge's own addresses in URIs.
    pub domains: Vec<Box<[u8]>>,
    /// What the edge listens on.
    pub listeners: Vec<Listener>,
    /// Addresses of this machine, so that a wildcard listener knows itself.
    pub own_addresses: Vec<IpAddr>,
    /// Whether dialogs are kept on the edge's path (RFC 3261 section 16.6 step 4).
    pub record_route: bool,
    /// Most branches at once and over all hops, where the request does not say (RFC 5393 section 5).
    pub max_breadth: u16,
    /// How long a group of equal q rings before the next one is tried, in milliseconds.
    pub serial_ring_ms: u64,
    /// When a call moves on to the next target of its pool.
    pub pool: crate::pool::Settings,
    /// Whose media are anchored.
    pub media: crate::media::Settings,
    /// Signs the cookies in Record-Route.
    pub cookie_secret: (u64, u64),
}

impl Settings {
    /// Whether a domain is ours. `domain` is in lower case.
    pub fn is_our_domain(&self, domain: &[u8]) -> bool {
        self.domains.iter().any(|ours| **ours == *domain)
    }

    /// Whether `host` and `port` are an address or advertised name of one of the listeners.
    pub fn is_self(&self, host: &Host<'_>, port: u16) -> bool {
        self.listeners.iter().any(|listener| {
            if listener.local.port() != port {
                return false;
            }
            let is_advertised = listener
                .advertise
                .as_deref()
                .is_some_and(|name| name.eq_ignore_ascii_case(host.bytes));
            is_advertised
                || host
                    .address
                    .is_some_and(|address| self.is_local(listener, address))
        })
    }

    fn is_local(&self, listener: &Listener, address: IpAddr) -> bool {
        let bound = listener.local.ip();
        if !bound.is_unspecified() {
            return bound == address;
        }
        bound.is_ipv4() == address.is_ipv4()
            && (address.is_loopback() || self.own_addresses.contains(&address))
    }

    /// The listener of a flow.
    pub fn listener_of(&self, flow: &Flow) -> Option<&Listener> {
        self.listeners.iter().find(|listener| {
            listener.transport == flow.transport
                && listener.local.port() == flow.local.port()
                && listener.local.is_ipv4() == flow.local.is_ipv4()
                && (listener.local.ip().is_unspecified() || listener.local.ip() == flow.local.ip())
        })
    }

    /// Appends the host and port by which peers of `flow` reach us.
    pub fn push_sent_by(&self, flow: &Flow, out: &mut Vec<u8>) {
        match self
            .listener_of(flow)
            .and_then(|listener| listener.advertise.as_deref())
        {
            Some(name) => out.extend_from_slice(name),
            None => sip::lex::push_host(out, flow.local.ip()),
        }
        out.push(b':');
        sip::lex::push_number(out, u64::from(flow.local.port()));
    }
}
