use super::*;
use crate::g711::Law;
use crate::measure::{babble, noise, power_db, tone_db};
use std::f64::consts::TAU;

const RATE: SampleRate = SampleRate::Hz8000;
const ALL: &str = "0123456789*#ABCD";

fn generate(digits: &str, ms: u32, pause_ms: u32) -> Vec<i16> {
    let mut sound = Vec::new();
    for sign in digits.chars() {
        let digit = Digit::of_sign(sign).expect("a key");
        let mut generator = Generator::new(digit, RATE, ms, pause_ms);
        let mut frame = [0; 160];
        loop {
            let count = generator.play(&mut frame);
            sound.extend_from_slice(&frame[..count]);
            if count < frame.len() {
                break;
            }
        }
    }
    sound
}

/// Two sines of these frequencies and levels in dB.
fn pair(hz: [f64; 2], db: [f64; 2], ms: u32) -> Vec<i16> {
    (0..RATE.samples(ms))
        .map(|n| {
            let tone = |at: usize| {
                let amplitude = 32_767.0 * 10.0_f64.powf(db[at] / 20.0);
                (TAU * hz[at] * n as f64 / 8_000.0).sin() * amplitude
            };
            (tone(0) + tone(1)).round() as i16
        })
        .collect()
}

fn listen(sound: &[i16]) -> String {
    let mut detector = Detector::default();
    let mut found = String::new();
    let mut down = None;
    let mut hear = |heard| match heard {
        Heard::Down(digit) => {
            assert_eq!(down.replace(digit), None);
            found.push(digit.sign());
        }
        Heard::Up(digit) => assert_eq!(down.take(), Some(digit)),
    };
    for frame in sound.chunks(160) {
        detector.listen(frame, &mut hear);
    }
    detector.listen(&[0; 320], &mut hear);
    assert_eq!(detector.key(), None);
    assert_eq!(down, None, "every key is let go");
    found
}

#[test]
fn keys_have_the_tones_of_q_23_and_the_events_of_rfc_4733() {
    for (sign, event, hz) in [
        ('1', 1, [697, 1_209]),
        ('5', 5, [770, 1_336]),
        ('0', 0, [941, 1_336]),
        ('*', 10, [941, 1_209]),
        ('#', 11, [941, 1_477]),
        ('a', 12, [697, 1_633]),
        ('D', 15, [941, 1_633]),
    ] {
        let digit = Digit::of_sign(sign).expect("a key");
        assert_eq!((digit.event(), digit.hz()), (event, hz));
        assert_eq!(Digit::of_event(event), Some(digit));
    }
    assert_eq!(Digit::of_sign('E'), None);
    assert_eq!(Digit::of_sign('é'), None);
    assert_eq!(Digit::of_event(16), None);
}

#[test]
fn a_key_is_its_two_tones_for_its_time() {
    let sound = generate("8", 100, 60);
    assert_eq!(sound.len(), RATE.samples(160));
    let (key, pause) = sound.split_at(RATE.samples(100));
    for (hz, db) in [(852.0, -15.0), (1_336.0, -13.0)] {
        let level = tone_db(key, hz, 8_000);
        assert!((level - db).abs() < 0.1, "{hz} Hz: {level} dB");
    }
    assert!(pause.iter().all(|sample| *sample == 0));
}

#[test]
fn the_shortest_keys_of_q_24_are_found_wherever_they_begin() {
    for offset in 0..102 {
        let mut sound = vec![0; offset];
        sound.extend(generate(ALL, 40, 40));
        assert_eq!(listen(&sound), ALL, "{offset}");
    }
}

#[test]
fn keys_are_found_at_all_levels_through_both_laws() {
    for db in [-38.0, -30.0, -20.0, -10.0, -6.1] {
        for law in [Law::Mu, Law::A] {
            let mut sound = pair([770.0, 1_477.0], [db, db], 60);
            for sample in &mut sound {
                *sample = law.decode_sample(law.encode_sample(*sample));
            }
            assert_eq!(listen(&sound), "6", "{db} dB {law:?}");
        }
    }
    assert_eq!(
        listen(&pair([770.0, 1_477.0], [-50.0, -50.0], 60)),
        "",
        "too soft"
    );
}

#[test]
fn tones_may_be_1_5_percent_off_and_not_3_5() {
    for off in [0.985, 1.0, 1.015] {
        for sign in ALL.chars() {
            let hz = Digit::of_sign(sign).expect("a key").hz();
            let sound = pair(hz.map(|hz| f64::from(hz) * off), [-15.0, -15.0], 80);
            assert_eq!(listen(&sound), sign.to_string(), "{off}");
            for far in [0.965, 1.035] {
                let sound = pair(hz.map(|hz| f64::from(hz) * far), [-15.0, -15.0], 80);
                assert_eq!(listen(&sound), "", "{sign} {far}");
            }
        }
    }
}

#[test]
fn lines_may_weaken_one_tone() {
    for (row, column, found) in [
        (-15.0, -8.0, "1"),
        (-15.0, -3.0, ""),
        (-10.0, -15.0, "1"),
        (-6.0, -16.0, ""),
    ] {
        let sound = pair([697.0, 1_209.0], [row, column], 80);
        assert_eq!(listen(&sound), found, "{row} and {column} dB");
    }
}

#[test]
fn keys_are_found_in_noise_15_db_below() {
    let mut sound = generate(&ALL.repeat(10), 60, 60);
    let hiss = noise(1, 0.1, sound.len());
    // The keys have -10.9 dB while they sound.
    let target = -10.9 - 15.0;
    let factor = 10.0_f64.powf((target - power_db(&hiss)) / 20.0);
    for (sample, hiss) in sound.iter_mut().zip(hiss) {
        *sample = sample.saturating_add((f64::from(hiss) * factor) as i16);
    }
    assert_eq!(listen(&sound), ALL.repeat(10));
}

#[test]
fn one_tone_alone_is_no_key_and_neither_are_three() {
    for hz in ROWS.into_iter().chain(COLUMNS) {
        assert_eq!(
            listen(&pair([f64::from(hz), 10.0], [-10.0, -90.0], 200)),
            ""
        );
    }
    let mut sound = pair([697.0, 1_209.0], [-15.0, -15.0], 200);
    for (sample, third) in sound
        .iter_mut()
        .zip(pair([852.0, 10.0], [-15.0, -90.0], 200))
    {
        *sample += third;
    }
    assert_eq!(listen(&sound), "");
}

#[test]
fn a_tone_of_the_network_is_no_key() {
    use crate::tone::{Country, Player};
    for country in Country::ALL {
        let tones = country.progress();
        for tone in [tones.dial, tones.ringing, tones.busy, tones.congestion] {
            let mut sound = vec![0; 8_000];
            Player::new(tone, RATE, Player::LEVEL_DB).play(&mut sound);
            assert_eq!(listen(&sound), "", "{country:?}");
        }
    }
}

#[test]
fn speech_presses_no_keys() {
    for seed in 1..=12 {
        let sound = babble(seed * 7_919, 20);
        assert!(
            power_db(&sound) > -35.0 && power_db(&sound) < -6.0,
            "{}",
            power_db(&sound)
        );
        assert_eq!(listen(&sound), "", "{seed}");
    }
}

#[test]
fn noise_and_chords_press_no_keys() {
    assert_eq!(listen(&noise(3, 0.5, 480_000)), "");
    // Major and minor chords over two octaves.
    for semitone in 0..24 {
        for third in [1.189_2, 1.259_9] {
            let root = 440.0 * 2.0_f64.powf(f64::from(semitone) / 12.0);
            let mut sound = pair([root, root * third], [-15.0, -15.0], 300);
            let fifth = pair([root * 1.498_3, root * 2.0], [-15.0, -20.0], 300);
            for (sample, other) in sound.iter_mut().zip(fifth) {
                *sample += other;
            }
            assert_eq!(listen(&sound), "", "{root} Hz");
        }
    }
}
