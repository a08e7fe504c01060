//! Any bytes as the records of an owner: a member that takes them in, becomes the owner of what they say, goes on with it
//! until all timers have fired, and becomes a member again. Nothing panics, ports and places at targets are had once, and at the
//! end nothing is left.
#![no_main]

use std::collections::HashSet;
use std::net::SocketAddr;

use balancer::PoolId;
use edge::{AuthSettings, Directory, Edge, Now, Output, Settings};
use libfuzzer_sys::fuzz_target;
use proxy::{Listener, MediaPort, Network};
use records::{Changes, Ops};
use registrar::Location;
use relay::{Command, Port};
use sip::digest::{Algorithm, FreshNonce, Ha1, NonceSource, Replay, ReplayFilter, WithoutQop};
use transaction::{Flow, Time, Timers, Transport};

const EPOCH_MS: u64 = 1_800_000_000_000;
const EDGE: &str = "192.0.2.1:5060";

fuzz_target!(|data: &[u8]| {
    let settings = settings();
    let mut member = Edge::new(Time::ZERO, (1, 2), &settings);
    let (mut users, mut output) = (Users::new(), Output::default());
    let now = |ms: u64| Now {
        time: Time::from_ms(ms),
        unix_ms: EPOCH_MS + ms,
    };
    member.join(&settings);
    let mut ops = Ops::new(data);
    while let Ok(Some(op)) = ops.op() {
        // What is wrong with a record is told, and no more.
        let _ = member.apply(now(1_000), &op, &mut users);
    }
    member.take_office(&settings, now(1_300), 2, &mut users, &mut output);
    for ms in [
        1_400, 1_900, 3_000, 20_000, 60_000, 250_000, 300_000, 350_000, 400_000, 600_000, 640_000,
        680_000,
    ] {
        member.poll(&settings, now(ms), &mut users, &mut output);
        for resolve in std::mem::take(&mut output.resolves) {
            let found = (resolve.token, &[][..]);
            member.resolved(&settings, now(ms), found, &mut users, &mut output);
        }
        member.note(now(ms), &mut users, &mut output);
        again(&output.changes);
        output.changes.clear();
        output.outbox.clear();
    }
    // Whatever the records say, an INVITE is answered, and no transaction outlives its timers.
    assert_eq!(member.transactions(), (0, 0));
    member.leave_office(now(680_001), &mut users);
    assert_eq!(member.tables(), edge::Tables::default());
    assert!(users.taken.is_empty(), "ports");
});

/// What it notes itself can be read.
fn again(changes: &Changes) {
    let settings = settings();
    let mut member = Edge::new(Time::ZERO, (1, 2), &settings);
    member.join(&settings);
    let mut users = Users::new();
    let now = Now {
        time: Time::from_ms(500_000),
        unix_ms: EPOCH_MS + 500_000,
    };
    for op in changes.iter() {
        assert_eq!(member.apply(now, &op, &mut users), Ok(()));
    }
}

fn settings() -> Settings {
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

struct Users {
    location: Location,
    replay: ReplayFilter,
    number: u64,
    taken: HashSet<u16>,
    open: Vec<(relay::SessionId, u8, u8, u16)>,
}

impl Users {
    fn new() -> Users {
        Users {
            location: Location::new((3, 4)),
            replay: ReplayFilter::new(1_024),
            number: 0,
            taken: HashSet::new(),
            open: Vec::new(),
        }
    }

    fn close(&mut self, is_over: impl Fn(&(relay::SessionId, u8, u8, u16)) -> bool) {
        for (.., port) in self.open.extract_if(.., |open| is_over(open)) {
            assert!(self.taken.remove(&port), "freed twice");
        }
    }
}

impl proxy::MediaPorts for Users {
    fn claim(&mut self, address: SocketAddr) -> Option<MediaPort> {
        self.taken.insert(address.port()).then(|| MediaPort {
            relay: address.port() / 32_768,
            port: Port(u32::from(address.port())),
            address,
        })
    }

    fn give_back(&mut self, port: MediaPort) {
        assert!(self.taken.remove(&port.address.port()), "given back twice");
    }

    fn command(&mut self, _: u16, command: Command) {
        match command {
            Command::Open {
                session,
                stream,
                side,
                port,
                ..
            } => self.open.push((session, stream, side, port.0 as u16)),
            Command::CloseSide { session, side } => {
                self.close(|open| open.0 == session && open.2 == side)
            }
            Command::CloseStream { session, stream } => {
                self.close(|open| open.0 == session && open.1 == stream)
            }
            Command::Close { session } => self.close(|open| open.0 == session),
            _ => {}
        }
    }
}

impl proxy::Farm for Users {
    fn find_pool(&mut self, _: &[u8]) -> Option<PoolId> {
        None
    }
}

impl Network for Users {
    fn flow_to(&mut self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        Some(Flow {
            transport,
            remote,
            local: EDGE.parse().expect("an address"),
        })
    }
}

impl Directory for Users {
    fn credential(&mut self, _: &[u8], _: &[u8], _: Algorithm) -> Option<Ha1> {
        None
    }

    fn has_user(&mut self, _: &[u8]) -> bool {
        true
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
