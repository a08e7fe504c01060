//! What is known of a stream from the packets that came: order, loss, jitter, pauses (RFC 3550 appendix A.1, A.3, A.8).

use crate::rtcp::ReportBlock;
use crate::{ClockRate, Micros, Packet, PayloadType, Sequence, ShortNtp, Ssrc, Timestamp};

/// A packet less than this far ahead is the same stream after a loss; one further ahead is looked at as a restart
/// (RFC 3550 appendix A.1).
pub const MAX_DROPOUT: u16 = 3_000;
/// A packet up to this far behind came late; one further behind is looked at as a restart (RFC 3550 appendix A.1).
pub const MAX_MISORDER: u16 = 100;
/// Packets that the window remembers. One that came later than this cannot be told from a repetition.
const WINDOW: u16 = 64;
/// A pause between two packets that is counted, in microseconds: five packets of 20 ms, more than most jitter buffers hold.
pub const GAP_US: u64 = 100_000;
/// A step between timestamps and clock of this many seconds is a new start of the timestamps, no jitter.
const STEP_S: u32 = 4;

/// What a packet is to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// It goes on with the stream, at the next number or after a loss.
    Next,
    /// It is new and lies behind others that came earlier.
    Late,
    /// It came before, or is too far behind to tell. The only arrival that is of no use to a listener.
    Replayed,
    /// The first of a source, or one that does not follow what came before: it waits for another that follows it,
    /// and is not counted until then.
    Probation,
    /// The second in sequence of a source or of a new numbering: the stream begins here, and both are counted.
    Begun,
}

/// A stream's statistics. It is small because a relay has thousands; [`Reception::statistics`] spells them out.
///
/// A source begins with two packets in sequence (`MIN_SEQUENTIAL` of RFC 3550 appendix A.1). The same rule admits
/// another SSRC, and the same one when its numbers jump; sums go on over all of them.
#[derive(Debug, Clone, Default)]
pub struct Reception {
    /// Bit n: whether the packet n before the highest came. The lowest bit is always set.
    window: u64,
    last_arrival: Micros,
    bytes: u64,
    ssrc: Ssrc,
    candidate_ssrc: Ssrc,
    /// The first and the highest sequence number of this numbering, extended by the cycles (A.1). They begin in the second
    /// cycle, so that a packet before the first does not wrap around.
    base: u32,
    highest: u32,
    /// Packets expected of earlier sources and numberings.
    expected_before: u32,
    /// Packets of all sources, repetitions not counted.
    received: u32,
    /// Packets of this numbering, repetitions counted, as reports want it (section 6.4.1).
    received_of_source: u32,
    expected_prior: u32,
    received_prior: u32,
    replayed: u32,
    late: u32,
    /// Runs of lost packets that have left the window.
    loss_runs: u32,
    /// The rate at which timestamps, transit and jitter are counted.
    clock: Option<ClockRate>,
    transit: u32,
    last_timestamp: Timestamp,
    /// Jitter in 1/16 of a timestamp's unit (A.8), and the most that it was.
    jitter: u32,
    jitter_max: u32,
    gap_us_max: u32,
    gaps: u16,
    candidate_sequence: Sequence,
    candidate_bytes: u16,
    sources: u16,
    restarts: u16,
    payload_changes: u16,
    payload_type: PayloadType,
    has_begun: bool,
    has_candidate: bool,
    has_transit: bool,
}

/// What a [`Reception`] says, in common units. Sums are over all sources.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Statistics {
    /// The source now, once two packets in sequence came.
    pub ssrc: Option<Ssrc>,
    /// What the last packet was encoded as.
    pub payload_type: Option<PayloadType>,
    /// Packets that came, each once.
    pub packets: u32,
    /// Their bytes, RTP headers included.
    pub bytes: u64,
    /// Packets that should have come.
    pub expected: u32,
    /// Packets that should have come and did not.
    pub lost: u32,
    /// Runs of lost packets with at least one that came between them.
    pub loss_runs: u32,
    /// Repetitions, and packets too late to tell.
    pub replayed: u32,
    /// Packets that came after one with a higher number.
    pub late: u32,
    /// Mean deviation of the travelling time (section 6.4.1) in microseconds, and the most that it was.
    pub jitter_us: u32,
    /// The most that `jitter_us` was.
    pub jitter_us_max: u32,
    /// The longest pause between two packets, in microseconds.
    pub gap_us_max: u32,
    /// Pauses longer than [`GAP_US`].
    pub gaps: u16,
    /// Times that another SSRC took over.
    pub ssrc_changes: u16,
    /// Times that the numbers of an SSRC began anew.
    pub restarts: u16,
    /// Times that the payload type changed. Keys pressed as telephone events (RFC 4733) change it twice each.
    pub payload_changes: u16,
}

impl Statistics {
    /// The share of packets that did not come, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f32 {
        match self.expected {
            0 => 0.0,
            expected => self.lost as f32 / expected as f32,
        }
    }

    /// How much longer runs of lost packets are than if each packet were lost by itself (G.107 section 7.4, `BurstR`): 1
    /// and more.
    #[must_use]
    pub fn burst_ratio(&self) -> f32 {
        match self.loss_runs {
            0 => 1.0,
            runs => (self.lost as f32 / runs as f32 * (1.0 - self.loss())).max(1.0),
        }
    }
}

impl Reception {
    /// Counts a packet that arrived at `arrival`, whose payload type counts timestamps at `clock`. Without a clock, and
    /// between packets of one timestamp (RFC 4733 repeats it), jitter is left alone.
    pub fn receive(
        &mut self,
        packet: &Packet<'_>,
        arrival: Micros,
        clock: Option<ClockRate>,
    ) -> Arrival {
        if !self.has_begun || packet.ssrc() != self.ssrc {
            return self.consider(packet, arrival, clock);
        }
        let ahead = packet.sequence().0.wrapping_sub(self.highest as u16);
        let behind = ahead.wrapping_neg();
        let result = if ahead == 0 {
            Arrival::Replayed
        } else if ahead < MAX_DROPOUT {
            self.advance(ahead);
            Arrival::Next
        } else if behind <= MAX_MISORDER {
            self.fill(behind)
        } else {
            return self.consider(packet, arrival, clock);
        };
        self.received_of_source = self.received_of_source.wrapping_add(1);
        if result == Arrival::Replayed {
            self.replayed = self.replayed.saturating_add(1);
            return result;
        }
        self.has_candidate = false;
        self.received = self.received.wrapping_add(1);
        self.note(packet, arrival, clock);
        result
    }

    /// Whether the packet is of this source and goes on where it was: what a sender shows that went on from another
    /// address. Nothing is counted.
    #[must_use]
    pub fn is_continued_by(&self, packet: &Packet<'_>) -> bool {
        let ahead = packet.sequence().0.wrapping_sub(self.highest as u16);
        self.has_begun && packet.ssrc() == self.ssrc && (1..MAX_DROPOUT).contains(&ahead)
    }

    /// The source, once two packets in sequence came.
    #[must_use]
    pub fn ssrc(&self) -> Option<Ssrc> {
        self.has_begun.then_some(self.ssrc)
    }

    /// When the last packet that counts arrived.
    #[must_use]
    pub fn last_arrival(&self) -> Option<Micros> {
        self.has_begun.then_some(self.last_arrival)
    }

    /// What was found so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let expected = self.expected_before.wrapping_add(self.expected());
        let us = |jitter: u32| {
            let us = self.clock.map_or(0, |clock| clock.to_us(jitter >> 4));
            u32::try_from(us).unwrap_or(u32::MAX)
        };
        Statistics {
            ssrc: self.ssrc(),
            payload_type: self.has_begun.then_some(self.payload_type),
            packets: self.received,
            bytes: self.bytes,
            expected,
            lost: expected.saturating_sub(self.received),
            loss_runs: self.loss_runs + self.runs(self.held()),
            replayed: self.replayed,
            late: self.late,
            jitter_us: us(self.jitter),
            jitter_us_max: us(self.jitter_max),
            gap_us_max: self.gap_us_max,
            gaps: self.gaps,
            ssrc_changes: self.sources.saturating_sub(1),
            restarts: self.restarts,
            payload_changes: self.payload_changes,
        }
    }

    /// A report block on the source now (section 6.4.1, appendix A.3), whose fraction is of the time since the last call.
    /// `last_report` is the middle of the NTP time of the source's last SR and `delay` the time since it came; both are 0 without
    /// one.
    pub fn report(&mut self, last_report: ShortNtp, delay: ShortNtp) -> Option<ReportBlock> {
        let ssrc = self.ssrc()?;
        let expected = self.expected();
        let expected_since = expected.wrapping_sub(self.expected_prior);
        let received_since = self.received_of_source.wrapping_sub(self.received_prior);
        self.expected_prior = expected;
        self.received_prior = self.received_of_source;
        let lost_since = i64::from(expected_since) - i64::from(received_since);
        let fraction = match expected_since {
            0 => 0,
            _ => (lost_since.max(0) << 8) / i64::from(expected_since),
        };
        let lost = expected.wrapping_sub(self.received_of_source).cast_signed();
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            lost: lost.clamp(ReportBlock::LOST_MIN, ReportBlock::LOST_MAX),
            // The extra cycle that `begin` adds is ours.
            highest: self.highest.wrapping_sub(0x1_0000),
            jitter: self.jitter >> 4,
            last_report,
            delay,
        })
    }

    /// A packet that does not go on with the stream: with the one before it in sequence it begins a new one (A.1).
    fn consider(
        &mut self,
        packet: &Packet<'_>,
        arrival: Micros,
        clock: Option<ClockRate>,
    ) -> Arrival {
        let (ssrc, sequence) = (packet.ssrc(), packet.sequence());
        let follows = self.has_candidate
            && self.candidate_ssrc == ssrc
            && self.candidate_sequence.next() == sequence;
        if !follows {
            self.has_candidate = true;
            self.candidate_ssrc = ssrc;
            self.candidate_sequence = sequence;
            // At most PACKET_BYTES_MAX.
            self.candidate_bytes = packet.bytes().len() as u16;
            return Arrival::Probation;
        }
        if !self.has_begun {
            self.payload_type = packet.payload_type();
            self.last_arrival = arrival;
        }
        self.begin(ssrc, sequence);
        self.bytes += u64::from(self.candidate_bytes);
        self.note(packet, arrival, clock);
        Arrival::Begun
    }

    /// A new source or numbering, whose second packet has this number.
    fn begin(&mut self, ssrc: Ssrc, sequence: Sequence) {
        if self.has_begun {
            self.expected_before = self.expected_before.wrapping_add(self.expected());
            self.loss_runs = self.loss_runs.saturating_add(self.runs(self.held()));
        }
        match self.has_begun && self.ssrc == ssrc {
            true => self.restarts = self.restarts.saturating_add(1),
            false => self.sources = self.sources.saturating_add(1),
        }
        self.has_begun = true;
        self.has_candidate = false;
        self.ssrc = ssrc;
        self.highest = 0x1_0000 + u32::from(sequence.0);
        self.base = self.highest - 1;
        self.window = 0b11;
        self.received = self.received.wrapping_add(2);
        self.received_of_source = 2;
        self.expected_prior = 0;
        self.received_prior = 0;
        // Timestamps begin anew; the jitter that was found goes on.
        self.has_transit = false;
    }

    /// Moves on by `ahead` packets, of which the last one came.
    fn advance(&mut self, ahead: u16) {
        let leaving = match ahead {
            WINDOW.. => u64::MAX,
            _ => !(u64::MAX >> ahead),
        };
        self.loss_runs = self
            .loss_runs
            .saturating_add(self.runs(leaving & self.held()));
        self.window = match ahead {
            WINDOW.. => 1,
            _ => self.window << ahead | 1,
        };
        self.highest = self.highest.wrapping_add(u32::from(ahead));
    }

    /// A packet that lies behind the highest.
    fn fill(&mut self, behind: u16) -> Arrival {
        if behind >= WINDOW || self.window >> behind & 1 == 1 {
            return Arrival::Replayed;
        }
        self.window |= 1 << behind;
        self.late = self.late.saturating_add(1);
        let number = self.highest.wrapping_sub(u32::from(behind));
        if number.wrapping_sub(self.base).cast_signed() < 0 {
            // It was sent before the first one that came.
            self.base = number;
        }
        Arrival::Late
    }

    /// What every packet that counts tells: bytes, payload type, pauses, jitter.
    fn note(&mut self, packet: &Packet<'_>, arrival: Micros, clock: Option<ClockRate>) {
        self.bytes += packet.bytes().len() as u64;
        if packet.payload_type() != self.payload_type {
            self.payload_type = packet.payload_type();
            self.payload_changes = self.payload_changes.saturating_add(1);
        }
        let gap_us = arrival.since(self.last_arrival);
        if gap_us > GAP_US {
            self.gaps = self.gaps.saturating_add(1);
        }
        let gap_us = u32::try_from(gap_us).unwrap_or(u32::MAX);
        self.gap_us_max = self.gap_us_max.max(gap_us);
        self.last_arrival = arrival;
        if let Some(clock) = clock {
            self.note_timestamp(packet.timestamp(), arrival, clock);
        }
    }

    /// The estimate of appendix A.8.
    fn note_timestamp(&mut self, timestamp: Timestamp, arrival: Micros, clock: ClockRate) {
        let transit = clock.units_at(arrival).wrapping_sub(timestamp.0);
        if self.clock != Some(clock) {
            self.convert_jitter(clock);
        } else if self.has_transit {
            if timestamp == self.last_timestamp {
                return;
            }
            let step = transit.wrapping_sub(self.transit).cast_signed();
            let step = step.unsigned_abs();
            if step < clock.hz() * STEP_S {
                self.jitter = self.jitter + step - ((self.jitter + 8) >> 4);
                self.jitter_max = self.jitter_max.max(self.jitter);
            }
        }
        self.has_transit = true;
        self.transit = transit;
        self.last_timestamp = timestamp;
    }

    /// The stream counts its timestamps at another rate from now on.
    fn convert_jitter(&mut self, clock: ClockRate) {
        if let Some(before) = self.clock.replace(clock) {
            let convert = |jitter: u32| {
                let units = u64::from(jitter) * u64::from(clock.hz()) / u64::from(before.hz());
                u32::try_from(units).unwrap_or(u32::MAX)
            };
            self.jitter = convert(self.jitter);
            self.jitter_max = convert(self.jitter_max);
        }
    }

    /// Packets expected of this numbering.
    fn expected(&self) -> u32 {
        match self.has_begun {
            true => self.highest.wrapping_sub(self.base).wrapping_add(1),
            false => 0,
        }
    }

    /// The bits of the window that are of this numbering.
    fn held(&self) -> u64 {
        match self.expected() {
            0 => 0,
            expected @ 1..64 => (1 << expected) - 1,
            _ => u64::MAX,
        }
    }

    /// Runs of lost packets whose last packet is among these bits of the window.
    fn runs(&self, among: u64) -> u32 {
        // Lost, and the one after it came.
        (!self.window & (self.window << 1) & among).count_ones()
    }
}

#[cfg(test)]
mod tests;
