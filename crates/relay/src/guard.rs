//! Who may send to a port: the source guard of one side of one stream.
//!
//! The rules and what they leave possible are in `docs/decisions/0008-the-source-guard-of-the-relay.md`.

use std::net::SocketAddr;

use crate::report::Reason;
use crate::types::Time;

/// For this long after a source was taken, or a branch was selected, a better one displaces it.
pub(crate) const LEARNING_US: u64 = 2_000_000;
/// For this long after the first packet that follows a new offer, another source may take over.
pub(crate) const RELEARNING_US: u64 = 10_000_000;
/// A stream is quiet when nothing of it came for this long: five packets of 20 ms.
pub(crate) const QUIET_US: u64 = 100_000;
/// An SSRC is firm after so many packets without another one from the same source: 2 s of sound.
pub(crate) const FIRM_PACKETS: u8 = 100;
/// A packet this far ahead, or further, does not go on with its stream (RFC 3550 appendix A.1).
const DROPOUT_MAX: u16 = 3_000;
/// A packet this far behind, or further, does not either (RFC 3550 appendix A.1).
const MISORDER_MAX: u16 = 100;
/// How far ahead a stream may be that goes on from another address, beyond one packet a millisecond.
const REBINDING_AHEAD: u64 = 10;
/// How far ahead its timestamp may be beyond the time that has passed.
const REBINDING_TIMESTAMP_MS: u64 = 1_000;
/// The fastest clock of any payload format, for a clock rate that is not known.
const CLOCK_RATE_HZ_MAX: u32 = 192_000;

/// How good a source is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// It went on with the stream from elsewhere, which only the sender could.
    Proven,
    /// The signalled address and port.
    Signalled,
    /// The signalled host, another port.
    Host,
    /// The host that SIP came from.
    Signalling,
    /// Any other, after a probation.
    Any,
}

/// What the guard looks at in an RTP packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// 0 when it is not known.
    pub(crate) clock_rate_hz: u32,
}

/// A packet that is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed {
    /// It belongs to the stream that is measured and shows that its sender lives.
    pub(crate) is_of_stream: bool,
    /// Its source was learned by it.
    pub(crate) is_new_source: bool,
}

const OF_STREAM: Passed = Passed {
    is_of_stream: true,
    is_new_source: false,
};
const BESIDE_STREAM: Passed = Passed {
    is_of_stream: false,
    is_new_source: false,
};
const NEW_SOURCE: Passed = Passed {
    is_of_stream: true,
    is_new_source: true,
};

/// What is known of the source of one side of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    /// Where packets for the peer go: what was learned, else what was signalled.
    address: Option<SocketAddr>,
    is_learned: bool,
    rank: Rank,
    has_ssrc: bool,
    /// Packets of the SSRC since another one came from the same source, up to [`FIRM_PACKETS`].
    run: u8,
    ssrc: u32,
    highest: u16,
    /// The number that would follow one that did not go on with the stream.
    jump: Option<u16>,
    timestamp: u32,
    /// When the last packet of the SSRC, or of the source where there is none, was let through.
    last: Time,
    /// Until then a better source displaces this one.
    learning_until: Time,
    /// Until then another source may take over. [`ARMED`] until the next packet sets it.
    relearning_until: Time,
}

const ARMED: Time = Time::from_micros(u64::MAX);

impl Guard {
    pub(crate) fn new() -> Guard {
        Guard {
            address: None,
            is_learned: false,
            rank: Rank::Any,
            has_ssrc: false,
            run: 0,
            ssrc: 0,
            highest: 0,
            jump: None,
            timestamp: 0,
            last: Time::ZERO,
            learning_until: Time::ZERO,
            relearning_until: Time::ZERO,
        }
    }

    /// Where packets for the peer go.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where the peer's packets come from.
    pub(crate) fn source(&self) -> Option<SocketAddr> {
        self.address.filter(|_| self.is_learned)
    }

    /// The SSRC that the stream is locked to.
    pub(crate) fn ssrc(&self) -> Option<u32> {
        self.has_ssrc.then_some(self.ssrc)
    }

    /// When the last packet that counts was let through.
    pub(crate) fn last(&self) -> Time {
        self.last
    }

    /// The peer said where it is. `rank` is what the learned source is by that, `has_moved` whether it said
    /// something else before, `relearn` whether this comes of a new offer.
    pub(crate) fn describe(
        &mut self,
        signalled: Option<SocketAddr>,
        rank: Option<Rank>,
        has_moved: bool,
        relearn: bool,
    ) {
        if !self.is_learned {
            self.address = signalled;
            return;
        }
        if has_moved {
            // Where the source was what had been signalled, it moves with it.
            match rank {
                Some(rank) if rank == Rank::Signalled || self.rank != Rank::Signalled => {
                    self.rank = rank;
                }
                _ => self.forget(signalled),
            }
        }
        if has_moved || relearn {
            self.relearning_until = ARMED;
            self.run = 0;
        }
    }

    fn forget(&mut self, signalled: Option<SocketAddr>) {
        self.address = signalled;
        self.is_learned = false;
        self.has_ssrc = false;
        self.rank = Rank::Any;
    }

    /// The source that was learned elsewhere is the source here, for good as it was there.
    pub(crate) fn restore(&mut self, now: Time, source: SocketAddr, rank: Rank) {
        self.address = Some(source);
        self.is_learned = true;
        self.rank = rank;
        self.has_ssrc = false;
        self.learning_until = now;
    }

    /// The caller and a branch begin to talk: what was learned up to now may be displaced by something better.
    pub(crate) fn reopen(&mut self, now: Time) {
        self.learning_until = now.plus_micros(LEARNING_US);
    }

    /// Judges an RTP packet. `rank` says how good its source is, none for a foreign one; it is asked only
    /// when it matters.
    #[inline]
    pub(crate) fn rtp(
        &mut self,
        now: Time,
        source: SocketAddr,
        numbers: &Numbers,
        rank: impl FnOnce() -> Option<Rank>,
    ) -> Result<Passed, Reason> {
        if self.is_learned && self.address == Some(source) {
            let passed = self.rtp_of_source(now, numbers)?;
            self.close_relearning(now);
            return Ok(passed);
        }
        if self.is_continued(now, numbers) {
            self.take(now, source, Rank::Proven);
            self.follow(now, numbers);
            return Ok(NEW_SOURCE);
        }
        self.take_ranked(now, source, rank)?;
        if !(self.has_ssrc && numbers.ssrc == self.ssrc) {
            self.lock(now, numbers);
        } else {
            self.follow(now, numbers);
        }
        Ok(NEW_SOURCE)
    }

    /// Judges a packet that has no numbers to look at. One that does not count (a handshake) may have its source
    /// learned, but shows nothing else.
    pub(crate) fn datagram(
        &mut self,
        now: Time,
        source: SocketAddr,
        counts: bool,
        rank: impl FnOnce() -> Option<Rank>,
    ) -> Result<Passed, Reason> {
        let is_new_source = !(self.is_learned && self.address == Some(source));
        if is_new_source {
            self.take_ranked(now, source, rank)?;
            self.has_ssrc = false;
            self.last = now;
        } else if counts {
            self.last = now;
            self.close_relearning(now);
        }
        Ok(Passed {
            is_of_stream: counts,
            is_new_source,
        })
    }

    /// A packet from the learned source.
    #[inline]
    fn rtp_of_source(&mut self, now: Time, numbers: &Numbers) -> Result<Passed, Reason> {
        if !self.has_ssrc {
            self.lock(now, numbers);
            return Ok(OF_STREAM);
        }
        if numbers.ssrc != self.ssrc {
            return self.rival(now, numbers);
        }
        let ahead = numbers.sequence.wrapping_sub(self.highest);
        if ahead == 0 {
            return Err(Reason::Replayed);
        }
        let is_ahead = ahead < DROPOUT_MAX;
        if !is_ahead && ahead.wrapping_neg() > MISORDER_MAX {
            self.jumped(now, numbers.sequence)?;
        }
        self.run = (self.run + 1).min(FIRM_PACKETS);
        if is_ahead || ahead.wrapping_neg() > MISORDER_MAX {
            self.highest = numbers.sequence;
            self.timestamp = numbers.timestamp;
        }
        self.last = now;
        Ok(OF_STREAM)
    }

    /// Another SSRC from the learned source: phones begin anew when they like, but then the one before ends. One that
    /// has been alone for long is not disturbed by what somebody forged.
    fn rival(&mut self, now: Time, numbers: &Numbers) -> Result<Passed, Reason> {
        if self.is_quiet(now) {
            self.lock(now, numbers);
            return Ok(OF_STREAM);
        }
        if self.run >= FIRM_PACKETS {
            return Err(Reason::Foreign);
        }
        self.run = 0;
        Ok(BESIDE_STREAM)
    }

    /// The SSRC's numbers do not go on. They may begin anew with two in a row, but not while it goes on as well.
    fn jumped(&mut self, now: Time, sequence: u16) -> Result<(), Reason> {
        let follows = self.jump == Some(sequence);
        self.jump = Some(sequence.wrapping_add(1));
        if follows && self.is_quiet(now) {
            return Ok(());
        }
        Err(Reason::Replayed)
    }

    /// Whether the stream goes on from elsewhere: the same SSRC, numbers and timestamps that follow, and nothing
    /// from where it came before.
    fn is_continued(&self, now: Time, numbers: &Numbers) -> bool {
        if !self.is_learned || !self.has_ssrc || numbers.ssrc != self.ssrc || !self.is_quiet(now) {
            return false;
        }
        let passed_ms = now.micros_since(self.last) / 1_000;
        let ahead = numbers.sequence.wrapping_sub(self.highest);
        let ahead_max = (passed_ms + REBINDING_AHEAD).min(u64::from(DROPOUT_MAX));
        if ahead == 0 || u64::from(ahead) > ahead_max {
            return false;
        }
        let clock_rate_hz = match numbers.clock_rate_hz {
            0 => CLOCK_RATE_HZ_MAX,
            known => known,
        };
        let units_max =
            (passed_ms + REBINDING_TIMESTAMP_MS).saturating_mul(u64::from(clock_rate_hz)) / 1_000;
        u64::from(numbers.timestamp.wrapping_sub(self.timestamp)) <= units_max
    }

    /// Takes another source than the learned one if its rank allows it.
    fn take_ranked(
        &mut self,
        now: Time,
        source: SocketAddr,
        rank: impl FnOnce() -> Option<Rank>,
    ) -> Result<(), Reason> {
        let is_relearning = now < self.relearning_until;
        let may_change = !self.is_learned || now < self.learning_until || is_relearning;
        let rank = may_change.then(rank).flatten().ok_or(Reason::Foreign)?;
        let is_better = rank < self.rank;
        if self.is_learned && !is_better && !(is_relearning && self.is_quiet(now)) {
            return Err(Reason::Foreign);
        }
        self.take(now, source, rank);
        Ok(())
    }

    fn take(&mut self, now: Time, source: SocketAddr, rank: Rank) {
        self.close_relearning(now);
        self.address = Some(source);
        self.is_learned = true;
        self.rank = rank;
        self.learning_until = now.plus_micros(LEARNING_US);
    }

    fn close_relearning(&mut self, now: Time) {
        if self.relearning_until == ARMED {
            self.relearning_until = now.plus_micros(RELEARNING_US);
        }
    }

    fn lock(&mut self, now: Time, numbers: &Numbers) {
        self.has_ssrc = true;
        self.ssrc = numbers.ssrc;
        self.run = 0;
        self.jump = None;
        self.follow(now, numbers);
    }

    fn follow(&mut self, now: Time, numbers: &Numbers) {
        self.highest = numbers.sequence;
        self.timestamp = numbers.timestamp;
        self.last = now;
    }

    fn is_quiet(&self, now: Time) -> bool {
        now.micros_since(self.last) >= QUIET_US
    }
}
