//! What the relay and its controller say to each other.

use std::net::{IpAddr, SocketAddr};

use crate::report::Report;

/// A moment on the driver's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The clock's start.
    pub const ZERO: Time = Time(0);

    /// The moment that lies `micros` microseconds after the clock's start.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// The moment that lies `ms` milliseconds after the clock's start.
    pub const fn from_ms(ms: u64) -> Time {
        Time(ms.saturating_mul(1_000))
    }

    /// Microseconds since the clock's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Microseconds since `earlier`; 0 if that lies ahead.
    pub const fn micros_since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `micros` microseconds later.
    pub const fn plus_micros(self, micros: u64) -> Time {
        Time(self.0.saturating_add(micros))
    }
}

/// A call, by a number that the controller chooses and never uses again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A pair of sockets of one relay thread, by the index of its RTP socket; the RTCP socket is the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// RTP and RTCP (RFC 3550), secured or not.
    #[default]
    Rtp,
    /// Anything else in datagrams, T.38 above all: relayed unexamined, guarded by address alone.
    Datagram,
}

/// Which ways media goes as a peer said it, seen from the peer (RFC 3264 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// It sends and receives.
    #[default]
    SendRecv,
    /// It sends only.
    SendOnly,
    /// It receives only.
    RecvOnly,
    /// It does neither.
    Inactive,
}

/// Payload types that [`Formats`] hold at most.
pub const FORMATS_MAX: usize = 16;

/// Clock rates by payload type, as a peer's description gives them. They are needed for jitter only:
/// a payload type that is missing is relayed like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats {
    payload_types: [u8; FORMATS_MAX],
    clock_rates_hz: [u32; FORMATS_MAX],
    length: u8,
}

impl Formats {
    /// No formats.
    pub const fn new() -> Formats {
        Formats {
            payload_types: [0; FORMATS_MAX],
            clock_rates_hz: [0; FORMATS_MAX],
            length: 0,
        }
    }

    /// Adds one, or changes its clock rate. Gives false for what is no payload type (128 and above), for a
    /// clock rate of 0, and when there are [`FORMATS_MAX`].
    pub fn add(&mut self, payload_type: u8, clock_rate_hz: u32) -> bool {
        if payload_type > 127 || clock_rate_hz == 0 {
            return false;
        }
        let length = usize::from(self.length);
        let known = self.payload_types[..length].iter();
        let at = (known.into_iter())
            .position(|known| *known == payload_type)
            .unwrap_or(length);
        if at == FORMATS_MAX {
            return false;
        }
        self.payload_types[at] = payload_type;
        self.clock_rates_hz[at] = clock_rate_hz;
        self.length = self.length.max(at as u8 + 1);
        true
    }

    /// The clock rate of a payload type, in Hz.
    pub fn clock_rate_hz(&self, payload_type: u8) -> Option<u32> {
        let mut formats = self.iter();
        let found = formats.find(|(known, _)| *known == payload_type)?;
        Some(found.1)
    }

    /// Payload types with their clock rates in Hz, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        let length = usize::from(self.length);
        let payload_types = self.payload_types[..length].iter().copied();
        payload_types.zip(self.clock_rates_hz.iter().copied())
    }
}

/// What is known of a peer by its session description and by where its SIP came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Where it wants RTP (or datagrams). None, an unspecified address or port 0: nowhere.
    pub rtp: Option<SocketAddr>,
    /// Where it wants RTCP, if it said so (RFC 3605); otherwise the port after RTP's.
    pub rtcp: Option<SocketAddr>,
    /// It takes RTCP on the port of RTP (RFC 5761).
    pub rtcp_mux: bool,
    /// The host that its SIP came from.
    pub signalling: IpAddr,
    /// The ways media goes as it said.
    pub direction: Direction,
    /// Clock rates of its payload types.
    pub formats: Formats,
}

/// What the controller wants. A command for a session, stream or side that is not there is counted
/// ([`crate::Totals::commands_unknown`]) and changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// From now on the port belongs to one side of one stream; the first one begins the session. Said again of a port that
    /// is open there, it changes the kind (a call that becomes a fax). What cannot be is answered by [`Event::Refused`].
    Open {
        /// The call.
        session: SessionId,
        /// The m-line, from 0.
        stream: u8,
        /// 0 is the caller, 1 and up are branches of the INVITE.
        side: u8,
        /// Taken from the [`crate::PortTable`].
        port: Port,
        /// What goes over it.
        kind: Kind,
    },
    /// The peer of a side described itself.
    Remote {
        /// The call.
        session: SessionId,
        /// The m-line.
        stream: u8,
        /// The side whose peer it is.
        side: u8,
        /// What the peer said.
        remote: Remote,
        /// It comes of a new offer or its answer: the peer may send from elsewhere from now on.
        relearn: bool,
    },
    /// Where the packets of a side come from, as another node has learned it ([`Event::Learned`]): packets for it go
    /// there, and no other source displaces it than one that goes on with its stream, or after a new offer. It follows
    /// the side's [`Command::Remote`] and the session's [`Command::Select`].
    Source {
        /// The call.
        session: SessionId,
        /// The m-line.
        stream: u8,
        /// The side.
        side: u8,
        /// Where its packets come from.
        source: SocketAddr,
    },
    /// The branch that the caller talks with from now on.
    Select {
        /// The call.
        session: SessionId,
        /// A callee's side.
        side: u8,
    },
    /// A branch was given up: all its streams are closed.
    CloseSide {
        /// The call.
        session: SessionId,
        /// The branch.
        side: u8,
    },
    /// An m-line was rejected or disabled: it is closed for all sides.
    CloseStream {
        /// The call.
        session: SessionId,
        /// The m-line.
        stream: u8,
    },
    /// The call is over. Answered by [`Event::Closed`].
    Close {
        /// The call.
        session: SessionId,
    },
}

impl Command {
    /// The call it is about.
    pub const fn session(&self) -> SessionId {
        match *self {
            Command::Open { session, .. }
            | Command::Remote { session, .. }
            | Command::Source { session, .. }
            | Command::Select { session, .. }
            | Command::CloseSide { session, .. }
            | Command::CloseStream { session, .. }
            | Command::Close { session } => session,
        }
    }
}

/// Why a [`Command::Open`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The port is open already for another side, stream or session. It stays theirs and is not freed.
    PortInUse,
    /// There is no such pair of sockets. It is not freed.
    NoSuchPort,
    /// This side of this stream has another port already. The new one is freed.
    AlreadyOpen,
    /// A stream from [`crate::STREAMS_MAX`] on. The port is freed.
    TooManyStreams,
    /// A side from [`crate::SIDES_MAX`] on. The port is freed.
    TooManySides,
    /// There are [`crate::Settings::sessions_max`] sessions. The port is freed.
    TooManySessions,
}

/// What the controller is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A session was closed as commanded.
    Closed {
        /// The call.
        session: SessionId,
        /// What became of it.
        report: Box<Report>,
    },
    /// No valid packet came for too long: the session was closed and its ports are freed.
    Silent {
        /// The call.
        session: SessionId,
        /// What became of it.
        report: Box<Report>,
    },
    /// An [`Command::Open`] was not performed.
    Refused {
        /// The call.
        session: SessionId,
        /// The m-line.
        stream: u8,
        /// The side.
        side: u8,
        /// The port that was to be opened.
        port: Port,
        /// Why.
        reason: Refusal,
    },
    /// The source of a side's RTP or datagrams was learned, or changed.
    Learned {
        /// The call.
        session: SessionId,
        /// The m-line.
        stream: u8,
        /// The side.
        side: u8,
        /// Where its packets come from, and where packets for it go from now on.
        source: SocketAddr,
    },
}
