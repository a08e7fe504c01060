//! WAVE files: reading what people upload, writing what was recorded.
//!
//! Read are PCM of 8, 16, 24 and 32 bits, floating point of 32, and both laws of G.711, with up to [`CHANNELS_MAX`] channels, which are
//! mixed into one. The bytes are handed over whole; nothing is copied. Written are 16-bit PCM and both laws, with one channel. A file whose sound is
//! longer than what is there (a recording that was cut off) is read as far as it goes.

use crate::Error;
use crate::g711::Law;

/// Channels that are read.
pub const CHANNELS_MAX: u16 = 8;
/// The lowest and the highest rate that is read, in Hz.
pub const RATE_MIN: u32 = 4_000;
/// The highest rate.
pub const RATE_MAX: u32 = 192_000;
/// Chunks that are looked at before the sound. Real files have a handful.
const CHUNKS_MAX: usize = 64;
/// Bytes before the sound in what is written.
pub const HEADER_BYTES: usize = 44;
/// Bytes of sound that a header can announce.
pub const SOUND_BYTES_MAX: u32 = u32::MAX - HEADER_BYTES as u32;

/// Numbers of formats (RFC 2361).
mod format {
    pub(super) const PCM: u16 = 1;
    pub(super) const FLOAT: u16 = 3;
    pub(super) const A_LAW: u16 = 6;
    pub(super) const MU_LAW: u16 = 7;
    /// The number stands in the first bytes of an identifier further on.
    pub(super) const EXTENSIBLE: u16 = 0xfffe;
}

/// How samples are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Eight bits without sign.
    Pcm8,
    /// 16 bits.
    Pcm16,
    /// 24 bits.
    Pcm24,
    /// 32 bits.
    Pcm32,
    /// Floating point, 1 being full scale.
    Float32,
    /// G.711.
    G711(Law),
}

impl Encoding {
    fn of(format: u16, bits: u16) -> Result<Self, Error> {
        Ok(match (format, bits) {
            (format::PCM, 8) => Self::Pcm8,
            (format::PCM, 16) => Self::Pcm16,
            (format::PCM, 24) => Self::Pcm24,
            (format::PCM, 32) => Self::Pcm32,
            (format::FLOAT, 32) => Self::Float32,
            (format::A_LAW, 8) => Self::G711(Law::A),
            (format::MU_LAW, 8) => Self::G711(Law::Mu),
            (format, bits) => return Err(Error::Encoding { format, bits }),
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Pcm8 | Self::G711(_) => 1,
            Self::Pcm16 => 2,
            Self::Pcm24 => 3,
            Self::Pcm32 | Self::Float32 => 4,
        }
    }

    /// A sample of [`Self::bytes`] bytes.
    fn sample(self, bytes: &[u8]) -> i16 {
        match (self, bytes) {
            (Self::Pcm8, [value]) => (i16::from(*value) - 128) << 8,
            (Self::G711(law), [code]) => law.decode_sample(*code),
            (Self::Pcm16, [low, high]) => i16::from_le_bytes([*low, *high]),
            (Self::Pcm24, [_, low, high]) => i16::from_le_bytes([*low, *high]),
            (Self::Pcm32, [_, _, low, high]) => i16::from_le_bytes([*low, *high]),
            // `as` saturates, and makes 0 of what is no number.
            (Self::Float32, [a, b, c, d]) => {
                (f32::from_le_bytes([*a, *b, *c, *d]) * 32_767.0).round() as i16
            }
            _ => 0,
        }
    }
}

/// The sound of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wav<'a> {
    /// How samples are written down.
    pub encoding: Encoding,
    /// Channels, 1 to [`CHANNELS_MAX`].
    pub channels: u16,
    /// Samples a second, [`RATE_MIN`] to [`RATE_MAX`].
    pub hz: u32,
    data: &'a [u8],
}

impl<'a> Wav<'a> {
    /// Finds the sound in a file.
    ///
    /// # Errors
    /// `NotWave`, `NoSound`, `Encoding`, `Channels`, `Rate`.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let rest = file.strip_prefix(b"RIFF").ok_or(Error::NotWave)?;
        // The length of the whole says nothing that the file itself does not.
        let rest = rest.get(4..).unwrap_or_default();
        let mut rest = rest.strip_prefix(b"WAVE").ok_or(Error::NotWave)?;
        let mut found = None;
        for _ in 0..CHUNKS_MAX {
            let Some((head, body)) = rest.split_first_chunk::<8>() else {
                break;
            };
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let chunk = &body[..length.min(body.len())];
            match &head[..4] {
                b"fmt " => found = Some(Self::parse_format(chunk)?),
                b"data" => {
                    let wav = found.ok_or(Error::NoSound)?;
                    return Ok(Self { data: chunk, ..wav });
                }
                _ => {}
            }
            // Chunks begin at even places.
            rest = body
                .get(length.saturating_add(length % 2)..)
                .unwrap_or_default();
        }
        Err(Error::NoSound)
    }

    fn parse_format(chunk: &[u8]) -> Result<Self, Error> {
        let word = |at: usize| Some(u16::from_le_bytes([*chunk.get(at)?, *chunk.get(at + 1)?]));
        let word = |at: usize| word(at).ok_or(Error::NoSound);
        let mut number = word(0)?;
        if number == format::EXTENSIBLE {
            number = word(24)?;
        }
        let channels = word(2)?;
        let hz = u32::from(word(6)?) << 16 | u32::from(word(4)?);
        if !(1..=CHANNELS_MAX).contains(&channels) {
            return Err(Error::Channels(channels));
        }
        if !(RATE_MIN..=RATE_MAX).contains(&hz) {
            return Err(Error::Rate(hz));
        }
        Ok(Self {
            encoding: Encoding::of(number, word(14)?)?,
            channels,
            hz,
            data: &[],
        })
    }

    /// How many samples there are of each channel.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len() / self.frame_bytes()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies samples from the `start`th on, all channels as one, and says how many: fewer than there is room for at the end.
    pub fn read(&self, start: usize, out: &mut [i16]) -> usize {
        let frame = self.frame_bytes();
        let begin = start.saturating_mul(frame).min(self.data.len());
        let frames = self.data[begin..].chunks_exact(frame);
        let mut count = 0;
        for (sample, frame) in out.iter_mut().zip(frames) {
            let channels = frame.chunks_exact(self.encoding.bytes());
            let sum: i32 = channels.map(|it| i32::from(self.encoding.sample(it))).sum();
            *sample = (sum / i32::from(self.channels)) as i16;
            count += 1;
        }
        count
    }

    fn frame_bytes(&self) -> usize {
        self.encoding.bytes() * usize::from(self.channels)
    }
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Written {
    /// PCM of 16 bits.
    Pcm16,
    /// G.711.
    G711(Law),
}

/// The header of a file with one channel and so many bytes of sound. With [`SOUND_BYTES_MAX`] it says that the end is not known yet: what
/// is written before a recording, and again with the true number when it is over. An odd number of bytes is followed by a 0.
#[must_use]
pub fn header(written: Written, hz: u32, sound_bytes: u32) -> [u8; HEADER_BYTES] {
    let sound_bytes = sound_bytes.min(SOUND_BYTES_MAX);
    let (number, bytes) = match written {
        Written::Pcm16 => (format::PCM, 2_u16),
        Written::G711(Law::A) => (format::A_LAW, 1),
        Written::G711(Law::Mu) => (format::MU_LAW, 1),
    };
    let rest = HEADER_BYTES as u32 - 8;
    let mut header = [0; HEADER_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"RIFF");
    put(&(sound_bytes + rest).to_le_bytes());
    put(b"WAVEfmt ");
    put(&16_u32.to_le_bytes());
    put(&number.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&hz.to_le_bytes());
    put(&hz.saturating_mul(u32::from(bytes)).to_le_bytes());
    put(&bytes.to_le_bytes());
    put(&(bytes * 8).to_le_bytes());
    put(b"data");
    put(&sound_bytes.to_le_bytes());
    header
}

/// Appends samples as they stand in the file.
pub fn push(written: Written, sound: &[i16], out: &mut Vec<u8>) {
    match written {
        Written::Pcm16 => {
            for sample in sound {
                out.extend_from_slice(&sample.to_le_bytes());
            }
        }
        Written::G711(law) => out.extend(sound.iter().map(|sample| law.encode_sample(*sample))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{sine, snr_db};
    use proptest::prelude::*;

    fn file(written: Written, sound: &[i16]) -> Vec<u8> {
        let mut data = Vec::new();
        push(written, sound, &mut data);
        let mut file = header(written, 8_000, data.len() as u32).to_vec();
        file.extend(data);
        file
    }

    /// A file of this format with these bytes of sound, and other chunks around them.
    fn foreign(number: u16, channels: u16, hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let block = channels * (bits / 8);
        let mut format = Vec::new();
        format.extend(number.to_le_bytes());
        format.extend(channels.to_le_bytes());
        format.extend(hz.to_le_bytes());
        format.extend((hz * u32::from(block)).to_le_bytes());
        format.extend(block.to_le_bytes());
        format.extend(bits.to_le_bytes());
        if number == format::EXTENSIBLE {
            format.extend([22, 0, 16, 0, 0, 0, 0, 0, 1, 0]);
            format.extend([0; 14]);
        }
        let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
        let chunks = [
            (b"LIST", &b"odd"[..]),
            (b"fmt ", &format[..]),
            (b"fact", b"1234"),
            (b"data", data),
        ];
        for (name, body) in chunks {
            file.extend(name);
            file.extend((body.len() as u32).to_le_bytes());
            file.extend(body);
            file.extend(vec![0; body.len() % 2]);
        }
        file
    }

    fn all(wav: &Wav<'_>) -> Vec<i16> {
        let mut sound = vec![0; wav.len()];
        assert_eq!(wav.read(0, &mut sound), sound.len());
        sound
    }

    #[test]
    fn what_is_written_is_read() {
        let sound = sine(440.0, 8_000, 0.5, 8_001);
        for written in [
            Written::Pcm16,
            Written::G711(Law::A),
            Written::G711(Law::Mu),
        ] {
            let file = file(written, &sound);
            let wav = Wav::parse(&file).expect("a file");
            assert_eq!((wav.hz, wav.channels, wav.len()), (8_000, 1, 8_001));
            let snr = snr_db(&sound, &all(&wav));
            assert!(
                snr > if written == Written::Pcm16 {
                    100.0
                } else {
                    36.0
                },
                "{snr}"
            );
        }
    }

    #[test]
    fn the_header_is_that_of_a_file_from_elsewhere() {
        let header = header(Written::Pcm16, 16_000, 1_000);
        assert_eq!(
            header,
            *b"RIFF\x0c\x04\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\x00\x7d\0\0\x02\0\x10\0data\xe8\x03\0\0"
        );
    }

    #[test]
    fn each_encoding_means_the_same_samples() {
        for (number, bits, data) in [
            (format::PCM, 8, &[0x80, 0xc0, 0x40][..]),
            (format::PCM, 16, &[0, 0, 0, 0x40, 0, 0xc0]),
            (format::EXTENSIBLE, 16, &[0, 0, 0, 0x40, 0, 0xc0]),
            (format::PCM, 24, &[0, 0, 0, 0, 0, 0x40, 0, 0, 0xc0]),
            (format::PCM, 32, &[0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0xc0]),
            (
                format::FLOAT,
                32,
                &[0, 0, 0, 0, 0, 0, 0, 0x3f, 0, 0, 0, 0xbf],
            ),
        ] {
            let file = foreign(number, 1, 44_100, bits, data);
            let wav = Wav::parse(&file).expect("a file");
            assert_eq!(wav.hz, 44_100);
            let sound = all(&wav);
            assert!(
                sound[0] == 0 && sound[1].abs_diff(16_384) <= 1 && sound[2].abs_diff(-16_384) <= 1,
                "{sound:?}"
            );
        }
    }

    #[test]
    fn channels_become_one() {
        let file = foreign(
            format::PCM,
            2,
            48_000,
            16,
            &[100, 0, 200, 0, 0, 0x80, 0, 0x80, 0xff, 0x7f, 0xff, 0x7f],
        );
        let wav = Wav::parse(&file).expect("a file");
        assert_eq!(all(&wav), [150, i16::MIN, i16::MAX]);
        let mut two = [0; 5];
        assert_eq!(wav.read(2, &mut two), 1);
        assert_eq!(wav.read(usize::MAX, &mut two), 0);
    }

    #[test]
    fn a_recording_that_was_cut_off_is_read_as_far_as_it_goes() {
        let mut file = header(Written::Pcm16, 8_000, SOUND_BYTES_MAX).to_vec();
        file.extend([1, 0, 2, 0, 3]);
        let wav = Wav::parse(&file).expect("a file");
        assert_eq!(all(&wav), [1, 2]);
    }

    #[test]
    fn what_is_no_sound_is_refused_with_its_reason() {
        let parse = |file: &[u8]| Wav::parse(file).map(|wav| wav.len());
        assert_eq!(parse(b""), Err(Error::NotWave));
        assert_eq!(parse(b"ID3\x04"), Err(Error::NotWave));
        assert_eq!(parse(b"RIFF\0\0\0\0AVI "), Err(Error::NotWave));
        assert_eq!(parse(b"RIFF\0\0\0\0WAVE"), Err(Error::NoSound));
        assert_eq!(parse(b"RIFF\0\0\0\0WAVEdata\0\0\0\0"), Err(Error::NoSound));
        assert_eq!(
            parse(&foreign(0x55, 1, 8_000, 0, b"")),
            Err(Error::Encoding {
                format: 0x55,
                bits: 0
            })
        );
        assert_eq!(
            parse(&foreign(1, 1, 8_000, 12, b"")),
            Err(Error::Encoding {
                format: 1,
                bits: 12
            })
        );
        assert_eq!(
            parse(&foreign(1, 0, 8_000, 16, b"")),
            Err(Error::Channels(0))
        );
        assert_eq!(
            parse(&foreign(1, 9, 8_000, 16, b"")),
            Err(Error::Channels(9))
        );
        assert_eq!(parse(&foreign(1, 1, 0, 16, b"")), Err(Error::Rate(0)));
        assert_eq!(parse(&foreign(1, 1, 8_000, 16, b"")), Ok(0));
    }

    proptest! {
        #[test]
        fn no_file_breaks_it(mut file: Vec<u8>, cut in 0_usize..100, change in 0_usize..100, value: u8) {
            let _ = Wav::parse(&file);
            file = foreign(1, 2, 8_000, 16, &file);
            let at = change % file.len();
            file[at] = value;
            file.truncate(file.len() - cut.min(file.len()));
            if let Ok(wav) = Wav::parse(&file) {
                let mut out = [0; 64];
                prop_assert!(wav.read(0, &mut out) <= wav.len());
            }
        }
    }
}
