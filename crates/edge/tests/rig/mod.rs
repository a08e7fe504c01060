//! An edge with an in-memory directory and scripted peers, for tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::panic,
    reason = "each test file uses its part"
)]

mod farm;
mod media;
mod message;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use edge::overload::Gate;
use edge::sources::Sources;
use edge::{AuthSettings, Directory, Edge, Now, Output, Settings};
use proxy::{Listener, MediaPort, Network, NoPorts};
use registrar::{BindingRow, Location};
use sip::digest::{
    Algorithm, FreshNonce, Ha1, NonceSource, Replay, ReplayFilter, ResponseInput, WithoutQop,
};
use transaction::{Flow, Time, Timers, Transport};

#[allow(unused_imports, reason = "not every test file has media")]
pub use media::{Media, relayed, sdp, with_sdp};
pub use message::{Sip, answer, request};

/// Unix time at the beginning of each test.
pub const EPOCH_MS: u64 = 1_800_000_000_000;
/// The edge.
pub const EDGE: &str = "192.0.2.1:5060";
/// Peers of 192.0.2.0/24 need no credentials, others do.
pub const ALICE: &str = "192.0.2.10:5060";
pub const BOB: &str = "192.0.2.20:5060";
pub const CAROL: &str = "192.0.2.30:5060";
pub const DAVE: &str = "192.0.2.40:5060";
/// One that has to say who he is.
pub const STRANGER: &str = "198.51.100.7:5060";

pub fn udp(remote: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        remote: remote.parse().expect("an address"),
        local: EDGE.parse().expect("an address"),
    }
}

pub fn tcp(remote: &str) -> Flow {
    Flow {
        transport: Transport::Tcp,
        ..udp(remote)
    }
}

pub struct Users {
    pub passwords: HashMap<&'static str, &'static str>,
    pub location: Location,
    pub unreachable: HashSet<SocketAddr>,
    /// Peers whose streams are closed.
    pub closed: HashSet<SocketAddr>,
    ids: u64,
    uniques: u64,
    replay: ReplayFilter,
    pub media: Media,
    pub farm: farm::Farm,
    pub sources: Sources,
    pub gate: Gate,
}

impl proxy::MediaPorts for Users {
    fn take_ports(&mut self, local: IpAddr, relay: Option<u16>) -> Result<MediaPort, NoPorts> {
        self.media.take_ports(local, relay)
    }

    fn claim(&mut self, address: SocketAddr) -> Option<MediaPort> {
        self.media.claim(address)
    }

    fn give_back(&mut self, port: MediaPort) {
        self.media.give_back(port);
    }

    fn command(&mut self, relay: u16, command: relay::Command) {
        self.media.command(relay, command);
    }

    fn thread(&self) -> u8 {
        7
    }
}

impl proxy::Farm for Users {
    fn choose(
        &mut self,
        pool: balancer::PoolId,
        call: &balancer::Call<'_>,
        is_call: bool,
        tried: &[balancer::TargetId],
    ) -> Result<proxy::Chosen, balancer::NoTarget> {
        self.farm.choose(pool, call, is_call, tried)
    }

    fn pool_name(&mut self, _: balancer::PoolId, name: &mut Vec<u8>) {
        name.extend_from_slice(self.farm.name.as_bytes());
    }

    fn find_pool(&mut self, name: &[u8]) -> Option<balancer::PoolId> {
        let pools = self.farm.pools.as_ref()?;
        pools.find(std::str::from_utf8(name).ok()?)
    }

    fn adopt(
        &mut self,
        _: balancer::PoolId,
        (_, remote): (Transport, SocketAddr),
        is_call: bool,
    ) -> Option<proxy::Chosen> {
        self.farm.adopt(remote, is_call)
    }

    fn release(&mut self, slot: balancer::CallSlot) {
        self.farm.release(slot);
    }

    fn report(&mut self, target: balancer::TargetId, signal: balancer::Signal) {
        self.farm.report(target, signal);
    }

    fn is_target(&mut self, flow: &Flow) -> bool {
        self.farm.is_target(flow)
    }
}

impl Network for Users {
    fn flow_to(&mut self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        if self.unreachable.contains(&remote) || remote.is_ipv6() {
            return None;
        }
        Some(Flow {
            transport,
            remote,
            local: EDGE.parse().expect("an address"),
        })
    }

    fn is_open(&mut self, flow: &Flow) -> bool {
        flow.transport == Transport::Udp || !self.closed.contains(&flow.remote)
    }
}

impl Directory for Users {
    fn credential(&mut self, user: &[u8], domain: &[u8], algorithm: Algorithm) -> Option<Ha1> {
        let user = std::str::from_utf8(user).ok()?;
        let password = self.passwords.get(user)?;
        (domain == b"example.org")
            .then(|| Ha1::compute(algorithm, user.as_bytes(), domain, password.as_bytes()))
    }

    fn has_user(&mut self, aor: &[u8]) -> bool {
        let aor = String::from_utf8_lossy(aor);
        aor.strip_suffix("@example.org")
            .is_some_and(|user| self.passwords.contains_key(user))
    }

    fn location<R>(
        &mut self,
        _: &[u8],
        work: impl FnOnce(&mut Location, &mut dyn FnMut() -> u64) -> R,
    ) -> R {
        let ids = &mut self.ids;
        work(&mut self.location, &mut || {
            *ids += 1;
            *ids
        })
    }

    fn note_binding(&mut self, id: u64) {
        self.ids = self.ids.max(id);
    }

    fn admit_nonce(&mut self, nonce: &FreshNonce, count: Option<u32>) -> Replay {
        self.replay.admit(nonce, count)
    }

    fn unique(&mut self) -> u64 {
        self.uniques += 1;
        self.uniques
    }

    fn gate<R>(&mut self, work: impl FnOnce(&mut Gate) -> R) -> Option<R> {
        Some(work(&mut self.gate))
    }

    fn sources<R>(&mut self, _: IpAddr, work: impl FnOnce(&mut Sources) -> R) -> Option<R> {
        Some(work(&mut self.sources))
    }
}

pub struct Rig {
    pub edge: Edge,
    pub settings: Settings,
    pub users: Users,
    pub output: Output,
    pub now_ms: u64,
    /// What was sent and not yet taken.
    pub sent: Vec<Sip>,
    /// Whether held answers are stored at once.
    pub stores: bool,
    /// What came of calls, as text.
    pub calls: Vec<String>,
}

pub fn settings() -> Settings {
    let listener = |transport| Listener {
        transport,
        local: EDGE.parse().expect("an address"),
        advertise: None,
    };
    Settings {
        proxy: proxy::Settings {
            domains: vec![b"example.org".as_slice().into()],
            listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
            own_addresses: Vec::new(),
            record_route: true,
            max_breadth: 60,
            serial_ring_ms: 10_000,
            pool: proxy::pool::Settings::default(),
            media: proxy::media::Settings::default(),
            cookie_secret: (11, 12),
        },
        registrar: registrar::Policy::default(),
        auth: AuthSettings {
            algorithms: vec![Algorithm::Md5],
            nonces: NonceSource::new([7; 16], EPOCH_MS),
            without_qop: WithoutQop::Refuse,
            trusted: vec!["192.0.2.0/24".parse().expect("a net")],
        },
        pool_routes: Vec::new(),
        sources: edge::sources::SourceLimits::default(),
        overload: edge::overload::OverloadLimits::default(),
        limits: sip::Limits::default(),
        timers: Timers::default(),
        retry_after_s: 5,
    }
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(settings())
    }

    pub fn with(settings: Settings) -> Rig {
        let output = Output {
            is_watched: true,
            ..Output::default()
        };
        Rig {
            edge: Edge::new(Time::from_ms(1_000), (1, 2), &settings),
            settings,
            users: Users {
                passwords: [("alice", "a"), ("bob", "b"), ("carol", "c"), ("dave", "d")].into(),
                location: Location::new((3, 4)),
                unreachable: HashSet::new(),
                closed: HashSet::new(),
                ids: 0,
                uniques: 0,
                replay: ReplayFilter::new(1_024),
                media: Media::new(100),
                farm: farm::Farm::new(),
                sources: Sources::new((5, 6), 1_024, 1_024),
                gate: Gate::new(8),
            },
            output,
            now_ms: 1_000,
            sent: Vec::new(),
            stores: true,
            calls: Vec::new(),
        }
    }

    /// An edge where bob has one phone at [`BOB`].
    pub fn with_bob() -> Rig {
        let mut rig = Rig::new();
        rig.bind("bob", "sip:bob@192.0.2.20:5060", 1_000, None, "");
        rig
    }

    pub fn now(&self) -> Now {
        Now {
            time: Time::from_ms(self.now_ms),
            unix_ms: EPOCH_MS + self.now_ms,
        }
    }

    /// Binds a contact as a REGISTER long ago would have.
    pub fn bind(&mut self, user: &str, contact: &str, q: u16, flow: Option<Flow>, path: &str) {
        self.users.ids += 1;
        let row = BindingRow {
            aor: format!("{user}@example.org").into_bytes().into(),
            id: self.users.ids,
            contact: contact.as_bytes().into(),
            q_thousandths: Some(q),
            expires_at_unix_s: EPOCH_MS / 1_000 + 3_600_000,
            refreshed_at_unix_s: EPOCH_MS / 1_000,
            flow: flow.unwrap_or(udp("192.0.2.99:5060")),
            behind_nat: flow.is_some(),
            use_flow: flow.is_some(),
            path: path.as_bytes().into(),
            instance: b"".as_slice().into(),
            reg_id: None,
            call_id: b"bind".as_slice().into(),
            cseq: 1,
            user_agent: b"".as_slice().into(),
        };
        assert!(self.users.location.restore(&row));
    }

    /// Feeds a message that came on `flow`; what is sent is kept for [`Rig::take`].
    pub fn feed_on(&mut self, flow: Flow, text: &str) {
        let now = self.now();
        self.edge.receive(
            &self.settings,
            now,
            text.as_bytes(),
            flow,
            &mut self.users,
            &mut self.output,
        );
        self.settle();
    }

    /// Feeds a datagram.
    pub fn feed(&mut self, from: &str, text: &str) {
        self.feed_on(udp(from), text);
    }

    /// Moves the time on by `ms`, doing what becomes due when it does.
    pub fn wait(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            self.poll();
            let next = self.edge.next(self.now().time).map(|next| next.as_ms());
            match next {
                Some(next) if next <= end => self.now_ms = next.max(self.now_ms + 1).min(end),
                _ => break,
            }
            if self.now_ms == end {
                break;
            }
        }
        self.now_ms = end;
        self.poll();
    }

    pub fn poll(&mut self) {
        let now = self.now();
        self.edge
            .poll(&self.settings, now, &mut self.users, &mut self.output);
        self.settle();
    }

    /// Takes what was sent out of the output.
    pub fn collect(&mut self) {
        for (bytes, flow) in self.output.outbox.iter() {
            self.sent.push(Sip::read(bytes, *flow));
        }
        self.output.outbox.clear();
    }

    fn settle(&mut self) {
        self.collect();
        for proxy::Event::Call { call, note } in self.output.calls.drain(..) {
            self.calls.push(format!("{note:?}"));
            assert!(!call.call_id.is_empty());
        }
        if self.stores {
            self.store(true);
        }
    }

    /// Says that what was to be stored is durable, or could not be.
    pub fn store(&mut self, is_durable: bool) {
        let now = self.now();
        self.output.durable.clear();
        self.output.deferred.clear();
        self.output.renewals.clear();
        for token in std::mem::take(&mut self.output.commits) {
            self.edge.stored(
                &self.settings,
                now,
                (token, is_durable),
                &mut self.users,
                &mut self.output,
            );
        }
        self.collect();
    }

    /// Answers the look-up of `host` with addresses.
    pub fn resolve(&mut self, host: &str, addresses: &[&str]) {
        let place = self
            .output
            .resolves
            .iter()
            .position(|resolve| *resolve.host == *host.as_bytes())
            .expect("the name was asked for");
        let resolve = self.output.resolves.remove(place);
        let addresses: Vec<_> = addresses
            .iter()
            .map(|address| (Transport::Udp, address.parse().expect("an address")))
            .collect();
        let now = self.now();
        self.edge.resolved(
            &self.settings,
            now,
            (resolve.token, &addresses),
            &mut self.users,
            &mut self.output,
        );
        self.settle();
    }

    /// Says that a message could not be delivered.
    pub fn undelivered(&mut self, message: &Sip) {
        let now = self.now();
        self.edge.undelivered(
            &self.settings,
            now,
            message.text.as_bytes(),
            &mut self.users,
            &mut self.output,
        );
        self.settle();
    }

    /// Says that the flow to `remote` broke.
    pub fn break_flow(&mut self, remote: &str) {
        let remote: SocketAddr = remote.parse().expect("an address");
        let now = self.now();
        assert!(self.edge.may_wait_for(remote));
        self.edge.flow_failed(
            &self.settings,
            now,
            |flow| flow.remote == remote,
            &mut self.users,
            &mut self.output,
        );
        self.settle();
    }

    /// Says that a target of a pool is dead.
    pub fn target_lost(&mut self, address: &str) {
        let target = self.users.farm.target_at(address);
        let now = self.now();
        self.edge.target_lost(
            &self.settings,
            now,
            target,
            &mut self.users,
            &mut self.output,
        );
        self.settle();
    }

    /// Probes the targets that are due.
    pub fn probe_all(&mut self) {
        self.users.farm.now_ms = self.now_ms;
        for (target, number) in self.users.farm.due() {
            let remote = self.users.farm.address(target).expect("an address");
            let uri = format!("sip:{remote}");
            let probe = edge::Probe {
                call_id: "probe-1",
                target,
                number,
                uri: &uri,
                transport: Transport::Udp,
                remote,
            };
            self.edge
                .probe(&self.settings, &probe, &mut self.users, &mut self.output);
        }
        self.settle();
    }

    /// Takes everything that was sent.
    pub fn take(&mut self) -> Vec<Sip> {
        std::mem::take(&mut self.sent)
    }

    /// Takes the one message that was sent to `to`.
    #[track_caller]
    pub fn to(&mut self, to: &str) -> Sip {
        let to: SocketAddr = to.parse().expect("an address");
        let place = self.sent.iter().position(|sent| sent.flow.remote == to);
        match place {
            Some(place) => self.sent.remove(place),
            None => panic!("nothing was sent to {to}: {:#?}", self.lines()),
        }
    }

    /// Asserts that nothing (more) was sent.
    #[track_caller]
    pub fn quiet(&self) {
        assert!(self.sent.is_empty(), "{:#?}", self.lines());
    }

    fn lines(&self) -> Vec<String> {
        let line = |sent: &Sip| format!("{} {}", sent.flow.remote, sent.first());
        self.sent.iter().map(line).collect()
    }

    /// Sends `invite` from Alice, takes the 100 and gives what Bob gets.
    #[track_caller]
    pub fn invite(&mut self, invite: &str) -> Sip {
        self.feed(ALICE, invite);
        assert_eq!(self.to(ALICE).status(), 100);
        let sent = self.to(BOB);
        assert_eq!(sent.method(), "INVITE");
        sent
    }

    /// Lets time pass until everything is forgotten, and asserts that it is.
    #[track_caller]
    pub fn forgets(mut self) {
        self.wait(400_000);
        self.has_forgotten();
    }

    /// Asserts that every table is empty.
    #[track_caller]
    pub fn has_forgotten(&mut self) {
        assert_eq!(self.edge.transactions(), (0, 0), "transactions");
        assert_eq!(self.edge.tables(), edge::Tables::default());
        assert_eq!(self.edge.calls().len(), 0, "calls");
        assert!(self.edge.is_idle());
        for peer in [ALICE, BOB, CAROL, DAVE, STRANGER] {
            assert!(!self.edge.may_wait_for(peer.parse().expect("an address")));
        }
        let counters = self.edge.counters();
        assert_eq!(
            counters.calls_started,
            counters.calls_failed + counters.calls_answered
        );
        assert_eq!(counters.calls_answered, counters.calls_ended);
        assert!(self.output.commits.is_empty());
        self.users.media.has_forgotten();
        self.users.farm.has_forgotten();
    }
}

/// The value of a credentials header for `challenge`.
pub fn credentials(user: &str, password: &str, method: &str, uri: &str, challenge: &str) -> String {
    credentials_counted(user, password, method, uri, challenge, 1)
}

/// As [`credentials`], for the `count`th use of the nonce.
pub fn credentials_counted(
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
    challenge: &str,
    count: u32,
) -> String {
    let quoted = |name: &str| {
        let at = challenge.find(name).expect("in the challenge") + name.len();
        let rest = &challenge[at + 2..];
        rest[..rest.find('"').expect("closed")].to_owned()
    };
    let (realm, nonce) = (quoted("realm"), quoted("nonce"));
    let ha1 = Ha1::compute(
        Algorithm::Md5,
        user.as_bytes(),
        realm.as_bytes(),
        password.as_bytes(),
    );
    let nc = format!("{count:08x}");
    let input = ResponseInput {
        method: method.as_bytes(),
        uri: uri.as_bytes(),
        nonce: nonce.as_bytes(),
        protection: Some((nc.as_bytes(), b"c", b"auth")),
    };
    let response = input.response(&ha1).to_hex();
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{}\", algorithm=MD5, qop=auth, nc={nc}, cnonce=\"c\"",
        response.as_str()
    )
}
