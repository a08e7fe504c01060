//! Phones and a relay between them.
#![allow(dead_code, reason = "each test program uses what it needs")]

use std::net::{IpAddr, SocketAddr};

use relay::{
    Command, Direction, Dropped, Event, Formats, Kind, LegReport, Port, Reason, Relay, Remote,
    SessionId, Settings, Time,
};

/// Sockets that the relay has.
pub(crate) const SOCKETS: u32 = 64;
/// The call that most tests have.
pub(crate) const CALL: SessionId = SessionId(1);
/// Ports of the caller and of two branches.
pub(crate) const PORTS: [Port; 3] = [Port(0), Port(2), Port(4)];

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The signalled addresses of the caller and of two branches.
pub(crate) fn phone(side: u8) -> SocketAddr {
    address(["198.51.100.1:4000", "203.0.113.2:5000", "203.0.113.3:6000"][usize::from(side)])
}

/// What a phone without NAT says.
pub(crate) fn remote(rtp: SocketAddr) -> Remote {
    let mut formats = Formats::new();
    assert!(formats.add(0, 8_000) && formats.add(101, 8_000));
    Remote {
        rtp: Some(rtp),
        rtcp: None,
        rtcp_mux: false,
        signalling: rtp.ip(),
        direction: Direction::SendRecv,
        formats,
    }
}

/// What a phone at 10.0.0.5:4000 says whose SIP comes from this host.
pub(crate) fn remote_behind_nat(public: IpAddr) -> Remote {
    Remote {
        signalling: public,
        ..remote(address("10.0.0.5:4000"))
    }
}

/// A stream of G.711 as a phone sends it.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) source: SocketAddr,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload_type: u8,
}

impl Sender {
    pub(crate) fn new(source: SocketAddr, ssrc: u32) -> Sender {
        Sender {
            source,
            ssrc,
            sequence: (ssrc as u16).wrapping_mul(257),
            timestamp: ssrc.wrapping_mul(65_537),
            payload_type: 0,
        }
    }

    /// The next packet.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let packet = rtp_packet(self.ssrc, self.sequence, self.timestamp, self.payload_type);
        self.skip(1);
        packet
    }

    /// So many packets get lost.
    pub(crate) fn skip(&mut self, packets: u16) {
        self.sequence = self.sequence.wrapping_add(packets);
        self.timestamp = self.timestamp.wrapping_add(160 * u32::from(packets));
    }
}

pub(crate) fn rtp_packet(ssrc: u32, sequence: u16, timestamp: u32, payload_type: u8) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.resize(172, 0xd5);
    packet
}

/// A receiver's report without blocks.
pub(crate) fn rtcp_packet(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}

/// A DTLS handshake by its first byte.
pub(crate) fn dtls_packet() -> Vec<u8> {
    let mut packet = vec![22, 254, 253];
    packet.resize(100, 0);
    packet
}

/// A relay, the time, and what is known to be open.
pub(crate) struct World {
    pub(crate) relay: Relay,
    pub(crate) now: Time,
    opened: Vec<Port>,
}

impl World {
    pub(crate) fn new(settings: Settings) -> World {
        World {
            relay: Relay::new(settings, SOCKETS),
            now: Time::from_ms(1_000),
            opened: Vec::new(),
        }
    }

    /// A call of the caller with branch 1, answered, neither behind NAT.
    pub(crate) fn call() -> World {
        World::call_of(remote(phone(0)), remote(phone(1)))
    }

    /// An answered call with these remotes.
    pub(crate) fn call_of(caller: Remote, callee: Remote) -> World {
        let mut world = World::new(Settings::default());
        for (side, remote) in [(0, caller), (1, callee)] {
            world.open(0, side, PORTS[usize::from(side)], Kind::Rtp);
            world.describe(side, remote, false);
        }
        world.select(1);
        world
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.relay.command(self.now, command);
    }

    pub(crate) fn open(&mut self, stream: u8, side: u8, port: Port, kind: Kind) {
        self.opened.push(port);
        self.command(Command::Open {
            session: CALL,
            stream,
            side,
            port,
            kind,
        });
    }

    pub(crate) fn describe(&mut self, side: u8, remote: Remote, relearn: bool) {
        self.command(Command::Remote {
            session: CALL,
            stream: 0,
            side,
            remote,
            relearn,
        });
    }

    pub(crate) fn select(&mut self, side: u8) {
        self.command(Command::Select {
            session: CALL,
            side,
        });
    }

    pub(crate) fn wait_ms(&mut self, ms: u64) {
        self.now = self.now.plus_micros(ms * 1_000);
    }

    /// A packet comes now.
    pub(crate) fn receive(
        &mut self,
        socket: u32,
        source: SocketAddr,
        mut packet: Vec<u8>,
    ) -> Option<(u32, SocketAddr)> {
        let before = packet.clone();
        let sent = self.relay.receive(self.now, socket, source, &mut packet);
        assert_eq!(packet, before, "what a packet says is not changed");
        sent
    }

    /// The sender's next packet comes to a side's port, 20 ms after the one before.
    pub(crate) fn send(&mut self, side: u8, sender: &mut Sender) -> Option<(u32, SocketAddr)> {
        self.wait_ms(20);
        let packet = sender.packet();
        self.receive(PORTS[usize::from(side)].0, sender.source, packet)
    }

    /// So many packets of a sender; all go on to this place.
    pub(crate) fn stream(
        &mut self,
        side: u8,
        sender: &mut Sender,
        packets: u32,
        to: (u32, SocketAddr),
    ) {
        for nth in 0..packets {
            assert_eq!(self.send(side, sender), Some(to), "packet {nth}");
        }
    }

    pub(crate) fn leg(&self, stream: u8, side: u8) -> LegReport {
        let report = self.relay.report(CALL).expect("there is a call");
        let mut legs = report.legs.into_iter();
        legs.find(|leg| leg.stream == stream && leg.side == side)
            .expect("there is such a leg")
    }

    pub(crate) fn dropped(&self, side: u8) -> Dropped {
        self.leg(0, side).dropped
    }

    pub(crate) fn source(&self, side: u8) -> Option<SocketAddr> {
        self.leg(0, side).source
    }

    pub(crate) fn total(&self, reason: Reason) -> u64 {
        self.relay.totals().dropped.count(reason)
    }

    /// Events but for those that say what was learned.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let events = self.relay.events().drain(..);
        events
            .filter(|event| !matches!(event, Event::Learned { .. }))
            .collect()
    }

    /// The call is closed; each port comes back once and the tables are empty.
    pub(crate) fn ends(mut self) {
        self.command(Command::Close { session: CALL });
        self.leaves_nothing();
    }

    pub(crate) fn leaves_nothing(mut self) {
        assert_eq!(self.relay.tables(), (0, 0));
        assert_eq!(self.relay.next(), None);
        let mut freed = std::mem::take(self.relay.freed());
        freed.sort();
        self.opened.sort();
        assert_eq!(freed, self.opened);
    }
}
