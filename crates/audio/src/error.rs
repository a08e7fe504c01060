//! Why bytes are no sound.

use std::fmt;

/// What is wrong with a payload or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Error {
    /// A telephone event of fewer than four bytes, or comfort noise or Opus of none.
    ShortPayload {
        /// How many there are.
        bytes: usize,
    },
    /// libopus refuses, with its number of the error: -1 a frame of a length that there is not, -2 too little room, -4 a payload that is
    /// none.
    Opus {
        /// The number (`OPUS_*` of its API).
        code: i32,
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
    /// A file of a format or an encoding that nothing here reads.
    UnknownFile,
    /// It lasts longer than it may.
    Long {
        /// How long it may last.
        seconds_max: u32,
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
            Self::Opus { code } => write!(f, "libopus: error {code}"),
            Self::NotWave => write!(f, "no WAVE file"),
            Self::NoSound => write!(f, "no sound in the file"),
            Self::Encoding { format, bits } => write!(f, "format {format} with {bits} bits"),
            Self::UnknownFile => write!(f, "no sound file that is known here"),
            Self::Long { seconds_max } => write!(f, "longer than {seconds_max} s"),
            Self::Channels(count) => write!(f, "{count} channels"),
            Self::Rate(hz) => write!(f, "{hz} samples a second"),
        }
    }
}

impl std::error::Error for Error {}
