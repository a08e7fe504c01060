//! Codecs, tones, keys and the repair of sound, for telephony.

pub mod dtmf;
pub mod g711;
pub mod g722;
pub mod mix;
mod rate;
pub mod resample;
pub mod tone;
mod wave;

pub use rate::SampleRate;

#[cfg(test)]
mod measure;
