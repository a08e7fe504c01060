//! A relay without sockets, and descriptions to send through it.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use proxy::{MediaPort, NoPorts};
use relay::{Command, Kind, Port, PortTable, Relay, SessionId, Settings, Time};

/// Where the relay's ports begin.
pub const FIRST_PORT: u16 = 20_000;

/// One relay thread and its ports.
pub struct Media {
    table: PortTable,
    relay: Relay,
    /// Ports that were opened and not freed.
    open: HashSet<Port>,
    taken: HashSet<Port>,
    sessions: HashSet<SessionId>,
    /// What was said to the relay.
    pub commands: Vec<Command>,
}

impl Media {
    /// With as many pairs of ports.
    pub fn new(pairs: u32) -> Media {
        let mut table = PortTable::new(1);
        for pair in 0..pairs {
            table.add(0, Port(2 * pair));
        }
        Media {
            table,
            relay: Relay::new(Settings::default(), 2 * pairs),
            open: HashSet::new(),
            taken: HashSet::new(),
            sessions: HashSet::new(),
            commands: Vec::new(),
        }
    }

    pub fn take_ports(&mut self, local: IpAddr, relay: Option<u16>) -> Result<MediaPort, NoPorts> {
        assert!(relay.is_none_or(|relay| relay == 3));
        let port = self.table.take(0).ok_or(NoPorts::Taken)?;
        assert!(self.taken.insert(port));
        let number = FIRST_PORT + port.0 as u16;
        Ok(MediaPort {
            relay: 3,
            port,
            address: (local, number).into(),
        })
    }

    pub fn claim(&mut self, address: SocketAddr) -> Option<MediaPort> {
        let port = Port(u32::from(address.port().checked_sub(FIRST_PORT)?));
        if !self.table.claim(0, port) {
            return None;
        }
        assert!(self.taken.insert(port));
        Some(MediaPort {
            relay: 3,
            port,
            address,
        })
    }

    /// Whether the relay has these ports open.
    pub fn are_open(&self, numbers: &[u16]) -> bool {
        let port = |number: &u16| Port(u32::from(number - FIRST_PORT));
        numbers
            .iter()
            .all(|number| self.open.contains(&port(number)))
    }

    pub fn give_back(&mut self, port: MediaPort) {
        assert!(self.taken.remove(&port.port), "given back, but not taken");
        self.table.give_back(0, port.port);
    }

    pub fn command(&mut self, relay: u16, command: Command) {
        assert_eq!(relay, 3);
        self.commands.push(command);
        match command {
            Command::Open { port, session, .. } => {
                assert!(self.taken.remove(&port), "opened, but not taken");
                assert!(self.open.insert(port), "opened twice");
                self.sessions.insert(session);
            }
            Command::Close { session } => {
                assert!(self.sessions.remove(&session), "closed, but not open")
            }
            _ => {}
        }
        self.relay.command(Time::ZERO, command);
        let events = std::mem::take(self.relay.events());
        for event in events {
            assert!(matches!(event, relay::Event::Closed { .. }), "{event:?}");
        }
        self.collect();
    }

    fn collect(&mut self) {
        for port in std::mem::take(self.relay.freed()) {
            assert!(self.open.remove(&port), "freed twice");
            self.table.give_back(0, port);
        }
    }

    /// Lets the relay find that nobody is heard any more; gives the sessions that it has ended.
    pub fn falls_silent(&mut self) -> Vec<SessionId> {
        for after_ms in (0..8_000_000).step_by(1_000) {
            self.relay.expire(Time::from_ms(after_ms));
        }
        let events = std::mem::take(self.relay.events());
        self.collect();
        let mut silent = Vec::new();
        for event in events {
            if let relay::Event::Silent { session, .. } = event {
                assert!(self.sessions.remove(&session));
                silent.push(session);
            }
        }
        silent
    }

    /// How many pairs of ports are not free.
    pub fn in_use(&self) -> usize {
        self.table.in_use()
    }

    /// The sides that a stream of the only session has now, by what was said to the relay.
    pub fn kinds(&self) -> Vec<Kind> {
        let kind = |command: &Command| match command {
            Command::Open { kind, .. } => Some(*kind),
            _ => None,
        };
        self.commands.iter().filter_map(kind).collect()
    }

    #[track_caller]
    pub fn has_forgotten(&self) {
        assert_eq!(self.in_use(), 0, "ports in use");
        assert!(self.taken.is_empty() && self.open.is_empty());
        assert!(self.sessions.is_empty(), "sessions");
    }
}

/// A description of one party with an m-line for each of `media`, as `audio 4000 RTP/AVP 0`.
pub fn sdp(address: &str, media: &[&str]) -> String {
    let mut text =
        format!("v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n");
    for line in media {
        text.push_str(&format!("m={line}\r\n"));
    }
    text
}

/// A message with a description as its body.
pub fn with_sdp(message: &str, sdp: &str) -> String {
    let head = message.strip_suffix("Content-Length: 0\r\n\r\n");
    let head = head.expect("a message without body");
    let length = sdp.len();
    format!("{head}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}")
}

/// The ports of a description that passed the relay, line by line.
#[track_caller]
pub fn relayed(message: &super::Sip) -> Vec<u16> {
    let body = message.body();
    assert_eq!(
        message.the("Content-Length"),
        body.len().to_string(),
        "{}",
        message.text
    );
    for line in body
        .lines()
        .filter(|line| line.starts_with("c=") || line.starts_with("o="))
    {
        assert!(line.ends_with("IN IP4 192.0.2.1"), "{line}");
    }
    let ports = body.lines().filter_map(|line| line.strip_prefix("m="));
    let port = |line: &str| line.split(' ').nth(1).and_then(|port| port.parse().ok());
    ports.map(|line| port(line).expect("a port")).collect()
}
