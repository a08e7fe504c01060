//! What an end says: its packets, numbered by the clock; keys as events and as tones.

use std::collections::VecDeque;

use audio::dtmf::{Digit, Generator};
use audio::event::Sender;
use audio::g711::Law;
use audio::{g722, opus};
use rtp::{Header, PayloadType, Sequence, Ssrc, Timestamp};

use crate::frame::{Converter, FRAME_MS, Frame};
use crate::settings::Settings;
use crate::types::{Codec, Format, Negotiated, OpusParameters, Stream, Time};

/// Time is cut into slots of so many microseconds.
pub(crate) const SLOT_US: u64 = 2_000;
/// Slots of a frame.
pub(crate) const SLOTS: usize = 10;
/// The loudness of keys as events, in dB below 0 dBm0.
const KEY_VOLUME: u8 = 10;
/// How long a key is that another end pressed, where it has to be a tone.
const PASSED_KEY_MS: u32 = 120;

/// What is to be said in a frame.
#[derive(Debug)]
pub(crate) enum Say<'a> {
    /// Sound, to be encoded.
    Sound(&'a Frame),
    /// A payload of the codec that is sent.
    Payload(&'a [u8]),
    /// Nothing leaves: what should was lost.
    Lost,
}

/// An encoder of Opus by what the peer wants.
pub(crate) fn opus_encoder(parameters: &OpusParameters, complexity: u8) -> Option<opus::Encoder> {
    let settings = opus::Settings {
        rate: Codec::Opus.rate(),
        bit_rate: parameters.bit_rate,
        complexity,
        forward_correction: parameters.forward_correction,
        loss_percent: if parameters.forward_correction { 5 } else { 0 },
        is_discontinuous: parameters.is_discontinuous,
    };
    opus::Encoder::new(&settings).ok()
}

/// A key that is being sent.
#[derive(Debug)]
enum Key {
    Event(Sender),
    Tone(Generator),
    /// One that was pressed at the end that it is connected to, and perhaps let go, since the last packet.
    Pressed {
        event: u8,
        is_released: bool,
    },
    /// The same, as it goes on.
    Passed(Sender),
    /// The pause after a key: frames that are left.
    Pause(u32),
}

/// The sending half of an end.
#[derive(Debug)]
pub(crate) struct Mouth {
    pub(crate) stream: Stream,
    pub(crate) format: Format,
    event_type: Option<u8>,
    /// Units of an event's duration in a frame.
    event_units: u16,
    g722: g722::Encoder,
    opus: Option<opus::Encoder>,
    opus_parameters: OpusParameters,
    converter: Converter,
    converted: Frame,
    digits: VecDeque<Digit>,
    digit_ms: u32,
    pause_ms: u32,
    key: Option<Key>,
    /// The last packet was not sound, or there was none: the next one bears the marker.
    has_paused: bool,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Mouth {
    pub(crate) fn new(stream: Stream, negotiated: &Negotiated, settings: &Settings) -> Mouth {
        let mut mouth = Mouth {
            stream,
            format: negotiated.send,
            event_type: None,
            event_units: 0,
            g722: g722::Encoder::default(),
            opus: None,
            opus_parameters: negotiated.opus,
            converter: Converter::default(),
            converted: Frame::silent(negotiated.send.codec.rate()),
            digits: VecDeque::with_capacity(settings.digits_max),
            digit_ms: 0,
            pause_ms: 0,
            key: None,
            has_paused: true,
            packets: 0,
            bytes: 0,
        };
        mouth.negotiate(negotiated, settings);
        mouth
    }

    pub(crate) fn negotiate(&mut self, negotiated: &Negotiated, settings: &Settings) {
        let is_opus = negotiated.send.codec == Codec::Opus;
        let is_other = negotiated.opus != self.opus_parameters;
        if is_opus && (self.opus.is_none() || is_other) {
            self.opus = opus_encoder(&negotiated.opus, settings.opus_complexity);
        }
        if negotiated.send != self.format {
            self.has_paused = true;
        }
        self.opus_parameters = negotiated.opus;
        self.format = negotiated.send;
        self.event_type = negotiated.send_events;
        let units = negotiated.event_clock_hz / 1_000 * FRAME_MS;
        self.event_units = u16::try_from(units).unwrap_or(u16::MAX).max(1);
    }

    fn first_slot(&self) -> u64 {
        self.stream.started_at.as_micros() / SLOT_US
    }

    /// Units of the timestamp in a packet.
    fn units(&self) -> u32 {
        self.format.codec.clock_hz() / 1_000 * FRAME_MS
    }

    /// The timestamp of `now`, for reports.
    pub(crate) fn timestamp_at(&self, now: Time) -> Timestamp {
        let us = u128::from(now.micros_since(self.stream.started_at));
        let units = us * u128::from(self.format.codec.clock_hz()) / 1_000_000;
        Timestamp(self.stream.first_timestamp).plus(units as u32)
    }

    /// Whether keys are being sent or wait.
    pub(crate) fn is_dialling(&self) -> bool {
        self.key.is_some() || !self.digits.is_empty()
    }

    /// Sends these keys after those that wait. Gives how many were left out.
    pub(crate) fn dial(
        &mut self,
        digits: &[Digit],
        ms: u32,
        pause_ms: u32,
        digits_max: usize,
    ) -> usize {
        let room = digits_max.saturating_sub(self.digits.len());
        self.digits.extend(digits.iter().take(room));
        self.digit_ms = ms.clamp(40, 5_000);
        self.pause_ms = pause_ms.clamp(40, 5_000);
        digits.len().saturating_sub(room)
    }

    /// The end that it is connected to began to press a key.
    pub(crate) fn press(&mut self, event: u8) {
        if self.is_dialling() {
            return;
        }
        self.key = match (self.event_type, Digit::of_event(event)) {
            (Some(_), _) => Some(Key::Pressed {
                event,
                is_released: false,
            }),
            (None, Some(digit)) => {
                let rate = self.format.codec.rate();
                Some(Key::Tone(Generator::new(digit, rate, PASSED_KEY_MS, 0)))
            }
            (None, None) => None,
        };
    }

    /// The key is let go.
    pub(crate) fn release(&mut self) {
        match &mut self.key {
            Some(Key::Passed(sender)) => sender.release(),
            Some(Key::Pressed { is_released, .. }) => *is_released = true,
            _ => {}
        }
    }

    /// The packet of a slot, appended to `out`. None: none is due.
    pub(crate) fn speak(&mut self, slot: u64, say: &Say<'_>, out: &mut Vec<u8>) -> Option<()> {
        let number = self.number(slot)?;
        out.clear();
        out.extend_from_slice(&[0; rtp::HEADER_BYTES]);
        if let Some(header) = self.speak_key(number, out) {
            self.finish(header, out);
            return Some(());
        }
        match say {
            _ if out.len() > rtp::HEADER_BYTES => {} // The tones of a key.
            Say::Sound(frame) => self.encode(frame, out),
            Say::Payload(payload) => out.extend_from_slice(payload),
            Say::Lost => return None,
        }
        if out.len() == rtp::HEADER_BYTES {
            // Opus could not be had, or is silent.
            self.has_paused = true;
            return None;
        }
        let marker = std::mem::take(&mut self.has_paused);
        let header = self.header(number, self.format.payload_type, marker);
        self.finish(header, out);
        Some(())
    }

    /// Nothing is said for a while on purpose. Keys of the other end that were not sent are of no use later.
    pub(crate) fn pause(&mut self) {
        self.has_paused = true;
        if matches!(self.key, Some(Key::Pressed { .. } | Key::Passed(_))) {
            self.key = None;
        }
    }

    fn finish(&mut self, header: Header, out: &mut [u8]) {
        self.packets += 1;
        self.bytes += (out.len() - rtp::HEADER_BYTES) as u64;
        out[..rtp::HEADER_BYTES].copy_from_slice(&header.to_bytes());
    }

    /// The key that is being sent: the header and payload of an event, or the payload of tones.
    fn speak_key(&mut self, number: u64, out: &mut Vec<u8>) -> Option<Header> {
        match self.key {
            None => self.begin_key(number),
            Some(Key::Pressed { event, is_released }) => {
                let start = self.timestamp_of(number).0;
                let mut sender = Sender::new(event, KEY_VOLUME, start, None);
                if is_released {
                    sender.release();
                }
                self.key = Some(Key::Passed(sender));
            }
            Some(_) => {}
        }
        match self.key.as_mut()? {
            Key::Event(sender) | Key::Passed(sender) => {
                let units = self.event_units;
                let (Some(outgoing), Some(event_type)) = (sender.send(units), self.event_type)
                else {
                    self.end_key();
                    return None;
                };
                out.extend_from_slice(&outgoing.payload.to_bytes());
                let mut header = self.header(number, event_type, outgoing.marker);
                header.timestamp = Timestamp(outgoing.timestamp);
                self.has_paused = true;
                Some(header)
            }
            Key::Tone(generator) => {
                let mut frame = Frame::silent(self.format.codec.rate());
                if generator.play(frame.sound_mut()) == 0 {
                    self.end_key();
                    return None;
                }
                self.encode(&frame, out);
                None
            }
            Key::Pressed { .. } => None,
            Key::Pause(frames) => {
                *frames -= 1;
                if *frames == 0 {
                    self.key = None;
                }
                None
            }
        }
    }

    fn begin_key(&mut self, number: u64) {
        let Some(digit) = self.digits.pop_front() else {
            return;
        };
        self.key = Some(match self.event_type {
            Some(_) => {
                let length = u32::from(self.event_units) * self.digit_ms.div_ceil(FRAME_MS);
                let start = self.timestamp_of(number).0;
                Key::Event(Sender::new(digit.event(), KEY_VOLUME, start, Some(length)))
            }
            None => {
                let rate = self.format.codec.rate();
                Key::Tone(Generator::new(digit, rate, self.digit_ms, 0))
            }
        });
    }

    fn end_key(&mut self) {
        let is_ours = !matches!(self.key, Some(Key::Passed(_)));
        let frames = self.pause_ms.div_ceil(FRAME_MS);
        self.key = (is_ours && frames > 0).then_some(Key::Pause(frames));
    }

    /// The number of the packet of a slot since the stream's beginning, if it has begun.
    fn number(&self, slot: u64) -> Option<u64> {
        Some(slot.checked_sub(self.first_slot())? / SLOTS as u64)
    }

    fn timestamp_of(&self, number: u64) -> Timestamp {
        // Timestamps count modulo 2^32.
        let units = (number as u32).wrapping_mul(self.units());
        Timestamp(self.stream.first_timestamp).plus(units)
    }

    fn header(&self, number: u64, payload_type: u8, marker: bool) -> Header {
        Header {
            marker,
            payload_type: PayloadType::new(payload_type & 0x7f).unwrap_or_default(),
            sequence: Sequence(self.stream.first_sequence.wrapping_add(number as u16)),
            timestamp: self.timestamp_of(number),
            ssrc: Ssrc(self.stream.ssrc),
        }
    }

    fn encode(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        let rate = self.format.codec.rate();
        let sound = match frame.rate() == rate {
            true => frame.sound(),
            false => {
                self.converter.convert(frame, rate, &mut self.converted);
                self.converted.sound()
            }
        };
        Encoded {
            codec: self.format.codec,
            g722: Some(&mut self.g722),
            opus: self.opus.as_mut(),
        }
        .push(sound, out);
    }
}

/// An encoding, with the machines that it needs.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) codec: Codec,
    pub(crate) g722: Option<&'a mut g722::Encoder>,
    pub(crate) opus: Option<&'a mut opus::Encoder>,
}

impl Encoded<'_> {
    /// Appends the payload of 20 ms at the codec's rate; nothing where the machine is lacking.
    pub(crate) fn push(self, sound: &[i16], out: &mut Vec<u8>) {
        let start = out.len();
        match self.codec {
            Codec::Pcmu | Codec::Pcma => {
                let is_mu = self.codec == Codec::Pcmu;
                let law = if is_mu { Law::Mu } else { Law::A };
                out.resize(start + sound.len(), 0);
                law.encode(sound, &mut out[start..]);
            }
            Codec::G722 => {
                let Some(g722) = self.g722 else { return };
                out.resize(start + sound.len() / 2, 0);
                g722.encode(sound, &mut out[start..]);
            }
            Codec::Opus => {
                let Some(opus) = self.opus else { return };
                out.resize(start + opus::PAYLOAD_BYTES_MAX, 0);
                let count = opus.encode(sound, &mut out[start..]).unwrap_or(0);
                out.truncate(start + count);
            }
        }
    }
}
