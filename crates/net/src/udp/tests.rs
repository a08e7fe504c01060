use super::*;
use crate::poll::{Interest, Poller, Token};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket as StdSocket};
use std::time::Duration;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn bind(text: &str) -> UdpSocket {
    UdpSocket::bind(address(text), &UdpOptions::default()).expect("bound")
}

/// The loopback addresses there are; a machine without `::1` is told so.
fn loopbacks() -> Vec<&'static str> {
    if StdSocket::bind("[::1]:0").is_ok() {
        return vec!["127.0.0.1:0", "[::1]:0"];
    }
    eprintln!("SKIPPED for IPv6: this machine has no ::1");
    vec!["127.0.0.1:0"]
}

/// Waits until `socket` has something to receive or an error; returns whether it is an error.
fn wait(socket: &UdpSocket) -> bool {
    let mut poller = Poller::new().expect("a poller");
    poller
        .add(socket, Token(1), Interest::Readable)
        .expect("watched");
    let ready = poller.wait(Some(Duration::from_secs(5))).expect("waited");
    assert_eq!(ready.len(), 1, "the socket is ready in time");
    ready[0].error
}

fn flush_all(batch: &mut SendBatch, socket: &UdpSocket, count: usize) {
    let report = batch.flush(socket);
    assert_eq!(
        report,
        FlushReport {
            sent: count,
            ..FlushReport::default()
        }
    );
    assert!(batch.is_empty());
}

#[test]
fn a_batch_arrives_in_order_with_its_addresses() {
    for loopback in loopbacks() {
        let (sender, receiver) = (bind(loopback), bind(loopback));
        let mut outgoing = SendBatch::new();
        for number in 0..150u8 {
            outgoing.push(receiver.local_address(), None, &[number; 400]);
        }
        flush_all(&mut outgoing, &sender, 150);

        let mut incoming = ReceiveBatch::new(32);
        let mut expected = 0u8;
        while receiver.receive(&mut incoming).expect("received") > 0 {
            for datagram in incoming.datagrams() {
                assert_eq!(datagram.bytes, [expected; 400]);
                assert_eq!(datagram.source, sender.local_address());
                assert_eq!(datagram.local, receiver.local_address());
                assert!(!datagram.truncated);
                expected += 1;
            }
        }
        assert_eq!(expected, 150);
        assert!(incoming.is_empty());
    }
}

#[test]
fn the_largest_datagram_fits_and_a_larger_one_is_reported() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut outgoing = SendBatch::new();
    outgoing.push(receiver.local_address(), None, &vec![7; 65_508]);
    outgoing.push(receiver.local_address(), None, &vec![8; 65_507]);
    let report = outgoing.flush(&sender);
    assert_eq!((report.sent, report.failed), (1, 1));
    let failure = SendFailure {
        destination: receiver.local_address(),
        error: DeliveryError::TooLarge,
    };
    assert_eq!(outgoing.failures(), [failure]);

    let mut incoming = ReceiveBatch::new(2);
    assert_eq!(receiver.receive(&mut incoming).expect("received"), 1);
    let datagram = incoming.datagram(0).expect("one");
    assert_eq!(datagram.bytes, vec![8; 65_507]);
    assert!(!datagram.truncated);
}

#[test]
fn a_wildcard_socket_tells_the_address_written_to_and_answers_from_it() {
    let server = bind("0.0.0.0:0");
    let port = server.local_address().port();
    let client = StdSocket::bind("127.0.0.1:0").expect("bound");
    let written_to = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 42)), port);
    client.send_to(b"ping", written_to).expect("sent");

    let mut incoming = ReceiveBatch::new(4);
    wait(&server);
    assert_eq!(server.receive(&mut incoming).expect("received"), 1);
    let datagram = incoming.datagram(0).expect("one");
    assert_eq!(datagram.local, written_to);

    let mut outgoing = SendBatch::new();
    outgoing.push(datagram.source, Some(datagram.local.ip()), b"pong");
    flush_all(&mut outgoing, &server, 1);
    let mut room = [0; 16];
    let (length, from) = client.recv_from(&mut room).expect("answered");
    assert_eq!((&room[..length], from), (&b"pong"[..], written_to));
}

#[test]
fn a_dual_stack_socket_speaks_ipv4_as_ipv4() {
    if loopbacks().len() < 2 {
        return;
    }
    let options = UdpOptions {
        v6_only: false,
        ..UdpOptions::default()
    };
    let server = UdpSocket::bind(address("[::]:0"), &options).expect("bound");
    let port = server.local_address().port();
    let mut incoming = ReceiveBatch::new(4);
    let mut outgoing = SendBatch::new();
    for (own, target) in [
        ("127.0.0.1:0", IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9))),
        ("[::1]:0", IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ] {
        let client = StdSocket::bind(own).expect("bound");
        let target = SocketAddr::new(target, port);
        client.send_to(b"ping", target).expect("sent");
        wait(&server);
        assert_eq!(server.receive(&mut incoming).expect("received"), 1);
        let datagram = incoming.datagram(0).expect("one");
        assert_eq!(datagram.source, client.local_addr().expect("bound"));
        assert_eq!(datagram.local, target);

        outgoing.push(datagram.source, Some(datagram.local.ip()), b"pong");
        flush_all(&mut outgoing, &server, 1);
        let mut room = [0; 16];
        let (length, from) = client.recv_from(&mut room).expect("answered");
        assert_eq!((&room[..length], from), (&b"pong"[..], target));
    }
}

#[test]
fn a_closed_port_is_reported_with_its_address() {
    for loopback in loopbacks() {
        let sender = bind(loopback);
        let closed = StdSocket::bind(loopback)
            .expect("bound")
            .local_addr()
            .expect("bound");
        let mut outgoing = SendBatch::new();
        outgoing.push(closed, None, b"hello");
        flush_all(&mut outgoing, &sender, 1);

        assert!(wait(&sender), "an error is reported");
        let mut reported = Vec::new();
        let count = sender.receive_errors(|destination, error| reported.push((destination, error)));
        assert_eq!(count.expect("read"), 1);
        assert_eq!(reported, [(closed, DeliveryError::Refused)]);

        let mut poller = Poller::new().expect("a poller");
        poller
            .add(&sender, Token(1), Interest::Readable)
            .expect("watched");
        assert!(
            poller
                .wait(Some(Duration::ZERO))
                .expect("looked")
                .is_empty(),
            "all is taken"
        );
    }
}

#[test]
fn an_error_about_one_peer_does_not_touch_what_is_sent_to_another() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let closed = StdSocket::bind("127.0.0.1:0")
        .expect("bound")
        .local_addr()
        .expect("bound");
    let mut outgoing = SendBatch::new();
    let mut incoming = ReceiveBatch::new(16);
    for _ in 0..8 {
        outgoing.push(closed, None, b"lost");
        flush_all(&mut outgoing, &sender, 1);
        outgoing.push(receiver.local_address(), None, b"arrives");
        flush_all(&mut outgoing, &sender, 1);
        outgoing.push(closed, None, b"lost");
        flush_all(&mut outgoing, &sender, 1);
        assert_eq!(
            sender
                .receive(&mut incoming)
                .expect("errors are stepped over"),
            0
        );
    }
    assert_eq!(receiver.receive(&mut incoming).expect("received"), 8);
    assert_eq!(sender.receive_errors(|_, _| {}).expect("read"), 16);
}

#[test]
fn a_destination_of_the_wrong_family_fails_alone() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut outgoing = SendBatch::new();
    outgoing.push(receiver.local_address(), None, b"one");
    outgoing.push(address("[::1]:9"), None, b"two");
    outgoing.push(receiver.local_address(), None, b"three");
    let report = outgoing.flush(&sender);
    assert_eq!((report.sent, report.failed, report.kept), (2, 1, 0));
    assert_eq!(outgoing.failures()[0].error, DeliveryError::Unreachable);
}

#[test]
fn what_the_socket_does_not_take_is_kept_within_limits_and_sent_later() {
    let mut batch = SendBatch::new();
    for number in 0..5u8 {
        batch.push(address("127.0.0.1:9"), None, &[number; 10]);
    }
    assert_eq!(batch.keep_from(2), 0);
    assert_eq!(batch.len(), 3);
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    for entry in 0..3 {
        batch.redirect(entry, receiver.local_address());
    }
    flush_all(&mut batch, &sender, 3);
    let mut incoming = ReceiveBatch::new(8);
    receiver.receive(&mut incoming).expect("received");
    let firsts: Vec<u8> = incoming
        .datagrams()
        .map(|datagram| datagram.bytes[0])
        .collect();
    assert_eq!(firsts, [2, 3, 4]);
}

#[test]
fn the_youngest_datagrams_beyond_the_backlog_are_dropped() {
    let mut batch = SendBatch::new();
    for _ in 0..SEND_BACKLOG_MAX_DATAGRAMS + 5 {
        batch.push(address("127.0.0.1:9"), None, b"x");
    }
    assert_eq!(batch.keep_from(1), 4);
    assert_eq!(batch.len(), SEND_BACKLOG_MAX_DATAGRAMS);

    let mut batch = SendBatch::new();
    for _ in 0..100 {
        batch.push(address("127.0.0.1:9"), None, &vec![0; 60_000]);
    }
    let dropped = batch.keep_from(0);
    assert_eq!(batch.len(), SEND_BACKLOG_MAX_BYTES / 60_000);
    assert_eq!(dropped, 100 - batch.len());
}

#[test]
fn a_full_receive_buffer_is_counted_by_the_kernel() {
    let options = UdpOptions {
        receive_buffer_bytes: 4_096,
        ..UdpOptions::default()
    };
    let receiver = UdpSocket::bind(address("127.0.0.1:0"), &options).expect("bound");
    let sender = bind("127.0.0.1:0");
    let mut outgoing = SendBatch::new();
    for _ in 0..64 {
        outgoing.push(receiver.local_address(), None, &[0; 1_000]);
    }
    flush_all(&mut outgoing, &sender, 64);
    let mut incoming = ReceiveBatch::new(64);
    let received = receiver.receive(&mut incoming).expect("received");
    let dropped = receiver.dropped_by_kernel().expect("counted") as usize;
    assert_eq!(received + dropped, 64);
    assert!(dropped > 0);
}

#[test]
fn sockets_share_a_port_when_told_to_and_only_then() {
    let shared = UdpOptions {
        reuse_port: true,
        ..UdpOptions::default()
    };
    let first = UdpSocket::bind(address("127.0.0.1:0"), &shared).expect("bound");
    UdpSocket::bind(first.local_address(), &shared).expect("shared");
    let refused = UdpSocket::bind(first.local_address(), &UdpOptions::default());
    assert_eq!(
        refused.expect_err("refused").kind(),
        io::ErrorKind::AddrInUse
    );
}

#[test]
fn an_address_of_another_machine_is_bound_when_told_to_and_only_then() {
    // TEST-NET-3 and the documentation prefix: on no machine.
    for elsewhere in ["203.0.113.77:0", "[2001:db8::77]:0"] {
        let freebind = UdpOptions {
            freebind: true,
            ..UdpOptions::default()
        };
        match UdpSocket::bind(address(elsewhere), &freebind) {
            Ok(socket) => assert_eq!(socket.local_address().ip(), address(elsewhere).ip()),
            Err(error) => {
                assert!(elsewhere.starts_with('['), "{error}");
                eprintln!("SKIPPED for IPv6: {error}");
            }
        }
        UdpSocket::bind(address(elsewhere), &UdpOptions::default()).expect_err("not here");
    }
}

#[test]
fn the_receive_buffer_is_as_large_as_the_system_grants() {
    let granted = bind("127.0.0.1:0").receive_buffer_bytes().expect("read");
    assert!(granted >= 100_000, "{granted}");
}
