//! Phones around an engine, on a clock that the test moves.
#![allow(dead_code, unreachable_pub)] // Each test uses a part of it.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use audio::g711::Law;
use audio::{SampleRate, g722, opus};
use rtp::{Header, Packet, PayloadType, Sequence, Ssrc, Timestamp};
use voice::{
    Clip, Codec, Command, Direction, EndId, Event, Format, Negotiated, OpusParameters, PortId,
    Remote, Settings, Stream, Time, Voice,
};

pub const OPUS: Format = Format {
    codec: Codec::Opus,
    payload_type: 111,
};
pub const FORMATS: [Format; 4] = [Format::PCMU, Format::PCMA, Format::G722, OPUS];
pub const EVENTS: u8 = 101;
/// The time at which tests begin: far from 0, and at no slot's beginning.
pub const START_US: u64 = 1_700_000_000_000_500;

pub fn sine(hz: f64, rate: SampleRate, amplitude: f64, ms: u32) -> Vec<i16> {
    let step = TAU * hz / f64::from(rate.hz());
    (0..rate.samples(ms))
        .map(|n| (amplitude * 32_767.0 * (step * n as f64).sin()).round() as i16)
        .collect()
}

/// The power of the part of a sound at one frequency, in dB below the loudest sine.
pub fn tone_db(sound: &[i16], hz: f64, rate: SampleRate) -> f64 {
    let step = TAU * hz / f64::from(rate.hz());
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in sound.iter().enumerate() {
        let (sin, cos) = (step * n as f64).sin_cos();
        re += f64::from(*sample) * cos;
        im += f64::from(*sample) * sin;
    }
    let amplitude = 2.0 * (re * re + im * im).sqrt() / sound.len().max(1) as f64 / 32_767.0;
    20.0 * amplitude.max(1e-9).log10()
}

/// Where in `sound` a piece of it is most like `piece`, and the signal to noise ratio there in dB.
pub fn find(sound: &[i16], piece: &[i16]) -> (usize, f64) {
    let error = |at: usize| -> f64 {
        let pairs = sound[at..].iter().zip(piece);
        pairs
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum()
    };
    let places = 0..sound.len().saturating_sub(piece.len());
    let (at, noise) = places
        .map(|at| (at, error(at)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0, f64::MAX));
    let signal: f64 = piece.iter().map(|a| f64::from(*a).powi(2)).sum();
    (at, 10.0 * (signal / noise.max(1.0)).log10())
}

pub fn clip(sound_at: impl Fn(SampleRate) -> Vec<i16>) -> Clip {
    Clip::new(
        Arc::from(sound_at(SampleRate::Hz8000)),
        Arc::from(sound_at(SampleRate::Hz16000)),
    )
}

pub fn tone_clip(hz: f64, ms: u32) -> Clip {
    clip(|rate| sine(hz, rate, 0.3, ms))
}

/// A packet that came to a phone.
#[derive(Debug, Clone)]
pub struct Came {
    pub at: Time,
    pub header: Header,
    pub payload: Vec<u8>,
}

/// A phone: what it sends is made of `speech`, what it hears is decoded.
pub struct Phone {
    pub end: EndId,
    pub port: PortId,
    pub format: Format,
    pub address: SocketAddr,
    /// Sound that is still to be sent, at the codec's rate; then silence.
    pub speech: Vec<i16>,
    pub is_sending: bool,
    pub heard: Vec<i16>,
    pub came: Vec<Came>,
    pub rtcp: Vec<Vec<u8>>,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    phase_us: u64,
    law_g722: (g722::Encoder, g722::Decoder),
    opus: (opus::Encoder, opus::Decoder),
    expected: Option<u16>,
}

impl Phone {
    pub fn rate(&self) -> SampleRate {
        self.format.codec.rate()
    }

    /// The next packet, with this marker, sequence number and so on.
    pub fn packet(&mut self, payload_type: u8, payload: &[u8], units: u32) -> Vec<u8> {
        let header = Header {
            marker: false,
            payload_type: PayloadType::new(payload_type).expect("a type"),
            sequence: Sequence(self.sequence),
            timestamp: Timestamp(self.timestamp),
            ssrc: Ssrc(self.ssrc),
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(units);
        let mut packet = header.to_bytes().to_vec();
        packet.extend_from_slice(payload);
        packet
    }

    fn next_sound(&mut self) -> Vec<u8> {
        let count = self.rate().samples(20);
        let mut sound: Vec<i16> = self.speech.drain(..count.min(self.speech.len())).collect();
        sound.resize(count, 0);
        let mut payload = vec![0; 1_276];
        let length = match self.format.codec {
            Codec::Pcmu => {
                Law::Mu.encode(&sound, &mut payload);
                count
            }
            Codec::Pcma => {
                Law::A.encode(&sound, &mut payload);
                count
            }
            Codec::G722 => {
                self.law_g722.0.encode(&sound, &mut payload);
                count / 2
            }
            Codec::Opus => self.opus.0.encode(&sound, &mut payload).expect("20 ms"),
        };
        payload.truncate(length);
        let units = self.format.codec.clock_hz() / 50;
        self.packet(self.format.payload_type, &payload, units)
    }

    fn hear(&mut self, now: Time, packet: &[u8]) {
        let packet = Packet::parse(packet).expect("RTP");
        let sequence = packet.sequence().0;
        let payload_type = packet.payload_type().number();
        let _ = self.expected.replace(sequence.wrapping_add(1));
        self.came.push(Came {
            at: now,
            header: Header {
                marker: packet.marker(),
                payload_type: packet.payload_type(),
                sequence: packet.sequence(),
                timestamp: packet.timestamp(),
                ssrc: packet.ssrc(),
            },
            payload: packet.payload().to_vec(),
        });
        if payload_type != self.format.payload_type {
            return;
        }
        let payload = packet.payload();
        let mut sound = vec![0; self.rate().samples(120)];
        let count = match self.format.codec {
            Codec::Pcmu => {
                Law::Mu.decode(payload, &mut sound);
                payload.len()
            }
            Codec::Pcma => {
                Law::A.decode(payload, &mut sound);
                payload.len()
            }
            Codec::G722 => {
                self.law_g722.1.decode(payload, &mut sound);
                payload.len() * 2
            }
            Codec::Opus => self.opus.1.decode(payload, &mut sound).expect("Opus"),
        };
        self.heard.extend_from_slice(&sound[..count]);
    }
}

/// An engine with phones around it.
pub struct Net {
    pub voice: Voice,
    pub now_us: u64,
    pub phones: BTreeMap<EndId, Phone>,
    pub events: Vec<Event>,
}

pub fn address(n: u64) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n as u8)), 4_000)
}

pub fn stream(n: u64) -> Stream {
    Stream {
        ssrc: 0x1000 + n as u32,
        first_sequence: 65_500,
        first_timestamp: u32::MAX - 1_000,
        started_at: Time::from_micros(START_US + n * 7_000),
    }
}

pub fn remote(n: u64, format: Format) -> Remote {
    let is_8k = format.codec.clock_hz() == 8_000;
    Remote {
        rtp: Some(address(n)),
        rtcp: None,
        rtcp_mux: false,
        signalling: address(n).ip(),
        learned: None,
        negotiated: Negotiated {
            send: format,
            receive: [Some(format), None, None, None],
            send_events: Some(EVENTS),
            receive_events: Some(EVENTS),
            event_clock_hz: format.codec.clock_hz(),
            receive_noise: is_8k.then_some(13),
            opus: OpusParameters::default(),
        },
        direction: Direction::SendRecv,
    }
}

impl Default for Net {
    fn default() -> Net {
        Net::new(Settings::default())
    }
}

impl Net {
    pub fn new(settings: Settings) -> Net {
        Net {
            voice: Voice::new(settings, 256),
            now_us: START_US,
            phones: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    pub fn now(&self) -> Time {
        Time::from_micros(self.now_us)
    }

    pub fn command(&mut self, command: Command) {
        self.voice.command(self.now(), command);
        self.events.append(self.voice.events());
    }

    pub fn describe(&mut self, end: EndId, remote: Remote) {
        let remote = Box::new(remote);
        self.command(Command::Remote { end, remote });
    }

    /// A phone with an end of the same number.
    pub fn phone(&mut self, n: u64, format: Format) -> EndId {
        let (end, port) = (EndId(n), PortId(n as u32 * 2));
        let stream = stream(n);
        self.command(Command::Open { end, port, stream });
        self.describe(end, remote(n, format));
        let rate = format.codec.rate();
        let encoder = opus::Encoder::new(&opus::Settings {
            rate: SampleRate::Hz16000,
            ..opus::Settings::default()
        });
        let phone = Phone {
            end,
            port,
            format,
            address: address(n),
            speech: Vec::new(),
            is_sending: true,
            heard: Vec::new(),
            came: Vec::new(),
            rtcp: Vec::new(),
            sequence: 100,
            timestamp: 5_000,
            ssrc: 0x9000 + n as u32,
            phase_us: n * 3_000 % 20_000,
            law_g722: Default::default(),
            opus: (
                encoder.expect("memory"),
                opus::Decoder::new(rate).expect("memory"),
            ),
            expected: None,
        };
        self.phones.insert(end, phone);
        end
    }

    pub fn of(&mut self, end: EndId) -> &mut Phone {
        self.phones.get_mut(&end).expect("a phone")
    }

    /// A packet from a phone's address.
    pub fn send(&mut self, end: EndId, packet: &[u8]) {
        let phone = &self.phones[&end];
        let (socket, address) = (phone.port.0, phone.address);
        self.voice.receive(self.now(), socket, address, packet);
        self.events.append(self.voice.events());
    }

    /// Lets so many milliseconds pass.
    pub fn run(&mut self, ms: u64) {
        let until = self.now_us + ms * 1_000;
        while self.now_us < until {
            self.now_us += 500;
            let now = self.now();
            for phone in self.phones.values_mut() {
                let is_due = (self.now_us - START_US) % 20_000 == phone.phase_us / 500 * 500;
                if is_due && phone.is_sending {
                    let packet = phone.next_sound();
                    self.voice
                        .receive(now, phone.port.0, phone.address, &packet);
                }
            }
            let phones = &mut self.phones;
            if self.voice.next().is_some_and(|next| next <= now) {
                self.voice.tick(now, |socket, destination, packet| {
                    let mut phones = phones.values_mut();
                    let Some(phone) = phones.find(|phone| phone.port.0 == socket & !1) else {
                        return;
                    };
                    if socket & 1 == 1 {
                        phone.rtcp.push(packet.to_vec());
                        return;
                    }
                    assert_eq!(destination, phone.address);
                    phone.hear(now, packet);
                });
            }
            self.events.append(self.voice.events());
        }
    }

    /// What was told that `pick` takes, in order.
    pub fn told<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.events.iter().filter_map(pick).collect()
    }

    /// Ends everything; nothing is left, and each end was told to be closed.
    pub fn end(mut self) {
        let ends: Vec<EndId> = self.phones.keys().copied().collect();
        for end in &ends {
            self.command(Command::Close { end: *end });
        }
        self.run(20);
        assert!(self.voice.is_empty());
        assert_eq!(self.voice.next(), None);
        let closed = self.told(|event| match event {
            Event::Closed { end, .. } => Some(*end),
            _ => None,
        });
        assert!(
            ends.iter()
                .all(|end| closed.iter().filter(|it| *it == end).count() == 1)
        );
        let mut freed: Vec<PortId> = self.voice.freed().drain(..).collect();
        freed.sort();
        let ports: Vec<PortId> = self.phones.values().map(|phone| phone.port).collect();
        assert_eq!(freed, ports);
    }
}
