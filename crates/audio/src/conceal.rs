//! Concealment of lost sound, in the manner of G.711 appendix I, but without its delay: the last pitch period before the loss is
//! repeated, softer and softer, and what comes after it is faded in.
//!
//! The period is where the sound before the loss is most like itself (normalized correlation, 66 to 200 Hz). After 10 ms two
//! periods are repeated, after 20 ms three, lest it buzzes. At each seam the step between the two sides is added and let fade over a
//! quarter of a period: so nothing that was played has to be changed afterwards, which is what appendix I delays all
//! sound by 3.75 ms for. After 10 ms the loudness falls by a fifth each 10 ms; after 60 ms there is silence.

use crate::SampleRate;

/// Samples of the history at 8,000 Hz: three of the longest periods, and the one that they are compared with.
const HISTORY: usize = 480;
/// The shortest and the longest period at 8,000 Hz: 200 and 66 Hz.
const PERIOD_MIN: usize = 40;
const PERIOD_MAX: usize = 120;
/// What is compared, at 8,000 Hz: 20 ms.
const COMPARED: usize = 160;
/// Periods that are repeated, at most.
const PERIODS_MAX: usize = 3;
/// After so many milliseconds the loudness begins to fall, and another period is repeated each time.
const STEP_MS: u32 = 10;
/// After so many there is silence.
const SILENT_MS: u32 = 60;
/// How long what comes after is faded in: so much, and so much more for each 10 ms of loss, within a bound.
const FADE_MS: u32 = 4;
const FADE_MS_MAX: u32 = 10;

/// Conceals the losses of one stream.
#[derive(Debug, Clone)]
pub struct Concealer {
    rate: SampleRate,
    /// Samples here for one at 8,000 Hz.
    scale: usize,
    history: Vec<i16>,
    period: usize,
    /// The repeated part is so long, and this is the next of it.
    repeated: usize,
    at: usize,
    /// The step at the last seam, and how many samples ago that was.
    offset: f32,
    since_seam: usize,
    /// Samples concealed so far; 0 while nothing is lost.
    lost: usize,
}

impl Concealer {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(rate: SampleRate) -> Self {
        let scale = (rate.hz() / SampleRate::Hz8000.hz()) as usize;
        Self {
            rate,
            scale,
            history: vec![0; HISTORY * scale],
            period: 0,
            repeated: 0,
            at: 0,
            offset: 0.0,
            since_seam: 0,
            lost: 0,
        }
    }

    /// Sound that came. Its beginning is mixed with what was made up for a loss before it.
    pub fn receive(&mut self, sound: &mut [i16]) {
        if self.lost > 0 {
            let lost_ms = (self.lost / self.rate.samples(1)) as u32;
            let fade_ms = (FADE_MS + lost_ms / STEP_MS * FADE_MS).min(FADE_MS_MAX);
            self.fade_in(sound, self.rate.samples(fade_ms));
            self.lost = 0;
        }
        self.remember(sound);
    }

    /// Sound that came, but does not follow what was played, for something between was left out: it is joined without a click.
    pub fn join(&mut self, sound: &mut [i16]) {
        if self.lost == 0 {
            self.begin();
            self.fade_in(sound, self.rate.samples(FADE_MS));
            self.remember(sound);
        } else {
            self.receive(sound);
        }
    }

    /// Makes up sound for what did not come.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if self.lost == 0 {
            self.begin();
        }
        for sample in out.iter_mut() {
            *sample = self.next();
        }
    }

    /// How long the loss has lasted, in samples; 0 when the last sound came.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost
    }

    fn begin(&mut self) {
        self.period = self.find_period();
        self.lost = 0;
        let end = self.history.len();
        self.seam(f32::from(self.history[end - 1]), 1);
    }

    /// Begins to repeat the last `periods`, after a sample of this value.
    fn seam(&mut self, last: f32, periods: usize) {
        let end = self.history.len();
        self.repeated = self.period * periods;
        self.at = end - self.repeated;
        self.offset = last - f32::from(self.history[self.at - 1]);
        self.since_seam = 0;
    }

    fn next(&mut self) -> i16 {
        let step = self.rate.samples(STEP_MS);
        if self.at == self.history.len() {
            let last = self.raw(self.history.len() - 1);
            self.seam(last, (1 + self.lost / step).min(PERIODS_MAX));
        }
        let value = self.raw(self.at) * self.loudness();
        self.at += 1;
        self.since_seam += 1;
        self.lost = self.lost.saturating_add(1);
        value.round() as i16
    }

    /// A sample of the repeated part with what is left of the step at its seam.
    fn raw(&self, at: usize) -> f32 {
        let fade = self.period / 4;
        let left = fade.saturating_sub(self.since_seam) as f32 / fade as f32;
        f32::from(self.history[at]) + self.offset * left
    }

    /// Between 1 and 0.
    fn loudness(&self) -> f32 {
        let ms = self.lost as f32 / self.rate.samples(1) as f32;
        if ms >= SILENT_MS as f32 {
            return 0.0;
        }
        let beyond = (ms - STEP_MS as f32).max(0.0) / STEP_MS as f32;
        (1.0 - 0.2 * beyond).max(0.0)
    }

    fn fade_in(&mut self, sound: &mut [i16], count: usize) {
        let count = count.min(sound.len());
        for (n, sample) in sound[..count].iter_mut().enumerate() {
            let made_up = f32::from(self.next());
            let share = (n + 1) as f32 / (count + 1) as f32;
            *sample = (made_up * (1.0 - share) + f32::from(*sample) * share).round() as i16;
        }
        self.lost = 0;
    }

    fn remember(&mut self, sound: &[i16]) {
        let keep = self.history.len().saturating_sub(sound.len());
        let drop = self.history.len() - keep;
        self.history.copy_within(drop.., 0);
        self.history[keep..].copy_from_slice(&sound[sound.len() - drop..]);
    }

    /// The lag at which the end of the history is most like what came before. At higher rates each n-th lag and sample is tried
    /// first, then the lags around the best.
    fn find_period(&self) -> usize {
        let scale = self.scale;
        let coarse = (PERIOD_MIN..=PERIOD_MAX)
            .map(|lag| lag * scale)
            .max_by(|a, b| {
                self.likeness(*a, scale)
                    .total_cmp(&self.likeness(*b, scale))
            })
            .unwrap_or(PERIOD_MAX * scale);
        let low = (coarse - scale).max(PERIOD_MIN * scale);
        let high = (coarse + scale).min(PERIOD_MAX * scale);
        (low..=high)
            .max_by(|a, b| self.likeness(*a, 1).total_cmp(&self.likeness(*b, 1)))
            .unwrap_or(coarse)
    }

    /// The normalized correlation of the last samples with those `lag` before, each n-th of them.
    fn likeness(&self, lag: usize, nth: usize) -> f32 {
        let end = self.history.len();
        let start = end - COMPARED * self.scale;
        let now = self.history[start..].iter().step_by(nth);
        let then = self.history[start - lag..end - lag].iter().step_by(nth);
        let (mut product, mut energy) = (0.0, 1.0);
        for (a, b) in now.zip(then) {
            let (a, b) = (f32::from(*a), f32::from(*b));
            product += a * b;
            energy += b * b;
        }
        product / energy.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{noise, power_db, sine, snr_db, tone_db};

    /// Something like a vowel: a pitch of 120 Hz with harmonics that fall off.
    fn vowel(rate: SampleRate, ms: u32) -> Vec<i16> {
        let count = rate.samples(ms);
        let mut sound = vec![0_i16; count];
        for harmonic in 1..=15_u32 {
            let amplitude = 0.25 / f64::from(harmonic);
            let part = sine(f64::from(120 * harmonic), rate.hz(), amplitude, count);
            for (sample, part) in sound.iter_mut().zip(part) {
                *sample += part;
            }
        }
        sound
    }

    /// What is heard when each n-th piece of 20 ms is lost.
    fn with_losses(sound: &[i16], rate: SampleRate, nth: usize) -> Vec<i16> {
        let mut concealer = Concealer::new(rate);
        let mut heard = Vec::new();
        for (n, piece) in sound.chunks_exact(rate.samples(20)).enumerate() {
            let mut piece = piece.to_vec();
            match n % nth == nth - 1 {
                true => concealer.conceal(&mut piece),
                false => concealer.receive(&mut piece),
            }
            heard.extend(piece);
        }
        heard
    }

    fn largest_step(sound: &[i16]) -> u32 {
        let steps = sound
            .windows(2)
            .map(|pair| i32::from(pair[0]).abs_diff(i32::from(pair[1])));
        steps.max().unwrap_or(0)
    }

    #[test]
    fn what_came_is_left_as_it_was() {
        let sound = vowel(SampleRate::Hz8000, 400);
        assert_eq!(with_losses(&sound, SampleRate::Hz8000, 1_000), sound);
    }

    #[test]
    fn a_lost_piece_of_a_vowel_is_hardly_heard() {
        for rate in SampleRate::ALL {
            let sound = vowel(rate, 2_000);
            let heard = with_losses(&sound, rate, 10);
            let snr = snr_db(&sound, &heard);
            // Silence in its place would leave 10 dB.
            assert!(snr > 20.0, "{rate:?}: {snr} dB");
            let (before, after) = (largest_step(&sound), largest_step(&heard));
            assert!(
                after < before * 3 / 2,
                "{rate:?}: a click of {after} where {before} is normal"
            );
        }
    }

    #[test]
    fn a_tone_keeps_its_level_through_losses() {
        for hz in [100.0, 440.0, 1_000.0, 2_000.0] {
            let sound = sine(hz, 8_000, 0.3, 16_000);
            let heard = with_losses(&sound, SampleRate::Hz8000, 5);
            let change = tone_db(&heard, hz, 8_000) - tone_db(&sound, hz, 8_000);
            assert!(change.abs() < 1.5, "{hz} Hz: {change} dB");
        }
    }

    #[test]
    fn a_long_loss_fades_to_silence_within_60_ms() {
        let rate = SampleRate::Hz8000;
        let mut concealer = Concealer::new(rate);
        let mut sound = vowel(rate, 200);
        concealer.receive(&mut sound);
        let mut last = power_db(&sound);
        for n in 0..6 {
            let mut piece = [0; 160];
            concealer.conceal(&mut piece);
            if n < 3 {
                let now = power_db(&piece);
                assert!(now <= last + 0.5 && now > -40.0, "{n}: {now} dB");
                last = now;
            } else {
                assert_eq!(piece, [0; 160]);
            }
        }
        assert_eq!(concealer.lost(), 960);
        let mut again = vowel(rate, 20);
        let before = again.clone();
        concealer.receive(&mut again);
        assert_eq!(
            (again[0].abs() < 1_000, &again[80..]),
            (true, &before[80..])
        );
        assert_eq!(concealer.lost(), 0);
    }

    #[test]
    fn what_does_not_follow_is_joined_without_a_click() {
        let rate = SampleRate::Hz8000;
        let sound = vowel(rate, 400);
        let normal = largest_step(&sound);
        for cut in 0..66 {
            let mut concealer = Concealer::new(rate);
            let mut heard = sound[..1_600].to_vec();
            concealer.receive(&mut heard);
            let mut rest = sound[1_600 + cut..1_760 + cut].to_vec();
            concealer.join(&mut rest);
            heard.extend(rest);
            assert!(largest_step(&heard) < normal * 3 / 2, "{cut}");
        }
    }

    #[test]
    fn nothing_is_made_up_of_nothing_and_loud_noise_does_not_wrap() {
        let mut concealer = Concealer::new(SampleRate::Hz16000);
        let mut piece = [7; 320];
        concealer.conceal(&mut piece);
        assert_eq!(piece, [0; 320]);
        let sound = noise(4, 1.0, 16_000);
        let heard = with_losses(&sound, SampleRate::Hz8000, 3);
        assert!((power_db(&heard) - power_db(&sound)).abs() < 2.0);
    }
}
