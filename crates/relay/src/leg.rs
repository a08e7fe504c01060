//! One side of one stream: its ports, its peer, and what came.

use std::net::SocketAddr;

use rtp::rtcp::{Compound, Form, Rtcp};
use rtp::{Arrival, Class, ClockRate, Micros, Packet, PayloadType, Reception, RoundTrip};

use crate::guard::{Guard, Numbers, Passed, Rank};
use crate::probation::Probation;
use crate::report::{PayloadTypes, Reason};
use crate::rtcp::RtcpGuard;
use crate::settings::Settings;
use crate::types::{Kind, Port, Remote, Time};

/// No leg, no session, no payload type.
pub(crate) const NONE: u32 = u32::MAX;

/// Packets a second and leg that have no numbers to tell a repetition by: RTCP; handshakes, datagrams and a second SSRC. Video
/// with all its feedback and fax stay below it. Without it two descriptions that name each other's ports of
/// ours would let one packet go round for ever.
pub const UNNUMBERED_PER_S_MAX: u16 = 500;

/// Which socket of the pair a packet came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    Rtp,
    Rtcp,
}

/// Packets within a second.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    second: u32,
    packets: u16,
}

impl Rate {
    /// Counts a packet. False: there were [`UNNUMBERED_PER_S_MAX`].
    fn count(&mut self, now: Time) -> bool {
        let second = (now.as_micros() / 1_000_000) as u32;
        if self.second != second {
            *self = Rate { second, packets: 0 };
        }
        let is_within = self.packets < UNNUMBERED_PER_S_MAX;
        self.packets += u16::from(is_within);
        is_within
    }
}

/// What an accepted packet is, for its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// It is for the peer's port of RTCP, unless the peer takes both on one.
    pub(crate) is_rtcp: bool,
    /// The source of RTP was learned by it.
    pub(crate) is_new_source: bool,
}

/// One side of one stream. What each packet touches comes first.
#[derive(Debug, Clone)]
#[repr(C)]
pub(crate) struct Leg {
    pub(crate) guard: Guard,
    /// The leg that its packets leave from, or [`NONE`].
    pub(crate) peer: u32,
    pub(crate) port: Port,
    pub(crate) kind: Kind,
    /// The latest payload type; 128 before the first packet.
    pub(crate) payload_type: u8,
    /// Its clock rate.
    pub(crate) clock: Option<ClockRate>,
    /// When a packet came last that shows that the peer lives.
    pub(crate) alive: Time,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) reception: Reception,
    pub(crate) stream: u8,
    pub(crate) side: u8,
    /// Its session, and the next leg of that.
    pub(crate) session: u32,
    pub(crate) next: u32,
    /// When its peer described itself, as a number that rises over the session's sides.
    pub(crate) described: u32,
    pub(crate) rtcp_packets: u32,
    pub(crate) sources_learned: u32,
    pub(crate) round_trip_us: Option<u32>,
    pub(crate) remote: Option<Remote>,
    pub(crate) rtcp: RtcpGuard,
    trip: RoundTrip,
    probation: Probation,
    /// Unnumbered packets of RTCP and others: apart, so that a flood of forged handshakes keeps no report out.
    unnumbered: [Rate; 2],
    pub(crate) payload_types: PayloadTypes,
    pub(crate) dropped: [u32; Reason::ALL.len()],
}

impl Leg {
    pub(crate) fn new(session: u32, stream: u8, side: u8, port: Port, kind: Kind) -> Leg {
        Leg {
            guard: Guard::new(),
            peer: NONE,
            port,
            kind,
            payload_type: 128,
            clock: None,
            alive: Time::ZERO,
            packets: 0,
            bytes: 0,
            reception: Reception::default(),
            stream,
            side,
            session,
            next: NONE,
            described: 0,
            rtcp_packets: 0,
            sources_learned: 0,
            round_trip_us: None,
            remote: None,
            rtcp: RtcpGuard::new(),
            trip: RoundTrip::default(),
            probation: Probation::default(),
            unnumbered: [Rate::default(); 2],
            payload_types: PayloadTypes::default(),
            dropped: [0; Reason::ALL.len()],
        }
    }

    /// The peer said where it is and what it does.
    pub(crate) fn describe(&mut self, remote: &Remote, relearn: bool) {
        let signalled = usable(remote.rtp);
        let before = self.remote.as_ref().map(|before| usable(before.rtp));
        let has_moved = before.is_some_and(|before| before != signalled);
        let rank = self.guard.source().and_then(|source| rank(remote, source));
        self.guard.describe(signalled, rank, has_moved, relearn);
        if has_moved {
            self.rtcp.forget();
        } else if relearn {
            self.rtcp.relearn();
        }
        self.remote = Some(*remote);
        // The formats may have changed.
        self.payload_type = 128;
    }

    /// Another node has learned where the peer's packets come from.
    pub(crate) fn restore_source(&mut self, now: Time, source: SocketAddr) {
        if usable(Some(source)).is_none() {
            return;
        }
        let rank = self.remote.as_ref().and_then(|remote| rank(remote, source));
        self.guard.restore(now, source, rank.unwrap_or(Rank::Any));
        self.note_source(true);
    }

    /// Judges and counts a packet.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        now: Time,
        socket: Socket,
        source: SocketAddr,
        packet: &[u8],
        settings: &Settings,
    ) -> Result<Accepted, Reason> {
        if packet.len() > settings.packet_bytes_max {
            return Err(Reason::Huge);
        }
        if self.kind == Kind::Datagram {
            return self.receive_datagram(now, socket, source, packet, settings);
        }
        match (rtp::classify(packet), socket) {
            (Class::Rtp, Socket::Rtp) => self.receive_rtp(now, source, packet, settings),
            (Class::Rtcp, _) => self.receive_rtcp(now, socket, source, packet, settings),
            (Class::Dtls | Class::Zrtp, _) => {
                self.receive_keys(now, socket, source, packet, settings)
            }
            (Class::Stun, _) => Err(Reason::Stun),
            (Class::Short, _) => Err(Reason::Short),
            (Class::Rtp | Class::TurnChannel | Class::Other, _) => Err(Reason::NotRtp),
        }
    }

    #[inline]
    fn receive_rtp(
        &mut self,
        now: Time,
        source: SocketAddr,
        packet: &[u8],
        settings: &Settings,
    ) -> Result<Accepted, Reason> {
        // Whether it is SRTP is not known here; its padding is then encrypted.
        let packet = Packet::parse_secure(packet).map_err(reason)?;
        let payload_type = packet.payload_type();
        let clock = match payload_type.number() == self.payload_type {
            true => self.clock,
            false => self.clock_of(payload_type),
        };
        let numbers = Numbers {
            ssrc: packet.ssrc().0,
            sequence: packet.sequence().0,
            timestamp: packet.timestamp().0,
            clock_rate_hz: clock.map_or(0, ClockRate::hz),
        };
        let (remote, probation) = (self.remote.as_ref(), &mut self.probation);
        let rank = || {
            let known = rank(remote?, source);
            known.or_else(|| probation.rank(settings.learn, now, source, Some(&numbers)))
        };
        let passed = self.guard.rtp(now, source, &numbers, rank)?;
        if passed.is_of_stream {
            // The guard knows how far a packet is from its stream, and the reception which of those near by have come.
            let arrival = self
                .reception
                .receive(&packet, Micros(now.as_micros()), clock);
            if arrival == Arrival::Replayed && !passed.is_new_source {
                return Err(Reason::Replayed);
            }
            self.alive = now;
        } else {
            self.count_unnumbered(now, false)?;
        }
        if payload_type.number() != self.payload_type {
            self.payload_type = payload_type.number();
            self.clock = clock;
            self.payload_types.insert(payload_type.number());
        }
        Ok(self.accept(passed, packet.bytes()))
    }

    /// RTCP on its own port, or on the port of RTP (RFC 5761). SRTCP has its first eight bytes in clear.
    #[cold]
    fn receive_rtcp(
        &mut self,
        now: Time,
        socket: Socket,
        source: SocketAddr,
        packet: &[u8],
        settings: &Settings,
    ) -> Result<Accepted, Reason> {
        let Some(&[first, _, high, low, a, b, c, d]) = packet.first_chunk::<8>() else {
            return Err(Reason::Short);
        };
        let length = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        if first >> 6 != 2 || length < 8 || length > packet.len() {
            return Err(Reason::NotRtp);
        }
        let ssrc = u32::from_be_bytes([a, b, c, d]);
        if !self.rtcp.admits(now, ssrc, &self.guard) {
            return Err(Reason::Foreign);
        }
        let is_new_source = self.admit_beside(now, socket, source, settings)?;
        self.rtcp.note(now, ssrc);
        self.count_unnumbered(now, true)?;
        self.alive = now;
        self.rtcp_packets = self.rtcp_packets.saturating_add(1);
        self.measure_round_trip(now, packet);
        Ok(Accepted {
            is_rtcp: true,
            is_new_source,
        })
    }

    /// DTLS and ZRTP: handshakes that have no numbers to look at. Their source may be learned; anybody could forge them, so
    /// they show nothing else.
    #[cold]
    fn receive_keys(
        &mut self,
        now: Time,
        socket: Socket,
        source: SocketAddr,
        packet: &[u8],
        settings: &Settings,
    ) -> Result<Accepted, Reason> {
        let is_new_source = self.admit_beside(now, socket, source, settings)?;
        self.count_unnumbered(now, false)?;
        self.packets += 1;
        self.bytes += packet.len() as u64;
        Ok(Accepted {
            is_rtcp: socket == Socket::Rtcp,
            is_new_source,
        })
    }

    /// Judges the source of what is no RTP. Gives whether it was learned as the source of RTP.
    fn admit_beside(
        &mut self,
        now: Time,
        socket: Socket,
        source: SocketAddr,
        settings: &Settings,
    ) -> Result<bool, Reason> {
        let remote = self.remote.as_ref();
        if socket == Socket::Rtcp {
            let is_ranked = || remote.is_some_and(|remote| is_host_of(remote, source));
            self.rtcp.source_of(source, &self.guard, is_ranked)?;
            self.rtcp.learn(source);
            return Ok(false);
        }
        let probation = &mut self.probation;
        let rank = || {
            let known = rank(remote?, source);
            known.or_else(|| probation.rank(settings.learn, now, source, None))
        };
        let passed = self.guard.datagram(now, source, false, rank)?;
        self.note_source(passed.is_new_source);
        Ok(passed.is_new_source)
    }

    fn receive_datagram(
        &mut self,
        now: Time,
        socket: Socket,
        source: SocketAddr,
        packet: &[u8],
        settings: &Settings,
    ) -> Result<Accepted, Reason> {
        if socket == Socket::Rtcp {
            return Err(Reason::NotRtp);
        }
        if packet.is_empty() {
            return Err(Reason::Short);
        }
        let (remote, probation) = (self.remote.as_ref(), &mut self.probation);
        let rank = || {
            let known = rank(remote?, source);
            known.or_else(|| probation.rank(settings.learn, now, source, None))
        };
        let passed = self.guard.datagram(now, source, true, rank)?;
        self.count_unnumbered(now, false)?;
        self.alive = now;
        Ok(self.accept(passed, packet))
    }

    #[inline]
    fn accept(&mut self, passed: Passed, packet: &[u8]) -> Accepted {
        self.packets += 1;
        self.bytes += packet.len() as u64;
        if passed.is_new_source {
            self.note_source(true);
        }
        Accepted {
            is_rtcp: false,
            is_new_source: passed.is_new_source,
        }
    }

    fn count_unnumbered(&mut self, now: Time, is_rtcp: bool) -> Result<(), Reason> {
        let is_within = self.unnumbered[usize::from(is_rtcp)].count(now);
        is_within.then_some(()).ok_or(Reason::TooMany)
    }

    fn note_source(&mut self, is_new: bool) {
        if !is_new {
            return;
        }
        self.sources_learned = self.sources_learned.saturating_add(1);
        let learned = self.guard.source().map(|source| source.ip());
        let is_elsewhere = |rtcp: SocketAddr| Some(rtcp.ip()) != learned;
        if self.rtcp.source().is_some_and(is_elsewhere) {
            self.rtcp.forget();
        }
    }

    fn clock_of(&self, payload_type: PayloadType) -> Option<ClockRate> {
        let formats = self.remote.as_ref().map(|remote| &remote.formats);
        let said = formats.and_then(|formats| formats.clock_rate_hz(payload_type.number()));
        let said = said.and_then(ClockRate::new);
        said.or_else(|| payload_type.static_clock_rate())
    }

    fn measure_round_trip(&mut self, now: Time, packet: &[u8]) {
        let Ok(compound) = Compound::parse(packet, Form::ReducedSize) else {
            return;
        };
        let now = Micros(now.as_micros());
        let returned = compound
            .blocks()
            .filter_map(|block| self.trip.returned(&block, now));
        if let Some(us) = returned.last() {
            self.round_trip_us = Some(u32::try_from(us).unwrap_or(u32::MAX));
        }
    }

    /// RTCP leaves towards the peer: what it says of its sender comes back in the peer's reports.
    #[cold]
    pub(crate) fn pass_rtcp(&mut self, now: Time, packet: &[u8]) {
        let Ok(compound) = Compound::parse(packet, Form::ReducedSize) else {
            return;
        };
        for part in compound.packets() {
            if let Rtcp::SenderReport { info, .. } = part {
                self.trip.sent(info.ntp, Micros(now.as_micros()));
            }
        }
    }

    /// Where a packet for the peer leaves from, and goes to.
    #[inline]
    pub(crate) fn destination(&self, is_rtcp: bool) -> Option<(u32, SocketAddr)> {
        match is_rtcp {
            false => Some((self.port.0, self.guard.address()?)),
            true => self.rtcp_destination(),
        }
    }

    #[cold]
    fn rtcp_destination(&self) -> Option<(u32, SocketAddr)> {
        let remote = self.remote.as_ref()?;
        if remote.rtcp_mux {
            return Some((self.port.0, self.guard.address()?));
        }
        let to = self.rtcp.source().or_else(|| rtcp_of(remote))?;
        Some((self.port.0 + 1, to))
    }

    pub(crate) fn drop_packet(&mut self, reason: Reason) {
        let count = &mut self.dropped[reason as usize];
        *count = count.saturating_add(1);
    }
}

/// An address that something can be sent to.
pub(crate) fn usable(address: Option<SocketAddr>) -> Option<SocketAddr> {
    address.filter(|address| address.port() != 0 && !address.ip().is_unspecified())
}

/// Where a peer wants RTCP by what it said (RFC 3550 section 11, RFC 3605).
fn rtcp_of(remote: &Remote) -> Option<SocketAddr> {
    usable(remote.rtcp).or_else(|| {
        let rtp = usable(remote.rtp)?;
        let port = rtp.port().checked_add(1)?;
        Some(SocketAddr::new(rtp.ip(), port))
    })
}

/// How good a source is by what the peer said of itself. None: it is foreign.
fn rank(remote: &Remote, source: SocketAddr) -> Option<Rank> {
    let signalled = usable(remote.rtp);
    if signalled.is_some_and(|signalled| is_same(signalled, source)) {
        return Some(Rank::Signalled);
    }
    if signalled.is_some_and(|signalled| signalled.ip() == source.ip()) {
        return Some(Rank::Host);
    }
    (remote.signalling == source.ip()).then_some(Rank::Signalling)
}

fn is_host_of(remote: &Remote, source: SocketAddr) -> bool {
    let said = rtcp_of(remote).is_some_and(|said| said.ip() == source.ip());
    said || rank(remote, source).is_some()
}

fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip() == other.ip()
}

fn reason(error: rtp::Error) -> Reason {
    match error {
        rtp::Error::Short(rtp::Part::Header) => Reason::Short,
        rtp::Error::Huge { .. } => Reason::Huge,
        _ => Reason::NotRtp,
    }
}
