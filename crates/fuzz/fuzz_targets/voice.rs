//! The media engine under a script of commands, packets and time: nothing panics, what leaves is RTP or RTCP that holds together, and in the
//! end nothing is left.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use audio::tone::Tone;
use libfuzzer_sys::fuzz_target;
use voice::{
    Clip, Codec, Command, Digit, Direction, EndId, Format, Negotiated, PlayId, PortId, RecordId,
    Remote, RoomId, SampleRate, Settings, Sound, Stream, Time, Voice, Written,
};

const ENDS: u64 = 4;
const FORMATS: [Format; 4] = [
    Format::PCMU,
    Format::PCMA,
    Format::G722,
    Format {
        codec: Codec::Opus,
        payload_type: 111,
    },
];

fuzz_target!(|data: &[u8]| {
    let mut world = World {
        voice: Voice::new(Settings::default(), ENDS as u32 * 2),
        now_us: 1_700_000_000_000_000,
        sequence: 0,
        records: 0,
    };
    let mut script = Script(data);
    for end in 0..ENDS {
        world.open(end);
        world.describe(end, end as u8);
    }
    while let Some(()) = world.step(&mut script) {}
    world.end();
});

/// What is left of the fuzzer's bytes.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?);
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(bytes)
    }

    fn end(&mut self) -> Option<EndId> {
        Some(EndId(u64::from(self.byte()?) % ENDS))
    }
}

struct World {
    voice: Voice,
    now_us: u64,
    sequence: u16,
    records: u64,
}

fn address(end: EndId) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, end.0 as u8)), 4_000)
}

impl World {
    fn now(&self) -> Time {
        Time::from_micros(self.now_us)
    }

    fn command(&mut self, command: Command) {
        self.voice.command(self.now(), command);
    }

    fn open(&mut self, end: u64) {
        let stream = Stream {
            ssrc: end as u32,
            first_sequence: 65_530,
            first_timestamp: u32::MAX - 500,
            started_at: self.now(),
        };
        self.command(Command::Open {
            end: EndId(end),
            port: PortId(end as u32 * 2),
            stream,
        });
    }

    fn describe(&mut self, end: u64, what: u8) {
        let format = FORMATS[usize::from(what & 3)];
        let mut negotiated = Negotiated::symmetric(format, Some(101));
        if what & 4 != 0 {
            negotiated.receive = FORMATS.map(Some);
        }
        if what & 8 != 0 {
            negotiated.send_events = None;
        }
        let direction = [
            Direction::SendRecv,
            Direction::SendOnly,
            Direction::RecvOnly,
            Direction::Inactive,
        ][usize::from(what >> 4 & 3)];
        let remote = Box::new(Remote {
            rtp: (what & 64 == 0).then(|| address(EndId(end))),
            rtcp: None,
            rtcp_mux: what & 128 != 0,
            signalling: address(EndId(end)).ip(),
            learned: None,
            negotiated,
            direction,
        });
        let end = EndId(end);
        self.command(Command::Remote { end, remote });
    }

    /// A packet of the peer's with a header that is right, and any payload.
    fn packet(&mut self, end: EndId, script: &mut Script<'_>) -> Option<()> {
        let first = script.byte()?;
        let step = script.byte()?;
        let payload = script.bytes()?;
        self.sequence = self.sequence.wrapping_add(u16::from(step >> 6));
        let types = [0, 8, 9, 111, 101, 13, 0, 101];
        let mut packet = vec![0x80, types[usize::from(first & 7)] | (first & 0x80)];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend((u32::from(self.sequence) * 160 + u32::from(step & 63)).to_be_bytes());
        packet.extend([0, 0, 9, end.0 as u8]);
        packet.extend(payload);
        let (now, socket) = (self.now(), end.0 as u32 * 2);
        self.voice.receive(now, socket, address(end), &packet);
        Some(())
    }

    fn sounds(what: u8) -> Vec<Sound> {
        let clip = Clip::narrow(Arc::from([100_i16; 333]));
        let digit = Digit::of_event(what & 15);
        let mut sounds = vec![Sound::Clip(clip), Sound::Silence { ms: 7 }];
        sounds.extend(digit.map(|digit| Sound::Key {
            digit,
            ms: 40,
            pause_ms: u32::from(what),
        }));
        if what & 16 != 0 {
            sounds.push(Sound::Tone {
                tone: Tone::MILLIWATT,
                ms: u32::from(what >> 5) * 30,
            });
        }
        if what & 32 != 0 {
            let rate = SampleRate::Hz16000;
            sounds.push(Sound::Feed { rate });
        }
        sounds
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        let what = script.byte()?;
        let end = script.end()?;
        match what % 16 {
            0 | 1 => self.packet(end, script)?,
            2 => {
                let packet = script.bytes()?;
                let socket = end.0 as u32 * 2 + u32::from(what >> 7);
                self.voice.receive(self.now(), socket, address(end), packet);
            }
            3 | 4 => self.run(u64::from(script.byte()?) * 1_000),
            5 => self.describe(end.0, script.byte()?),
            6 => {
                let b = script.end()?;
                self.command(Command::Connect { a: end, b });
            }
            7 => {
                let room = RoomId(u64::from(what >> 7));
                let muted = what & 64 != 0;
                self.command(Command::Join { end, room, muted });
            }
            8 => self.command(Command::Disconnect { end }),
            9 => {
                let how = script.byte()?;
                self.command(Command::Play {
                    end,
                    play: PlayId(1),
                    sounds: World::sounds(script.byte()?),
                    from_ms: u32::from(how) * 3,
                    times: u32::from(how & 3),
                    barge_in: how & 4 != 0,
                });
            }
            10 => self.record(end, what),
            11 => self.command(Command::Echo { end }),
            12 => {
                let digits = script.bytes()?.iter();
                let digits = digits.filter_map(|it| Digit::of_event(it & 15)).collect();
                self.command(Command::SendDigits {
                    end,
                    digits,
                    ms: u32::from(what),
                    pause_ms: 40,
                });
            }
            13 => self.command(Command::DetectInBand {
                end,
                on: what & 64 != 0,
            }),
            14 => self.command(Command::RoomPlay {
                room: RoomId(u64::from(what >> 7)),
                play: PlayId(2),
                sounds: World::sounds(script.byte()?),
                times: 1,
            }),
            _ => {
                self.command(Command::Close { end });
                self.open(end.0);
                self.describe(end.0, script.byte()?);
            }
        }
        Some(())
    }

    fn record(&mut self, end: EndId, what: u8) {
        self.records += 1;
        self.command(Command::Record {
            end,
            record: RecordId(self.records),
            both: what & 16 != 0,
            written: Written::Pcm16,
            rate: SampleRate::Hz16000,
            ms_max: 500,
            silence_ms: 200,
            beep: what & 32 != 0,
        });
    }

    fn run(&mut self, us: u64) {
        let until = self.now_us + us;
        loop {
            let next = self.voice.next().map_or(until, Time::as_micros);
            self.now_us = next.clamp(self.now_us, until);
            let now = self.now();
            self.voice.tick(now, |socket, _, packet| {
                assert!(socket < ENDS as u32 * 2 && packet.len() >= 8 && packet.len() < 1_400);
                match rtp::classify(packet) {
                    rtp::Class::Rtcp => {
                        let form = rtp::rtcp::Form::Compound;
                        assert!(rtp::rtcp::Compound::parse(packet, form).is_ok());
                    }
                    _ => assert!(rtp::Packet::parse(packet).is_ok()),
                }
            });
            self.voice.events().clear();
            if self.now_us >= until {
                return;
            }
        }
    }

    fn end(mut self) {
        for end in 0..ENDS {
            self.command(Command::Close { end: EndId(end) });
        }
        self.run(20_000);
        assert!(self.voice.is_empty() && self.voice.next().is_none());
    }
}
