//! Between 8,000, 16,000 and 48,000 samples a second, by a polyphase filter of a fixed ratio.
//!
//! One rate is a whole multiple of the other in each pair, so that the filter runs at the higher rate and only the products that are
//! needed are taken: on the way up each output sample has one phase of the coefficients, on the way down only each
//! n-th output is made. The filter is a sinc in a Kaiser window with [`TAPS`] samples of the lower rate: flat to 0.85 of what the lower
//! rate can hold, and 70 dB down from 1.15 of it.

use crate::SampleRate;
use std::f32::consts::PI;

/// Length of the filter in samples of the lower rate.
pub const TAPS: usize = 32;
/// Samples that are filtered at one go.
const BLOCK: usize = 480;
/// The Kaiser window's shape, for a stop band of 70 dB.
const BETA: f32 = 6.8;
/// Products that are summed up side by side.
const LANES: usize = 8;

/// Turns a stream of sound of one rate into one of another.
#[derive(Debug, Clone)]
pub struct Resampler {
    ratio: usize,
    is_up: bool,
    /// Coefficients in the order in which they meet the samples; on the way up phase by phase.
    coefficients: Vec<f32>,
    /// The last samples before the block, and the block.
    samples: Vec<f32>,
    /// Samples before the block.
    history: usize,
    /// On the way down: samples to pass before the next output.
    skip: usize,
}

impl Resampler {
    /// A filter for this pair of rates, with silence before the first sample. Equal rates make it a copy.
    #[must_use]
    pub fn new(from: SampleRate, to: SampleRate) -> Self {
        let (low, high) = (from.min(to).hz(), from.max(to).hz());
        let ratio = (high / low) as usize;
        let is_up = to > from;
        let taps = TAPS * ratio;
        let prototype = |n: usize| low_pass(n, taps, ratio);
        let coefficients = match is_up {
            // A phase has each ratio-th coefficient, backwards, for the samples stand oldest first.
            true => (0..ratio)
                .flat_map(|phase| (0..TAPS).rev().map(move |k| k * ratio + phase))
                .map(|n| prototype(n) * ratio as f32)
                .collect(),
            false => (0..taps).rev().map(prototype).collect(),
        };
        let history = if is_up { TAPS } else { taps } - 1;
        Self {
            ratio,
            is_up,
            coefficients,
            samples: vec![0.0; history + BLOCK],
            history,
            skip: 0,
        }
    }

    /// Samples that come out for `count` that go in, at most.
    #[must_use]
    pub fn output_max(&self, count: usize) -> usize {
        match (self.ratio, self.is_up) {
            (1, _) => count,
            (ratio, true) => count * ratio,
            (ratio, false) => count.div_ceil(ratio),
        }
    }

    /// Samples of the input by which the sound is late.
    #[must_use]
    pub fn delay(&self) -> usize {
        match (self.ratio, self.is_up) {
            (1, _) => 0,
            (_, true) => TAPS / 2,
            (ratio, false) => TAPS * ratio / 2,
        }
    }

    /// Turns `input` into samples at the start of `output` and says how many there are. What does not fit is lost: leave room
    /// for [`output_max`](Self::output_max).
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        if self.ratio == 1 {
            let count = input.len().min(output.len());
            output[..count].copy_from_slice(&input[..count]);
            return count;
        }
        let mut written = 0;
        for block in input.chunks(BLOCK) {
            let end = self.history + block.len();
            for (place, sample) in self.samples[self.history..end].iter_mut().zip(block) {
                *place = f32::from(*sample);
            }
            let room = &mut output[written..];
            written += match self.is_up {
                true => self.block_up(block.len(), room),
                false => self.block_down(block.len(), room),
            };
            self.samples.copy_within(block.len()..end, 0);
        }
        written
    }

    fn block_up(&self, count: usize, output: &mut [i16]) -> usize {
        let windows = self.samples[..self.history + count].windows(TAPS);
        let groups = output.chunks_exact_mut(self.ratio);
        let mut written = 0;
        for (window, group) in windows.zip(groups) {
            let phases = self.coefficients.chunks_exact(TAPS);
            for (sample, phase) in group.iter_mut().zip(phases) {
                *sample = to_sample(dot(window, phase));
            }
            written += self.ratio;
        }
        written
    }

    fn block_down(&mut self, count: usize, output: &mut [i16]) -> usize {
        let mut written = 0;
        let mut at = self.skip;
        while at < count {
            let window = &self.samples[at..at + self.coefficients.len()];
            if let Some(sample) = output.get_mut(written) {
                *sample = to_sample(dot(window, &self.coefficients));
                written += 1;
            }
            at += self.ratio;
        }
        self.skip = at - count;
        written
    }
}

/// Turns a whole piece of sound of any rate into one of ours, for files that people upload. From a rate that is none of ours it is many times the
/// work of a [`Resampler`]; it allocates.
#[must_use]
pub fn convert(sound: &[i16], from_hz: u32, to: SampleRate) -> Vec<i16> {
    let (from, to_hz) = (f64::from(from_hz.max(1)), f64::from(to.hz()));
    if from_hz == to.hz() || sound.is_empty() {
        return sound.to_vec();
    }
    if let Some(from) = SampleRate::ALL
        .into_iter()
        .find(|rate| rate.hz() == from_hz)
    {
        return convert_ours(sound, from, to);
    }
    // Samples of the input that one sample of the lower rate takes.
    let width = (from / to_hz).max(1.0);
    let half = TAPS as f64 / 2.0 * width;
    let table = kernel_table();
    let scale = GRAIN as f64 / width;
    let count = (sound.len() as f64 * to_hz / from).round() as usize;
    let sample = |n: usize| {
        let place = n as f64 * from / to_hz;
        let first = (place - half).ceil().max(0.0) as usize;
        let last = ((place + half) as usize).min(sound.len() - 1);
        let mut sum = 0.0;
        for (at, sample) in sound.iter().enumerate().take(last + 1).skip(first) {
            let x = (at as f64 - place).abs() * scale;
            let (index, part) = (x as usize, x.fract() as f32);
            let weight = table[index] + (table[index + 1] - table[index]) * part;
            sum += f32::from(*sample) * weight;
        }
        to_sample(sum / width as f32)
    };
    (0..count).map(sample).collect()
}

/// From one of our rates to another: the filter's delay is cut off, and its end is let out.
fn convert_ours(sound: &[i16], from: SampleRate, to: SampleRate) -> Vec<i16> {
    let mut filter = Resampler::new(from, to);
    let (from_hz, to_hz) = (from.hz() as usize, to.hz() as usize);
    let late = filter.delay() * to_hz / from_hz;
    let silence = vec![0; filter.delay() + filter.ratio];
    let mut out = vec![0; filter.output_max(sound.len()) + filter.output_max(silence.len())];
    let written = filter.process(sound, &mut out);
    filter.process(&silence, &mut out[written..]);
    out.drain(..late);
    out.truncate((sound.len() * to_hz + from_hz / 2) / from_hz);
    out
}

/// Steps of [`kernel_table`] in a sample of the lower rate.
const GRAIN: usize = 512;

/// One side of the filter, and a little more.
fn kernel_table() -> Vec<f32> {
    let half = TAPS as f32 / 2.0;
    let places = TAPS / 2 * GRAIN + 2;
    (0..places)
        .map(|n| kernel(n as f32 / GRAIN as f32, 1.0, half))
        .collect()
}

/// Coefficient `n` of `taps`: a sinc that cuts at half the lower rate, in a Kaiser window; 1 in sum.
fn low_pass(n: usize, taps: usize, ratio: usize) -> f32 {
    // In the middle between two taps where their number is even.
    let x = n as f32 - (taps - 1) as f32 / 2.0;
    kernel(x, ratio as f32, taps as f32 / 2.0)
}

/// The filter at `x` samples from its middle, `width` times as wide as one of the same rate, up to `half`.
fn kernel(x: f32, width: f32, half: f32) -> f32 {
    let turn = PI * x / width;
    let sinc = if turn == 0.0 { 1.0 } else { turn.sin() / turn };
    let edge = x / half;
    let window = bessel(BETA * (1.0 - edge * edge).max(0.0).sqrt()) / bessel(BETA);
    sinc * window / width
}

/// The modified Bessel function of order 0, by its series.
fn bessel(x: f32) -> f32 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..25 {
        let factor = x / 2.0 / n as f32;
        term *= factor * factor;
        sum += term;
    }
    sum
}

/// The sum of products, in lanes so that the processor can take several at a time. The lengths are equal and multiples of the lanes.
fn dot(samples: &[f32], coefficients: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let pairs = samples.as_chunks::<LANES>().0.iter();
    for (samples, coefficients) in pairs.zip(coefficients.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            lanes[lane] += samples[lane] * coefficients[lane];
        }
    }
    lanes.iter().sum()
}

fn to_sample(value: f32) -> i16 {
    // `as` saturates.
    value.round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{power_db, sine, sine_snr_db, tone_db};
    use SampleRate::{Hz8000, Hz16000, Hz48000};

    const PAIRS: [(SampleRate, SampleRate); 6] = [
        (Hz8000, Hz16000),
        (Hz16000, Hz8000),
        (Hz8000, Hz48000),
        (Hz48000, Hz8000),
        (Hz16000, Hz48000),
        (Hz48000, Hz16000),
    ];

    fn resample(sound: &[i16], from: SampleRate, to: SampleRate) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to);
        let mut out = vec![0; resampler.output_max(sound.len())];
        let count = resampler.process(sound, &mut out);
        assert_eq!(count, out.len());
        out
    }

    #[test]
    fn tones_of_the_pass_band_come_through_clean() {
        for (from, to) in PAIRS {
            let half = from.min(to).hz() as f64 / 2.0;
            for part in [0.05, 0.25, 0.5, 0.8] {
                let hz = half * part;
                let sound = sine(hz, from.hz(), 0.5, from.samples(500));
                let out = resample(&sound, from, to);
                let out = &out[to.samples(50)..];
                let snr = sine_snr_db(out, hz, to.hz());
                assert!(snr > 60.0, "{from:?} to {to:?}, {hz} Hz: {snr} dB");
                let level = tone_db(out, hz, to.hz()) - tone_db(&sound, hz, from.hz());
                assert!(level.abs() < 0.1, "{from:?} to {to:?}, {hz} Hz: {level} dB");
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        for (from, to) in PAIRS.into_iter().filter(|(from, to)| from > to) {
            let hz = f64::from(to.hz()) / 2.0 * 1.2;
            let sound = sine(hz, from.hz(), 0.9, from.samples(500));
            let out = resample(&sound, from, to);
            let level = power_db(&out[to.samples(50)..]) - power_db(&sound);
            assert!(level < -60.0, "{from:?} to {to:?}: {level} dB");
        }
    }

    #[test]
    fn packets_of_any_length_are_one_stream() {
        for (from, to) in PAIRS {
            let sound = sine(440.0, from.hz(), 0.5, 5_000);
            let whole = resample(&sound, from, to);
            let mut resampler = Resampler::new(from, to);
            let mut parts = Vec::new();
            for part in sound.chunks(77) {
                let mut out = [0; 77 * 6];
                let count = resampler.process(part, &mut out);
                parts.extend_from_slice(&out[..count]);
            }
            assert_eq!(parts, whole, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn there_and_back_is_the_same_later() {
        let sound = sine(1_000.0, 8_000, 0.5, 4_000);
        let up = resample(&sound, Hz8000, Hz48000);
        let again = resample(&up, Hz48000, Hz8000);
        assert_eq!(again.len(), sound.len());
        let snr = sine_snr_db(&again[200..], 1_000.0, 8_000);
        assert!(snr > 60.0, "{snr} dB");
    }

    #[test]
    fn files_of_any_rate_are_converted() {
        for from_hz in [
            8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000,
        ] {
            for to in SampleRate::ALL {
                let half = f64::from(from_hz.min(to.hz())) / 2.0;
                for hz in [half * 0.1, half * 0.75] {
                    let sound = sine(hz, from_hz, 0.5, from_hz as usize / 5);
                    let out = convert(&sound, from_hz, to);
                    assert!(out.len().abs_diff(to.samples(200)) <= 1);
                    let middle = &out[to.samples(20)..to.samples(180)];
                    let snr = sine_snr_db(middle, hz, to.hz());
                    assert!(snr > 55.0, "{from_hz} to {to:?}, {hz} Hz: {snr} dB");
                }
            }
        }
        assert_eq!(convert(&[], 44_100, Hz8000), []);
    }

    #[test]
    fn what_is_converted_begins_and_ends_when_it_did() {
        for (from, to) in PAIRS {
            let mut sound = vec![0; from.samples(1_000)];
            let places = [100, 500, 990].map(|ms| from.samples(ms));
            for place in places {
                sound[place..place + from.samples(1)].fill(16_000);
            }
            let out = convert(&sound, from.hz(), to);
            assert_eq!(out.len(), to.samples(1_000));
            for ms in [100, 500, 990] {
                let near = &out[to.samples(ms - 5)..to.samples(ms + 6)];
                let loudest = (0..near.len()).max_by_key(|&at| near[at].unsigned_abs());
                let off = loudest
                    .expect("some")
                    .abs_diff(to.samples(5) + to.samples(1) / 2);
                assert!(
                    off <= to.samples(1),
                    "{from:?} to {to:?}: {off} samples off"
                );
            }
        }
    }

    #[test]
    fn equal_rates_are_a_copy_and_full_scale_does_not_wrap() {
        let sound = sine(3_000.0, 8_000, 1.0, 800);
        assert_eq!(resample(&sound, Hz8000, Hz8000), sound);
        let square: Vec<i16> = (0..800)
            .map(|n| if n / 8 % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        let out = resample(&square, Hz8000, Hz48000);
        // The filter rings beyond full scale and is held there.
        assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
        let flips = out[200..]
            .windows(2)
            .filter(|pair| i32::from(pair[0]).abs_diff(i32::from(pair[1])) > 40_000);
        assert_eq!(flips.count(), 0);
    }
}
