//! Who hears whom.

mod world;

use relay::{Command, Direction, Kind, Port, Reason, Remote, Settings};
use world::*;

const TO_CALLER: (u32, &str) = (0, "198.51.100.1:4000");
const TO_CALLEE: (u32, &str) = (2, "203.0.113.2:5000");

fn to((socket, text): (u32, &str)) -> (u32, std::net::SocketAddr) {
    (socket, address(text))
}

#[test]
fn each_party_hears_the_other() {
    let mut world = World::call();
    let (mut caller, mut callee) = (Sender::new(phone(0), 1), Sender::new(phone(1), 2));
    for _ in 0..200 {
        assert_eq!(world.send(0, &mut caller), Some(to(TO_CALLEE)));
        assert_eq!(world.send(1, &mut callee), Some(to(TO_CALLER)));
    }
    let totals = world.relay.totals();
    assert_eq!((totals.packets, totals.bytes), (400, 400 * 172));
    assert_eq!(totals.dropped.total(), 0);
    world.ends();
}

#[test]
fn a_phone_behind_nat_is_reached_where_it_sends_from() {
    let public = address("198.51.100.77:61000");
    let mut world = World::call_of(remote_behind_nat(public.ip()), remote(phone(1)));
    let (mut caller, mut callee) = (Sender::new(public, 1), Sender::new(phone(1), 2));
    assert_eq!(
        world.send(1, &mut callee),
        Some((0, address("10.0.0.5:4000"))),
        "before it has sent there is only what it said"
    );
    assert_eq!(world.send(0, &mut caller), Some(to(TO_CALLEE)));
    world.stream(1, &mut callee, 10, (0, public));
    world.ends();
}

#[test]
fn one_party_may_have_ipv4_and_the_other_ipv6() {
    let six = address("[2001:db8::7]:7000");
    let mut world = World::call_of(remote(six), remote(phone(1)));
    world.stream(0, &mut Sender::new(six, 1), 10, to(TO_CALLEE));
    world.stream(1, &mut Sender::new(phone(1), 2), 10, (0, six));
    world.ends();
}

#[test]
fn before_the_answer_the_branch_that_described_itself_last_is_heard() {
    let mut world = World::new(Settings::default());
    world.open(0, 0, PORTS[0], Kind::Rtp);
    world.describe(0, remote(phone(0)), false);
    let mut caller = Sender::new(phone(0), 1);
    assert_eq!(world.send(0, &mut caller), None, "there is nobody yet");
    for side in [1, 2] {
        world.open(0, side, PORTS[usize::from(side)], Kind::Rtp);
    }
    let (mut one, mut two) = (Sender::new(phone(1), 2), Sender::new(phone(2), 3));
    assert_eq!(world.send(1, &mut one), None, "it has not described itself");
    assert_eq!(world.dropped(1).count(Reason::Foreign), 1);
    world.describe(1, remote(phone(1)), false);
    assert_eq!(world.send(1, &mut one), Some(to(TO_CALLER)));
    world.describe(2, remote(phone(2)), false);
    assert_eq!(world.send(2, &mut two), Some(to(TO_CALLER)));
    assert_eq!(world.send(1, &mut one), None);
    assert_eq!(world.dropped(1).count(Reason::NotSelected), 1);
    assert_eq!(world.send(0, &mut caller), Some((4, phone(2))));
    world.command(Command::CloseSide {
        session: CALL,
        side: 2,
    });
    assert_eq!(
        world.send(0, &mut caller),
        Some(to(TO_CALLEE)),
        "the one before is back"
    );
    world.ends();
}

#[test]
fn after_the_answer_only_the_selected_branch_is_heard() {
    let mut world = World::call();
    world.open(0, 2, PORTS[2], Kind::Rtp);
    world.describe(2, remote(phone(2)), false);
    let (mut caller, mut one, mut two) = (
        Sender::new(phone(0), 1),
        Sender::new(phone(1), 2),
        Sender::new(phone(2), 3),
    );
    assert_eq!(world.send(2, &mut two), None);
    assert_eq!(world.dropped(2).count(Reason::NotSelected), 1);
    assert_eq!(world.send(0, &mut caller), Some(to(TO_CALLEE)));
    world.select(2);
    assert_eq!(world.send(1, &mut one), None);
    assert_eq!(world.send(2, &mut two), Some(to(TO_CALLER)));
    assert_eq!(world.send(0, &mut caller), Some((4, phone(2))));
    world.command(Command::CloseSide {
        session: CALL,
        side: 2,
    });
    assert_eq!(
        world.send(0, &mut caller),
        None,
        "a branch that was not selected is not spoken to"
    );
    assert_eq!(world.dropped(0).count(Reason::NoDestination), 1);
    world.ends();
}

#[test]
fn streams_of_a_call_are_apart() {
    let mut world = World::call();
    let video = [Port(8), Port(10)];
    for (side, port) in (0..).zip(video) {
        world.open(1, side, port, Kind::Rtp);
        world.command(Command::Remote {
            session: CALL,
            stream: 1,
            side,
            remote: remote(std::net::SocketAddr::new(phone(side).ip(), 9_000)),
            relearn: false,
        });
    }
    let mut caller = Sender::new(address("198.51.100.1:9000"), 9);
    let sent = world.receive(8, caller.source, caller.packet());
    assert_eq!(sent, Some((10, address("203.0.113.2:9000"))));
    world.command(Command::CloseStream {
        session: CALL,
        stream: 1,
    });
    assert_eq!(world.receive(8, caller.source, caller.packet()), None);
    assert_eq!(world.total(Reason::NoSession), 1);
    assert_eq!(
        world.send(0, &mut Sender::new(phone(0), 1)),
        Some(to(TO_CALLEE))
    );
    world.ends();
}

#[test]
fn where_nothing_can_be_sent_nothing_is_sent() {
    let nowhere = [
        None,
        Some("0.0.0.0:5000"),
        Some("[::]:5000"),
        Some("203.0.113.2:0"),
    ];
    for rtp in nowhere {
        let callee = Remote {
            rtp: rtp.map(address),
            ..remote(phone(1))
        };
        let mut world = World::call_of(remote(phone(0)), callee);
        assert_eq!(
            world.send(0, &mut Sender::new(phone(0), 1)),
            None,
            "{rtp:?}"
        );
        assert_eq!(world.dropped(0).count(Reason::NoDestination), 1);
        world.ends();
    }
}

#[test]
fn rtcp_goes_where_the_peer_wants_it() {
    let elsewhere = address("203.0.113.2:7777");
    let rows: [(Option<&str>, bool, (u32, &str)); 4] = [
        (None, false, (3, "203.0.113.2:5001")),
        (Some("203.0.113.2:7777"), false, (3, "203.0.113.2:7777")),
        (Some("203.0.113.2:0"), false, (3, "203.0.113.2:5001")),
        (None, true, (2, "203.0.113.2:5000")),
    ];
    for (rtcp, rtcp_mux, expected) in rows {
        let callee = Remote {
            rtcp: rtcp.map(address),
            rtcp_mux,
            ..remote(phone(1))
        };
        let mut world = World::call_of(remote(phone(0)), callee);
        world.stream(0, &mut Sender::new(phone(0), 1), 3, to(TO_CALLEE));
        let rtcp_port = address("198.51.100.1:4001");
        let sent = [
            world.receive(1, rtcp_port, rtcp_packet(1)),
            world.receive(0, phone(0), rtcp_packet(1)),
        ];
        assert_eq!(sent, [Some(to(expected)); 2], "{rtcp:?} {rtcp_mux}");
        world.ends();
    }
    let mut world = World::call();
    world.stream(1, &mut Sender::new(phone(1), 2), 3, to(TO_CALLER));
    assert!(world.receive(3, elsewhere, rtcp_packet(2)).is_some());
    let sent = world.receive(1, address("198.51.100.1:4001"), rtcp_packet(1));
    assert_eq!(
        sent,
        Some((3, elsewhere)),
        "where it comes from beats what was said"
    );
    world.ends();
}

#[test]
fn a_call_is_held_and_resumed() {
    let mut world = World::call();
    let (mut caller, mut callee) = (Sender::new(phone(0), 1), Sender::new(phone(1), 2));
    world.stream(0, &mut caller, 10, to(TO_CALLEE));
    world.stream(1, &mut callee, 10, to(TO_CALLER));
    for direction in [Direction::SendOnly, Direction::SendRecv] {
        let caller_says = Remote {
            direction,
            ..remote(phone(0))
        };
        world.describe(0, caller_says, true);
        world.describe(1, remote(phone(1)), true);
        // Music, and what phones send that do not care.
        world.stream(0, &mut caller, 10, to(TO_CALLEE));
        world.stream(1, &mut callee, 10, to(TO_CALLER));
        world.wait_ms(30_000);
    }
    assert_eq!(world.relay.totals().dropped.total(), 0);
    world.ends();
}

#[test]
fn media_may_go_one_way() {
    let mut world = World::call();
    world.stream(0, &mut Sender::new(phone(0), 1), 200, to(TO_CALLEE));
    assert_eq!(world.source(1), None);
    assert_eq!(world.leg(0, 1).mos, None, "there is nothing to rate");
    world.ends();
}

#[test]
fn payload_types_may_change() {
    let mut world = World::call();
    let mut caller = Sender::new(phone(0), 1);
    for payload_type in [0, 101, 0, 96, 8] {
        caller.payload_type = payload_type;
        world.stream(0, &mut caller, 5, to(TO_CALLEE));
    }
    let leg = world.leg(0, 0);
    let seen: Vec<_> = leg.payload_types.iter().collect();
    assert_eq!(seen, [0, 8, 96, 101]);
    assert_eq!((leg.payload_type, leg.clock_rate_hz), (Some(8), 8_000));
    world.ends();
}

#[test]
fn datagrams_of_fax_are_relayed_unexamined() {
    let mut world = World::new(Settings::default());
    for side in [0, 1] {
        world.open(0, side, PORTS[usize::from(side)], Kind::Datagram);
        world.describe(side, remote(phone(side)), false);
    }
    world.select(1);
    for packet in [
        vec![0, 0, 1, 0],
        vec![0xff],
        rtp_packet(1, 1, 1, 0),
        dtls_packet(),
    ] {
        assert_eq!(world.receive(0, phone(0), packet), Some(to(TO_CALLEE)));
    }
    assert_eq!(world.receive(0, phone(0), Vec::new()), None);
    assert_eq!(
        world.receive(1, phone(0), vec![0, 0, 1, 0]),
        None,
        "it has one port"
    );
    assert_eq!(
        world.receive(0, address("192.0.2.66:4000"), vec![0, 0, 1, 0]),
        None
    );
    let dropped = world.dropped(0);
    let counts = [Reason::Short, Reason::NotRtp, Reason::Foreign].map(|r| dropped.count(r));
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(world.leg(0, 0).packets, 4);
    world.ends();
}

#[test]
fn what_is_no_media_is_dropped_by_reason() {
    let mut huge = rtp_packet(1, 1, 1, 0);
    huge.resize(1_501, 0);
    let stun = [[0, 1, 0, 0].as_slice(), &[0; 16]].concat();
    let mut short_extension = rtp_packet(1, 1, 1, 0);
    short_extension[0] |= 0x10;
    short_extension.truncate(14);
    let mut long_rtcp = rtcp_packet(1);
    long_rtcp[3] = 2;
    let mut short_rtcp = rtcp_packet(1);
    short_rtcp[3] = 0;
    let rows = [
        (0, Vec::new(), Reason::Short),
        (0, vec![0x80; 11], Reason::Short),
        (0, huge, Reason::Huge),
        (0, stun, Reason::Stun),
        (0, vec![0x41; 40], Reason::NotRtp),
        (0, vec![0xff; 40], Reason::NotRtp),
        (0, short_extension, Reason::NotRtp),
        (0, long_rtcp, Reason::NotRtp),
        (1, short_rtcp, Reason::NotRtp),
        (1, rtp_packet(1, 1, 1, 0), Reason::NotRtp),
    ];
    for (socket, packet, reason) in rows {
        let mut world = World::call();
        assert_eq!(world.receive(socket, phone(0), packet.clone()), None);
        let dropped = world.dropped(0);
        assert_eq!(
            (dropped.count(reason), dropped.total()),
            (1, 1),
            "{packet:?}"
        );
        assert_eq!(world.source(0), None);
        assert_eq!(world.leg(0, 0).packets, 0);
        world.ends();
    }
}

#[test]
fn a_handshake_of_dtls_may_be_what_comes_first() {
    let public = address("198.51.100.77:61000");
    let mut world = World::call_of(remote_behind_nat(public.ip()), remote(phone(1)));
    assert_eq!(world.receive(0, public, dtls_packet()), Some(to(TO_CALLEE)));
    assert_eq!(world.receive(2, phone(1), dtls_packet()), Some((0, public)));
    let stranger = address("192.0.2.66:4000");
    assert_eq!(world.receive(0, stranger, dtls_packet()), None);
    world.stream(0, &mut Sender::new(public, 1), 10, to(TO_CALLEE));
    assert_eq!(world.receive(1, stranger, dtls_packet()), None);
    assert_eq!(
        world.receive(1, address("198.51.100.77:61001"), dtls_packet()),
        Some((3, address("203.0.113.2:5001")))
    );
    world.ends();
}

#[test]
fn a_call_may_become_a_fax() {
    let mut world = World::call();
    world.stream(0, &mut Sender::new(phone(0), 1), 10, to(TO_CALLEE));
    for side in [0, 1] {
        world.command(Command::Open {
            session: CALL,
            stream: 0,
            side,
            port: PORTS[usize::from(side)],
            kind: Kind::Datagram,
        });
        world.describe(side, remote(phone(side)), true);
    }
    assert_eq!(
        world.receive(0, phone(0), vec![0, 0, 1, 0]),
        Some(to(TO_CALLEE))
    );
    assert_eq!(
        world.receive(2, phone(1), vec![0, 0, 1, 0]),
        Some(to(TO_CALLER))
    );
    assert_eq!(world.events(), []);
    world.ends();
}

#[test]
fn a_packet_does_not_go_round_for_ever() {
    // Where the relay's sockets are, and what two parties say who want it to speak to itself.
    let own = |socket: u32| std::net::SocketAddr::from(([192, 0, 2, 1], 10_000 + socket as u16));
    let looped = |rtp| Remote {
        rtcp: None,
        signalling: address("198.51.100.1:5060").ip(),
        ..remote(rtp)
    };
    let limit = u32::from(relay::UNNUMBERED_PER_S_MAX);
    let mut caller = Sender::new(phone(0), 1);
    let rows = [
        (Kind::Rtp, caller.packet(), 2),
        (Kind::Rtp, rtcp_packet(1), 1),
        (Kind::Rtp, dtls_packet(), limit),
        (Kind::Datagram, vec![0, 0, 1, 0], limit),
    ];
    for (kind, packet, expected) in rows {
        let mut world = World::new(Settings::default());
        for (side, rtp) in [(0, own(2)), (1, own(0))] {
            world.open(0, side, PORTS[usize::from(side)], kind);
            world.describe(side, looped(rtp), false);
        }
        world.select(1);
        let mut at = (0, phone(0));
        let mut rounds = 0;
        while let Some((from, next)) = world.receive(at.0, at.1, packet.clone()) {
            let next_socket = u32::from(next.port()) - 10_000;
            at = (next_socket, own(from));
            rounds += 1;
            assert!(rounds <= 10 * limit, "{kind:?}");
        }
        assert_eq!(rounds, expected, "{kind:?} {packet:?}");
        world.ends();
    }
}

#[test]
fn an_offer_may_change_the_clock_of_a_payload_type() {
    let mut world = World::call();
    let mut caller = Sender::new(phone(0), 1);
    caller.payload_type = 96;
    world.stream(0, &mut caller, 5, to(TO_CALLEE));
    assert_eq!(world.leg(0, 0).clock_rate_hz, 0, "it is not known");
    for clock_rate_hz in [16_000, 48_000] {
        let mut says = remote(phone(0));
        assert!(says.formats.add(96, clock_rate_hz));
        world.describe(0, says, true);
        world.stream(0, &mut caller, 5, to(TO_CALLEE));
        assert_eq!(world.leg(0, 0).clock_rate_hz, clock_rate_hz);
    }
    world.ends();
}
