//! Tones: made, carried as G.711, and found again in what was heard.

use std::f64::consts::TAU;

/// Samples a second.
const RATE_HZ: f64 = 8_000.0;
/// Samples that are looked at together: a tenth of a second.
const FRAME: usize = 800;
/// A frame holds a tone when at least this part of its power is the tone's.
const SHARE_MIN: f64 = 0.8;
/// Below this mean square a frame is silence.
const POWER_MIN: f64 = 10_000.0;

/// So many samples of a tone.
pub(crate) fn tone(tone_hz: f64, count: usize) -> Vec<i16> {
    let sample = |at: usize| (8_000.0 * (TAU * tone_hz * at as f64 / RATE_HZ).sin()) as i16;
    (0..count).map(sample).collect()
}

/// The sample that a byte of µ-law stands for (G.711).
pub(crate) fn from_ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = ((i16::from(byte & 0x0f) << 3) + 0x84) << (byte >> 4 & 7);
    let magnitude = magnitude - 0x84;
    if byte & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// The byte of µ-law that is nearest to a sample: the way back, by search.
pub(crate) fn to_ulaw(sample: i16) -> u8 {
    let distance = |byte: &u8| (i32::from(from_ulaw(*byte)) - i32::from(sample)).abs();
    (0..=255).min_by_key(distance).expect("256 bytes")
}

/// The part of a frame's power that is a tone's (Goertzel), from 0 to 1; 0 for silence.
fn share(frame: &[i16], tone_hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * tone_hz / RATE_HZ).cos();
    let (mut last, mut before, mut power) = (0.0, 0.0, 0.0);
    for sample in frame {
        let sample = f64::from(*sample);
        let now = sample + coefficient * last - before;
        (before, last) = (last, now);
        power += sample * sample;
    }
    if power < POWER_MIN * frame.len() as f64 {
        return 0.0;
    }
    let at_tone = last * last + before * before - coefficient * last * before;
    2.0 * at_tone / (frame.len() as f64 * power)
}

/// How many tenths of a second hold a tone.
pub(crate) fn frames_with(samples: &[i16], tone_hz: f64) -> usize {
    let frames = samples.chunks_exact(FRAME);
    frames
        .filter(|frame| share(frame, tone_hz) >= SHARE_MIN)
        .count()
}

/// The largest part that a tone has of any tenth of a second.
pub(crate) fn largest_share(samples: &[i16], tone_hz: f64) -> f64 {
    let frames = samples.chunks_exact(FRAME);
    frames
        .map(|frame| share(frame, tone_hz))
        .fold(0.0, f64::max)
}

/// How many tenths of a second hold two tones together, as those of telephones do.
pub(crate) fn frames_with_both(samples: &[i16], tones_hz: [f64; 2]) -> usize {
    let frames = samples.chunks_exact(FRAME);
    frames
        .filter(|frame| {
            let shares = tones_hz.map(|tone_hz| share(frame, tone_hz));
            shares.iter().sum::<f64>() >= SHARE_MIN && shares.iter().all(|&share| share > 0.2)
        })
        .count()
}
