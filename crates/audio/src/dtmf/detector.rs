//! Finding keys in sound.
//!
//! Each block of 102 samples (12.75 ms) is measured at the eight tones by Goertzel's recurrence. A block holds a key if one row and one
//! column stand out from their neighbours, differ from one another no more than lines make them, are loud enough, and are
//! nearly all that is heard, which speech hardly ever is. A key begins with two such blocks in a row and ends with two without it.

use super::{COLUMNS, Digit, ROWS};
use crate::SampleRate;
use std::f32::consts::TAU;

/// Samples of a block. 40 ms, the shortest key of Q.24, hold two whole ones wherever they begin.
const BLOCK: usize = 102;
/// The weakest tone that counts, in dB below the loudest sine.
const LEVEL_DB_MIN: f32 = -42.0;
/// How far a tone has to stand out from the others of its group, as a ratio of powers: 8 dB.
const PEAK_RATIO: f32 = 6.3;
/// How much louder the column may be than the row: 8 dB.
const TWIST: f32 = 6.3;
/// How much louder the row may be than the column: 6 dB.
const TWIST_REVERSE: f32 = 4.0;
/// The share of all power that the two tones have to have. Tones that are 1.5 % off their place keep 0.75.
const SHARE_MIN: f32 = 0.68;
/// Blocks that agree before a key begins, or ends.
const BLOCKS: u8 = 2;

/// What a [`Detector`] heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A key was pressed.
    Down(Digit),
    /// It was let go.
    Up(Digit),
}

/// Finds keys in a stream of sound at 8,000 samples a second.
#[derive(Debug, Clone)]
pub struct Detector {
    coefficients: [f32; 8],
    /// The last two values of each recurrence.
    last: [f32; 8],
    before: [f32; 8],
    energy: f32,
    count: usize,
    key: Option<Digit>,
    /// What blocks say that differ from `key`, and how many in a row do.
    candidate: Option<Digit>,
    agreed: u8,
}

impl Default for Detector {
    fn default() -> Self {
        let mut coefficients = [0.0; 8];
        let tones = ROWS.into_iter().chain(COLUMNS);
        for (coefficient, hz) in coefficients.iter_mut().zip(tones) {
            let turn = TAU * f32::from(hz) / SampleRate::Hz8000.hz() as f32;
            *coefficient = 2.0 * turn.cos();
        }
        Self {
            coefficients,
            last: [0.0; 8],
            before: [0.0; 8],
            energy: 0.0,
            count: 0,
            key: None,
            candidate: None,
            agreed: 0,
        }
    }
}

impl Detector {
    /// Listens to the next samples and tells `each` what it hears. What was lost is best left out, and not replaced by what a
    /// [`Concealer`](crate::conceal::Concealer) makes up: then a key that is held is one key.
    pub fn listen(&mut self, sound: &[i16], mut each: impl FnMut(Heard)) {
        let mut rest = sound;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BLOCK - self.count));
            self.measure(now);
            self.count += now.len();
            if self.count == BLOCK {
                let found = self.judge();
                self.decide(found, &mut each);
            }
            rest = later;
        }
    }

    /// The key that is held down now.
    #[must_use]
    pub fn key(&self) -> Option<Digit> {
        self.key
    }

    fn measure(&mut self, sound: &[i16]) {
        for sample in sound {
            let sample = f32::from(*sample) / 32_768.0;
            self.energy += sample * sample;
            for tone in 0..8 {
                let value = self.coefficients[tone] * self.last[tone] - self.before[tone] + sample;
                self.before[tone] = self.last[tone];
                self.last[tone] = value;
            }
        }
    }

    /// The key that the block holds, and the start of the next one.
    fn judge(&mut self) -> Option<Digit> {
        let mut powers = [0.0; 8];
        for (tone, power) in powers.iter_mut().enumerate() {
            let (last, before) = (self.last[tone], self.before[tone]);
            *power = last * last + before * before - self.coefficients[tone] * last * before;
        }
        // A sine of amplitude a has a power of (a * BLOCK / 2)^2 here and an energy of a^2 * BLOCK / 2.
        let full = (BLOCK as f32 / 2.0).powi(2);
        let energy = self.energy * BLOCK as f32 / 2.0;
        self.last = [0.0; 8];
        self.before = [0.0; 8];
        self.energy = 0.0;
        self.count = 0;
        let (row, low) = peak(&powers[..4])?;
        let (column, high) = peak(&powers[4..])?;
        let weakest = full * 10.0_f32.powf(LEVEL_DB_MIN / 10.0);
        let is_key = low.min(high) >= weakest
            && high <= low * TWIST
            && low <= high * TWIST_REVERSE
            && low + high >= energy * SHARE_MIN;
        is_key.then(|| Digit::at(row, column)).flatten()
    }

    fn decide(&mut self, found: Option<Digit>, each: &mut impl FnMut(Heard)) {
        if found == self.key {
            self.agreed = 0;
            return;
        }
        if self.key.is_some() {
            // Whatever is heard instead, the key is let go first.
            self.agreed += 1;
        } else if found == self.candidate {
            self.agreed += 1;
        } else {
            self.agreed = 1;
        }
        self.candidate = found;
        if self.agreed < BLOCKS {
            return;
        }
        self.agreed = 0;
        match self.key.take() {
            Some(key) => each(Heard::Up(key)),
            None => {
                self.key = found;
                if let Some(key) = found {
                    each(Heard::Down(key));
                }
            }
        }
    }
}

/// The strongest of a group and its power, if it stands out from the others.
fn peak(powers: &[f32]) -> Option<(usize, f32)> {
    let (best, power) = powers
        .iter()
        .copied()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let stands_out = powers
        .iter()
        .enumerate()
        .all(|(at, other)| at == best || power >= other * PEAK_RATIO);
    stands_out.then_some((best, power))
}
