//! A PBX between phones made of text, with an application that does what a test says.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use pbx::control::{Action, Happening, Ids, LegId, Party, Sound};
use pbx::{Applications, MediaPort, Now, Output, Pbx, Settings, Surroundings, Turn};
use records::{Changes, Op};
use transaction::{Flow, Time, Transport};
use voice::{Command, PortId};

pub const EDGE: &str = "192.0.2.1:5060";

pub fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        remote: EDGE.parse().unwrap(),
        local: "198.51.100.7:5070".parse().unwrap(),
    }
}

type Rule = Box<dyn FnMut(&Happening, &mut Ids) -> Vec<Action>>;

/// Does what a test says, and keeps what it heard.
pub struct Script {
    rule: Rule,
    pub heard: Rc<RefCell<Vec<Happening>>>,
}

impl Applications for Script {
    fn happened(
        &mut self,
        _: Now,
        ids: &mut Ids,
        happening: &Happening,
        actions: &mut Vec<Action>,
    ) {
        self.heard.borrow_mut().push(happening.clone());
        actions.extend((self.rule)(happening, ids));
    }

    fn poll(&mut self, _: Now, _: &mut Ids, _: &mut Vec<Action>) {}

    fn next(&self, _: Time) -> Option<Time> {
        None
    }

    fn changes(&mut self, _: &mut Changes) {}

    fn restore(&mut self, _: Op<'_>) {}

    fn take_office(&mut self, _: Now, _: &mut Ids, _: &mut Vec<Action>) {}
}

/// Sockets by the thousand, and one prompt.
#[derive(Default)]
pub struct Around {
    pub taken: u32,
    pub given_back: u32,
    pub has_none: bool,
}

impl Surroundings for Around {
    fn take_port(&mut self, _: IpAddr, thread: Option<u16>) -> Option<MediaPort> {
        if self.has_none {
            return None;
        }
        self.taken += 1;
        let port = 20_000 + 2 * (self.taken as u16 - 1);
        Some(MediaPort {
            thread: thread.unwrap_or(0),
            port: PortId(u32::from(port)),
            address: format!("198.51.100.7:{port}").parse().unwrap(),
        })
    }

    fn take_port_at(&mut self, address: SocketAddr) -> Option<MediaPort> {
        if self.has_none {
            return None;
        }
        self.taken += 1;
        Some(MediaPort {
            thread: 0,
            port: PortId(u32::from(address.port())),
            address,
        })
    }

    fn give_back(&mut self, _: MediaPort) {
        self.given_back += 1;
    }

    fn sound(&mut self, sound: &Sound, out: &mut Vec<voice::Sound>) -> bool {
        if *sound == Sound::Music("unreadable".into()) {
            return false;
        }
        out.push(voice::Sound::Silence { ms: 1_000 });
        true
    }
}

/// A PBX and all that it said in the last turn.
pub struct World {
    pub pbx: Pbx<Script>,
    pub settings: Settings,
    pub now_ms: u64,
    pub output: Output,
    pub around: Around,
    pub heard: Rc<RefCell<Vec<Happening>>>,
    /// Messages of the last turn.
    pub sent: Vec<String>,
    pub commands: Vec<Command>,
    /// All records there are.
    pub records: std::collections::BTreeMap<(u16, Vec<u8>), Vec<u8>>,
    pub ends: std::collections::BTreeSet<u64>,
}

impl World {
    pub fn new(rule: impl FnMut(&Happening, &mut Ids) -> Vec<Action> + 'static) -> World {
        let settings = Settings::new("example.org", flow());
        World::with(settings, 1, rule)
    }

    pub fn with(
        settings: Settings,
        epoch: u64,
        rule: impl FnMut(&Happening, &mut Ids) -> Vec<Action> + 'static,
    ) -> World {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let script = Script {
            rule: Box::new(rule),
            heard: heard.clone(),
        };
        let now = Now {
            time: Time::from_ms(1_000),
            unix_ms: 1_700_000_000_000,
        };
        let mut pbx = Pbx::new(now, (epoch, 2), epoch, &settings, script);
        pbx.share_secret((7, 8));
        World {
            pbx,
            settings,
            now_ms: 1_000,
            output: Output::default(),
            around: Around::default(),
            heard,
            sent: Vec::new(),
            commands: Vec::new(),
            records: Default::default(),
            ends: Default::default(),
        }
    }

    /// Has the application do something else from now on.
    pub fn set_rule(&mut self, rule: impl FnMut(&Happening, &mut Ids) -> Vec<Action> + 'static) {
        self.pbx.applications_mut().rule = Box::new(rule);
    }

    pub fn turn<R>(&mut self, then: impl FnOnce(&mut Pbx<Script>, &mut Turn<'_>) -> R) -> R {
        let now = Now {
            time: Time::from_ms(self.now_ms),
            unix_ms: 1_700_000_000_000 + self.now_ms,
        };
        self.output.clear();
        let mut turn = Turn {
            settings: &self.settings,
            now,
            around: &mut self.around,
            output: &mut self.output,
        };
        let result = then(&mut self.pbx, &mut turn);
        self.take();
        result
    }

    fn take(&mut self) {
        self.sent = self
            .output
            .outbox
            .iter()
            .map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned())
            .collect();
        self.commands = self
            .output
            .voice
            .iter()
            .map(|voiced| voiced.command.clone())
            .collect();
        for op in self.output.changes.iter() {
            match op.value {
                Some(value) => self
                    .records
                    .insert((op.kind, op.key.to_vec()), value.to_vec()),
                None => self.records.remove(&(op.kind, op.key.to_vec())),
            };
        }
        for command in &self.commands {
            match command {
                Command::Open { end, .. } => assert!(self.ends.insert(end.0)),
                Command::Close { end } => assert!(self.ends.remove(&end.0)),
                _ => {}
            }
        }
    }

    /// Takes a message and answers what the media thread would; what was sent is in `sent`.
    pub fn receive(&mut self, text: &str) {
        self.turn(|pbx, turn| pbx.receive(turn, text.as_bytes(), flow()));
        self.close();
    }

    fn close(&mut self) {
        let closed: Vec<_> = self
            .commands
            .iter()
            .filter_map(|command| match command {
                Command::Close { end } => Some(*end),
                _ => None,
            })
            .collect();
        let (mut sent, mut commands) = (
            std::mem::take(&mut self.sent),
            std::mem::take(&mut self.commands),
        );
        for end in closed {
            let report = voice::Report {
                end,
                sent_codec: Some(voice::Codec::Pcma),
                received_codec: Some(voice::Codec::Pcma),
                packets_sent: 1,
                bytes_sent: 160,
                received: rtp::Statistics::default(),
                concealed: 0,
                mos: Some(4.2),
                peer: None,
                peer_mos: None,
                digits: 0,
                dropped: Default::default(),
            };
            let event = voice::Event::Closed {
                end,
                report: Box::new(report),
            };
            self.turn(|pbx, turn| pbx.heard(turn, 0, &event));
            sent.append(&mut self.sent);
            commands.append(&mut self.commands);
        }
        self.sent = sent;
        self.commands = commands;
    }

    pub fn heard_event(&mut self, event: voice::Event) {
        self.turn(|pbx, turn| pbx.heard(turn, 0, &event));
        self.close();
    }

    /// Lets time pass to the next deadlines, up to `ms`. All that was sent meanwhile is in `sent`.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        let (mut sent, mut commands) = (Vec::new(), Vec::new());
        while let Some(next) = self.pbx.next(Time::from_ms(self.now_ms)) {
            if next.as_ms() > end {
                break;
            }
            self.now_ms = next.as_ms().max(self.now_ms + 1);
            self.turn(|pbx, turn| pbx.poll(turn));
            self.close();
            sent.append(&mut self.sent);
            commands.append(&mut self.commands);
        }
        self.now_ms = end;
        self.sent = sent;
        self.commands = commands;
    }

    /// The messages of the last turn that begin so.
    pub fn those(&self, begins: &str) -> Vec<&str> {
        self.sent
            .iter()
            .map(String::as_str)
            .filter(|text| text.starts_with(begins))
            .collect()
    }

    /// The only message of the last turn that begins so.
    #[track_caller]
    pub fn the(&self, begins: &str) -> String {
        let found = self.those(begins);
        assert_eq!(found.len(), 1, "{begins} in {:#?}", self.sent);
        found[0].to_owned()
    }

    pub fn happenings(&self) -> Vec<Happening> {
        std::mem::take(&mut *self.heard.borrow_mut())
    }

    /// Half a minute later nothing may be left.
    #[track_caller]
    pub fn is_empty_at_the_end(&mut self) {
        self.pass(70_000);
        assert_eq!(self.pbx.tables(), pbx::Tables::default());
        assert!(self.ends.is_empty(), "open ends");
        assert!(
            self.records.is_empty(),
            "records: {:?}",
            self.records.keys()
        );
    }
}

impl World {
    /// However calls stand, session timers and silence end them: no phone answers any more.
    #[track_caller]
    pub fn is_empty_in_time(&mut self) {
        for _ in 0..30 {
            if self.pbx.tables() == pbx::Tables::default() {
                break;
            }
            self.pass(300_000);
        }
        self.is_empty_at_the_end();
    }
}

pub fn sdp(address: &str, port: u16, formats: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
    )
}

pub fn with_body(head: &str, body: &str) -> String {
    if body.is_empty() {
        return format!("{head}Content-Length: 0\r\n\r\n");
    }
    format!(
        "{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A caller's INVITE through the edge.
pub fn invite(call_id: &str, user: &str, extra: &str, body: &str) -> String {
    let head = format!(
        "INVITE sip:{user}@example.org SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{call_id}i\r\n\
         Record-Route: <sip:192.0.2.1;lr;c=a>\r\n\
         Max-Forwards: 60\r\n\
         From: \"Ann\" <sip:100@example.org>;tag=ann\r\n\
         To: <sip:{user}@example.org>\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:100@192.0.2.100:5062>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, UPDATE\r\n{extra}"
    );
    with_body(&head, body)
}

/// A request of the caller in its dialog.
pub fn within(
    method: &str,
    call_id: &str,
    answer: &str,
    cseq: u32,
    extra: &str,
    body: &str,
) -> String {
    let to = header(answer, "To");
    let head = format!(
        "{method} sip:198.51.100.7:5070 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{call_id}{method}{cseq}\r\n\
         Max-Forwards: 60\r\n\
         From: \"Ann\" <sip:100@example.org>;tag=ann\r\n\
         To: {to}\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: {cseq} {method}\r\n\
         Contact: <sip:100@192.0.2.100:5062>\r\n{extra}"
    );
    with_body(&head, body)
}

/// A request of who was called, in the dialog that `request` of the PBX began.
pub fn from_callee(
    method: &str,
    request: &str,
    tag: &str,
    cseq: u32,
    extra: &str,
    body: &str,
) -> String {
    let head = format!(
        "{method} sip:198.51.100.7:5070 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKcallee{tag}{method}{cseq}\r\n\
         From: {};tag={tag}\r\n\
         To: {}\r\n\
         Call-ID: {}\r\n\
         CSeq: {cseq} {method}\r\n\
         Contact: <sip:200@192.0.2.200:5064>\r\n{extra}",
        bare(&header(request, "To")),
        header(request, "From"),
        header(request, "Call-ID"),
    );
    with_body(&head, body)
}

fn bare(party: &str) -> String {
    party.split(";tag=").next().unwrap().to_owned()
}

/// A response to a request of the PBX.
pub fn reply(request: &str, status: &str, tag: &str, extra: &str, body: &str) -> String {
    let mut head = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
        if let Some(value) = find_header(request, name) {
            head += &format!("{name}: {value}\r\n");
        }
    }
    let to = header(request, "To");
    let to = if tag.is_empty() || to.contains(";tag=") {
        to
    } else {
        format!("{to};tag={tag}")
    };
    head += &format!(
        "To: {to}\r\nContact: <sip:{}>\r\nAllow: INVITE, ACK, CANCEL, BYE, UPDATE\r\n{extra}",
        if request.contains(" sip:100@") {
            "100@192.0.2.100:5062"
        } else {
            "200@192.0.2.200:5064"
        },
    );
    with_body(&head, body)
}

pub fn find_header(text: &str, name: &str) -> Option<String> {
    let prefix = format!("{name}: ");
    text.lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
}

#[track_caller]
pub fn header(text: &str, name: &str) -> String {
    find_header(text, name).unwrap_or_else(|| panic!("{name} in {text}"))
}

pub fn body(text: &str) -> &str {
    text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

pub fn dial(leg: LegId, for_leg: Option<LegId>, target: &str) -> Action {
    Action::Dial {
        leg,
        for_leg,
        target: target.to_owned(),
        caller: Party {
            user: "100".into(),
            host: "example.org".into(),
            display: "Ann".into(),
        },
        is_private: false,
        diversions: Vec::new(),
        auto_answer: false,
        referral: Default::default(),
    }
}
