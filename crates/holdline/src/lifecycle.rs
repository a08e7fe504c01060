//! A node's life in a process: start, signals, reload, drain, end.

use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use admin::Access;
use store::{Store, StoreError, StoreOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::config::{Config, Token};
use crate::logging::Logging;
use crate::pbx::PbxStartError;
use crate::settings::cookie_secret;
use crate::supervisor::{Told, orphaned, tell};
use crate::wiring::{Order, Wired};
use crate::words::WordsFile;

/// How often a draining node looks whether everything has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// How long the admin API may take to finish its answers at the end.
const ADMIN_END: Duration = Duration::from_secs(2);

/// Why a node did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The data folder cannot be made or used.
    Data {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Another process runs on the data folder.
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The store cannot be opened.
    Store {
        /// Its URL without password.
        url: String,
        /// What it says.
        error: StoreError,
    },
    /// The admin address cannot be used.
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Its place in the cluster.
    Cluster(crate::cluster::ClusterError),
    /// The SIP side.
    Node(driver::StartError),
    /// The PBX.
    Pbx(PbxStartError),
    /// The runtime or the signals of the process.
    Process {
        /// What the system says.
        error: std::io::Error,
    },
}

impl std::error::Error for StartError {}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Data { path, error } => write!(
                f,
                "cannot use the data folder {}: {error}; give it to this user, or name another in [node] data",
                path.display()
            ),
            StartError::Locked { path } => write!(
                f,
                "another holdline runs on the data folder {}; stop it, or name another in [node] data",
                path.display()
            ),
            StartError::Store { url, error } => {
                write!(f, "cannot open the store {url}: {error}; see [store] url")
            }
            StartError::Admin { address, error } => write!(
                f,
                "cannot listen on {address} for the admin API: {error}; name a free address in [admin] listen"
            ),
            StartError::Cluster(error) => write!(f, "{error}"),
            StartError::Node(error) => write!(f, "{error}"),
            StartError::Pbx(error) => write!(f, "{error}"),
            StartError::Process { error } => write!(f, "the system refused the process: {error}"),
        }
    }
}

/// How a node's life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything that was accepted had ended.
    Drained,
    /// The drain took too long.
    TimedOut,
    /// A second signal asked for the end at once.
    Forced,
}

/// A node that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// The node.
    pub(crate) wired: Arc<Wired>,
    /// Where the admin API listens.
    pub(crate) admin: SocketAddr,
    orders: mpsc::Receiver<Order>,
    signals: Signals,
    api: JoinHandle<std::io::Result<()>>,
    stop_api: oneshot::Sender<()>,
    /// Held until the process ends.
    _lock: File,
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn take() -> Result<Signals, StartError> {
        let take = |kind| signal(kind).map_err(|error| StartError::Process { error });
        Ok(Signals {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hangup: take(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            () = orphaned() => Asked::Orphaned,
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

/// What a signal asks for.
enum Asked {
    /// SIGTERM or SIGINT.
    End,
    /// SIGHUP.
    Reload,
    /// The process that watched this one has died.
    Orphaned,
}

/// Makes a runtime and runs `work` on it.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("holdline-async")
        .on_thread_start(|| {
            // The coordinator's answers come through these. Without the right to it they take their turn.
            let _ = net::priority::often();
        })
        .enable_all()
        .build()
        .map_err(|error| StartError::Process { error })?;
    let done = runtime.block_on(work);
    // Nothing that is left may hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(done)
}

/// Opens the store of a configuration.
pub(crate) async fn open_store(config: &Config) -> Result<Store, StartError> {
    let opened = Store::open(&config.store.url, StoreOptions::default()).await;
    opened.map_err(|error| StartError::Store {
        url: config.store.shown(),
        error,
    })
}

impl Running {
    /// Starts a node and its admin API. `source` is the file that a reload
    /// reads again.
    pub(crate) async fn start(
        config: Config,
        source: Option<PathBuf>,
        logging: Logging,
    ) -> Result<Running, StartError> {
        let signals = Signals::take()?;
        let lock = take_data(&config.node.data)?;
        let address = config.admin.listen;
        let admin_error = |error| StartError::Admin { address, error };
        let listener = TcpListener::bind(address).await.map_err(admin_error)?;
        let admin = listener.local_addr().map_err(admin_error)?;
        let store = open_store(&config).await?;
        let text = |token: &Option<Token>| token.as_ref().map(|token| token.reveal().to_owned());
        let access = Access {
            token: text(&config.admin.token),
            agent_token: text(&config.admin.agent_token),
            hosts: config.admin.hosts.iter().map(ToString::to_string).collect(),
        };
        let name = config.node.name.clone();
        let data = config.node.data.clone();
        let data_error = |error| StartError::Data {
            path: data.clone(),
            error,
        };
        let place = crate::cluster::place(&config)
            .await
            .map_err(StartError::Cluster)?;
        let secret = match &place {
            // The same on all nodes: another one answers for what this one signed.
            Some(place) => place.cookie_secret,
            None => cookie_secret(&data).map_err(data_error)?,
        };
        let words = WordsFile::of(&data).read().map_err(data_error)?;
        let (wired, orders) = Wired::new(config, source, store, secret, logging);
        // Answered from here on: probes learn that the node starts.
        let (stop_api, stopped) = oneshot::channel::<()>();
        let api = tokio::spawn(admin::serve(listener, wired.clone(), access, async {
            // A dropped sender says the same.
            let _ = stopped.await;
        }));
        // First, so that an edge beside it does not find its media server dead.
        wired
            .start_pbx(place.as_ref())
            .await
            .map_err(StartError::Pbx)?;
        wired
            .start_node(descriptors(), words, place)
            .await
            .map_err(StartError::Node)?;
        tracing::info!(node = name, listen = wired.listeners().join(", "), %admin, "ready");
        tell(Told::Ready);
        Ok(Running {
            wired,
            admin,
            orders,
            signals,
            api,
            stop_api,
            _lock: lock,
        })
    }

    /// Answers signals and orders until the node has ended.
    pub(crate) async fn until_end(mut self) -> End {
        let mut is_orphan = false;
        loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::End => break,
                    Asked::Orphaned => {
                        tracing::error!(
                            "the process that watches this one was killed: nobody would release what this node owns, so it hands over and \
                             ends as by SIGTERM; systemd starts both again"
                        );
                        is_orphan = true;
                        break;
                    }
                    Asked::Reload => {
                        // What it has to say, it has logged.
                        let _ = self.wired.reread().await;
                    }
                },
                order = self.orders.recv() => match order {
                    Some(Order::Drain) | None => break,
                },
            }
        }
        let end = self.drain(is_orphan).await;
        self.wired.stop().await;
        let _ = self.stop_api.send(());
        let _ = timeout(ADMIN_END, self.api).await;
        tracing::info!(?end, "ended");
        end
    }

    /// `is_orphan`: nobody has asked for the end yet, but systemd does as soon as it sees that the watching process is gone.
    async fn drain(&mut self, is_orphan: bool) -> End {
        let mut asks_left = usize::from(is_orphan);
        tell(Told::Stopping);
        let limit_s = self.wired.config().node.drain_timeout_s;
        tracing::info!(
            limit_s,
            "draining: nothing new is taken; a second signal ends at once"
        );
        self.wired.leave_cluster().await;
        self.wired.begin_drain();
        let deadline = Instant::now() + Duration::from_secs(limit_s);
        while !self.wired.is_idle().await {
            if Instant::now() >= deadline {
                tracing::warn!("drain took too long; ending what is left");
                return End::TimedOut;
            }
            tokio::select! {
                () = sleep(DRAIN_LOOK) => {}
                asked = self.signals.next() => if matches!(asked, Asked::End) {
                    match asks_left.checked_sub(1) {
                        Some(left) => asks_left = left,
                        None => return End::Forced,
                    }
                },
            }
        }
        End::Drained
    }
}

/// Raises the limit of descriptors as far as it goes, and says how far.
fn descriptors() -> u64 {
    net::descriptors::raise_limit().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of descriptors is not known; connections may fill it");
        u64::MAX
    })
}

/// Makes the data folder and takes its lock, so that no two nodes write to
/// one folder.
fn take_data(path: &Path) -> Result<File, StartError> {
    let failed = |error| StartError::Data {
        path: path.to_owned(),
        error,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let lock = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path.join("lock"))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
