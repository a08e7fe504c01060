//! The traffic generator's phones under responses and requests of a script, mutated ones among them, while time goes on: nothing panics, an
//! input is answered by a bounded number of messages, what is sent looks like SIP, and in the end no call, answer or timer is left.
#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use load::{Answering, Begin, Calling, Now, Port, Registering, Settings, Station, User};
use transaction::{Flow, Timers, Transport};

/// What one input may bring about.
const SENDS_MAX: usize = 8;
/// What is kept of what was sent.
const SENT_MAX: usize = 32;
/// Longer than all timers together: the ringing, CANCEL, BYE.
const IDLE_MS: u64 = 200_000;

/// Lines of answers.
const LINES: [&str; 6] = [
    "",
    "Contact: <sip:b@127.0.0.1:6000>\r\n",
    "Contact: <sip:b@127.0.0.1:6000>\r\nRecord-Route: <sip:127.0.0.2;lr>, <sip:p.example;lr>\r\n",
    "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n",
    "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, opaque=\"o\"\r\n",
    "Retry-After: 3\r\nExpires: 20\r\n",
];
const BODY: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 7000 RTP/AVP 0\r\n";

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    let mut script = Script(data);
    while world.step(&mut script).is_some() {}
    world.ends();
});

/// What is left of the fuzzer's bytes.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn word(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) << 8 | usize::from(self.byte()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.word()?;
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(bytes)
    }

    /// Puts other bytes into a text.
    fn change(&mut self, text: &mut [u8]) -> Option<()> {
        for _ in 0..self.byte()? & 7 {
            let (at, byte) = (self.word()?, self.byte()?);
            let length = text.len().max(1);
            if let Some(place) = text.get_mut(at % length) {
                *place = byte;
            }
        }
        Some(())
    }
}

struct World {
    station: Station,
    now_us: u64,
    sent: Vec<Vec<u8>>,
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn settings() -> Settings {
    let user = |name: &str| User {
        name: name.into(),
        password: "secret".into(),
    };
    Settings {
        target: at("127.0.0.1:5060"),
        transport: Transport::Udp,
        domain: "x".to_owned(),
        sources: vec![at("127.0.0.1:5070")],
        threads: 1,
        users: vec![user("alice"), user("bob")],
        registering: Some(Registering {
            per_s: 100.0,
            expires_s: 60,
            is_cycling: false,
        }),
        calling: Some(Calling {
            per_s: 20.0,
            active_max: 4,
            total: Some(12),
            duration_ms: 1_000,
            duration_spread_ms: 500,
            to: None,
            answer_timeout_ms: 20_000,
            cancel_per_mille: 250,
            cancel_after_ms: 100,
            reinvite_per_mille: 500,
            reinvite_after_ms: 300,
        }),
        answering: Answering {
            ring_ms: 100,
            status: 486,
            refuse_per_mille: 200,
            ignore_per_mille: 100,
            hang_up_per_mille: 500,
            hang_up_after_ms: 300,
        },
        has_media: true,
        streams_max: 8,
        sound: None,
        stays: false,
        span_ms: None,
        grace_ms: 0,
        timers: Timers::default(),
        is_told: true,
    }
}

impl World {
    fn new() -> World {
        let port = |socket: u32| Port {
            socket,
            address: SocketAddr::from(([127, 0, 0, 1], 30_000 + socket as u16)),
        };
        let begin = Begin {
            thread: 0,
            run: 1,
            locals: vec![at("127.0.0.1:5070")],
            ports: (0..8).map(port).collect(),
            silent_port: 9,
        };
        let now = Now { us: 0 };
        let mut station = Station::new(Arc::new(settings()), begin, now);
        station.start_calls(now);
        World {
            station,
            now_us: 0,
            sent: Vec::new(),
        }
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? & 3 {
            0 => {
                let ms = script.word()?;
                self.wait(ms as u64);
            }
            1 => {
                let bytes = script.bytes()?.to_vec();
                self.feed(&bytes);
            }
            2 => {
                let request = self.nth(script.byte()?)?;
                let status = 100 + script.word()? % 600;
                let lines = LINES[usize::from(script.byte()?) % LINES.len()];
                let mut text = response(&request, status, lines);
                script.change(&mut text)?;
                self.feed(&text);
            }
            // Calls come back to who made them.
            _ => {
                let mut text = self.nth(script.byte()?)?;
                script.change(&mut text)?;
                self.feed(&text);
            }
        }
        Some(())
    }

    /// One of the last messages that were sent.
    fn nth(&self, which: u8) -> Option<Vec<u8>> {
        let at = usize::from(which) % self.sent.len().max(1);
        Some(self.sent.iter().rev().nth(at).cloned().unwrap_or_default())
    }

    fn feed(&mut self, bytes: &[u8]) {
        let flow = Flow {
            transport: Transport::Udp,
            remote: at("127.0.0.1:5060"),
            local: at("127.0.0.1:5070"),
        };
        self.station.receive(Now { us: self.now_us }, flow, bytes);
        assert!(self.station.outbox.len() <= SENDS_MAX);
        self.gather();
    }

    fn wait(&mut self, ms: u64) {
        self.now_us += ms * 1_000;
        self.station.poll(Now { us: self.now_us });
        self.gather();
    }

    fn gather(&mut self) {
        for (bytes, _) in self.station.outbox.iter() {
            assert!(sip::scan::kind(bytes) == sip::scan::Kind::Sip);
            self.sent.push(bytes.to_vec());
        }
        self.station.outbox.clear();
        let surplus = self.sent.len().saturating_sub(SENT_MAX);
        self.sent.drain(..surplus);
    }

    /// Nobody answers any more.
    fn ends(mut self) {
        self.station.stop();
        for _ in 0..IDLE_MS / 500 {
            self.wait(500);
        }
        assert_eq!(self.station.tally.calls.active, 0);
        // Calls that were taken wait for their callers.
        self.station.abandon(Now { us: self.now_us });
        assert!(self.station.is_done());
        assert_eq!(self.station.tally.answers.active, 0);
        let counts = &self.station.tally.calls;
        let failed = self.station.tally.call_failures.total();
        assert_eq!(
            counts.attempted,
            counts.completed + counts.cancelled + failed
        );
    }
}

/// A response to a request, as far as it is one.
fn response(request: &[u8], status: usize, lines: &str) -> Vec<u8> {
    let mut text = format!("SIP/2.0 {status} X\r\n").into_bytes();
    for line in request.split_inclusive(|byte| *byte == b'\n') {
        let is_kept = ["Via:", "From:", "Call-ID:", "CSeq:"];
        if is_kept.iter().any(|name| line.starts_with(name.as_bytes())) {
            text.extend_from_slice(line);
        } else if line.starts_with(b"To:") {
            let line = line.strip_suffix(b"\r\n").unwrap_or(line);
            text.extend_from_slice(line);
            let has_tag = line.windows(5).any(|part| part == b";tag=");
            text.extend_from_slice(if has_tag { b"\r\n" } else { b";tag=t\r\n" });
        }
    }
    text.extend_from_slice(lines.as_bytes());
    let rest = format!("Content-Length: {}\r\n\r\n{BODY}", BODY.len());
    text.extend_from_slice(rest.as_bytes());
    text
}
