//! What comes from strangers and becomes sound: files, payloads, packets in any order.
#![no_main]

use audio::comfort::{Description, Generator};
use audio::event::{Change, Payload, Receiver};
use audio::g722::Decoder;
use audio::jitter::{Buffer, Incoming, Inserted, Next, Settings};
use audio::wav::Wav;
use audio::{SampleRate, opus};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 6 {
        0 => file(data),
        1 => noise(data),
        2 => events(data),
        3 => packets(data),
        4 => {
            let mut sound = vec![0; data.len() * 2];
            Decoder::default().decode(data, &mut sound);
        }
        _ => opus_packets(data),
    }
});

fn file(data: &[u8]) {
    if let Ok(wav) = Wav::parse(data) {
        assert!(wav.len() <= data.len());
        let mut out = [0; 64];
        let count = wav.read(wav.len() / 2, &mut out);
        assert!(count <= 64 && count <= wav.len());
    }
}

fn noise(data: &[u8]) {
    let Ok(description) = Description::parse(data) else {
        assert!(data.is_empty());
        return;
    };
    let mut generator = Generator::new(1);
    generator.describe(&description);
    let mut sound = [0; 800];
    generator.play(&mut sound);
    let mut payload = Vec::new();
    description.push(&mut payload);
    assert_eq!(Description::parse(&payload), Ok(description));
}

/// Each packet is preceded by its length.
fn opus_packets(data: &[u8]) {
    let rate = SampleRate::Hz16000;
    let mut decoder = opus::Decoder::new(rate).expect("memory");
    let mut sound = vec![0; rate.samples(opus::PACKET_MS_MAX)];
    let mut rest = data;
    while let Some((&length, after)) = rest.split_first() {
        let (packet, after) = after.split_at(after.len().min(usize::from(length)));
        rest = after;
        if let Ok(count) = decoder.decode(packet, &mut sound) {
            assert!(count <= sound.len());
        }
        let room = &mut sound[..rate.samples(20)];
        let _ = match length % 4 {
            0 => decoder.restore(packet, room),
            1 => decoder.conceal(room),
            _ => Ok(0),
        };
    }
}

/// Six bytes a packet.
fn events(data: &[u8]) {
    let mut receiver = Receiver::default();
    let mut is_down = None;
    let mut now_us = 0;
    let mut change = |change| match change {
        Change::Begun(event) => assert_eq!(is_down.replace(event), None),
        Change::Ended { event, .. } => assert_eq!(is_down.take(), Some(event)),
    };
    for step in data.chunks_exact(6) {
        let payload = Payload::parse(&step[..4]).expect("four bytes");
        now_us += u64::from(step[4]) * 1_000;
        receiver.expire(now_us, &mut change);
        receiver.receive(payload, u32::from(step[5]) << 10, now_us, &mut change);
    }
    receiver.expire(u64::MAX, &mut change);
    assert_eq!(receiver.next_us(), None);
    assert_eq!(is_down, None);
}

/// Four bytes a step: a packet or a pull.
fn packets(data: &[u8]) {
    let settings = Settings {
        packets_max: 8,
        payload_bytes_max: 16,
        ..Settings::default()
    };
    let mut buffer = Buffer::new(settings);
    let mut now_us = 0;
    let mut last = None;
    for step in data.chunks_exact(4) {
        now_us += u64::from(step[3]) << 10;
        let units = u32::from(step[2]);
        if step[0] & 1 == 0 {
            match buffer.pull(units, now_us) {
                Next::Packet { payload, .. } => {
                    let number = u16::from_be_bytes([payload[0], payload[1]]);
                    assert!(last.is_none_or(|last| last < number), "in order and once");
                    last = Some(number);
                    buffer.advance(units);
                }
                Next::Missing { units: missing } => assert!(missing <= units),
                Next::Silent => {}
            }
        } else {
            let packet = Incoming {
                timestamp: u32::from(u16::from_be_bytes([step[0], step[1]])) * 20,
                payload_type: 0,
                payload: &step[..2],
            };
            if buffer.insert(&packet, now_us) == Inserted::First {
                last = None;
            }
        }
        assert!(buffer.held() <= 8 && buffer.delay_ms() <= 200);
    }
}
