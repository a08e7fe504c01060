//! The relay under a script of commands, packets and waits: nothing panics, ports are kept, a packet goes
//! from an open port of the same call and never back to where it came, and in the end the tables are empty.
#![no_main]

use std::collections::BTreeSet;
use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use relay::{
    Command, Direction, Event, Formats, Kind, Learn, Port, PortTable, Relay, Remote, SessionId,
    Settings, Time,
};

const SESSIONS: u64 = 4;
const SESSIONS_MAX: u32 = 3;
const PAIRS: u32 = 12;
const HOLD_MS: u64 = 120_000;
/// Rounds of waiting after which the last session is dead.
const IDLE_ROUNDS: u32 = 10;

fuzz_target!(|data: &[u8]| {
    let Some((&first, script)) = data.split_first() else {
        return;
    };
    let mut world = World::new(first & 1 == 1);
    let mut script = Script(script);
    while let Some(()) = world.step(&mut script) {}
    world.ends(first & 2 == 2);
});

/// What is left of the fuzzer's bytes.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn session(&mut self) -> Option<SessionId> {
        Some(SessionId(u64::from(self.byte()?) % SESSIONS))
    }

    /// One of few hosts and ports, some of which nothing can be sent to.
    fn address(&mut self) -> Option<SocketAddr> {
        let byte = self.byte()?;
        let port = [4_000, 4_001, 5_000, 0][usize::from(byte >> 4 & 3)];
        Some(match byte & 7 {
            0 => SocketAddr::from(([0; 4], port)),
            7 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], port)),
            host => SocketAddr::from(([192, 0, 2, host], port)),
        })
    }

    fn remote(&mut self) -> Option<Remote> {
        let flags = self.byte()?;
        let mut formats = Formats::new();
        for _ in 0..flags & 3 {
            formats.add(self.byte()?, u32::from(self.word()?) * 50);
        }
        let directions = [
            Direction::SendRecv,
            Direction::SendOnly,
            Direction::RecvOnly,
            Direction::Inactive,
        ];
        let rtp = self.address()?;
        Some(Remote {
            rtp: (flags & 4 == 0).then_some(rtp),
            rtcp: match flags & 8 {
                0 => None,
                _ => Some(self.address()?),
            },
            rtcp_mux: flags & 16 == 16,
            signalling: match flags & 32 {
                0 => rtp.ip(),
                _ => self.address()?.ip(),
            },
            direction: directions[usize::from(flags >> 6)],
            formats,
        })
    }

    /// RTP that holds together, with numbers that may go on.
    fn rtp(&mut self) -> Option<Vec<u8>> {
        let (ssrc, sequence) = (self.byte()?, self.word()?);
        let mut packet = vec![0x80, self.byte()?];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 160).to_be_bytes());
        packet.extend([0, 0, 0, ssrc % 4]);
        packet.resize(32, 0);
        Some(packet)
    }
}

struct World {
    relay: Relay,
    ports: PortTable,
    taken: BTreeSet<Port>,
    now: Time,
}

impl World {
    fn new(is_open: bool) -> World {
        let mut ports = PortTable::new(1);
        for pair in 0..PAIRS {
            ports.add(0, Port(2 * pair));
        }
        let settings = Settings {
            hold_ms: HOLD_MS,
            sessions_max: SESSIONS_MAX,
            learn: if is_open { Learn::Open } else { Learn::Guarded },
            ..Settings::default()
        };
        World {
            relay: Relay::new(settings, 2 * PAIRS),
            ports,
            taken: BTreeSet::new(),
            now: Time::from_ms(1),
        }
    }

    /// One step of the script, as long as there is one.
    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 10 {
            0 | 1 => self.open(script)?,
            2 => {
                let command = Command::Remote {
                    session: script.session()?,
                    stream: script.byte()? % 3,
                    side: script.byte()? % 4,
                    relearn: script.byte()? & 1 == 1,
                    remote: script.remote()?,
                };
                self.relay.command(self.now, command);
            }
            3 => self.close(script)?,
            4 => {
                let command = Command::Select {
                    session: script.session()?,
                    side: script.byte()? % 4,
                };
                self.relay.command(self.now, command);
            }
            5 => self.wait(u64::from(script.word()?)),
            6 => self.wait(u64::from(script.byte()?)),
            7 | 8 => {
                let (socket, source) = (script.byte()?, script.address()?);
                let packet = script.rtp()?;
                self.receive(u32::from(socket) % (2 * PAIRS), source, packet);
            }
            _ => {
                let (socket, source) = (script.byte()?, script.address()?);
                let length = usize::from(script.byte()?);
                let packet = script.bytes(length).to_vec();
                self.receive(u32::from(socket), source, packet);
            }
        }
        self.drain();
        Some(())
    }

    /// A port is opened that was just taken, or one that is somebody's or nobody's at all.
    fn open(&mut self, script: &mut Script<'_>) -> Option<()> {
        let (session, stream, side) = (script.session()?, script.byte()?, script.byte()?);
        let which = script.byte()?;
        let kind = match which & 1 {
            0 => Kind::Rtp,
            _ => Kind::Datagram,
        };
        let port = match which & 0xf0 {
            0xf0 => Port(2 * PAIRS + u32::from(which)),
            0xe0 => self.taken.first().copied()?,
            _ => self.ports.take(0)?,
        };
        if which & 0xf0 < 0xe0 {
            assert!(self.taken.insert(port));
        }
        let open = Command::Open {
            session,
            stream: stream % 36,
            side: side % 18,
            port,
            kind,
        };
        self.relay.command(self.now, open);
        Some(())
    }

    fn close(&mut self, script: &mut Script<'_>) -> Option<()> {
        let (session, which) = (script.session()?, script.byte()?);
        let command = match which >> 6 {
            0 => Command::Close { session },
            1 => Command::CloseStream {
                session,
                stream: which % 3,
            },
            _ => Command::CloseSide {
                session,
                side: which % 4,
            },
        };
        self.relay.command(self.now, command);
        Some(())
    }

    fn receive(&mut self, socket: u32, source: SocketAddr, mut packet: Vec<u8>) {
        let before = packet.clone();
        let sent = self.relay.receive(self.now, socket, source, &mut packet);
        assert_eq!(packet, before);
        if let Some((from, to)) = sent {
            assert!(self.taken.contains(&Port(from & !1)));
            assert!(self.taken.contains(&Port(socket & !1)));
            assert_ne!(from & !1, socket & !1);
            assert_ne!((from, to), (socket, source));
            assert!(!before.is_empty() && before.len() <= 1_500);
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.plus_micros(ms * 1_000);
        while self.relay.next().is_some_and(|next| next <= self.now) {
            self.relay.expire(self.now);
        }
    }

    fn drain(&mut self) {
        for port in self.relay.freed().drain(..) {
            assert!(self.taken.remove(&port), "each port is freed once");
            assert!(self.ports.give_back(0, port));
        }
        let (sessions, legs) = self.relay.tables();
        assert!(sessions <= SESSIONS_MAX as usize);
        assert_eq!(legs, self.taken.len());
        assert_eq!(self.ports.in_use(), legs);
        assert_eq!(self.relay.next().is_some(), sessions > 0);
        for event in self.relay.events().drain(..) {
            if let Event::Closed { session, report } | Event::Silent { session, report } = event {
                assert_eq!(report.session, session);
                for leg in &report.legs {
                    assert!((0.0..=100.0).contains(&leg.loss_percent));
                    assert!(leg.mos.is_none_or(|mos| (1.0..=4.5).contains(&mos)));
                }
            }
        }
    }

    /// Everything is closed, or left alone until it is dead.
    fn ends(mut self, is_closed: bool) {
        match is_closed {
            true => {
                for session in (0..SESSIONS).map(SessionId) {
                    self.relay.command(self.now, Command::Close { session });
                }
            }
            false => {
                for _ in 0..IDLE_ROUNDS {
                    self.wait(HOLD_MS);
                }
            }
        }
        self.drain();
        assert_eq!(self.relay.tables(), (0, 0));
        assert_eq!(self.ports.free(0), PAIRS as usize);
        let totals = self.relay.totals();
        let ended = totals.sessions_closed + totals.sessions_silent;
        assert_eq!(totals.sessions_opened, ended);
    }
}
