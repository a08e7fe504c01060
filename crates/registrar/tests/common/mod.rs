//! A registrar with one table, for tests.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use registrar::{Change, EventKind, Location, Outcome, Policy, Reply, register};
use sip::{Index, Limits};
use transaction::{Flow, Transport};

pub const AOR: &[u8] = b"alice@example.org";
pub const NOW: u64 = 1_800_000_000;

pub fn flow(transport: Transport, remote: &str) -> Flow {
    Flow {
        transport,
        remote: remote.parse().expect("an address"),
        local: "192.0.2.1:5060".parse().expect("an address"),
    }
}

pub fn udp() -> Flow {
    flow(Transport::Udp, "192.0.2.7:5060")
}

/// A REGISTER with `lines`, each without its line end.
pub fn request(call_id: &str, cseq: u32, lines: &[&str]) -> Vec<u8> {
    let mut text = format!(
        "REGISTER sip:example.org SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK{cseq}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@example.org>;tag=a1\r\n\
         To: <sip:alice@example.org>\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\n"
    );
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("Content-Length: 0\r\n\r\n");
    text.into_bytes()
}

pub struct Registrar {
    pub location: Location,
    pub policy: Policy,
    pub flow: Flow,
    pub now: u64,
    pub next_id: u64,
    pub reply: Reply,
    /// Whether changes are committed at once.
    pub commits: bool,
    index: Index,
}

impl Registrar {
    pub fn new() -> Registrar {
        Registrar {
            location: Location::new((1, 2)),
            policy: Policy::default(),
            flow: udp(),
            now: NOW,
            next_id: 1,
            reply: Reply::new(),
            commits: true,
            index: Index::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.send_for(AOR, bytes)
    }

    pub fn send_for(&mut self, aor: &[u8], bytes: &[u8]) -> Outcome {
        let message = self
            .index
            .parse(bytes, &Limits::default())
            .expect("a message");
        let next_id = &mut self.next_id;
        let mut ids = || {
            *next_id += 1;
            *next_id - 1
        };
        let outcome = register(
            &mut self.location,
            &message,
            aor,
            &self.flow,
            self.now,
            &self.policy,
            &mut ids,
            &mut self.reply,
        );
        if self.commits {
            self.commit(aor);
        }
        outcome
    }

    /// Tells the table what the store has taken.
    pub fn commit(&mut self, aor: &[u8]) {
        for change in &self.reply.changes {
            match change {
                Change::Put(row) => self.location.committed(aor, row.id, row.expires_at_unix_s),
                Change::Refresh {
                    id,
                    expires_at_unix_s,
                    ..
                } => {
                    self.location.committed(aor, *id, *expires_at_unix_s);
                }
                Change::Delete { .. } => {}
            }
        }
    }

    /// A REGISTER with these lines; the Call-ID is always the same.
    pub fn register(&mut self, cseq: u32, lines: &[&str]) -> Outcome {
        self.send(&request("call-1@192.0.2.7", cseq, lines))
    }

    pub fn headers(&self) -> String {
        String::from_utf8(self.reply.headers.clone()).expect("text")
    }

    pub fn events(&self) -> Vec<(EventKind, String)> {
        let text = |event| String::from_utf8_lossy(self.reply.contact(event)).into_owned();
        self.reply
            .events
            .iter()
            .map(|event| (event.kind, text(event)))
            .collect()
    }

    /// The contacts of the user with what is left of their time.
    pub fn contacts(&self) -> Vec<(String, u64)> {
        self.location
            .lookup(AOR, self.now)
            .map(|binding| {
                let contact = String::from_utf8_lossy(binding.contact()).into_owned();
                (contact, binding.expires_at_unix_s() - self.now)
            })
            .collect()
    }

    pub fn uris(&self) -> Vec<String> {
        self.contacts().into_iter().map(|(uri, _)| uri).collect()
    }
}
