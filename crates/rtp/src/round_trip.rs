//! The round trip that a relay can see: from where a sender's report passed to the peer and back.

use crate::rtcp::ReportBlock;
use crate::{Micros, NtpTime, ShortNtp};

/// Sender reports that are remembered: an answer may refer to the one before the last.
const REPORTS: usize = 2;

/// When the last sender reports passed towards a peer. The peer's report blocks name the one they saw and how long ago (LSR and
/// DLSR, RFC 3550 section 6.4.1), which gives the round trip from here to the peer and back.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundTrip {
    passed: [(ShortNtp, Micros); REPORTS],
}

impl RoundTrip {
    /// Notes a sender report that leaves towards the peer at `now`.
    pub fn sent(&mut self, report: NtpTime, now: Micros) {
        let report = report.short();
        // 0 is how a block says that it has seen none.
        if report == ShortNtp(0) || self.passed[0].0 == report {
            return;
        }
        self.passed[1] = self.passed[0];
        self.passed[0] = (report, now);
    }

    /// The round trip in microseconds, by a block of the peer's that arrived at `now`. `None` if it refers to no report that
    /// passed, or says that it waited longer than it was away.
    #[must_use]
    pub fn returned(&self, block: &ReportBlock, now: Micros) -> Option<u64> {
        if block.last_report == ShortNtp(0) {
            return None;
        }
        let (_, passed) = self
            .passed
            .iter()
            .find(|(report, _)| *report == block.last_report)?;
        now.0
            .checked_sub(passed.0)?
            .checked_sub(block.delay.to_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(last_report: ShortNtp, delay_us: u64) -> ReportBlock {
        ReportBlock {
            last_report,
            delay: ShortNtp::of_us(delay_us),
            ..ReportBlock::default()
        }
    }

    #[test]
    fn the_round_trip_is_the_time_away_less_the_time_waited() {
        let mut trip = RoundTrip::default();
        let (first, second) = (NtpTime(1 << 32), NtpTime(2 << 32));
        trip.sent(first, Micros(1_000_000));
        trip.sent(second, Micros(6_000_000));
        let back = |report: NtpTime, waited, now| {
            trip.returned(&block(report.short(), waited), Micros(now))
        };
        assert_eq!(back(second, 500_000, 6_580_000), Some(80_000));
        assert_eq!(back(first, 500_000, 1_580_000), Some(80_000));
        assert_eq!(
            back(second, 600_000, 6_580_000),
            None,
            "it waited longer than it was away"
        );
        assert_eq!(
            back(NtpTime(3 << 32), 0, 7_000_000),
            None,
            "it has not passed here"
        );
        assert_eq!(
            back(NtpTime(0), 0, 7_000_000),
            None,
            "it has seen no report"
        );
    }
}
