//! Whatever is commanded and whoever sends: ports are kept, tables end empty, and strangers change nothing.

mod world;

use std::collections::HashSet;
use std::net::SocketAddr;

use proptest::prelude::*;
use relay::{
    Command, Direction, Event, Kind, Port, PortTable, Relay, Remote, SessionId, Settings, Time,
};
use world::*;

const SESSIONS: u64 = 4;
const PAIRS: u32 = 12;
/// Pairs that a controller that errs may name besides.
const WRONG: u32 = 3;

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    /// A port is taken from the table and opened.
    Open(SessionId, u8, u8, Kind),
    /// A port is opened that may be another's.
    Steal(SessionId, u8, u8, Port),
    Command(Command),
    Packet(u32, SocketAddr, Vec<u8>),
    Wait(u64),
}

fn hosts() -> impl Strategy<Value = SocketAddr> {
    (0..4u8, 0..3u16).prop_map(|(host, port)| SocketAddr::from(([192, 0, 2, host], 4_000 + port)))
}

fn remotes() -> impl Strategy<Value = Remote> {
    let directions = prop_oneof![Just(Direction::SendRecv), Just(Direction::SendOnly)];
    let parts = (
        prop::option::of(hosts()),
        prop::option::of(hosts()),
        any::<bool>(),
        hosts(),
        directions,
    );
    parts.prop_map(|(rtp, rtcp, rtcp_mux, signalling, direction)| Remote {
        rtp,
        rtcp,
        rtcp_mux,
        signalling: signalling.ip(),
        direction,
        ..remote(signalling)
    })
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..3u32, 0..200u16, 0..5_000u32, 0..3u8)
            .prop_map(|(ssrc, sequence, timestamp, kind)| rtp_packet(ssrc, sequence, timestamp, kind)),
        1 => (0..3u32).prop_map(rtcp_packet),
        1 => Just(dtls_packet()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let session = || (0..SESSIONS).prop_map(SessionId);
    let kind = prop_oneof![3 => Just(Kind::Rtp), 1 => Just(Kind::Datagram)];
    let command = prop_oneof![
        4 => (session(), 0..3u8, 0..4u8, remotes(), any::<bool>()).prop_map(
            |(session, stream, side, remote, relearn)| Command::Remote {
                session, stream, side, remote, relearn
            }
        ),
        2 => (session(), 0..4u8).prop_map(|(session, side)| Command::Select { session, side }),
        1 => (session(), 0..4u8).prop_map(|(session, side)| Command::CloseSide { session, side }),
        1 => (session(), 0..3u8)
            .prop_map(|(session, stream)| Command::CloseStream { session, stream }),
        1 => session().prop_map(|session| Command::Close { session }),
    ];
    prop_oneof![
        4 => (session(), 0..40u8, 0..20u8, kind)
            .prop_map(|(session, stream, side, kind)| Step::Open(session, stream % 36, side % 18, kind)),
        4 => (session(), 0..3u8, 0..3u8).prop_map(|(session, stream, side)| {
            Step::Open(session, stream, side, Kind::Rtp)
        }),
        1 => (session(), 0..3u8, 0..3u8, 0..PAIRS + WRONG).prop_map(|(session, stream, side, pair)| {
            Step::Steal(session, stream, side, Port(2 * pair))
        }),
        8 => command.prop_map(Step::Command),
        16 => (0..2 * PAIRS, hosts(), packets())
            .prop_map(|(socket, source, packet)| Step::Packet(socket, source, packet)),
        2 => (1..90_000u64).prop_map(Step::Wait),
    ]
}

/// A controller that does what it likes, and the driver's part.
struct Conserved {
    relay: Relay,
    ports: PortTable,
    /// Ports that were taken and given to the relay.
    taken: HashSet<Port>,
    now: Time,
}

impl Conserved {
    fn new() -> Conserved {
        let mut ports = PortTable::new(1);
        for pair in 0..PAIRS {
            ports.add(0, Port(2 * pair));
        }
        let settings = Settings {
            sessions_max: 3,
            hold_ms: 120_000,
            ..Settings::default()
        };
        Conserved {
            relay: Relay::new(settings, 2 * PAIRS),
            ports,
            taken: HashSet::new(),
            now: Time::from_ms(1),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open(session, stream, side, kind) => {
                let Some(port) = self.ports.take(0) else {
                    return;
                };
                assert!(self.taken.insert(port));
                let open = Command::Open {
                    session,
                    stream,
                    side,
                    port,
                    kind,
                };
                self.relay.command(self.now, open);
            }
            Step::Steal(session, stream, side, port) => {
                // A port that is free must not be opened behind the table's back; one that is taken is open.
                if self.taken.contains(&port) || port.0 >= 2 * PAIRS {
                    let kind = Kind::Rtp;
                    let open = Command::Open {
                        session,
                        stream,
                        side,
                        port,
                        kind,
                    };
                    self.relay.command(self.now, open);
                }
            }
            Step::Command(command) => self.relay.command(self.now, command),
            Step::Packet(socket, source, mut packet) => {
                let sent = self.relay.receive(self.now, socket, source, &mut packet);
                if let Some((from, to)) = sent {
                    assert!(self.taken.contains(&Port(from & !1)), "from an open port");
                    assert_ne!(from & !1, socket & !1, "and another than it came to");
                    assert_ne!(to.port(), 0);
                }
            }
            Step::Wait(ms) => {
                self.now = self.now.plus_micros(ms * 1_000);
                self.expire();
            }
        }
        self.drain();
    }

    fn expire(&mut self) {
        while self.relay.next().is_some_and(|next| next <= self.now) {
            self.relay.expire(self.now);
        }
    }

    fn drain(&mut self) {
        for port in self.relay.freed().drain(..) {
            assert!(self.taken.remove(&port), "each port is freed once");
            assert!(self.ports.give_back(0, port));
        }
        let (sessions, legs) = self.relay.tables();
        assert!(sessions <= 3);
        assert_eq!(legs, self.taken.len(), "what is taken is open");
        assert_eq!(self.ports.in_use() + self.ports.free(0), PAIRS as usize);
        for event in self.relay.events().drain(..) {
            if let Event::Closed { session, report } | Event::Silent { session, report } = event {
                assert_eq!(report.session, session);
            }
        }
    }

    fn ends(mut self, is_closed: bool) {
        if is_closed {
            for session in (0..SESSIONS).map(SessionId) {
                self.relay.command(self.now, Command::Close { session });
            }
        } else {
            for _ in 0..10 {
                self.now = self.now.plus_micros(120_000_000);
                self.expire();
            }
        }
        self.drain();
        assert_eq!(self.relay.tables(), (0, 0));
        assert_eq!(self.ports.in_use(), 0);
        assert_eq!(self.relay.next(), None);
        let totals = self.relay.totals();
        assert_eq!(
            totals.sessions_opened,
            totals.sessions_closed + totals.sessions_silent
        );
    }
}

/// What somebody does who can send from any address and read nothing.
#[derive(Debug, Clone)]
struct Forged {
    /// Of the caller's and the callee's sockets.
    socket: u32,
    source: usize,
    packet: Vec<u8>,
    /// After which packet of the call.
    after: usize,
}

/// Sources of forged packets: strangers, and the very addresses of the phones.
fn sources() -> [SocketAddr; 6] {
    [
        address("192.0.2.66:4000"),
        address("[2001:db8::66]:4000"),
        address("198.51.100.77:1"),
        address("198.51.100.77:61000"),
        phone(1),
        address("10.0.0.5:4000"),
    ]
}

/// Packets of a call, each way.
const CALL_PACKETS: usize = 400;
/// Packets after which both SSRCs are firm and no better source is waited for.
const FIRM: usize = 110;

fn forged() -> impl Strategy<Value = Forged> {
    let forged_packet = prop_oneof![
        4 => (3..60u32, any::<u16>(), any::<u32>(), 0..128u8)
            .prop_map(|(ssrc, sequence, timestamp, kind)| rtp_packet(ssrc, sequence, timestamp, kind)),
        1 => (3..60u32).prop_map(rtcp_packet),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_filter("is no handshake", |packet| {
            !packet.first().is_some_and(|first| (16..=63).contains(first))
        }),
    ];
    let parts = (
        0..4u32,
        0..sources().len(),
        forged_packet,
        FIRM..CALL_PACKETS,
    );
    parts.prop_map(|(socket, source, packet, after)| Forged {
        socket,
        source,
        packet,
        after,
    })
}

/// What became of a call: what was relayed of it, its report without the packets that were dropped, and when it is looked at
/// for silence.
#[derive(Debug, PartialEq)]
struct Outcome {
    sent: Vec<Option<(u32, SocketAddr)>>,
    legs: Vec<relay::LegReport>,
    next: Option<Time>,
}

/// A call among forged packets.
fn call(forged: &[Forged]) -> Outcome {
    let public = address("198.51.100.77:61000");
    let mut world = World::call_of(remote_behind_nat(public.ip()), remote(phone(1)));
    let mut senders = [Sender::new(public, 1), Sender::new(phone(1), 2)];
    let mut sent = Vec::new();
    for nth in 0..CALL_PACKETS {
        for (side, sender) in (0..).zip(&mut senders) {
            sent.push(world.send(side, sender));
        }
        for forged in forged.iter().filter(|forged| forged.after == nth) {
            let source = sources()[forged.source];
            let relayed = world.receive(forged.socket, source, forged.packet.clone());
            assert_eq!(relayed, None, "{} {}", forged.socket, source);
        }
    }
    let mut legs = world.relay.report(CALL).expect("there is a call").legs;
    for leg in &mut legs {
        leg.dropped = relay::Dropped::default();
    }
    world.wait_ms(59_000);
    world.relay.expire(world.now);
    let next = world.relay.next();
    world.ends();
    Outcome { sent, legs, next }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ports_are_kept_and_tables_end_empty(
        steps in prop::collection::vec(steps(), 1..300),
        is_closed in any::<bool>(),
    ) {
        let mut conserved = Conserved::new();
        for step in steps {
            conserved.step(step);
        }
        conserved.ends(is_closed);
    }

    #[test]
    fn forged_packets_change_nothing_of_a_call(
        forged in prop::collection::vec(forged(), 1..200),
    ) {
        let outcome = call(&forged);
        prop_assert!(outcome.sent.iter().all(Option::is_some));
        prop_assert_eq!(outcome, call(&[]));
    }
}
