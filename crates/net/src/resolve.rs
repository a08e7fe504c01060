//! From a name in a SIP URI to addresses, ports and transports (RFC 3263).
//!
//! The order of what is tried: an address needs no look-up; a port or a transport in the URI skips
//! the records that would have chosen it; else NAPTR says which transports there are, SRV says which
//! hosts and ports, A and AAAA say which addresses. The DNS itself (system configuration, retries over
//! TCP, the cache by time to live, negative answers included) is the library's; what to ask and how to
//! read the answers is here.
//!
//! A name server that does not answer NAPTR queries, as some do not, costs one timeout, after which SRV
//! is asked for. One that does not answer SRV queries is a temporary failure: going on with the bare
//! name would send calls to a host that was never meant to take them.

mod order;
mod service;

pub use order::{Srv, order_srv};
pub use service::{SERVICE_HOSTS_MAX, Service, ServiceHost};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Resolver as Dns, TokioResolver};
use order::{Naptr, chosen_naptr};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::task::JoinSet;

/// Most NAPTR records of one answer that are followed.
pub const NAPTR_MAX: usize = 8;

/// Most SRV records of one answer that are looked at, the best by priority and weight.
pub const SRV_MAX: usize = 16;

/// Most destinations given for one name.
pub const DESTINATIONS_MAX: usize = 32;

/// Most answers that the cache holds.
const CACHE_ANSWERS_MAX: u64 = 8_192;

/// How SIP is carried to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream within TLS.
    Tls,
}

impl Transport {
    /// Where SIP is found by default: 5061 for TLS, 5060 else (RFC 3261 section 19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5_060,
            Transport::Tls => 5_061,
        }
    }

    /// What stands before a domain in the name of its SRV records (RFC 3263 section 4.2).
    fn service(self) -> &'static str {
        match self {
            Transport::Udp => "_sip._udp.",
            Transport::Tcp => "_sip._tcp.",
            Transport::Tls => "_sips._tcp.",
        }
    }
}

/// What to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// Host part of the URI: a name, an address, an IPv6 address in brackets.
    pub host: &'a str,
    /// The URI's port.
    pub port: Option<u16>,
    /// The URI's transport parameter.
    pub transport: Option<Transport>,
    /// The URI is a `sips` one: nothing but TLS will do.
    pub secure: bool,
}

/// Somewhere to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Address and port.
    pub address: SocketAddr,
    /// How to send.
    pub transport: Transport,
}

/// Why there is nowhere to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// The host part is neither a name nor an address.
    InvalidName,
    /// There is no such name.
    NoSuchName,
    /// The name exists, and has no address.
    NoAddress,
    /// The domain says that it offers no SIP, or none by a transport that is known and allowed here.
    NotOffered,
    /// The name servers could not say; they may later.
    Temporary,
}

/// Which families of addresses are asked for, and which are tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// A only.
    V4Only,
    /// AAAA only.
    V6Only,
    /// Both, A first.
    #[default]
    V4First,
    /// Both, AAAA first.
    V6First,
}

/// How a [`Resolver`] works.
#[derive(Clone, Debug)]
pub struct ResolverOptions {
    /// The name servers; if empty, the system's (`/etc/resolv.conf` and `/etc/hosts`).
    pub name_servers: Vec<SocketAddr>,
    /// The transports this element speaks, the preferred ones first.
    pub transports: Vec<Transport>,
    /// Families of addresses this element can send to.
    pub families: Families,
    /// How long one query may take, of which there are two attempts.
    pub query_timeout: Duration,
    /// How long a name may take altogether.
    pub total_timeout: Duration,
}

impl Default for ResolverOptions {
    fn default() -> ResolverOptions {
        ResolverOptions {
            name_servers: Vec::new(),
            transports: vec![Transport::Udp, Transport::Tcp, Transport::Tls],
            families: Families::default(),
            query_timeout: Duration::from_secs(1),
            total_timeout: Duration::from_secs(6),
        }
    }
}

/// Random numbers, all 64 bits of them: how [`order_srv`] spreads the load.
pub type Random<'a> = &'a mut (dyn FnMut() -> u64 + Send);

/// Resolves names. Cheap to clone; the clones share a cache. Its methods are called on tokio.
#[derive(Clone)]
pub struct Resolver {
    dns: TokioResolver,
    name_servers: usize,
    transports: Vec<Transport>,
    families: Families,
    total_timeout: Duration,
}

/// What a question about SRV records brought.
enum SrvAnswer {
    Records(Vec<Srv>),
    /// The single record with the target "." (RFC 2782): decidedly not here.
    Refused,
    None,
}

impl Resolver {
    /// A resolver with an empty cache. A system without name servers is no failure, since addresses
    /// and the names in `/etc/hosts` are found without: [`name_servers`](Self::name_servers) tells.
    pub fn new(options: &ResolverOptions) -> std::io::Result<Resolver> {
        let (config, mut dns) = if options.name_servers.is_empty() {
            read_system_conf().unwrap_or_default()
        } else {
            let mut config = ResolverConfig::default();
            config.name_servers = options.name_servers.iter().map(name_server).collect();
            (config, ResolverOpts::default())
        };
        Resolver::with_config(config, &mut dns, options)
    }

    fn with_config(
        config: ResolverConfig,
        dns: &mut ResolverOpts,
        options: &ResolverOptions,
    ) -> std::io::Result<Resolver> {
        adjust(dns, options);
        let name_servers = config.name_servers.len();
        let builder = Dns::builder_with_config(config, TokioRuntimeProvider::default());
        let dns = builder
            .with_options(dns.clone())
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Resolver {
            dns,
            name_servers,
            transports: options.transports.clone(),
            families: options.families,
            total_timeout: options.total_timeout,
        })
    }

    /// How many name servers are asked. With none, names other than this machine's are not found
    /// ([`ResolveError::Temporary`]).
    pub fn name_servers(&self) -> usize {
        self.name_servers
    }

    /// The destinations for `query`, the ones to try first in front. At least one; at most
    /// [`DESTINATIONS_MAX`].
    pub async fn resolve(
        &self,
        query: Query<'_>,
        random: Random<'_>,
    ) -> Result<Vec<Destination>, ResolveError> {
        let transport = self.fixed_transport(&query)?;
        if let Some(ip) = literal(query.host) {
            let transport = transport.unwrap_or(self.default_transport(query.secure)?);
            let port = query.port.unwrap_or(transport.default_port());
            return Ok(vec![Destination {
                address: SocketAddr::new(ip, port),
                transport,
            }]);
        }
        let domain = name(query.host)?;
        let search = async {
            if let Some(port) = query.port {
                let transport = transport.unwrap_or(self.default_transport(query.secure)?);
                return self.hosts(vec![(domain, port, transport)]).await;
            }
            self.by_service(domain, transport, query.secure, random)
                .await
        };
        let found = tokio::time::timeout(self.total_timeout, search);
        found.await.unwrap_or(Err(ResolveError::Temporary))
    }

    /// The transport that the URI itself names, if any (RFC 3263 section 4.1).
    fn fixed_transport(&self, query: &Query<'_>) -> Result<Option<Transport>, ResolveError> {
        let transport = match (query.transport, query.secure) {
            (None, _) => return Ok(None),
            (Some(Transport::Udp), true) => return Err(ResolveError::NotOffered),
            (Some(_), true) => Transport::Tls,
            (Some(transport), false) => transport,
        };
        let spoken = self.transports.contains(&transport);
        if spoken {
            Ok(Some(transport))
        } else {
            Err(ResolveError::NotOffered)
        }
    }

    /// The transport where nothing names one: TLS for `sips`, else UDP, or what is spoken instead.
    fn default_transport(&self, secure: bool) -> Result<Transport, ResolveError> {
        let wanted = if secure {
            Transport::Tls
        } else {
            Transport::Udp
        };
        if self.transports.contains(&wanted) {
            return Ok(wanted);
        }
        let other = self.transports.first().copied().filter(|_| !secure);
        other.ok_or(ResolveError::NotOffered)
    }

    /// NAPTR unless the transport is known, then SRV, then addresses of the domain itself.
    async fn by_service(
        &self,
        domain: Name,
        transport: Option<Transport>,
        secure: bool,
        random: Random<'_>,
    ) -> Result<Vec<Destination>, ResolveError> {
        let mut services = match transport {
            Some(_) => Vec::new(),
            None => self.naptr(&domain, secure).await?,
        };
        let named = !services.is_empty();
        if services.is_empty() {
            services = self.services(&domain, transport, secure)?;
        }
        let mut hosts = Vec::new();
        let (mut refused, mut temporary) = (false, false);
        for (transport, answer) in self.srv_answers(services).await {
            match answer {
                Ok(SrvAnswer::Records(records)) => {
                    let mut records = order_srv(records, &mut *random);
                    records.truncate(SRV_MAX);
                    hosts.extend(
                        records
                            .into_iter()
                            .map(|srv| (srv.target, srv.port, transport)),
                    );
                }
                Ok(SrvAnswer::Refused) => refused = true,
                Ok(SrvAnswer::None) => {}
                Err(error) => temporary |= error == ResolveError::Temporary,
            }
        }
        if !hosts.is_empty() {
            return self.hosts(hosts).await;
        }
        if temporary {
            return Err(ResolveError::Temporary);
        }
        if refused {
            return Err(ResolveError::NotOffered);
        }
        if named {
            // NAPTR points to SRV records that are not there: a mistake of the domain's.
            return Err(ResolveError::NoAddress);
        }
        let transport = transport.unwrap_or(self.default_transport(secure)?);
        self.hosts(vec![(domain, transport.default_port(), transport)])
            .await
    }

    /// The SRV names that the domain's NAPTR records point to, in their order; none if it has none.
    async fn naptr(
        &self,
        domain: &Name,
        secure: bool,
    ) -> Result<Vec<(Transport, Name)>, ResolveError> {
        let answer = match self.dns.lookup(domain.clone(), RecordType::NAPTR).await {
            Ok(answer) => answer,
            // Whatever is wrong, the next queries will tell.
            Err(_) => return Ok(Vec::new()),
        };
        let records: Vec<Naptr> = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::NAPTR(naptr) => Naptr::of(naptr),
                _ => None,
            })
            .collect();
        let spoken = |transport| {
            self.transports.contains(&transport) && (!secure || transport == Transport::Tls)
        };
        let has_records = !records.is_empty();
        let chosen = chosen_naptr(records, spoken);
        // RFC 3263 section 4.1: the domain named its transports, and none of them will do.
        if has_records && chosen.is_empty() {
            return Err(ResolveError::NotOffered);
        }
        Ok(chosen)
    }

    /// The SRV names to try without NAPTR.
    fn services(
        &self,
        domain: &Name,
        transport: Option<Transport>,
        secure: bool,
    ) -> Result<Vec<(Transport, Name)>, ResolveError> {
        let wanted = match transport {
            Some(transport) => vec![transport],
            None if secure => vec![self.default_transport(true)?],
            // TLS only where the domain asks for it, by NAPTR, or the URI does.
            None => {
                let plain = self.transports.iter().copied();
                plain
                    .filter(|transport| *transport != Transport::Tls)
                    .collect()
            }
        };
        let named = wanted.into_iter().map(|transport| {
            let service = Name::from_ascii(transport.service()).ok()?;
            Some((transport, service.append_domain(domain).ok()?))
        });
        named
            .collect::<Option<_>>()
            .ok_or(ResolveError::InvalidName)
    }

    /// Asks for the SRV records of all `services` at once; the answers are in their order.
    async fn srv_answers(
        &self,
        services: Vec<(Transport, Name)>,
    ) -> Vec<(Transport, Result<SrvAnswer, ResolveError>)> {
        let asked = services.into_iter().map(|(transport, service)| {
            let dns = self.dns.clone();
            async move { (transport, srv(&dns, service).await) }
        });
        at_once(asked).await
    }

    /// The addresses of hosts, all asked for at once, in the order of the hosts.
    async fn hosts(
        &self,
        hosts: Vec<(Name, u16, Transport)>,
    ) -> Result<Vec<Destination>, ResolveError> {
        let asked = hosts.into_iter().map(|(host, port, transport)| {
            let (dns, families) = (self.dns.clone(), self.families);
            async move { (addresses(&dns, host, families).await, port, transport) }
        });
        let mut found = Vec::new();
        let mut worst = ResolveError::NoSuchName;
        for (outcome, port, transport) in at_once(asked).await {
            match outcome {
                Ok(addresses) => found.extend(addresses.into_iter().map(|ip| Destination {
                    address: SocketAddr::new(ip, port),
                    transport,
                })),
                Err(ResolveError::NoAddress) if worst == ResolveError::NoSuchName => {
                    worst = ResolveError::NoAddress;
                }
                Err(ResolveError::NoSuchName | ResolveError::NoAddress) => {}
                Err(error) => worst = error,
            }
        }
        found.truncate(DESTINATIONS_MAX);
        if found.is_empty() {
            Err(worst)
        } else {
            Ok(found)
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("transports", &self.transports)
            .finish_non_exhaustive()
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

fn adjust(dns: &mut ResolverOpts, options: &ResolverOptions) {
    dns.timeout = options.query_timeout;
    dns.attempts = 2;
    dns.cache_size = CACHE_ANSWERS_MAX;
    dns.ip_strategy = match options.families {
        Families::V4Only => LookupIpStrategy::Ipv4Only,
        Families::V6Only => LookupIpStrategy::Ipv6Only,
        Families::V4First => LookupIpStrategy::Ipv4AndIpv6,
        Families::V6First => LookupIpStrategy::Ipv6AndIpv4,
    };
    // A name that was missing is asked for again soon: somebody is setting it up.
    dns.negative_max_ttl = Some(Duration::from_secs(30));
    dns.positive_max_ttl = Some(Duration::from_secs(86_400));
}

/// The address that `host` is, if it is one.
fn literal(host: &str) -> Option<IpAddr> {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

/// `host` as a name of the DNS. With a dot in it, it is complete; a bare one is looked for in the
/// system's search list too.
fn name(host: &str) -> Result<Name, ResolveError> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || !host.bytes().all(valid) {
        return Err(ResolveError::InvalidName);
    }
    let mut name = Name::from_ascii(host).map_err(|_| ResolveError::InvalidName)?;
    if name.is_root() {
        return Err(ResolveError::InvalidName);
    }
    name.set_fqdn(host.contains('.'));
    Ok(name)
}

async fn srv(dns: &TokioResolver, service: Name) -> Result<SrvAnswer, ResolveError> {
    let answer = match dns.lookup(service, RecordType::SRV).await {
        Ok(answer) => answer,
        Err(error) => {
            return match meaning(&error) {
                ResolveError::NoSuchName | ResolveError::NoAddress => Ok(SrvAnswer::None),
                other => Err(other),
            };
        }
    };
    let records: Vec<Srv> = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.clone(),
            }),
            _ => None,
        })
        .collect();
    let none = records.is_empty();
    let offered: Vec<Srv> = records
        .into_iter()
        .filter(|srv| !srv.target.is_root())
        .collect();
    Ok(match (none, offered.is_empty()) {
        (true, _) => SrvAnswer::None,
        (false, true) => SrvAnswer::Refused,
        (false, false) => SrvAnswer::Records(offered),
    })
}

async fn addresses(
    dns: &TokioResolver,
    host: Name,
    families: Families,
) -> Result<Vec<IpAddr>, ResolveError> {
    let answer = dns.lookup_ip(host).await.map_err(|error| meaning(&error))?;
    let mut addresses: Vec<IpAddr> = answer.iter().collect();
    addresses.sort_by_key(|ip| ip.is_ipv6() != (families == Families::V6First));
    if addresses.is_empty() {
        Err(ResolveError::NoAddress)
    } else {
        Ok(addresses)
    }
}

/// What a failure of the library's says about the name.
fn meaning(error: &NetError) -> ResolveError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => ResolveError::NoSuchName,
            ResponseCode::NoError => ResolveError::NoAddress,
            _ => ResolveError::Temporary,
        },
        _ => ResolveError::Temporary,
    }
}

/// Runs all of `futures` at once; the results are in their order. One that panicked is left out.
async fn at_once<F>(futures: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (index, future) in futures.enumerate() {
        tasks.spawn(async move { (index, future.await) });
    }
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(result) = tasks.join_next().await {
        results.extend(result);
    }
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests;
