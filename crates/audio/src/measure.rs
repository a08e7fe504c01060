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
