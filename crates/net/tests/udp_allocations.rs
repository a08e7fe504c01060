//! A datagram through the batches allocates nothing after warm-up.

use net::udp::{ReceiveBatch, SendBatch, UdpOptions, UdpSocket};

#[test]
fn a_datagram_allocates_nothing_after_warm_up() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let client = UdpSocket::bind(any, &UdpOptions::default()).expect("bound");
    let wildcard = "0.0.0.0:0".parse().expect("an address");
    let server = UdpSocket::bind(wildcard, &UdpOptions::default()).expect("bound");
    let mut target = server.local_address();
    target.set_ip(any.ip());
    let (mut requests, mut replies) = (SendBatch::new(), SendBatch::new());
    let mut incoming = ReceiveBatch::new(32);
    let mut answered = 0;
    let mut round = || {
        for _ in 0..64 {
            requests.push(target, None, &[b'q'; 500]);
        }
        assert_eq!(requests.flush(&client).sent, 64);
        while server.receive(&mut incoming).expect("received") > 0 {
            for datagram in incoming.datagrams() {
                replies.push_with(datagram.source, Some(datagram.local.ip()), |buffer| {
                    buffer.extend_from_slice(datagram.bytes);
                });
            }
        }
        assert_eq!(replies.flush(&server).sent, 64);
        while client.receive(&mut incoming).expect("received") > 0 {
            answered += incoming.len();
        }
    };
    (0..10).for_each(|_| round());
    let counted = allocation_counter::measure(|| (0..40).for_each(|_| round()));
    assert_eq!(counted.count_total, 0);
    assert_eq!(answered, 50 * 64);
}
