//! RTP: what is taken is divided without a rest, and a stream's sums hold together whatever comes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtp::{Class, ClockRate, HEADER_BYTES, Micros, PACKET_BYTES_MAX, Packet, Reception, classify};

fuzz_target!(|data: &[u8]| {
    parts(data);
    stream(data);
});

/// The whole input as one packet.
fn parts(data: &[u8]) {
    let class = classify(data);
    let Ok(secure) = Packet::parse_secure(data) else {
        assert!(Packet::parse(data).is_err());
        return;
    };
    assert!(matches!(class, Class::Rtp | Class::Rtcp));
    assert!(data.len() <= PACKET_BYTES_MAX);
    let extension = secure.extension().map_or(0, |it| 4 + it.data.len());
    let start = HEADER_BYTES + 4 * secure.csrcs().len() + extension;
    assert_eq!(secure.payload_range(), start..data.len());
    if let Ok(packet) = Packet::parse(data) {
        assert_eq!(packet.payload_range().start, start);
        assert!(secure.payload().starts_with(packet.payload()));
    }
}

/// The input as a script: eight bytes a packet, with few sources so that they meet.
fn stream(data: &[u8]) {
    let mut reception = Reception::default();
    let mut now = 0;
    let mut counted = 0;
    for step in data.chunks_exact(8) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = 0x80;
        bytes[1] = step[0] & 0x81;
        bytes[2..4].copy_from_slice(&step[1..3]);
        bytes[6..8].copy_from_slice(&step[3..5]);
        bytes[11] = step[0] >> 1 & 1;
        now += u64::from(u16::from_be_bytes([step[5], step[6]])) << (step[7] & 31);
        let packet = Packet::parse(&bytes).expect("nothing but a header");
        let clock = ClockRate::new([8_000, 48_000, 90_000, 0][usize::from(step[7] >> 6)]);
        let before = reception.statistics();
        reception.receive(&packet, Micros(now), clock);
        let after = reception.statistics();
        assert!(after.packets <= after.expected && after.lost == after.expected - after.packets);
        assert!(after.loss_runs <= after.lost && after.packets >= before.packets);
        assert!(after.jitter_us <= after.jitter_us_max);
        counted += after.packets - before.packets;
        assert_eq!(after.packets, counted);
        if step[0] & 4 != 0 {
            let _ = reception.report(rtp::ShortNtp(0), rtp::ShortNtp(0));
        }
    }
}
