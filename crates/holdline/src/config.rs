//! The configuration file: one TOML document, read whole, judged whole.
//!
//! [`Config::load`] answers with a configuration in which every value is
//! valid, or with all mistakes at once, each with its line. Nothing starts on
//! a bad file, and a reload of a bad file leaves the old configuration in
//! force. `docs/configuration.md` lists every key; a test holds it to that.

mod address;
mod cluster;
mod media;
mod mistake;
mod pbx;
mod pool;
mod read;
mod reader;
mod trunk;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

pub use address::{Domain, Listener, Transport};
pub use cluster::{Cluster, Coordinator, Fence, Mover, Role, Service};
pub use ipnet::IpNet;
pub use mistake::{ConfigError, Fault, Mistake};
pub use pbx::{Codec, MailServer, MediaStore, Pbx, S3};
pub use trunk::Trunk;

/// The largest configuration file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// What one node needs to know before it starts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[edge]`
    pub edge: Edge,
    /// `[pbx]`, if this node has one.
    pub pbx: Option<Pbx>,
    /// `[cluster]` and `[[service]]`
    pub cluster: Option<Cluster>,
    /// `[store]`
    pub store: Store,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[dns]`
    pub dns: Dns,
}

/// The process and its place on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The node's name in status, metrics and logs.
    pub name: String,
    /// The folder for what the node keeps; absolute, or relative to the
    /// folder of the configuration file.
    pub data: PathBuf,
    /// How long a drain waits for what was accepted, in seconds.
    pub drain_timeout_s: u64,
}

/// The SIP side.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The domains this node is responsible for, beside those of the store.
    pub domains: Vec<Domain>,
    /// The sockets, at least one.
    pub listen: Vec<Listener>,
    /// What to place in Via and Record-Route instead of the socket's own
    /// address, where a listener does not say otherwise.
    pub advertise: Option<Domain>,
    /// Sources that may call without credentials. REGISTER is challenged all
    /// the same.
    pub trusted: Vec<IpNet>,
    /// Threads that handle messages, at least one.
    pub workers: usize,
    /// Whether the proxy stays in the path of dialogs (RFC 3261 section
    /// 16.6 step 4).
    pub record_route: bool,
    /// The ports of the media relay; none means that there is no relay.
    pub rtp_ports: Option<PortRange>,
    /// `[edge.media]`
    pub media: Media,
    /// `[edge.registrar]`
    pub registrar: Registrar,
    /// `[edge.auth]`
    pub auth: Auth,
    /// `[edge.limits]`
    pub limits: Limits,
    /// `[edge.sources]`
    pub sources: Sources,
    /// `[edge.timers]`
    pub timers: Timers,
    /// `[edge.fork]`
    pub fork: Fork,
    /// `[[edge.pool]]`, `[[edge.route]]` and `[edge.failover]`
    pub farm: driver::FarmSettings,
}

/// Ports of one address, in pairs: RTP on the even one, RTCP on the odd one
/// after it (RFC 3550 section 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first one, which is even.
    pub first: u16,
    /// The last one, which is odd.
    pub last: u16,
}

/// How media is relayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Which calls are relayed.
    pub policy: MediaPolicy,
    /// The same for calls of some domains.
    pub domains: Vec<(Domain, MediaPolicy)>,
    /// The addresses that the relay has its ports on; none means those that
    /// are listened on.
    pub addresses: Vec<IpAddr>,
    /// What phones are told instead of the address of its family.
    pub advertised: Option<IpAddr>,
    /// After how many seconds without a packet a call's media is dead.
    pub silence_timeout_s: u64,
    /// The same while nobody has to send.
    pub hold_timeout_s: u64,
    /// Whose packets show where a phone is.
    pub learn: Learn,
    /// Threads that relay, at least one.
    pub relay_threads: usize,
}

/// Which calls go through the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaPolicy {
    /// All.
    Always,
    /// Those with a phone behind NAT, or between IPv4 and IPv6.
    Nat,
    /// None.
    Never,
}

/// Whose packets show the relay where a phone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learn {
    /// Those from the host that its description names or its SIP came from.
    Strict,
    /// Those of any host that sends several in a row.
    Open,
}

/// What the registrar grants (RFC 3261 section 10.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrar {
    /// The shortest binding, in seconds; shorter asks get 423.
    pub min_expires_s: u64,
    /// The lifetime of a binding that names none, in seconds.
    pub default_expires_s: u64,
    /// The longest binding, in seconds; longer asks are shortened.
    pub max_expires_s: u64,
    /// The most bindings one address of record may have.
    pub contacts_max: u64,
}

/// Digest authentication (RFC 8760).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// The algorithms of the challenges, in the order they are offered.
    pub algorithms: Vec<DigestAlgorithm>,
    /// How long a nonce is taken, in seconds.
    pub nonce_lifetime_s: u64,
    /// Whether responses without qop (RFC 2069) are taken.
    pub accept_without_qop: bool,
}

/// A digest algorithm by its registered name (RFC 7616 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// `MD5`: what every phone understands.
    Md5,
    /// `SHA-256`
    Sha256,
    /// `SHA-512-256`
    Sha512_256,
}

impl DigestAlgorithm {
    /// The registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DigestAlgorithm::Md5 => "MD5",
            DigestAlgorithm::Sha256 => "SHA-256",
            DigestAlgorithm::Sha512_256 => "SHA-512-256",
        }
    }
}

/// Bounds on what the network can make the node hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest message, in bytes.
    pub message_bytes_max: u64,
    /// The most header fields of a message.
    pub headers_max: u64,
    /// The most open TCP connections.
    pub tcp_connections_max: u64,
    /// The most open TCP connections from one source address.
    pub tcp_connections_per_source_max: u64,
    /// How long a TCP connection may be silent, in seconds.
    pub tcp_idle_s: u64,
    /// The lag of a worker from which new work is turned away, in milliseconds; 0 for never.
    pub lag_ms: u64,
    /// The most calls at once; 0 for any number.
    pub calls_max: u64,
    /// The most new calls a second; 0 for any number.
    pub calls_per_s: u64,
    /// The most registrations a second; 0 for any number.
    pub registrations_per_s: u64,
}

/// What one source may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Whether sources are banned.
    pub bans: bool,
    /// Requests a second outside dialogs that a source may send for long; 0 for any number.
    pub requests_per_s: u64,
    /// Requests that it may send at once.
    pub requests_burst: u64,
    /// Points at which a source is banned.
    pub ban_points: u64,
    /// Length of the first ban, in seconds.
    pub ban_s: u64,
    /// Length of the longest, in seconds.
    pub ban_max_s: u64,
    /// Sources that are neither limited nor banned, beside the trusted ones.
    pub allow: Vec<IpNet>,
}

/// Timers of RFC 3261 (table 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timers {
    /// T1: the round-trip estimate, in milliseconds.
    pub t1_ms: u64,
    /// T2: the longest retransmission interval, in milliseconds.
    pub t2_ms: u64,
    /// T4: how long a message may stay in the network, in milliseconds.
    pub t4_ms: u64,
    /// Timer C: how long a branch may ring without a provisional response,
    /// in seconds (RFC 3261 section 16.6 step 11).
    pub timer_c_s: u64,
}

/// How a call to several contacts is forked (RFC 3261 section 16.6): those of
/// equal q at once, groups of lower q after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The most branches of one call at once, over all hops (RFC 5393
    /// section 5).
    pub branches_max: u64,
    /// How long one group of contacts rings before the next is tried, in
    /// seconds.
    pub group_timeout_s: u64,
}

/// Where users, domains and bindings are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    /// `sqlite:PATH`, `postgres://...` or `mysql://...`. It may hold a
    /// password: see [`Store::shown`].
    pub url: String,
}

impl Store {
    /// The URL without its password.
    #[must_use]
    pub fn shown(&self) -> String {
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return self.url.clone();
        };
        match rest.rsplit_once('@') {
            Some((user, host)) if user.contains(':') => {
                let name = user.split(':').next().unwrap_or_default();
                format!("{scheme}://{name}:***@{host}")
            }
            _ => self.url.clone(),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("url", &self.shown()).finish()
    }
}

/// The HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What a client has to present; demanded when `listen` is not loopback.
    pub token: Option<Token>,
    /// What an agent presents in its place, to report a load and for nothing else.
    pub agent_token: Option<Token>,
    /// Names under which the API is reached, beside addresses and
    /// `localhost`; any other Host is refused.
    pub hosts: Vec<Domain>,
}

/// The admin API's bearer token, which no log line prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A secret as the file has it.
    pub(super) fn of(text: &str) -> Token {
        Token(text.to_owned())
    }

    /// The token itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or levels by target: `info,net=debug`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
    /// Whether users' addresses are shown.
    pub private: Private,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What a log line shows of users' data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Private {
    /// A short form that tells users apart and does not name them.
    Hide,
    /// All of it.
    Show,
}

/// Name resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Servers to ask; none means those of the system.
    pub nameservers: Vec<SocketAddr>,
}

impl Config {
    /// Reads and judges a file.
    ///
    /// # Errors
    /// [`ConfigError`], with every mistake of the file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let unreadable = |error| ConfigError::Unreadable {
            file: file.clone(),
            error,
        };
        let size_bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if size_bytes > FILE_BYTES_MAX {
            return Err(ConfigError::TooLarge { file, size_bytes });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Config::parse(&text, folder).map_err(|mistakes| ConfigError::Mistakes {
            file,
            text,
            mistakes,
        })
    }

    /// Judges a text. Relative paths in it start from `folder`.
    ///
    /// # Errors
    /// All mistakes, in the order of the text; never an empty list.
    pub fn parse(text: &str, folder: &Path) -> Result<Config, Vec<Mistake>> {
        read::document(text, folder).0
    }

    /// The keys in which `new` differs from this one and which a reload
    /// cannot change: they hold from the next start.
    #[must_use]
    pub fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let (a, b) = (&self.edge, &new.edge);
        let differences = [
            ("node.name", self.node.name != new.node.name),
            ("node.data", self.node.data != new.node.data),
            ("cluster", self.cluster != new.cluster),
            ("edge.listen", a.listen != b.listen),
            ("edge.advertise", a.advertise != b.advertise),
            ("edge.workers", a.workers != b.workers),
            ("edge.rtp_ports", a.rtp_ports != b.rtp_ports),
            ("edge.media", !same_relay(&a.media, &b.media)),
            (
                "edge.auth.nonce_lifetime_s",
                a.auth.nonce_lifetime_s != b.auth.nonce_lifetime_s,
            ),
            ("edge.limits.tcp_*", !same_streams(&a.limits, &b.limits)),
            ("store.url", self.store != new.store),
            ("admin", self.admin != new.admin),
            ("log.format", self.log.format != new.log.format),
            ("dns.nameservers", self.dns != new.dns),
        ];
        differences
            .into_iter()
            .filter_map(|(key, differs)| differs.then_some(key))
            .collect()
    }
}

/// Whether all is the same that a relay is started with.
fn same_relay(a: &Media, b: &Media) -> bool {
    let live = Media {
        policy: b.policy,
        domains: b.domains.clone(),
        ..a.clone()
    };
    live == *b
}

fn same_streams(a: &Limits, b: &Limits) -> bool {
    a.tcp_connections_max == b.tcp_connections_max
        && a.tcp_connections_per_source_max == b.tcp_connections_per_source_max
        && a.tcp_idle_s == b.tcp_idle_s
}

#[cfg(test)]
mod tests;
