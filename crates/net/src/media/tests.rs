use super::*;
use std::net::UdpSocket;

const LONG: Duration = Duration::from_secs(60);

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

fn loopback_v6() -> SocketAddr {
    "[::1]:0".parse().expect("an address")
}

/// A socket of the test's, and its address.
fn phone(address: SocketAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).expect("bound");
    let wait = Some(Duration::from_secs(5));
    socket.set_read_timeout(wait).expect("a timeout");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

/// Media that never lets packets gather, with `count` sockets, and their addresses.
fn media_with(count: usize) -> (Media, Vec<SocketAddr>) {
    let options = MediaOptions {
        delay_max: Duration::ZERO,
        ..MediaOptions::default()
    };
    let mut media = Media::new(options).expect("media");
    let bound = (0..count).map(|_| media.bind(loopback()).expect("bound"));
    let indices: Vec<u32> = bound.collect();
    let addresses = indices
        .iter()
        .map(|index| media.local_address(*index).expect("an address"));
    let addresses = addresses.collect();
    (media, addresses)
}

fn receive(phone: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut room = [0; 4_096];
    let (length, source) = phone.recv_from(&mut room).expect("received");
    (room[..length].to_vec(), source)
}

#[test]
fn a_packet_leaves_from_the_socket_and_for_the_address_that_were_named() {
    let (mut media, ports) = media_with(2);
    let ((caller, caller_address), (callee, callee_address)) =
        (phone(loopback()), phone(loopback()));
    caller.send_to(b"sound", ports[0]).expect("sent");
    let turn = media
        .turn(LONG, |socket, source, packet| {
            let expected = (0, caller_address, &b"sound"[..]);
            assert_eq!((socket, source, &*packet), expected);
            packet[0] = b'S';
            Some((1, callee_address))
        })
        .expect("a turn");
    assert_eq!((turn.received, turn.sent), (1, 1));
    assert_eq!(receive(&callee), (b"Sound".to_vec(), ports[1]));
}

#[test]
fn a_packet_crosses_from_ipv4_to_ipv6_and_back() {
    let mut media = Media::new(MediaOptions::default()).expect("media");
    let inside = media.bind(loopback_v6()).expect("bound");
    let outside = media.bind(loopback()).expect("bound");
    let ((six, six_address), (four, four_address)) = (phone(loopback_v6()), phone(loopback()));
    let mut each = |socket, source: SocketAddr, _: &mut [u8]| {
        assert_eq!(source.is_ipv6(), socket == inside);
        if socket == inside {
            Some((outside, four_address))
        } else {
            Some((inside, six_address))
        }
    };
    let [to_inside, to_outside] =
        [inside, outside].map(|index| media.local_address(index).expect("an address"));
    six.send_to(b"6", to_inside).expect("sent");
    assert_eq!(media.turn(LONG, &mut each).expect("a turn").sent, 1);
    assert_eq!(receive(&four), (b"6".to_vec(), to_outside));
    four.send_to(b"4", to_outside).expect("sent");
    assert_eq!(media.turn(LONG, &mut each).expect("a turn").sent, 1);
    assert_eq!(receive(&six), (b"4".to_vec(), to_inside));
}

#[test]
fn a_burst_is_taken_whole_and_other_sockets_have_their_packets_between() {
    const SOCKETS: usize = 300;
    const BURST: u8 = 5;
    let (mut media, ports) = media_with(SOCKETS);
    let (talker, _) = phone(loopback());
    let (_listener, listener_address) = phone(loopback());
    for port in &ports {
        for number in 0..BURST {
            talker.send_to(&[number], port).expect("sent");
        }
    }
    let mut order = Vec::new();
    let turn = media
        .turn(LONG, |socket, _, packet| {
            order.push((packet[0], socket));
            Some((socket, listener_address))
        })
        .expect("a turn");
    assert_eq!(turn.received as usize, SOCKETS * usize::from(BURST));
    assert_eq!(turn.sent, turn.received);
    assert!(
        order.is_sorted_by_key(|(number, _)| *number),
        "the first of each socket come before the second of any"
    );
    order.sort_unstable();
    order.dedup();
    assert_eq!(order.len(), SOCKETS * usize::from(BURST));
}

#[test]
fn a_turn_ends_after_so_many_packets_and_the_next_goes_on() {
    const SOCKETS: usize = 50;
    const EACH: usize = 50;
    let (mut media, ports) = media_with(SOCKETS);
    let (talker, _) = phone(loopback());
    for port in &ports {
        for _ in 0..EACH {
            talker.send_to(b"flood", port).expect("sent");
        }
    }
    let turn = media.turn(LONG, |_, _, _| None).expect("a turn");
    assert_eq!(turn.received, PACKETS_PER_TURN_MAX);
    let next = media.turn(LONG, |_, _, _| None).expect("a turn");
    assert_eq!((turn.received + next.received) as usize, SOCKETS * EACH);
    assert_eq!((turn.sent, turn.overflowed, next.overflowed), (0, 0, 0));
}

#[test]
fn a_huge_packet_is_counted_and_not_handed_on() {
    let (mut media, ports) = media_with(1);
    let (talker, _) = phone(loopback());
    for length in [PACKET_BYTES_MAX + 1, PACKET_BYTES_MAX, 0] {
        talker.send_to(&vec![7; length], ports[0]).expect("sent");
    }
    let mut lengths = Vec::new();
    let turn = media
        .turn(LONG, |_, _, packet| {
            lengths.push(packet.len());
            None
        })
        .expect("a turn");
    assert_eq!((turn.huge, turn.received), (1, 2));
    assert_eq!(lengths, [PACKET_BYTES_MAX, 0]);
}

#[test]
fn a_peer_that_refuses_disturbs_nobody() {
    let (mut media, ports) = media_with(2);
    let ((talker, _), (listener, listener_address)) = (phone(loopback()), phone(loopback()));
    let (gone, gone_address) = phone(loopback());
    drop(gone);
    for round in 0..3u8 {
        talker.send_to(&[round], ports[0]).expect("sent");
        talker.send_to(&[round], ports[1]).expect("sent");
        let mut received = 0;
        while received < 2 {
            let turn = media
                .turn(LONG, |socket, _, _| {
                    // Both leave from socket 1, which is told by ICMP that nobody listens.
                    Some((1, [gone_address, listener_address][socket as usize]))
                })
                .expect("a turn");
            assert_eq!(turn.sent, turn.received);
            received += turn.received;
        }
        assert_eq!(receive(&listener), (vec![round], ports[1]));
    }
}

#[test]
fn what_cannot_be_sent_is_counted() {
    let (mut media, ports) = media_with(1);
    let (talker, talker_address) = phone(loopback());
    let (_six, six_address) = phone(loopback_v6());
    let nowhere = "240.0.0.1:9".parse().expect("an address");
    let answers = [
        (0, six_address),
        (7, talker_address),
        (0, nowhere),
        (0, talker_address),
    ];
    for number in 0..answers.len() as u8 {
        talker.send_to(&[number], ports[0]).expect("sent");
    }
    let turn = media
        .turn(LONG, |_, _, packet| Some(answers[usize::from(packet[0])]))
        .expect("a turn");
    assert_eq!(turn.received as usize, answers.len());
    assert_eq!(turn.unsent + turn.sent, turn.received);
    // Whether a reserved address has a route is the machine's.
    assert!(turn.unsent >= 2, "{turn:?}");
    assert_eq!(receive(&talker), (vec![3], ports[0]));
}

#[test]
fn what_the_kernel_drops_is_counted_once() {
    const SENT: u32 = 1_000;
    let (mut media, ports) = media_with(1);
    let (talker, _) = phone(loopback());
    for _ in 0..SENT {
        talker.send_to(&[0; 172], ports[0]).expect("sent");
    }
    let turn = media.turn(LONG, |_, _, _| None).expect("a turn");
    assert!(turn.overflowed > 0);
    assert_eq!(turn.received + turn.overflowed, SENT);
    let idle = media.turn(Duration::ZERO, |_, _, _| None).expect("a turn");
    assert_eq!(idle, Turn::default());
}

#[test]
fn a_port_that_is_taken_and_a_wildcard_take_no_index() {
    let (mut media, _) = media_with(1);
    let (_other, taken) = phone(loopback());
    let refused = |result: io::Result<u32>| result.expect_err("refused").kind();
    assert_eq!(refused(media.bind(taken)), io::ErrorKind::AddrInUse);
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let wildcard = wildcard.parse().expect("an address");
        assert_eq!(refused(media.bind(wildcard)), io::ErrorKind::InvalidInput);
    }
    assert_eq!(media.bind(loopback()).expect("bound"), 1);
}

#[test]
fn an_address_that_is_elsewhere_is_bound_where_that_is_asked_for() {
    let elsewhere = "192.0.2.1:0".parse().expect("an address");
    let mut media = Media::new(MediaOptions::default()).expect("media");
    let error = media.bind(elsewhere).expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    let options = MediaOptions {
        freebind: true,
        ..MediaOptions::default()
    };
    let mut standby = Media::new(options).expect("media");
    assert_eq!(standby.bind(elsewhere).expect("bound"), 0);
    let elsewhere = "[2001:db8::1]:0".parse().expect("an address");
    assert_eq!(standby.bind(elsewhere).expect("bound"), 1);
}

#[test]
fn places_that_are_kept_are_opened_by_one_process_after_the_other() {
    let (taken, address) = phone(loopback());
    let mut media = Media::new(MediaOptions::default()).expect("media");
    assert_eq!(media.reserve(address).expect("a place"), 0);
    assert_eq!(media.reserve(loopback()).expect("a place"), 1);
    assert_eq!(media.send(0, b"early", address), Sent::Refused);
    let error = media.open().expect_err("another has one of them");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(media.local_address(1).is_ok());
    drop(taken);
    media.open().expect("all of them");
    let (caller, _) = phone(loopback());
    caller.send_to(b"sound", address).expect("sent");
    let turn = media.turn(LONG, |_, _, _| None).expect("a turn");
    assert_eq!(turn.received, 1);
    media.close();
    let again = UdpSocket::bind(address).expect("it is free");
    caller.send_to(b"sound", address).expect("sent");
    assert_eq!(receive(&again).0, b"sound");
    let idle = media.turn(Duration::ZERO, |_, _, _| None).expect("a turn");
    assert_eq!(idle, Turn::default());
}

#[test]
fn packets_leave_as_expedited() {
    let mut media = Media::new(MediaOptions::default()).expect("media");
    media.bind(loopback()).expect("bound");
    media.bind(loopback_v6()).expect("bound");
    let options = [
        (libc::IPPROTO_IP, libc::IP_TOS),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    ];
    for (port, (level, name)) in media.ports.iter().zip(options) {
        let socket = port.socket.as_ref().expect("open");
        assert_eq!(socket.option(level, name).expect("a value"), 46 << 2);
    }
}

#[test]
fn a_wake_ends_the_wait() {
    let (mut media, _) = media_with(1);
    media.waker().wake();
    assert!(media.turn(LONG, |_, _, _| None).expect("a turn").woken);
    let idle = media.turn(Duration::ZERO, |_, _, _| None).expect("a turn");
    assert_eq!(idle, Turn::default());
    let waker = media.waker();
    let other = thread::spawn(move || waker.wake());
    assert!(media.turn(LONG, |_, _, _| None).expect("a turn").woken);
    other.join().expect("ended");
}

/// Media that lets packets gather for `delay`, after a turn that brought `count` packets.
fn media_after(count: usize, delay: Duration) -> (Media, UdpSocket, SocketAddr) {
    let options = MediaOptions {
        delay_max: delay,
        ..MediaOptions::default()
    };
    let mut media = Media::new(options).expect("media");
    media.bind(loopback()).expect("bound");
    let port = media.local_address(0).expect("an address");
    let (talker, _) = phone(loopback());
    for _ in 0..count {
        talker.send_to(b"before", port).expect("sent");
    }
    let turn = media.turn(LONG, |_, _, _| None).expect("a turn");
    assert_eq!(turn.received as usize, count);
    (media, talker, port)
}

#[test]
fn where_there_are_many_packets_they_gather() {
    let delay = Duration::from_millis(100);
    let (mut media, talker, port) = media_after(2, delay);
    let (began, busy) = (media.began, media.busy);
    talker.send_to(b"now", port).expect("sent");
    media.waker().wake();
    let turn = media.turn(LONG, |_, _, _| None).expect("a turn");
    assert_eq!((turn.received, turn.woken), (1, true));
    assert!(media.began - began >= delay - busy);
}

#[test]
fn a_lone_packet_does_not_wait_for_others() {
    let (mut media, talker, port) = media_after(1, LONG);
    talker.send_to(b"now", port).expect("sent");
    let began = Instant::now();
    let turn = media.turn(LONG, |_, _, _| None).expect("a turn");
    assert_eq!(turn.received, 1);
    assert!(began.elapsed() < LONG / 2);
}

#[test]
fn gathering_does_not_outlast_the_timeout() {
    let (mut media, _talker, _) = media_after(2, LONG);
    let began = Instant::now();
    let timeout = Duration::from_millis(20);
    let turn = media.turn(timeout, |_, _, _| None).expect("a turn");
    assert_eq!(turn, Turn::default());
    assert!(began.elapsed() < LONG / 2);
}
