//! Keys as pairs of tones (DTMF, ITU-T Q.23 and Q.24): making them, and finding them in sound.

mod detector;

pub use detector::{Detector, Heard};

use crate::SampleRate;
use crate::wave::{sine, step};

/// A key of a telephone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digit(u8);

/// The keys in the order of the telephone events of RFC 4733 section 3.2.
const KEYS: &[u8; 16] = b"0123456789*#ABCD";
/// The tones of the rows and of the columns, in Hz (Q.23).
pub(crate) const ROWS: [u16; 4] = [697, 770, 852, 941];
/// The tones of the columns.
pub(crate) const COLUMNS: [u16; 4] = [1_209, 1_336, 1_477, 1_633];
/// The keypad, row by row.
const KEYPAD: &[u8; 16] = b"123A456B789C*0#D";

impl Digit {
    /// The key with this sign: 0 to 9, `*`, `#`, A to D in any case.
    #[must_use]
    pub fn of_sign(sign: char) -> Option<Self> {
        let sign = u8::try_from(sign).ok()?.to_ascii_uppercase();
        let at = KEYS.iter().position(|key| *key == sign)?;
        Some(Self(at as u8))
    }

    /// The key of this telephone event, 0 to 15 (RFC 4733 section 3.2).
    #[must_use]
    pub fn of_event(event: u8) -> Option<Self> {
        (event < 16).then_some(Self(event))
    }

    /// The key in this row and column of the keypad, 0 to 3 each.
    pub(crate) fn at(row: usize, column: usize) -> Option<Self> {
        KEYPAD
            .get(row * 4 + column)
            .and_then(|sign| Self::of_sign(char::from(*sign)))
    }

    /// Its sign.
    #[must_use]
    pub fn sign(self) -> char {
        char::from(KEYS[usize::from(self.0)])
    }

    /// Its number as a telephone event.
    #[must_use]
    pub fn event(self) -> u8 {
        self.0
    }

    /// Its two tones in Hz, the lower one first.
    #[must_use]
    pub fn hz(self) -> [u16; 2] {
        let sign = KEYS[usize::from(self.0)];
        let at = KEYPAD.iter().position(|key| *key == sign).unwrap_or(0);
        [ROWS[at / 4], COLUMNS[at % 4]]
    }
}

/// Plays a key.
#[derive(Debug, Clone)]
pub struct Generator {
    phases: [u32; 2],
    steps: [u32; 2],
    left: usize,
    pause: usize,
}

impl Generator {
    /// The lower tone's level in dB below the loudest sine; the higher one is 2 dB louder, for lines weaken it more (Q.23 has
    /// them at about -9 and -7 dBm0, and the loudest sine has 3.14 dBm0).
    const LEVELS_DB: [f32; 2] = [-12.0, -10.0];

    /// A key that is held for `ms` milliseconds and followed by a pause of `pause_ms`. Q.24 asks for 40 of each or more.
    #[must_use]
    pub fn new(digit: Digit, rate: SampleRate, ms: u32, pause_ms: u32) -> Self {
        Self {
            phases: [0; 2],
            steps: digit.hz().map(|hz| step(hz, rate)),
            left: rate.samples(ms),
            pause: rate.samples(pause_ms),
        }
    }

    /// Writes the next samples and says how many; fewer than there is room for when key and pause are over.
    pub fn play(&mut self, out: &mut [i16]) -> usize {
        let amplitudes = Self::LEVELS_DB.map(|db| 32_767.0 * 10.0_f32.powf(db / 20.0));
        let (count, total) = (
            self.left.min(out.len()),
            (self.left + self.pause).min(out.len()),
        );
        for sample in &mut out[..count] {
            let mut sum = 0.0;
            for ((phase, step), amplitude) in self.phases.iter_mut().zip(self.steps).zip(amplitudes)
            {
                sum += sine(*phase) * amplitude;
                *phase = phase.wrapping_add(step);
            }
            *sample = sum.round() as i16;
        }
        out[count..total].fill(0);
        self.left -= count;
        self.pause -= total - count;
        total
    }
}

#[cfg(test)]
mod tests;
