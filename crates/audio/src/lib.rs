//! Codecs, tones, keys and the repair of sound, for telephony.
//!
//! The problem: a PBX has to hear and to speak. Sound comes in packets of several encodings, late, twice or not at all, and leaves
//! as prompts, tones and the voices of others, fifty times a second for each of hundreds of calls.
//!
//! The approach: each thing is a small machine of one stream that works on slices of 16-bit samples and allocates when it is made and never
//! after. What comes in goes through a jitter [`buffer`](jitter::Buffer), a decoder ([`g711`], [`g722`], [`opus`]) and, where packets are missing,
//! [`conceal`]; [`dtmf`] and [`event`] find keys and [`speech`] whether somebody speaks; [`resample`] brings rates together and [`mix`] voices. What goes out is made by [`tone`],
//! [`comfort`], [`dtmf`] and [`event`], or read from files by [`wav`] and [`upload`].
//!
//! Not attempted: G.729; echo cancellation; streams of rates other than
//! 8,000, 16,000 and 48,000.

pub mod comfort;
pub mod conceal;
pub mod dtmf;
mod error;
pub mod event;
pub mod g711;
pub mod g722;
pub mod jitter;
pub mod mix;
pub mod opus;
mod rate;
pub mod resample;
pub mod speech;
pub mod tone;
pub mod upload;
pub mod wav;
mod wave;

pub use error::Error;
pub use rate::SampleRate;

#[cfg(test)]
mod measure;
