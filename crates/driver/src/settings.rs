//! What a node is started with.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use net::tcp::StreamOptions;
use sip::Limits;
use sip::digest::{Algorithm, NonceSource, WithoutQop};
use transaction::Timers;

use crate::cluster::ClusterSettings;
use crate::farm::FarmSettings;
use crate::media::RelaySettings;

/// Settings of a node. Those marked so hold from the next start only.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domains of the configuration, in lower case, the first one standing for the node's own addresses.
    /// Those of the store are added to them.
    pub domains: Vec<String>,
    /// What to listen on, with advertised names. From the next start.
    pub listeners: Vec<proxy::Listener>,
    /// Worker threads. From the next start.
    pub workers: usize,
    /// Whether dialogs are kept on this node's path.
    pub record_route: bool,
    /// Most branches of a request at once.
    pub max_breadth: u16,
    /// How long phones of one preference ring before those of the next one do.
    pub serial_ring: Duration,
    /// The registrar's.
    pub registrar: registrar::Policy,
    /// Digest algorithms offered, the preferred one first.
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce is good. From the next start.
    pub nonce_lifetime: Duration,
    /// Whether clients without qop are served.
    pub without_qop: WithoutQop,
    /// Sources that may call without credentials.
    pub trusted: Vec<IpNet>,
    /// What one source may do.
    pub sources: edge::sources::SourceLimits,
    /// How much the node takes on.
    pub overload: edge::overload::OverloadLimits,
    /// Bounds on messages.
    pub limits: Limits,
    /// Base values of the timers.
    pub timers: Timers,
    /// Signs the cookies of dialogs: the same over restarts, so that their requests still find their way.
    /// From the next start.
    pub cookie_secret: (u64, u64),
    /// Value of Retry-After where something is refused for now, in seconds.
    pub retry_after_s: u32,
    /// The secret of nonces, where several nodes have to know each other's. From the next start.
    pub nonce_secret: Option<[u8; 16]>,
    /// How streams are treated. From the next start.
    pub streams: StreamOptions,
    /// Name servers, instead of those of the system. From the next start.
    pub name_servers: Vec<std::net::SocketAddr>,
    /// How long a busy worker lets datagrams gather before it takes them. From the next start.
    pub gather: Duration,
    /// Whose media are relayed.
    pub media: proxy::media::Settings,
    /// The relay; without it no media are relayed, whatever `media` says. From the next start.
    pub relay: Option<RelaySettings>,
    /// Pools of media servers.
    pub farm: FarmSettings,
    /// The node's place in a cluster. From the next start.
    pub cluster: Option<ClusterSettings>,
}

impl Settings {
    /// The settings as the core takes them, with the domains of the store added.
    pub(crate) fn for_core(
        &self,
        stored_domains: &[String],
        own_addresses: &[IpAddr],
        pool_routes: Vec<edge::PoolRoute>,
        nonces: NonceSource,
    ) -> edge::Settings {
        let mut domains: Vec<Box<[u8]>> = Vec::new();
        for domain in self.domains.iter().chain(stored_domains) {
            let domain = domain.to_ascii_lowercase().into_bytes().into_boxed_slice();
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        edge::Settings {
            proxy: proxy::Settings {
                domains,
                listeners: self.listeners.clone(),
                own_addresses: own_addresses.to_vec(),
                record_route: self.record_route,
                max_breadth: self.max_breadth,
                serial_ring_ms: self.serial_ring.as_millis() as u64,
                pool: self.farm.failover.clone(),
                media: self.media.clone(),
                cookie_secret: self.cookie_secret,
            },
            registrar: self.registrar,
            auth: edge::AuthSettings {
                algorithms: self.algorithms.clone(),
                nonces,
                without_qop: self.without_qop,
                trusted: self.trusted.clone(),
            },
            pool_routes,
            sources: self.sources.clone(),
            overload: self.overload,
            limits: self.limits,
            timers: self.timers,
            retry_after_s: self.retry_after_s,
        }
    }
}
