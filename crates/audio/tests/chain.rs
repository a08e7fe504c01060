//! Sound through everything that stands between two phones: encoded, sent through a network that delays, reorders and loses,
//! buffered, decoded, repaired, listened to.

use audio::conceal::Concealer;
use audio::dtmf::{Detector, Digit, Generator, Heard};
use audio::g711::Law;
use audio::jitter::{Buffer, Incoming, Next, Settings};
use audio::tone::{Player, Tone};
use audio::{SampleRate, g722};
use std::f64::consts::TAU;

const FRAME_US: u64 = 20_000;
const UNITS: u32 = 160;

/// A source of numbers that is the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What a phone does with packets of one codec.
trait Phone {
    fn rate(&self) -> SampleRate;
    fn encode(&mut self, sound: &[i16]) -> Vec<u8>;
    fn decode(&mut self, payload: &[u8], sound: &mut [i16]);
}

struct Narrow;

impl Phone for Narrow {
    fn rate(&self) -> SampleRate {
        SampleRate::Hz8000
    }

    fn encode(&mut self, sound: &[i16]) -> Vec<u8> {
        let mut payload = vec![0; sound.len()];
        Law::A.encode(sound, &mut payload);
        payload
    }

    fn decode(&mut self, payload: &[u8], sound: &mut [i16]) {
        Law::A.decode(payload, sound);
    }
}

#[derive(Default)]
struct Wide(g722::Encoder, g722::Decoder);

impl Phone for Wide {
    fn rate(&self) -> SampleRate {
        SampleRate::Hz16000
    }

    fn encode(&mut self, sound: &[i16]) -> Vec<u8> {
        let mut payload = vec![0; sound.len() / 2];
        self.0.encode(sound, &mut payload);
        payload
    }

    fn decode(&mut self, payload: &[u8], sound: &mut [i16]) {
        self.1.decode(payload, sound);
    }
}

/// What is heard of `sound`, when `network` says how long each packet is under way, or that it is lost.
/// Keys are listened for in what came, not in what was made up.
fn call(
    phone: &mut dyn Phone,
    sound: &[i16],
    mut network: impl FnMut(u64) -> Option<u64>,
    mut key: impl FnMut(Heard),
) -> Vec<i16> {
    let mut detector = Detector::default();
    let samples = phone.rate().samples(20);
    let mut packets: Vec<(u64, u32, Vec<u8>)> = Vec::new();
    for (n, frame) in sound.chunks_exact(samples).enumerate() {
        let payload = phone.encode(frame);
        if let Some(delay_us) = network(n as u64) {
            packets.push((n as u64 * FRAME_US + delay_us, n as u32 * UNITS, payload));
        }
    }
    packets.sort_by_key(|(at, _, _)| *at);
    let mut packets = packets.into_iter().peekable();
    let mut buffer = Buffer::new(Settings::default());
    let mut concealer = Concealer::new(phone.rate());
    let mut heard = Vec::new();
    let end_us = (sound.len() / samples) as u64 * FRAME_US;
    for now in (3_000..end_us).step_by(FRAME_US as usize) {
        while let Some((at, timestamp, payload)) = packets.next_if(|(at, _, _)| *at <= now) {
            let packet = Incoming {
                timestamp,
                payload_type: 8,
                payload: &payload,
            };
            buffer.insert(&packet, at);
        }
        let mut frame = vec![0; samples];
        match buffer.pull(UNITS, now) {
            Next::Packet {
                payload, skipped, ..
            } => {
                phone.decode(payload, &mut frame);
                detector.listen(&frame, &mut key);
                match skipped {
                    true => concealer.join(&mut frame),
                    false => concealer.receive(&mut frame),
                }
                buffer.advance(UNITS);
            }
            Next::Missing { .. } => concealer.conceal(&mut frame),
            Next::Silent => {}
        }
        heard.extend(frame);
    }
    heard
}

fn tone(rate: SampleRate, seconds: u32) -> Vec<i16> {
    let mut sound = vec![0; rate.samples(seconds * 1_000)];
    Player::new(Tone::steady([440, 0]), rate, -13.0).play(&mut sound);
    sound
}

/// The share of power that is in a sine of 440 Hz, of each 25 ms.
fn shares(sound: &[i16], rate: SampleRate) -> Vec<f64> {
    let share = |part: &[i16]| {
        let (mut re, mut im, mut all) = (0.0, 0.0, 1.0);
        for (n, sample) in part.iter().enumerate() {
            let (sin, cos) = (TAU * 440.0 * n as f64 / f64::from(rate.hz())).sin_cos();
            let sample = f64::from(*sample);
            re += sample * cos;
            im += sample * sin;
            all += sample * sample;
        }
        2.0 * (re * re + im * im) / (all * part.len() as f64)
    };
    // Eleven whole periods.
    sound.chunks_exact(rate.samples(25)).map(share).collect()
}

#[test]
fn a_good_network_is_not_heard() {
    let phones: [&mut dyn Phone; 2] = [&mut Narrow, &mut Wide::default()];
    for phone in phones {
        let rate = phone.rate();
        let sound = tone(rate, 10);
        let mut random = Random(1);
        let heard = call(
            phone,
            &sound,
            |_| Some(20_000 + random.below(10_000)),
            |_| {},
        );
        // The delay is settled after two seconds.
        let shares = shares(&heard[rate.samples(2_000)..], rate);
        let least = shares.into_iter().fold(1.0, f64::min);
        assert!(least > 0.999, "{rate:?}: {least}");
    }
}

#[test]
fn a_bad_network_is_repaired() {
    let phones: [&mut dyn Phone; 2] = [&mut Narrow, &mut Wide::default()];
    for phone in phones {
        let rate = phone.rate();
        let sound = tone(rate, 30);
        let mut random = Random(2);
        // One in 20 is lost, the others are up to 80 ms late and overtake one another.
        let network = |_| (random.below(20) != 0).then(|| 20_000 + random.below(80_000));
        let heard = call(phone, &sound, network, |_| {});
        let shares = shares(&heard[rate.samples(2_000)..], rate);
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        let poor = shares.iter().filter(|share| **share < 0.8).count();
        assert!(mean > 0.98, "{rate:?}: {mean}");
        assert!(
            poor * 50 < shares.len(),
            "{rate:?}: {poor} of {}",
            shares.len()
        );
    }
}

#[test]
fn keys_are_heard_through_losses() {
    let digits = "0123456789*#ABCD".repeat(4);
    let rate = SampleRate::Hz8000;
    let mut sound = vec![0; rate.samples(200)];
    for sign in digits.chars() {
        let mut key = vec![0; rate.samples(200)];
        Generator::new(Digit::of_sign(sign).expect("a key"), rate, 100, 100).play(&mut key);
        sound.extend(key);
    }
    sound.extend(vec![0; rate.samples(400)]);
    let mut random = Random(3);
    let mut found = String::new();
    let network = |_| (random.below(30) != 0).then_some(20_000);
    call(&mut Narrow, &sound, network, |it| {
        if let Heard::Down(digit) = it {
            found.push(digit.sign());
        }
    });
    assert_eq!(found, digits);
}
