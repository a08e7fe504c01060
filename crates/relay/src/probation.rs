//! Sources of no known host, where an operator lets them be learned.

use std::net::SocketAddr;

use crate::guard::{Numbers, QUIET_US, Rank};
use crate::settings::Learn;
use crate::types::Time;

/// Packets in a row that a source of no known host has to send before it is learned.
pub(crate) const PROBATION_PACKETS: u8 = 5;

/// The one source that is on probation. Another takes its place when it is quiet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probation {
    source: Option<SocketAddr>,
    /// The SSRC, and the number that comes next.
    expected: Option<(u32, u16)>,
    packets: u8,
    last: Time,
}

impl Probation {
    /// The rank of a source of no known host, once it has served its time.
    #[cold]
    pub(crate) fn rank(
        &mut self,
        learn: Learn,
        now: Time,
        source: SocketAddr,
        numbers: Option<&Numbers>,
    ) -> Option<Rank> {
        if learn == Learn::Guarded {
            return None;
        }
        let goes_on = numbers.map(|numbers| (numbers.ssrc, numbers.sequence)) == self.expected;
        let is_same = self.source == Some(source) && goes_on;
        if !is_same && self.source.is_some() && now.micros_since(self.last) < QUIET_US {
            return None;
        }
        self.packets = match is_same {
            true => self.packets + 1,
            false => 1,
        };
        self.source = Some(source);
        self.expected = numbers.map(|numbers| (numbers.ssrc, numbers.sequence.wrapping_add(1)));
        self.last = now;
        if self.packets < PROBATION_PACKETS {
            return None;
        }
        *self = Probation::default();
        Some(Rank::Any)
    }
}
