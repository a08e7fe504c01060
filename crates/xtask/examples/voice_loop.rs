//! What the PBX's media engine costs, without sockets: CPU a stream of each kind, and of a conference of a hundred.
//!
//! `cargo run --release -p xtask --example voice_loop [SECONDS]`: seconds of media in each row, 20 by default. CPU is that of
//! this thread.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use audio::g711::Law;
use audio::{SampleRate, g722, opus};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;
use rtp::{Header, PayloadType, Sequence, Ssrc, Timestamp};
use voice::{
    Clip, Codec, Command, Direction, EndId, Format, Negotiated, PlayId, PortId, Remote, RoomId,
    Settings, Sound, Stream, Time, Voice,
};

const OPUS: Format = Format {
    codec: Codec::Opus,
    payload_type: 111,
};
const START_US: u64 = 1_700_000_000_000_000;

fn address(n: u64) -> SocketAddr {
    let [_, _, c, d] = (n as u32).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, c, d)), 4_000)
}

/// Nanoseconds that this thread ran.
fn cpu_ns() -> u64 {
    let ran = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
    ran.map_or(0, |ran| ran.num_nanoseconds().cast_unsigned())
}

/// Something like speech: two tones that come and go.
fn speech(rate: SampleRate, ms: u32, seed: u32) -> Vec<i16> {
    let hz = 200.0 + f64::from(seed % 7) * 60.0;
    let step = std::f64::consts::TAU / f64::from(rate.hz());
    (0..rate.samples(ms))
        .map(|n| {
            let at = n as f64 * step;
            let loud = (at * 1.5).sin().max(0.0);
            (loud * (6_000.0 * (at * hz).sin() + 3_000.0 * (at * hz * 3.7).sin())) as i16
        })
        .collect()
}

/// The payloads of a speaker, 20 ms each.
fn payloads(codec: Codec, sound: &[i16]) -> Vec<Vec<u8>> {
    let mut wide = g722::Encoder::default();
    let settings = opus::Settings {
        rate: codec.rate(),
        ..opus::Settings::default()
    };
    let mut opus = opus::Encoder::new(&settings).expect("memory");
    let frames = sound.chunks_exact(codec.rate().samples(20));
    frames
        .map(|frame| {
            let mut payload = vec![0; opus::PAYLOAD_BYTES_MAX];
            let length = match codec {
                Codec::Pcmu => {
                    Law::Mu.encode(frame, &mut payload);
                    frame.len()
                }
                Codec::Pcma => {
                    Law::A.encode(frame, &mut payload);
                    frame.len()
                }
                Codec::G722 => {
                    wide.encode(frame, &mut payload);
                    frame.len() / 2
                }
                Codec::Opus => opus.encode(frame, &mut payload).expect("20 ms"),
            };
            payload.truncate(length);
            payload
        })
        .collect()
}

/// An engine with peers that send.
struct Bench {
    voice: Voice,
    formats: Vec<Format>,
    sends: Vec<bool>,
    sounds: Vec<(Codec, Vec<Vec<u8>>)>,
    silent: Vec<(Codec, Vec<Vec<u8>>)>,
    seconds: u64,
}

impl Bench {
    fn new(formats: &[Format], seconds: u64) -> Bench {
        let mut voice = Voice::new(Settings::default(), formats.len() as u32 * 2);
        let now = Time::from_micros(START_US);
        for (n, format) in (0..).zip(formats) {
            let (end, port) = (EndId(n), PortId(n as u32 * 2));
            let stream = Stream {
                ssrc: n as u32,
                first_sequence: 0,
                first_timestamp: 0,
                started_at: Time::from_micros(START_US + n * 700 % 20_000),
            };
            let remote = Box::new(Remote {
                rtp: Some(address(n)),
                rtcp: None,
                rtcp_mux: false,
                signalling: address(n).ip(),
                learned: None,
                negotiated: Negotiated::symmetric(*format, Some(101)),
                direction: Direction::SendRecv,
            });
            voice.command(now, Command::Open { end, port, stream });
            voice.command(now, Command::Remote { end, remote });
        }
        let codecs = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];
        let of = |sound: &dyn Fn(Codec) -> Vec<i16>| {
            codecs
                .into_iter()
                .map(|codec| (codec, payloads(codec, &sound(codec))))
                .collect()
        };
        Bench {
            voice,
            formats: formats.to_vec(),
            sends: vec![true; formats.len()],
            sounds: of(&|codec| speech(codec.rate(), 10_000, 3)),
            silent: of(&|codec| vec![0; codec.rate().samples(1_000)]),
            seconds,
        }
    }

    fn command(&mut self, command: Command) {
        self.voice.command(Time::from_micros(START_US), command);
    }

    /// Runs; `speaks` says who speaks in which second. Gives the CPU in nanoseconds of a second of media.
    fn run(&mut self, speaks: impl Fn(u64, u64) -> bool) -> f64 {
        // All packets are made before, for the peers' work is not ours. The first second warms up.
        let frames: Vec<Vec<(u64, Vec<u8>)>> = (0..(self.seconds + 1) * 50)
            .map(|frame| {
                let ends = (0..).zip(&self.formats);
                ends.filter(|(end, _)| self.sends[*end as usize])
                    .map(|(end, format)| {
                        (
                            end,
                            self.packet(end, *format, frame, speaks(end, frame / 50)),
                        )
                    })
                    .collect()
            })
            .collect();
        let mut began = 0;
        for (frame, mine) in (0..).zip(&frames) {
            if frame == 50 {
                began = cpu_ns();
            }
            for slot in 0..10 {
                let now = Time::from_micros(START_US + frame * 20_000 + slot * 2_000 + 300);
                let share = mine.len().div_ceil(10);
                for (end, packet) in mine.iter().skip(slot as usize * share).take(share) {
                    let socket = *end as u32 * 2;
                    self.voice.receive(now, socket, address(*end), packet);
                }
                self.voice.tick(now, |_, _, packet| {
                    std::hint::black_box(packet);
                });
            }
            self.voice.events().clear();
        }
        (cpu_ns() - began) as f64 / self.seconds as f64
    }

    fn packet(&self, end: u64, format: Format, n: u64, speaks: bool) -> Vec<u8> {
        let pool = if speaks { &self.sounds } else { &self.silent };
        let (_, payloads) = pool
            .iter()
            .find(|(codec, _)| *codec == format.codec)
            .expect("each codec");
        let header = Header {
            marker: false,
            payload_type: PayloadType::new(format.payload_type).expect("a type"),
            sequence: Sequence(n as u16),
            timestamp: Timestamp((n * u64::from(format.codec.clock_hz() / 50)) as u32),
            ssrc: Ssrc(0x9000 + end as u32),
        };
        let mut packet = header.to_bytes().to_vec();
        packet.extend_from_slice(&payloads[(n + end * 7) as usize % payloads.len()]);
        packet
    }
}

fn row(name: &str, what: &str, ns: f64, streams: usize) {
    let each = ns / streams as f64;
    println!(
        "{name:<28} {:>8.1} µs CPU a second and {what} ({:.3} % of a core)",
        each / 1_000.0,
        each / 1e7
    );
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|it| it.parse().ok());
    let seconds = seconds.unwrap_or(20_u64).max(2);
    prompts(seconds);
    bridges(seconds);
    conferences(seconds);
}

/// One prompt to many, who are silent.
fn prompts(seconds: u64) {
    for (name, format) in [
        ("pcmu", Format::PCMU),
        ("g722", Format::G722),
        ("opus", OPUS),
    ] {
        let clip = Clip::new(
            Arc::from(speech(SampleRate::Hz8000, 10_000, 1)),
            Arc::from(speech(SampleRate::Hz16000, 10_000, 1)),
        );
        // What is cheap needs many, for the kernel counts CPU coarsely.
        let calls: usize = if format == Format::PCMU { 1_000 } else { 100 };
        let mut bench = Bench::new(&vec![format; calls], seconds);
        for n in 0..calls as u64 {
            bench.command(Command::Play {
                end: EndId(n),
                play: PlayId(n),
                sounds: vec![Sound::Clip(clip.clone())],
                from_ms: 0,
                times: 0,
                barge_in: true,
            });
        }
        let ns = bench.run(|_, _| false);
        row(&format!("voice-prompt-{name}"), "call", ns, calls);
    }
}

/// Two ends that hear each other, both or one of them sending.
fn bridges(seconds: u64) {
    for (name, a, b) in [
        ("pcmu-pcmu", Format::PCMU, Format::PCMU),
        ("pcmu-pcma", Format::PCMU, Format::PCMA),
        ("pcmu-g722", Format::PCMU, Format::G722),
        ("pcmu-opus", Format::PCMU, OPUS),
        ("g722-opus", Format::G722, OPUS),
    ] {
        for (direction, sends) in [
            ("both ways", [true, true]),
            (">", [true, false]),
            ("<", [false, true]),
        ] {
            let is_cheap = b == Format::PCMU || b == Format::PCMA;
            let calls: usize = if is_cheap { 500 } else { 20 };
            let formats: Vec<Format> = (0..calls * 2)
                .map(|n| if n % 2 == 0 { a } else { b })
                .collect();
            let mut bench = Bench::new(&formats, seconds);
            bench.sends = (0..calls * 2).map(|n| sends[n % 2]).collect();
            for n in 0..calls as u64 {
                let (a, b) = (EndId(n * 2), EndId(n * 2 + 1));
                bench.command(Command::Connect { a, b });
            }
            let ns = bench.run(|_, _| true);
            row(
                &format!("voice-bridge-{name} {direction}"),
                "call",
                ns,
                calls,
            );
        }
    }
}

/// A hundred in a conference, three of whom speak.
fn conferences(seconds: u64) {
    for (name, formats) in [
        ("pcmu", [Format::PCMU; 4]),
        ("mixed", [Format::PCMU, Format::PCMU, Format::G722, OPUS]),
        ("opus", [OPUS; 4]),
    ] {
        let formats: Vec<Format> = (0..100).map(|n| formats[n % 4]).collect();
        let mut bench = Bench::new(&formats, seconds);
        for n in 0..100 {
            bench.command(Command::Join {
                end: EndId(n),
                room: RoomId(1),
                muted: false,
            });
        }
        // Three at a time, others in turn.
        let ns = bench.run(|end, second| (end + second) % 33 == 0);
        row(&format!("voice-conference-100 {name}"), "conference", ns, 1);
    }
}
