//! A packet costs no memory, whatever it is.

mod world;

use allocation_counter::measure;
use relay::Kind;
use world::*;

/// What comes to the caller's ports: from the phone, from strangers, and what is no media.
fn packets() -> Vec<(u32, &'static str, Vec<u8>)> {
    let mut sender_report = vec![0x80, 200, 0, 6, 0, 0, 0, 1];
    sender_report.resize(28, 7);
    vec![
        (1, "198.51.100.77:61001", sender_report),
        (0, "198.51.100.77:61000", rtcp_packet(1)),
        (0, "198.51.100.77:61000", dtls_packet()),
        (0, "198.51.100.77:61000", rtp_packet(5, 5, 5, 5)),
        (0, "192.0.2.66:1", rtp_packet(1, 5, 5, 5)),
        (1, "192.0.2.66:1", rtcp_packet(1)),
        (0, "192.0.2.66:1", dtls_packet()),
        (0, "192.0.2.66:1", vec![0; 20]),
        (0, "192.0.2.66:1", Vec::new()),
        (9, "192.0.2.66:1", rtp_packet(1, 5, 5, 5)),
        (4, "203.0.113.3:6000", vec![1, 2, 3]),
    ]
}

#[test]
fn a_packet_allocates_nothing() {
    let public = address("198.51.100.77:61000");
    let mut world = World::call_of(remote_behind_nat(public.ip()), remote(phone(1)));
    world.open(0, 2, PORTS[2], Kind::Datagram);
    world.describe(2, remote(phone(2)), false);
    let mut caller = Sender::new(public, 1);
    let mut packet = caller.packet();
    let mut others = packets();
    // The first event and its room.
    world.relay.receive(world.now, 0, public, &mut packet);
    for (socket, source, packet) in &mut others {
        world
            .relay
            .receive(world.now, *socket, address(source), packet);
    }
    let mut stream: Vec<_> = (0..1_000).map(|_| caller.packet()).collect();
    let mut relayed = 0;
    let info = measure(|| {
        for packet in &mut stream {
            world.wait_ms(20);
            let sent = world.relay.receive(world.now, 0, public, packet);
            relayed += u32::from(sent.is_some());
            for (socket, source, packet) in &mut others {
                let source = source.parse().expect("an address");
                world.relay.receive(world.now, *socket, source, packet);
            }
            world.relay.expire(world.now);
        }
    });
    assert_eq!((info.count_total, relayed), (0, 1_000));
    world.ends();
}
