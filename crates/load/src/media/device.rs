//! The sound of one phone: a file or a tone to say, keys to press, what is heard to be recorded.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audio::dtmf::Digit;
use audio::event::{Change, Payload, Receiver, Sender};
use audio::g711::Law;
use audio::wav::{self, Written};
use rtp::{ClockRate, Header, Micros, Packet, PayloadType, Reception, Sequence, Ssrc, Timestamp};

use super::thread::{Bound, MediaThread, Word};
use super::{Command, PACKET_BYTES, PACKET_US, SAMPLES};
use crate::clock::Clock;
use crate::station::Event;
use crate::tally::Tally;
use crate::worker::Shared;

const HZ: u32 = 8_000;
const LAW: Law = Law::Mu;
/// The payload type that our descriptions give telephone events.
const EVENTS: u8 = 101;
/// From a call's answer to the first key, and from key to key.
const KEY_PAUSE_US: u64 = 500_000;
/// How long a key is pressed, in units of the timestamp.
const KEY_UNITS: u32 = HZ / 10;
/// The longest recording, in samples: an hour.
const RECORDING_MAX: usize = HZ as usize * 3_600;

/// What a phone says and does with what it hears.
#[derive(Debug, Clone, Default)]
pub struct Sound {
    /// Samples at 8,000 Hz, again and again; none is silence.
    pub says: Vec<i16>,
    /// Keys to press once the call is answered.
    pub keys: Vec<Digit>,
    /// Where what is heard is written, as a WAV file.
    pub record: Option<PathBuf>,
}

/// The call whose sound it is.
struct Talk {
    peer: SocketAddr,
    number: u32,
    ssrc: Ssrc,
    reception: Reception,
    key: Option<Sender>,
    next_key: usize,
    next_key_us: u64,
    events: Receiver,
    heard_keys: String,
    recording: Vec<i16>,
    first_timestamp: Option<u32>,
}

pub(super) struct Device {
    sound: Sound,
    talk: Option<Talk>,
    run: u32,
    shared: Arc<Shared>,
    tally: Tally,
}

/// Starts the thread of a phone's sound.
pub(crate) fn start(
    bound: Bound,
    sound: Sound,
    clock: Clock,
    run: u32,
    shared: Arc<Shared>,
) -> io::Result<MediaThread> {
    let mut media = bound.media;
    let (words, inbox) = channel();
    let waker = media.waker();
    let shown = Arc::new(Mutex::new(Tally::default()));
    let mut device = Device {
        sound,
        talk: None,
        run,
        shared,
        tally: Tally::default(),
    };
    let thread = std::thread::Builder::new()
        .name("sound".to_owned())
        .spawn(move || {
            let mut next_us = clock.us();
            loop {
                while let Ok(word) = inbox.try_recv() {
                    match word {
                        Word::Command(command) => device.command(clock.us(), command),
                        Word::Stop => {
                            device.end(clock.us());
                            return Ok(std::mem::take(&mut device.tally));
                        }
                    }
                }
                if clock.us() >= next_us {
                    next_us += PACKET_US;
                    if let Some((packet, length, peer)) = device.packet(clock.us()) {
                        // What the kernel does not take is lost, as on a network.
                        let _ = media.send(0, &packet[..length], peer);
                    }
                }
                let wait = Duration::from_micros(next_us.saturating_sub(clock.us()));
                media.turn(wait, |_, _, packet| {
                    device.receive(clock.us(), packet);
                    None
                })?;
            }
        })?;
    Ok(MediaThread {
        words,
        waker,
        shown,
        thread,
    })
}

impl Device {
    fn command(&mut self, now_us: u64, command: Command) {
        if let Command::Peer { peer, .. } = command {
            if let Some(talk) = self.talk.as_mut() {
                talk.peer = peer;
            }
            return;
        }
        self.end(now_us);
        if let Command::Begin { peer, .. } = command {
            self.tally.packets.streams += 1;
            self.talk = Some(Talk {
                peer,
                number: 0,
                ssrc: Ssrc(self.run),
                reception: Reception::default(),
                key: None,
                next_key: 0,
                next_key_us: now_us + KEY_PAUSE_US,
                events: Receiver::default(),
                heard_keys: String::new(),
                recording: Vec::new(),
                first_timestamp: None,
            });
        }
    }

    /// The packet that is due: sound, or the key that is pressed.
    fn packet(&mut self, now_us: u64) -> Option<([u8; PACKET_BYTES], usize, SocketAddr)> {
        let talk = self.talk.as_mut()?;
        let mut packet = [0; PACKET_BYTES];
        let at = talk.number.wrapping_mul(SAMPLES as u32);
        let mut header = Header {
            marker: talk.number == 0,
            payload_type: PayloadType::default(),
            sequence: Sequence(talk.number as u16),
            timestamp: Timestamp(at),
            ssrc: talk.ssrc,
        };
        talk.number = talk.number.wrapping_add(1);
        if talk.key.is_none()
            && now_us >= talk.next_key_us
            && let Some(key) = self.sound.keys.get(talk.next_key)
        {
            talk.next_key += 1;
            talk.key = Some(Sender::new(key.event(), 10, at, Some(KEY_UNITS)));
        }
        self.tally.packets.sent += 1;
        let body = &mut packet[rtp::HEADER_BYTES..];
        let sent = talk.key.as_mut().and_then(|key| key.send(SAMPLES as u16));
        let length = match sent {
            Some(event) => {
                header.marker = event.marker;
                header.timestamp = Timestamp(event.timestamp);
                header.payload_type = PayloadType::new(EVENTS).unwrap_or_default();
                body[..Payload::BYTES].copy_from_slice(&event.payload.to_bytes());
                Payload::BYTES
            }
            None => {
                if talk.key.take().is_some() {
                    talk.next_key_us = now_us + KEY_PAUSE_US;
                }
                let says = &self.sound.says;
                for (place, byte) in body.iter_mut().enumerate() {
                    let sample = says.get((at as usize + place) % says.len().max(1));
                    *byte = LAW.encode_sample(sample.copied().unwrap_or(0));
                }
                SAMPLES
            }
        };
        packet[..rtp::HEADER_BYTES].copy_from_slice(&header.to_bytes());
        Some((packet, rtp::HEADER_BYTES + length, talk.peer))
    }

    fn receive(&mut self, now_us: u64, bytes: &[u8]) {
        let Some(talk) = self.talk.as_mut() else {
            return;
        };
        if rtp::classify(bytes) != rtp::Class::Rtp {
            return;
        }
        let Ok(packet) = Packet::parse(bytes) else {
            self.tally.packets.corrupt += 1;
            return;
        };
        self.tally.packets.received += 1;
        talk.reception
            .receive(&packet, Micros(now_us), ClockRate::new(HZ));
        let kind = packet.payload_type().number();
        if kind == EVENTS {
            let Ok(payload) = Payload::parse(packet.payload()) else {
                return;
            };
            let keys = &mut talk.heard_keys;
            talk.events
                .receive(payload, packet.timestamp().0, now_us, |change| {
                    if let Change::Begun(event) = change
                        && let Some(key) = Digit::of_event(event)
                        && keys.len() < 256
                    {
                        keys.push(key.sign());
                    }
                });
        } else if kind == 0 {
            // Sound lies where its timestamp says; what was lost is silence.
            let first = *talk.first_timestamp.get_or_insert(packet.timestamp().0);
            let start = packet.timestamp().0.wrapping_sub(first) as usize;
            let end = start.saturating_add(packet.payload().len());
            if end <= RECORDING_MAX {
                let length = talk.recording.len().max(end);
                talk.recording.resize(length, 0);
                LAW.decode(packet.payload(), &mut talk.recording[start..end]);
            }
        }
    }

    fn end(&mut self, now_us: u64) {
        let Some(talk) = self.talk.take() else { return };
        let found = talk.reception.statistics();
        self.tally.packets.lost += u64::from(found.lost);
        self.tally.gap.add(u64::from(found.gap_us_max));
        self.tally.jitter.add(u64::from(found.jitter_us));
        let file_error = self.sound.record.as_ref().and_then(|path| {
            let mut file = Vec::new();
            let bytes = u32::try_from(talk.recording.len() * 2).unwrap_or(wav::SOUND_BYTES_MAX);
            file.extend_from_slice(&wav::header(Written::Pcm16, HZ, bytes));
            wav::push(Written::Pcm16, &talk.recording, &mut file);
            fs::write(path, file).err().map(|error| error.to_string())
        });
        let event = Event::Heard {
            packets: found.packets,
            lost: found.lost,
            gap_us_max: found.gap_us_max,
            keys: talk.heard_keys,
            loudness: loudness(&talk.recording),
            file_error,
        };
        let mut told = self
            .shared
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        told.push((now_us, event));
    }
}

/// The root of the mean square of the samples: 0 is silence.
fn loudness(sound: &[i16]) -> u16 {
    let sum: u64 = sound
        .iter()
        .map(|sample| u64::from(sample.unsigned_abs()).pow(2))
        .sum();
    let mean = sum.checked_div(sound.len() as u64).unwrap_or(0);
    u16::try_from(mean.isqrt()).unwrap_or(u16::MAX)
}
