//! After warm-up no packet costs memory.

mod phones;

use phones::{FORMATS, Net, sine, tone_clip};
use voice::{Command, EndId, PlayId, RoomId, Sound, Time};

/// Allocations while the engine works for a second. What phones do is prepared beforehand.
fn allocations(net: &mut Net) -> u64 {
    let mut packets = Vec::new();
    for phone in net.phones.values_mut() {
        for n in 0..50_u64 {
            let units = phone.format.codec.clock_hz() / 50;
            let payload_type = phone.format.payload_type;
            let payload = phone.came[n as usize + 10].payload.clone();
            let packet = phone.packet(payload_type, &payload, units);
            packets.push((n, phone.port.0, phone.address, packet));
        }
    }
    packets.sort_by_key(|(n, ..)| *n);
    let start_us = net.now_us;
    let voice = &mut net.voice;
    let info = allocation_counter::measure(|| {
        let mut packets = packets.iter().peekable();
        for step in 0..500_u64 {
            let now = Time::from_micros(start_us + step * 2_000);
            while let Some((_, socket, address, packet)) = packets.next_if(|(n, ..)| n * 10 <= step)
            {
                voice.receive(now, *socket, *address, packet);
            }
            voice.tick(now, |_, _, packet| assert!(packet.len() > 12));
            voice.events().clear();
        }
    });
    net.now_us += 1_000_000;
    info.count_total
}

#[test]
fn a_warm_engine_allocates_nothing() {
    let mut net = Net::default();
    let ends: Vec<EndId> = (1..=14)
        .map(|n| net.phone(n, FORMATS[n as usize % 4]))
        .collect();
    // Prompts, undecoded and transcoded connections, an echo, a conference.
    net.command(Command::Play {
        end: ends[0],
        play: PlayId(1),
        sounds: vec![Sound::Clip(tone_clip(400.0, 300))],
        from_ms: 0,
        times: 0,
        barge_in: true,
    });
    let pairs = [(1, 5), (2, 3)];
    for (a, b) in pairs {
        net.command(Command::Connect {
            a: ends[a],
            b: ends[b],
        });
    }
    net.command(Command::Echo { end: ends[4] });
    for end in &ends[6..] {
        net.command(Command::Join {
            end: *end,
            room: RoomId(1),
            muted: false,
        });
        net.command(Command::DetectInBand {
            end: *end,
            on: true,
        });
        let rate = net.of(*end).rate();
        net.of(*end).speech = sine(500.0, rate, 0.3, 1_500);
    }
    net.run(2_000);
    for _ in 0..2 {
        allocations(&mut net);
    }
    assert_eq!(allocations(&mut net), 0);
    net.end();
}
