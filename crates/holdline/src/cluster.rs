//! From `[cluster]` and `[[service]]` to the driver's place in a cluster.

use std::sync::Arc;
use std::time::Duration;

use ::cluster::Settings as Spans;
use admin::{ClusterStatus, LinkStatus, ServiceStatus, Takeover};
use coordinator::{Coordinator, EtcdOptions, Options, Password, Tls};
use driver::{ClusterPulse, ClusterSettings, ClusterView, MoverSettings, ServiceSettings};
use net::address::{Mover as NetMover, NetlinkMover};
use net::clock::Boottime;
use net::peer::{Credentials, PeerError, authority};
use sha2::{Digest, Sha256};

use crate::config::{self, Config, Mover, Role};
use crate::lifecycle::StartError;
use crate::settings::CookieSecret;
use crate::supervisor::{self, Estate, Supervision};

/// Why a node of a cluster does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterError {
    /// Its certificates.
    Certificates(PeerError),
    /// Its coordinator.
    Coordinator(coordinator::Error),
}

impl std::fmt::Display for ClusterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClusterError::Certificates(error) => write!(f, "{error}"),
            ClusterError::Coordinator(error) => write!(f, "the coordinator: {error}"),
        }
    }
}

/// A node's place in a cluster, and the keys that it has in common with the other nodes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) settings: ClusterSettings,
    pub(crate) cookie_secret: CookieSecret,
    pub(crate) nonce_secret: [u8; 16],
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
    let cookie = u128::from_be_bytes(key("cookies"));
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
        cookie_secret: ((cookie >> 64) as u64, cookie as u64),
        nonce_secret: key("nonces"),
    }))
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
    let services: Vec<ServiceSettings> = place.settings.edge.into_iter().collect();
    let estate = Estate {
        coordinator: place.settings.coordinator,
        services: services
            .iter()
            .map(|service| service.name.clone())
            .collect(),
        withdraw: Box::new(move || services.iter().try_for_each(withdraw)),
    };
    let made = Supervision::of_this_program(lease, estate);
    made.map(Some)
        .map_err(|error| StartError::Process { error })
}

/// Takes the address of a service from this machine.
fn withdraw(service: &ServiceSettings) -> Result<(), String> {
    let (
        MoverSettings::Netlink {
            interface,
            prefix_bits,
            ..
        },
        Some(address),
    ) = (&service.mover, service.address)
    else {
        return Ok(());
    };
    let mover = NetlinkMover::new(address, *prefix_bits, interface);
    mover
        .and_then(|mover| NetMover::Netlink(mover).remove(Boottime::now()))
        .map(drop)
        .map_err(|error| error.to_string())
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
                timeout_ms,
            } => MoverSettings::Exec {
                program: program.clone(),
                timeout: Duration::from_millis(*timeout_ms),
            },
        },
        spans: Spans {
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
        links: view.links.into_iter().map(link).collect(),
        services: view.services.into_iter().map(service_status).collect(),
        late_us_max: view.late_us_max,
        late_us_p99: view.late_us_p99,
    }
}

fn service_status(view: driver::ServiceView) -> ServiceStatus {
    ServiceStatus {
        name: view.name,
        phase: view.phase.to_owned(),
        owner: view.owner,
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
