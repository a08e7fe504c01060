//! The adapter between the node, its store, its configuration and the admin
//! API. What the driver is called and how it answers is known here, in
//! `settings` and in `metrics`, and nowhere else in the program.

mod told;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use admin::{
    Answer, Ban, Binding, Call, ClusterOrder, ClusterStatus, Credential, Domain, Event, Health,
    Imported, MetricFamily, MetricKind, NewUser, Page, PbxStatus, Platform, PoolStatus, Query,
    Refusal, Reloaded, Stamped, State, Status, TargetOrder, TargetsChanged, User, UserImport,
};
use balancer::Wanted;
use driver::pbx::{PbxListener, PbxNode, Prompts};
use driver::{Node, Snapshot, StartError};
use pbx::plan::Plan;
use store::Store;
use tokio::sync::{Mutex, broadcast, mpsc};

use crate::cluster::{self, Place};
use crate::config::{self, Config};
use crate::directory::{Aor, Directory};
use crate::hand_over::Hand;
use crate::logging::Logging;
use crate::media;
use crate::metrics;
use crate::pbx::PbxStartError;
use crate::pools;
use crate::private::Private;
use crate::settings::{CookieSecret, DESCRIPTORS_RESERVED, fit_streams, left_by_media, settings};
use crate::sources;
use crate::words::WordsFile;
use told::{binding, call, told};

/// What the outside asks of the node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Take nothing new, end what was accepted, end the process.
    Drain,
}

/// How many orders may wait; more of them say the same.
const ORDERS_MAX: usize = 4;
/// How long the end of a node waits for its services to be handed over.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// How many events a slow reader may lag behind.
const EVENTS_MAX: usize = 1024;

/// How often it is looked whether anybody still listens to events.
const LISTENERS_INTERVAL: Duration = Duration::from_secs(1);

/// A node with everything around it.
#[derive(Debug)]
pub(crate) struct Wired {
    /// Not there while it starts.
    node: OnceLock<Arc<Node>>,
    /// Not there while they start, and where none is configured: one for each service that the node is a member of.
    pbxs: OnceLock<Vec<Arc<PbxNode>>>,
    store: Store,
    directory: Directory,
    logging: Logging,
    cookie_secret: CookieSecret,
    /// What the process was started with. Keys that hold from the next start only are in force as they are
    /// here.
    at_start: Arc<Config>,
    /// What is in force.
    config: RwLock<Arc<Config>>,
    /// Where it came from; none where there is no file (a demo).
    source: Option<PathBuf>,
    draining: AtomicBool,
    orders: mpsc::Sender<Order>,
    events: broadcast::Sender<Stamped>,
    /// Whether a task passes the driver's events on.
    is_passing: Arc<AtomicBool>,
    /// Changes of users and domains through this process.
    changes: AtomicU64,
    /// Up to which of them the node knows.
    known: Mutex<u64>,
    /// Where the operator's words about media servers are kept; locked while one is carried out.
    words: Mutex<WordsFile>,
    started: Instant,
}

impl Wired {
    /// Everything but the node itself, which [`Wired::start_node`] starts.
    pub(crate) fn new(
        config: Config,
        source: Option<PathBuf>,
        store: Store,
        cookie_secret: CookieSecret,
        logging: Logging,
    ) -> (Arc<Wired>, mpsc::Receiver<Order>) {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let at_start = Arc::new(config);
        let words = WordsFile::of(&at_start.node.data);
        let wired = Wired {
            node: OnceLock::new(),
            pbxs: OnceLock::new(),
            directory: Directory::new(store.clone()),
            store,
            logging,
            cookie_secret,
            config: RwLock::new(at_start.clone()),
            at_start,
            source,
            draining: AtomicBool::new(false),
            orders,
            events: broadcast::channel(EVENTS_MAX).0,
            is_passing: Arc::new(AtomicBool::new(false)),
            changes: AtomicU64::new(0),
            known: Mutex::new(0),
            words: Mutex::new(words),
            started: Instant::now(),
        };
        (Arc::new(wired), taken)
    }

    /// Opens the sockets and takes messages from then on. `descriptors` are as many as the process may
    /// have, `words` what the operator said of media servers before.
    pub(crate) async fn start_node(
        self: &Arc<Self>,
        descriptors: u64,
        words: Vec<(String, Wanted)>,
        place: Option<Place>,
    ) -> Result<(), StartError> {
        let stored = self.directory.domains().await.unwrap_or_default();
        let mut settings = settings(&self.config(), &stored, self.cookie_secret);
        settings.farm.words = words;
        if let Some(place) = place {
            settings.nonce_secret = Some(place.nonce_secret);
            settings.cluster = Some(place.settings);
        }
        let left = left_by_media(&settings, descriptors)?;
        if let Some(wanted) = fit_streams(&mut settings.streams, left) {
            tracing::warn!(
                "{} TCP connections at most, not edge.limits.tcp_connections_max = {wanted}: the process may \
                 have {descriptors} descriptors; raise the limit to {} (LimitNOFILE in the unit, `ulimit -n` in \
                 a shell)",
                settings.streams.connections_max,
                wanted as u64 + DESCRIPTORS_RESERVED as u64 + (descriptors - left),
            );
        }
        let node = Node::start(settings, self.store.clone()).await?;
        // Started once a process.
        let _ = self.node.set(node);
        if self.events.receiver_count() > 0 {
            self.start_passing();
        }
        Ok(())
    }

    /// Starts the PBX, where one is configured, or one for each service that the node is a member of.
    pub(crate) async fn start_pbx(
        self: &Arc<Self>,
        place: Option<&Place>,
    ) -> Result<(), PbxStartError> {
        let config = self.config();
        let Some(own) = &config.pbx else {
            return Ok(());
        };
        let plan = self.dialplan(own).await?;
        let objects = crate::pbx::objects(own).map_err(PbxStartError::Objects)?;
        let hand = Hand::of(own).map_err(PbxStartError::HandOver)?;
        let events = self.events.clone();
        let listener: PbxListener = Arc::new(move |event| {
            // Nobody listening is no error.
            let _ = events.send(Stamped {
                at_ms: now_ms(),
                event: crate::pbx::told(event),
            });
        });
        let (folder, country) = (own.prompts.clone(), own.country);
        let prompts = tokio::task::spawn_blocking(move || Prompts::load(folder, country));
        let shared = crate::pbx::Shared {
            plan,
            objects,
            store: self.store.clone(),
            prompts: prompts.await.map_err(|_| PbxStartError::Panicked)?,
            hand: hand.map(Arc::new),
            listener,
        };
        let all = crate::pbx::options(&config, own, place, &shared);
        let runtime = tokio::runtime::Handle::current();
        // It waits for threads.
        let started = tokio::task::spawn_blocking(move || {
            let start = |options| PbxNode::start(&runtime, options).map(Arc::new);
            all.into_iter().map(start).collect::<Result<Vec<_>, _>>()
        });
        let started = started.await.map_err(|_| PbxStartError::Panicked)?;
        let pbxs = started.map_err(PbxStartError::Node)?;
        for pbx in &pbxs {
            tracing::info!(listen = %pbx.address(), edge = %own.edge, "the PBX takes calls");
        }
        // Started once a process.
        let _ = self.pbxs.set(pbxs);
        Ok(())
    }

    fn pbxs(&self) -> &[Arc<PbxNode>] {
        self.pbxs.get().map_or(&[], Vec::as_slice)
    }

    /// How the PBXs are doing that answer.
    async fn pbx_statuses(&self) -> Vec<PbxStatus> {
        let (pbxs, config) = (self.pbxs().to_vec(), self.at_start.clone());
        let looked = tokio::task::spawn_blocking(move || crate::pbx::statuses(&pbxs, &config));
        looked.await.unwrap_or_default()
    }

    /// The dialplan of a configuration and of the store, checked.
    async fn dialplan(&self, own: &config::Pbx) -> Result<Arc<Plan>, PbxStartError> {
        let stored = match &own.stored_dialplan {
            Some(name) => {
                let found = self.store.dialplan(name).await;
                found.map_err(PbxStartError::Store)?.map(|(text, _)| text)
            }
            None => None,
        };
        let file = self.source.as_ref().map_or_else(
            || "the configuration".to_owned(),
            |path| path.display().to_string(),
        );
        let plan = crate::pbx::plan(own, &file, stored.as_deref());
        plan.map_err(PbxStartError::Dialplan)
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        config.clone()
    }

    /// Sees to it that the driver's events reach those who listen.
    fn start_passing(&self) {
        let Some(node) = self.node.get() else { return };
        if !self.is_passing.swap(true, Ordering::SeqCst) {
            let (listeners, is_passing) = (self.events.clone(), self.is_passing.clone());
            let node = (node.clone(), self.at_start.clone());
            tokio::spawn(pass_on(node.0.events(), listeners, is_passing, node));
        }
    }

    fn node(&self) -> Result<Arc<Node>, Refusal> {
        let starting = || Refusal::Unavailable {
            reason: "starting".to_owned(),
        };
        self.node.get().cloned().ok_or_else(starting)
    }

    /// The sockets, with the ports they really have.
    pub(crate) fn listeners(&self) -> Vec<String> {
        let listeners = self
            .node
            .get()
            .map(|node| node.listeners())
            .unwrap_or_default();
        let text = |listener: &proxy::Listener| {
            let transport = String::from_utf8_lossy(listener.transport.uri_token());
            format!("{transport}:{}", listener.local)
        };
        listeners.iter().map(text).collect()
    }

    /// The users and domains.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Lets the node know the users and domains that this process changed
    /// before the call. Changes made at the same time share one look.
    pub(crate) async fn refresh(&self) -> Result<(), Refusal> {
        let mine = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        let mut known = self.known.lock().await;
        if *known >= mine {
            return Ok(());
        }
        let Ok(node) = self.node() else { return Ok(()) };
        let all = self.changes.load(Ordering::Relaxed);
        let looked = node.directory_changed().await;
        looked.map_err(|error| Refusal::Failed {
            what: format!("the change is stored, and the node does not know it yet: {error}"),
        })?;
        *known = all;
        Ok(())
    }

    /// Takes nothing new from now on.
    pub(crate) fn begin_drain(&self) {
        if let Ok(node) = self.node() {
            node.drain();
        }
        for pbx in self.pbxs() {
            pbx.drain();
        }
        // Who hears of it finds it so.
        self.draining.store(true, Ordering::Release);
    }

    /// Hands the services of the cluster over, if it can.
    pub(crate) async fn leave_cluster(&self) {
        if let Ok(node) = self.node()
            && !node.leave_cluster(LEAVE_LIMIT).await
        {
            tracing::warn!("no other node takes the services; they end with this one");
        }
    }

    /// Whether everything that was accepted has ended.
    pub(crate) async fn is_idle(&self) -> bool {
        let Ok(node) = self.node() else { return true };
        let pbxs = self.pbxs().to_vec();
        let is_quiet = move || {
            let has_none =
                |pbx: &Arc<PbxNode>| pbx.snapshot().is_some_and(|one| one.tables.legs == 0);
            pbxs.iter().all(has_none) && node.is_idle()
        };
        tokio::task::spawn_blocking(is_quiet).await.unwrap_or(true)
    }

    /// Ends at once.
    pub(crate) async fn stop(&self) {
        for pbx in self.pbxs().to_vec() {
            let _ = tokio::task::spawn_blocking(move || pbx.stop()).await;
        }
        if let Ok(node) = self.node() {
            node.stop().await;
        }
    }

    /// Reads the file again; a bad one leaves the old configuration in force.
    pub(crate) async fn reread(&self) -> Result<Reloaded, Refusal> {
        let Some(path) = &self.source else {
            return Err(Refusal::Invalid {
                what: "this node runs without a configuration file".to_owned(),
                want: "start it with `holdline run --config FILE`".to_owned(),
            });
        };
        let node = self.node()?;
        let new = Config::load(path).map_err(|error| {
            let mistakes = error.lines();
            for mistake in &mistakes {
                tracing::error!("{mistake}");
            }
            let count = mistakes.len();
            tracing::error!(
                mistakes = count,
                "reload refused: the old configuration holds"
            );
            Refusal::BadConfig { mistakes }
        })?;
        // Not with the file read last, which may have asked for them already.
        let keys = self.at_start.needs_restart(&new);
        let needs_restart: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        if !needs_restart.is_empty() {
            let keys = needs_restart.join(", ");
            tracing::warn!(keys, "these changes hold from the next start");
        }
        if let (false, Some(own)) = (self.pbxs().is_empty(), &new.pbx) {
            let plan = self.dialplan(own).await.map_err(|error| {
                tracing::error!(%error, "reload refused: the old configuration holds");
                Refusal::BadConfig {
                    mistakes: error.to_string().lines().map(str::to_owned).collect(),
                }
            })?;
            for pbx in self.pbxs() {
                let settings = crate::pbx::settings(own, pbx.address());
                pbx.reload(Some(plan.clone()), Some(settings));
            }
        }
        self.logging.apply(&new.log);
        // Without its store a node may still be told of the rest.
        let stored = self.directory.domains().await.unwrap_or_default();
        node.reload(settings(&new, &stored, self.cookie_secret));
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        tracing::info!(file = %path.display(), "configuration reloaded");
        Ok(Reloaded { needs_restart })
    }

    /// What there is to say of the cluster.
    async fn cluster(&self) -> Option<ClusterStatus> {
        let node = self.node().ok()?;
        let view = tokio::task::spawn_blocking(move || node.cluster())
            .await
            .ok()??;
        Some(cluster::status(view))
    }

    async fn snapshot(&self, calls_max: usize) -> Result<Snapshot, Refusal> {
        let node = self.node()?;
        // It waits for the workers.
        let snapshot = tokio::task::spawn_blocking(move || node.snapshot(calls_max)).await;
        snapshot.map_err(|error| Refusal::Failed {
            what: error.to_string(),
        })
    }

    fn condition(&self) -> (State, Option<String>) {
        if self.draining.load(Ordering::Acquire) {
            return (State::Draining, Some("draining".to_owned()));
        }
        if self.node.get().is_none() {
            return (State::Starting, Some("starting".to_owned()));
        }
        if self.node.get().is_some_and(|node| !node.workers_alive()) {
            let reason = "a worker or a relay thread has ended: restart the node";
            return (State::Degraded, Some(reason.to_owned()));
        }
        let store = self.store.health();
        if !store.up {
            let error = store.last_error.unwrap_or_else(|| "no answer".to_owned());
            return (State::Degraded, Some(format!("the store is down: {error}")));
        }
        (State::Ready, None)
    }
}

impl Platform for Wired {
    fn health(&self) -> Health {
        match self.condition() {
            (State::Ready, _) => Health::Ready,
            (_, reason) => Health::Unready {
                reason: reason.unwrap_or_default(),
            },
        }
    }

    fn metrics(&self) -> Answer<'_, Vec<MetricFamily>> {
        Box::pin(async {
            let ready = f64::from(u8::from(self.health() == Health::Ready));
            let help = "Whether the node takes work: 1 or 0.";
            let mut families = vec![MetricFamily::single(
                "holdline_ready",
                help,
                MetricKind::Gauge,
                ready,
            )];
            let uptime = self.started.elapsed().as_secs_f64();
            let help = "Seconds since the node started.";
            let name = "holdline_uptime_seconds";
            families.push(MetricFamily::single(name, help, MetricKind::Gauge, uptime));
            families.extend(metrics::of_process());
            families.extend(metrics::of_store(&self.store.health()));
            if let Ok(node) = self.node() {
                let counted = tokio::task::spawn_blocking(move || metrics::of_node(&node)).await;
                families.extend(counted.unwrap_or_default());
            }
            let pbxs = self.pbx_statuses().await;
            if let Some(pbx) = crate::pbx::sum(&pbxs, self.pbxs().len()) {
                families.extend(crate::pbx::metrics(&pbx));
            }
            Ok(families)
        })
    }

    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async {
            let config = self.config();
            let (state, reason) = self.condition();
            let snapshot = self.snapshot(0).await?;
            let configured = config.edge.domains.iter().map(ToString::to_string);
            let mut domains: Vec<String> = configured.collect();
            // The status says that the store is down; it is no reason to fail.
            for domain in self.directory.domains().await.unwrap_or_default() {
                if !domains.contains(&domain) {
                    domains.push(domain);
                }
            }
            let pbxs = self.pbx_statuses().await;
            Ok(Status {
                node: self.at_start.node.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                state,
                reason,
                uptime_s: self.started.elapsed().as_secs(),
                listeners: self.listeners(),
                domains,
                store: self.at_start.store.shown(),
                users: snapshot.users,
                bindings: snapshot.bindings,
                calls: snapshot.calls,
                transactions: snapshot.server_transactions + snapshot.client_transactions,
                relay: media::status(&snapshot.relay),
                pbx: crate::pbx::sum(&pbxs, self.pbxs().len()),
                pbxs,
                pools: self.pools().await.unwrap_or_default(),
                cluster: self.cluster().await,
            })
        })
    }

    fn registrations(&self, query: Query) -> Answer<'_, Page<Binding>> {
        Box::pin(async move {
            let node = self.node()?;
            if let Some(aor) = &query.aor {
                let aor = Aor::parse(aor)?.to_string();
                let items = node
                    .registrations_of(&aor)
                    .into_iter()
                    .map(binding)
                    .collect();
                return Ok(Page { items, next: None });
            }
            let after = query.after.as_deref().map(str::parse::<u64>).transpose();
            let after = after.map_err(|_| Refusal::Invalid {
                what: "`after` is not a cursor".to_owned(),
                want: "give back the `next` of the page before".to_owned(),
            })?;
            let page = node.registrations(after, query.limit);
            let items = page.items.into_iter().map(binding).collect();
            Ok(Page {
                items,
                next: page.next.map(|next| next.to_string()),
            })
        })
    }

    fn calls(&self, query: Query) -> Answer<'_, Page<Call>> {
        Box::pin(async move {
            let snapshot = self.snapshot(query.limit).await?;
            Ok(Page {
                items: snapshot.listed.into_iter().map(call).collect(),
                next: None,
            })
        })
    }

    fn pools(&self) -> Answer<'_, Vec<PoolStatus>> {
        let status = move || {
            let farm = self.node()?.farm();
            Ok(pools::status(farm, self.config().cluster.as_ref()))
        };
        Box::pin(async move { status() })
    }

    fn order_target(&self, order: TargetOrder) -> Answer<'_, TargetsChanged> {
        Box::pin(async move {
            let node = self.node()?;
            let file = self.words.lock().await;
            let changed = pools::order(&node, &order, self.config().cluster.as_ref())?;
            let (words, to) = (node.words(), file.clone());
            let written = tokio::task::spawn_blocking(move || to.write(&words)).await;
            let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            let not_kept = |error| Refusal::Failed {
                what: format!("done, but it will not hold over a restart: {error}"),
            };
            written.map_err(not_kept)?;
            Ok(changed)
        })
    }

    fn report_load(&self, report: agent::Report) -> Answer<'_, ()> {
        Box::pin(async move { pools::report_load(&*self.node()?, report) })
    }

    fn bans(&self) -> Answer<'_, Vec<Ban>> {
        Box::pin(async { Ok(sources::bans(&*self.node()?)) })
    }

    fn unban(&self, address: IpAddr) -> Answer<'_, ()> {
        Box::pin(async move { sources::unban(&*self.node()?, address) })
    }

    fn order_cluster(&self, order: ClusterOrder) -> Answer<'_, ()> {
        Box::pin(async move {
            let node = self.node()?;
            let done = tokio::task::spawn_blocking(move || match order {
                ClusterOrder::Switchover { service, node: to } => {
                    node.switchover(&service, to.as_deref())
                }
                ClusterOrder::Leave => {
                    node.set_leaving(true);
                    Ok(())
                }
                ClusterOrder::Join => {
                    node.set_leaving(false);
                    Ok(())
                }
            });
            let done = done.await.unwrap_or_else(|error| Err(error.to_string()));
            done.map_err(|what| Refusal::Invalid {
                what,
                want: "see `holdline status`".to_owned(),
            })
        })
    }

    fn users(&self, query: Query) -> Answer<'_, Page<User>> {
        Box::pin(async move { self.directory.users(&query).await })
    }

    fn add_user(&self, user: NewUser) -> Answer<'_, ()> {
        Box::pin(async move {
            self.directory.add_user(&user).await?;
            tracing::info!(user = %Private(&user.aor), "user added");
            if user.later {
                Ok(())
            } else {
                self.refresh().await
            }
        })
    }

    fn import_users(&self, import: UserImport) -> Answer<'_, Imported> {
        Box::pin(async move {
            let UserImport { users, replace } = import;
            let (imported, stored) = self.directory.import_users(&users, replace).await?;
            if let Ok(node) = self.node() {
                node.learn_users(&stored, replace).await;
            }
            let (added, replaced) = (imported.added, imported.replaced);
            tracing::info!(added, replaced, "users imported");
            Ok(imported)
        })
    }

    fn delete_user(&self, aor: String) -> Answer<'_, ()> {
        Box::pin(async move {
            self.directory.delete_user(&aor).await?;
            tracing::info!(user = %Private(&aor), "user deleted");
            let refreshed = self.refresh().await;
            self.node()?.remove_bindings(&Aor::parse(&aor)?.to_string());
            refreshed
        })
    }

    fn set_credential(&self, aor: String, credential: Credential) -> Answer<'_, ()> {
        Box::pin(async move {
            self.directory.set_credential(&aor, &credential).await?;
            tracing::info!(user = %Private(&aor), "password changed");
            self.refresh().await
        })
    }

    fn domains(&self) -> Answer<'_, Vec<Domain>> {
        Box::pin(async {
            let config = self.config();
            let configured = config.edge.domains.iter().map(ToString::to_string);
            let mut domains: Vec<Domain> = configured
                .map(|domain| Domain {
                    domain,
                    configured: true,
                })
                .collect();
            for domain in self.directory.domains().await? {
                if domains.iter().all(|known| known.domain != domain) {
                    domains.push(Domain {
                        domain,
                        configured: false,
                    });
                }
            }
            Ok(domains)
        })
    }

    fn add_domain(&self, domain: String) -> Answer<'_, ()> {
        Box::pin(async move {
            self.directory.add_domain(&domain).await?;
            tracing::info!(domain, "domain added");
            self.refresh().await
        })
    }

    fn delete_domain(&self, domain: String) -> Answer<'_, ()> {
        Box::pin(async move {
            self.directory.delete_domain(&domain).await?;
            tracing::info!(domain, "domain deleted");
            self.refresh().await
        })
    }

    fn reload(&self) -> Answer<'_, Reloaded> {
        Box::pin(self.reread())
    }

    fn drain(&self) -> Answer<'_, ()> {
        Box::pin(async {
            // A full queue holds the same order already.
            let _ = self.orders.try_send(Order::Drain);
            Ok(())
        })
    }

    fn events(&self) -> broadcast::Receiver<Stamped> {
        let receiver = self.events.subscribe();
        self.start_passing();
        receiver
    }
}

/// Passes the driver's events on in the API's form, as long as somebody listens: while nobody does, the
/// node need not put together what happened.
async fn pass_on(
    mut events: broadcast::Receiver<driver::Event>,
    listeners: broadcast::Sender<Stamped>,
    is_passing: Arc<AtomicBool>,
    (node, config): (Arc<Node>, Arc<Config>),
) {
    use broadcast::error::RecvError;
    loop {
        let event = match tokio::time::timeout(LISTENERS_INTERVAL, events.recv()).await {
            Ok(Ok(event)) => Some(told(event, &node, config.cluster.as_ref())),
            Ok(Err(RecvError::Lagged(count))) => Some(Event::Missed { count }),
            Ok(Err(RecvError::Closed)) => return,
            Err(_) => None,
        };
        if let Some(event) = event {
            // Fails only when the last reader has just gone.
            let _ = listeners.send(Stamped {
                at_ms: now_ms(),
                event,
            });
        }
        if listeners.receiver_count() == 0 {
            is_passing.store(false, Ordering::SeqCst);
            // One that came in this very moment found us passing and relies on it.
            if listeners.receiver_count() == 0 || is_passing.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
