//! Files that people upload: MP3, AAC in MP4, FLAC, Vorbis and Opus in Ogg, WAVE and AIFF, to one channel at one of our rates.
//!
//! By symphonia, but for Opus, whose packets it finds and [`opus`] decodes. It is work for a thread that may take its time, and
//! it allocates; what is kept for playing is the result.

use crate::resample::convert;
use crate::wav::{CHANNELS_MAX, RATE_MAX, RATE_MIN};
use crate::{Error, SampleRate, opus};
use std::io::Cursor;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Cause;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

/// Packets in a row that cannot be decoded, after which the file is given up.
const DAMAGED_MAX: u32 = 50;

/// Decodes a whole file to one channel of `rate`. A file that is damaged is read as far as it goes, without what cannot be decoded.
///
/// # Errors
/// `UnknownFile` where nothing here reads it, `NoSound`, `Channels`, `Rate`, and `Long` when it lasts longer than `seconds_max`.
pub fn decode(file: Vec<u8>, rate: SampleRate, seconds_max: u32) -> Result<Vec<i16>, Error> {
    let source = MediaSourceStream::new(Box::new(Cursor::new(file)), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            source,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .map_err(|_| Error::UnknownFile)?;
    let track = format.default_track(TrackType::Audio);
    let track = track.ok_or(Error::NoSound)?;
    let id = track.id;
    let parameters = track.codec_params.as_ref().and_then(|it| it.audio());
    let mut decoder = Decoder::new(parameters.ok_or(Error::NoSound)?)?;
    let mut sound = Sound {
        samples: Vec::new(),
        hz: 0,
        seconds_max,
    };
    let mut damaged = 0;
    while let Ok(Some(packet)) = format.next_packet() {
        if packet.track_id != id {
            continue;
        }
        damaged = match decoder.decode(&packet, &mut sound)? {
            true => 0,
            false => damaged + 1,
        };
        if damaged > DAMAGED_MAX {
            break;
        }
    }
    // Less than a sample of our rate is none either.
    let sound = convert(&sound.samples, sound.hz, rate);
    match sound.is_empty() {
        true => Err(Error::NoSound),
        false => Ok(sound),
    }
}

/// What was decoded so far, one channel.
struct Sound {
    samples: Vec<i16>,
    hz: u32,
    seconds_max: u32,
}

impl Sound {
    /// Takes note of the rate, which has to stay the same.
    fn set_rate(&mut self, hz: u32) -> Result<(), Error> {
        let is_changed = self.hz != 0 && self.hz != hz;
        if is_changed || !(RATE_MIN..=RATE_MAX).contains(&hz) {
            return Err(Error::Rate(hz));
        }
        self.hz = hz;
        Ok(())
    }

    fn push(&mut self, samples: impl ExactSizeIterator<Item = i16>) -> Result<(), Error> {
        let samples_max = u64::from(self.seconds_max) * u64::from(self.hz);
        if (self.samples.len() + samples.len()) as u64 > samples_max {
            return Err(Error::Long {
                seconds_max: self.seconds_max,
            });
        }
        self.samples.extend(samples);
        Ok(())
    }
}

/// Who decodes the packets of a track.
enum Decoder {
    Symphonia {
        decoder: Box<dyn AudioDecoder>,
        /// A packet's samples, channel beside channel.
        packet: Vec<f32>,
    },
    Opus {
        decoder: opus::Decoder,
        packet: Vec<i16>,
        /// Samples at the start that only prime the decoder (RFC 7845 section 4.2).
        skip: usize,
    },
}

impl Decoder {
    fn new(parameters: &AudioCodecParameters) -> Result<Self, Error> {
        if parameters.codec == CODEC_ID_OPUS {
            let rate = SampleRate::Hz48000;
            // The count stands behind version and channels of the head (RFC 7845 section 5.1).
            let head = parameters.extra_data.as_deref().unwrap_or_default();
            let skip = match head.get(10..12) {
                Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
                _ => 0,
            };
            return Ok(Self::Opus {
                decoder: opus::Decoder::new(rate)?,
                packet: vec![0; rate.samples(opus::PACKET_MS_MAX)],
                skip,
            });
        }
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|_| Error::UnknownFile)?;
        Ok(Self::Symphonia {
            decoder,
            packet: Vec::new(),
        })
    }

    /// Appends a packet's sound. False if it cannot be decoded.
    fn decode(&mut self, raw: &Packet, sound: &mut Sound) -> Result<bool, Error> {
        match self {
            Self::Symphonia { decoder, packet } => {
                let decoded = match decoder.decode(raw) {
                    Ok(decoded) => decoded,
                    Err(Cause::DecodeError(_)) => return Ok(false),
                    Err(_) => return Err(Error::UnknownFile),
                };
                let channels = decoded.spec().channels().count();
                if channels == 0 || channels > usize::from(CHANNELS_MAX) {
                    return Err(Error::Channels(u16::try_from(channels).unwrap_or(u16::MAX)));
                }
                sound.set_rate(decoded.spec().rate())?;
                packet.resize(decoded.samples_interleaved(), 0.0);
                decoded.copy_to_slice_interleaved(packet.as_mut_slice());
                let share = 32_767.0 / channels as f32;
                let frames = packet.chunks_exact(channels);
                // `as` saturates.
                sound
                    .push(frames.map(|frame| (frame.iter().sum::<f32>() * share).round() as i16))?;
            }
            Self::Opus {
                decoder,
                packet,
                skip,
            } => {
                sound.set_rate(opus::CLOCK_HZ)?;
                let Ok(count) = decoder.decode(&raw.data, packet) else {
                    return Ok(false);
                };
                let skipped = count.min(*skip);
                *skip -= skipped;
                sound.push(packet[skipped..count].iter().copied())?;
            }
        }
        Ok(true)
    }
}
