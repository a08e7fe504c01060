//! From a [`Config`] to the driver's settings, and the secret that outlives
//! restarts.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use driver::{MediaError, RelaySettings, SourceLimits};
use net::tcp::StreamOptions;
use proxy::media::Policy;
use sip::digest::{Algorithm, WithoutQop};
use transaction::{Timers, Transport};

use crate::config::{self, Config, DigestAlgorithm, Limits, MediaPolicy};

/// What a client that is refused for now is asked to wait, in seconds.
const RETRY_AFTER_S: u32 = 10;
/// How long a busy worker lets datagrams gather. It spares system calls and
/// delays none by more than this.
const GATHER: Duration = Duration::from_millis(2);
/// Descriptors kept for everything that is no stream: sockets, the store, the admin API's clients, files.
pub(crate) const DESCRIPTORS_RESERVED: usize = 256;
/// The secret's file in the data folder.
const SECRET_FILE: &str = "cookie-secret";
/// The secret's length, in bytes.
const SECRET_BYTES: usize = 16;
/// Stands for the node's own addresses where no domain is configured or kept.
const DOMAIN_OF_NONE: &str = "localhost";

/// What signs the cookies in Record-Route.
pub(crate) type CookieSecret = (u64, u64);

/// Reads the secret of a data folder; makes it the first time.
pub(crate) fn cookie_secret(data: &Path) -> io::Result<CookieSecret> {
    let path = data.join(SECRET_FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            let bytes: [u8; SECRET_BYTES] = bytes.try_into().map_err(|_| {
                let what = format!("{} is damaged; remove it", path.display());
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?;
            let number = u128::from_be_bytes(bytes);
            Ok(((number >> 64) as u64, number as u64))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; SECRET_BYTES];
            File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            // Whole or not at all, should the machine stop meanwhile.
            let partial = path.with_extension("new");
            let _ = fs::remove_file(&partial);
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&partial)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            let number = u128::from_be_bytes(bytes);
            Ok(((number >> 64) as u64, number as u64))
        }
        Err(error) => Err(error),
    }
}

/// The driver's settings. `stored` are the domains of the store, which the
/// driver adds itself; here they only matter where no domain is configured.
pub(crate) fn settings(
    config: &Config,
    stored: &[String],
    cookie_secret: CookieSecret,
) -> driver::Settings {
    let edge = &config.edge;
    let mut domains: Vec<String> = edge.domains.iter().map(ToString::to_string).collect();
    if domains.is_empty() {
        domains.push(
            stored
                .first()
                .map_or(DOMAIN_OF_NONE, String::as_str)
                .to_owned(),
        );
    }
    driver::Settings {
        domains,
        listeners: listeners(edge, service_address(config)),
        workers: edge.workers,
        record_route: edge.record_route,
        // The configuration's ranges fit these types.
        max_breadth: edge.fork.branches_max as u16,
        serial_ring: Duration::from_secs(edge.fork.group_timeout_s),
        registrar: registrar::Policy {
            expires_min_s: edge.registrar.min_expires_s as u32,
            expires_max_s: edge.registrar.max_expires_s as u32,
            expires_default_s: edge.registrar.default_expires_s as u32,
            bindings_per_aor_max: edge.registrar.contacts_max as u16,
            ..registrar::Policy::default()
        },
        algorithms: edge
            .auth
            .algorithms
            .iter()
            .copied()
            .map(algorithm)
            .collect(),
        nonce_lifetime: Duration::from_secs(edge.auth.nonce_lifetime_s),
        without_qop: match edge.auth.accept_without_qop {
            true => WithoutQop::Accept,
            false => WithoutQop::Refuse,
        },
        trusted: edge.trusted.clone(),
        sources: sources(&edge.sources),
        overload: driver::OverloadLimits {
            lag_ms: edge.limits.lag_ms as u32,
            calls_max: edge.limits.calls_max as u32,
            calls_per_s: edge.limits.calls_per_s as u32,
            registrations_per_s: edge.limits.registrations_per_s as u32,
        },
        limits: sip::Limits {
            size_bytes_max: edge.limits.message_bytes_max as u32,
            headers_max: edge.limits.headers_max as u16,
        },
        timers: timers(&edge.timers),
        cookie_secret,
        nonce_secret: None,
        retry_after_s: RETRY_AFTER_S,
        streams: streams(&edge.limits),
        name_servers: config.dns.nameservers.clone(),
        gather: GATHER,
        media: media(edge),
        relay: edge.rtp_ports.map(|ports| relay(edge, ports)),
        farm: edge.farm.clone(),
        cluster: None,
    }
}

fn sources(sources: &config::Sources) -> SourceLimits {
    SourceLimits {
        bans: sources.bans,
        requests_per_s: sources.requests_per_s as u32,
        requests_burst: sources.requests_burst as u32,
        threshold: sources.ban_points as u32,
        ban_ms: sources.ban_s * 1_000,
        ban_ms_max: sources.ban_max_s * 1_000,
        allow: sources.allow.clone(),
    }
}

/// Whose media are relayed: nobody's where there are no ports.
fn media(edge: &config::Edge) -> proxy::media::Settings {
    if edge.rtp_ports.is_none() {
        return proxy::media::Settings::default();
    }
    let policy = |policy| match policy {
        MediaPolicy::Always => Policy::Always,
        MediaPolicy::Nat => Policy::Nat,
        MediaPolicy::Never => Policy::Never,
    };
    let domains = edge.media.domains.iter();
    proxy::media::Settings {
        policy: policy(edge.media.policy),
        domains: domains
            .map(|(domain, own)| (domain.as_str().as_bytes().into(), policy(*own)))
            .collect(),
        pools: Vec::new(),
        retry_after_s: RETRY_AFTER_S,
    }
}

fn relay(edge: &config::Edge, ports: config::PortRange) -> RelaySettings {
    let media = &edge.media;
    RelaySettings {
        first_port: ports.first,
        last_port: ports.last,
        addresses: media.addresses.clone(),
        advertised: media.advertised,
        threads: media.relay_threads,
        relay: relay::Settings {
            silence_ms: media.silence_timeout_s * 1_000,
            hold_ms: media.hold_timeout_s * 1_000,
            learn: match media.learn {
                config::Learn::Strict => relay::Learn::Guarded,
                config::Learn::Open => relay::Learn::Open,
            },
            ..relay::Settings::default()
        },
    }
}

/// How many descriptors the ports for media leave.
///
/// # Errors
/// They do not leave enough for the rest of the node.
pub(crate) fn left_by_media(
    settings: &driver::Settings,
    descriptors: u64,
) -> Result<u64, MediaError> {
    let Some(relay) = &settings.relay else {
        return Ok(descriptors);
    };
    let wanted = relay.sockets(&settings.listeners);
    let left = descriptors.checked_sub(wanted as u64);
    left.filter(|left| *left > DESCRIPTORS_RESERVED as u64)
        .ok_or(MediaError::Descriptors { wanted })
}

fn algorithm(algorithm: DigestAlgorithm) -> Algorithm {
    match algorithm {
        DigestAlgorithm::Md5 => Algorithm::Md5,
        DigestAlgorithm::Sha256 => Algorithm::Sha256,
        DigestAlgorithm::Sha512_256 => Algorithm::Sha512_256,
    }
}

/// The configuration's ranges are within those of the machines; the defaults
/// stand in should they ever not be.
fn timers(timers: &config::Timers) -> Timers {
    Timers::new(timers.t1_ms, timers.t2_ms, timers.t4_ms)
        .and_then(|base| base.with_timer_c(timers.timer_c_s * 1000))
        .unwrap_or_default()
}

fn streams(limits: &Limits) -> StreamOptions {
    let mut options = StreamOptions {
        idle_timeout: Duration::from_secs(limits.tcp_idle_s),
        connections_max: limits.tcp_connections_max as usize,
        connections_per_source_max: limits.tcp_connections_per_source_max as usize,
        ..StreamOptions::default()
    };
    options.frame_limits.message_bytes_max = limits.message_bytes_max as usize;
    options
}

/// Keeps the streams within the descriptors that the process may have: when those are used up, nobody is
/// accepted any more, at the admin API neither. Returns how many were asked for where that is too many.
pub(crate) fn fit_streams(options: &mut StreamOptions, descriptors: u64) -> Option<usize> {
    let room = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let room = room.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    let wanted = options.connections_max;
    options.connections_max = wanted.min(room);
    (wanted > room).then_some(wanted)
}

/// The address of the edge's service, where it is one: what its listeners without an address are bound to.
fn service_address(config: &Config) -> Option<IpAddr> {
    let services = config.cluster.iter().flat_map(|cluster| &cluster.services);
    let mut ours = services.filter(|service| {
        service.role == config::Role::Edge && service.members.contains(&config.node.name)
    });
    ours.next().map(|service| service.address)
}

/// One socket an address family where none is named.
fn listeners(edge: &config::Edge, service: Option<IpAddr>) -> Vec<proxy::Listener> {
    let mut all: Vec<IpAddr> = vec![Ipv4Addr::UNSPECIFIED.into()];
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        all.push(Ipv6Addr::UNSPECIFIED.into());
    }
    let mut listeners = Vec::new();
    for listener in &edge.listen {
        let transport = match listener.transport {
            config::Transport::Udp => Transport::Udp,
            config::Transport::Tcp => Transport::Tcp,
        };
        let advertise = listener.advertise.as_ref().or(edge.advertise.as_ref());
        let named = listener.address.or(service).map(|address| vec![address]);
        for address in named.unwrap_or_else(|| all.clone()) {
            listeners.push(proxy::Listener {
                transport,
                local: SocketAddr::new(address, listener.port),
                advertise: advertise.map(|host| host.as_str().as_bytes().into()),
            });
        }
    }
    listeners
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("")).expect("valid")
    }

    #[test]
    fn the_secret_is_made_once_and_is_for_this_user_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = cookie_secret(folder.path()).expect("made");
        assert_ne!(first, (0, 0));
        assert_eq!(cookie_secret(folder.path()).expect("read"), first);
        let path = folder.path().join(SECRET_FILE);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, b"short").expect("written");
        let error = cookie_secret(folder.path()).expect_err("damaged");
        assert!(error.to_string().contains("remove it"));
    }

    #[test]
    fn the_largest_and_smallest_values_of_every_range_fit_the_driver() {
        let text = "[edge]\nlisten = [\"udp:127.0.0.1:5060\"]\n[edge.registrar]\n\
            max_expires_s = 604800\ncontacts_max = 1000\n[edge.timers]\nt1_ms = 5000\n\
            t2_ms = 60000\nt4_ms = 60000\ntimer_c_s = 3600\n[edge.limits]\nheaders_max = 1024\n";
        let large = settings(&parse(text), &[], (0, 0));
        assert_eq!(large.timers.t2_ms(), 60_000);
        assert_eq!(large.registrar.expires_max_s, 604_800);
        assert_eq!(large.limits.headers_max, 1024);
        let text = "[edge.timers]\nt1_ms = 10\nt2_ms = 10\nt4_ms = 10\ntimer_c_s = 181\n";
        assert_eq!(settings(&parse(text), &[], (0, 0)).timers.t1_ms(), 10);
    }

    #[test]
    fn streams_leave_descriptors_for_everything_else() {
        let mut options = StreamOptions {
            connections_max: 5_000,
            ..StreamOptions::default()
        };
        assert_eq!(fit_streams(&mut options, 1 << 20), None);
        assert_eq!(fit_streams(&mut options, 5_256), None);
        assert_eq!(options.connections_max, 5_000);
        assert_eq!(fit_streams(&mut options, 1_024), Some(5_000));
        assert_eq!(options.connections_max, 768);
        assert_eq!(fit_streams(&mut options, 100), Some(768));
        assert_eq!(options.connections_max, 1);
    }

    #[test]
    fn a_listener_without_an_address_is_one_of_each_family_and_keeps_its_name() {
        let config = parse(
            "[edge]\nadvertise = \"a.example.org\"\n\
             listen = [\"udp:5060\", { address = \"tcp:127.0.0.1:5060\", advertise = \"b.org\" }]",
        );
        let made = settings(&config, &[], (0, 0)).listeners;
        assert_eq!(made[0].local.to_string(), "0.0.0.0:5060");
        assert_eq!(made[0].advertise.as_deref(), Some(&b"a.example.org"[..]));
        let last = made.last().expect("two or three");
        assert_eq!(last.local.to_string(), "127.0.0.1:5060");
        assert_eq!(last.advertise.as_deref(), Some(&b"b.org"[..]));
    }

    #[test]
    fn a_node_without_a_configured_domain_stands_for_one_of_the_store() {
        let config = parse("");
        assert_eq!(
            settings(&config, &["a.org".to_owned()], (0, 0)).domains,
            ["a.org"]
        );
        assert_eq!(settings(&config, &[], (0, 0)).domains, ["localhost"]);
    }
}
