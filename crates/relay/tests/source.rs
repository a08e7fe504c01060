//! Who may send to a port.

mod world;

use std::net::SocketAddr;

use relay::{Event, Learn, Reason, Remote, Settings};
use world::*;

const CALLEE: (u32, &str) = (2, "203.0.113.2:5000");

fn callee() -> (u32, SocketAddr) {
    (CALLEE.0, address(CALLEE.1))
}

fn public() -> SocketAddr {
    address("198.51.100.77:61000")
}

fn stranger() -> SocketAddr {
    address("192.0.2.66:4000")
}

/// A call whose caller is behind NAT.
fn behind_nat() -> World {
    World::call_of(remote_behind_nat(public().ip()), remote(phone(1)))
}

#[test]
fn a_first_source_is_taken_from_a_host_of_the_peer_and_no_other() {
    let caller = Remote {
        signalling: address("198.51.100.200:5060").ip(),
        ..remote(phone(0))
    };
    let rows = [
        ("198.51.100.1:4000", true),
        ("198.51.100.1:4999", true),
        ("198.51.100.200:33000", true),
        ("198.51.100.2:4000", false),
        ("203.0.113.2:5000", false),
        ("[2001:db8::7]:4000", false),
    ];
    for (source, is_taken) in rows {
        let mut world = World::call_of(caller, remote(phone(1)));
        let sent = world.send(0, &mut Sender::new(address(source), 1));
        assert_eq!(sent, is_taken.then_some(callee()), "{source}");
        assert_eq!(world.source(0), is_taken.then_some(address(source)));
        let foreign = u64::from(!is_taken);
        assert_eq!(world.dropped(0).count(Reason::Foreign), foreign);
        assert_eq!(world.leg(0, 0).packets, 1 - foreign);
        world.ends();
    }
}

#[test]
fn a_better_source_displaces_a_worse_one_while_learning_and_not_later() {
    for (wait_ms, is_taken) in [(100, true), (1_900, true), (2_100, false)] {
        let mut world = World::call();
        world.wait_ms(30_000);
        let mut other = Sender::new(address("198.51.100.1:4999"), 1);
        world.stream(0, &mut other, 1, callee());
        world.wait_ms(wait_ms - 20);
        let sent = world.send(0, &mut Sender::new(phone(0), 2));
        assert_eq!(sent.is_some(), is_taken, "{wait_ms}");
        // A worse one does not come back, and an equal one does not come.
        let sent = world.send(0, &mut other);
        assert_eq!(sent.is_some(), !is_taken, "{wait_ms}");
        assert_eq!(
            world.send(0, &mut Sender::new(address("198.51.100.1:5555"), 3)),
            None
        );
        let sources = world.leg(0, 0).sources_learned;
        assert_eq!(sources, if is_taken { 2 } else { 1 });
        world.ends();
    }
}

#[test]
fn an_answer_opens_the_caller_for_a_better_source() {
    let mut world = World::call();
    let mut forged = Sender::new(address("198.51.100.1:1"), 9);
    world.stream(0, &mut forged, 500, callee());
    world.select(1);
    world.stream(0, &mut Sender::new(phone(0), 1), 10, callee());
    assert_eq!(world.send(0, &mut forged), None);
    world.ends();
}

#[test]
fn what_is_learned_is_told() {
    let mut world = behind_nat();
    world.stream(0, &mut Sender::new(public(), 1), 10, callee());
    let told: Vec<_> = world.relay.events().drain(..).collect();
    let learned = Event::Learned {
        session: CALL,
        stream: 0,
        side: 0,
        source: public(),
    };
    assert_eq!(told, [learned]);
    assert_eq!(world.relay.totals().sources_learned, 1);
    world.ends();
}

#[test]
fn strangers_change_nothing() {
    let mut world = behind_nat();
    let mut caller = Sender::new(public(), 1);
    world.stream(0, &mut caller, 50, callee());
    let before = world.leg(0, 0);
    let mut forged = Sender::new(stranger(), 7);
    for _ in 0..500 {
        assert_eq!(world.send(0, &mut forged), None);
        assert_eq!(world.receive(0, stranger(), rtcp_packet(1)), None);
        assert_eq!(world.receive(1, stranger(), rtcp_packet(1)), None);
        assert_eq!(world.receive(0, stranger(), dtls_packet()), None);
    }
    let mut after = world.leg(0, 0);
    assert_eq!(after.dropped.count(Reason::Foreign), 2_000);
    after.dropped = before.dropped;
    assert_eq!(after, before);
    assert_eq!(world.send(0, &mut caller), Some(callee()));
    world.ends();
}

#[test]
fn a_binding_that_changes_is_followed_by_ssrc_and_number() {
    let other = [address("198.51.100.77:61999"), address("192.0.2.99:1024")];
    for moved in other {
        let mut world = behind_nat();
        let mut caller = Sender::new(public(), 1);
        world.stream(0, &mut caller, 200, callee());
        caller.source = moved;
        // The first packets come while the old source is not yet quiet.
        let sent: Vec<_> = (0..5).map(|_| world.send(0, &mut caller)).collect();
        assert_eq!(sent, [None, None, None, None, Some(callee())], "{moved}");
        world.stream(0, &mut caller, 50, callee());
        assert_eq!(world.source(0), Some(moved));
        let sent = world.send(1, &mut Sender::new(phone(1), 2));
        assert_eq!(sent, Some((0, moved)));
        let leg = world.leg(0, 0);
        assert_eq!((leg.lost, leg.sources_learned), (4, 2));
        world.ends();
    }
}

#[test]
fn a_stream_goes_on_from_elsewhere_only_if_its_numbers_do() {
    // Packets and timestamp units left out, milliseconds that passed, whether it is the same SSRC.
    let rows = [
        (0, 0, 100, true, true),
        (1_000, 160_000, 20_000, true, true),
        (0, 160_000, 20_000, true, true),
        (0, 0, 80, true, false),
        (0, 0, 100, false, false),
        (500, 80_000, 100, true, false),
        (0, 80_000, 100, true, false),
        (65_535, 0, 100, true, false),
        (65_536 - 50, 0, 60_000, true, false),
        (3_001, 480_160, 600_000, true, false),
    ];
    for (packets, units, ms, is_same, is_taken) in rows {
        let mut world = behind_nat();
        let mut caller = Sender::new(public(), 1);
        world.stream(0, &mut caller, 200, callee());
        let mut forged = caller.clone();
        forged.source = stranger();
        forged.sequence = forged.sequence.wrapping_add(packets as u16);
        forged.timestamp = forged.timestamp.wrapping_add(units);
        forged.ssrc = if is_same { 1 } else { 2 };
        world.wait_ms(ms - 20);
        let sent = world.send(0, &mut forged);
        assert_eq!(sent.is_some(), is_taken, "{packets} {units} {ms} {is_same}");
        world.ends();
    }
}

#[test]
fn a_source_that_still_sends_cannot_be_replaced_by_who_copies_it() {
    let mut world = behind_nat();
    let mut caller = Sender::new(public(), 1);
    world.stream(0, &mut caller, 200, callee());
    for _ in 0..200 {
        let mut copied = caller.clone();
        copied.source = stranger();
        copied.skip(1);
        assert_eq!(world.receive(0, stranger(), copied.packet()), None);
        assert_eq!(world.send(0, &mut caller), Some(callee()));
    }
    world.ends();
}

#[test]
fn after_an_offer_the_peer_may_send_from_elsewhere() {
    let mut world = behind_nat();
    let mut caller = Sender::new(public(), 1);
    world.stream(0, &mut caller, 500, callee());
    let mut moved = Sender::new(address("198.51.100.77:62000"), 5);
    assert_eq!(world.send(0, &mut moved), None);
    world.describe(0, remote_behind_nat(public().ip()), true);
    let sent = world.send(1, &mut Sender::new(phone(1), 2));
    assert_eq!(
        sent,
        Some((0, public())),
        "until it does it is where it was"
    );
    world.stream(0, &mut caller, 10, callee());
    assert_eq!(world.send(0, &mut Sender::new(stranger(), 6)), None);
    assert_eq!(
        world.send(0, &mut moved),
        None,
        "the old source still sends"
    );
    world.wait_ms(100);
    world.stream(0, &mut moved, 10, callee());
    assert_eq!(world.source(0), Some(moved.source));
    world.ends();
}

#[test]
fn after_an_offer_there_are_ten_seconds_from_the_first_packet() {
    for (ms, is_taken) in [(9_000, true), (11_000, false)] {
        let mut world = behind_nat();
        let mut caller = Sender::new(public(), 1);
        world.stream(0, &mut caller, 10, callee());
        world.wait_ms(60_000);
        world.describe(0, remote_behind_nat(public().ip()), true);
        world.wait_ms(600_000);
        world.stream(0, &mut caller, 1, callee());
        world.wait_ms(ms);
        let sent = world.send(0, &mut Sender::new(address("198.51.100.77:62000"), 5));
        assert_eq!(sent.is_some(), is_taken, "{ms}");
        world.ends();
    }
}

#[test]
fn a_phone_without_nat_is_reached_at_once_where_its_offer_says() {
    let mut world = World::call();
    let mut caller = Sender::new(phone(0), 1);
    world.stream(0, &mut caller, 500, callee());
    let next = address("198.51.100.1:4002");
    world.describe(0, remote(next), true);
    let mut other = Sender::new(phone(1), 2);
    assert_eq!(world.send(1, &mut other), Some((0, next)));
    // One of the old ones is still on its way.
    assert_eq!(world.send(0, &mut caller), Some(callee()));
    world.wait_ms(7_000);
    world.stream(0, &mut caller, 1, callee());
    let mut moved = Sender::new(next, 3);
    world.describe(0, remote(next), true);
    world.stream(0, &mut moved, 10, callee());
    world.stream(1, &mut other, 10, (0, next));
    world.ends();
}

#[test]
fn a_peer_that_hands_over_to_another_host_is_followed() {
    let mut world = World::call();
    let mut caller = Sender::new(phone(0), 1);
    world.stream(0, &mut caller, 500, callee());
    let server = address("192.0.2.10:20000");
    world.describe(0, remote(server), true);
    assert_eq!(
        world.send(1, &mut Sender::new(phone(1), 2)),
        Some((0, server))
    );
    assert_eq!(world.send(0, &mut caller), None);
    world.stream(0, &mut Sender::new(server, 3), 10, callee());
    world.ends();
}

#[test]
fn a_phone_may_begin_its_stream_anew() {
    let mut world = behind_nat();
    world.stream(0, &mut Sender::new(public(), 1), 10, callee());
    world.stream(0, &mut Sender::new(public(), 2), 300, callee());
    // The one before was alone for long: it has to be quiet first.
    let mut next = Sender::new(public(), 3);
    let sent: Vec<_> = (0..6).map(|_| world.send(0, &mut next).is_some()).collect();
    assert_eq!(sent, [false, false, false, false, true, true]);
    assert_eq!(world.dropped(0).count(Reason::Foreign), 4);
    // A new offer announces it.
    world.stream(0, &mut next, 300, callee());
    world.describe(0, remote_behind_nat(public().ip()), true);
    world.stream(0, &mut Sender::new(public(), 4), 50, callee());
    assert_eq!(world.leg(0, 0).lost, 0);
    world.ends();
}

#[test]
fn numbers_may_begin_anew_when_the_old_ones_have_ended() {
    let mut world = behind_nat();
    let mut caller = Sender::new(public(), 1);
    world.stream(0, &mut caller, 300, callee());
    let mut jumped = caller.clone();
    jumped.sequence = jumped.sequence.wrapping_add(20_000);
    for _ in 0..50 {
        let mut forged = jumped.clone();
        for _ in 0..3 {
            assert_eq!(world.receive(0, public(), forged.packet()), None);
        }
        assert_eq!(world.send(0, &mut caller), Some(callee()));
    }
    let sent: Vec<_> = (0..6)
        .map(|_| world.send(0, &mut jumped).is_some())
        .collect();
    assert_eq!(sent, [false, false, false, false, true, true]);
    world.ends();
}

#[test]
fn a_packet_is_relayed_once() {
    let mut world = behind_nat();
    let mut caller = Sender::new(public(), 1);
    let mut packets = Vec::new();
    for _ in 0..300 {
        world.wait_ms(20);
        let packet = caller.packet();
        assert_eq!(world.receive(0, public(), packet.clone()), Some(callee()));
        assert_eq!(world.receive(0, public(), packet.clone()), None);
        packets.push(packet);
    }
    for packet in packets {
        assert_eq!(world.receive(0, public(), packet), None);
    }
    let leg = world.leg(0, 0);
    assert_eq!(leg.dropped.count(Reason::Replayed), 600);
    assert_eq!((leg.packets, leg.lost, leg.sources_learned), (300, 0, 1));
    world.ends();
}

#[test]
fn a_packet_that_comes_late_is_relayed() {
    let mut world = behind_nat();
    let mut caller = Sender::new(public(), 1);
    world.stream(0, &mut caller, 10, callee());
    let late = caller.packet();
    world.stream(0, &mut caller, 10, callee());
    assert_eq!(world.receive(0, public(), late.clone()), Some(callee()));
    assert_eq!(world.receive(0, public(), late), None);
    assert_eq!(world.leg(0, 0).lost, 0);
    world.ends();
}

#[test]
fn who_forges_the_source_does_not_know_the_ssrc() {
    let mut world = World::call();
    let mut caller = Sender::new(phone(0), 1);
    world.stream(0, &mut caller, 200, callee());
    let before = world.leg(0, 0);
    for nth in 0..200 {
        let mut forged = Sender::new(phone(0), 100 + nth % 3);
        forged.skip(nth as u16);
        assert_eq!(world.receive(0, phone(0), forged.packet()), None);
        assert_eq!(world.receive(1, phone(0), rtcp_packet(100)), None);
        assert_eq!(world.send(0, &mut caller), Some(callee()));
    }
    let after = world.leg(0, 0);
    assert_eq!((after.lost, after.dropped.count(Reason::Foreign)), (0, 400));
    assert_eq!(after.packets, before.packets + 200);
    world.ends();
}

#[test]
fn who_forges_the_source_first_does_not_silence_it() {
    let mut world = World::call();
    let mut forged = Sender::new(phone(0), 9);
    world.stream(0, &mut forged, 99, callee());
    let mut caller = Sender::new(phone(0), 1);
    for _ in 0..300 {
        world.receive(0, phone(0), forged.packet());
        assert_eq!(world.send(0, &mut caller), Some(callee()));
    }
    world.ends();
}

#[test]
fn rtcp_follows_the_host_and_the_ssrc_of_rtp() {
    let rows = [
        ("198.51.100.77:61001", 1, true),
        ("198.51.100.77:50000", 1, true),
        ("198.51.100.77:61001", 2, false),
        ("10.0.0.5:4001", 1, false),
        ("192.0.2.66:4001", 1, false),
    ];
    for (source, ssrc, is_taken) in rows {
        let mut world = behind_nat();
        world.stream(0, &mut Sender::new(public(), 1), 10, callee());
        let sent = world.receive(1, address(source), rtcp_packet(ssrc));
        assert_eq!(sent.is_some(), is_taken, "{source} {ssrc}");
        assert_eq!(world.leg(0, 0).rtcp_packets, u64::from(is_taken));
        world.ends();
    }
}

#[test]
fn rtcp_of_who_only_listens_is_taken() {
    let mut world = behind_nat();
    let rtcp = address("198.51.100.77:61001");
    assert!(world.receive(1, rtcp, rtcp_packet(5)).is_some());
    assert_eq!(world.receive(1, rtcp, rtcp_packet(6)), None);
    let sent = world.receive(3, address("203.0.113.2:5001"), rtcp_packet(2));
    assert_eq!(sent, Some((1, rtcp)));
    world.wait_ms(15_000);
    assert!(world.receive(1, rtcp, rtcp_packet(6)).is_some());
    assert_eq!(world.receive(1, stranger(), rtcp_packet(6)), None);
    // RTP from another host of the peer's: what was learned for RTCP is forgotten.
    world.describe(0, remote(phone(0)), true);
    world.stream(0, &mut Sender::new(phone(0), 7), 3, callee());
    let sent = world.receive(3, address("203.0.113.2:5001"), rtcp_packet(2));
    assert_eq!(sent, Some((1, address("198.51.100.1:4001"))));
    world.ends();
}

#[test]
fn an_operator_may_let_any_source_be_learned_after_a_probation() {
    let mut world = World::new(Settings {
        learn: Learn::Open,
        ..Settings::default()
    });
    for side in [0, 1] {
        world.open(0, side, PORTS[usize::from(side)], relay::Kind::Rtp);
        world.describe(side, remote(phone(side)), false);
    }
    world.select(1);
    let mut unknown = Sender::new(stranger(), 1);
    let sent: Vec<_> = (0..6)
        .map(|_| world.send(0, &mut unknown).is_some())
        .collect();
    assert_eq!(sent, [false, false, false, false, true, true]);
    let mut other = Sender::new(address("192.0.2.77:4000"), 2);
    for _ in 0..20 {
        assert_eq!(world.send(0, &mut other), None);
    }
    world.stream(0, &mut Sender::new(phone(0), 3), 10, callee());
    assert_eq!(world.source(0), Some(phone(0)), "a better one displaces it");
    world.ends();
}

#[test]
fn a_flood_of_forged_handshakes_keeps_neither_sound_nor_reports_out() {
    let mut world = behind_nat();
    let mut caller = Sender::new(public(), 1);
    world.stream(0, &mut caller, 10, callee());
    let mut passed = 0;
    for _ in 0..50 {
        for _ in 0..100 {
            let sent = world.receive(0, public(), dtls_packet());
            passed += u16::from(sent.is_some());
        }
        assert!(world.receive(1, public(), rtcp_packet(1)).is_some());
        assert_eq!(world.send(0, &mut caller), Some(callee()));
    }
    // A second of 20 ms each, which may lie across two of the clock's.
    assert!(passed <= 2 * relay::UNNUMBERED_PER_S_MAX, "{passed}");
    let dropped = world.dropped(0).count(Reason::TooMany);
    assert_eq!(dropped, 5_000 - u64::from(passed));
    world.ends();
}

#[test]
fn a_late_packet_does_not_hold_the_stream_back() {
    let mut world = behind_nat();
    let mut caller = Sender::new(public(), 1);
    world.stream(0, &mut caller, 100, callee());
    let late = caller.packet();
    world.stream(0, &mut caller, 60, callee());
    assert_eq!(world.receive(0, public(), late), Some(callee()));
    world.wait_ms(80);
    caller.source = stranger();
    assert_eq!(world.send(0, &mut caller), Some(callee()));
    world.ends();
}

#[test]
fn who_takes_over_from_another_host_may_begin_with_rtcp() {
    let mut world = World::call();
    world.stream(0, &mut Sender::new(phone(0), 1), 200, callee());
    assert!(
        world
            .receive(1, address("198.51.100.1:4001"), rtcp_packet(1))
            .is_some()
    );
    let server = address("192.0.2.10:20000");
    world.describe(0, remote(server), true);
    let sent = world.receive(3, address("203.0.113.2:5001"), rtcp_packet(2));
    assert_eq!(
        sent,
        Some((1, address("192.0.2.10:20001"))),
        "what was learned is forgotten"
    );
    assert!(
        world
            .receive(1, address("192.0.2.10:20001"), rtcp_packet(8))
            .is_some()
    );
    world.ends();
}

#[test]
fn who_only_listens_may_change_its_ssrc_with_an_offer() {
    let mut world = behind_nat();
    let rtcp = address("198.51.100.77:61001");
    assert!(world.receive(1, rtcp, rtcp_packet(5)).is_some());
    assert_eq!(world.receive(1, rtcp, rtcp_packet(6)), None);
    world.describe(0, remote_behind_nat(public().ip()), true);
    assert!(world.receive(1, rtcp, rtcp_packet(6)).is_some());
    let sent = world.receive(3, address("203.0.113.2:5001"), rtcp_packet(2));
    assert_eq!(sent, Some((1, rtcp)));
    world.ends();
}

#[test]
fn rtcp_that_came_first_gives_way_to_the_host_of_rtp() {
    let signalling = address("198.51.100.200:5060").ip();
    let caller = Remote {
        signalling,
        ..remote(phone(0))
    };
    let mut world = World::call_of(caller, remote(phone(1)));
    let first = SocketAddr::new(signalling, 9_001);
    assert!(world.receive(1, first, rtcp_packet(5)).is_some());
    world.stream(0, &mut Sender::new(phone(0), 1), 3, callee());
    let sent = world.receive(3, address("203.0.113.2:5001"), rtcp_packet(2));
    assert_eq!(sent, Some((1, address("198.51.100.1:4001"))));
    world.ends();
}

#[test]
fn after_a_handshake_from_elsewhere_the_stream_begins_anew() {
    let mut world = behind_nat();
    world.stream(0, &mut Sender::new(public(), 1), 200, callee());
    world.describe(0, remote_behind_nat(public().ip()), true);
    world.wait_ms(100);
    let moved = address("198.51.100.77:62000");
    assert_eq!(world.receive(0, moved, dtls_packet()), Some(callee()));
    world.stream(0, &mut Sender::new(moved, 2), 10, callee());
    assert_eq!(world.leg(0, 0).expected, 210);
    world.ends();
}

#[test]
fn a_fax_that_still_sends_is_not_displaced() {
    let mut world = World::new(Settings::default());
    for side in [0, 1] {
        world.open(0, side, PORTS[usize::from(side)], relay::Kind::Datagram);
    }
    world.describe(0, remote_behind_nat(public().ip()), false);
    world.describe(1, remote(phone(1)), false);
    world.select(1);
    let fax = || vec![0, 0, 1, 0];
    assert_eq!(world.receive(0, public(), fax()), Some(callee()));
    world.describe(0, remote_behind_nat(public().ip()), true);
    let moved = address("198.51.100.77:62000");
    for _ in 0..10 {
        world.wait_ms(50);
        assert_eq!(world.receive(0, public(), fax()), Some(callee()));
        world.wait_ms(50);
        assert_eq!(world.receive(0, moved, fax()), None);
    }
    world.wait_ms(50);
    assert_eq!(world.receive(0, moved, fax()), Some(callee()));
    world.ends();
}

#[test]
fn a_probation_is_served_by_one_source_and_in_a_row() {
    let open = || {
        let mut world = World::new(Settings {
            learn: Learn::Open,
            ..Settings::default()
        });
        for side in [0, 1] {
            world.open(0, side, PORTS[usize::from(side)], relay::Kind::Rtp);
            world.describe(side, remote(phone(side)), false);
        }
        world.select(1);
        world
    };
    let mut world = open();
    let mut leaping = Sender::new(stranger(), 1);
    for _ in 0..50 {
        leaping.skip(1);
        assert_eq!(world.send(0, &mut leaping), None);
    }
    world.ends();
    let mut world = open();
    let mut many = Sender::new(stranger(), 1);
    for nth in 0..50 {
        many.source.set_port(1_000 + nth);
        assert_eq!(world.send(0, &mut many), None);
    }
    world.ends();
}

#[test]
fn a_source_that_was_proven_is_displaced_by_no_rank() {
    let mut world = behind_nat();
    let mut caller = Sender::new(public(), 1);
    world.stream(0, &mut caller, 10, callee());
    world.wait_ms(100);
    caller.source = stranger();
    world.stream(0, &mut caller, 1, callee());
    for source in ["10.0.0.5:4000", "198.51.100.77:61000"] {
        assert_eq!(world.send(0, &mut Sender::new(address(source), 3)), None);
    }
    world.stream(0, &mut caller, 10, callee());
    world.ends();
}

#[test]
fn the_time_after_an_offer_ends_whatever_came() {
    let moved = address("198.51.100.77:62000");
    for (kind, packets) in [
        (
            relay::Kind::Rtp,
            [rtp_packet(1, 1, 160, 0), rtp_packet(2, 9, 0, 0)],
        ),
        (relay::Kind::Datagram, [vec![0, 0, 1, 0], vec![0, 1, 1, 0]]),
    ] {
        for first in [public(), moved] {
            let mut world = behind_nat();
            for side in [0, 1] {
                let port = PORTS[usize::from(side)];
                world.command(relay::Command::Open {
                    session: CALL,
                    stream: 0,
                    side,
                    port,
                    kind,
                });
            }
            assert_eq!(
                world.receive(0, public(), packets[0].clone()),
                Some(callee())
            );
            world.wait_ms(5_000);
            world.describe(0, remote_behind_nat(public().ip()), true);
            world.wait_ms(5_000);
            let mut next = packets[0].clone();
            // The sequence number, where there is one.
            next[3] += 1;
            assert_eq!(world.receive(0, first, next), Some(callee()));
            world.wait_ms(11_000);
            let other = address("198.51.100.77:63000");
            assert_eq!(
                world.receive(0, other, packets[1].clone()),
                None,
                "{kind:?} {first}"
            );
            world.ends();
        }
    }
}

#[test]
fn rtcp_may_be_said_to_come_from_a_host_of_its_own() {
    let rtcp = address("198.51.100.9:7777");
    let caller = Remote {
        rtcp: Some(rtcp),
        ..remote(phone(0))
    };
    let mut world = World::call_of(caller, remote(phone(1)));
    assert!(world.receive(1, rtcp, rtcp_packet(5)).is_some());
    assert_eq!(world.relay.totals().rtcp_packets, 1);
    world.ends();
}

#[test]
fn what_nobody_drains_does_not_grow_without_end() {
    let mut world = World::call();
    for _ in 0..relay::LEARNED_EVENTS_MAX {
        world.command(relay::Command::Open {
            session: CALL,
            stream: 0,
            side: 0,
            port: relay::Port(u32::MAX),
            kind: relay::Kind::Rtp,
        });
    }
    world.stream(0, &mut Sender::new(phone(0), 1), 1, callee());
    assert_eq!(world.relay.events().len(), relay::LEARNED_EVENTS_MAX);
    assert_eq!(world.relay.totals().events_left_out, 1);
    world.ends();
}
