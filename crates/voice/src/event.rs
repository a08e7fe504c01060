//! What the controller is told.

use std::net::SocketAddr;

use audio::dtmf::Digit;

use crate::report::Report;
use crate::types::{EndId, PlayId, PortId, RecordId, RoomId};

/// Why a [`crate::Command::Open`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The port is another end's. It stays theirs and is not freed.
    PortInUse,
    /// There is no such pair of sockets. It is not freed.
    NoSuchPort,
    /// There is an end of this number already. The port is freed.
    AlreadyOpen,
    /// There are [`crate::Settings::ends_max`] ends. The port is freed.
    TooManyEnds,
}

/// How a key came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// As a telephone event (RFC 4733).
    Event,
    /// As a pair of tones.
    InBand,
}

/// Why a recording is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// As commanded.
    Stopped,
    /// It is as long as it may be.
    Length,
    /// Nobody spoke.
    Silence,
    /// The end was closed, or the conference is over.
    Closed,
    /// Another recording of the same end began.
    Replaced,
}

/// What the controller is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A [`crate::Command::Open`] was not performed.
    Refused {
        /// The end.
        end: EndId,
        /// The port that was to be opened.
        port: PortId,
        /// Why.
        reason: Refusal,
    },
    /// Where the peer's packets come from was learned, or changed. Packets for it go there. For the end's record.
    Learned {
        /// The end.
        end: EndId,
        /// The source.
        source: SocketAddr,
    },
    /// A key was pressed and let go.
    Digit {
        /// The end.
        end: EndId,
        /// Which one.
        digit: Digit,
        /// For how long, in milliseconds.
        duration_ms: u32,
        /// How it came.
        how: How,
    },
    /// A play is over.
    Played {
        /// The end.
        end: EndId,
        /// Which one.
        play: PlayId,
        /// To its end; false when it was stopped, replaced, or a key ended it.
        completed: bool,
        /// How far it came, in milliseconds of its sounds.
        at_ms: u32,
    },
    /// A play in a conference is over.
    RoomPlayed {
        /// The conference.
        room: RoomId,
        /// Which one.
        play: PlayId,
        /// To its end.
        completed: bool,
    },
    /// A [`crate::Sound::Feed`] has less than two seconds left. Asked once for each [`crate::Command::Feed`].
    Hungry {
        /// The end.
        end: EndId,
        /// Which play.
        play: PlayId,
    },
    /// The next second of a recording, encoded as it was asked for.
    Recorded {
        /// Which one.
        record: RecordId,
        /// Sound without a header; the pieces follow each other.
        chunk: Vec<u8>,
    },
    /// A recording is over; all of it was told.
    RecordEnded {
        /// Which one.
        record: RecordId,
        /// Why.
        reason: Ending,
        /// How long it is, in milliseconds.
        length_ms: u32,
        /// For how long somebody spoke in it.
        speech_ms: u32,
    },
    /// Nothing came from the peer for [`crate::Settings::silence_ms`], though it should. Told once for each silence.
    Silent {
        /// The end.
        end: EndId,
    },
    /// A member of a conference began or ceased to speak.
    Talking {
        /// The conference.
        room: RoomId,
        /// The member.
        end: EndId,
        /// It speaks.
        on: bool,
    },
    /// An end is over.
    Closed {
        /// The end.
        end: EndId,
        /// What became of it.
        report: Box<Report>,
    },
}
