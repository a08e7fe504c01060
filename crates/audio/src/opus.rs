//! Opus (RFC 6716), one channel, by libopus.
//!
//! The codec takes and gives sound at any of our rates, whatever the other side uses, so that no resampling is needed. On the line its timestamps
//! always count 48,000 a second (RFC 7587 section 4.1).

use crate::{Error, SampleRate};
use ::opus as lib;

/// The longest payload of one frame (RFC 6716 section 3.4).
pub const PAYLOAD_BYTES_MAX: usize = 1_276;
/// The longest packet that there is (RFC 6716 section 3.4), in milliseconds.
pub const PACKET_MS_MAX: u32 = 120;
/// Units of the timestamp a second (RFC 7587 section 4.1).
pub const CLOCK_HZ: u32 = 48_000;

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Samples a second of what goes in.
    pub rate: SampleRate,
    /// Bits a second, 6,000 to 128,000.
    pub bit_rate: u32,
    /// Work for the sake of quality, 0 to 10.
    pub complexity: u8,
    /// Each packet also holds the one before, softer, so that a single loss can be made good (`useinbandfec` of RFC 7587).
    pub forward_correction: bool,
    /// The share of packets that are expected to be lost, in percent: the more, the more is spent on correction.
    pub loss_percent: u8,
    /// Next to nothing is sent while it is silent (`usedtx`).
    pub is_discontinuous: bool,
}

impl Default for Settings {
    /// Speech over a network that may lose a little.
    fn default() -> Self {
        Self {
            rate: SampleRate::Hz48000,
            bit_rate: 24_000,
            complexity: 5,
            forward_correction: true,
            loss_percent: 5,
            is_discontinuous: false,
        }
    }
}

/// The mistake that libopus names.
fn error(error: lib::Error) -> Error {
    Error::Opus {
        code: error.code() as i32,
    }
}

/// Encodes a stream of sound.
#[derive(Debug)]
pub struct Encoder(lib::Encoder);

impl Encoder {
    /// An encoder with these settings, each brought into its range.
    ///
    /// # Errors
    /// `Opus` when there is no memory.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let hz = settings.rate.hz();
        let voice = lib::Application::Voip;
        let mut encoder = lib::Encoder::new(hz, lib::Channels::Mono, voice).map_err(error)?;
        // Below 128,000, so it fits.
        let bit_rate = settings.bit_rate.clamp(6_000, 128_000) as i32;
        let complexity = i32::from(settings.complexity.min(10));
        let loss_percent = i32::from(settings.loss_percent.min(100));
        encoder
            .set_bitrate(lib::Bitrate::Bits(bit_rate))
            .and_then(|()| encoder.set_complexity(complexity))
            .and_then(|()| encoder.set_inband_fec(settings.forward_correction))
            .and_then(|()| encoder.set_packet_loss_perc(loss_percent))
            .and_then(|()| encoder.set_dtx(settings.is_discontinuous))
            .map_err(error)?;
        Ok(Self(encoder))
    }

    /// Encodes a frame of 10, 20, 40 or 60 ms (2.5 and 5 too) and says how many bytes it has. Silence that is not sent has at most two.
    ///
    /// # Errors
    /// `Opus` for a frame of another length, or a payload that does not fit.
    pub fn encode(&mut self, sound: &[i16], payload: &mut [u8]) -> Result<usize, Error> {
        self.0.encode(sound, payload).map_err(error)
    }
}

/// Decodes a stream.
#[derive(Debug)]
pub struct Decoder {
    decoder: lib::Decoder,
    rate: SampleRate,
}

impl Decoder {
    /// A decoder that gives sound at `rate`.
    ///
    /// # Errors
    /// `Opus` when there is no memory.
    pub fn new(rate: SampleRate) -> Result<Self, Error> {
        let decoder = lib::Decoder::new(rate.hz(), lib::Channels::Mono).map_err(error)?;
        Ok(Self { decoder, rate })
    }

    /// Decodes a packet and says how many samples it has. There has to be room for them: [`PACKET_MS_MAX`] at most.
    ///
    /// # Errors
    /// `Opus` for a payload that is none, or too little room.
    pub fn decode(&mut self, payload: &[u8], sound: &mut [i16]) -> Result<usize, Error> {
        if payload.is_empty() {
            // It would mean a loss.
            return Err(Error::ShortPayload { bytes: 0 });
        }
        self.decoder.decode(payload, sound, false).map_err(error)
    }

    /// Makes up sound for a packet that was lost, of as many whole steps of 2.5 ms as there is room for, and says how many samples that is.
    ///
    /// # Errors
    /// `Opus` where there is not even room for one step.
    pub fn conceal(&mut self, sound: &mut [i16]) -> Result<usize, Error> {
        let room = self.steps(sound);
        self.decoder.decode(&[], room, false).map_err(error)
    }

    /// Restores a packet that was lost by what the `next` one says of it, as far as it does; the rest is made up. The room has to be
    /// as long as the lost packet.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn restore(&mut self, next: &[u8], sound: &mut [i16]) -> Result<usize, Error> {
        if next.is_empty() {
            return Err(Error::ShortPayload { bytes: 0 });
        }
        let room = self.steps(sound);
        self.decoder.decode(next, room, true).map_err(error)
    }

    /// The start of the room that is a multiple of 2.5 ms, and no longer than a packet can be.
    fn steps<'a>(&self, sound: &'a mut [i16]) -> &'a mut [i16] {
        let step = self.rate.samples(5) / 2;
        let count = sound.len().min(self.rate.samples(PACKET_MS_MAX)) / step * step;
        &mut sound[..count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{power_db, sine, sine_snr_db, tone_db};

    fn encode(sound: &[i16], settings: &Settings) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(settings).expect("memory");
        let frames = sound.chunks_exact(settings.rate.samples(20));
        frames
            .map(|frame| {
                let mut payload = vec![0; PAYLOAD_BYTES_MAX];
                let count = encoder.encode(frame, &mut payload).expect("20 ms");
                payload.truncate(count);
                payload
            })
            .collect()
    }

    fn settings(rate: SampleRate) -> Settings {
        Settings {
            rate,
            ..Settings::default()
        }
    }

    #[test]
    fn a_tone_comes_through_from_any_rate_to_any_rate() {
        for from in SampleRate::ALL {
            let sound = sine(1_000.0, from.hz(), 0.3, from.samples(1_000));
            let packets = encode(&sound, &settings(from));
            for to in SampleRate::ALL {
                let mut decoder = Decoder::new(to).expect("memory");
                let mut heard = Vec::new();
                for packet in &packets {
                    let mut frame = vec![0; to.samples(PACKET_MS_MAX)];
                    let count = decoder.decode(packet, &mut frame).expect("a packet");
                    assert_eq!(count, to.samples(20));
                    heard.extend_from_slice(&frame[..count]);
                }
                let heard = &heard[to.samples(200)..];
                let snr = sine_snr_db(heard, 1_000.0, to.hz());
                assert!(snr > 15.0, "{from:?} to {to:?}: {snr} dB");
                let level = tone_db(heard, 1_000.0, to.hz()) - tone_db(&sound, 1_000.0, from.hz());
                assert!(level.abs() < 1.0, "{from:?} to {to:?}: {level} dB");
            }
        }
    }

    #[test]
    fn the_bit_rate_is_kept() {
        let rate = SampleRate::Hz16000;
        let sound = crate::measure::noise(1, 0.2, rate.samples(2_000));
        for bit_rate in [8_000, 16_000, 32_000] {
            let packets = encode(
                &sound,
                &Settings {
                    bit_rate,
                    ..settings(rate)
                },
            );
            let bits = packets.iter().map(Vec::len).sum::<usize>() as u32 * 4;
            assert!(
                bits.abs_diff(bit_rate) < bit_rate / 3,
                "{bits} for {bit_rate}"
            );
        }
    }

    #[test]
    fn a_lost_packet_is_restored_by_the_next_or_made_up() {
        let rate = SampleRate::Hz16000;
        // A tone that moves, so that the past does not tell what comes.
        let sound: Vec<i16> = (0..50)
            .flat_map(|n| {
                sine(
                    300.0 + 40.0 * f64::from(n),
                    rate.hz(),
                    0.3,
                    rate.samples(20),
                )
            })
            .collect();
        let settings = Settings {
            loss_percent: 30,
            bit_rate: 40_000,
            ..settings(rate)
        };
        let packets = encode(&sound, &settings);
        let mut decoder = Decoder::new(rate).expect("memory");
        let mut frame = vec![0; rate.samples(20)];
        for (n, packet) in packets.iter().enumerate() {
            let count = match n % 10 {
                8 => decoder.restore(&packets[n + 1], &mut frame),
                4 => decoder.conceal(&mut frame),
                _ => decoder.decode(packet, &mut frame),
            };
            assert_eq!(count, Ok(rate.samples(20)));
            if n > 5 {
                assert!(power_db(&frame) > -25.0, "{n}: {}", power_db(&frame));
            }
        }
    }

    #[test]
    fn silence_need_not_be_sent() {
        let rate = SampleRate::Hz16000;
        let sound = vec![0; rate.samples(2_000)];
        let packets = encode(
            &sound,
            &Settings {
                is_discontinuous: true,
                ..settings(rate)
            },
        );
        assert!(packets.iter().filter(|packet| packet.len() <= 2).count() > 50);
    }

    #[test]
    fn what_is_no_packet_or_frame_is_refused() {
        let mut decoder = Decoder::new(SampleRate::Hz8000).expect("memory");
        let mut room = vec![0; SampleRate::Hz8000.samples(PACKET_MS_MAX)];
        assert_eq!(
            decoder.decode(&[], &mut room),
            Err(Error::ShortPayload { bytes: 0 })
        );
        assert_eq!(
            decoder.restore(&[], &mut room),
            Err(Error::ShortPayload { bytes: 0 })
        );
        // Code 3 without the count of frames.
        assert_eq!(
            decoder.decode(&[3], &mut room),
            Err(Error::Opus { code: -4 })
        );
        assert_eq!(
            decoder.decode(&[0, 1, 2], &mut room[..8]),
            Err(Error::Opus { code: -2 })
        );
        assert!(decoder.conceal(&mut room[..8]).is_err());
        let mut encoder = Encoder::new(&Settings::default()).expect("memory");
        assert_eq!(
            encoder.encode(&[0; 100], &mut [0; 100]),
            Err(Error::Opus { code: -1 })
        );
    }
}
