//! Whether somebody speaks: for recordings that end with silence, for who is heard in a conference, and for when comfort noise will do.
//!
//! Each frame's level is compared with the noise below it. The noise is the softest level of late: it follows downwards at once and
//! upwards slowly, and more slowly still while somebody speaks. After the last loud frame speech goes on for [`HANGOVER_MS`], lest soft endings of words
//! be taken for silence.

/// Speech goes on for so long after the last loud frame, in milliseconds.
pub const HANGOVER_MS: u32 = 300;
/// How far speech stands out from the noise, in dB.
const ABOVE_NOISE_DB: f32 = 9.0;
/// What is softer is no speech, in dB over overload.
const LEVEL_DB_MIN: f32 = -55.0;
/// The noise is taken to be no louder than this, for it is no noise then.
const NOISE_DB_MAX: f32 = -25.0;
/// The softest level that is told apart.
const FLOOR_DB: f32 = -90.0;
/// What the noise rises by in a second, in dB, while nobody speaks.
const RISE_DB: f32 = 12.0;
/// The same while somebody speaks. A steady noise that set in is no speech any more after some seconds.
const RISE_SPEAKING_DB: f32 = 3.0;

/// Listens to one stream.
#[derive(Debug, Clone)]
pub struct Meter {
    level_db: f32,
    noise_db: f32,
    /// Milliseconds of speech that are left without another loud frame.
    hangover_ms: u32,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            level_db: FLOOR_DB,
            noise_db: NOISE_DB_MAX - ABOVE_NOISE_DB,
            hangover_ms: 0,
        }
    }
}

impl Meter {
    /// Listens to a frame that lasts `ms` milliseconds, 10 to 60, and says whether somebody speaks.
    pub fn listen(&mut self, frame: &[i16], ms: u32) -> bool {
        self.level_db = level_db(frame);
        let is_loud = self.level_db > (self.noise_db + ABOVE_NOISE_DB).max(LEVEL_DB_MIN);
        let rise_db = if is_loud { RISE_SPEAKING_DB } else { RISE_DB };
        let risen_db = self.noise_db + rise_db * ms as f32 / 1_000.0;
        self.noise_db = risen_db.min(self.level_db).clamp(FLOOR_DB, NOISE_DB_MAX);
        self.hangover_ms = match is_loud {
            true => HANGOVER_MS,
            false => self.hangover_ms.saturating_sub(ms),
        };
        self.is_speech()
    }

    /// Whether somebody speaks.
    #[must_use]
    pub fn is_speech(&self) -> bool {
        self.hangover_ms > 0
    }

    /// The last frame's level, in dB over overload (0 is a full-scale square wave).
    #[must_use]
    pub fn level_db(&self) -> f32 {
        self.level_db
    }

    /// The noise, in the same measure.
    #[must_use]
    pub fn noise_db(&self) -> f32 {
        self.noise_db
    }
}

/// Mean power in dB over overload.
fn level_db(frame: &[i16]) -> f32 {
    let sum: i64 = frame.iter().map(|it| i64::from(*it) * i64::from(*it)).sum();
    let power = sum as f32 / (frame.len().max(1) as f32 * 32_768.0 * 32_768.0);
    (10.0 * power.max(1e-9).log10()).max(FLOOR_DB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{babble, noise, power_db};

    /// The share of frames of 20 ms that are speech.
    fn share(meter: &mut Meter, sound: &[i16]) -> f32 {
        let frames = sound.chunks_exact(160);
        let count = frames.len() as f32;
        frames.filter(|frame| meter.listen(frame, 20)).count() as f32 / count
    }

    fn mixed(sound: &[i16], other: &[i16]) -> Vec<i16> {
        sound
            .iter()
            .zip(other)
            .map(|(a, b)| a.saturating_add(*b))
            .collect()
    }

    #[test]
    fn silence_and_steady_noise_are_no_speech() {
        let mut meter = Meter::default();
        assert!(share(&mut meter, &[0; 80_000]) < 0.01);
        for db in [-60, -50, -40, -30] {
            let amplitude = 10.0_f64.powf(f64::from(db) / 20.0) * 3.0_f64.sqrt();
            let hiss = noise(7, amplitude, 160_000);
            assert!((power_db(&hiss) - f64::from(db)).abs() < 1.0);
            let mut meter = Meter::default();
            share(&mut meter, &hiss[..40_000]);
            assert!(share(&mut meter, &hiss[40_000..]) < 0.01, "{db} dB");
        }
    }

    #[test]
    fn speech_is_found_in_noise_and_its_pauses_too() {
        for hiss_db in [-80.0, -45.0] {
            let voice = babble(99, 20);
            let hiss = noise(8, 10.0_f64.powf(hiss_db / 20.0), voice.len());
            let sound = mixed(&voice, &hiss);
            let mut meter = Meter::default();
            let (mut spoken, mut silent, mut right) = (0, 0, 0);
            for (n, frame) in sound.chunks_exact(160).enumerate() {
                let found = meter.listen(frame, 20);
                // Of each 2 s the last half second is a pause; its beginning belongs to the hangover.
                let is_pause = n % 100 >= 75;
                let is_hangover = (75..91).contains(&(n % 100));
                match (is_pause, is_hangover) {
                    (false, _) => spoken += 1,
                    (true, false) => silent += 1,
                    (true, true) => continue,
                }
                right += u32::from(found != is_pause);
            }
            let share = right as f32 / (spoken + silent) as f32;
            assert!(share > 0.95, "at {hiss_db} dB: {share}");
        }
    }

    #[test]
    fn a_noise_that_sets_in_is_no_speech_for_long() {
        let mut meter = Meter::default();
        share(&mut meter, &[0; 16_000]);
        let hiss = noise(3, 0.02, 8_000 * 40);
        assert!(
            share(&mut meter, &hiss[..8_000]) > 0.9,
            "at first it may be speech"
        );
        share(&mut meter, &hiss[8_000..8_000 * 30]);
        assert!(share(&mut meter, &hiss[8_000 * 30..]) < 0.05);
    }

    #[test]
    fn speech_outlasts_its_last_loud_frame_by_the_hangover() {
        let mut meter = Meter::default();
        share(&mut meter, &[0; 16_000]);
        assert!(meter.listen(&noise(5, 0.3, 160), 20));
        assert!(meter.level_db() > -20.0 && meter.noise_db() < -80.0);
        let frames = (0..100).take_while(|_| meter.listen(&[0; 160], 20)).count();
        assert_eq!(frames as u32 + 1, HANGOVER_MS / 20);
        assert!(!meter.is_speech());
        assert!(!meter.listen(&[], 20));
    }
}
