//! What an end hears: packets judged, kept, and taken out again a frame at a time; keys by events and by tones.

use audio::SampleRate;
use audio::comfort;
use audio::dtmf::{Detector, Digit, Heard as Key};
use audio::event::{Change, Payload, Receiver};
use audio::jitter::{self, Buffer, Incoming, Inserted, Next};
use audio::speech::Meter;
use rtp::{Arrival, ClockRate, Micros, Packet, Reception};

use crate::decoders::{Decoders, FRAME_UNITS, PAYLOAD_BYTES_MAX, UNITS_HZ, is_one_frame};
use crate::event::How;
use crate::frame::{Converter, FRAME_MS, Frame};
use crate::report::Reason;
use crate::settings::Settings;
use crate::timeline::Timeline;
use crate::types::{Codec, FORMATS_MAX, Format, Negotiated, Time};

/// Packets that a jitter buffer holds: its longest delay twice.
const PACKETS_MAX: usize = 24;
/// Keys that may come at once, and how many more a second: more than any machine dials.
const DIGITS_AT_ONCE: u32 = 32;
const DIGITS_PER_S: u64 = 16;

/// What became of the last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Heard {
    /// There is none, or nobody sends.
    #[default]
    Nothing,
    /// It is in [`Ear::frame`].
    Sound,
    /// It is undecoded in [`Ear::raw`].
    Raw,
    /// It should be undecoded, but was lost.
    Lost,
}

/// A key that was pressed and let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pressed {
    pub(crate) digit: Digit,
    pub(crate) duration_ms: u32,
    pub(crate) how: How,
}

/// What a packet or a frame brought besides sound.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct News {
    /// Events as they begin and end, to pass on.
    pub(crate) changes: [Option<Change>; 2],
    /// A key is over.
    pub(crate) pressed: [Option<Pressed>; 2],
    /// A key went down: what is played may end.
    pub(crate) is_down: bool,
}

/// A limit of keys a second.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u32,
    at: Time,
}

impl Bucket {
    fn take(&mut self, now: Time) -> bool {
        let grown = now.micros_since(self.at) * DIGITS_PER_S / 1_000_000;
        if grown > 0 {
            let tokens = u64::from(self.tokens) + grown;
            self.tokens = tokens.min(u64::from(DIGITS_AT_ONCE)) as u32;
            self.at = now;
        }
        let is_there = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        is_there
    }
}

/// Looks for keys in sound.
#[derive(Debug)]
struct InBand {
    detector: Detector,
    converter: Converter,
    frame: Frame,
    down: Option<(Digit, Time)>,
}

/// The receiving half of an end.
#[derive(Debug)]
pub(crate) struct Ear {
    formats: [Option<Format>; FORMATS_MAX],
    event_type: Option<u8>,
    event_clock_hz: u32,
    noise_type: Option<u8>,
    pub(crate) reception: Reception,
    timeline: Timeline,
    buffer: Buffer,
    decoders: Decoders,
    noise: comfort::Generator,
    is_noisy: bool,
    events: Receiver,
    has_events: bool,
    in_band: Option<Box<InBand>>,
    bucket: Bucket,
    pub(crate) meter: Meter,
    pub(crate) frame: Frame,
    pub(crate) raw: Vec<u8>,
    pub(crate) raw_codec: Codec,
    pub(crate) heard: Heard,
    /// When a packet of the stream came last.
    pub(crate) last: Time,
    pub(crate) last_codec: Option<Codec>,
    pub(crate) digits: u32,
}

impl Ear {
    pub(crate) fn new(now: Time, seed: u64, negotiated: &Negotiated, settings: &Settings) -> Ear {
        let decoders = Decoders::new(&negotiated.receive);
        Ear {
            formats: negotiated.receive,
            event_type: negotiated.receive_events,
            event_clock_hz: negotiated.event_clock_hz.max(1),
            noise_type: negotiated.receive_noise,
            reception: Reception::default(),
            timeline: Timeline::default(),
            buffer: Buffer::new(jitter::Settings {
                clock_hz: UNITS_HZ,
                delay_ms_min: settings.delay_ms_min,
                delay_ms_max: settings.delay_ms_max,
                packets_max: PACKETS_MAX,
                payload_bytes_max: PAYLOAD_BYTES_MAX,
            }),
            frame: Frame::silent(decoders.rate()),
            decoders,
            noise: comfort::Generator::new(seed),
            is_noisy: false,
            events: Receiver::default(),
            has_events: false,
            in_band: None,
            bucket: Bucket {
                tokens: DIGITS_AT_ONCE,
                at: now,
            },
            meter: Meter::default(),
            raw: Vec::with_capacity(PAYLOAD_BYTES_MAX),
            raw_codec: negotiated.send.codec,
            heard: Heard::Nothing,
            last: now,
            last_codec: None,
            digits: 0,
        }
    }

    /// What was agreed on changed.
    pub(crate) fn negotiate(&mut self, negotiated: &Negotiated) {
        if self.formats != negotiated.receive {
            self.formats = negotiated.receive;
            self.decoders = Decoders::new(&negotiated.receive);
        }
        self.event_type = negotiated.receive_events;
        self.event_clock_hz = negotiated.event_clock_hz.max(1);
        self.noise_type = negotiated.receive_noise;
    }

    pub(crate) fn detect(&mut self, on: bool) {
        if !on {
            self.in_band = None;
        } else if self.in_band.is_none() {
            self.in_band = Some(Box::new(InBand {
                detector: Detector::default(),
                converter: Converter::default(),
                frame: Frame::silent(SampleRate::Hz8000),
                down: None,
            }));
        }
    }

    pub(crate) fn detects(&self) -> bool {
        self.in_band.is_some()
    }

    pub(crate) fn rate(&self) -> SampleRate {
        self.decoders.rate()
    }

    pub(crate) fn counts(&self) -> jitter::Counts {
        self.buffer.counts()
    }

    /// Takes a packet of the peer's.
    pub(crate) fn receive(&mut self, now: Time, packet: &Packet<'_>) -> Result<News, Reason> {
        let number = packet.payload_type().number();
        let format = self.format_of(number);
        let is_event = self.event_type == Some(number);
        let is_noise = self.noise_type == Some(number);
        let clock_hz = match format {
            Some(format) => format.codec.clock_hz(),
            None if is_event => self.event_clock_hz,
            None if is_noise => UNITS_HZ,
            None => return Err(Reason::WrongPayload),
        };
        if packet.payload().len() > PAYLOAD_BYTES_MAX {
            return Err(Reason::Huge);
        }
        let has_begun = self.reception.ssrc().is_some();
        let clock = ClockRate::new(clock_hz);
        let arrival = self
            .reception
            .receive(packet, Micros(now.as_micros()), clock);
        match arrival {
            Arrival::Replayed => return Err(Reason::Replayed),
            Arrival::Probation if has_begun => return Err(Reason::Probation),
            _ => self.last = now,
        }
        let Some(format) = format else {
            if is_event {
                return self.receive_event(now, packet);
            }
            let description = comfort::Description::parse(packet.payload());
            self.noise
                .describe(&description.map_err(|_| Reason::Short)?);
            self.is_noisy = true;
            return Ok(News::default());
        };
        self.last_codec = Some(format.codec);
        self.is_noisy = false;
        let (ssrc, timestamp) = (packet.ssrc().0, packet.timestamp().0);
        let incoming = Incoming {
            timestamp: self.timeline.place(now, ssrc, clock_hz, timestamp),
            payload_type: number,
            payload: packet.payload(),
        };
        match self.buffer.insert(&incoming, now.as_micros()) {
            Inserted::Held | Inserted::First | Inserted::Displaced => Ok(News::default()),
            Inserted::Late => Err(Reason::Late),
            Inserted::Repeated => Err(Reason::Replayed),
            Inserted::Long => Err(Reason::Huge),
        }
    }

    fn receive_event(&mut self, now: Time, packet: &Packet<'_>) -> Result<News, Reason> {
        let payload = Payload::parse(packet.payload()).map_err(|_| Reason::Short)?;
        let mut news = News::default();
        let timestamp = packet.timestamp().0;
        self.events
            .receive(payload, timestamp, now.as_micros(), |change| {
                news.note(change)
            });
        self.has_events = true;
        self.judge(now, &mut news)?;
        Ok(news)
    }

    /// Makes keys of events, as many as a peer may press.
    fn judge(&mut self, now: Time, news: &mut News) -> Result<(), Reason> {
        let mut result = Ok(());
        for change in &mut news.changes {
            let (at, event, duration) = match *change {
                Some(Change::Begun(event)) => (0, event, 0),
                Some(Change::Ended { event, duration }) => (1, event, duration),
                None => continue,
            };
            let Some(digit) = Digit::of_event(event) else {
                continue;
            };
            if at == 0 {
                news.is_down = true;
                continue;
            }
            if !self.bucket.take(now) {
                result = Err(Reason::TooMany);
                continue;
            }
            self.digits = self.digits.saturating_add(1);
            let ms = u64::from(duration) * 1_000 / u64::from(self.event_clock_hz);
            let slot = usize::from(news.pressed[0].is_some());
            news.pressed[slot] = Some(Pressed {
                digit,
                duration_ms: ms as u32,
                how: How::Event,
            });
        }
        result
    }

    /// Takes the next frame out. With `raw` it stays undecoded where it is 20 ms of that codec.
    pub(crate) fn hear(&mut self, now: Time, raw: Option<Codec>) -> News {
        let mut news = News::default();
        self.events
            .expire(now.as_micros(), |change| news.note(change));
        // What is too many is not told, and there is no packet to count.
        let _ = self.judge(now, &mut news);
        if let Some(codec) = raw
            && self.decoders.is_empty()
            && !(self.is_noisy && self.buffer.held() == 0)
        {
            self.hear_raw(now, codec);
            if self.heard != Heard::Sound {
                return news;
            }
        }
        while self.decoders.lacking() > 0 {
            if !self.pull(now) {
                break;
            }
        }
        let is_silent = self.decoders.is_empty();
        self.decoders.take(&mut self.frame);
        self.heard = match is_silent {
            false => Heard::Sound,
            true => Heard::Nothing,
        };
        self.meter.listen(self.frame.sound(), FRAME_MS);
        self.detect_key(now, &mut news);
        news
    }

    /// Looks whether the next packet can pass as it is; what cannot is decoded.
    fn hear_raw(&mut self, now: Time, codec: Codec) {
        self.raw.clear();
        self.heard = match self.buffer.pull(FRAME_UNITS, now.as_micros()) {
            Next::Packet {
                payload_type,
                payload,
                skipped,
            } => match format_of(&self.formats, payload_type) {
                Some(format) if format.codec == codec && is_one_frame(codec, payload) => {
                    self.raw.extend_from_slice(payload);
                    self.raw_codec = codec;
                    self.buffer.advance(FRAME_UNITS);
                    Heard::Raw
                }
                Some(format) => {
                    let units = self.decoders.decode(format.codec, payload, skipped);
                    self.buffer.advance(units);
                    Heard::Sound
                }
                None => {
                    self.buffer.advance(FRAME_UNITS);
                    Heard::Lost
                }
            },
            Next::Missing { .. } if self.events.next_us().is_none() => Heard::Lost,
            Next::Missing { .. } | Next::Silent => Heard::Nothing,
        };
    }

    /// Decodes one packet, or makes up for it. False: there is nothing.
    fn pull(&mut self, now: Time) -> bool {
        let lacking = self.decoders.lacking();
        match self.buffer.pull(lacking, now.as_micros()) {
            Next::Packet {
                payload_type,
                payload,
                skipped,
            } => {
                // The formats may have changed since it came.
                let units = match format_of(&self.formats, payload_type) {
                    Some(format) => self.decoders.decode(format.codec, payload, skipped),
                    None => 0,
                };
                self.buffer.advance(units.max(1));
                true
            }
            Next::Missing { units } if self.is_noisy => {
                let noise = &mut self.noise;
                self.decoders.fill(units, |room| noise.play(room));
                true
            }
            // While a key is held no sound is sent.
            Next::Missing { units } if self.events.next_us().is_some() => {
                self.decoders.fill(units, |room| room.fill(0));
                true
            }
            Next::Missing { units } => {
                self.decoders.conceal(units);
                true
            }
            Next::Silent if self.is_noisy => {
                let noise = &mut self.noise;
                self.decoders.fill(lacking, |room| noise.play(room));
                true
            }
            Next::Silent => false,
        }
    }

    fn detect_key(&mut self, now: Time, news: &mut News) {
        let Some(in_band) = &mut self.in_band else {
            return;
        };
        // Where events come, tones are what slipped through before them.
        if self.has_events {
            return;
        }
        let InBand {
            detector,
            converter,
            frame,
            down,
        } = in_band.as_mut();
        converter.convert(&self.frame, SampleRate::Hz8000, frame);
        let bucket = &mut self.bucket;
        let digits = &mut self.digits;
        detector.listen(frame.sound(), |key| match key {
            Key::Down(digit) => {
                *down = Some((digit, now));
                news.is_down = true;
            }
            Key::Up(_) => {
                if let Some((digit, since)) = down.take()
                    && bucket.take(now)
                {
                    *digits = digits.saturating_add(1);
                    let ms = now.micros_since(since) / 1_000;
                    let slot = usize::from(news.pressed[0].is_some());
                    news.pressed[slot] = Some(Pressed {
                        digit,
                        duration_ms: u32::try_from(ms).unwrap_or(u32::MAX).max(FRAME_MS),
                        how: How::InBand,
                    });
                }
            }
        });
    }

    fn format_of(&self, payload_type: u8) -> Option<Format> {
        format_of(&self.formats, payload_type)
    }
}

fn format_of(formats: &[Option<Format>; FORMATS_MAX], payload_type: u8) -> Option<Format> {
    let mut formats = formats.iter().flatten();
    formats
        .find(|format| format.payload_type == payload_type)
        .copied()
}

impl News {
    fn note(&mut self, change: Change) {
        let slot = usize::from(self.changes[0].is_some());
        self.changes[slot] = Some(change);
    }
}
