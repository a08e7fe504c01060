//! What became of ends: for call records, for operators, for tests.

use rtp::Statistics;

use crate::types::{Codec, EndId};

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No end has the socket.
    NoEnd,
    /// The peer has not described itself yet.
    NotDescribed,
    /// It comes from somebody else than the peer.
    Foreign,
    /// Fewer bytes than its header needs.
    Short,
    /// More than a packet has.
    Huge,
    /// It is no RTP or RTCP, or holds together not.
    NotRtp,
    /// It came before, or is too old to tell.
    Replayed,
    /// A payload type that was not agreed on.
    WrongPayload,
    /// Another stream than the one that plays; two in sequence are needed to change.
    Probation,
    /// We agreed not to receive.
    Held,
    /// It came too late to be heard, or there was no room.
    Late,
    /// More reports or events than a peer has reason to send.
    TooMany,
}

impl Reason {
    /// All of them, in the order of their counters.
    pub const ALL: [Reason; 12] = [
        Reason::NoEnd,
        Reason::NotDescribed,
        Reason::Foreign,
        Reason::Short,
        Reason::Huge,
        Reason::NotRtp,
        Reason::Replayed,
        Reason::WrongPayload,
        Reason::Probation,
        Reason::Held,
        Reason::Late,
        Reason::TooMany,
    ];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::NoEnd => "no-end",
            Reason::NotDescribed => "not-described",
            Reason::Foreign => "foreign",
            Reason::Short => "short",
            Reason::Huge => "huge",
            Reason::NotRtp => "not-rtp",
            Reason::Replayed => "replayed",
            Reason::WrongPayload => "wrong-payload",
            Reason::Probation => "probation",
            Reason::Held => "held",
            Reason::Late => "late",
            Reason::TooMany => "too-many",
        }
    }
}

/// What the peer says of what it hears from us, by its last report (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PeerView {
    /// Packets that it lacks in all.
    pub lost: u32,
    /// The share of packets lost between its last two reports, 0 to 1.
    pub loss: f32,
    /// Jitter in microseconds.
    pub jitter_us: u32,
    /// From us to the peer and back, in microseconds.
    pub round_trip_us: Option<u32>,
}

/// What became of an end.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which one.
    pub end: EndId,
    /// What we sent.
    pub sent_codec: Option<Codec>,
    /// What came last.
    pub received_codec: Option<Codec>,
    /// Packets sent, of sound and events.
    pub packets_sent: u64,
    /// Bytes of their payloads.
    pub bytes_sent: u64,
    /// What came.
    pub received: Statistics,
    /// Pieces of sound that had to be made up because packets were missing.
    pub concealed: u32,
    /// What we thought of what came: the mean opinion score, 1 to 4.4. None before there was sound.
    pub mos: Option<f32>,
    /// What the peer said of what we sent, if it did.
    pub peer: Option<PeerView>,
    /// The score of what the peer hears, by that.
    pub peer_mos: Option<f32>,
    /// Keys that came.
    pub digits: u32,
    /// Packets dropped, in the order of [`Reason::ALL`].
    pub dropped: [u32; Reason::ALL.len()],
}

/// Bounds of [`Lateness`] in microseconds: each counts what was at most so late and later than the bound before.
pub const LATE_BOUNDS_US: [u32; 8] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 100_000, 500_000,
];

/// How late packets left after they were due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lateness {
    /// Packets by [`LATE_BOUNDS_US`], and those that were later still.
    pub counts: [u64; LATE_BOUNDS_US.len() + 1],
}

impl Lateness {
    pub(crate) fn add(&mut self, late_us: u64, packets: u64) {
        let bounds = LATE_BOUNDS_US.iter();
        let at = bounds
            .take_while(|bound| late_us > u64::from(**bound))
            .count();
        self.counts[at] += packets;
    }

    /// Packets later than a frame of 20 ms.
    pub fn over_a_frame(&self) -> u64 {
        self.counts[5..].iter().sum()
    }

    /// All packets.
    pub fn packets(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Sums over all ends of a thread since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Ends opened.
    pub opened: u64,
    /// Ends closed.
    pub closed: u64,
    /// Ends refused.
    pub refused: u64,
    /// Packets taken in, RTCP included.
    pub packets_received: u64,
    /// Packets sent, RTCP included.
    pub packets_sent: u64,
    /// Packets of sound that passed undecoded.
    pub packets_passed: u64,
    /// Frames that were left out because the thread was away for too long.
    pub frames_skipped: u64,
    /// Keys that came.
    pub digits: u64,
    /// Commands for what was not there.
    pub commands_unknown: u64,
    /// Sounds, digits, pieces and events beyond their limits.
    pub left_out: u64,
    /// How late packets of sound left.
    pub lateness: Lateness,
    /// Packets dropped, in the order of [`Reason::ALL`].
    pub dropped: [u64; Reason::ALL.len()],
}
