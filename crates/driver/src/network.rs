//! The core's view of this machine, for one worker.

use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use balancer::{Call, CallSlot, NoTarget, PoolId, Signal, TargetId};
use edge::Directory;
use edge::overload::Gate;
use edge::sources::Sources;
use net::route::RouteCache;
use proxy::{Chosen, Listener, MediaPort, NoPorts};
use registrar::Location;
use relay::Command;
use sip::digest::{Algorithm, FreshNonce, Ha1, Replay};
use transaction::{Flow, Transport};

use crate::media::Commands;
use crate::shared::Shared;

/// How long a route is believed.
const ROUTE_LIFETIME: Duration = Duration::from_secs(5);

/// What a worker reaches the shared state and the routing table through.
pub(crate) struct Surface<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) listeners: &'a [Listener],
    /// The worker's number.
    pub(crate) number: usize,
    pub(crate) now: Instant,
    pub(crate) means: &'a mut Means,
}

/// What a worker keeps for its [`Surface`].
pub(crate) struct Means {
    routes: RouteCache,
    scratch: Vec<u8>,
    /// What the relay threads are to be told at the end of the turn.
    pub(crate) commands: Commands,
}

impl Means {
    pub(crate) fn of(shared: &Shared) -> Means {
        Means {
            routes: RouteCache::new(ROUTE_LIFETIME),
            scratch: Vec::new(),
            commands: Commands::of(&shared.relays),
        }
    }
}

impl proxy::MediaPorts for Surface<'_> {
    fn take_ports(&mut self, local: IpAddr, relay: Option<u16>) -> Result<MediaPort, NoPorts> {
        self.shared.relays.take(local, relay)
    }

    fn claim(&mut self, address: SocketAddr) -> Option<MediaPort> {
        self.shared.relays.claim(address)
    }

    fn leave(&mut self, port: MediaPort) {
        self.shared.relays.leave(usize::from(port.relay), port.port);
    }

    fn give_back(&mut self, port: MediaPort) {
        let relay = usize::from(port.relay);
        self.shared.relays.give_back(relay, port.port);
    }

    fn command(&mut self, relay: u16, command: Command) {
        if self.means.commands.push(relay, command) {
            self.shared.relays.hand_over_slice(&mut self.means.commands);
        }
    }

    fn thread(&self) -> u8 {
        self.number as u8
    }
}

impl proxy::Farm for Surface<'_> {
    fn choose(
        &mut self,
        pool: PoolId,
        call: &Call<'_>,
        is_call: bool,
        tried: &[TargetId],
    ) -> Result<Chosen, NoTarget> {
        self.shared.choose(pool, call, is_call, tried)
    }

    fn pool_name(&mut self, pool: PoolId, name: &mut Vec<u8>) {
        self.shared.pool_name(pool, name);
    }

    fn find_pool(&mut self, name: &[u8]) -> Option<PoolId> {
        self.shared.find_pool(name)
    }

    fn adopt(
        &mut self,
        _: PoolId,
        place: (Transport, SocketAddr),
        is_call: bool,
    ) -> Option<Chosen> {
        self.shared.adopt_call(place, is_call)
    }

    fn release(&mut self, slot: CallSlot) {
        self.shared.release_call(slot);
    }

    fn report(&mut self, target: TargetId, signal: Signal) {
        self.shared.report_target(target, signal);
    }

    fn is_target(&mut self, flow: &Flow) -> bool {
        self.shared.is_target(flow)
    }
}

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
        let route = self.means.routes.local_address_for(remote, self.now).ok()?;
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
        let scratch = &mut self.means.scratch;
        self.shared.credential(user, domain, algorithm, scratch)
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

    fn note_binding(&mut self, id: u64) {
        self.shared.binding_ids.fetch_max(id + 1, Ordering::Relaxed);
    }

    fn admit_nonce(&mut self, nonce: &FreshNonce, count: Option<u32>) -> Replay {
        self.shared.admit_nonce(nonce, count)
    }

    fn unique(&mut self) -> u64 {
        self.shared.unique()
    }

    fn gate<R>(&mut self, work: impl FnOnce(&mut Gate) -> R) -> Option<R> {
        Some(work(&mut self.shared.gate()))
    }

    fn sources<R>(&mut self, address: IpAddr, work: impl FnOnce(&mut Sources) -> R) -> Option<R> {
        Some(self.shared.sources.with(address, work))
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
