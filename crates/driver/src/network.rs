//! The core's view of this machine, for one worker.

use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use edge::Directory;
use net::route::RouteCache;
use proxy::Listener;
use registrar::Location;
use sip::digest::{Algorithm, FreshNonce, Ha1, Replay};
use transaction::{Flow, Transport};

use crate::shared::Shared;

/// How long a route is believed.
const ROUTE_LIFETIME: Duration = Duration::from_secs(5);

/// What a worker reaches the shared state and the routing table through.
pub(crate) struct Surface<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) listeners: &'a [Listener],
    pub(crate) routes: &'a mut RouteCache,
    pub(crate) now: Instant,
    pub(crate) scratch: &'a mut Vec<u8>,
}

pub(crate) fn route_cache() -> RouteCache {
    RouteCache::new(ROUTE_LIFETIME)
}

impl proxy::MediaPorts for Surface<'_> {}

impl proxy::Network for Surface<'_> {
    fn flow_to(&mut self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        let fits = |listener: &&Listener| {
            listener.transport == transport && listener.local.is_ipv4() == remote.is_ipv4()
        };
        let mut fitting = self.listeners.iter().filter(fits);
        let first = fitting.next()?;
        // One listener that is bound to an address: nothing to choose.
        if fitting.next().is_none() && !first.local.ip().is_unspecified() {
            return Some(Flow {
                transport,
                remote,
                local: first.local,
            });
        }
        let route = self.routes.local_address_for(remote, self.now).ok()?;
        let by_route = |wanted: IpAddr| {
            self.listeners
                .iter()
                .filter(fits)
                .find(|listener| listener.local.ip() == wanted)
        };
        let wildcard = if remote.is_ipv4() {
            IpAddr::from([0; 4])
        } else {
            IpAddr::from([0; 16])
        };
        let local = match (by_route(route), by_route(wildcard)) {
            (Some(listener), _) => listener.local,
            (None, Some(listener)) => SocketAddr::new(route, listener.local.port()),
            (None, None) => first.local,
        };
        Some(Flow {
            transport,
            remote,
            local,
        })
    }

    fn is_open(&mut self, flow: &Flow) -> bool {
        flow.transport == Transport::Udp || self.has_stream_to(flow.remote)
    }
}

impl Surface<'_> {
    fn has_stream_to(&self, peer: SocketAddr) -> bool {
        let streams = self.shared.streams.get();
        streams.is_some_and(|streams| streams.is_connected(peer))
    }
}

impl Directory for Surface<'_> {
    fn credential(&mut self, user: &[u8], domain: &[u8], algorithm: Algorithm) -> Option<Ha1> {
        self.shared
            .credential(user, domain, algorithm, self.scratch)
    }

    fn has_user(&mut self, aor: &[u8]) -> bool {
        self.shared.has_user(aor)
    }

    fn location<R>(
        &mut self,
        aor: &[u8],
        work: impl FnOnce(&mut Location, &mut dyn FnMut() -> u64) -> R,
    ) -> R {
        let ids = &self.shared.binding_ids;
        work(&mut self.shared.location(aor), &mut || {
            ids.fetch_add(1, Ordering::Relaxed)
        })
    }

    fn admit_nonce(&mut self, nonce: &FreshNonce, count: Option<u32>) -> Replay {
        self.shared.admit_nonce(nonce, count)
    }

    fn unique(&mut self) -> u64 {
        self.shared.unique()
    }
}

impl Shared {
    /// How many users there are.
    pub(crate) fn user_count(&self) -> usize {
        self.users
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
