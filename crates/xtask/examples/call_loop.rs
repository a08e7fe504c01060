//! Whole calls and registrations through the edge's core, without sockets, for instruction counts and
//! profiles: `call_loop call|register TIMES`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::ExitCode;

use edge::{AuthSettings, Directory, Edge, Now, Output, Settings};
use proxy::{Listener, Network};
use registrar::Location;
use sip::digest::{
    Algorithm, FreshNonce, Ha1, NonceSource, Replay, ReplayFilter, ResponseInput, WithoutQop,
};
use transaction::{Flow, Time, Timers, Transport};

const LOCAL: &str = "192.0.2.1:5060";
const CALLER: &str = "192.0.2.33:5060";
const CALLEE: &str = "192.0.2.44:5060";

struct Memory {
    location: Location,
    users: HashMap<Vec<u8>, Ha1>,
    replay: ReplayFilter,
    ids: u64,
}

impl proxy::MediaPorts for Memory {}

impl proxy::Farm for Memory {}

impl Network for Memory {
    fn flow_to(&mut self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        Some(Flow {
            transport,
            remote,
            local: LOCAL.parse().ok()?,
        })
    }
}

impl Directory for Memory {
    fn credential(&mut self, user: &[u8], _: &[u8], _: Algorithm) -> Option<Ha1> {
        self.users.get(user).copied()
    }
    fn has_user(&mut self, _: &[u8]) -> bool {
        true
    }
    fn location<R>(
        &mut self,
        _: &[u8],
        work: impl FnOnce(&mut Location, &mut dyn FnMut() -> u64) -> R,
    ) -> R {
        let ids = &mut self.ids;
        work(&mut self.location, &mut || {
            *ids += 1;
            *ids
        })
    }
    fn admit_nonce(&mut self, nonce: &FreshNonce, count: Option<u32>) -> Replay {
        self.replay.admit(nonce, count)
    }
    fn unique(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}

struct Rig {
    edge: Edge,
    settings: Settings,
    memory: Memory,
    output: Output,
    now_ms: u64,
}

impl Rig {
    fn new() -> Rig {
        let local = LOCAL.parse().expect("an address");
        let settings = Settings {
            proxy: proxy::Settings {
                domains: vec![(*b"example.org").into()],
                listeners: vec![Listener {
                    transport: Transport::Udp,
                    local,
                    advertise: None,
                }],
                own_addresses: Vec::new(),
                record_route: true,
                max_breadth: 60,
                serial_ring_ms: 30_000,
                pool: proxy::pool::Settings::default(),
                media: proxy::media::Settings::default(),
                cookie_secret: (1, 2),
            },
            registrar: registrar::Policy::default(),
            auth: AuthSettings {
                algorithms: vec![Algorithm::Md5],
                nonces: NonceSource::new([7; 16], 0),
                without_qop: WithoutQop::Accept,
                trusted: vec!["192.0.2.33/32".parse().expect("a network")],
            },
            pool_routes: Vec::new(),
            sources: edge::sources::SourceLimits::default(),
            overload: edge::overload::OverloadLimits::default(),
            limits: sip::Limits::default(),
            timers: Timers::default(),
            retry_after_s: 10,
        };
        let ha1 = Ha1::compute(Algorithm::Md5, b"bob", b"example.org", b"secret");
        Rig {
            edge: Edge::new(Time::from_ms(1), (3, 4), &settings),
            settings,
            memory: Memory {
                location: Location::new((5, 6)),
                users: HashMap::from([(b"bob".to_vec(), ha1)]),
                replay: ReplayFilter::new(65_536),
                ids: 0,
            },
            output: Output::default(),
            now_ms: 1_000_000,
        }
    }

    /// Feeds one message and gives what was sent, joined by NUL.
    fn feed(&mut self, text: &[u8], source: &str) -> Vec<Vec<u8>> {
        let now = Now {
            time: Time::from_ms(self.now_ms),
            unix_ms: self.now_ms,
        };
        let flow = Flow {
            transport: Transport::Udp,
            remote: source.parse().expect("an address"),
            local: LOCAL.parse().expect("an address"),
        };
        self.edge.receive(
            &self.settings,
            now,
            text,
            flow,
            &mut self.memory,
            &mut self.output,
        );
        for token in std::mem::take(&mut self.output.commits) {
            self.edge.stored(
                &self.settings,
                now,
                (token, true),
                &mut self.memory,
                &mut self.output,
            );
        }
        self.output.durable.clear();
        self.output.deferred.clear();
        let sent = self
            .output
            .outbox
            .iter()
            .map(|(bytes, _)| bytes.to_vec())
            .collect();
        self.output.outbox.clear();
        sent
    }

    fn pass_time(&mut self, ms: u64) {
        self.now_ms += ms;
        let now = Now {
            time: Time::from_ms(self.now_ms),
            unix_ms: self.now_ms,
        };
        self.edge
            .poll(&self.settings, now, &mut self.memory, &mut self.output);
        self.output.outbox.clear();
    }

    fn register(&mut self, number: u64) {
        let request = |authorization: &str, cseq: u64| {
            format!(
                "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.44:5060;branch=z9hG4bKr{number}-{cseq};rport\r\n\
                 From: <sip:bob@example.org>;tag=r{number}\r\nTo: <sip:bob@example.org>\r\nCall-ID: reg@192.0.2.44\r\nCSeq: {} REGISTER\r\n\
                 Contact: <sip:bob@192.0.2.44:5060>\r\n{authorization}Expires: 3600\r\nMax-Forwards: 70\r\nUser-Agent: Phone 1.0\r\nContent-Length: 0\r\n\r\n",
                number * 2 + cseq
            )
        };
        let challenge = self.feed(request("", 0).as_bytes(), CALLEE);
        let text = String::from_utf8_lossy(&challenge[0]).into_owned();
        let nonce = text
            .split("nonce=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a challenge");
        let stub = format!(
            "Digest username=\"bob\", realm=\"example.org\", nonce=\"{nonce}\", uri=\"sip:example.org\", response=\"{}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"abc\"",
            "0".repeat(32)
        );
        let answer = {
            let ha1 = Ha1::compute(Algorithm::Md5, b"bob", b"example.org", b"secret");
            let input = ResponseInput {
                method: b"REGISTER",
                uri: b"sip:example.org",
                nonce: nonce.as_bytes(),
                protection: Some((b"00000001", b"abc", b"auth")),
            };
            input.response(&ha1).to_hex().as_str().to_owned()
        };
        let authorization = format!(
            "Authorization: {}\r\n",
            stub.replace(&"0".repeat(32), &answer)
        );
        let done = self.feed(request(&authorization, 1).as_bytes(), CALLEE);
        assert!(
            done[0].starts_with(b"SIP/2.0 200"),
            "{}",
            String::from_utf8_lossy(&done[0])
        );
    }

    fn call(&mut self, number: u64) {
        let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.33\r\ns=-\r\nc=IN IP4 192.0.2.33\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
        let invite = format!(
            "INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.33:5060;rport;branch=z9hG4bKi{number}\r\n\
             From: \"Alice\" <sip:alice@example.org>;tag=c{number}\r\nTo: <sip:bob@example.org>\r\nCall-ID: {number}-84619@192.0.2.33\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:alice@192.0.2.33:5060>\r\nMax-Forwards: 70\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nSupported: replaces\r\nUser-Agent: Phone 1.0\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        let sent = self.feed(invite.as_bytes(), CALLER);
        let forwarded = String::from_utf8_lossy(&sent[1]).into_owned();
        let lines = |names: &[&str]| -> String {
            let wanted = |line: &&str| names.iter().any(|name| line.starts_with(name));
            forwarded
                .split("\r\n")
                .filter(wanted)
                .map(|line| format!("{line}\r\n"))
                .collect()
        };
        let head = lines(&["Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:"]);
        let answer = |status: &str, body: &str| {
            format!(
                "SIP/2.0 {status}\r\n{head}To: <sip:bob@example.org>;tag=s{number}\r\nContact: <sip:bob@192.0.2.44:5060>\r\nUser-Agent: Phone 2.0\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        self.feed(answer("180 Ringing", "").as_bytes(), CALLEE);
        let ok = self.feed(answer("200 OK", sdp).as_bytes(), CALLEE);
        assert!(ok[0].starts_with(b"SIP/2.0 200"));
        let route = lines(&["Record-Route:"]).replace("Record-Route:", "Route:");
        let within = |method: &str, cseq: u32| {
            format!(
                "{method} sip:bob@192.0.2.44:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.33:5060;rport;branch=z9hG4bK{method}{number}\r\n{route}\
                 From: \"Alice\" <sip:alice@example.org>;tag=c{number}\r\nTo: <sip:bob@example.org>;tag=s{number}\r\nCall-ID: {number}-84619@192.0.2.33\r\nCSeq: {cseq} {method}\r\n\
                 Max-Forwards: 70\r\nUser-Agent: Phone 1.0\r\nContent-Length: 0\r\n\r\n"
            )
        };
        assert_eq!(self.feed(within("ACK", 1).as_bytes(), CALLER).len(), 1);
        let bye = self.feed(within("BYE", 2).as_bytes(), CALLER);
        let bye = String::from_utf8_lossy(&bye[0]).into_owned();
        let keep = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
        let head: String = bye
            .split("\r\n")
            .filter(|line| keep.iter().any(|name| line.starts_with(name)))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let ok = self.feed(
            format!("SIP/2.0 200 OK\r\n{head}Content-Length: 0\r\n\r\n").as_bytes(),
            CALLEE,
        );
        assert!(ok[0].starts_with(b"SIP/2.0 200"));
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (work, times) = (
        arguments.next(),
        arguments.next().and_then(|times| times.parse::<u64>().ok()),
    );
    let (Some(work), Some(times)) = (work, times) else {
        eprintln!("call_loop call|register TIMES");
        return ExitCode::FAILURE;
    };
    let mut rig = Rig::new();
    rig.register(0);
    for number in 1..=times {
        match work.as_str() {
            "call" => rig.call(number),
            _ => rig.register(number),
        }
        rig.pass_time(1);
    }
    println!("{times} times {work}");
    ExitCode::SUCCESS
}
