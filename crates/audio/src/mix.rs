//! Loudness, and several voices at once without clipping.

/// A change of loudness. It moves to a new value over [`Gain::RAMP`] samples, so that nothing clicks.
#[derive(Debug, Clone)]
pub struct Gain {
    now: f32,
    target: f32,
    step: f32,
}

impl Gain {
    /// Samples that a change of the whole range takes.
    pub const RAMP: u32 = 160;
    /// The loudest and the softest that can be asked for, in dB. What is softer is silence.
    pub const DB_MAX: f32 = 30.0;
    /// Below this it is silence.
    pub const DB_MIN: f32 = -96.0;

    /// A constant gain in dB, brought into its range.
    #[must_use]
    pub fn new(db: f32) -> Self {
        let factor = Self::factor(db);
        Self {
            now: factor,
            target: factor,
            step: 0.0,
        }
    }

    /// Moves to another gain in dB.
    pub fn change(&mut self, db: f32) {
        self.target = Self::factor(db);
        self.step = (self.target - self.now) / Self::RAMP as f32;
    }

    /// Applies the gain; what would be beyond full scale is held there.
    pub fn apply(&mut self, sound: &mut [i16]) {
        for sample in sound {
            if self.now != self.target {
                self.now += self.step;
                let is_beyond = (self.target - self.now) * self.step <= 0.0;
                if is_beyond {
                    self.now = self.target;
                }
            }
            *sample = (f32::from(*sample) * self.now).round() as i16;
        }
    }

    fn factor(db: f32) -> f32 {
        match db {
            _ if db <= Self::DB_MIN => 0.0,
            // Also of what is no number.
            _ => 10.0_f32.powf(db.min(Self::DB_MAX) / 20.0),
        }
    }
}

/// Holds the sum of voices below full scale: the gain falls at once where a sample would clip, and rises again
/// slowly, so that a loud passage is turned down and not cut off. One for each listener.
#[derive(Debug, Clone)]
pub struct Limiter {
    gain: f32,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { gain: 1.0 }
    }
}

impl Limiter {
    /// What the gain grows by with each sample: to twice as much in about 0.2 s at 8,000 a second.
    const RELEASE: f32 = 1.000_43;

    /// The next sample, below full scale.
    fn limit(&mut self, sum: i32) -> i16 {
        let sum = sum as f32;
        let loud = sum.abs() * self.gain;
        if loud > 32_767.0 {
            self.gain = 32_767.0 / sum.abs();
        } else {
            self.gain = (self.gain * Self::RELEASE).min(1.0);
        }
        (sum * self.gain) as i16
    }
}

/// The sum of the voices of one frame, of which each listener hears all but his own.
#[derive(Debug, Clone)]
pub struct Mix {
    sums: Vec<i32>,
}

impl Mix {
    /// Voices that a sum can hold: as many full-scale samples as fit into 32 bits.
    pub const VOICES_MAX: usize = 65_535;

    /// An empty mix of frames with so many samples.
    #[must_use]
    pub fn new(samples: usize) -> Self {
        Self {
            sums: vec![0; samples],
        }
    }

    /// Begins the next frame.
    pub fn clear(&mut self) {
        self.sums.fill(0);
    }

    /// Adds a voice. A shorter one is followed by silence; what is beyond the frame is left out.
    pub fn add(&mut self, voice: &[i16]) {
        for (sum, sample) in self.sums.iter_mut().zip(voice) {
            *sum = sum.saturating_add(i32::from(*sample));
        }
    }

    /// What a listener hears whose own voice is `own` (empty if it was not added).
    pub fn hear(&self, own: &[i16], limiter: &mut Limiter, out: &mut [i16]) {
        let own = own.iter().copied().chain(std::iter::repeat(0));
        for ((place, sum), own) in out.iter_mut().zip(&self.sums).zip(own) {
            *place = limiter.limit(sum.saturating_sub(i32::from(own)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{power_db, sine, sine_snr_db, snr_db, tone_db};

    #[test]
    fn a_gain_is_what_it_says_and_holds_at_full_scale() {
        for db in [-20.0, -6.0, 0.0, 6.0] {
            let mut sound = sine(1_000.0, 8_000, 0.25, 8_000);
            let before = power_db(&sound);
            Gain::new(db).apply(&mut sound);
            let change = power_db(&sound) - before;
            assert!((change - f64::from(db)).abs() < 0.05, "{db} dB: {change}");
        }
        let mut sound = [30_000, -30_000, 1];
        Gain::new(90.0).apply(&mut sound);
        assert_eq!(sound, [i16::MAX, i16::MIN, 32]);
        Gain::new(-200.0).apply(&mut sound);
        assert_eq!(sound, [0; 3]);
    }

    #[test]
    fn a_change_of_gain_has_no_step() {
        let mut gain = Gain::new(0.0);
        gain.change(-200.0);
        let mut sound = [16_000; 400];
        gain.apply(&mut sound);
        assert!(
            sound
                .windows(2)
                .all(|pair| pair[0] - pair[1] <= 101 && pair[0] >= pair[1])
        );
        assert_eq!(sound[399], 0);
        gain.change(0.0);
        let mut sound = [16_000; 400];
        gain.apply(&mut sound);
        assert_eq!(sound[399], 16_000);
    }

    #[test]
    fn each_hears_the_others_and_not_himself() {
        let voices = [400.0, 900.0, 1_700.0].map(|hz| sine(hz, 8_000, 0.2, 8_000));
        let mut mix = Mix::new(8_000);
        for voice in &voices {
            mix.add(voice);
        }
        let mut heard = vec![0; 8_000];
        mix.hear(&voices[0], &mut Limiter::default(), &mut heard);
        assert!(tone_db(&heard, 400.0, 8_000) < -80.0);
        for hz in [900.0, 1_700.0] {
            assert!((tone_db(&heard, hz, 8_000) - tone_db(&voices[1], 900.0, 8_000)).abs() < 0.1);
        }
        mix.clear();
        mix.hear(&[], &mut Limiter::default(), &mut heard);
        assert!(heard.iter().all(|sample| *sample == 0));
    }

    #[test]
    fn soft_voices_are_left_as_they_are() {
        let voice = sine(1_000.0, 8_000, 0.9, 8_000);
        let mut mix = Mix::new(8_000);
        mix.add(&voice);
        let mut heard = vec![0; 8_000];
        mix.hear(&[], &mut Limiter::default(), &mut heard);
        assert!(snr_db(&voice, &heard) > 80.0);
    }

    #[test]
    fn a_hundred_loud_voices_do_not_clip() {
        let mut mix = Mix::new(16_000);
        for _ in 0..100 {
            mix.add(&sine(1_000.0, 8_000, 0.9, 16_000));
        }
        let mut heard = vec![0; 16_000];
        mix.hear(&[], &mut Limiter::default(), &mut heard);
        // A sine cut off at full scale would keep 8 dB; the one turned down stays a sine.
        let snr = sine_snr_db(&heard[2_000..], 1_000.0, 8_000);
        assert!(snr > 35.0, "{snr} dB");
        assert!(power_db(&heard) > -4.0);
    }

    #[test]
    fn after_a_shout_the_gain_comes_back() {
        let mut limiter = Limiter::default();
        for _ in 0..100 {
            limiter.limit(1_000_000);
        }
        let soon = limiter.limit(10_000);
        for _ in 0..16_000 {
            limiter.limit(10_000);
        }
        assert!(soon < 400 && limiter.limit(10_000) > 9_900);
    }
}
