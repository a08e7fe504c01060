//! The PBX's calls under a script of messages, mutated ones among them, while time goes on and an application does
//! this and that with each call: nothing panics, no input makes it send more than a bounded number of messages, and when
//! all is quiet it has forgotten everything.
#![no_main]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use pbx::control::{self, Action, Cause, Happening, Ids, LegId, Party, PlayId};
use pbx::{Applications, MediaPort, Now, Output, Pbx, Settings, Surroundings, Tables, Turn};
use records::{Changes, Op};
use transaction::{Flow, Time, Transport};
use voice::PortId;

const EPOCH_MS: u64 = 1_800_000_000_000;
/// A message of either leg to the other, and what both are told of it.
const SENDS_MAX: usize = 32;
/// Longer than a session lasts without a refresh, and what comes after it.
const IDLE_MS: u64 = 4_000_000;

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    let mut rest = data;
    while let [op, length, then @ ..] = rest {
        let (part, then) = then.split_at(usize::from(*length).min(then.len()));
        world.step(*op, part);
        rest = then;
    }
    world.ends();
});

/// Calls whom it likes.
#[derive(Default)]
struct Restless {
    count: u64,
    pairs: BTreeMap<LegId, LegId>,
}

impl Applications for Restless {
    fn happened(
        &mut self,
        _: Now,
        ids: &mut Ids,
        happening: &Happening,
        actions: &mut Vec<Action>,
    ) {
        self.count += 1;
        match happening {
            Happening::Incoming(incoming) => {
                let (a, b) = (incoming.leg, LegId(ids.issue()));
                self.pairs.extend([(a, b), (b, a)]);
                match self.count % 3 {
                    0 => actions.push(Action::Answer { leg: a }),
                    1 => actions.push(Action::Progress { leg: a }),
                    _ => {}
                }
                let caller = Party {
                    user: "1".into(),
                    ..Party::default()
                };
                actions.push(Action::Dial {
                    leg: b,
                    for_leg: Some(a),
                    target: incoming.called.user.clone(),
                    caller,
                    is_private: incoming.is_private,
                    diversions: incoming.diversions.clone(),
                    auto_answer: incoming.auto_answer,
                    referral: Default::default(),
                });
                actions.push(Action::Bridge { a, b });
            }
            Happening::Answered { leg } if self.count % 4 == 0 => actions.push(Action::Play {
                leg: *leg,
                play: PlayId(self.count),
                sounds: vec![control::Sound::Number(1)],
                from_ms: 0,
                repeat: false,
                barge_in: true,
            }),
            Happening::TransferTo { leg, .. } => actions.push(Action::TransferResult {
                leg: *leg,
                status: 404,
            }),
            Happening::Failed { leg, .. } | Happening::Ended { leg, .. } => {
                if let Some(leg) = self.pairs.remove(leg) {
                    actions.push(Action::Hangup {
                        leg,
                        cause: Cause {
                            status: 486,
                            q850: 17,
                            text: String::new(),
                        },
                    });
                }
            }
            _ => {}
        }
    }

    fn poll(&mut self, _: Now, _: &mut Ids, _: &mut Vec<Action>) {}

    fn next(&self, _: Time) -> Option<Time> {
        None
    }

    fn changes(&mut self, _: &mut Changes) {}

    fn restore(&mut self, _: Op<'_>) {}

    fn take_office(&mut self, _: Now, _: &mut Ids, _: &mut Vec<Action>) {}
}

#[derive(Default)]
struct Ports(u16);

impl Surroundings for Ports {
    fn take_port(&mut self, _: IpAddr, thread: Option<u16>) -> Option<MediaPort> {
        self.0 = self.0.wrapping_add(2);
        let address = SocketAddr::new([198, 51, 100, 7].into(), self.0);
        Some(MediaPort {
            thread: thread.unwrap_or(0),
            port: PortId(self.0.into()),
            address,
        })
    }

    fn take_port_at(&mut self, address: SocketAddr) -> Option<MediaPort> {
        Some(MediaPort {
            thread: 0,
            port: PortId(address.port().into()),
            address,
        })
    }

    fn give_back(&mut self, _: MediaPort) {}

    fn sound(&mut self, _: &control::Sound, out: &mut Vec<voice::Sound>) -> bool {
        out.push(voice::Sound::Silence { ms: 100 });
        true
    }
}

struct World {
    pbx: Pbx<Restless>,
    settings: Settings,
    ports: Ports,
    output: Output,
    now_ms: u64,
    /// What was sent last.
    sent: Vec<Vec<u8>>,
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        remote: ([192, 0, 2, 1], 5060).into(),
        local: ([198, 51, 100, 7], 5070).into(),
    }
}

impl World {
    fn new() -> World {
        let settings = Settings::new("example.org", flow());
        let now = Now {
            time: Time::ZERO,
            unix_ms: EPOCH_MS,
        };
        World {
            pbx: Pbx::new(now, (1, 2), 1, &settings, Restless::default()),
            settings,
            ports: Ports::default(),
            output: Output::default(),
            now_ms: 0,
            sent: Vec::new(),
        }
    }

    fn turn(&mut self, then: impl FnOnce(&mut Pbx<Restless>, &mut Turn<'_>)) {
        let now = Now {
            time: Time::from_ms(self.now_ms),
            unix_ms: EPOCH_MS + self.now_ms,
        };
        self.output.clear();
        let mut turn = Turn {
            settings: &self.settings,
            now,
            around: &mut self.ports,
            output: &mut self.output,
        };
        then(&mut self.pbx, &mut turn);
        for (bytes, _) in self.output.outbox.iter() {
            assert!(bytes.windows(4).any(|part| part == b"\r\n\r\n"));
            if self.sent.len() == 64 {
                self.sent.remove(0);
            }
            self.sent.push(bytes.to_vec());
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.turn(|pbx, turn| pbx.receive(turn, bytes, flow()));
        assert!(self.output.outbox.len() <= SENDS_MAX);
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(next) = self
            .pbx
            .next(Time::from_ms(self.now_ms))
            .filter(|next| next.as_ms() <= end)
        {
            self.now_ms = next.as_ms().max(self.now_ms + 1);
            self.turn(|pbx, turn| pbx.poll(turn));
        }
        self.now_ms = end;
    }

    /// One step: `op` says what, `part` with which bytes.
    fn step(&mut self, op: u8, part: &[u8]) {
        match op % 5 {
            0 => self.receive(part),
            1 => {
                let head = format!(
                    "INVITE sip:200@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{}\r\nFrom: <sip:1@a>;tag=a\r\nTo: <sip:200@a>\r\nCall-ID: c{}\r\nCSeq: 1 INVITE\r\nContact: <sip:1@192.0.2.9>\r\n",
                    op,
                    op / 5 % 4
                );
                self.receive(&[head.as_bytes(), part].concat());
            }
            // What was sent comes back as an answer, with a status and other lines before its own.
            2 | 3 => {
                let Some(at) = self.sent.len().checked_sub(1 + usize::from(op / 5) % 8) else {
                    return;
                };
                let text = self.sent[at].clone();
                let (begin, more) = part.split_at(part.len().min(3));
                let Some(line_end) = text.iter().position(|&byte| byte == b'\n') else {
                    return;
                };
                let start = match op % 5 {
                    2 => [b"SIP/2.0 ", begin, b" x\r\n"].concat(),
                    _ => [begin, b"X sip:x@y SIP/2.0\r\n"].concat(),
                };
                self.receive(&[&start, more, b"\r\n", &text[line_end + 1..]].concat());
            }
            _ => self.pass(u64::from(op) * 500),
        }
    }

    /// No phone answers any more: in the end nothing is left.
    fn ends(&mut self) {
        for _ in 0..4 {
            self.pass(IDLE_MS);
        }
        let tables = self.pbx.tables();
        // A caller that neither cancels nor is refused rings for ever: the edge's timer C ends it, and there is none here.
        let ringing = self
            .pbx
            .calls()
            .iter()
            .all(|call| call.is_incoming && !call.is_answered);
        assert!(tables == Tables::default() || ringing, "{tables:?}");
    }
}
