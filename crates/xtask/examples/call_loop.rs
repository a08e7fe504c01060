//! Whole calls and registrations through the edge's core, without sockets, for instruction counts and
//! profiles: `call_loop call|register|owner-call|owner-register|pool-few|pool-many|pool-most TIMES`.
//!
//! An owner notes what a standby has to know, and puts it into a batch once a message.
//!
//! With a pool, few are 2 targets with 100 active calls, many are 100 targets with 10,000, most are 100 targets with
//! 100,000; a call is made beside them and ends, its transactions too.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::ExitCode;

use balancer::{
    Call, CallSlot, NoTarget, Policy, PoolId, PoolSettings, Pools, Signal, Source, TargetId,
    TargetSettings,
};
use edge::{AuthSettings, Directory, Edge, Now, Output, PoolRoute, Settings};
use proxy::{Chosen, Listener, Network};
use registrar::Location;
use sip::digest::{
    Algorithm, FreshNonce, Ha1, NonceSource, Replay, ReplayFilter, ResponseInput, WithoutQop,
};
use transaction::{Flow, Time, Timers, Transport};

const LOCAL: &str = "192.0.2.1:5060";
const CALLER: &str = "192.0.2.33:5060";
const CALLEE: &str = "192.0.2.44:5060";
/// Time from one call to the next, in milliseconds: without a pool, and with one, so that within some hundred calls the
/// timers of each have fired.
const PAUSE_MS: u64 = 1;
const POOL_PAUSE_MS: u64 = 50;
/// Until the last timer of a transaction has fired, in milliseconds.
const SETTLED_MS: u64 = 40_000;

struct Memory {
    location: Location,
    users: HashMap<Vec<u8>, Ha1>,
    replay: ReplayFilter,
    ids: u64,
    farm: Option<Farm>,
}

/// A pool of media servers.
struct Farm {
    pools: Pools,
    /// By the numbers of targets.
    addresses: Vec<SocketAddr>,
    /// The same, sorted.
    sorted: Vec<SocketAddr>,
    now: balancer::Time,
}

impl Farm {
    fn new(targets: u8, now_ms: u64) -> Farm {
        let address = |n: u8| SocketAddr::from(([192, 0, 3, n], 5060));
        let target = |n: u8| {
            let uri = Source::Uri(format!("sip:{}", address(n)));
            TargetSettings::new(uri).with_limit(1_000_000)
        };
        let targets = (1..=targets).map(target).collect();
        let mut pool = PoolSettings::new("pbx", Policy::LeastCalls, targets);
        // Probes cost by the target and the second, not by the call.
        pool.health.probe_interval_ms = 0;
        let settings = balancer::Settings {
            pools: vec![pool],
            hash_key: [1, 2],
        };
        let now = balancer::Time::from_ms(now_ms);
        let pools = Pools::new(settings, now, 3).expect("good settings");
        let status = pools.snapshot(now);
        let mut targets: Vec<_> = status.iter().flat_map(|pool| &pool.targets).collect();
        targets.sort_by_key(|target| target.id.index());
        let uris = targets.iter().map(|target| &target.name[4..]);
        let addresses: Vec<SocketAddr> = uris.map(|at| at.parse().expect("an address")).collect();
        let mut sorted = addresses.clone();
        sorted.sort_unstable();
        Farm {
            pools,
            addresses,
            sorted,
            now,
        }
    }
}

impl Memory {
    fn farm(&mut self) -> &mut Farm {
        self.farm.as_mut().expect("a pool")
    }
}

impl proxy::MediaPorts for Memory {}

impl proxy::Farm for Memory {
    fn choose(
        &mut self,
        pool: PoolId,
        call: &Call<'_>,
        _: bool,
        tried: &[TargetId],
    ) -> Result<Chosen, NoTarget> {
        let farm = self.farm();
        let target = farm.pools.pick(pool, farm.now, call, tried)?.target;
        Ok(Chosen {
            target,
            slot: farm.pools.begin(farm.now, target).ok(),
            transport: Transport::Udp,
            remote: farm.addresses[target.index()],
        })
    }
    fn release(&mut self, slot: CallSlot) {
        let farm = self.farm();
        farm.pools.end(farm.now, slot);
    }
    fn report(&mut self, target: TargetId, signal: Signal) {
        let farm = self.farm();
        farm.pools.report(farm.now, target, signal);
    }
    fn is_target(&mut self, flow: &Flow) -> bool {
        let farm = self.farm.as_ref();
        farm.is_some_and(|farm| farm.sorted.binary_search(&flow.remote).is_ok())
    }
}

impl Network for Memory {
    fn flow_to(&mut self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        Some(Flow {
            transport,
            remote,
            local: LOCAL.parse().ok()?,
        })
    }
}

impl Directory for Memory {
    fn credential(&mut self, user: &[u8], _: &[u8], _: Algorithm) -> Option<Ha1> {
        self.users.get(user).copied()
    }
    fn has_user(&mut self, _: &[u8]) -> bool {
        true
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
    fn admit_nonce(&mut self, nonce: &FreshNonce, count: Option<u32>) -> Replay {
        self.replay.admit(nonce, count)
    }
    fn unique(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}

struct Rig {
    edge: Edge,
    settings: Settings,
    memory: Memory,
    output: Output,
    batch: records::Batch,
    now_ms: u64,
}

impl Rig {
    fn new() -> Rig {
        let local = LOCAL.parse().expect("an address");
        let settings = Settings {
            proxy: proxy::Settings {
                domains: vec![(*b"example.org").into()],
                listeners: vec![Listener {
                    transport: Transport::Udp,
                    local,
                    advertise: None,
                }],
                own_addresses: Vec::new(),
                record_route: true,
                max_breadth: 60,
                serial_ring_ms: 30_000,
                pool: proxy::pool::Settings::default(),
                media: proxy::media::Settings::default(),
                cookie_secret: (1, 2),
            },
            registrar: registrar::Policy::default(),
            auth: AuthSettings {
                algorithms: vec![Algorithm::Md5],
                nonces: NonceSource::new([7; 16], 0),
                without_qop: WithoutQop::Accept,
                trusted: vec!["192.0.2.33/32".parse().expect("a network")],
            },
            pool_routes: Vec::new(),
            sources: edge::sources::SourceLimits::default(),
            overload: edge::overload::OverloadLimits::default(),
            limits: sip::Limits::default(),
            timers: Timers::default(),
            retry_after_s: 10,
        };
        let ha1 = Ha1::compute(Algorithm::Md5, b"bob", b"example.org", b"secret");
        Rig {
            edge: Edge::new(Time::from_ms(1), (3, 4), &settings),
            settings,
            memory: Memory {
                location: Location::new((5, 6)),
                users: HashMap::from([(b"bob".to_vec(), ha1)]),
                replay: ReplayFilter::new(65_536),
                ids: 0,
                farm: None,
            },
            output: Output::default(),
            batch: records::Batch::new(),
            now_ms: 1_000_000,
        }
    }

    /// The owner of its service in a cluster.
    fn of_owner() -> Rig {
        let mut rig = Rig::new();
        rig.edge.join(&rig.settings);
        let now = rig.now();
        rig.edge
            .take_office(&rig.settings, now, 1, &mut rig.memory, &mut rig.output);
        rig.output.has_standby = true;
        rig
    }

    fn now(&self) -> Now {
        Now {
            time: Time::from_ms(self.now_ms),
            unix_ms: self.now_ms,
        }
    }

    /// What is done at the end of a turn.
    fn note(&mut self) {
        let now = self.now();
        self.edge.note(now, &mut self.memory, &mut self.output);
        let changes = &mut self.output.changes;
        let mut from = 0;
        while from < changes.len() {
            self.batch.clear();
            from = changes.fill(from, &mut self.batch);
        }
        changes.clear();
    }

    /// One whose users 8xxx are a pool, with so many calls that stay.
    fn with_pool(targets: u8, active: u64) -> Rig {
        let mut rig = Rig::new();
        let farm = Farm::new(targets, rig.now_ms);
        rig.settings.pool_routes = vec![PoolRoute {
            user: (*b"8*").into(),
            domain: None,
            methods: vec![sip::Method::Invite],
            pool: farm.pools.find("pbx").expect("the pool"),
        }];
        rig.memory.farm = Some(farm);
        for number in 0..active {
            rig.begin("8000", u64::MAX - number);
            rig.pass_time(PAUSE_MS);
        }
        for _ in 0..SETTLED_MS / 100 {
            rig.pass_time(100);
        }
        assert_eq!(rig.active(), active);
        assert_eq!(rig.edge.transactions(), (0, 0));
        rig
    }

    /// Calls that the pool's targets have.
    fn active(&mut self) -> u64 {
        self.memory.farm().pools.counters().calls
    }

    /// Feeds one message and gives what was sent.
    fn feed(&mut self, text: &[u8], source: &str) -> Vec<Vec<u8>> {
        let source = source.parse().expect("an address");
        let sent = self.feed_from(text, source).into_iter();
        sent.map(|(bytes, _)| bytes).collect()
    }

    /// The same, with whom it was sent to.
    fn feed_from(&mut self, text: &[u8], remote: SocketAddr) -> Vec<(Vec<u8>, SocketAddr)> {
        let now = Now {
            time: Time::from_ms(self.now_ms),
            unix_ms: self.now_ms,
        };
        let flow = Flow {
            transport: Transport::Udp,
            remote,
            local: LOCAL.parse().expect("an address"),
        };
        self.edge.receive(
            &self.settings,
            now,
            text,
            flow,
            &mut self.memory,
            &mut self.output,
        );
        for token in std::mem::take(&mut self.output.commits) {
            self.edge.stored(
                &self.settings,
                now,
                (token, true),
                &mut self.memory,
                &mut self.output,
            );
        }
        self.output.durable.clear();
        self.output.deferred.clear();
        self.note();
        let sent = self
            .output
            .outbox
            .iter()
            .map(|(bytes, flow)| (bytes.to_vec(), flow.remote))
            .collect();
        self.output.outbox.clear();
        sent
    }

    fn pass_time(&mut self, ms: u64) {
        self.now_ms += ms;
        if let Some(farm) = &mut self.memory.farm {
            farm.now = balancer::Time::from_ms(self.now_ms);
        }
        let now = Now {
            time: Time::from_ms(self.now_ms),
            unix_ms: self.now_ms,
        };
        self.edge
            .poll(&self.settings, now, &mut self.memory, &mut self.output);
        self.note();
        self.output.outbox.clear();
    }

    fn register(&mut self, number: u64) {
        let request = |authorization: &str, cseq: u64| {
            format!(
                "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.44:5060;branch=z9hG4bKr{number}-{cseq};rport\r\n\
                 From: <sip:bob@example.org>;tag=r{number}\r\nTo: <sip:bob@example.org>\r\nCall-ID: reg@192.0.2.44\r\nCSeq: {} REGISTER\r\n\
                 Contact: <sip:bob@192.0.2.44:5060>\r\n{authorization}Expires: 3600\r\nMax-Forwards: 70\r\nUser-Agent: Phone 1.0\r\nContent-Length: 0\r\n\r\n",
                number * 2 + cseq
            )
        };
        let challenge = self.feed(request("", 0).as_bytes(), CALLEE);
        let text = String::from_utf8_lossy(&challenge[0]).into_owned();
        let nonce = text
            .split("nonce=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a challenge");
        let stub = format!(
            "Digest username=\"bob\", realm=\"example.org\", nonce=\"{nonce}\", uri=\"sip:example.org\", response=\"{}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"abc\"",
            "0".repeat(32)
        );
        let answer = {
            let ha1 = Ha1::compute(Algorithm::Md5, b"bob", b"example.org", b"secret");
            let input = ResponseInput {
                method: b"REGISTER",
                uri: b"sip:example.org",
                nonce: nonce.as_bytes(),
                protection: Some((b"00000001", b"abc", b"auth")),
            };
            input.response(&ha1).to_hex().as_str().to_owned()
        };
        let authorization = format!(
            "Authorization: {}\r\n",
            stub.replace(&"0".repeat(32), &answer)
        );
        let done = self.feed(request(&authorization, 1).as_bytes(), CALLEE);
        assert!(
            done[0].starts_with(b"SIP/2.0 200"),
            "{}",
            String::from_utf8_lossy(&done[0])
        );
    }

    /// A whole call to a user.
    fn call(&mut self, user: &str, number: u64) {
        let up = self.begin(user, number);
        let bye = up.within("BYE", 2);
        let sent = self.feed(bye.as_bytes(), CALLER);
        let bye = String::from_utf8_lossy(&sent[0]).into_owned();
        let head = lines(&bye, &["Via:", "From:", "To:", "Call-ID:", "CSeq:"]);
        let ok = format!("SIP/2.0 200 OK\r\n{head}Content-Length: 0\r\n\r\n");
        let sent = self.feed_from(ok.as_bytes(), up.callee);
        assert!(sent[0].0.starts_with(b"SIP/2.0 200"));
    }

    /// A call up to its ACK.
    fn begin(&mut self, user: &str, number: u64) -> Up {
        let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.33\r\ns=-\r\nc=IN IP4 192.0.2.33\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
        let invite = format!(
            "INVITE sip:{user}@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.33:5060;rport;branch=z9hG4bKi{number}\r\n\
             From: \"Alice\" <sip:alice@example.org>;tag=c{number}\r\nTo: <sip:{user}@example.org>\r\nCall-ID: {number}-84619@192.0.2.33\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:alice@192.0.2.33:5060>\r\nMax-Forwards: 70\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nSupported: replaces\r\nUser-Agent: Phone 1.0\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        let caller = CALLER.parse().expect("an address");
        let sent = self.feed_from(invite.as_bytes(), caller);
        let (forwarded, callee) = (String::from_utf8_lossy(&sent[1].0), sent[1].1);
        let names = ["Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:"];
        let head = lines(&forwarded, &names);
        let answer = |status: &str, body: &str| {
            format!(
                "SIP/2.0 {status}\r\n{head}To: <sip:{user}@example.org>;tag=s{number}\r\nContact: <sip:{user}@{callee}>\r\nUser-Agent: Phone 2.0\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        self.feed_from(answer("180 Ringing", "").as_bytes(), callee);
        let ok = self.feed_from(answer("200 OK", sdp).as_bytes(), callee);
        assert!(ok[0].0.starts_with(b"SIP/2.0 200"));
        let up = Up {
            number,
            user: user.to_owned(),
            callee,
            route: lines(&forwarded, &["Record-Route:"]).replace("Record-Route:", "Route:"),
        };
        assert_eq!(self.feed(up.within("ACK", 1).as_bytes(), CALLER).len(), 1);
        up
    }
}

/// A call that is up.
struct Up {
    number: u64,
    user: String,
    callee: SocketAddr,
    route: String,
}

impl Up {
    /// A request of the caller's.
    fn within(&self, method: &str, cseq: u32) -> String {
        let Up {
            number,
            user,
            callee,
            route,
        } = self;
        format!(
            "{method} sip:{user}@{callee} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.33:5060;rport;branch=z9hG4bK{method}{number}\r\n{route}\
             From: \"Alice\" <sip:alice@example.org>;tag=c{number}\r\nTo: <sip:{user}@example.org>;tag=s{number}\r\nCall-ID: {number}-84619@192.0.2.33\r\nCSeq: {cseq} {method}\r\n\
             Max-Forwards: 70\r\nUser-Agent: Phone 1.0\r\nContent-Length: 0\r\n\r\n"
        )
    }
}

/// The lines of a message that begin with one of these names.
fn lines(message: &str, names: &[&str]) -> String {
    let wanted = |line: &&str| names.iter().any(|name| line.starts_with(name));
    let lines = message.split("\r\n").filter(wanted);
    lines.map(|line| format!("{line}\r\n")).collect()
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (work, times) = (
        arguments.next(),
        arguments.next().and_then(|times| times.parse::<u64>().ok()),
    );
    let (Some(work), Some(times)) = (work, times) else {
        eprintln!(
            "call_loop call|register|owner-call|owner-register|pool-few|pool-many|pool-most TIMES"
        );
        return ExitCode::FAILURE;
    };
    let mut rig = match work.as_str() {
        "pool-few" => Rig::with_pool(2, 100),
        "pool-many" => Rig::with_pool(100, 10_000),
        "pool-most" => Rig::with_pool(100, 100_000),
        "owner-call" | "owner-register" => Rig::of_owner(),
        _ => Rig::new(),
    };
    rig.register(0);
    for number in 1..=times {
        match work.as_str() {
            "call" | "owner-call" => rig.call("bob", number),
            "register" | "owner-register" => rig.register(number),
            _ => rig.call("8000", number),
        }
        rig.pass_time(match rig.memory.farm {
            None => PAUSE_MS,
            Some(_) => POOL_PAUSE_MS,
        });
    }
    println!("{times} times {work}");
    ExitCode::SUCCESS
}
