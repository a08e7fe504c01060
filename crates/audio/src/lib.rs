//! Codecs, tones, keys and the repair of sound, for telephony.

pub mod comfort;
pub mod conceal;
pub mod dtmf;
mod error;
pub mod event;
pub mod g711;
pub mod g722;
pub mod jitter;
pub mod mix;
mod rate;
pub mod resample;
pub mod tone;
mod wave;

pub use error::Error;
pub use rate::SampleRate;

#[cfg(test)]
mod measure;
