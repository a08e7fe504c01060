//! A node that relays between real sockets.

use std::net::UdpSocket;

use proxy::{MediaPort, NoPorts};
use relay::{Command, Direction, Formats, Kind, Remote, SessionId};

use super::tests::{settings, start};
use super::*;
use crate::media::{Commands, RelaySettings};

/// Four pairs of ports on an address that no other test has.
fn with_relay(address: &str, threads: usize) -> Settings {
    Settings {
        relay: Some(RelaySettings {
            first_port: 21_000,
            last_port: 21_007,
            addresses: vec![address.parse().expect("an address")],
            advertised: None,
            threads,
            relay: relay::Settings::default(),
        }),
        ..settings()
    }
}

/// A phone's socket for media.
fn phone() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let patience = Some(Duration::from_secs(20));
    socket.set_read_timeout(patience).expect("an option");
    socket
}

fn local(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("bound")
}

/// An RTP packet of 20 ms of sound.
fn packet(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend([0, 0, 0, 7]);
    packet.extend([0xd5; 160]);
    packet
}

/// What opens a call's stream between two phones.
fn commands(session: SessionId, ports: [MediaPort; 2], phones: [&UdpSocket; 2]) -> Vec<Command> {
    let mut commands = Vec::new();
    for (side, (port, phone)) in ports.iter().zip(phones).enumerate() {
        let (stream, side) = (0, side as u8);
        commands.push(Command::Open {
            session,
            stream,
            side,
            port: port.port,
            kind: Kind::Rtp,
        });
        let mut formats = Formats::new();
        formats.add(8, 8_000);
        let remote = Remote {
            rtp: Some(local(phone)),
            rtcp: None,
            rtcp_mux: false,
            signalling: local(phone).ip(),
            direction: Direction::SendRecv,
            formats,
        };
        commands.push(Command::Remote {
            session,
            stream,
            side,
            remote,
            relearn: false,
        });
    }
    commands.push(Command::Select { session, side: 1 });
    commands
}

fn tell(node: &Node, relay: u16, commands: Vec<Command>) {
    let mut turn = Commands::of(&node.shared.relays);
    for command in commands {
        turn.push(relay, command);
    }
    node.shared.relays.hand_over(&mut turn);
}

/// Waits until the relay says so.
fn wait_for(node: &Node, ready: impl Fn(&Snapshot) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let snapshot = node.snapshot(0);
        if ready(&snapshot) {
            return;
        }
        assert!(Instant::now() < deadline, "{:#?}", snapshot.relay);
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_node_relays_between_two_sockets_until_the_call_is_closed() {
    let (node, _folder) = start(with_relay("127.1.1.1", 2)).await;
    let relays = &node.shared.relays;
    let (alice, bob) = (phone(), phone());
    let from = |phone: &UdpSocket| local(phone).ip();
    let first = relays.take(from(&alice), None).expect("a pair");
    let second = relays.take(from(&bob), Some(first.relay)).expect("another");
    assert_eq!(first.relay, second.relay);
    let session = SessionId(1 << 56 | 5);
    tell(
        &node,
        first.relay,
        commands(session, [first, second], [&alice, &bob]),
    );
    wait_for(&node, |seen| seen.relay.sessions == 1);
    let mut room = [0; 2_048];
    for sequence in 1..=5 {
        for (phone, port, other, its) in
            [(&alice, first, &bob, second), (&bob, second, &alice, first)]
        {
            phone
                .send_to(&packet(sequence), port.address)
                .expect("sent");
            let (size, source) = other.recv_from(&mut room).expect("relayed");
            assert_eq!(room[..size], packet(sequence));
            assert_eq!(source, its.address);
        }
    }
    let stranger = UdpSocket::bind("127.9.9.9:0").expect("a free port");
    stranger.send_to(&packet(9), first.address).expect("sent");
    wait_for(&node, |seen| seen.relay.dropped.contains(&("foreign", 1)));
    let seen = node.snapshot(0).relay;
    assert_eq!((seen.threads, seen.silent_threads), (2, 0));
    assert_eq!((seen.ports_in_use, seen.ports_free), (2, 2));
    assert_eq!((seen.totals.packets, seen.totals.sources_learned), (10, 2));
    tell(&node, first.relay, vec![Command::Close { session }]);
    wait_for(&node, |seen| seen.relay.ports_in_use == 0);
    let seen = node.snapshot(0).relay;
    assert_eq!((seen.ports_free, seen.sessions), (4, 0));
    assert_eq!(seen.mos.counts.iter().sum::<u64>(), 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ports_are_given_out_once_each_and_to_who_can_reach_them() {
    let mut settings = with_relay("127.1.1.2", 3);
    let relay = settings.relay.as_mut().expect("given");
    relay.advertised = Some("203.0.113.7".parse().expect("an address"));
    let (node, _folder) = start(settings).await;
    let relays = &node.shared.relays;
    let party = IpAddr::from([192, 0, 2, 1]);
    assert_eq!(
        relays.take("::1".parse().expect("an address"), None),
        Err(NoPorts::Absent)
    );
    let taken: Vec<MediaPort> = std::iter::from_fn(|| relays.take(party, None).ok()).collect();
    let mut ports: Vec<u16> = taken.iter().map(|taken| taken.address.port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [21_000, 21_002, 21_004, 21_006]);
    // Loopback is told as it is.
    assert!(taken.iter().all(|taken| taken.address.ip().is_loopback()));
    assert_eq!(relays.take(party, None), Err(NoPorts::Taken));
    assert_eq!(node.snapshot(0).relay.ports_exhausted, 2);
    // What was not opened comes back at once.
    relays.give_back(usize::from(taken[1].relay), taken[1].port);
    assert_eq!(relays.take(party, Some(taken[1].relay)), Ok(taken[1]));
    for port in taken {
        relays.give_back(usize::from(port.relay), port.port);
    }
    assert_eq!(node.snapshot(0).relay.ports_in_use, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ports_that_others_have_are_left_out_and_none_at_all_is_an_error() {
    let _others: Vec<UdpSocket> = [21_001, 21_004]
        .iter()
        .map(|port| UdpSocket::bind(("127.1.1.3", *port)).expect("free"))
        .collect();
    let (node, _folder) = start(with_relay("127.1.1.3", 1)).await;
    let relays = &node.shared.relays;
    assert_eq!(node.snapshot(0).relay.ports_free, 2);
    let party = IpAddr::from([127, 1, 1, 3]);
    let ports = [(); 2].map(|()| relays.take(party, None).expect("a pair").address.port());
    assert_eq!(ports, [21_002, 21_006]);
    let folder = tempfile::tempdir().expect("a folder");
    // An address that this machine has not.
    let failed = super::tests::try_start(with_relay("192.0.2.1", 1), &folder).await;
    let error = failed.expect_err("no ports").to_string();
    assert!(
        error.contains("none of the ports 21000 to 21007") && error.contains("192.0.2.1:21006"),
        "{error}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_relay_thread_that_does_not_keep_up_gets_no_more_calls() {
    let (node, _folder) = start(with_relay("127.1.1.4", 1)).await;
    let relays = &node.shared.relays;
    // It ends, and nobody empties its inbox.
    relays.stop();
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.workers_alive() {
        assert!(Instant::now() < deadline, "the thread does not end");
        std::thread::yield_now();
    }
    let party = IpAddr::from([127, 1, 1, 4]);
    assert!(relays.take(party, None).is_ok());
    let session = SessionId(1);
    let many = vec![Command::Select { session, side: 1 }; 50_000];
    tell(&node, 0, many);
    assert_eq!(relays.take(party, None), Err(NoPorts::Taken));
    assert_eq!(node.snapshot(0).relay.silent_threads, 1);
    node.stop().await;
}
