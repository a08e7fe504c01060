//! The adapter between the node, its store, its configuration and the admin
//! API. What the driver is called and how it answers is known here and
//! nowhere else in the program.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use admin::{
    Answer, Binding, Call, Credential, Domain, Health, MetricFamily, MetricKind, NewUser, Page,
    Platform, Query, Refusal, Reloaded, Stamped, State, Status, User,
};
use store::Store;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc};

use crate::config::Config;
use crate::directory::Directory;
use crate::logging::Logging;
use crate::private::Private;
use crate::standin::Node;

/// What the outside asks of the node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Take nothing new, end what was accepted, end the process.
    Drain,
}

/// How many orders may wait; more of them say the same.
const ORDERS_MAX: usize = 4;

/// A running node with everything around it.
#[derive(Debug)]
pub(crate) struct Wired {
    node: Node,
    store: Store,
    directory: Directory,
    logging: Logging,
    /// What is in force.
    config: RwLock<Arc<Config>>,
    /// Where it came from; none where there is no file (a demo).
    source: Option<PathBuf>,
    draining: AtomicBool,
    orders: mpsc::Sender<Order>,
    started: Instant,
}

impl Wired {
    /// Starts the node.
    pub(crate) fn start(
        config: Config,
        source: Option<PathBuf>,
        store: Store,
        logging: Logging,
    ) -> Result<(Arc<Wired>, mpsc::Receiver<Order>), String> {
        let node = Node::start(&config, store.clone(), Handle::current())?;
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let wired = Wired {
            node,
            directory: Directory::new(store.clone()),
            store,
            logging,
            config: RwLock::new(Arc::new(config)),
            source,
            draining: AtomicBool::new(false),
            orders,
            started: Instant::now(),
        };
        Ok((Arc::new(wired), taken))
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The sockets, with the ports they really have.
    pub(crate) fn listeners(&self) -> Vec<String> {
        self.node.listeners()
    }

    /// The users and domains.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Users or domains were changed in the store by this process.
    pub(crate) fn directory_changed(&self) {
        self.node.directory_changed();
    }

    /// Takes nothing new from now on.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.node.drain();
    }

    /// Whether everything that was accepted has ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.node.is_idle()
    }

    /// Ends at once.
    pub(crate) fn stop(&self) {
        self.node.stop();
    }

    /// Reads the file again; a bad one leaves the old configuration in force.
    pub(crate) fn reread(&self) -> Result<Reloaded, Refusal> {
        let Some(path) = &self.source else {
            return Err(Refusal::Invalid {
                what: "this node runs without a configuration file".to_owned(),
                want: "start it with `holdline run --config FILE`".to_owned(),
            });
        };
        let new = Config::load(path).map_err(|error| {
            let mistakes = error.lines();
            for mistake in &mistakes {
                tracing::error!("{mistake}");
            }
            tracing::error!(
                mistakes = mistakes.len(),
                "reload refused: the old configuration holds"
            );
            Refusal::BadConfig { mistakes }
        })?;
        let old = self.config();
        let needs_restart: Vec<String> = old
            .needs_restart(&new)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if !needs_restart.is_empty() {
            let keys = needs_restart.join(", ");
            tracing::warn!(keys, "these changes hold from the next start");
        }
        self.logging.apply(&new.log);
        self.node.reload(&new);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        tracing::info!(file = %path.display(), "configuration reloaded");
        Ok(Reloaded { needs_restart })
    }

    fn condition(&self) -> (State, Option<String>) {
        if self.draining.load(Ordering::Relaxed) {
            return (State::Draining, Some("draining".to_owned()));
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

    fn metrics(&self) -> Vec<MetricFamily> {
        let mut families = vec![
            MetricFamily::single(
                "holdline_uptime_seconds",
                "Seconds since the node started.",
                MetricKind::Gauge,
                self.started.elapsed().as_secs_f64(),
            ),
            MetricFamily::single(
                "holdline_ready",
                "Whether the node takes work: 1 or 0.",
                MetricKind::Gauge,
                f64::from(u8::from(self.health() == Health::Ready)),
            ),
        ];
        families.extend(store_metrics(&self.store));
        families.extend(self.node.metrics());
        families
    }

    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async {
            let config = self.config();
            let (state, reason) = self.condition();
            let counts = self.node.counts();
            let domains = self.domains().await?;
            Ok(Status {
                node: config.node.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                state,
                reason,
                uptime_s: self.started.elapsed().as_secs(),
                listeners: self.node.listeners(),
                domains: domains.into_iter().map(|domain| domain.domain).collect(),
                store: config.store.shown(),
                users: counts.users,
                bindings: counts.bindings,
                calls: counts.calls,
                transactions: counts.transactions,
            })
        })
    }

    fn registrations(&self, query: Query) -> Answer<'_, Page<Binding>> {
        Box::pin(async move { Ok(self.node.registrations(&query)) })
    }

    fn calls(&self, query: Query) -> Answer<'_, Page<Call>> {
        Box::pin(async move { Ok(self.node.calls(&query)) })
    }

    fn users(&self, query: Query) -> Answer<'_, Page<User>> {
        Box::pin(async move { self.directory.users(&query).await })
    }

    fn add_user(&self, user: NewUser) -> Answer<'_, ()> {
        Box::pin(async move {
            self.directory.add_user(&user).await?;
            self.node.directory_changed();
            tracing::info!(user = %Private(&user.aor), "user added");
            Ok(())
        })
    }

    fn delete_user(&self, aor: String) -> Answer<'_, ()> {
        Box::pin(async move {
            self.directory.delete_user(&aor).await?;
            self.node.directory_changed();
            tracing::info!(user = %Private(&aor), "user deleted");
            Ok(())
        })
    }

    fn set_credential(&self, aor: String, credential: Credential) -> Answer<'_, ()> {
        Box::pin(async move {
            self.directory.set_credential(&aor, &credential).await?;
            self.node.directory_changed();
            tracing::info!(user = %Private(&aor), "password changed");
            Ok(())
        })
    }

    fn domains(&self) -> Answer<'_, Vec<Domain>> {
        Box::pin(async {
            let config = self.config();
            let configured = config
                .edge
                .domains
                .iter()
                .map(|domain| domain.as_str().to_owned());
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
            self.node.directory_changed();
            tracing::info!(domain, "domain added");
            Ok(())
        })
    }

    fn delete_domain(&self, domain: String) -> Answer<'_, ()> {
        Box::pin(async move {
            self.directory.delete_domain(&domain).await?;
            self.node.directory_changed();
            tracing::info!(domain, "domain deleted");
            Ok(())
        })
    }

    fn reload(&self) -> Answer<'_, Reloaded> {
        Box::pin(async { self.reread() })
    }

    fn drain(&self) -> Answer<'_, ()> {
        Box::pin(async {
            // A full queue holds the same order already.
            let _ = self.orders.try_send(Order::Drain);
            Ok(())
        })
    }

    fn events(&self) -> broadcast::Receiver<Stamped> {
        self.node.events()
    }
}

/// How the store is doing, as metrics.
fn store_metrics(store: &Store) -> Vec<MetricFamily> {
    use MetricKind::{Counter, Gauge};
    let health = store.health();
    let rows: [(&str, &str, MetricKind, f64); 10] = [
        (
            "holdline_store_up",
            "Whether the database answers: 1 or 0.",
            Gauge,
            f64::from(u8::from(health.up)),
        ),
        (
            "holdline_store_queued",
            "Changes queued or being written.",
            Gauge,
            health.queued as f64,
        ),
        (
            "holdline_store_deferred",
            "Refreshes waiting to be written.",
            Gauge,
            health.deferred as f64,
        ),
        (
            "holdline_store_commits_total",
            "Groups committed.",
            Counter,
            health.commits as f64,
        ),
        (
            "holdline_store_rows_total",
            "Rows written by them.",
            Counter,
            health.rows as f64,
        ),
        (
            "holdline_store_last_commit_seconds",
            "How long the last commit took.",
            Gauge,
            health.last_commit_us as f64 / 1e6,
        ),
        (
            "holdline_store_rejected_total",
            "Changes turned away: the queue was full.",
            Counter,
            health.rejected as f64,
        ),
        (
            "holdline_store_failed_total",
            "Changes not known to be durable.",
            Counter,
            health.failed as f64,
        ),
        (
            "holdline_store_deferred_dropped_total",
            "Refreshes given up.",
            Counter,
            health.deferred_dropped as f64,
        ),
        (
            "holdline_store_connects_total",
            "Connections made by the writer.",
            Counter,
            health.connects as f64,
        ),
    ];
    rows.into_iter()
        .map(|(name, help, kind, value)| MetricFamily::single(name, help, kind, value))
        .collect()
}
