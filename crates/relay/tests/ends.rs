//! How calls end, and what the controller may get wrong.

mod world;

use relay::{
    Command, Direction, Event, Kind, Port, Reason, Refusal, Relay, Remote, SIDES_MAX, STREAMS_MAX,
    SessionId, Settings, Time,
};
use world::*;

/// Lets the relay do what is due up to now, as its driver does.
fn expire(world: &mut World) {
    while let Some(next) = world.relay.next().filter(|next| *next <= world.now) {
        world.relay.expire(world.now);
        assert!(world.relay.next().is_none_or(|after| after > next));
    }
}

fn silent(world: &mut World) -> bool {
    expire(world);
    let events = world.events();
    assert!(events.len() <= 1);
    matches!(
        events.first(),
        Some(Event::Silent { session: CALL, report }) if report.session == CALL
    )
}

#[test]
fn a_call_that_nobody_sends_for_ends_after_a_minute() {
    let mut world = World::call();
    world.stream(0, &mut Sender::new(phone(0), 1), 100, (2, phone(1)));
    world.wait_ms(59_900);
    assert!(!silent(&mut world));
    // The step in which dead calls are looked for is a second.
    world.wait_ms(1_100);
    assert!(silent(&mut world));
    assert_eq!(world.relay.totals().sessions_silent, 1);
    world.leaves_nothing();
}

#[test]
fn one_party_that_sends_keeps_the_call() {
    let mut world = World::call();
    let mut callee = Sender::new(phone(1), 2);
    for _ in 0..20 {
        world.wait_ms(30_000);
        assert!(!silent(&mut world));
        assert!(world.send(1, &mut callee).is_some());
    }
    world.ends();
}

#[test]
fn rtcp_keeps_a_call_and_strangers_do_not() {
    let stranger = address("192.0.2.66:4000");
    let rows: [(u32, &str, Vec<u8>, bool); 6] = [
        (1, "198.51.100.1:4001", rtcp_packet(1), true),
        (1, "198.51.100.1:4001", rtcp_packet(2), false),
        (0, "192.0.2.66:4000", rtp_packet(1, 500, 1, 0), false),
        (0, "198.51.100.1:4000", dtls_packet(), false),
        (
            0,
            "198.51.100.1:4000",
            rtp_packet(9, 500, 1, 0)[..20].to_vec(),
            true,
        ),
        (0, "198.51.100.1:4000", vec![0; 20], false),
    ];
    for (socket, source, packet, keeps) in rows {
        let mut world = World::call();
        world.stream(0, &mut Sender::new(phone(0), 1), 10, (2, phone(1)));
        world.wait_ms(4_000);
        world.receive(socket, address(source), packet.clone());
        world.wait_ms(57_100);
        assert_eq!(silent(&mut world), !keeps, "{socket} {source} {packet:?}");
        if keeps {
            world.ends();
        } else {
            world.leaves_nothing();
        }
    }
    let mut world = World::call();
    assert_eq!(world.receive(0, stranger, rtp_packet(1, 1, 1, 0)), None);
    world.ends();
}

#[test]
fn a_call_on_hold_and_one_that_rings_have_an_hour() {
    let held = |direction| Remote {
        direction,
        ..remote(phone(0))
    };
    let nowhere = Remote {
        rtp: Some(address("0.0.0.0:4000")),
        ..remote(phone(0))
    };
    let rows = [
        held(Direction::SendOnly),
        held(Direction::RecvOnly),
        held(Direction::Inactive),
        nowhere,
    ];
    let callee = Remote {
        direction: Direction::Inactive,
        ..remote(phone(1))
    };
    let rows = rows.map(|caller| (0, caller)).into_iter();
    for (side, held) in rows.chain([(1, callee)]) {
        let mut world = World::call();
        world.describe(side, held, true);
        world.wait_ms(3_590_000);
        assert!(!silent(&mut world));
        world.describe(side, remote(phone(side)), true);
        world.wait_ms(59_000);
        assert!(!silent(&mut world), "it has a minute again");
        world.wait_ms(2_100);
        assert!(silent(&mut world));
        world.leaves_nothing();
    }
    let mut world = World::new(Settings::default());
    for side in [0, 1] {
        world.open(0, side, PORTS[usize::from(side)], Kind::Rtp);
        world.describe(side, remote(phone(side)), false);
    }
    world.wait_ms(3_599_000);
    assert!(!silent(&mut world));
    world.wait_ms(2_000);
    assert!(silent(&mut world));
    world.leaves_nothing();
}

#[test]
fn many_dead_calls_are_ended_in_bounded_parts() {
    const CALLS: u32 = 1_000;
    let mut relay = Relay::new(Settings::default(), 2 * CALLS);
    let now = Time::from_ms(5);
    for call in 0..CALLS {
        relay.command(
            now,
            Command::Open {
                session: SessionId(u64::from(call)),
                stream: 0,
                side: 0,
                port: Port(2 * call),
                kind: Kind::Rtp,
            },
        );
    }
    let late = Time::from_ms(100_000_000);
    let mut calls = 0;
    while relay.next().is_some_and(|next| next <= late) {
        relay.expire(late);
        let ended = relay.events().drain(..).count();
        assert!(ended <= relay::EXPIRE_SESSIONS_MAX);
        calls += 1;
    }
    assert_eq!((calls, relay.tables()), (4, (0, 0)));
    assert_eq!(relay.freed().len(), CALLS as usize);
}

#[test]
fn closing_frees_each_port_once_and_reports() {
    let mut world = World::call();
    world.open(0, 2, Port(4), Kind::Rtp);
    world.open(1, 0, Port(6), Kind::Rtp);
    world.open(1, 1, Port(8), Kind::Datagram);
    world.stream(0, &mut Sender::new(phone(0), 1), 100, (2, phone(1)));
    for command in [
        Command::CloseSide {
            session: CALL,
            side: 2,
        },
        Command::CloseStream {
            session: CALL,
            stream: 1,
        },
    ] {
        world.command(command);
        world.command(command);
    }
    assert_eq!(world.relay.freed().len(), 3);
    assert_eq!(world.relay.totals().commands_unknown, 2);
    world.command(Command::Close { session: CALL });
    let events = world.events();
    let [Event::Closed { session, report }] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(
        (*session, report.session, report.selected),
        (CALL, CALL, Some(1))
    );
    let legs: Vec<_> = (report.legs.iter())
        .map(|leg| (leg.stream, leg.side, leg.port.0, leg.packets))
        .collect();
    let expected = [
        (0, 0, 0, 100),
        (0, 1, 2, 0),
        (0, 2, 4, 0),
        (1, 0, 6, 0),
        (1, 1, 8, 0),
    ];
    assert_eq!(legs, expected);
    assert_eq!(world.relay.report(CALL), None);
    world.leaves_nothing();
}

#[test]
fn legs_that_come_and_go_are_reported_up_to_a_limit() {
    let mut world = World::call();
    for _ in 0..50 {
        world.open(3, 0, Port(20), Kind::Rtp);
        world.command(Command::CloseStream {
            session: CALL,
            stream: 3,
        });
    }
    let report = world.relay.report(CALL).expect("there is a call");
    assert_eq!((report.legs.len(), report.legs_left_out), (2 + 16, 34));
    world.ends();
}

#[test]
fn packets_on_a_port_that_was_closed_come_to_nobody() {
    let mut world = World::call();
    world.command(Command::Close { session: CALL });
    assert_eq!(world.send(0, &mut Sender::new(phone(0), 1)), None);
    assert_eq!(
        world.receive(SOCKETS + 7, phone(0), rtp_packet(1, 1, 1, 0)),
        None
    );
    assert_eq!(world.total(Reason::NoSession), 2);
    world.leaves_nothing();
}

#[test]
fn what_cannot_be_opened_is_refused_and_its_port_is_freed_if_it_is_nobodys() {
    // Session, stream, side, port; the refusal; whether the port is freed. Port 2 is open.
    let rows = [
        ((2, 0, 0, 2), Refusal::PortInUse, false),
        ((1, 0, 1, 2), Refusal::PortInUse, false),
        ((1, 1, 0, 2), Refusal::PortInUse, false),
        ((1, 0, 0, 3), Refusal::PortInUse, false),
        ((2, 0, 0, 1), Refusal::PortInUse, false),
        ((1, 0, 0, SOCKETS - 1), Refusal::NoSuchPort, false),
        ((1, 0, 0, u32::MAX), Refusal::NoSuchPort, false),
        ((1, 0, 0, 10), Refusal::AlreadyOpen, true),
        ((1, STREAMS_MAX, 0, 10), Refusal::TooManyStreams, true),
        ((1, 0, SIDES_MAX, 10), Refusal::TooManySides, true),
        ((2, 0, 0, 10), Refusal::TooManySessions, true),
    ];
    for ((session, stream, side, port), reason, is_freed) in rows {
        let mut world = World::new(Settings {
            sessions_max: 1,
            ..Settings::default()
        });
        world.open(0, 0, Port(2), Kind::Rtp);
        let session = SessionId(session);
        let port = Port(port);
        world.command(Command::Open {
            session,
            stream,
            side,
            port,
            kind: Kind::Rtp,
        });
        let refused = Event::Refused {
            session,
            stream,
            side,
            port,
            reason,
        };
        assert_eq!(world.events(), [refused]);
        let freed: Vec<_> = world.relay.freed().drain(..).collect();
        assert_eq!(
            freed,
            if is_freed { vec![port] } else { vec![] },
            "{reason:?}"
        );
        assert_eq!(world.relay.totals().refused, 1);
        world.ends();
    }
}

#[test]
fn what_is_opened_twice_is_open_once() {
    let mut world = World::call();
    world.stream(0, &mut Sender::new(phone(0), 1), 10, (2, phone(1)));
    world.command(Command::Open {
        session: CALL,
        stream: 0,
        side: 0,
        port: PORTS[0],
        kind: Kind::Rtp,
    });
    assert_eq!(world.events(), []);
    assert_eq!(world.leg(0, 0).packets, 10);
    world.ends();
}

#[test]
fn commands_for_what_is_not_there_are_counted_and_change_nothing() {
    let mut world = World::call();
    let before = world.relay.report(CALL);
    let other = SessionId(9);
    let remote = remote(phone(2));
    let about = |session, stream, side| Command::Remote {
        session,
        stream,
        side,
        remote,
        relearn: true,
    };
    let commands = [
        about(other, 0, 0),
        about(CALL, 0, 2),
        about(CALL, 1, 0),
        Command::Select {
            session: CALL,
            side: 2,
        },
        Command::Select {
            session: CALL,
            side: 0,
        },
        Command::Select {
            session: other,
            side: 1,
        },
        Command::CloseSide {
            session: CALL,
            side: 2,
        },
        Command::CloseStream {
            session: CALL,
            stream: 1,
        },
        Command::Close { session: other },
    ];
    for command in commands {
        world.command(command);
    }
    assert_eq!(world.relay.totals().commands_unknown, commands.len() as u64);
    assert_eq!(world.relay.report(CALL), before);
    assert_eq!(world.events(), []);
    world.ends();
}

#[test]
fn figures_of_calls_that_ended_are_kept() {
    let mut world = World::call();
    let mut caller = Sender::new(phone(0), 1);
    world.stream(0, &mut caller, 50, (2, phone(1)));
    caller.skip(50);
    world.stream(0, &mut caller, 100, (2, phone(1)));
    let leg = world.leg(0, 0);
    assert_eq!((leg.expected, leg.lost, leg.loss_percent), (200, 50, 25.0));
    assert_eq!((leg.longest_gap_ms, leg.bytes), (20, 150 * 172));
    let mos = leg.mos.expect("it is speech");
    assert!((1.0..3.0).contains(&mos), "{mos}");
    world.command(Command::Close { session: CALL });
    let totals = *world.relay.totals();
    assert_eq!((totals.ended_expected, totals.ended_lost), (200, 50));
    assert_eq!(totals.ended_mos_legs, 1);
    assert_eq!(totals.ended_mos_sum_thousandths, (mos * 1_000.0) as u64);
    assert_eq!((totals.sessions_opened, totals.sessions_closed), (1, 1));
    world.leaves_nothing();
}

#[test]
fn a_call_without_faults_is_rated_as_such() {
    let mut world = World::call();
    world.stream(0, &mut Sender::new(phone(0), 1), 500, (2, phone(1)));
    let leg = world.leg(0, 0);
    let mos = leg.mos.expect("it is speech");
    assert!(mos > 4.3, "{mos}");
    assert!(leg.jitter_ms < 1.0);
    assert_eq!((leg.lost, leg.round_trip_ms), (0, None));
    world.ends();
}

#[test]
fn the_round_trip_is_seen_in_reports_that_pass() {
    let mut world = World::call();
    world.stream(0, &mut Sender::new(phone(0), 1), 10, (2, phone(1)));
    world.stream(1, &mut Sender::new(phone(1), 2), 10, (0, phone(0)));
    // The caller's SR of NTP time 0x0001_0002_0003_0004.
    let mut report = vec![0x80, 200, 0, 6, 0, 0, 0, 1, 0, 1, 0, 2, 0, 3, 0, 4];
    report.resize(28, 0);
    assert!(
        world
            .receive(1, address("198.51.100.1:4001"), report)
            .is_some()
    );
    // The callee's RR on it 580 ms later, who had it for half a second.
    world.wait_ms(580);
    let mut answer = vec![0x81, 201, 0, 7, 0, 0, 0, 2, 0, 0, 0, 1];
    answer.extend([0; 12]);
    answer.extend([0, 2, 0, 3, 0, 0, 0x80, 0]);
    assert!(
        world
            .receive(3, address("203.0.113.2:5001"), answer)
            .is_some()
    );
    let trip = world.leg(0, 1).round_trip_ms.expect("it was told");
    assert!((79.0..81.0).contains(&trip), "{trip}");
    world.ends();
}

#[test]
fn the_way_to_both_parties_bears_on_the_quality() {
    // Milliseconds from the relay to each party and back.
    let mos = |trips: [u64; 2]| {
        let mut world = World::call();
        world.stream(0, &mut Sender::new(phone(0), 1), 50, (2, phone(1)));
        world.stream(1, &mut Sender::new(phone(1), 2), 50, (0, phone(0)));
        for (side, trip) in (0..).zip(trips) {
            let (own, other) = (u32::from(side) + 1, 2 - u32::from(side));
            let rtcp = |of: u8| {
                let mut source = phone(of);
                source.set_port(source.port() + 1);
                (PORTS[usize::from(of)].0 + 1, source)
            };
            let mut report = vec![0x80, 200, 0, 6, 0, 0, 0, other as u8];
            report.extend([0, 1, 0, 2, 0, own as u8, 0, 4]);
            report.resize(28, 0);
            let (socket, source) = rtcp(1 - side);
            assert!(world.receive(socket, source, report).is_some());
            world.wait_ms(trip);
            let mut answer = vec![0x81, 201, 0, 7, 0, 0, 0, own as u8];
            answer.resize(24, 0);
            answer.extend([0, 2, 0, own as u8, 0, 0, 0, 0]);
            let (socket, source) = rtcp(side);
            assert!(world.receive(socket, source, answer).is_some());
        }
        let leg = world.leg(0, 0);
        world.ends();
        leg.mos.expect("it is speech")
    };
    let (near, one_far, both_far) = (mos([10, 10]), mos([10, 600]), mos([600, 600]));
    assert!(
        near > one_far && one_far > both_far,
        "{near} {one_far} {both_far}"
    );
}

#[test]
fn what_is_no_speech_is_not_rated() {
    let mut world = World::call();
    let mut caller = Sender::new(phone(0), 1);
    // H.263, whose clock is that of video.
    caller.payload_type = 34;
    world.stream(0, &mut caller, 50, (2, phone(1)));
    let leg = world.leg(0, 0);
    assert_eq!(
        (leg.mos, leg.clock_rate_hz, leg.expected),
        (None, 90_000, 50)
    );
    world.ends();
}
