//! 20 ms of sound, and frames of one rate from those of another.

use audio::SampleRate;
use audio::resample::Resampler;

/// Sound in a frame.
pub(crate) const FRAME_MS: u32 = 20;
/// Samples of the longest frame: 20 ms at 16,000.
pub(crate) const SAMPLES_MAX: usize = SampleRate::Hz16000.samples(FRAME_MS);

/// The two rates that the engine works at: 48,000 counts as 16,000.
pub(crate) fn working_rate(rate: SampleRate) -> SampleRate {
    rate.min(SampleRate::Hz16000)
}

/// 20 ms of sound at 8,000 or 16,000 samples a second.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    samples: [i16; SAMPLES_MAX],
    rate: SampleRate,
}

impl Frame {
    pub(crate) fn silent(rate: SampleRate) -> Frame {
        Frame {
            samples: [0; SAMPLES_MAX],
            rate: working_rate(rate),
        }
    }

    pub(crate) fn rate(&self) -> SampleRate {
        self.rate
    }

    pub(crate) fn sound(&self) -> &[i16] {
        &self.samples[..self.rate.samples(FRAME_MS)]
    }

    pub(crate) fn sound_mut(&mut self) -> &mut [i16] {
        &mut self.samples[..self.rate.samples(FRAME_MS)]
    }

    /// Becomes silent, at this rate.
    pub(crate) fn clear(&mut self, rate: SampleRate) {
        self.rate = working_rate(rate);
        self.sound_mut().fill(0);
    }

    /// Changes the rate; what sounds is to be written anew.
    pub(crate) fn set_rate(&mut self, rate: SampleRate) {
        self.rate = working_rate(rate);
    }

    /// Becomes like another.
    pub(crate) fn copy_from(&mut self, other: &Frame) {
        self.rate = other.rate;
        self.sound_mut().copy_from_slice(other.sound());
    }
}

/// Brings frames of a stream to a rate. Its filters are made when they are first needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Converter {
    up: Option<Resampler>,
    down: Option<Resampler>,
}

impl Converter {
    /// Writes `from` at `rate` into `to`.
    pub(crate) fn convert(&mut self, from: &Frame, rate: SampleRate, to: &mut Frame) {
        let rate = working_rate(rate);
        if from.rate() == rate {
            to.copy_from(from);
            return;
        }
        to.set_rate(rate);
        let filter = match rate > from.rate() {
            true => &mut self.up,
            false => &mut self.down,
        };
        let filter = filter.get_or_insert_with(|| Resampler::new(from.rate(), rate));
        filter.process(from.sound(), to.sound_mut());
    }
}
