//! From `[cluster]` and `[[service]]` to the driver's place in a cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::cluster::Settings as Spans;
use admin::{ClusterStatus, LinkStatus, MetricFamily, MetricKind, Sample, ServiceStatus, Takeover};
use coordinator::fence::Agent;
use coordinator::{Coordinator, EtcdOptions, Options, Password, Tls};
use driver::{ClusterPulse, ClusterSettings, ClusterView, MoverSettings, Roster, ServiceSettings};
use net::address::{ExecMover, Mover as NetMover, NetlinkMover, Progress};
use net::clock::Boottime;
use net::peer::{Credentials, PeerError, authority};
use sha2::{Digest, Sha256};

use crate::config::{self, Config, Mover, Role};
use crate::lifecycle::StartError;
use crate::settings::CookieSecret;
use crate::supervisor::{self, Estate, Supervision};

/// How often it is looked whether the operator's program has taken an address away.
const WITHDRAW_LOOK: Duration = Duration::from_millis(5);

/// Why a node of a cluster does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterError {
    /// Its certificates.
    Certificates(PeerError),
    /// Its coordinator.
    Coordinator(coordinator::Error),
    /// The system gives no descriptor.
    System(std::io::Error),
}

impl std::fmt::Display for ClusterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClusterError::Certificates(error) => write!(f, "{error}"),
            ClusterError::Coordinator(error) => write!(f, "the coordinator: {error}"),
            ClusterError::System(error) => write!(f, "cannot get an epoll descriptor: {error}"),
        }
    }
}

/// A node's place in a cluster, and the keys that it has in common with the other nodes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) settings: ClusterSettings,
    pub(crate) cookie_secret: CookieSecret,
    pub(crate) nonce_secret: [u8; 16],
    /// What the members of each of the node's PBXs have in common, by the order of the services.
    pub(crate) pbx_secrets: Vec<(u64, u64)>,
}

/// Makes the place of a configuration, if it has one.
///
/// # Errors
/// Certificates or coordinator cannot be used.
pub(crate) async fn place(config: &Config) -> Result<Option<Place>, ClusterError> {
    let Some(cluster) = &config.cluster else {
        return Ok(None);
    };
    let shared = authority::secret(&cluster.certificates).map_err(ClusterError::Certificates)?;
    // Told now and not when the first link is made.
    Credentials::load(&cluster.certificates, &config.node.name)
        .map_err(ClusterError::Certificates)?;
    let options = options(&cluster.coordinator, &shared.cluster);
    let coordinator = Coordinator::open(&options)
        .await
        .map_err(ClusterError::Coordinator)?;
    let is_ours = |service: &&config::Service| {
        service.role == Role::Edge && service.members.contains(&config.node.name)
    };
    let edge = cluster.services.iter().find(is_ours);
    let key = |label: &str| -> [u8; 16] {
        let mut hasher = Sha256::new();
        hasher.update(shared.secret);
        hasher.update(label.as_bytes());
        let digest = hasher.finalize();
        std::array::from_fn(|at| digest[at])
    };
    let halves = |key: [u8; 16]| {
        let number = u128::from_be_bytes(key);
        ((number >> 64) as u64, number as u64)
    };
    let ours = || cluster.pbxs_of(&config.node.name);
    let pbxs = cluster.services.iter().filter(|one| one.role == Role::Pbx);
    Ok(Some(Place {
        settings: ClusterSettings {
            name: shared.cluster.clone(),
            node: config.node.name.clone(),
            peer_listen: cluster.peer_listen,
            peer_advertise: cluster.peer_advertise,
            certificates: cluster.certificates.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            coordinator: Arc::new(coordinator),
            data: config.node.data.clone(),
            edge: edge.map(|service| self::service(service, cluster)),
            pbxs: ours()
                .map(|service| self::service(service, cluster))
                .collect(),
            pbx_addresses: pbxs
                .map(|one| SocketAddr::new(one.address, one.port))
                .collect(),
            roster: Roster::new().map_err(ClusterError::System)?,
            fences: fences(cluster)?,
            pulse: supervisor::pulse().map(|_| ClusterPulse {
                introduce: |identity| {
                    if let Some(pulse) = supervisor::pulse() {
                        pulse.introduce(identity);
                    }
                },
                beat: || {
                    if let Some(pulse) = supervisor::pulse() {
                        pulse.beat();
                    }
                },
            }),
        },
        cookie_secret: halves(key("cookies")),
        nonce_secret: key("nonces"),
        pbx_secrets: ours()
            .map(|service| halves(key(&format!("pbx {}", service.name))))
            .collect(),
    }))
}

/// The agents that switch machines off, by node.
fn fences(cluster: &config::Cluster) -> Result<Vec<(String, Agent)>, ClusterError> {
    let agent = |fence: &config::Fence| {
        let options = fence.options.iter();
        let options = options.map(|(name, value)| (name.clone(), value.reveal().to_owned()));
        let limit = Duration::from_millis(fence.timeout_ms);
        let agent = Agent::new(fence.program.clone(), options.collect(), limit);
        agent.map(|agent| (fence.node.clone(), agent))
    };
    let agents: Result<_, _> = cluster.fences.iter().map(agent).collect();
    agents.map_err(ClusterError::Coordinator)
}

/// How long a claim waits for an agent: a second longer than the slowest may take.
fn fence_us(cluster: &config::Cluster) -> u64 {
    let longest = cluster.fences.iter().map(|fence| fence.timeout_ms).max();
    (longest.unwrap_or(0) + 1_000) * 1_000
}

/// What the process does that watches a node of this configuration: none where there is no cluster.
///
/// # Errors
/// Certificates or coordinator cannot be used, or the system does not say which program this is.
pub(crate) async fn supervision(config: &Config) -> Result<Option<Supervision>, StartError> {
    let (Some(cluster), Some(place)) = (
        &config.cluster,
        place(config).await.map_err(StartError::Cluster)?,
    ) else {
        return Ok(None);
    };
    let lease = Duration::from_millis(cluster.lease_ms);
    let services: Vec<ServiceSettings> = place.settings.services().cloned().collect();
    let estate = Estate {
        coordinator: place.settings.coordinator,
        services: services
            .iter()
            .map(|service| service.name.clone())
            .collect(),
        starts_programs: !place.settings.fences.is_empty()
            || services
                .iter()
                .any(|service| matches!(service.mover, MoverSettings::Exec { .. })),
        withdraw: Box::new(move |name| {
            let named = services.iter().find(|service| service.name == name);
            let named = named.cloned();
            Box::pin(async move {
                match named {
                    Some(service) => withdraw(&service).await,
                    None => Ok(()),
                }
            })
        }),
    };
    let made = Supervision::of_this_program(lease, estate);
    made.map(Some)
        .map_err(|error| StartError::Process { error })
}

/// Takes the address of a service from this machine, and waits until it is gone.
async fn withdraw(service: &ServiceSettings) -> Result<(), String> {
    let told = |error: net::address::AddressError| error.to_string();
    let mut mover = match (&service.mover, service.address) {
        (MoverSettings::Netlink { interface, .. }, Some(address)) => {
            NetMover::Netlink(NetlinkMover::to_remove(address, interface).map_err(told)?)
        }
        (
            MoverSettings::Exec {
                program,
                interface,
                timeout,
            },
            Some(address),
        ) => {
            let program = program.clone();
            NetMover::Exec(ExecMover::new(
                program,
                Vec::new(),
                address,
                interface,
                *timeout,
            ))
        }
        _ => return Ok(()),
    };
    let mut progress = mover.remove(Boottime::now()).map_err(told)?;
    while progress == Progress::UnderWay {
        tokio::time::sleep(WITHDRAW_LOOK).await;
        progress = mover.poll(Boottime::now()).map_err(told)?;
    }
    Ok(())
}

fn options(coordinator: &config::Coordinator, cluster: &str) -> Options {
    let cluster = cluster.to_owned();
    match coordinator {
        config::Coordinator::Sqlite { path } => Options::Sqlite {
            path: path.clone(),
            cluster,
        },
        config::Coordinator::Etcd {
            endpoints,
            prefix,
            user,
            ca,
            identity,
        } => Options::Etcd(EtcdOptions {
            endpoints: endpoints.clone(),
            prefix: prefix.clone(),
            cluster,
            user: user
                .as_ref()
                .map(|(user, password)| (user.clone(), Password::new(password.reveal()))),
            tls: ca.clone().map(|ca| Tls {
                ca,
                identity: identity.clone(),
            }),
        }),
    }
}

fn service(service: &config::Service, cluster: &config::Cluster) -> ServiceSettings {
    let lease_us = cluster.lease_ms * 1_000;
    ServiceSettings {
        name: service.name.clone(),
        members: service.members.clone(),
        address: Some(service.address),
        mover: match &service.mover {
            Mover::None => MoverSettings::None,
            Mover::Netlink {
                interface,
                prefix_bits,
                kernel_lease,
            } => MoverSettings::Netlink {
                interface: interface.clone(),
                prefix_bits: *prefix_bits,
                kernel_lease: *kernel_lease,
            },
            Mover::Exec {
                program,
                interface,
                timeout_ms,
            } => MoverSettings::Exec {
                program: program.clone(),
                interface: interface.clone(),
                timeout: Duration::from_millis(*timeout_ms),
            },
        },
        spans: Spans {
            fences: !cluster.fences.is_empty(),
            fence_us: fence_us(cluster),
            margin_us: cluster.margin_ms * 1_000,
            commit_timeout_us: cluster.commit_timeout_ms * 1_000,
            grace_us: Some(cluster.grace_ms * 1_000),
            failback_us: cluster.failback_s.map(|seconds| seconds * 1_000_000),
            ..Spans::of_lease(lease_us)
        },
        records_max: service.records_max as usize,
    }
}

/// What the API says of the cluster.
pub(crate) fn status(view: ClusterView) -> ClusterStatus {
    let link = |link: driver::LinkView| LinkStatus {
        node: link.node,
        address: link.address,
        up: link.is_up,
        reason: link.reason,
    };
    ClusterStatus {
        name: view.name,
        coordinator_answers: view.coordinator_answers,
        has_left: view.has_left,
        links: view.links.into_iter().map(link).collect(),
        services: view.services.into_iter().map(service_status).collect(),
        late_us_max: view.late_us_max,
        late_us_p99: view.late_us_p99,
        certificate_ends_s: view.certificate_ends_unix_s,
        authority_ends_s: view.authority_ends_unix_s,
    }
}

fn service_status(view: driver::ServiceView) -> ServiceStatus {
    ServiceStatus {
        name: view.name,
        phase: view.phase.to_owned(),
        owner: view.owner,
        owner_silent_ms: view.owner_silent_ms,
        epoch: view.epoch,
        members: view.members,
        in_sync: view.in_sync,
        records: view.records,
        whole: view.is_whole,
        lag_batches: view.lag_batches,
        backlog_bytes: view.backlog_bytes,
        commit_us: view.commit_us,
        lease_kept_by: view.lease_kept_by.to_owned(),
        authority_left_ms: view.authority_left_ms,
        last_takeover: view.last_takeover.map(|takeover| Takeover {
            at_ms: takeover.at_unix_ms,
            epoch: takeover.epoch,
            cause: takeover.cause.to_owned(),
            away_ms: takeover.away_ms,
        }),
        takeovers: view.takeovers,
    }
}

/// What there is to count of the cluster.
pub(crate) fn metrics(view: &ClusterView) -> Vec<MetricFamily> {
    let of_service =
        |name: &'static str, help, kind, value: &dyn Fn(&driver::ServiceView) -> f64| {
            let services = view.services.iter();
            let values = services.map(|service| (service.name.clone(), value(service)));
            family((name, help, kind), "service", values)
        };
    let is = |yes: bool| f64::from(u8::from(yes));
    let links = view
        .links
        .iter()
        .map(|link| (link.node.clone(), is(link.is_up)));
    vec![
        family(
            (
                "holdline_peer_up",
                "Whether there is a link to the node: 1 or 0.",
                MetricKind::Gauge,
            ),
            "node",
            links,
        ),
        of_service(
            "holdline_service_owner",
            "Whether this node owns the service: 1 or 0.",
            MetricKind::Gauge,
            &|service| is(service.authority_left_ms.is_some()),
        ),
        of_service(
            "holdline_service_in_sync",
            "Members in sync, the owner among them, as far as this node knows.",
            MetricKind::Gauge,
            &|service| service.in_sync.len() as f64,
        ),
        of_service(
            "holdline_service_epoch",
            "The term of office.",
            MetricKind::Gauge,
            &|service| service.epoch as f64,
        ),
        of_service(
            "holdline_service_takeovers_total",
            "How often this node became the owner.",
            MetricKind::Counter,
            &|service| service.takeovers as f64,
        ),
        of_service(
            "holdline_service_records",
            "Records in this node's table.",
            MetricKind::Gauge,
            &|service| service.records as f64,
        ),
        of_service(
            "holdline_service_backlog_bytes",
            "Bytes of changes that wait for members.",
            MetricKind::Gauge,
            &|service| service.backlog_bytes as f64,
        ),
        of_service(
            "holdline_service_commit_seconds",
            "How long a batch of changes takes to be safe, half of the last 64.",
            MetricKind::Gauge,
            &|service| service.commit_us as f64 / 1e6,
        ),
        MetricFamily::single(
            "holdline_heartbeat_late_seconds_max",
            "How late the thread of the heartbeats woke at most since the start.",
            MetricKind::Gauge,
            view.late_us_max as f64 / 1e6,
        ),
        family(
            (
                "holdline_certificate_ends_timestamp_seconds",
                "When a certificate ends, in seconds since 1970: the node's, and its authority's.",
                MetricKind::Gauge,
            ),
            "of",
            [
                ("node".to_owned(), view.certificate_ends_unix_s as f64),
                ("authority".to_owned(), view.authority_ends_unix_s as f64),
            ]
            .into_iter(),
        ),
        MetricFamily::single(
            "holdline_coordinator_up",
            "Whether the coordinator answered last time it was asked: 1 or 0.",
            MetricKind::Gauge,
            is(view.coordinator_answers),
        ),
    ]
}

fn family(
    (name, help, kind): (&'static str, &'static str, MetricKind),
    label: &'static str,
    values: impl Iterator<Item = (String, f64)>,
) -> MetricFamily {
    let samples = values.map(|(named, value)| Sample {
        suffix: "",
        labels: vec![(label.into(), named.into())],
        value,
    });
    MetricFamily {
        name: name.into(),
        help: help.into(),
        kind,
        samples: samples.collect(),
    }
}
