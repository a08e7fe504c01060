//! Why bytes are no sound.

use std::fmt;

/// What is wrong with a payload or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Error {
    /// A telephone event of fewer than four bytes, or comfort noise of none.
    ShortPayload {
        /// How many there are.
        bytes: usize,
    },
    /// The file is no RIFF file that holds WAVE.
    NotWave,
    /// The file ends before the sound begins, or has none.
    NoSound,
    /// The sound is encoded in a way that is not read here.
    Encoding {
        /// Its number (RFC 2361).
        format: u16,
        /// Bits of a sample.
        bits: u16,
    },
    /// No channel, or more than are read.
    Channels(u16),
    /// A rate that no sound has.
    Rate(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortPayload { bytes } => write!(f, "a payload of {bytes} bytes"),
            Self::NotWave => write!(f, "no WAVE file"),
            Self::NoSound => write!(f, "no sound in the file"),
            Self::Encoding { format, bits } => write!(f, "format {format} with {bits} bits"),
            Self::Channels(count) => write!(f, "{count} channels"),
            Self::Rate(hz) => write!(f, "{hz} samples a second"),
        }
    }
}

impl std::error::Error for Error {}
