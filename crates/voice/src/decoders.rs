//! What comes, decoded and repaired: packets of any length in, frames of 20 ms out.

use audio::SampleRate;
use audio::conceal::Concealer;
use audio::g711::Law;
use audio::resample::Resampler;
use audio::{g722, opus};

use crate::frame::{FRAME_MS, Frame, SAMPLES_MAX};
use crate::types::{Codec, FORMATS_MAX, Format};

/// The longest sound of a packet: that of the longest of Opus, 120 ms at 16,000.
const PACKET_SAMPLES_MAX: usize = SampleRate::Hz16000.samples(opus::PACKET_MS_MAX);
/// Units of the jitter buffer's timestamps a second.
pub(crate) const UNITS_HZ: u32 = 8_000;
/// Units of a frame.
pub(crate) const FRAME_UNITS: u32 = UNITS_HZ / 1_000 * FRAME_MS;
/// The longest payload that is decoded: 120 ms of G.711 or G.722, more than Opus has at 60 kbit/s.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 960;

/// The decoders of one end, and sound that is decoded and not yet heard.
#[derive(Debug)]
pub(crate) struct Decoders {
    rate: SampleRate,
    g722: g722::Decoder,
    opus: Option<opus::Decoder>,
    concealer: Concealer,
    /// For a codec of the lower rate where there is one of the higher too.
    up: Option<Resampler>,
    last: Option<Codec>,
    sound: Vec<i16>,
    held: usize,
}

impl Decoders {
    /// Decoders for these formats; the rate is that of the best.
    pub(crate) fn new(formats: &[Option<Format>; FORMATS_MAX]) -> Decoders {
        let codecs = formats.iter().flatten().map(|format| format.codec);
        let rates = codecs.clone().map(Codec::rate);
        let rate = rates.clone().max().unwrap_or(SampleRate::Hz8000);
        let is_mixed = rates.min().is_some_and(|least| least < rate);
        let has_opus = codecs.into_iter().any(|codec| codec == Codec::Opus);
        Decoders {
            rate,
            g722: g722::Decoder::default(),
            // Without memory for it, nothing is heard of Opus.
            opus: has_opus.then(|| opus::Decoder::new(rate).ok()).flatten(),
            concealer: Concealer::new(rate),
            up: is_mixed.then(|| Resampler::new(SampleRate::Hz8000, rate)),
            last: None,
            sound: vec![0; PACKET_SAMPLES_MAX + SAMPLES_MAX],
            held: 0,
        }
    }

    pub(crate) fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Units of sound that are lacking for a frame.
    pub(crate) fn lacking(&self) -> u32 {
        FRAME_UNITS.saturating_sub((self.held / self.per_unit()) as u32)
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Decodes a packet and gives its length in units. `skipped` as in [`audio::jitter::Next`].
    pub(crate) fn decode(&mut self, codec: Codec, payload: &[u8], skipped: bool) -> u32 {
        let start = self.held;
        let room = &mut self.sound[start..];
        let count = match codec {
            Codec::Pcmu => narrow(Law::Mu, payload, room, &mut self.up),
            Codec::Pcma => narrow(Law::A, payload, room, &mut self.up),
            Codec::G722 => {
                let count = (payload.len() * 2).min(room.len());
                self.g722.decode(payload, &mut room[..count]);
                count
            }
            Codec::Opus => {
                let decoded = match &mut self.opus {
                    Some(decoder) => decoder.decode(payload, &mut room[..PACKET_SAMPLES_MAX]),
                    None => Ok(0),
                };
                match decoded {
                    Ok(count) => count,
                    Err(_) => {
                        self.conceal(FRAME_UNITS);
                        return FRAME_UNITS;
                    }
                }
            }
        };
        let sound = &mut self.sound[start..start + count];
        match skipped {
            true => self.concealer.join(sound),
            false => self.concealer.receive(sound),
        }
        self.last = Some(codec);
        self.held += count;
        (count / self.per_unit()) as u32
    }

    /// Makes up sound for so many units.
    pub(crate) fn conceal(&mut self, units: u32) {
        let count = units.min(FRAME_UNITS) as usize * self.per_unit();
        let room = &mut self.sound[self.held..self.held + count];
        let done = match (&mut self.opus, self.last) {
            (Some(opus), Some(Codec::Opus)) => opus.conceal(room).unwrap_or(0),
            _ => {
                self.concealer.conceal(room);
                count
            }
        };
        room[done.min(count)..].fill(0);
        self.held += count;
    }

    /// Other sound for so many units, where nothing was lost, but nothing was sent.
    pub(crate) fn fill(&mut self, units: u32, fill: impl FnOnce(&mut [i16])) {
        let count = units.min(FRAME_UNITS) as usize * self.per_unit();
        fill(&mut self.sound[self.held..self.held + count]);
        self.held += count;
    }

    /// Takes the next 20 ms; what is lacking is silence.
    pub(crate) fn take(&mut self, frame: &mut Frame) {
        frame.set_rate(self.rate);
        let out = frame.sound_mut();
        let count = out.len().min(self.held);
        out[..count].copy_from_slice(&self.sound[..count]);
        out[count..].fill(0);
        self.sound.copy_within(count..self.held, 0);
        self.held -= count;
    }

    fn per_unit(&self) -> usize {
        (self.rate.hz() / UNITS_HZ) as usize
    }
}

/// G.711, brought to the higher rate where that is the end's.
fn narrow(law: Law, payload: &[u8], room: &mut [i16], up: &mut Option<Resampler>) -> usize {
    let Some(up) = up else {
        let count = payload.len().min(room.len());
        law.decode(payload, &mut room[..count]);
        return count;
    };
    let mut written = 0;
    for payload in payload.chunks(SAMPLES_MAX) {
        let mut sound = [0; SAMPLES_MAX];
        law.decode(payload, &mut sound);
        written += up.process(&sound[..payload.len()], &mut room[written..]);
    }
    written
}

/// Whether a payload is 20 ms long, so that it can pass undecoded.
pub(crate) fn is_one_frame(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Pcmu | Codec::Pcma | Codec::G722 => payload.len() == FRAME_UNITS as usize,
        Codec::Opus => opus_us(payload) == Some(20_000),
    }
}

/// How long a packet of Opus is, in microseconds (RFC 6716 section 3.1).
fn opus_us(payload: &[u8]) -> Option<u32> {
    let first = *payload.first()?;
    let config = first >> 3;
    let frame_us = match config {
        0..12 => [10_000, 20_000, 40_000, 60_000][usize::from(config & 3)],
        12..16 => [10_000, 20_000][usize::from(config & 1)],
        _ => [2_500, 5_000, 10_000, 20_000][usize::from(config & 3)],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*payload.get(1)? & 0x3f),
    };
    Some(frame_us * frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_opus_is_read_from_its_first_bytes() {
        // SILK 20 ms, one frame; CELT 10 ms, two; hybrid 10 ms, three counted.
        for (payload, us) in [
            (&[1 << 3, 9][..], Some(20_000)),
            (&[30 << 3 | 1, 9], Some(20_000)),
            (&[12 << 3 | 3, 3, 9], Some(30_000)),
            (&[3], None),
            (&[], None),
        ] {
            assert_eq!(opus_us(payload), us, "{payload:?}");
        }
        let mut encoder = opus::Encoder::new(&opus::Settings {
            rate: SampleRate::Hz16000,
            ..opus::Settings::default()
        })
        .expect("memory");
        let mut payload = [0; 400];
        let count = encoder.encode(&[0; 320], &mut payload).expect("20 ms");
        assert!(is_one_frame(Codec::Opus, &payload[..count]));
    }

    #[test]
    fn packets_of_30_ms_become_frames_of_20() {
        let mut decoders = Decoders::new(&[Some(Format::PCMU), None, None, None]);
        let mut frame = Frame::silent(SampleRate::Hz8000);
        let payload = [Law::Mu.encode_sample(1_000); 240];
        assert_eq!(decoders.decode(Codec::Pcmu, &payload, false), 240);
        assert_eq!(decoders.lacking(), 0);
        decoders.take(&mut frame);
        assert_eq!(decoders.lacking(), 80);
        decoders.decode(Codec::Pcmu, &payload, false);
        decoders.take(&mut frame);
        assert!(frame.sound().iter().all(|sample| *sample > 900));
        assert_eq!(decoders.lacking(), 0);
        decoders.take(&mut frame);
        assert!(decoders.is_empty());
    }

    #[test]
    fn a_codec_of_the_lower_rate_is_heard_at_the_higher() {
        let mut decoders = Decoders::new(&[Some(Format::G722), Some(Format::PCMA), None, None]);
        assert_eq!(decoders.rate(), SampleRate::Hz16000);
        assert_eq!(decoders.decode(Codec::Pcma, &[0x55; 160], false), 160);
        assert_eq!(decoders.lacking(), 0);
    }
}
