//! What an operator may set for calls.

use std::net::IpAddr;

use sip::Limits;
use transaction::{Flow, Timers};
use voice::Codec;

/// Who we are to a host that asks for credentials: a trunk.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The host that is called.
    pub host: String,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// What an operator may set for the calls of a node.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The domains whose users are called by a bare name; the first one is ours where a choice has to be made.
    pub domains: Vec<String>,
    /// The way to the edge: all requests that begin something go there.
    pub outbound: Flow,
    /// What Contact and Via name: the address (and port, by `outbound.local`) where the edge finds this PBX.
    pub advertised: IpAddr,
    /// Who may assert a caller's identity (RFC 3325) and is told one that is to be private: the edges.
    pub trusted: Vec<IpAddr>,
    /// What User-Agent and Server say.
    pub product: String,
    /// Codecs in the order in which they are preferred.
    pub codecs: Vec<Codec>,
    /// Calls at one time; further ones are answered with 503.
    pub calls_max: usize,
    /// Seconds for Retry-After in a 503.
    pub retry_after_s: u32,
    /// How long a called leg may ring before it counts as unanswered, in milliseconds.
    pub ring_ms_max: u64,
    /// How long a caller waits for an answer at most, in milliseconds.
    pub setup_ms_max: u64,
    /// How long sessions last without a refresh, in seconds (RFC 4028); 0: no session timers.
    pub session_expires_s: u32,
    /// The shortest session that is agreed to, in seconds (RFC 4028 section 5); at least 90.
    pub min_se_s: u32,
    /// Subscriptions at one time; further ones are answered with 503.
    pub subscriptions_max: usize,
    /// The longest subscription that is granted, in seconds.
    pub subscription_s_max: u32,
    /// Once nothing is heard or said by the PBX in a call of two it leaves the way of their media.
    pub media_by_need: bool,
    /// Credentials for calls to other hosts; nobody else is answered who asks for some.
    pub accounts: Vec<Account>,
    /// Timers of transactions.
    pub timers: Timers,
    /// Bounds of messages.
    pub limits: Limits,
    /// Bounds of session descriptions.
    pub description_limits: sdp::Limits,
}

impl Settings {
    /// What most installations want, of a domain behind the edge that `outbound` leads to.
    pub fn new(domain: &str, outbound: Flow) -> Settings {
        Settings {
            domains: vec![domain.to_owned()],
            outbound,
            advertised: outbound.local.ip(),
            trusted: vec![outbound.remote.ip()],
            product: "Holdline".to_owned(),
            codecs: vec![Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus],
            calls_max: 10_000,
            retry_after_s: 5,
            ring_ms_max: 180_000,
            setup_ms_max: 300_000,
            session_expires_s: 1_800,
            min_se_s: 90,
            subscriptions_max: 10_000,
            subscription_s_max: 3_600,
            media_by_need: true,
            accounts: Vec::new(),
            timers: Timers::default(),
            limits: Limits::default(),
            description_limits: sdp::Limits {
                size_bytes_max: 16_384,
                media_max: 8,
                ..sdp::Limits::default()
            },
        }
    }

    /// Whether a host is a domain of ours; no host is.
    pub(crate) fn is_ours(&self, host: &str) -> bool {
        host.is_empty()
            || self
                .domains
                .iter()
                .any(|domain| domain.eq_ignore_ascii_case(host))
    }

    /// Whether a host is named, and a domain of ours.
    pub(crate) fn is_domain(&self, host: &str) -> bool {
        !host.is_empty() && self.is_ours(host)
    }

    /// The domain that is meant where none is named.
    pub fn domain(&self) -> &str {
        self.domains.first().map_or("localhost", String::as_str)
    }
}
