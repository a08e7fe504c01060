//! What is done to the edge, read from the fuzzer's bytes.

use std::net::SocketAddr;

use transaction::{Flow, Transport};

/// One thing that is done.
pub enum Step<'a> {
    /// A message comes on a flow.
    Message(Flow, Vec<u8>),
    /// Somebody answers a request that he got.
    Answer(Answer<'a>),
    /// A request comes within a dialog.
    Follow(Follow<'a>),
    /// A message comes back as it was sent.
    Return(u8),
    /// Milliseconds go by.
    Wait(u64),
    /// A name was looked up.
    Resolve(&'static [(Transport, SocketAddr)]),
    /// A message could not be delivered.
    Undelivered(u8),
    /// A flow broke.
    Lose(SocketAddr),
    /// The store has an answer.
    Store(bool),
    /// The operator drains.
    Drain(bool),
}

/// An answer to one of the last requests.
pub struct Answer<'a> {
    pub which: u8,
    status: u16,
    tag: u8,
    /// Bytes to be put in: where, and what.
    changes: &'a [u8],
}

/// A request within the dialog that one of the last responses began.
pub struct Follow<'a> {
    pub flow: Flow,
    pub which: u8,
    parts: [u8; 3],
    changes: &'a [u8],
}

impl Follow<'_> {
    /// The request that follows `response`, from the caller or from the callee.
    pub fn to(&self, response: &[u8]) -> Vec<u8> {
        let [method, uri, way] = self.parts;
        let is_back = way & 1 == 1;
        let method = METHODS[usize::from(method) % METHODS.len()];
        let uri = URIS[usize::from(uri) % URIS.len()];
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-d{};rport\r\n\
             CSeq: {} {method}\r\n",
            way / 16,
            2 + way / 16
        )
        .into_bytes();
        let lines = response.split_inclusive(|&byte| byte == b'\n');
        let mut routes: Vec<_> = lines
            .clone()
            .filter_map(|line| line.strip_prefix(b"Record-Route:"))
            .collect();
        if !is_back {
            routes.reverse();
        }
        for route in routes {
            text.extend_from_slice(b"Route:");
            text.extend_from_slice(route);
        }
        let names: [(&[u8], &[u8]); 3] = if is_back {
            [
                (b"From:", b"To:"),
                (b"To:", b"From:"),
                (b"Call-ID:", b"Call-ID:"),
            ]
        } else {
            [
                (b"From:", b"From:"),
                (b"To:", b"To:"),
                (b"Call-ID:", b"Call-ID:"),
            ]
        };
        for (name, source) in names {
            for line in lines.clone().filter_map(|line| line.strip_prefix(source)) {
                text.extend_from_slice(name);
                text.extend_from_slice(line);
            }
        }
        text.extend_from_slice(b"\r\n");
        change(&mut text, self.changes);
        text
    }
}

const STATUSES: [u16; 24] = [
    100, 100, 180, 180, 183, 200, 200, 200, 202, 299, 302, 400, 401, 404, 407, 408, 480, 481, 486,
    487, 500, 503, 603, 699,
];

impl Answer<'_> {
    pub fn to(&self, request: &[u8]) -> Vec<u8> {
        let mut text = format!("SIP/2.0 {} Because\r\n", self.status).into_bytes();
        for line in request.split_inclusive(|&byte| byte == b'\n').skip(1) {
            let is_copied = [
                &b"Via:"[..],
                b"From:",
                b"To:",
                b"Call-ID:",
                b"CSeq:",
                b"Record-Route:",
            ]
            .iter()
            .any(|name| line.starts_with(name));
            if is_copied
                && line.starts_with(b"To:")
                && !line.windows(5).any(|part| part == b";tag=")
            {
                text.extend_from_slice(line.trim_ascii_end());
                text.extend_from_slice(format!(";tag={}\r\n", self.tag % 3).as_bytes());
            } else if is_copied {
                text.extend_from_slice(line);
            }
        }
        text.extend_from_slice(b"Contact: <sip:bob@192.0.2.20>\r\n");
        if matches!(self.status, 401 | 407) {
            text.extend_from_slice(b"Proxy-Authenticate: Digest realm=\"x\"\r\n");
        }
        text.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        change(&mut text, self.changes);
        text
    }
}

/// Overwrites bytes: pairs of a place, in 256ths of the message, and a byte.
fn change(text: &mut [u8], changes: &[u8]) {
    for pair in changes.chunks_exact(2) {
        let at = usize::from(pair[0]) * text.len() / 256;
        if let Some(byte) = text.get_mut(at) {
            *byte = pair[1];
        }
    }
}

pub fn edge() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5060))
}

/// One of the peers' flows.
pub fn flow(which: u8) -> Flow {
    let (address, transport) = match which % 6 {
        0 => ([192, 0, 2, 10], Transport::Udp),
        1 => ([192, 0, 2, 20], Transport::Udp),
        2 => ([192, 0, 2, 30], Transport::Tcp),
        3 => ([192, 0, 2, 40], Transport::Udp),
        4 => ([198, 51, 100, 7], Transport::Udp),
        _ => ([192, 0, 2, 10], Transport::Tcp),
    };
    Flow {
        transport,
        remote: SocketAddr::new(address.into(), 5060),
        local: edge(),
    }
}

const METHODS: [&str; 12] = [
    "INVITE",
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "MESSAGE",
    "OPTIONS",
    "SUBSCRIBE",
    "NOTIFY",
    "PRACK",
    "X-ODD",
];

const URIS: [&str; 16] = [
    "sip:bob@example.org",
    "sip:bob@example.org",
    "sip:carol@example.org",
    "sip:dave@example.org",
    "sip:nobody@example.org",
    "sip:example.org",
    "sip:192.0.2.1",
    "sip:bob@192.0.2.20:5060",
    "sip:eve@elsewhere.example",
    "sip:eve@elsewhere.example;maddr=192.0.2.40;transport=tcp",
    "tel:+1-555-1234",
    "sips:bob@example.org",
    "sip:192.0.2.1;lr;hl=AAAAAAAAAAAAAAAA",
    "sip:eve@[2001:db8::9]",
    "mailto:x@example.org",
    "sip:bob@192.0.2.1:5060;transport=tcp",
];

const LINES: [&str; 16] = [
    "",
    "Route: <sip:192.0.2.1;lr>\r\n",
    "Route: <sip:192.0.2.1;lr>, <sip:192.0.2.40>\r\n",
    "Route: <sip:192.0.2.1;lr;hl=AAAA>, <sip:elsewhere.example>, <sip:192.0.2.40;lr>\r\n",
    "Route: <sip:example.org;lr>\r\nRoute: <sip:elsewhere.example;lr>\r\n",
    "Max-Breadth: 1\r\n",
    "Max-Breadth: 0\r\n",
    "Max-Breadth: 3\r\n",
    "Proxy-Require: x\r\n",
    "Timestamp: 5\r\n",
    "Expires: 0\r\nContact: *\r\n",
    "Contact: <sip:alice@192.0.2.10>;expires=60, <sip:alice@192.0.2.40>;q=0.1\r\n",
    "Proxy-Authorization: Digest username=\"alice\", realm=\"example.org\"\r\n",
    "Authorization: Digest x\r\n",
    "Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK00000000000000000000000000000000\r\n",
    "Content-Length: 0\r\nContent-Length: 0\r\n",
];

/// A request by the numbers of its parts.
fn request(parts: &[u8; 8], changes: &[u8]) -> Vec<u8> {
    let [method, uri, branch, dialog, lines, more, hops, from] = *parts;
    let method = METHODS[usize::from(method) % METHODS.len()];
    let to_tag = ["", ";tag=0", ";tag=1", ";tag=2"][usize::from(dialog) / 4 % 4];
    let from = [
        "alice@example.org",
        "bob@example.org",
        "eve@elsewhere.example",
    ][usize::from(from) % 3];
    let mut text = format!(
        "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-{};rport\r\n{}{}Max-Forwards: {}\r\n\
         From: <sip:{from}>;tag=a{}\r\nTo: <sip:bob@example.org>{to_tag}\r\nCall-ID: call-{}\r\n\
         CSeq: {} {method}\r\nContact: <sip:alice@192.0.2.10>\r\n\r\n",
        URIS[usize::from(uri) % URIS.len()],
        branch % 8,
        LINES[usize::from(lines) % LINES.len()],
        LINES[usize::from(more) % LINES.len()],
        hops % 72,
        dialog % 2,
        dialog / 2 % 2,
        1 + branch % 4,
    )
    .into_bytes();
    change(&mut text, changes);
    text
}

static ADDRESSES: [(Transport, SocketAddr); 3] = [
    (
        Transport::Udp,
        SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 40)),
            5060,
        ),
    ),
    (
        Transport::Tcp,
        SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 30)),
            5060,
        ),
    ),
    (
        Transport::Udp,
        SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
            5060,
        ),
    ),
];

const WAITS_MS: [u64; 8] = [1, 100, 510, 4_100, 10_100, 33_000, 64_000, 186_000];

/// Most places that one request goes to in turn.
pub const PLACES_MAX: usize = 16;

/// Most steps of one script.
const STEPS_MAX: usize = 64;

/// Reads steps from bytes.
pub struct Script<'a> {
    rest: &'a [u8],
    steps: usize,
}

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Script<'a> {
        Script {
            rest: bytes,
            steps: 0,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Script<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return None;
        }
        let (kind, which) = (self.byte()?, self.byte()?);
        let step = match kind % 16 {
            0 => {
                let length = usize::from(which) * 4;
                Step::Message(flow(kind / 16), self.take(length).to_vec())
            }
            1 => Step::Follow(Follow {
                flow: flow(which / 4),
                which: kind / 16,
                parts: self.take(3).try_into().ok()?,
                changes: self.take(usize::from(which) % 4 * 2),
            }),
            2..=5 => {
                let parts = self.take(8).try_into().ok()?;
                let changes = usize::from(which) % 4 * 2;
                Step::Message(flow(which / 4), request(parts, self.take(changes)))
            }
            6..=9 => Step::Answer(Answer {
                which: kind / 16,
                status: STATUSES[usize::from(which) % STATUSES.len()],
                tag: self.byte()?,
                changes: {
                    let changes = usize::from(self.byte()?) % 4 * 2;
                    self.take(changes)
                },
            }),
            10 => Step::Return(which),
            11 => Step::Wait(WAITS_MS[usize::from(which) % 8]),
            12 => Step::Resolve(&ADDRESSES[..usize::from(which) % 4]),
            13 => Step::Undelivered(which),
            14 => Step::Lose(flow(which).remote),
            _ if which % 4 == 3 => Step::Drain(which & 64 == 0),
            _ => Step::Store(which & 1 == 0),
        };
        Some(step)
    }
}
