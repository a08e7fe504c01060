//! Files that are played without being in memory as sound: voicemail, recordings, long music.

use std::fmt;
use std::sync::Arc;

use audio::wav::Wav;
use audio::{SampleRate, upload};

/// Sound of one piece: what one [`voice::Event::Hungry`] is answered with.
const PIECE_MS: u32 = 2_000;
/// The longest file that has to be decoded whole, in seconds.
const SECONDS_MAX: u32 = 4 * 3_600;

/// Why a file cannot be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedError(pub audio::Error);

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it cannot be played: {}", self.0)
    }
}

impl std::error::Error for FeedError {}

/// A file that is fed to one play.
#[derive(Debug)]
pub struct Feed {
    sound: Sound,
    rate: SampleRate,
    at: usize,
}

#[derive(Debug)]
enum Sound {
    /// A file of ours, decoded piece by piece.
    Wav(Vec<u8>),
    Decoded(Vec<i16>),
}

impl Feed {
    /// Opens a file of any format that is known, to be played from `from_ms` on.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open(file: Vec<u8>, from_ms: u32) -> Result<Feed, FeedError> {
        let own = Wav::parse(&file).ok().and_then(|wav| {
            let rate = SampleRate::of_hz(wav.hz)?;
            (rate < SampleRate::Hz48000).then_some(rate)
        });
        let (sound, rate) = match own {
            Some(rate) => (Sound::Wav(file), rate),
            None => {
                let rate = SampleRate::Hz16000;
                let sound = upload::decode(file, rate, SECONDS_MAX).map_err(FeedError)?;
                (Sound::Decoded(sound), rate)
            }
        };
        let at = rate.samples(1).saturating_mul(from_ms as usize);
        Ok(Feed { sound, rate, at })
    }

    /// The rate to be named in [`voice::Sound::Feed`].
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// How long the whole file is, in milliseconds.
    pub fn length_ms(&self) -> u32 {
        let samples = match &self.sound {
            Sound::Wav(file) => Wav::parse(file).map_or(0, |wav| wav.len()),
            Sound::Decoded(sound) => sound.len(),
        };
        u32::try_from(samples / self.rate.samples(1)).unwrap_or(u32::MAX)
    }

    /// The next piece, and whether it is the last one.
    pub fn next_piece(&mut self) -> (Arc<[i16]>, bool) {
        let mut piece = vec![0; self.rate.samples(PIECE_MS)];
        let count = match &self.sound {
            Sound::Wav(file) => Wav::parse(file).map_or(0, |wav| wav.read(self.at, &mut piece)),
            Sound::Decoded(sound) => {
                let rest = sound.get(self.at..).unwrap_or_default();
                let count = rest.len().min(piece.len());
                piece[..count].copy_from_slice(&rest[..count]);
                count
            }
        };
        self.at += count;
        let is_last = count < piece.len();
        piece.truncate(count);
        (Arc::from(piece), is_last)
    }
}
