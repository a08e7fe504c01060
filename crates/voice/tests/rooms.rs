//! Conferences and recordings.

mod phones;

use audio::SampleRate;
use audio::g711::Law;
use audio::wav::{self, Wav};
use phones::{Net, OPUS, sine, tone_clip, tone_db};
use voice::{
    Codec, Command, EndId, Ending, Event, Format, PlayId, RecordId, RoomId, Settings, Sound,
    Written,
};

const ROOM: RoomId = RoomId(9);

fn join(net: &mut Net, end: EndId, muted: bool) {
    net.command(Command::Join {
        end,
        room: ROOM,
        muted,
    });
}

/// Something that counts as speech: a tone that comes and goes.
fn babble(hz: f64, rate: SampleRate, ms: u32) -> Vec<i16> {
    let mut sound = sine(hz, rate, 0.3, ms);
    for (n, sample) in sound.iter_mut().enumerate() {
        if n / rate.samples(100) % 3 == 2 {
            *sample = 0;
        }
    }
    sound
}

fn level(net: &mut Net, end: EndId, ms: u32, hz: f64) -> f64 {
    let phone = net.of(end);
    let rate = phone.rate();
    let from = phone.heard.len() - rate.samples(ms);
    tone_db(&phone.heard[from..], hz, rate)
}

#[test]
fn each_of_three_hears_the_other_two_and_not_himself() {
    for formats in [
        [Format::PCMU, Format::PCMU, Format::PCMA],
        [Format::PCMU, Format::G722, OPUS],
        [OPUS, OPUS, Format::PCMA],
    ] {
        let mut net = Net::default();
        let mut ends = Vec::new();
        for (n, format) in (1..).zip(formats) {
            let end = net.phone(n, format);
            join(&mut net, end, false);
            ends.push(end);
        }
        let hz = [400.0, 900.0, 1_700.0];
        for (end, hz) in ends.iter().zip(hz) {
            let phone = net.of(*end);
            phone.speech = babble(hz, phone.rate(), 2_000);
        }
        net.run(1_900);
        for (n, end) in ends.iter().enumerate() {
            for (other, hz) in hz.into_iter().enumerate() {
                let level = level(&mut net, *end, 1_200, hz);
                match other == n {
                    true => assert!(level < -40.0, "{formats:?} {n} hears himself: {level}"),
                    false => assert!(level > -18.0, "{formats:?} {n} hears {other}: {level}"),
                }
            }
        }
        let talking = net.told(|event| match event {
            Event::Talking { end, on: true, .. } => Some(*end),
            _ => None,
        });
        assert!(ends.iter().all(|end| talking.contains(end)));
        net.end();
    }
}

#[test]
fn who_is_muted_or_has_left_is_not_heard() {
    let mut net = Net::default();
    let (a, b) = (net.phone(1, Format::PCMU), net.phone(2, Format::PCMU));
    join(&mut net, a, false);
    join(&mut net, b, true);
    net.of(b).speech = babble(900.0, SampleRate::Hz8000, 4_000);
    net.run(800);
    assert!(level(&mut net, a, 500, 900.0) < -40.0);
    net.command(Command::Mute {
        end: b,
        muted: false,
    });
    net.run(800);
    assert!(level(&mut net, a, 500, 900.0) > -18.0);
    net.command(Command::Leave { end: b });
    net.run(800);
    assert!(level(&mut net, a, 500, 900.0) < -40.0);
    net.end();
}

#[test]
fn all_hear_an_announcement_and_a_member_its_own_prompt() {
    let mut net = Net::default();
    let (a, b, c) = (
        net.phone(1, Format::PCMU),
        net.phone(2, OPUS),
        net.phone(3, OPUS),
    );
    for end in [a, b, c] {
        join(&mut net, end, false);
    }
    net.command(Command::RoomPlay {
        room: ROOM,
        play: PlayId(5),
        sounds: vec![Sound::Clip(tone_clip(600.0, 1_000))],
        times: 1,
    });
    net.command(Command::Play {
        end: c,
        play: PlayId(6),
        sounds: vec![Sound::Clip(tone_clip(1_400.0, 1_000))],
        from_ms: 0,
        times: 1,
        barge_in: false,
    });
    net.run(1_000);
    assert!(level(&mut net, a, 700, 600.0) > -12.0);
    assert!(level(&mut net, b, 700, 600.0) > -12.0);
    assert!(level(&mut net, c, 700, 600.0) < -30.0);
    assert!(level(&mut net, c, 700, 1_400.0) > -12.0);
    net.run(200);
    let played = net.told(|event| match event {
        Event::RoomPlayed {
            play, completed, ..
        } => Some((*play, *completed)),
        _ => None,
    });
    assert_eq!(played, [(PlayId(5), true)]);
    net.end();
}

#[test]
fn only_the_loudest_are_mixed() {
    let mut net = Net::new(Settings {
        speakers_max: 1,
        ..Settings::default()
    });
    let ends: Vec<EndId> = (1..=3).map(|n| net.phone(n, Format::PCMU)).collect();
    for end in &ends {
        join(&mut net, *end, false);
    }
    let rate = SampleRate::Hz8000;
    net.of(ends[0]).speech = babble(900.0, rate, 2_000);
    net.of(ends[1]).speech = babble(500.0, rate, 2_000).iter().map(|it| it / 8).collect();
    net.run(1_500);
    assert!(level(&mut net, ends[2], 900, 900.0) > -18.0);
    assert!(level(&mut net, ends[2], 900, 500.0) < -40.0);
    net.end();
}

fn record(net: &mut Net, end: EndId, both: bool, written: Written, silence_ms: u32) {
    net.command(Command::Record {
        end,
        record: RecordId(3),
        both,
        written,
        rate: SampleRate::Hz16000,
        ms_max: 3_000,
        silence_ms,
        beep: false,
    });
}

fn recorded(net: &Net) -> Vec<u8> {
    let chunks = net.told(|event| match event {
        Event::Recorded { chunk, .. } => Some(chunk.clone()),
        _ => None,
    });
    chunks.concat()
}

fn ended(net: &Net) -> Vec<(Ending, u32)> {
    net.told(|event| match event {
        Event::RecordEnded {
            reason, length_ms, ..
        } => Some((*reason, *length_ms)),
        _ => None,
    })
}

#[test]
fn a_recording_comes_in_pieces_of_a_second_and_holds_what_was_said() {
    for (format, written, hz) in [
        (Format::PCMU, Written::G711(Law::Mu), 8_000),
        (OPUS, Written::Pcm16, 16_000),
    ] {
        let mut net = Net::default();
        let end = net.phone(1, format);
        net.run(200);
        record(&mut net, end, false, written, 0);
        let rate = format.codec.rate();
        net.of(end).speech = sine(700.0, rate, 0.3, 3_000);
        net.run(2_500);
        assert_eq!(
            net.told(|event| matches!(event, Event::Recorded { .. }).then_some(()))
                .len(),
            2
        );
        net.command(Command::StopRecord {
            record: RecordId(3),
        });
        let data = recorded(&net);
        let mut file = wav::header(written, hz, data.len() as u32).to_vec();
        file.extend(&data);
        let wav = Wav::parse(&file).expect("a file");
        let mut sound = vec![0; wav.len()];
        wav.read(0, &mut sound);
        let rate = SampleRate::of_hz(hz).expect("a rate");
        assert_eq!(sound.len(), rate.samples(2_500));
        assert!(tone_db(&sound[rate.samples(200)..], 700.0, rate) > -13.0);
        assert_eq!(ended(&net), [(Ending::Stopped, 2_500)]);
        net.end();
    }
}

#[test]
fn a_call_is_recorded_both_ways_while_it_would_pass_undecoded() {
    let mut net = Net::default();
    let (a, b) = (net.phone(1, Format::PCMU), net.phone(2, Format::PCMU));
    net.command(Command::Connect { a, b });
    let rate = SampleRate::Hz8000;
    net.of(a).speech = sine(500.0, rate, 0.2, 3_000);
    net.of(b).speech = sine(900.0, rate, 0.2, 3_000);
    net.run(200);
    record(&mut net, a, true, Written::Pcm16, 0);
    net.run(1_100);
    let data = recorded(&net);
    let sound: Vec<i16> = data
        .as_chunks::<2>()
        .0
        .iter()
        .map(|it| i16::from_le_bytes(*it))
        .collect();
    for hz in [500.0, 900.0] {
        let level = tone_db(&sound[4_000..], hz, SampleRate::Hz16000);
        assert!(level > -17.0, "{hz}: {level}");
    }
    net.end();
}

#[test]
fn a_recording_ends_with_silence_and_with_its_length() {
    let rate = SampleRate::Hz8000;
    let mut net = Net::default();
    let end = net.phone(1, Format::PCMU);
    net.run(200);
    record(&mut net, end, false, Written::Pcm16, 500);
    net.of(end).speech = babble(700.0, rate, 1_000);
    net.run(2_500);
    assert!(matches!(
        ended(&net).as_slice(),
        [(Ending::Silence, 1_400..=2_000)]
    ));
    net.events.clear();
    record(&mut net, end, false, Written::Pcm16, 0);
    net.run(3_500);
    assert_eq!(ended(&net), [(Ending::Length, 3_000)]);
    assert_eq!(recorded(&net).len(), 3 * 32_000);
    net.end();
}

#[test]
fn the_beep_is_heard_before_the_recording_begins() {
    let mut net = Net::default();
    let end = net.phone(1, Format::PCMU);
    net.run(100);
    net.of(end).heard.clear();
    net.command(Command::Record {
        end,
        record: RecordId(3),
        both: false,
        written: Written::Pcm16,
        rate: SampleRate::Hz8000,
        ms_max: 600,
        silence_ms: 0,
        beep: true,
    });
    net.run(1_100);
    let heard = &net.of(end).heard;
    assert!(tone_db(&heard[400..2_800], 1_000.0, SampleRate::Hz8000) > -15.0);
    assert!(tone_db(&heard[4_000..], 1_000.0, SampleRate::Hz8000) < -60.0);
    assert_eq!(ended(&net), [(Ending::Length, 600)]);
    net.end();
}

#[test]
fn a_conference_is_recorded() {
    let mut net = Net::default();
    let (a, b) = (net.phone(1, Format::PCMU), net.phone(2, Format::G722));
    join(&mut net, a, false);
    join(&mut net, b, false);
    net.command(Command::RecordRoom {
        room: ROOM,
        record: RecordId(4),
        written: Written::Pcm16,
        ms_max: 0,
    });
    net.of(a).speech = babble(500.0, SampleRate::Hz8000, 2_000);
    net.of(b).speech = babble(900.0, Codec::G722.rate(), 2_000);
    net.run(2_100);
    net.command(Command::Close { end: a });
    net.command(Command::Close { end: b });
    let data = recorded(&net);
    let sound: Vec<i16> = data
        .as_chunks::<2>()
        .0
        .iter()
        .map(|it| i16::from_le_bytes(*it))
        .collect();
    for hz in [500.0, 900.0] {
        assert!(tone_db(&sound[8_000..24_000], hz, SampleRate::Hz16000) > -18.0);
    }
    assert!(matches!(
        ended(&net).as_slice(),
        [(Ending::Closed, 2_000..=2_200)]
    ));
    net.run(20);
    assert!(net.voice.is_empty());
}
