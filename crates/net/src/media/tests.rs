use super::*;
use std::net::UdpSocket;

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

fn phone() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(loopback()).expect("bound");
    let wait = Some(Duration::from_secs(5));
    socket.set_read_timeout(wait).expect("a timeout");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

#[test]
fn a_packet_leaves_from_the_socket_and_for_the_address_that_were_named() {
    let mut media = Media::new(MediaOptions::default()).expect("media");
    let (a, b) = (media.bind(loopback()), media.bind(loopback()));
    let (a, b) = (a.expect("bound"), b.expect("bound"));
    assert_eq!((a, b), (0, 1));
    let ((caller, caller_address), (callee, callee_address)) = (phone(), phone());
    let entrance = media.local_address(a).expect("an address");
    caller.send_to(b"sound", entrance).expect("sent");
    let turn = media
        .turn(Duration::from_secs(5), |socket, source, packet| {
            assert_eq!(
                (socket, source, &*packet),
                (a, caller_address, &b"sound"[..])
            );
            packet[0] = b'S';
            Some((b, callee_address))
        })
        .expect("a turn");
    assert_eq!((turn.received, turn.sent), (1, 1));
    let mut room = [0; 100];
    let (length, source) = callee.recv_from(&mut room).expect("received");
    assert_eq!(&room[..length], b"Sound");
    assert_eq!(source, media.local_address(b).expect("an address"));
}

#[test]
fn a_wake_ends_the_wait() {
    let mut media = Media::new(MediaOptions::default()).expect("media");
    media.waker().wake();
    let turn = media.turn(Duration::from_secs(60), |_, _, _| None);
    assert!(turn.expect("a turn").woken);
}
