//! A media packet allocates nothing after warm-up.

use net::media::{Media, MediaOptions};
use std::net::UdpSocket;
use std::time::Duration;

#[test]
fn a_media_packet_allocates_nothing_after_warm_up() {
    const SOCKETS: u32 = 40;
    let mut media = Media::new(MediaOptions::default()).expect("media");
    let mut ports = Vec::new();
    for _ in 0..SOCKETS {
        let index = media.bind("127.0.0.1:0".parse().expect("an address"));
        ports.push(media.local_address(index.expect("bound")).expect("bound"));
    }
    let phone = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let mut room = [0; 200];
    let mut round = || {
        for port in &ports {
            phone.send_to(&[0x80; 172], port).expect("sent");
        }
        let mut relayed = 0;
        while relayed < SOCKETS {
            let turn = media
                .turn(Duration::from_secs(60), |socket, source, _| {
                    Some((socket ^ 1, source))
                })
                .expect("a turn");
            relayed += turn.sent;
        }
        for _ in 0..SOCKETS {
            assert_eq!(phone.recv(&mut room).expect("received"), 172);
        }
    };
    (0..10).for_each(|_| round());
    let counted = allocation_counter::measure(|| (0..40).for_each(|_| round()));
    assert_eq!(counted.count_total, 0);
}
