//! What an operator sees: figures of a session, and of all.

use std::net::SocketAddr;

use rtp::mos::{Codec, Conditions};
use rtp::{ClockRate, PayloadType};

use crate::leg::Leg;
use crate::types::{Kind, Port, SessionId, Time};

/// The clock of video (RFC 3551 section 5): what counts so is not speech.
const VIDEO_CLOCK_RATE_HZ: u32 = 90_000;

/// Why a packet was not relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Neither RTP, RTCP nor DTLS, by its first bytes or its form.
    NotRtp,
    /// Shorter than a header.
    Short,
    /// Longer than [`crate::Settings::packet_bytes_max`].
    Huge,
    /// Its sequence number came already, or lies too far behind.
    Replayed,
    /// From somewhere, or with an SSRC, that the guard does not accept.
    Foreign,
    /// The port belongs to no session.
    NoSession,
    /// It is not known where the other side is, or there is no other side.
    NoDestination,
    /// From a branch that the caller does not talk with.
    NotSelected,
    /// STUN (RFC 7983): there is no ICE here.
    Stun,
    /// More than [`crate::UNNUMBERED_PER_S_MAX`] packets in a second that a repetition cannot be told of.
    TooMany,
}

impl Reason {
    /// All of them, in the order of [`Dropped`].
    pub const ALL: [Reason; 10] = [
        Reason::NotRtp,
        Reason::Short,
        Reason::Huge,
        Reason::Replayed,
        Reason::Foreign,
        Reason::NoSession,
        Reason::NoDestination,
        Reason::NotSelected,
        Reason::Stun,
        Reason::TooMany,
    ];

    /// A short name, as metrics and logs print it.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::NotRtp => "not-rtp",
            Reason::Short => "short",
            Reason::Huge => "huge",
            Reason::Replayed => "replayed",
            Reason::Foreign => "foreign",
            Reason::NoSession => "no-session",
            Reason::NoDestination => "no-destination",
            Reason::NotSelected => "not-selected",
            Reason::Stun => "stun",
            Reason::TooMany => "too-many",
        }
    }
}

/// Packets dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped([u64; Reason::ALL.len()]);

impl Dropped {
    /// How many were dropped for this reason.
    pub const fn count(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// How many were dropped.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Reasons with their counts, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL
            .iter()
            .map(|reason| (*reason, self.count(*reason)))
    }

    pub(crate) fn add(&mut self, reason: Reason, count: u64) {
        self.0[reason as usize] += count;
    }
}

/// Payload types that were seen, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PayloadTypes(u128);

impl PayloadTypes {
    /// Whether this one was seen.
    pub const fn contains(self, payload_type: u8) -> bool {
        payload_type < 128 && self.0 >> payload_type & 1 == 1
    }

    /// Those that were seen, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..128).filter(move |payload_type| self.contains(*payload_type))
    }

    pub(crate) fn insert(&mut self, payload_type: u8) {
        self.0 |= 1 << (payload_type & 127);
    }
}

/// What one side of one stream sent, as the relay received it.
#[derive(Debug, Clone, PartialEq)]
pub struct LegReport {
    /// The m-line.
    pub stream: u8,
    /// 0 is the caller.
    pub side: u8,
    /// What goes over it.
    pub kind: Kind,
    /// Its ports.
    pub port: Port,
    /// The caller talks, or talked last, with this side (true for the caller himself).
    pub is_selected: bool,
    /// Where its packets come from now.
    pub source: Option<SocketAddr>,
    /// How many times a source was learned.
    pub sources_learned: u32,
    /// Packets of RTP, DTLS or datagrams that were accepted.
    pub packets: u64,
    /// Their bytes, without UDP and IP headers.
    pub bytes: u64,
    /// Packets of RTCP that were accepted.
    pub rtcp_packets: u64,
    /// RTP packets that should have come.
    pub expected: u64,
    /// RTP packets that did not come.
    pub lost: u64,
    /// `lost` of `expected`, in per cent.
    pub loss_percent: f32,
    /// Interarrival jitter (RFC 3550 section 6.4.1), in milliseconds.
    pub jitter_ms: f32,
    /// Estimate of the quality of speech (ITU-T G.107), 1 to 4.5; none for what is not speech or did not come.
    pub mos: Option<f32>,
    /// Time from the relay to this side and back, in milliseconds, when RTCP has told.
    pub round_trip_ms: Option<f32>,
    /// The longest time between two packets of RTP or datagrams, in milliseconds.
    pub longest_gap_ms: u64,
    /// Payload types that were seen.
    pub payload_types: PayloadTypes,
    /// The latest payload type.
    pub payload_type: Option<u8>,
    /// The clock rate of the latest payload type, in Hz; 0 when it is not known.
    pub clock_rate_hz: u32,
    /// Packets dropped on its ports.
    pub dropped: Dropped,
}

impl LegReport {
    /// Of a leg as it is. `beyond_us` is the round trip between the relay and the other side.
    pub(crate) fn of(leg: &Leg, is_selected: bool, beyond_us: Option<u32>) -> LegReport {
        let statistics = leg.reception.statistics();
        let ms = |us: u32| us as f32 / 1_000.0;
        let payload_type = statistics.payload_type.map(PayloadType::number);
        let clock_rate_hz = leg.clock.map_or(0, ClockRate::hz);
        let is_rated = statistics.packets > 0 && clock_rate_hz != VIDEO_CLOCK_RATE_HZ;
        let round_trip_us = match (leg.round_trip_us, beyond_us) {
            (Some(near), Some(beyond)) => near.saturating_add(beyond),
            (known, other) => known.or(other).unwrap_or(0),
        };
        let conditions = Conditions {
            codec: payload_type.map_or(Codec::Unknown, codec),
            loss: statistics.loss(),
            burst_ratio: statistics.burst_ratio(),
            jitter_us: statistics.jitter_us,
            round_trip_us,
            ..Conditions::default()
        };
        let mut dropped = Dropped::default();
        for (reason, count) in Reason::ALL.into_iter().zip(leg.dropped) {
            dropped.add(reason, u64::from(count));
        }
        LegReport {
            stream: leg.stream,
            side: leg.side,
            kind: leg.kind,
            port: leg.port,
            is_selected,
            source: leg.guard.source(),
            sources_learned: leg.sources_learned,
            packets: leg.packets,
            bytes: leg.bytes,
            rtcp_packets: u64::from(leg.rtcp_packets),
            expected: u64::from(statistics.expected),
            lost: u64::from(statistics.lost),
            loss_percent: statistics.loss() * 100.0,
            jitter_ms: ms(statistics.jitter_us),
            mos: is_rated.then(|| rtp::mos::rate(&conditions).mos),
            round_trip_ms: leg.round_trip_us.map(ms),
            longest_gap_ms: u64::from(statistics.gap_us_max / 1_000),
            payload_types: leg.payload_types,
            payload_type,
            clock_rate_hz,
            dropped,
        }
    }
}

/// The codec of a payload type that is assigned statically (RFC 3551 section 6).
fn codec(payload_type: u8) -> Codec {
    match payload_type {
        0 | 8 => Codec::G711,
        2 => Codec::G726,
        3 => Codec::Gsm,
        4 => Codec::G7231,
        9 => Codec::G722,
        18 => Codec::G729,
        _ => Codec::Unknown,
    }
}

/// What became of a session up to now.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The call.
    pub session: SessionId,
    /// When its first port was opened.
    pub opened: Time,
    /// When this was written.
    pub at: Time,
    /// The branch that the caller talks with.
    pub selected: Option<u8>,
    /// Each side of each stream, those that were closed before included.
    pub legs: Vec<LegReport>,
    /// Sides of streams that were closed before and left out, since there were too many.
    pub legs_left_out: u32,
}

/// Counts over all sessions since the start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// Sessions that began.
    pub sessions_opened: u64,
    /// Sessions that were closed by command.
    pub sessions_closed: u64,
    /// Sessions that were closed because nobody sent.
    pub sessions_silent: u64,
    /// [`crate::Command::Open`] that were refused.
    pub refused: u64,
    /// Commands for what is not there.
    pub commands_unknown: u64,
    /// Packets relayed, RTCP included.
    pub packets: u64,
    /// Their bytes, without UDP and IP headers.
    pub bytes: u64,
    /// Packets of RTCP among them.
    pub rtcp_packets: u64,
    /// Packets dropped.
    pub dropped: Dropped,
    /// How many times a source was learned.
    pub sources_learned: u64,
    /// [`crate::Event::Learned`] that were left out, since the events were not drained.
    pub events_left_out: u64,
    /// RTP packets that should have come in legs that have ended.
    pub ended_expected: u64,
    /// RTP packets that did not come in legs that have ended.
    pub ended_lost: u64,
    /// Legs that have ended and have an estimate of quality.
    pub ended_mos_legs: u64,
    /// The sum of their estimates, in thousandths.
    pub ended_mos_sum_thousandths: u64,
    /// The sum of their jitter at the end, in microseconds.
    pub ended_jitter_sum_us: u64,
}

impl Totals {
    /// Adds what a leg that has ended leaves.
    pub(crate) fn add_leg(&mut self, leg: &LegReport) {
        self.ended_expected += leg.expected;
        self.ended_lost += leg.lost;
        if let Some(mos) = leg.mos {
            self.ended_mos_legs += 1;
            self.ended_mos_sum_thousandths += (mos * 1_000.0) as u64;
            self.ended_jitter_sum_us += (leg.jitter_ms * 1_000.0) as u64;
        }
    }
}
