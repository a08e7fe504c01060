//! Comfort noise (RFC 3389): what a listener hears while the speaker is silent and sends next to nothing.
//!
//! A description is the noise's level and, if wanted, its colour as reflection coefficients. [`Description::of`] finds both in sound by the
//! autocorrelation method; [`Generator`] filters white noise so that it has them.

use crate::Error;

/// Reflection coefficients that are kept; further ones of a payload are left out, as RFC 3389 section 3.2 allows.
pub const ORDER_MAX: usize = 10;
/// The softest level, in dB below overload.
const LEVEL_MAX: u8 = 127;

/// What noise is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Description {
    level: u8,
    order: usize,
    /// As sent (RFC 3389 section 3.2): 127 is 0.
    coefficients: [u8; ORDER_MAX],
}

impl Description {
    /// Noise of this level in dB below overload (0 to 127), without colour.
    #[must_use]
    pub fn white(level: u8) -> Self {
        Self {
            level: level.min(LEVEL_MAX),
            order: 0,
            coefficients: [127; ORDER_MAX],
        }
    }

    /// What the sound is like: its level, and its colour by `order` coefficients ([`ORDER_MAX`] at most).
    #[must_use]
    pub fn of(sound: &[i16], order: usize) -> Self {
        let order = order.min(ORDER_MAX);
        let mut correlation = [0.0_f64; ORDER_MAX + 1];
        for (lag, sum) in correlation.iter_mut().enumerate().take(order + 1) {
            let pairs = sound.iter().zip(sound.iter().skip(lag));
            *sum = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        }
        let power = correlation[0] / sound.len().max(1) as f64 / (32_768.0 * 32_768.0);
        let level = (-10.0 * power.max(1e-13).log10()).round();
        let mut description = Self::white(level.clamp(0.0, f64::from(LEVEL_MAX)) as u8);
        description.order = order;
        let reflections = reflections(&correlation[..=order]);
        for (code, k) in description.coefficients.iter_mut().zip(reflections) {
            *code = (k * 32_768.0 / 258.0 + 127.0).round().clamp(0.0, 254.0) as u8;
        }
        description
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// `ShortPayload` of an empty one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Some((&level, codes)) = bytes.split_first() else {
            return Err(Error::ShortPayload { bytes: 0 });
        };
        let mut description = Self::white(level & 0x7f);
        description.order = codes.len().min(ORDER_MAX);
        let places = description.coefficients.iter_mut();
        for (place, code) in places.zip(codes) {
            // 255 is reserved.
            *place = (*code).min(254);
        }
        Ok(description)
    }

    /// Appends the payload.
    pub fn push(&self, out: &mut Vec<u8>) {
        out.push(self.level);
        out.extend_from_slice(&self.coefficients[..self.order]);
    }

    /// Its level in dB below overload.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The reflection coefficients, each between -1 and 1.
    fn reflections(&self) -> [f32; ORDER_MAX] {
        let mut reflections = [0.0; ORDER_MAX];
        for (k, code) in reflections.iter_mut().zip(&self.coefficients[..self.order]) {
            *k = 258.0 * (f32::from(*code) - 127.0) / 32_768.0;
        }
        reflections
    }
}

/// The reflection coefficients of these autocorrelations (Levinson and Durbin).
fn reflections(correlation: &[f64]) -> [f64; ORDER_MAX] {
    let mut reflections = [0.0; ORDER_MAX];
    let mut predictor = [0.0; ORDER_MAX + 1];
    // A little white noise keeps what is a pure tone stable.
    let mut error = correlation[0] * 1.000_1;
    for n in 1..correlation.len() {
        if error <= 0.0 {
            break;
        }
        let sum: f64 = (1..n).map(|i| predictor[i] * correlation[n - i]).sum();
        let k = (correlation[n] - sum) / error;
        let before = predictor;
        for i in 1..n {
            predictor[i] = before[i] - k * before[n - i];
        }
        predictor[n] = k;
        error *= 1.0 - k * k;
        reflections[n - 1] = k;
    }
    reflections
}

/// Makes noise by a description. The level moves to a new one within about 20 ms at 8,000 samples a second.
#[derive(Debug, Clone)]
pub struct Generator {
    state: u64,
    reflections: [f32; ORDER_MAX],
    /// The lattice's memory.
    backward: [f32; ORDER_MAX],
    gain: f32,
    target: f32,
}

impl Generator {
    /// How much of the way to a new level is gone with each sample.
    const APPROACH: f32 = 1.0 / 64.0;

    /// Silence, until a description comes. Noise of the same seed is the same.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed | 1,
            reflections: [0.0; ORDER_MAX],
            backward: [0.0; ORDER_MAX],
            gain: 0.0,
            target: 0.0,
        }
    }

    /// Takes a new description.
    pub fn describe(&mut self, description: &Description) {
        self.reflections = description.reflections();
        // The filter makes the noise louder by 1 / (1 - k^2) for each coefficient.
        let power: f32 = self.reflections.iter().map(|k| 1.0 - k * k).product();
        let level = 10.0_f32.powf(-f32::from(description.level) / 20.0);
        // A uniform value between -1 and 1 has a power of 1/3.
        self.target = 32_768.0 * level * (3.0 * power).sqrt();
    }

    /// The next samples.
    pub fn play(&mut self, out: &mut [i16]) {
        for sample in out {
            self.gain += (self.target - self.gain) * Self::APPROACH;
            let mut forward = self.random() * self.gain;
            for n in (0..ORDER_MAX).rev() {
                forward += self.reflections[n] * self.backward[n];
                if n + 1 < ORDER_MAX {
                    self.backward[n + 1] = self.backward[n] - self.reflections[n] * forward;
                }
            }
            self.backward[0] = forward;
            *sample = forward.round() as i16;
        }
    }

    /// Between -1 and 1 (xorshift).
    fn random(&mut self) -> f32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((self.state >> 40) as f32 / 8_388_608.0) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{noise, power_db, sine};

    fn play(description: &Description, count: usize) -> Vec<i16> {
        let mut generator = Generator::new(42);
        generator.describe(description);
        let mut out = vec![0; count + 1_000];
        generator.play(&mut out);
        out.split_off(1_000)
    }

    /// Noise with more low tones than high ones.
    fn rumble() -> Vec<i16> {
        let mut last = 0.0;
        noise(9, 0.2, 16_000)
            .into_iter()
            .map(|sample| {
                last = 0.9 * last + f64::from(sample) * 0.3;
                last as i16
            })
            .collect()
    }

    /// Power below and above 1,000 Hz, roughly: of sums and of differences of neighbours.
    fn tilt_db(sound: &[i16]) -> f64 {
        let sums: Vec<i16> = sound
            .windows(2)
            .map(|pair| pair[0] / 2 + pair[1] / 2)
            .collect();
        let differences: Vec<i16> = sound
            .windows(2)
            .map(|pair| pair[0] / 2 - pair[1] / 2)
            .collect();
        power_db(&sums) - power_db(&differences)
    }

    #[test]
    fn white_noise_has_its_level() {
        for level in [20, 40, 60] {
            let sound = play(&Description::white(level), 16_000);
            let found = power_db(&sound) + f64::from(level);
            assert!(found.abs() < 0.5, "-{level} dB: {found} off");
        }
        let mut silent = [1; 10];
        Generator::new(1).play(&mut silent);
        assert_eq!(silent, [0; 10]);
    }

    #[test]
    fn what_is_described_is_heard_again_with_level_and_colour() {
        let sound = rumble();
        let description = Description::of(&sound, 8);
        let mut payload = Vec::new();
        description.push(&mut payload);
        assert_eq!(payload.len(), 9);
        let again = play(&Description::parse(&payload).expect("a payload"), 16_000);
        assert!((power_db(&again) - power_db(&sound)).abs() < 1.0);
        assert!(tilt_db(&sound) > 8.0);
        assert!(
            (tilt_db(&again) - tilt_db(&sound)).abs() < 1.0,
            "{} {}",
            tilt_db(&again),
            tilt_db(&sound)
        );
    }

    #[test]
    fn a_payload_of_one_byte_is_a_level() {
        let description = Description::parse(&[40]).expect("a payload");
        assert_eq!(description, Description::white(40));
        assert_eq!(
            Description::parse(&[0xa8]).map(|it| it.level()),
            Ok(40),
            "the highest bit is reserved"
        );
        assert_eq!(
            Description::parse(&[]),
            Err(Error::ShortPayload { bytes: 0 })
        );
        assert_eq!(Description::of(&[], 10).level(), 127);
    }

    #[test]
    fn no_payload_and_no_sound_makes_it_unstable() {
        for code in [0, 1, 127, 254, 255] {
            let description =
                Description::parse(&[[30].as_slice(), &[code; 40]].concat()).expect("a payload");
            let sound = play(&description, 80_000);
            assert!(power_db(&sound) < -20.0, "{code}: {}", power_db(&sound));
        }
        for hz in [50.0, 440.0, 3_999.0] {
            let description = Description::of(&sine(hz, 8_000, 0.1, 1_600), ORDER_MAX);
            assert!(power_db(&play(&description, 80_000)) < -10.0, "{hz}");
        }
    }
}
