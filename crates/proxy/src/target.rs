//! Where a request may go.

use sip::Span;
use transaction::{Flow, Transport};

/// One place to send a request to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The Request-URI it gets.
    uri: Span,
    /// Values for Route (RFC 3327 Path), empty if none.
    path: Span,
    /// The flow to send on, when the URI does not decide.
    pub flow: Option<Flow>,
    /// Preference in thousandths, the highest first.
    pub q: u16,
    /// The flow goes before any Route: the sender may reach this peer and nobody else.
    pub pinned: bool,
}

/// Places to send a request to, reused from request to request.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    bytes: Vec<u8>,
    list: Vec<Target>,
}

/// Most targets of one request; a user with more contacts rings on the best of them.
pub const TARGETS_MAX: usize = 64;

impl Targets {
    /// No targets.
    pub fn new() -> Targets {
        Targets::default()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
    }

    /// Adds one; more than [`TARGETS_MAX`] are left out.
    pub fn push(&mut self, uri: &[u8], path: &[u8], flow: Option<Flow>, q: u16) {
        if self.list.len() == TARGETS_MAX {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(uri);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(path);
        self.list.push(Target {
            uri: Span::new(start, middle),
            path: Span::new(middle, self.bytes.len()),
            flow,
            q,
            pinned: false,
        });
    }

    /// Adds one that is sent on `flow` whatever its Route says.
    pub fn push_pinned(&mut self, uri: &[u8], flow: Flow) {
        self.push(uri, b"", Some(flow), 1_000);
        if let Some(target) = self.list.last_mut() {
            target.pinned = true;
        }
    }

    /// Takes over all of another list.
    pub(crate) fn copy(&mut self, other: &Targets) {
        self.bytes.clone_from(&other.bytes);
        self.list.clone_from(&other.list);
    }

    /// Takes the flow off those for which `is_closed` says so; their URI decides then.
    pub fn close_flows(&mut self, mut is_closed: impl FnMut(&Flow) -> bool) {
        for target in &mut self.list {
            target.flow = target.flow.filter(|flow| !is_closed(flow));
        }
    }

    /// Sorts by falling q; equals stay in order.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|target| std::cmp::Reverse(target.q));
    }

    /// The targets.
    pub fn as_slice(&self) -> &[Target] {
        &self.list
    }

    /// The Request-URI of a target.
    pub fn uri(&self, target: &Target) -> &[u8] {
        target.uri.of(&self.bytes)
    }

    /// The Route values of a target.
    pub fn path(&self, target: &Target) -> &[u8] {
        target.path.of(&self.bytes)
    }

    /// Moves the targets from `from` on into a list of their own.
    pub fn split_off(&mut self, from: usize) -> Targets {
        let mut rest = Targets::new();
        for target in self.list.drain(from.min(self.list.len())..) {
            rest.push(
                target.uri.of(&self.bytes),
                target.path.of(&self.bytes),
                target.flow,
                target.q,
            );
        }
        rest
    }
}

/// The next hop of a request, before it has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHop<'a> {
    /// A flow that is known.
    Flow(Flow),
    /// An address without a flow yet.
    Address(Transport, std::net::SocketAddr),
    /// A name to be resolved (RFC 3263).
    Name {
        /// The name.
        host: &'a [u8],
        /// The port, if the URI has one.
        port: Option<u16>,
        /// The transport, if the URI says one.
        transport: Option<Transport>,
    },
}
