//! The edge's core under a script of messages, mutated ones among them, while time goes on: nothing
//! panics, no input makes it send more than a bounded number of messages, every message that it sends
//! names where its answer goes, and when all is quiet it has forgotten everything.
#![no_main]

mod script;

use std::net::SocketAddr;

use edge::{AuthSettings, Directory, Edge, Now, Output, Settings};
use libfuzzer_sys::fuzz_target;
use proxy::{Listener, Network, Stage};
use registrar::{BindingRow, Location};
use script::{Answer, Follow, Script, Step};
use sip::digest::{Algorithm, FreshNonce, Ha1, NonceSource, Replay, ReplayFilter, WithoutQop};
use transaction::{Flow, Time, Timers, Transport};

const EPOCH_MS: u64 = 1_800_000_000_000;
/// A request to as many places as one may have bound, a response for each and something over.
const SENDS_MAX: usize = 64;
/// Long enough for timer C and what comes after it.
const IDLE_MS: u64 = 400_000;

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    for step in Script::new(data) {
        world.step(step);
    }
    world.ends();
});

struct World {
    edge: Edge,
    settings: Settings,
    users: Users,
    output: Output,
    now_ms: u64,
    /// What was sent last, with where it went.
    sent: Vec<(Vec<u8>, Flow)>,
}

impl World {
    fn new() -> World {
        let settings = settings();
        World {
            edge: Edge::new(Time::ZERO, (1, 2), &settings),
            settings,
            users: Users::new(),
            output: Output::default(),
            now_ms: 0,
            sent: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            time: Time::from_ms(self.now_ms),
            unix_ms: EPOCH_MS + self.now_ms,
        }
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Message(flow, bytes) => self.feed(flow, &bytes),
            Step::Answer(answer) => self.answer(&answer),
            Step::Follow(follow) => self.follow(&follow),
            Step::Return(which) => {
                if let Some((bytes, flow)) = self.nth_sent(which) {
                    self.feed(flow, &bytes);
                }
            }
            Step::Wait(ms) => self.wait(ms),
            Step::Resolve(addresses) => self.resolve(addresses),
            Step::Undelivered(which) => {
                if let Some((bytes, _)) = self.nth_sent(which) {
                    let now = self.now();
                    self.edge.undelivered(
                        &self.settings,
                        now,
                        &bytes,
                        &mut self.users,
                        &mut self.output,
                    );
                    self.check(SENDS_MAX);
                }
            }
            Step::Lose(remote) => {
                let now = self.now();
                let is_lost = |flow: &Flow| flow.remote == remote;
                self.edge.flow_failed(
                    &self.settings,
                    now,
                    is_lost,
                    &mut self.users,
                    &mut self.output,
                );
                self.check(usize::MAX);
            }
            Step::Store(is_durable) => self.store(is_durable),
            Step::Drain(is_draining) => self.edge.drain(is_draining),
        }
    }

    fn feed(&mut self, flow: Flow, bytes: &[u8]) {
        let now = self.now();
        self.edge.receive(
            &self.settings,
            now,
            bytes,
            flow,
            &mut self.users,
            &mut self.output,
        );
        self.check(SENDS_MAX);
    }

    /// One of the last messages that were sent, to be sent back.
    fn nth_sent(&self, which: u8) -> Option<(Vec<u8>, Flow)> {
        let count = self.sent.len().min(16);
        let back = usize::from(which).checked_rem(count)? + 1;
        self.sent.get(self.sent.len() - back).cloned()
    }

    fn answer(&mut self, answer: &Answer<'_>) {
        let requests: Vec<_> = self
            .sent
            .iter()
            .rev()
            .filter(|(bytes, _)| !bytes.starts_with(b"SIP/2.0"))
            .take(16)
            .collect();
        let Some((request, flow)) = requests.get(usize::from(answer.which)) else {
            return;
        };
        let (bytes, flow) = (answer.to(request), *flow);
        self.feed(flow, &bytes);
    }

    fn follow(&mut self, follow: &Follow<'_>) {
        let responses = self.sent.iter().rev();
        let recorded = responses
            .map(|(bytes, _)| bytes)
            .filter(|bytes| bytes.starts_with(b"SIP/2.0 ") && !bytes.starts_with(b"SIP/2.0 1"))
            .nth(usize::from(follow.which) % 4);
        if let Some(bytes) = recorded.map(|response| follow.to(response)) {
            self.feed(follow.flow, &bytes);
        }
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            self.poll();
            let next = self.edge.next(self.now().time).map(|next| next.as_ms());
            match next.filter(|&next| next <= end && self.now_ms < end) {
                Some(next) => self.now_ms = next.max(self.now_ms + 1),
                None => break,
            }
        }
        self.now_ms = end;
        self.poll();
    }

    fn poll(&mut self) {
        let now = self.now();
        self.edge
            .poll(&self.settings, now, &mut self.users, &mut self.output);
        self.check(usize::MAX);
    }

    fn resolve(&mut self, addresses: &[(Transport, SocketAddr)]) {
        let Some(resolve) = self.output.resolves.pop() else {
            return;
        };
        let now = self.now();
        let answer = (resolve.token, addresses);
        self.edge.resolved(
            &self.settings,
            now,
            answer,
            &mut self.users,
            &mut self.output,
        );
        self.check(SENDS_MAX);
    }

    fn store(&mut self, is_durable: bool) {
        let now = self.now();
        for token in std::mem::take(&mut self.output.commits) {
            let word = (token, is_durable);
            self.edge
                .stored(&self.settings, now, word, &mut self.users, &mut self.output);
        }
        self.output.durable.clear();
        self.output.deferred.clear();
        self.check(usize::MAX);
    }

    fn check(&mut self, sends_max: usize) {
        assert!(self.output.outbox.len() <= sends_max);
        for (bytes, flow) in self.output.outbox.iter() {
            let mut index = sip::Index::new();
            let message = index
                .parse(bytes, &sip::Limits::default())
                .expect("what is sent is SIP");
            assert!(
                message.has(sip::HeaderName::Via),
                "an answer has a way to go"
            );
            self.sent.push((bytes.to_vec(), *flow));
        }
        self.output.outbox.clear();
        if self.sent.len() > 256 {
            self.sent.drain(..128);
        }
    }

    /// All that was asked is answered; then it is quiet.
    fn ends(mut self) {
        self.store(false);
        // The next place of a request may be a name again.
        for _ in 0..script::PLACES_MAX {
            while !self.output.resolves.is_empty() {
                self.resolve(&[]);
            }
            self.wait(IDLE_MS);
            if self.output.resolves.is_empty() {
                break;
            }
        }
        assert!(self.output.resolves.is_empty() && self.output.commits.is_empty());
        assert_eq!(self.edge.transactions(), (0, 0));
        assert_eq!(self.edge.tables(), edge::Tables::default());
        assert!(self.edge.is_idle());
        let calls = self.edge.calls();
        assert!(calls.iter().all(|call| call.stage == Stage::Answered));
        let counters = self.edge.counters();
        let ended = counters.calls_failed + counters.calls_answered;
        assert_eq!(counters.calls_started, ended);
        assert_eq!(
            counters.calls_answered - counters.calls_ended,
            calls.len() as u64
        );
    }
}

fn settings() -> Settings {
    let listener = |transport| Listener {
        transport,
        local: script::edge(),
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

struct Users {
    location: Location,
    replay: ReplayFilter,
    number: u64,
}

impl Users {
    fn new() -> Users {
        let mut users = Users {
            location: Location::new((3, 4)),
            replay: ReplayFilter::new(1_024),
            number: 0,
        };
        let bindings = [
            ("bob", "sip:bob@192.0.2.20", 1_000, false),
            ("bob", "sip:bob@10.0.0.2", 1_000, true),
            ("bob", "sip:bob@192.0.2.30;transport=tcp", 500, false),
            ("bob", "sip:bob@phone.example", 500, false),
            ("bob", "sip:bob@[2001:db8::1]", 400, false),
            ("carol", "sip:bob@example.org", 1_000, true),
            ("carol", "sip:carol@192.0.2.1", 900, false),
            ("dave", "sip:dave@name.example", 1_000, false),
        ];
        for (user, contact, q, use_flow) in bindings {
            users.number += 1;
            let row = BindingRow {
                aor: format!("{user}@example.org").into_bytes().into(),
                id: users.number,
                contact: contact.as_bytes().into(),
                q_thousandths: Some(q),
                expires_at_unix_s: EPOCH_MS / 1_000 + 36_000_000,
                refreshed_at_unix_s: EPOCH_MS / 1_000,
                flow: script::flow(2),
                behind_nat: use_flow,
                use_flow,
                path: b"".as_slice().into(),
                instance: b"".as_slice().into(),
                reg_id: None,
                call_id: b"bind".as_slice().into(),
                cseq: 1,
                user_agent: b"".as_slice().into(),
            };
            assert!(users.location.restore(&row));
        }
        users
    }
}

impl proxy::MediaPorts for Users {}

impl proxy::Farm for Users {}

impl Network for Users {
    fn flow_to(&mut self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        remote.is_ipv4().then_some(Flow {
            transport,
            remote,
            local: script::edge(),
        })
    }

    fn is_open(&mut self, flow: &Flow) -> bool {
        self.number += 1;
        flow.transport == Transport::Udp || !self.number.is_multiple_of(3)
    }
}

impl Directory for Users {
    fn credential(&mut self, user: &[u8], domain: &[u8], algorithm: Algorithm) -> Option<Ha1> {
        Some(Ha1::compute(algorithm, user, domain, b"secret"))
    }

    fn has_user(&mut self, aor: &[u8]) -> bool {
        aor.len().is_multiple_of(2)
    }

    fn location<R>(
        &mut self,
        _: &[u8],
        work: impl FnOnce(&mut Location, &mut dyn FnMut() -> u64) -> R,
    ) -> R {
        let number = &mut self.number;
        work(&mut self.location, &mut || {
            *number += 1;
            *number
        })
    }

    fn admit_nonce(&mut self, nonce: &FreshNonce, count: Option<u32>) -> Replay {
        self.replay.admit(nonce, count)
    }

    fn unique(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}
