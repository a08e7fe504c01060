//! What the layer promises.

mod cancel;
mod client;
mod limits;
mod server;

use sip::{Index, Limits, Message, Splices};

use super::*;
use crate::flow::{Flow, Transport};
use crate::timer::Timers;

/// Longer than any transaction lasts that nobody keeps up, timer C included.
const LONG_MS: u64 = 300_000;

fn flow(transport: Transport) -> Flow {
    Flow {
        transport,
        remote: "192.0.2.1:5060".parse().expect("an address"),
        local: "192.0.2.9:5060".parse().expect("an address"),
    }
}

const UDP: Transport = Transport::Udp;
const TCP: Transport = Transport::Tcp;

/// A request as a peer would send it.
fn request(method: &str, branch: &str) -> String {
    format!(
        "{method} sip:bob@example.org SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch={branch}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@example.org>;tag=a\r\n\
         To: <sip:bob@example.org>\r\n\
         Call-ID: c@192.0.2.1\r\n\
         CSeq: 7 {method}\r\n\
         Route: <sip:192.0.2.44;lr>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A response as a peer would send it to one of our requests.
fn response(status: u16, method: &str) -> String {
    format!(
        "SIP/2.0 {status} X\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKours\r\n\
         From: <sip:alice@example.org>;tag=a\r\n\
         To: <sip:bob@example.org>;tag=b\r\n\
         Call-ID: c@192.0.2.1\r\n\
         CSeq: 7 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn parse<'a>(index: &'a mut Index, text: &'a str) -> Message<'a> {
    let message = index.parse(text.as_bytes(), &Limits::default());
    let message = message.expect("the test's own message");
    assert_eq!(message.defect(), None, "{text}");
    message
}

/// What happened, each with the milliseconds after which it did.
type Timed<T> = Vec<(u64, T)>;

/// A layer, its clock and what it sent and reported.
struct Rig {
    layer: Layer,
    now: Time,
    outbox: Outbox,
}

impl Rig {
    fn new() -> Rig {
        Rig::with_room_for(64)
    }

    fn with_room_for(transactions_max: u32) -> Rig {
        let now = Time::from_ms(1_000_003);
        Rig {
            layer: Layer::new(now, (1, 2), Timers::default(), transactions_max),
            now,
            outbox: Outbox::new(),
        }
    }

    /// Takes what was sent, as text.
    fn sent(&mut self) -> Vec<String> {
        let texts = self.outbox.iter();
        let texts = texts.map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned());
        let texts = texts.collect();
        self.outbox.clear();
        texts
    }

    /// The first lines of what was sent.
    fn sent_lines(&mut self) -> Vec<String> {
        let lines = |text: String| text.lines().next().unwrap_or_default().to_owned();
        self.sent().into_iter().map(lines).collect()
    }

    /// Lets time go by, as a driver would: from one due time to the next. Gives what was sent and
    /// reported with the milliseconds that had passed since the call.
    fn pass(&mut self, ms: u64) -> (Timed<String>, Timed<Fired>) {
        let began = self.now;
        let end = began.plus_ms(ms);
        let (mut sent, mut fired) = (Vec::new(), Vec::new());
        loop {
            while let Some(event) = self.layer.poll(self.now, &mut self.outbox) {
                fired.push((self.now.ms_since(began), event));
            }
            let after = self.now.ms_since(began);
            sent.extend(self.sent_lines().into_iter().map(|line| (after, line)));
            match self.layer.next(self.now) {
                Some(next) if next <= end => self.now = next.max(self.now.plus_ms(1)),
                _ => break,
            }
        }
        self.now = end;
        (sent, fired)
    }

    fn receive(&mut self, text: &str) -> Request {
        let mut index = Index::new();
        let message = parse(&mut index, text);
        let via = message.via().expect("the test's own message");
        self.layer
            .receive_request(self.now, &message, &via, &mut self.outbox)
    }

    /// Receives a request that is new and begins its transaction.
    fn begin_server(&mut self, text: &str, transport: Transport, user: u64) -> ServerId {
        let Request::New(key) = self.receive(text) else {
            unreachable!("the test's request is new");
        };
        let mut index = Index::new();
        let message = parse(&mut index, text);
        self.layer
            .begin_server(key, &message, &Splices::new(), flow(transport), user)
    }

    fn begin_client(&mut self, method: &str, transport: Transport, user: u64) -> (ClientId, u64) {
        let branch = self.layer.new_branch();
        let text = request(method, &format!("z9hG4bK{branch:016x}"));
        let id = self.layer.begin_client(
            self.now,
            method == "INVITE",
            (branch, user),
            flow(transport),
            &mut self.outbox,
            |out| out.extend_from_slice(text.as_bytes()),
        );
        (id, branch)
    }

    fn answer(&mut self, client: ClientId, status: u16, method: &str) -> bool {
        let mut index = Index::new();
        let text = response(status, method);
        let message = parse(&mut index, &text);
        self.layer
            .receive_response(self.now, client, &message, &mut self.outbox)
    }

    fn respond(&mut self, server: ServerId, status: u16) -> bool {
        let reason = sip::status::reason(status);
        self.layer
            .respond(self.now, server, status, reason, b"", &mut self.outbox)
    }

    fn forward(&mut self, server: ServerId, status: u16) -> bool {
        let text = response(status, "INVITE");
        self.layer
            .respond_with(self.now, server, status, &mut self.outbox, |out| {
                out.extend_from_slice(text.as_bytes());
            })
    }

    /// Ends every test: nothing is left, neither transactions nor timers nor what was not reported.
    fn assert_empty(mut self) {
        self.pass(LONG_MS);
        assert!(self.layer.is_empty(), "{:?}", self.layer.len());
        assert!(self.layer.by_key.is_empty());
        assert!(self.layer.by_branch.is_empty());
        assert!(self.layer.wheel.is_empty());
        assert!(self.layer.fired.is_empty());
        assert_eq!(self.layer.next(self.now), None);
    }
}

/// The times at which something happened are those expected, a tick of the wheel later at most.
fn assert_times<T: std::fmt::Debug>(found: &[(u64, T)], expected_ms: &[u64]) {
    assert_eq!(found.len(), expected_ms.len(), "{found:?}");
    let mut late_ms = 0;
    for ((at, _), expected) in found.iter().zip(expected_ms) {
        // Each retransmission is timed from the one before, so that lateness adds up.
        late_ms += crate::wheel::TICK_MS;
        assert!(
            (*expected..=expected + late_ms).contains(at),
            "{found:?} is not {expected_ms:?}"
        );
    }
}

fn times(found: &[(u64, Fired)]) -> Vec<Fired> {
    found.iter().map(|(_, fired)| *fired).collect()
}
