//! What the workers of a node share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use edge::overload::Gate;
use net::tcp::Streams;
use registrar::Location;
use sip::digest::{Algorithm, FreshNonce, Ha1, NonceSource, Replay, ReplayFilter};
use store::BindingWriter;
use tokio::sync::broadcast;
use transaction::Transport;

use crate::clock::Clock;
use crate::cluster::{ClusterInbox, Desk, Order};
use crate::event::Event;
use crate::farm::Farm;
use crate::inbox::{Inbox, Item};
use crate::media::Relays;
use crate::settings::Settings;
use crate::sources::SourceShards;
use crate::users::Users;

/// Shards of the location table.
pub(crate) const LOCATION_SHARDS: usize = 64;
/// Shards of the memory of nonces.
const NONCE_SHARDS: usize = 8;
/// Nonces remembered in all.
const NONCES: usize = 65_536;

/// The place of a node's edge in a cluster.
pub(crate) struct ClusterPlace {
    /// Where workers leave what changed.
    pub(crate) desk: Arc<Desk>,
    /// Whether sockets are the owner's alone: all members are on this machine.
    pub(crate) opens_late: bool,
}

/// What is known of the services that the node is a member of.
pub(crate) struct Membership {
    /// The inbox of the cluster's thread.
    pub(crate) inbox: Arc<ClusterInbox>,
    /// The desk of each service.
    pub(crate) desks: Vec<Arc<Desk>>,
}

impl Membership {
    pub(crate) fn tell(&self, order: Order) {
        self.inbox.push(order);
    }
}

/// State of a node.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// What the operator decided, as the core takes it; replaced whole.
    settings: RwLock<Arc<edge::Settings>>,
    pub(crate) users: RwLock<Users>,
    pub(crate) locations: Vec<Mutex<Location>>,
    nonces: Vec<Mutex<ReplayFilter>>,
    pub(crate) seed: (u64, u64),
    nonce_secret: [u8; 16],
    nonce_lifetime_ms: u64,
    nonce_source: RwLock<NonceSource>,
    pub(crate) binding_ids: AtomicU64,
    unique: AtomicU64,
    pub(crate) inboxes: Vec<Inbox>,
    pub(crate) relays: Relays,
    pub(crate) farm: Farm,
    pub(crate) sources: SourceShards,
    gate: Mutex<Gate>,
    /// From the start on; it signs the cookies of dialogs.
    pub(crate) cookie_secret: (u64, u64),
    pub(crate) writer: BindingWriter,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) inbox_overflows: AtomicU64,
    /// Whether new work is refused. Workers look at it before they read their sockets, so that nobody who was told of the drain
    /// gets a request in behind it.
    pub(crate) is_draining: AtomicBool,
    /// The node's place in a cluster, if its edge is a service of one.
    pub(crate) place: Option<ClusterPlace>,
    /// The node's part in a cluster.
    pub(crate) membership: Option<Membership>,
    /// Where services take SIP that go on at another node when theirs dies.
    moving: Vec<SocketAddr>,
    /// Set once, before the first worker runs.
    pub(crate) streams: OnceLock<Streams>,
}

impl Shared {
    /// Whether a service takes SIP there that goes on at another node when this one dies: nobody there now means nobody yet.
    pub(crate) fn moves(&self, address: SocketAddr) -> bool {
        self.moving.contains(&address)
    }

    pub(crate) fn new(
        settings: &Settings,
        seed: (u64, u64),
        nonce_secret: [u8; 16],
        writer: BindingWriter,
        (inboxes, relays, farm): (Vec<Inbox>, Relays, Farm),
        first_binding_id: u64,
    ) -> Shared {
        let clock = Clock::start();
        let workers = inboxes.len();
        let cluster = settings.cluster.as_ref();
        let moving = cluster.map_or_else(Vec::new, |cluster| cluster.pbx_addresses.clone());
        let nonce_lifetime_ms = settings.nonce_lifetime.as_millis() as u64;
        let nonce_source =
            NonceSource::new(nonce_secret, clock.unix_ms()).with_lifetime_ms(nonce_lifetime_ms);
        let edge = settings.for_core(&[], &[], Vec::new(), nonce_source.clone());
        Shared {
            clock,
            settings: RwLock::new(Arc::new(edge)),
            users: RwLock::new(Users::new(seed)),
            locations: (0..LOCATION_SHARDS)
                .map(|_| Mutex::new(Location::new(seed)))
                .collect(),
            nonces: (0..NONCE_SHARDS)
                .map(|_| Mutex::new(ReplayFilter::new(NONCES / NONCE_SHARDS)))
                .collect(),
            seed,
            nonce_secret,
            nonce_lifetime_ms,
            nonce_source: RwLock::new(nonce_source),
            binding_ids: AtomicU64::new(first_binding_id),
            unique: AtomicU64::new(0),
            inboxes,
            relays,
            farm,
            sources: SourceShards::new((seed.1, seed.0)),
            gate: Mutex::new(Gate::new(workers)),
            cookie_secret: settings.cookie_secret,
            writer,
            events: broadcast::channel(1_024).0,
            inbox_overflows: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            place: None,
            membership: None,
            moving,
            streams: OnceLock::new(),
        }
    }

    pub(crate) fn settings(&self) -> Arc<edge::Settings> {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn replace_settings(&self, settings: edge::Settings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Whether this node may act for the edge's service now. Without a cluster it always may.
    pub(crate) fn may_act(&self) -> bool {
        self.place.as_ref().is_none_or(|place| place.desk.may_act())
    }

    /// Nonces as they are made now.
    pub(crate) fn nonces(&self) -> NonceSource {
        let source = self.nonce_source.read();
        source.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes those nonces stale that another owner of the service gave out: which of them were used died with it.
    pub(crate) fn renew_nonces(&self) {
        let unix_ms = self.clock.now().unix_ms;
        let source =
            NonceSource::new(self.nonce_secret, unix_ms).with_lifetime_ms(self.nonce_lifetime_ms);
        let mut settings = edge::Settings::clone(&self.settings());
        settings.auth.nonces = source.clone();
        *self
            .nonce_source
            .write()
            .unwrap_or_else(PoisonError::into_inner) = source;
        self.replace_settings(settings);
    }

    pub(crate) fn location(&self, aor: &[u8]) -> MutexGuard<'_, Location> {
        let shard = registrar::shard_of(self.seed, aor, LOCATION_SHARDS);
        self.locations[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn credential(
        &self,
        user: &[u8],
        domain: &[u8],
        algorithm: Algorithm,
        aor: &mut Vec<u8>,
    ) -> Option<Ha1> {
        aor.clear();
        aor.extend_from_slice(user);
        aor.push(b'@');
        aor.extend_from_slice(domain);
        self.users
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .credential(aor, algorithm)
    }

    pub(crate) fn has_user(&self, aor: &[u8]) -> bool {
        self.users
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(aor)
    }

    /// The limits that the workers use up together.
    pub(crate) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unique(&self) -> u64 {
        self.unique.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn admit_nonce(&self, nonce: &FreshNonce, count: Option<u32>) -> Replay {
        let shard = nonce.filter_index(NONCE_SHARDS);
        self.nonces[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(nonce, count)
    }

    /// The worker that handles messages of a Call-ID.
    pub(crate) fn worker_of(&self, call_id: &[u8]) -> usize {
        match self.inboxes.len() {
            1 => 0,
            workers => registrar::shard_of((self.seed.1, self.seed.0), call_id, workers),
        }
    }

    pub(crate) fn stream_failed(&self, peer: SocketAddr) {
        for inbox in &self.inboxes {
            inbox.push(Item::FlowFailed(Transport::Tcp, peer));
        }
    }

    /// Tells the workers but for `number`, which knows it, that datagrams do not reach a peer.
    pub(crate) fn datagrams_failed(&self, number: usize, peer: SocketAddr) {
        for (at, inbox) in self.inboxes.iter().enumerate() {
            if at != number {
                inbox.push(Item::FlowFailed(Transport::Udp, peer));
            }
        }
    }
}
