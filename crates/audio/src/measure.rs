//! What tests listen with.

use std::f64::consts::TAU;

/// A sine of `amplitude` (1 is full scale) and `count` samples.
pub(crate) fn sine(hz: f64, rate: u32, amplitude: f64, count: usize) -> Vec<i16> {
    (0..count)
        .map(|n| {
            let sample = (TAU * hz * n as f64 / f64::from(rate)).sin() * amplitude * 32_767.0;
            sample.round() as i16
        })
        .collect()
}

/// White noise of this peak, 1 being full scale.
pub(crate) fn noise(seed: u64, amplitude: f64, count: usize) -> Vec<i16> {
    let mut state = seed | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let unit = (state >> 11) as f64 / (1_u64 << 53) as f64;
            ((unit * 2.0 - 1.0) * amplitude * 32_767.0) as i16
        })
        .collect()
}

/// Mean power, 1 being that of a full-scale square wave.
pub(crate) fn power(sound: &[i16]) -> f64 {
    let sum: f64 = sound
        .iter()
        .map(|&s| (f64::from(s) / 32_768.0).powi(2))
        .sum();
    sum / sound.len().max(1) as f64
}

/// Mean power in dB over full scale.
pub(crate) fn power_db(sound: &[i16]) -> f64 {
    10.0 * power(sound).max(1e-12).log10()
}

/// The power of a sine of `hz` in the sound, over a Hann window.
pub(crate) fn tone_power(sound: &[i16], hz: f64, rate: u32) -> f64 {
    let (mut re, mut im, mut weight) = (0.0, 0.0, 0.0);
    for (n, &sample) in sound.iter().enumerate() {
        let window = 0.5 - 0.5 * (TAU * n as f64 / sound.len() as f64).cos();
        let angle = TAU * hz * n as f64 / f64::from(rate);
        let value = f64::from(sample) / 32_768.0 * window;
        re += value * angle.cos();
        im += value * angle.sin();
        weight += window;
    }
    2.0 * (re * re + im * im) / (weight * weight)
}

/// The same in dB over full scale.
pub(crate) fn tone_db(sound: &[i16], hz: f64, rate: u32) -> f64 {
    10.0 * tone_power(sound, hz, rate).max(1e-12).log10()
}

/// How far `sound` lies over its difference from `other`, in dB.
pub(crate) fn snr_db(sound: &[i16], other: &[i16]) -> f64 {
    let (mut signal, mut noise) = (0.0, 0.0);
    for (&a, &b) in sound.iter().zip(other) {
        signal += f64::from(a).powi(2);
        noise += (f64::from(a) - f64::from(b)).powi(2);
    }
    10.0 * (signal / noise.max(1e-9)).log10()
}

/// How far a sine of `hz` lies over everything else in the sound, in dB, by the best fit of amplitude and phase.
pub(crate) fn sine_snr_db(sound: &[i16], hz: f64, rate: u32) -> f64 {
    let (mut ss, mut sc, mut cc, mut xs, mut xc, mut xx) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, &sample) in sound.iter().enumerate() {
        let (sin, cos) = (TAU * hz * n as f64 / f64::from(rate)).sin_cos();
        let x = f64::from(sample);
        ss += sin * sin;
        sc += sin * cos;
        cc += cos * cos;
        xs += x * sin;
        xc += x * cos;
        xx += x * x;
    }
    let determinant = ss * cc - sc * sc;
    let a = (xs * cc - xc * sc) / determinant;
    let b = (xc * ss - xs * sc) / determinant;
    let signal = a * xs + b * xc;
    10.0 * (signal / (xx - signal).max(1e-9)).log10()
}

/// Something like a voice: a pulse train whose pitch wanders, through three resonances that jump from vowel to vowel, with hiss
/// and pauses between.
pub(crate) fn babble(seed: u64, seconds: usize) -> Vec<i16> {
    const VOWELS: [[f64; 3]; 8] = [
        [270.0, 2_290.0, 3_010.0],
        [390.0, 1_990.0, 2_550.0],
        [530.0, 1_840.0, 2_480.0],
        [660.0, 1_720.0, 2_410.0],
        [730.0, 1_090.0, 2_440.0],
        [570.0, 840.0, 2_410.0],
        [440.0, 1_020.0, 2_240.0],
        [300.0, 870.0, 2_240.0],
    ];
    let random = noise(seed, 1.0, seconds * 8_000);
    let (mut y1, mut y2) = ([0.0; 3], [0.0; 3]);
    let (mut phase, mut pitch, mut vowel) = (0.0, 120.0, VOWELS[0]);
    let mut out = Vec::with_capacity(random.len());
    for (n, &chance) in random.iter().enumerate() {
        let chance = f64::from(chance) / 32_768.0;
        if n % 1_000 == 0 {
            vowel = VOWELS[(chance.abs() * 7.99) as usize];
            pitch = 90.0 + 250.0 * (chance * 31.0).sin().abs();
        }
        pitch *= 1.0 + chance * 0.000_5;
        phase += pitch / 8_000.0;
        let mut source = chance * 0.02;
        if phase >= 1.0 {
            phase -= 1.0;
            source += 1.0;
        }
        let mut sample = 0.0;
        for formant in 0..3 {
            let radius = (-std::f64::consts::PI * 80.0 / 8_000.0).exp();
            let turn = TAU * vowel[formant] / 8_000.0;
            let y =
                source + 2.0 * radius * turn.cos() * y1[formant] - radius * radius * y2[formant];
            y2[formant] = y1[formant];
            y1[formant] = y;
            sample += y / (formant + 1) as f64;
        }
        let loudness = if n / 4_000 % 4 == 3 { 0.01 } else { 1.0 };
        out.push((sample * loudness * 3_000.0) as i16);
    }
    out
}
