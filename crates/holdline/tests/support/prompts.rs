//! Prompts, known again in what a phone has heard.

use audio::SampleRate;

/// Samples that are taken together: the comparison is at 2,000 a second.
const STEP: usize = 4;
/// How much of a prompt is looked for, in samples at that rate: seven tenths of a second.
const PIECE: usize = 1_400;
/// Where it is taken from: the first three seconds, at 8,000 samples a second, for what is stopped is heard no further.
const BEGINNING: usize = 24_000;
/// The correlation from which on it is this prompt.
const LIKENESS_MIN: f64 = 0.7;
/// Only where every so many samples already are somewhat alike, all of them are compared.
const GLANCE: usize = 8;
const GLANCE_MIN: f64 = 0.3;

/// A sound to look for.
pub(crate) struct Known {
    piece: Vec<f64>,
    /// Where the piece begins in the sound, at 8,000 samples a second.
    begins: usize,
}

/// A prompt of the program's, 8,000 samples a second.
pub(crate) fn sound_of(name: &str) -> Vec<i16> {
    let file = pbx::prompts::find(name).unwrap_or_else(|| panic!("no prompt {name}"));
    audio::upload::decode(file.to_vec(), SampleRate::Hz8000, 600).expect("it is ours")
}

impl Known {
    /// A prompt of the program's.
    pub(crate) fn of(name: &str) -> Known {
        Known::sound(&sound_of(name))
    }

    /// Any sound that is no steady tone.
    pub(crate) fn sound(sound: &[i16]) -> Known {
        let coarse = coarse(&sound[..BEGINNING.min(sound.len())]);
        let length = PIECE.min(coarse.len());
        // The loudest piece says most.
        let begins = (0..=coarse.len() - length)
            .step_by(100)
            .max_by_key(|&at| power(&coarse[at..at + length]) as u64)
            .unwrap_or(0);
        Known {
            piece: coarse[begins..begins + length].to_vec(),
            begins: begins * STEP,
        }
    }

    /// Where it begins in what was heard, if it is there.
    pub(crate) fn find(&self, heard: &[i16]) -> Option<usize> {
        let heard = coarse(heard);
        let own = power(&self.piece);
        let mut best = (LIKENESS_MIN, None);
        let last = heard.len().checked_sub(self.piece.len())?;
        let mut other = power(&heard[..self.piece.len()]);
        for at in 0..=last {
            let piece = &heard[at..at + self.piece.len()];
            if other > own / 100.0 {
                let whole = (own * other).sqrt();
                let is_worth_it = self.times(piece, GLANCE) * GLANCE as f64 > whole * GLANCE_MIN;
                let likeness = match is_worth_it {
                    true => self.times(piece, 1) / whole,
                    false => 0.0,
                };
                if likeness > best.0 {
                    best = (likeness, Some(at * STEP));
                }
            }
            if at < last {
                let next = heard[at + self.piece.len()];
                other += next * next - heard[at] * heard[at];
            }
        }
        best.1.map(|at| at.saturating_sub(self.begins))
    }

    /// The products of the piece and another one, of every so many samples, added up.
    fn times(&self, other: &[f64], every: usize) -> f64 {
        // Without iterators, whose steps cost much in a build for tests.
        let (mut sum, mut at) = (0.0, 0);
        while at < other.len() {
            sum += self.piece[at] * other[at];
            at += every;
        }
        sum
    }
}

fn coarse(sound: &[i16]) -> Vec<f64> {
    let steps = sound.chunks_exact(STEP);
    steps
        .map(|step| step.iter().map(|&it| f64::from(it)).sum::<f64>() / STEP as f64)
        .collect()
}

fn power(sound: &[f64]) -> f64 {
    sound.iter().map(|it| it * it).sum()
}
