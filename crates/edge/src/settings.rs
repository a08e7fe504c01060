//! The operator's settings for the core, as one immutable value.

use ipnet::IpNet;
use sip::Limits;
use sip::digest::{Algorithm, NonceSource, WithoutQop};
use transaction::Timers;

use crate::overload::OverloadLimits;
use crate::pools::PoolRoute;
use crate::sources::SourceLimits;

/// Settings of authentication.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// Algorithms offered, the preferred one first (RFC 8760 section 2.3).
    pub algorithms: Vec<Algorithm>,
    /// Makes and checks nonces.
    pub nonces: NonceSource,
    /// Whether clients of RFC 2069 are served.
    pub without_qop: WithoutQop,
    /// Sources that may call without credentials.
    pub trusted: Vec<IpNet>,
}

/// Settings of the edge.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Those of the proxy.
    pub proxy: proxy::Settings,
    /// Those of the registrar.
    pub registrar: registrar::Policy,
    /// Those of authentication.
    pub auth: AuthSettings,
    /// Which requests go to pools of media servers; the first that fits holds.
    pub pool_routes: Vec<PoolRoute>,
    /// What one source may do.
    pub sources: SourceLimits,
    /// How much the edge takes on.
    pub overload: OverloadLimits,
    /// Bounds on messages.
    pub limits: Limits,
    /// Base values of the timers.
    pub timers: Timers,
    /// Value of Retry-After when something is refused for now, in seconds.
    pub retry_after_s: u32,
}

impl Settings {
    /// Whether a source may call without credentials.
    pub fn is_trusted(&self, address: std::net::IpAddr) -> bool {
        self.auth.trusted.iter().any(|net| net.contains(&address))
    }

    /// Whether a source is neither limited nor banned.
    pub fn is_spared(&self, address: std::net::IpAddr) -> bool {
        let mut nets = self.sources.allow.iter();
        self.is_trusted(address) || nets.any(|net| net.contains(&address))
    }
}
