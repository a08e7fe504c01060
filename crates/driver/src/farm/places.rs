//! Where targets are: their URIs read, their names looked up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use balancer::{Pools, Signal, TargetId, Time};
use transaction::{Flow, Transport};

/// How often the address of a name is asked for; the resolver's cache knows better when it may have changed.
const LOOKUP_INTERVAL_MS: u64 = 30_000;
/// The same after a name that led nowhere.
const RETRY_INTERVAL_MS: u64 = 2_000;

/// What is counted of a target, beside what the balancer counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) probes: u64,
    pub(super) probe_answers: u64,
    pub(super) failures: u64,
}

/// The next hop that a URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// As the URI says, if it does.
    pub(super) transport: Option<Transport>,
    address: Option<IpAddr>,
}

impl Hop {
    /// Reads a URI; `None` for one that nothing can be sent to.
    pub(super) fn of(uri: &str) -> Option<Hop> {
        let uri = sip::Uri::parse(uri.as_bytes()).ok()?;
        if uri.scheme != sip::Scheme::Sip {
            return None;
        }
        let transport = match uri.params.value(b"transport") {
            None => None,
            Some(text) if text.eq_ignore_ascii_case(b"udp") => Some(Transport::Udp),
            Some(text) if text.eq_ignore_ascii_case(b"tcp") => Some(Transport::Tcp),
            Some(_) => return None,
        };
        Some(Hop {
            host: String::from_utf8(uri.host.bytes.to_vec()).ok()?,
            port: uri.port,
            transport,
            address: uri.host.address,
        })
    }

    fn place(&self) -> Option<(Transport, SocketAddr)> {
        let address = SocketAddr::new(self.address?, self.port.unwrap_or(5060));
        Some((self.transport.unwrap_or(Transport::Udp), address))
    }
}

/// Where one target is.
#[derive(Debug)]
struct Place {
    target: TargetId,
    /// What the verbs know it by.
    name: String,
    uri: Arc<str>,
    /// To be looked up, where it is a name.
    hop: Option<Hop>,
    /// When; never while a look-up is under way.
    lookup_at: Time,
    /// Where it may be, the address that is sent to in front.
    addresses: Vec<(Transport, SocketAddr)>,
    counts: Counts,
}

impl Place {
    fn new(target: TargetId, name: &str, pools: &Pools, now: Time) -> Option<Place> {
        let endpoint = pools.endpoint(target)?;
        let hop = Hop::of(&endpoint.uri);
        let transport = hop.as_ref().and_then(|hop| hop.transport);
        let known = endpoint
            .address
            .map(|address| (transport.unwrap_or(Transport::Udp), address))
            .or_else(|| hop.as_ref()?.place());
        Some(Place {
            target,
            name: name.to_owned(),
            uri: endpoint.uri.as_str().into(),
            lookup_at: match (&hop, known) {
                (Some(_), None) => now,
                _ => Time::MAX,
            },
            hop: hop.filter(|_| known.is_none()),
            addresses: known.into_iter().collect(),
            counts: Counts::default(),
        })
    }

    /// Takes the addresses that its name leads to; gives whether it is somewhere else now.
    fn takes(&mut self, found: &[(Transport, SocketAddr)]) -> bool {
        let is_same = |known: &(Transport, SocketAddr)| found.contains(known);
        let is_known = self.addresses.len() == found.len() && self.addresses.iter().all(is_same);
        if found.is_empty() || is_known {
            return false;
        }
        // Calls go on to the address that they went to, as long as it is one of the name's.
        let current = self.addresses.first().copied().filter(|one| is_same(one));
        let others = found.iter().copied().filter(|one| Some(*one) != current);
        self.addresses = current.into_iter().chain(others).collect();
        true
    }
}

/// Whether who wrote `name` means the target that is called `target`: its whole name, or what comes after `sip:`.
pub(super) fn is_meant(name: &str, target: &str) -> bool {
    target == name || target.strip_prefix("sip:") == Some(name)
}

/// Where all targets are, by their small numbers.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: Vec<Option<Place>>,
    /// When a name is to be looked up next, if there is one that is: this is asked for each call.
    lookup_at: Option<Time>,
}

impl Places {
    /// Takes in new targets and forgets those that are gone.
    pub(super) fn survey(&mut self, pools: &Pools, now: Time) {
        for place in &mut self.places {
            let is_gone = |place: &Place| pools.endpoint(place.target).is_none();
            if place.as_ref().is_some_and(is_gone) {
                *place = None;
            }
        }
        for status in pools.snapshot(now).iter().flat_map(|pool| &pool.targets) {
            let index = status.id.index();
            if self.places.len() <= index {
                self.places.resize_with(index + 1, || None);
            }
            let known = self.places[index].as_ref();
            let endpoint = pools.endpoint(status.id);
            let is_same = |place: &Place| {
                let address = place.addresses.first().map(|(_, address)| *address);
                endpoint.is_some_and(|endpoint| {
                    place.target == status.id
                        && *place.uri == *endpoint.uri
                        && (endpoint.address.is_none() || endpoint.address == address)
                })
            };
            if !known.is_some_and(is_same) {
                let counts = known.filter(|place| place.target == status.id);
                let counts = counts.map(|place| place.counts).unwrap_or_default();
                let place = Place::new(status.id, &status.name, pools, now);
                self.places[index] = place.map(|place| Place { counts, ..place });
            }
        }
        self.plan_lookups();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.iter().all(Option::is_none)
    }

    fn of(&self, target: TargetId) -> Option<&Place> {
        let place = self.places.get(target.index())?.as_ref();
        place.filter(|place| place.target == target)
    }

    fn of_mut(&mut self, target: TargetId) -> Option<&mut Place> {
        let place = self.places.get_mut(target.index())?.as_mut();
        place.filter(|place| place.target == target)
    }

    /// Where to send to; none while its name has led nowhere.
    pub(super) fn address(&self, target: TargetId) -> Option<(Transport, SocketAddr)> {
        self.of(target)?.addresses.first().copied()
    }

    /// The target at an address.
    pub(super) fn target_at(&self, at: (Transport, SocketAddr)) -> Option<TargetId> {
        let mut places = self.places.iter().flatten();
        let found = places.find(|place| place.addresses.contains(&at))?;
        Some(found.target)
    }

    pub(super) fn uri(&self, target: TargetId) -> Option<Arc<str>> {
        self.of(target).map(|place| place.uri.clone())
    }

    /// The name of a target, for people.
    pub(super) fn name(&self, target: TargetId) -> Option<String> {
        self.of(target).map(|place| place.name.clone())
    }

    /// The targets that who wrote `name` means.
    pub(super) fn named(&self, name: &str) -> Vec<TargetId> {
        let places = self.places.iter().flatten();
        let meant = places.filter(|place| is_meant(name, &place.name));
        meant.map(|place| place.target).collect()
    }

    /// The names that there are.
    pub(super) fn names(&self) -> Vec<String> {
        let places = self.places.iter().flatten();
        places.map(|place| place.name.clone()).collect()
    }

    pub(super) fn counts(&self, target: TargetId) -> Counts {
        self.of(target)
            .map(|place| place.counts)
            .unwrap_or_default()
    }

    /// Counts what was noticed.
    pub(super) fn count(&mut self, target: TargetId, signal: &Signal) {
        let Some(place) = self.of_mut(target) else {
            return;
        };
        let counts = &mut place.counts;
        match signal {
            Signal::Timeout | Signal::Unreachable => counts.failures += 1,
            Signal::Answered { status, .. } => counts.failures += u64::from(*status >= 500),
            Signal::ProbeAnswered { .. } => counts.probe_answers += 1,
            _ => {}
        }
    }

    pub(super) fn count_probe(&mut self, target: TargetId) {
        if let Some(place) = self.of_mut(target) {
            place.counts.probes += 1;
        }
    }

    /// When a name is to be looked up next.
    pub(super) fn next(&self) -> Time {
        self.lookup_at.unwrap_or(Time::MAX)
    }

    fn plan_lookups(&mut self) {
        let names = self.places.iter().flatten();
        let names = names.filter(|place| place.hop.is_some());
        self.lookup_at = names.map(|place| place.lookup_at).min();
    }

    /// Takes out a name that is to be looked up now.
    pub(super) fn take_lookup(&mut self, now: Time) -> Option<(TargetId, Hop)> {
        let mut places = self.places.iter_mut().flatten();
        let place = places.find(|place| place.hop.is_some() && place.lookup_at <= now)?;
        place.lookup_at = Time::MAX;
        let taken = (place.target, place.hop.clone()?);
        self.plan_lookups();
        Some(taken)
    }

    /// What the look-up brought. Gives whether the target is somewhere else now. Nothing found changes nothing: the
    /// name servers may be away.
    pub(super) fn looked_up(
        &mut self,
        target: TargetId,
        now: Time,
        found: &[(Transport, SocketAddr)],
    ) -> bool {
        let Some(place) = self.of_mut(target) else {
            return false;
        };
        let after_ms = match found.is_empty() {
            true => RETRY_INTERVAL_MS,
            false => LOOKUP_INTERVAL_MS,
        };
        place.lookup_at = now.plus_ms(after_ms);
        let is_moved = place.takes(found);
        self.plan_lookups();
        is_moved
    }

    pub(super) fn addresses(&self) -> Addresses {
        let places = self.places.iter().flatten();
        let all = places.flat_map(|place| &place.addresses);
        let mut sorted: Vec<_> = all.map(|(transport, at)| key(*transport, *at)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Addresses { sorted }
    }
}

/// Where targets send from: over UDP from their port; over TCP from any port of their host.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    sorted: Vec<(IpAddr, u16)>,
}

fn key(transport: Transport, address: SocketAddr) -> (IpAddr, u16) {
    let port = match transport {
        Transport::Udp => address.port(),
        // No datagram comes from it.
        Transport::Tcp => 0,
    };
    (address.ip(), port)
}

impl Addresses {
    pub(super) fn has(&self, flow: &Flow) -> bool {
        self.sorted
            .binary_search(&key(flow.transport, flow.remote))
            .is_ok()
    }
}
