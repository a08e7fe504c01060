//! Which of this machine's addresses a datagram to a given destination would leave from.

use crate::sys::{Kind, Socket};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Most destinations a [`RouteCache`] remembers; when it is full it starts afresh.
pub const ROUTES_MAX: usize = 4_096;

/// The local address that the kernel's routing table chooses for `destination`. Sends nothing.
/// An error says that there is no route.
pub fn local_address_for(destination: SocketAddr) -> io::Result<IpAddr> {
    let socket = Socket::open(Kind::Datagram, destination)?;
    // Connecting a datagram socket only looks the route up. Port 0 would undo the connection.
    let port = if destination.port() == 0 {
        9
    } else {
        destination.port()
    };
    let mut target = destination;
    target.set_port(port);
    socket.connect(target)?;
    Ok(socket.local_address()?.ip())
}

/// Remembers what [`local_address_for`] said, since a look-up costs three system calls.
#[derive(Debug)]
pub struct RouteCache {
    lifetime: Duration,
    routes: HashMap<IpAddr, (IpAddr, Instant)>,
}

impl RouteCache {
    /// A cache whose entries are trusted for `lifetime` (routes change seldom; a few seconds).
    pub fn new(lifetime: Duration) -> RouteCache {
        RouteCache {
            lifetime,
            routes: HashMap::new(),
        }
    }

    /// As [`local_address_for`], from memory where an entry is young enough at `now`. Failures are
    /// not remembered.
    pub fn local_address_for(
        &mut self,
        destination: SocketAddr,
        now: Instant,
    ) -> io::Result<IpAddr> {
        if let Some((local, until)) = self.routes.get(&destination.ip())
            && now < *until
        {
            return Ok(*local);
        }
        let local = local_address_for(destination)?;
        if self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
        }
        self.routes
            .insert(destination.ip(), (local, now + self.lifetime));
        Ok(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn loopback_is_reached_from_loopback() {
        for port in [0, 5060] {
            let target = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 5).into(), port);
            let local = local_address_for(target).expect("a route");
            assert!(local.is_loopback(), "{local}");
        }
        if std::net::UdpSocket::bind("[::1]:0").is_err() {
            eprintln!("SKIPPED for IPv6: this machine has no ::1");
            return;
        }
        let target = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 5060);
        assert_eq!(
            local_address_for(target).expect("a route"),
            Ipv6Addr::LOCALHOST
        );
    }

    #[test]
    fn a_route_is_looked_up_again_when_its_time_is_over() {
        let now = Instant::now();
        let mut cache = RouteCache::new(Duration::from_secs(5));
        let target = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 5060);
        let real = cache.local_address_for(target, now).expect("a route");
        let stale = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        cache.routes.get_mut(&target.ip()).expect("remembered").0 = stale;
        let soon = now + Duration::from_secs(4);
        assert_eq!(
            cache.local_address_for(target, soon).expect("remembered"),
            stale
        );
        let late = now + Duration::from_secs(5);
        assert_eq!(
            cache.local_address_for(target, late).expect("a route"),
            real
        );
    }

    #[test]
    fn the_cache_is_bounded() {
        let now = Instant::now();
        let mut cache = RouteCache::new(Duration::from_secs(5));
        for index in 0..ROUTES_MAX as u32 + 10 {
            let target = SocketAddr::new(Ipv4Addr::from(0x7f00_0001 + index).into(), 5060);
            cache.local_address_for(target, now).expect("a route");
            assert!(cache.routes.len() <= ROUTES_MAX);
        }
    }
}
