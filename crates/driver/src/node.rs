//! A node: its workers and everything around them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use net::poll::Poller;
use net::resolve::{Resolver, ResolverOptions};
use net::tcp::{ListenOptions, Streams};
use proxy::Listener;
use registrar::Cursor;
use store::{
    BindingId, BindingWriter, DeferredChange, NewSubscriber, Store, StoreError, WriterOptions,
};
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use transaction::Transport;

use crate::cluster::Order;
use crate::event::{Event, printable};
use crate::farm::{Farm, FarmView, NotSaid, UnknownTarget, attend};
use crate::inbox::{Inbox, Item};
use crate::inspect::{Registration, RegistrationPage, Snapshot};
use crate::media::{self, MediaError, Opened, Opening, RelayThread, Relays};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::sources::BanView;
use crate::streams::Sink;
use crate::tasks::Tasks;
use crate::users::Users;
use crate::worker::{Port, Worker, open_ports};
use place::{Gone, Place};

/// Why a node does not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen {
        /// The protocol.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The system has no randomness, threads or descriptors for us.
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The ports for media cannot be opened.
    Media(MediaError),
    /// The pools contradict themselves.
    Pools(balancer::Error),
    /// Users or bindings cannot be read.
    Store(StoreError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen {
                transport,
                address,
                error,
            } => {
                let transport = String::from_utf8_lossy(transport.uri_token());
                write!(f, "cannot listen on {transport}:{address}: {error}")?;
                if error.kind() == io::ErrorKind::AddrInUse {
                    write!(
                        f,
                        " (another program has it: `ss -lnp` shows which, or choose another port)"
                    )?;
                }
                Ok(())
            }
            StartError::System { what, error } => write!(f, "cannot get {what}: {error}"),
            StartError::Media(error) => write!(f, "{error}"),
            StartError::Pools(error) => write!(f, "the pools cannot be: {error}"),
            StartError::Store(error) => write!(f, "cannot read the store: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<MediaError> for StartError {
    fn from(error: MediaError) -> StartError {
        StartError::Media(error)
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> StartError {
        StartError::Store(error)
    }
}

/// How long a worker has to say what it is doing.
const INSPECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the store is asked whether users or domains were changed by others.
const REVISION_INTERVAL: Duration = Duration::from_secs(2);
/// How often expired bindings are looked for, and in how many rounds the whole table is seen.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_ROUNDS: usize = 8;
/// Bindings taken out in one hold of a shard's lock.
const SWEEP_BUDGET: usize = 4_096;
/// How long streams may take to send what is queued when the node ends.
const STREAM_GRACE: Duration = Duration::from_millis(500);

/// A running node.
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    store: Store,
    streams: Streams,
    sink: Arc<Sink>,
    settings: Mutex<Settings>,
    stored_domains: Mutex<Vec<String>>,
    /// Held while users are being read, so that an older reading never comes after a younger one; holds
    /// the revision of the last one.
    loaded: tokio::sync::Mutex<Option<i64>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

/// Random words for the tables' keys and the nonces.
fn random() -> Result<[u64; 8], StartError> {
    let mut bytes = [0u8; 64];
    getrandom::fill(&mut bytes).map_err(|error| StartError::System {
        what: "random numbers",
        error: io::Error::other(error.to_string()),
    })?;
    let mut words = [0u64; 8];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk
            .iter()
            .fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    Ok(words)
}

/// Finds the addresses of names. A domain that prefers TLS is asked for what it offers without.
fn resolver(settings: &Settings) -> Result<Resolver, StartError> {
    let options = ResolverOptions {
        name_servers: settings.name_servers.clone(),
        transports: vec![net::resolve::Transport::Udp, net::resolve::Transport::Tcp],
        ..ResolverOptions::default()
    };
    Resolver::new(&options).map_err(|error| StartError::System {
        what: "a resolver",
        error,
    })
}

impl Node {
    /// Opens the sockets, loads users and bindings, and takes messages from then on. Runs on the current
    /// tokio runtime and threads of its own.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn start(mut settings: Settings, store: Store) -> Result<Arc<Node>, StartError> {
        let words = random()?;
        let count = settings.workers.max(1);
        let place = Place::of(&settings);
        let opens_late = place.as_ref().is_some_and(Place::opens_late);
        let freebind = place.as_ref().is_some_and(Place::has_edge);
        let mut pollers = Vec::new();
        let mut all_ports = Vec::new();
        for number in 0..count {
            let poller = Poller::new().map_err(|error| StartError::System {
                what: "an epoll descriptor",
                error,
            })?;
            pollers.push(poller);
            if opens_late {
                all_ports.push(Vec::new());
                continue;
            }
            let ports = open_ports(&settings.listeners, count > 1, freebind).map_err(
                |(address, error)| StartError::Listen {
                    transport: Transport::Udp,
                    address,
                    error,
                },
            )?;
            if number == 0 {
                take_ports(&mut settings.listeners, &ports);
            }
            all_ports.push(ports);
        }
        let (relays, relay_threads) = open_relay(&settings, opens_late)?;
        let sink = Arc::new(Sink::new(settings.listeners.clone()));
        let streams = Streams::new(Handle::current(), settings.streams.clone(), sink.clone());
        let inboxes = pollers
            .iter()
            .map(|poller| Inbox::new(poller.waker()))
            .collect();
        let writer = BindingWriter::start(&store, WriterOptions::default());
        let first_id = store.next_binding_id().await?.0.max(1) as u64;
        let farm = Farm::new(&settings.farm, settings.cookie_secret, (words[6], words[7]));
        let farm = farm.map_err(StartError::Pools)?;
        let secret = (u128::from(words[2]) << 64 | u128::from(words[3])).to_be_bytes();
        let secret = settings.nonce_secret.unwrap_or(secret);
        let mut shared = Shared::new(
            &settings,
            (words[0], words[1]),
            secret,
            writer,
            (inboxes, relays, farm),
            first_id,
        );
        shared.place = place.as_ref().and_then(Place::shared);
        shared.membership = place.as_ref().map(Place::membership);
        let shared = Arc::new(shared);
        let tasks = Tasks::new(Handle::current(), resolver(&settings)?, words[5]);
        let node = Arc::new(Node {
            shared: shared.clone(),
            store,
            streams,
            sink: sink.clone(),
            settings: Mutex::new(settings),
            stored_domains: Mutex::new(Vec::new()),
            loaded: tokio::sync::Mutex::new(None),
            workers: Mutex::new(Vec::new()),
        });
        node.shared.start_farm();
        node.load_users().await?;
        node.load_bindings().await?;
        // The hub gives messages away only from here on, when everything is there to take them.
        let _ = shared.streams.set(node.streams.clone());
        let _ = sink.shared.set(shared.clone());
        node.listen_streams()?;
        node.start_relay(relay_threads)?;
        node.start_workers(pollers, all_ports, &tasks, words[4])?;
        if let Some(place) = place {
            node.start_cluster(place)?;
        }
        tokio::spawn(follow_revision(Arc::downgrade(&node)));
        tokio::spawn(sweep(Arc::downgrade(&node)));
        tokio::spawn(attend(Arc::downgrade(&node), node.shared.clone(), tasks));
        Ok(node)
    }

    fn listen_streams(&self) -> Result<(), StartError> {
        let listeners = self.lock_settings().listeners.clone();
        let place = self.shared.place.as_ref();
        if place.is_some_and(|place| place.opens_late) {
            // The owner does.
            return Ok(());
        }
        let options = ListenOptions {
            freebind: place.is_some(),
            ..ListenOptions::default()
        };
        for listener in listeners
            .iter()
            .filter(|listener| listener.transport == Transport::Tcp)
        {
            self.streams
                .listen(listener.local, options)
                .map_err(|error| StartError::Listen {
                    transport: Transport::Tcp,
                    address: listener.local,
                    error,
                })?;
        }
        Ok(())
    }

    fn start_workers(
        &self,
        pollers: Vec<Poller>,
        ports: Vec<Vec<Port>>,
        tasks: &Tasks,
        seed: u64,
    ) -> Result<(), StartError> {
        let settings = self.lock_settings().clone();
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, (poller, ports)) in pollers.into_iter().zip(ports).enumerate() {
            let worker = Worker {
                number,
                shared: self.shared.clone(),
                poller,
                ports,
                listeners: settings.listeners.clone(),
                streams: Some(self.streams.clone()),
                tasks: tasks.clone(),
                gather: settings.gather,
                seed: (seed, seed.rotate_left(32) ^ number as u64),
            };
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            let handle =
                thread
                    .spawn(move || worker.run())
                    .map_err(|error| StartError::System {
                        what: "a thread",
                        error,
                    })?;
            workers.push(handle);
        }
        Ok(())
    }

    fn start_relay(&self, threads: Vec<RelayThread>) -> Result<(), StartError> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads {
            let shared = self.shared.clone();
            let builder = std::thread::Builder::new().name(format!("relay-{}", thread.number()));
            let spawned = builder.spawn(move || thread.run(&shared));
            workers.push(spawned.map_err(|error| StartError::System {
                what: "a thread",
                error,
            })?);
        }
        Ok(())
    }

    fn lock_settings(&self) -> std::sync::MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all users and domains from the store.
    async fn load_users(&self) -> Result<(), StoreError> {
        let mut loaded = self.loaded.lock().await;
        // Read before the users: what is changed meanwhile is read again.
        let revision = self.store.revision().await?;
        let mut users = Users::new(self.shared.seed);
        self.store
            .users(None, |user| {
                users.insert(&user.username, &user.domain, &user.credentials);
                ControlFlow::Continue(())
            })
            .await?;
        let mut domains = Vec::new();
        self.store.domains(|domain| domains.push(domain)).await?;
        *self
            .shared
            .users
            .write()
            .unwrap_or_else(PoisonError::into_inner) = users;
        *self
            .stored_domains
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = domains;
        self.apply();
        *loaded = Some(revision);
        Ok(())
    }

    async fn load_bindings(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let mut unreadable = 0u64;
        self.store
            .load_bindings(|row| match crate::rows::restored(row) {
                Some(row) => {
                    shared.welcome_back(&row.flow);
                    shared.location(&row.aor).restore(&row);
                }
                None => unreadable += 1,
            })
            .await?;
        if unreadable > 0 {
            tracing::warn!(
                unreadable,
                "stored bindings could not be read back; their phones have to register again"
            );
        }
        Ok(())
    }

    /// Puts the settings, with the domains of the store, in force.
    fn apply(&self) {
        let domains = self
            .stored_domains
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let own: Vec<IpAddr> = match if_addrs::get_if_addrs() {
            Ok(interfaces) => interfaces
                .into_iter()
                .map(|interface| interface.ip())
                .collect(),
            Err(error) => {
                tracing::warn!(%error, "this machine's addresses cannot be listed");
                Vec::new()
            }
        };
        let settings = self.lock_settings();
        let routes = self.shared.pool_routes(&settings.farm);
        let nonces = self.shared.nonces();
        let mut core = settings.for_core(&domains, &own, routes, nonces);
        core.proxy.media.pools = self.shared.pool_media(&settings.farm);
        drop(settings);
        self.shared.replace_settings(core);
        self.tell(|| Item::Reload);
    }

    fn tell(&self, item: impl Fn() -> Item) {
        for inbox in &self.shared.inboxes {
            inbox.push(item());
        }
    }

    /// Puts new settings in force; what holds from the next start only stays as it is.
    pub fn reload(&self, new: Settings) {
        let mut settings = self.lock_settings();
        let old = settings.clone();
        *settings = Settings {
            listeners: old.listeners,
            workers: old.workers,
            cookie_secret: old.cookie_secret,
            relay: old.relay,
            nonce_secret: old.nonce_secret,
            cluster: old.cluster,
            ..new
        };
        let farm = settings.farm.clone();
        drop(settings);
        self.shared.reload_farm(&farm);
        if let Some(place) = &self.shared.membership {
            place.tell(Order::Renew);
        }
        self.apply();
    }

    /// Reads users and domains again.
    ///
    /// # Errors
    /// The store's; what was known before stays in force.
    pub async fn directory_changed(&self) -> Result<(), StoreError> {
        self.load_users().await
    }

    /// Takes note of users that were stored just now, without a look at all the others; `replaces`: they are as given even if they were known
    /// before.
    pub async fn learn_users(&self, stored: &[NewSubscriber], replaces: bool) {
        // A reading that has begun may lack them: they are put over it.
        let _loaded = self.loaded.lock().await;
        let users = self.shared.users.write();
        let mut users = users.unwrap_or_else(PoisonError::into_inner);
        for new in stored {
            let aor = format!("{}@{}", new.username, new.domain);
            if replaces || !users.contains(aor.as_bytes()) {
                users.insert(&new.username, &new.domain, &new.credentials);
            }
        }
    }

    /// Takes out the bindings of a user who is no more.
    pub fn remove_bindings(&self, aor: &str) {
        let mut changes = Vec::new();
        let mut removed = Vec::new();
        let mut gone = Gone::default();
        self.shared
            .location(aor.as_bytes())
            .remove(aor.as_bytes(), |binding| {
                changes.push(DeferredChange::Delete(BindingId(binding.id() as i64)));
                gone.note(&self.shared, aor.as_bytes(), binding.id());
                removed.push(printable(binding.contact()));
            });
        gone.leave(&self.shared);
        if let Err(reason) = self.shared.writer.defer(changes) {
            tracing::warn!(
                ?reason,
                "bindings of a deleted user stay in the store until they expire"
            );
        }
        for contact in removed {
            let _ = self.shared.events.send(Event::Unregistered {
                aor: aor.to_owned(),
                contact,
            });
        }
    }

    /// Refuses new calls and registrations from now on; what is in progress goes on.
    pub fn drain(&self) {
        self.shared.is_draining.store(true, Ordering::Release);
        for inbox in &self.shared.inboxes {
            inbox.wake();
        }
    }

    /// Whether every worker and every relay thread still works. One that has ended by itself (a panic, an error of epoll) does
    /// not come back: what its sockets receive is lost until the process starts again.
    pub fn workers_alive(&self) -> bool {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        !workers.iter().any(JoinHandle::is_finished)
    }

    /// Whether nothing waits for an answer and no call's media are relayed.
    pub fn is_idle(&self) -> bool {
        self.snapshot(0).is_idle
    }

    /// Ends the workers and connections, and writes what is still to be written.
    pub async fn stop(&self) {
        self.tell(|| Item::Stop);
        if let Some(place) = &self.shared.membership {
            place.tell(Order::Stop);
        }
        self.shared.relays.stop();
        let workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || {
            workers
                .into_iter()
                .filter_map(|worker| worker.join().err())
                .count()
        });
        if joined.await.unwrap_or(1) > 0 {
            tracing::error!("a worker ended by a panic");
        }
        self.streams.shutdown(STREAM_GRACE).await;
        self.shared.writer.clone().close().await;
    }

    /// What there is, with at most `calls_max` calls listed. Waits up to half a second for the workers, and as
    /// long for the relay threads.
    pub fn snapshot(&self, calls_max: usize) -> Snapshot {
        let (sender, receiver) = sync_channel(self.shared.inboxes.len());
        self.tell(|| Item::Inspect(sender.clone(), calls_max));
        drop(sender);
        let mut snapshot = Snapshot {
            is_idle: true,
            share_permille: 1_000,
            ..Snapshot::default()
        };
        let deadline = Instant::now() + INSPECT_TIMEOUT;
        for _ in &self.shared.inboxes {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(worker) => snapshot.add(worker),
                Err(_) => snapshot.miss(),
            }
        }
        snapshot
            .listed
            .sort_by_key(|call| std::cmp::Reverse(call.age_ms));
        snapshot.listed.truncate(calls_max);
        self.shared.relays.look(&mut snapshot, INSPECT_TIMEOUT);
        snapshot.inbox_overflows = self.shared.inbox_overflows.load(Ordering::Relaxed);
        snapshot.banned_drops = self.shared.sources.dropped();
        snapshot.bans_begun = self.shared.sources.begun();
        snapshot.bans = self.shared.bans().len() as u64;
        snapshot.users = self.shared.user_count() as u64;
        (snapshot.aors, snapshot.bindings) = self.shared.location_counts();
        snapshot
    }

    /// The pools of media servers.
    pub fn farm(&self) -> FarmView {
        self.shared.farm_view()
    }

    /// Says what the operator wants of the media servers of this name, in one pool or in all; gives their names.
    ///
    /// # Errors
    /// When there are none, words about too many others, or another node owns the service: it is to be told.
    pub fn set_wanted(
        &self,
        name: &str,
        pool: Option<&str>,
        wanted: balancer::Wanted,
    ) -> Result<Vec<String>, NotSaid> {
        self.shared.say(name, pool, wanted)
    }

    /// What the operator wants of which media servers, by name, those included that are not there now.
    pub fn words(&self) -> Vec<(String, balancer::Wanted)> {
        self.shared.words()
    }

    /// Takes in the load of a host, as its agent reports it, for all targets of this name; gives how many.
    ///
    /// # Errors
    /// When there are none.
    pub fn report_load(
        &self,
        name: &str,
        load: balancer::AgentLoad,
    ) -> Result<usize, UnknownTarget> {
        self.shared.report_load(name, load)
    }

    /// Bans in force, the one that ends first being the first.
    pub fn bans(&self) -> Vec<BanView> {
        let bans = self.shared.bans().into_iter();
        bans.map(|(ban, left_ms)| BanView::of(&ban, left_ms))
            .collect()
    }

    /// Ends the ban of an address, or of the /64 that it is in; whether there was one.
    pub fn unban(&self, address: IpAddr) -> bool {
        self.shared.unban(address)
    }

    /// Counts of the streams.
    pub fn stream_counters(&self) -> net::tcp::StreamCounters {
        self.streams.counters()
    }

    /// Streams opened and streams that could not be divided into messages, since the start.
    pub fn stream_totals(&self) -> (u64, u64) {
        (
            self.sink.opened.load(Ordering::Relaxed),
            self.sink.framing_errors.load(Ordering::Relaxed),
        )
    }

    /// The bindings of one address-of-record.
    pub fn registrations_of(&self, aor: &str) -> Vec<Registration> {
        self.shared.registrations_of(aor)
    }

    /// A page of all bindings.
    pub fn registrations(&self, after: Option<u64>, limit: usize) -> RegistrationPage {
        self.shared.registrations(after, limit)
    }

    /// What happens from now on. Nothing is made ready for telling while nobody listens.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// What it listens on, with the ports that the system chose.
    pub fn listeners(&self) -> Vec<Listener> {
        self.lock_settings().listeners.clone()
    }
}

/// Opens the ports for media, if there is to be a relay.
fn open_relay(
    settings: &Settings,
    opens_late: bool,
) -> Result<(Relays, Vec<RelayThread>), MediaError> {
    let Some(relay) = &settings.relay else {
        return Ok((Relays::none(), Vec::new()));
    };
    let opening = match &settings.cluster {
        _ if opens_late => Opening::ByOwner,
        Some(_) => Opening::Beforehand,
        None => Opening::Now,
    };
    let Opened { relays, threads } = media::open(relay, &settings.listeners, opening)?;
    Ok((relays, threads))
}

/// Notes the ports that the system chose where 0 was asked for.
fn take_ports(listeners: &mut [Listener], ports: &[Port]) {
    let udp = listeners
        .iter_mut()
        .filter(|listener| listener.transport == Transport::Udp);
    for (listener, port) in udp.zip(ports) {
        listener.local = port.socket.local_address();
    }
}

/// Loads users and domains when somebody else changed them in the store.
async fn follow_revision(node: std::sync::Weak<Node>) {
    loop {
        let Some(strong) = node.upgrade() else { return };
        if let Ok(revision) = strong.store.revision().await
            && *strong.loaded.lock().await != Some(revision)
            && let Err(error) = strong.load_users().await
        {
            tracing::warn!(%error, "users changed in the store and could not be read; the old ones stay in force");
        }
        drop(strong);
        tokio::time::sleep(REVISION_INTERVAL).await;
    }
}

/// Takes expired bindings out, a part of the table at a time.
async fn sweep(node: std::sync::Weak<Node>) {
    let mut first = 0;
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let Some(node) = node.upgrade() else { return };
        if !node.shared.may_act() {
            // The owner says what has expired.
            continue;
        }
        let shards = &node.shared.locations;
        let count = shards.len() / SWEEP_ROUNDS;
        for shard in &shards[first..first + count] {
            sweep_shard(&node.shared, shard);
        }
        first = (first + count) % shards.len();
    }
}

fn sweep_shard(shared: &Shared, shard: &Mutex<registrar::Location>) {
    let now = shared.clock.unix_s();
    let is_watched = shared.events.receiver_count() > 0;
    let mut cursor = Cursor::START;
    loop {
        let mut changes = Vec::new();
        let mut expired = Vec::new();
        let mut gone = Gone::default();
        let mut location = shard.lock().unwrap_or_else(PoisonError::into_inner);
        cursor = location.sweep(now, cursor, SWEEP_BUDGET, |aor, binding| {
            changes.push(DeferredChange::Delete(BindingId(binding.id() as i64)));
            gone.note(shared, aor, binding.id());
            if is_watched {
                expired.push(Event::Expired {
                    aor: printable(aor),
                    contact: printable(binding.contact()),
                });
            }
        });
        drop(location);
        gone.leave(shared);
        if !changes.is_empty()
            && let Err(reason) = shared.writer.defer(changes)
        {
            tracing::warn!(
                ?reason,
                "expired bindings stay in the store until the next start"
            );
        }
        for event in expired {
            let _ = shared.events.send(event);
        }
        if cursor == Cursor::START {
            return;
        }
    }
}

mod place;

#[cfg(test)]
mod media_tests;
#[cfg(test)]
pub(crate) mod tests;
