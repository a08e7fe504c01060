//! The servers of a service, all of them, with priorities and weights: for who spreads load over them and keeps them
//! in mind.

use super::{
    RecordType, ResolveError, Resolver, SrvAnswer, Transport, addresses, at_once, literal, name,
};
use hickory_resolver::proto::rr::Name;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Most servers of a service that are looked at, the best by priority.
pub const SERVICE_HOSTS_MAX: usize = 128;

/// For how long the address of a bare name is believed where nothing says it.
const ADDRESS_LIFETIME: Duration = Duration::from_secs(30);

/// A server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHost {
    /// Lower ones first (RFC 2782).
    pub priority: u16,
    /// Its share within the priority.
    pub weight: u16,
    /// Its name, without the dot at the end.
    pub host: String,
    /// Where it is.
    pub address: SocketAddr,
}

/// The servers of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Those that have an address. None where the DNS says that there is no such service.
    pub hosts: Vec<ServiceHost>,
    /// For how long that holds.
    pub lifetime: Duration,
}

impl Resolver {
    /// The servers of `domain` for SIP over `transport`: those of its SRV records or, where it has none, the
    /// domain itself (RFC 3263 section 4.2).
    ///
    /// # Errors
    /// [`ResolveError::InvalidName`], or [`ResolveError::Temporary`] when nobody could say.
    pub async fn service(
        &self,
        domain: &str,
        transport: Transport,
    ) -> Result<Service, ResolveError> {
        if literal(domain).is_some() {
            return Err(ResolveError::InvalidName);
        }
        let domain = name(domain)?;
        let search = self.service_of(domain, transport);
        let found = tokio::time::timeout(self.total_timeout, search);
        found.await.unwrap_or(Err(ResolveError::Temporary))
    }

    async fn service_of(
        &self,
        domain: Name,
        transport: Transport,
    ) -> Result<Service, ResolveError> {
        let prefix = Name::from_ascii(transport.service());
        let prefix = prefix.map_err(|_| ResolveError::InvalidName)?;
        let service = prefix.append_domain(&domain);
        let service = service.map_err(|_| ResolveError::InvalidName)?;
        let (records, lifetime) = match super::srv(&self.dns, service.clone()).await? {
            SrvAnswer::Records(records) => (records, self.lifetime_of(service).await),
            SrvAnswer::Refused => (Vec::new(), ADDRESS_LIFETIME),
            SrvAnswer::None => {
                let own = super::Srv {
                    priority: 0,
                    weight: 1,
                    port: transport.default_port(),
                    target: domain,
                };
                (vec![own], ADDRESS_LIFETIME)
            }
        };
        let hosts = self.placed(records).await?;
        Ok(Service { hosts, lifetime })
    }

    /// For how long the answer, which the cache holds by now, is good.
    async fn lifetime_of(&self, service: Name) -> Duration {
        match self.dns.lookup(service, RecordType::SRV).await {
            Ok(answer) => answer
                .valid_until()
                .saturating_duration_since(Instant::now()),
            Err(_) => ADDRESS_LIFETIME,
        }
    }

    /// Looks up where the hosts are; those without an address are left out.
    async fn placed(&self, mut records: Vec<super::Srv>) -> Result<Vec<ServiceHost>, ResolveError> {
        records.sort_by_key(|srv| (srv.priority, srv.target.to_string(), srv.port));
        records.truncate(SERVICE_HOSTS_MAX);
        let asked = records.into_iter().map(|srv| {
            let (dns, families) = (self.dns.clone(), self.families);
            async move { (addresses(&dns, srv.target.clone(), families).await, srv) }
        });
        let mut hosts = Vec::new();
        for (outcome, srv) in at_once(asked).await {
            match outcome {
                Ok(addresses) => hosts.extend(addresses.first().map(|ip| ServiceHost {
                    priority: srv.priority,
                    weight: srv.weight,
                    host: srv.target.to_ascii().trim_end_matches('.').to_owned(),
                    address: SocketAddr::new(*ip, srv.port),
                })),
                Err(ResolveError::NoSuchName | ResolveError::NoAddress) => {}
                // A server that is left out would lose its calls: better what was known before.
                Err(error) => return Err(error),
            }
        }
        Ok(hosts)
    }
}
