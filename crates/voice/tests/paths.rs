//! What is played, said and connected is heard at the other end.

mod phones;

use audio::SampleRate;
use audio::g711::Law;
use phones::{EVENTS, FORMATS, Net, OPUS, find, sine, tone_clip, tone_db};
use voice::{Codec, Command, Direction, EndId, Event, Format, How, PlayId, Sound, Tone};

fn play(net: &mut Net, end: EndId, sounds: Vec<Sound>) {
    net.command(Command::Play {
        end,
        play: PlayId(1),
        sounds,
        from_ms: 0,
        times: 1,
        barge_in: false,
    });
}

fn played(net: &Net) -> Vec<(PlayId, bool, u32)> {
    net.told(|event| match event {
        Event::Played {
            play,
            completed,
            at_ms,
            ..
        } => Some((*play, *completed, *at_ms)),
        _ => None,
    })
}

#[test]
fn what_is_played_is_heard_in_each_codec() {
    // A chirp, so that its place can be found.
    let chirp = |rate: SampleRate| -> Vec<i16> {
        (0..rate.samples(1_000))
            .map(|n| {
                let t = n as f64 / f64::from(rate.hz());
                (9_000.0 * (std::f64::consts::TAU * (300.0 * t + 600.0 * t * t)).sin()) as i16
            })
            .collect()
    };
    for (format, snr_min) in [
        (Format::PCMU, 30.0),
        (Format::PCMA, 30.0),
        (Format::G722, 20.0),
        (OPUS, 6.0),
    ] {
        let mut net = Net::default();
        let end = net.phone(1, format);
        net.run(100);
        play(&mut net, end, vec![Sound::Clip(phones::clip(chirp))]);
        net.run(1_200);
        let rate = format.codec.rate();
        let heard = net.of(end).heard.clone();
        let piece = &chirp(rate)[rate.samples(300)..rate.samples(500)];
        let (_, snr) = find(&heard, piece);
        assert!(snr > snr_min, "{format:?}: {snr} dB");
        assert_eq!(played(&net), [(PlayId(1), true, 1_000)]);
        net.end();
    }
}

#[test]
fn numbers_and_timestamps_have_no_gap_whatever_is_said() {
    for format in FORMATS {
        let mut net = Net::default();
        let end = net.phone(3, format);
        net.run(200);
        play(
            &mut net,
            end,
            vec![
                Sound::Silence { ms: 50 },
                Sound::Clip(tone_clip(700.0, 130)),
            ],
        );
        net.run(400);
        net.command(Command::Echo { end });
        net.run(300);
        let units = format.codec.clock_hz() / 50;
        let came = &net.of(end).came;
        assert!(came.len() > 40 && came[0].header.marker);
        for pair in came.windows(2) {
            let (a, b) = (pair[0].header, pair[1].header);
            assert_eq!(b.sequence.0, a.sequence.0.wrapping_add(1));
            assert_eq!(b.timestamp.0, a.timestamp.0.wrapping_add(units));
            assert!(!b.marker);
        }
        net.end();
    }
}

#[test]
fn two_ends_of_one_codec_hear_each_other_undecoded() {
    for format in FORMATS {
        let mut net = Net::default();
        let (a, b) = (net.phone(1, format), net.phone(2, format));
        let rate = format.codec.rate();
        net.command(Command::Connect { a, b });
        net.of(a).speech = sine(500.0, rate, 0.3, 1_000);
        net.of(b).speech = sine(900.0, rate, 0.3, 1_000);
        net.run(1_000);
        for (end, own, other) in [(a, 500.0, 900.0), (b, 900.0, 500.0)] {
            let heard = &net.of(end).heard[rate.samples(300)..rate.samples(800)];
            assert!(tone_db(heard, other, rate) > -13.0, "{format:?}");
            assert!(tone_db(heard, own, rate) < -35.0, "{format:?}");
        }
        assert!(net.voice.totals().packets_passed > 80);
        if format == Format::PCMU {
            let mut sent = vec![0; 8_000];
            Law::Mu.encode(&sine(500.0, rate, 0.3, 1_000), &mut sent);
            let came: Vec<u8> = (net.of(b).came.iter())
                .flat_map(|came| came.payload.clone())
                .collect();
            let piece = &sent[1_600..4_800];
            assert!(came.windows(piece.len()).any(|window| window == piece));
        }
        net.end();
    }
}

#[test]
fn ends_of_different_codecs_hear_each_other() {
    for one in FORMATS {
        for other in FORMATS {
            if one == other {
                continue;
            }
            let mut net = Net::default();
            let (a, b) = (net.phone(1, one), net.phone(2, other));
            net.command(Command::Connect { a, b });
            net.of(a).speech = sine(500.0, one.codec.rate(), 0.3, 1_500);
            net.of(b).speech = sine(900.0, other.codec.rate(), 0.3, 1_500);
            net.run(1_500);
            for (end, format, hz, not) in [(a, one, 900.0, 500.0), (b, other, 500.0, 900.0)] {
                let rate = format.codec.rate();
                let heard = &net.of(end).heard[rate.samples(500)..rate.samples(1_300)];
                let (is, isnt) = (tone_db(heard, hz, rate), tone_db(heard, not, rate));
                assert!(is > -13.0 && isnt < -35.0, "{one:?} {other:?}: {is} {isnt}");
            }
            assert_eq!(net.voice.totals().packets_passed, 0);
            net.end();
        }
    }
}

#[test]
fn connected_ends_hear_what_was_said_within_40_ms() {
    let mut net = Net::default();
    let (a, b) = (net.phone(1, Format::PCMU), net.phone(2, Format::PCMA));
    net.command(Command::Connect { a, b });
    net.run(400);
    let before = net.of(b).heard.len();
    net.of(a).speech = sine(1_000.0, SampleRate::Hz8000, 0.5, 200);
    net.run(300);
    let heard = &net.of(b).heard[before..];
    let first = heard.iter().position(|sample| sample.abs() > 4_000);
    // The packet itself, the buffer and the wait for the slot.
    assert!(first.expect("it is heard") < 8 * (20 + 40), "{first:?}");
    net.end();
}

#[test]
fn a_prompt_interrupts_a_connection_and_it_goes_on_after() {
    let mut net = Net::default();
    let (a, b) = (net.phone(1, Format::PCMU), net.phone(2, Format::PCMU));
    let rate = SampleRate::Hz8000;
    net.command(Command::Connect { a, b });
    net.of(b).speech = sine(900.0, rate, 0.3, 4_000);
    net.run(500);
    play(&mut net, a, vec![Sound::Clip(tone_clip(400.0, 500))]);
    net.run(1_500);
    let heard = net.of(a).heard.clone();
    let level = |ms: u32, hz| tone_db(&heard[rate.samples(ms)..rate.samples(ms + 200)], hz, rate);
    assert!(level(200, 900.0) > -13.0 && level(600, 900.0) < -40.0 && level(1_300, 900.0) > -13.0);
    assert!(level(600, 400.0) > -13.0 && level(1_300, 400.0) < -40.0);
    net.end();
}

#[test]
fn who_is_disconnected_hears_silence() {
    let mut net = Net::default();
    let (a, b) = (net.phone(1, Format::PCMU), net.phone(2, Format::PCMU));
    net.command(Command::Connect { a, b });
    net.of(b).speech = sine(900.0, SampleRate::Hz8000, 0.3, 4_000);
    net.run(500);
    net.command(Command::Disconnect { end: b });
    net.run(500);
    let heard = &net.of(a).heard;
    assert!(
        heard[heard.len() - 2_000..]
            .iter()
            .all(|sample| *sample == 0)
    );
    net.end();
}

#[test]
fn an_end_hears_itself_as_an_echo_and_a_milliwatt() {
    let mut net = Net::default();
    let end = net.phone(1, OPUS);
    net.command(Command::Echo { end });
    net.of(end).speech = sine(600.0, SampleRate::Hz16000, 0.3, 2_000);
    net.run(1_000);
    let rate = SampleRate::Hz16000;
    let echo = net.of(end).heard[rate.samples(500)..].to_vec();
    assert!(tone_db(&echo, 600.0, rate) > -13.0);
    let tone = Tone::MILLIWATT;
    play(&mut net, end, vec![Sound::Tone { tone, ms: 0 }]);
    let before = net.of(end).heard.len();
    net.run(1_000);
    let heard = &net.of(end).heard[before + rate.samples(200)..];
    let level = tone_db(heard, 1_004.0, rate);
    assert!((level + 3.17).abs() < 0.7, "{level}");
    net.end();
}

#[test]
fn keys_are_told_once_and_passed_on() {
    for (format, other) in [(Format::PCMU, Format::PCMU), (OPUS, Format::PCMA)] {
        let mut net = Net::default();
        let (a, b) = (net.phone(1, format), net.phone(2, other));
        net.command(Command::Connect { a, b });
        net.run(200);
        press(&mut net, a, 5, 5);
        net.run(500);
        let digits = net.told(|event| match event {
            Event::Digit {
                end,
                digit,
                duration_ms,
                how,
            } => Some((*end, digit.sign(), *duration_ms, *how)),
            _ => None,
        });
        assert_eq!(digits, [(a, '5', 100, How::Event)]);
        let events: Vec<_> = net
            .of(b)
            .came
            .iter()
            .filter(|came| came.header.payload_type.number() == EVENTS)
            .cloned()
            .collect();
        assert!(events.len() >= 4, "{}", events.len());
        assert!(events[0].header.marker && events[0].payload[0] == 5);
        assert_eq!(
            events
                .iter()
                .filter(|came| came.payload[1] & 0x80 != 0)
                .count(),
            3
        );
        let starts: std::collections::BTreeSet<u32> =
            events.iter().map(|came| came.header.timestamp.0).collect();
        assert_eq!(starts.len(), 1);
        net.end();
    }
}

/// A key as a phone sends it: so many packets of 20 ms, and the end thrice.
fn press(net: &mut Net, end: EndId, event: u8, packets: u16) {
    let units = (net.of(end).format.codec.clock_hz() / 50) as u16;
    net.of(end).is_sending = false;
    for n in 1..=packets + 2 {
        let duration = (n.min(packets) * units).to_be_bytes();
        let is_end = if n >= packets { 0x8a } else { 0x0a };
        let payload = [event, is_end, duration[0], duration[1]];
        let packet = net.of(end).packet(EVENTS, &payload, 0);
        net.send(end, &packet);
        net.run(20);
    }
    let passed = u32::from(units) * u32::from(packets + 2);
    net.of(end).timestamp += passed;
    net.of(end).is_sending = true;
}

#[test]
fn a_key_ends_a_prompt_that_it_may_end() {
    for barge_in in [true, false] {
        let mut net = Net::default();
        let end = net.phone(1, Format::PCMU);
        net.run(100);
        net.command(Command::Play {
            end,
            play: PlayId(7),
            sounds: vec![Sound::Clip(tone_clip(400.0, 3_000))],
            from_ms: 0,
            times: 1,
            barge_in,
        });
        net.run(1_000);
        press(&mut net, end, 1, 5);
        net.run(100);
        match (barge_in, played(&net).as_slice()) {
            (true, [(PlayId(7), false, 980..=1_040)]) | (false, []) => {}
            other => panic!("{other:?}"),
        }
        net.end();
    }
}

#[test]
fn digits_are_sent_as_events_or_as_tones_that_are_found_in_band() {
    let digits = |text: &str| {
        text.chars()
            .filter_map(voice::Digit::of_sign)
            .collect::<Vec<_>>()
    };
    for has_events in [true, false] {
        let mut net = Net::default();
        let (a, b) = (net.phone(1, Format::PCMA), net.phone(2, Format::PCMA));
        if !has_events {
            let mut remote = phones::remote(1, Format::PCMA);
            remote.negotiated.send_events = None;
            net.describe(a, remote);
        }
        net.command(Command::SendDigits {
            end: a,
            digits: digits("159#"),
            ms: 100,
            pause_ms: 100,
        });
        net.run(1_200);
        // What one phone heard, the other says.
        let came = net.of(a).came.clone();
        let is_event = |came: &phones::Came| came.header.payload_type.number() == EVENTS;
        assert_eq!(came.iter().any(is_event), has_events);
        if has_events {
            let keys: Vec<u8> = came
                .iter()
                .filter(|came| is_event(came) && came.header.marker)
                .map(|came| came.payload[0])
                .collect();
            assert_eq!(keys, [1, 5, 9, 11]);
        } else {
            net.command(Command::DetectInBand { end: b, on: true });
            net.of(b).speech = net.of(a).heard.clone();
            net.run(1_500);
            let keys = net.told(|event| match event {
                Event::Digit {
                    digit,
                    how: How::InBand,
                    ..
                } => Some(digit.sign()),
                _ => None,
            });
            assert_eq!(keys, ['1', '5', '9', '#']);
        }
        net.end();
    }
}

#[test]
fn comfort_noise_is_heard_where_nothing_else_is() {
    let mut net = Net::default();
    let (a, b) = (net.phone(1, Format::PCMU), net.phone(2, Format::PCMU));
    net.command(Command::Connect { a, b });
    net.run(300);
    net.of(a).is_sending = false;
    let packet = net.of(a).packet(13, &[40], 0);
    net.send(a, &packet);
    net.run(1_000);
    let heard = &net.of(b).heard;
    let tail = &heard[heard.len() - 4_000..];
    let power: f64 = tail.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>() / 4_000.0;
    let db = 10.0 * (power / 32_768.0_f64.powi(2)).log10();
    assert!((db + 40.0).abs() < 2.0, "{db}");
    net.end();
}

#[test]
fn on_hold_nothing_is_sent_and_nothing_taken() {
    let mut net = Net::default();
    let end = net.phone(1, Format::PCMU);
    net.run(200);
    for (direction, sends, receives) in [
        (Direction::SendOnly, true, false),
        (Direction::RecvOnly, false, true),
        (Direction::Inactive, false, false),
        (Direction::SendRecv, true, true),
    ] {
        let mut remote = phones::remote(1, Format::PCMU);
        remote.direction = direction;
        net.describe(end, remote);
        let before = (net.of(end).came.len(), net.voice.totals().packets_received);
        net.run(200);
        let after = (net.of(end).came.len(), net.voice.totals().packets_received);
        assert_eq!(after.0 > before.0, sends, "{direction:?}");
        assert_eq!(after.1 > before.1, receives, "{direction:?}");
    }
    let came = &net.of(end).came;
    let markers: Vec<u64> = came
        .iter()
        .filter(|came| came.header.marker)
        .map(|came| came.at.as_micros())
        .collect();
    assert_eq!(
        markers.len(),
        2,
        "the first packet, and the first after a pause"
    );
    net.end();
}

#[test]
fn the_codec_may_change_under_way() {
    let mut net = Net::default();
    let end = net.phone(1, Format::PCMU);
    play(&mut net, end, vec![Sound::Clip(tone_clip(1_000.0, 3_000))]);
    net.run(500);
    net.describe(end, phones::remote(1, Format::G722));
    net.of(end).format = Format::G722;
    net.of(end).heard.clear();
    net.run(1_000);
    let rate = Codec::G722.rate();
    let heard = &net.of(end).heard[rate.samples(200)..];
    assert!(tone_db(heard, 1_000.0, rate) > -12.0);
    net.run(1_600);
    assert_eq!(played(&net), [(PlayId(1), true, 3_000)]);
    net.end();
}

#[test]
fn events_may_count_at_8000_beside_opus() {
    let mut net = Net::default();
    let end = net.phone(1, OPUS);
    let mut remote = phones::remote(1, OPUS);
    remote.negotiated.event_clock_hz = 8_000;
    net.describe(end, remote);
    net.run(100);
    let packet = net.of(end).packet(EVENTS, &[7, 0x8a, 3, 0x20], 0);
    net.send(end, &packet);
    let durations = net.told(|event| match event {
        Event::Digit { duration_ms, .. } => Some(*duration_ms),
        _ => None,
    });
    assert_eq!(durations, [100]);
    net.command(Command::SendDigits {
        end,
        digits: vec![voice::Digit::of_sign('3').expect("a key")],
        ms: 80,
        pause_ms: 40,
    });
    net.run(300);
    let came = &net.of(end).came;
    let events = came
        .iter()
        .filter(|came| came.header.payload_type.number() == EVENTS);
    let durations: Vec<u16> = events
        .map(|came| u16::from_be_bytes([came.payload[2], came.payload[3]]))
        .collect();
    assert_eq!(durations, [160, 320, 480, 640, 640, 640]);
    net.end();
}
