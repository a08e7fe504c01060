//! Addresses as they are written in the configuration file: listeners,
//! advertised hosts, domains.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A transport that a listener can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        })
    }
}

/// A socket to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// UDP or TCP.
    pub transport: Transport,
    /// The address; none means all of the machine's, IPv4 and IPv6.
    pub address: Option<IpAddr>,
    /// The port; 0 lets the system choose, and `holdline status` shows it.
    pub port: u16,
    /// What to place in Via and Record-Route instead of the socket's own
    /// address.
    pub advertise: Option<Domain>,
}

pub(super) const LISTENER_WANTED: &str = "\"transport:port\", \"transport:address:port\" or \"transport:[ipv6]:port\", transport udp or tcp";

impl Listener {
    /// Reads `udp:5060`, `tcp:192.0.2.1:5060` or `udp:[2001:db8::1]:5060`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').ok_or_else(|| match text {
            "udp" | "tcp" => format!("its port too: \"{text}:5060\""),
            port if port.parse::<u16>().is_ok() => format!("its transport too: \"udp:{port}\""),
            _ => LISTENER_WANTED.to_owned(),
        })?;
        let transport = match name {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" | "ws" | "wss" | "sctp" => {
                return Err(format!("udp or tcp: {name} is not in this version"));
            }
            other => {
                let lower = other.to_ascii_lowercase();
                return Err(if lower == "udp" || lower == "tcp" {
                    format!("the transport in small letters: \"{lower}:{rest}\"")
                } else {
                    LISTENER_WANTED.to_owned()
                });
            }
        };
        let (address, port) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((host, port)) => (Some(parse_address(host, name, port)?), port),
        };
        let port = port
            .parse()
            .map_err(|_| format!("a port from 0 to 65535 at the end, as in \"{name}:5060\""))?;
        Ok(Listener {
            transport,
            address,
            port,
            advertise: None,
        })
    }

    /// Whether the two cannot both be opened.
    pub(super) fn collides(&self, other: &Listener) -> bool {
        self.transport == other.transport
            && self.port == other.port
            && self.port != 0
            && match (self.address, other.address) {
                (Some(a), Some(b)) => a == b || covers(a, b) || covers(b, a),
                _ => true,
            }
    }
}

/// Whether `wide` is a wildcard that takes in `narrow`.
fn covers(wide: IpAddr, narrow: IpAddr) -> bool {
    wide.is_unspecified() && wide.is_ipv4() == narrow.is_ipv4()
}

fn parse_address(host: &str, transport: &str, port: &str) -> Result<IpAddr, String> {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        return inner.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| {
            "an IPv6 address between the brackets, as in \"udp:[2001:db8::1]:5060\"".to_owned()
        });
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => Ok(IpAddr::V4(address)),
        Ok(IpAddr::V6(address)) => Err(format!(
            "an IPv6 address in brackets: \"{transport}:[{address}]:{port}\""
        )),
        Err(_) => Err(format!(
            "an address of this machine, not a name: \"{transport}:192.0.2.1:{port}\", or \"{transport}:{port}\" for all"
        )),
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => write!(f, "{}:{}", self.transport, self.port),
            Some(address) => write!(
                f,
                "{}:{}",
                self.transport,
                SocketAddr::new(address, self.port)
            ),
        }
    }
}

pub(super) const ADVERTISED_WANTED: &str =
    "a host without a port: \"sip.example.org\", \"192.0.2.1\", \"[2001:db8::1]\"";

/// Reads a host to be named to peers.
pub(super) fn advertised(text: &str) -> Result<Domain, String> {
    Domain::parse(text).map_err(|_| ADVERTISED_WANTED.to_owned())
}

/// A domain: a DNS name in small letters, an IPv4 address, or an IPv6 address
/// in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(pub(super) String);

pub(super) const DOMAIN_WANTED: &str = "a host name as in the users' addresses: \"example.org\"";

impl Domain {
    /// Reads a host as RFC 3261 section 25.1 writes it.
    ///
    /// # Errors
    /// What would be right, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(inner) = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            let address: Ipv6Addr = inner
                .parse()
                .map_err(|_| "an IPv6 address between the brackets".to_owned())?;
            return Ok(Domain(format!("[{address}]")));
        }
        if let Ok(IpAddr::V6(address)) = text.parse::<IpAddr>() {
            return Err(format!("an IPv6 address in brackets: \"[{address}]\""));
        }
        if let Some((_, host)) = text.split_once('@') {
            return Err(format!("the host alone: \"{host}\""));
        }
        if let Some(rest) = text
            .strip_prefix("sip:")
            .or_else(|| text.strip_prefix("sips:"))
        {
            return Err(format!("the host alone: \"{rest}\""));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= 253 && name.split('.').all(label_ok) {
            Ok(Domain(name.to_ascii_lowercase()))
        } else {
            Err(DOMAIN_WANTED.to_owned())
        }
    }

    /// The host as it stands in an address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
