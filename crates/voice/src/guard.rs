//! Who may send to an end: the rules of decision 0008, for peers that are known better than a relay knows its own.

use std::net::{IpAddr, SocketAddr};

use crate::report::Reason;
use crate::types::{Remote, Time};

/// For this long after a source was taken, a better one displaces it.
const LEARNING_US: u64 = 2_000_000;
/// For this long after the peer described itself anew, another source may take over when the old one is quiet.
const RELEARNING_US: u64 = 10_000_000;
/// A stream is quiet when nothing of it came for so long.
const QUIET_US: u64 = 100_000;
/// RTCP packets a second that are looked at.
const RTCP_PER_S_MAX: u16 = 50;
/// RTP packets a second that are looked at: ten times those of 20 ms.
const RTP_PER_S_MAX: u16 = 500;

/// How good a source is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The signalled address and port.
    Signalled,
    /// The signalled host, another port.
    Host,
    /// The host that SIP came from.
    Signalling,
    /// Another node had learned it, or it went on with the stream from elsewhere.
    Proven,
}

/// Things of one kind within a second.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    second: u64,
    count: u16,
}

impl Rate {
    fn is_within(&mut self, now: Time, max: u16) -> bool {
        let second = now.as_micros() / 1_000_000;
        if self.second != second {
            *self = Rate { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= max
    }
}

/// What is known of the source of an end's packets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    signalled: Option<SocketAddr>,
    signalled_rtcp: Option<SocketAddr>,
    rtcp_mux: bool,
    signalling: Option<IpAddr>,
    source: Option<(SocketAddr, Rank)>,
    /// Where its RTCP comes from.
    rtcp_source: Option<SocketAddr>,
    learning_until: Time,
    relearning_until: Time,
    last: Time,
    rtp_rate: Rate,
    rtcp_rate: Rate,
}

impl Guard {
    /// The peer said where it is.
    pub(crate) fn describe(&mut self, now: Time, remote: &Remote) {
        let signalled = usable(remote.rtp);
        let is_first = self.signalling.is_none();
        if signalled != self.signalled {
            self.source = None;
            self.rtcp_source = None;
        }
        if !is_first {
            self.relearning_until = now.plus_micros(RELEARNING_US);
        }
        self.signalled = signalled;
        self.signalled_rtcp = usable(remote.rtcp).or_else(|| {
            let rtp = signalled?;
            Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
        });
        self.rtcp_mux = remote.rtcp_mux;
        self.signalling = Some(remote.signalling);
        if let (None, Some(learned)) = (self.source, usable(remote.learned)) {
            self.source = Some((learned, self.rank(learned).unwrap_or(Rank::Proven)));
            self.learning_until = now.plus_micros(LEARNING_US);
        }
    }

    /// Judges a packet's source; `continues` says whether it goes on with the stream. Gives whether the source is new.
    pub(crate) fn admit(
        &mut self,
        now: Time,
        source: SocketAddr,
        continues: impl FnOnce() -> bool,
    ) -> Result<bool, Reason> {
        let Some((current, current_rank)) = self.source else {
            let rank = self.rank(source).ok_or(Reason::Foreign)?;
            self.take(now, source, rank);
            // Where it was said to be is no news.
            return Ok(rank != Rank::Signalled);
        };
        if current == source {
            // Of the peer's own packets only, lest others use up what it may send.
            if !self.rtp_rate.is_within(now, RTP_PER_S_MAX) {
                return Err(Reason::TooMany);
            }
            self.last = now;
            return Ok(false);
        }
        let is_quiet = now.micros_since(self.last) >= QUIET_US;
        let rank = match self.rank(source) {
            Some(rank) if rank < current_rank && now < self.learning_until => rank,
            Some(rank) if is_quiet && now < self.relearning_until => rank,
            _ if is_quiet && continues() => Rank::Proven,
            _ => return Err(Reason::Foreign),
        };
        self.take(now, source, rank);
        Ok(true)
    }

    /// Judges the source of RTCP; it comes from the hosts that are known.
    pub(crate) fn admit_rtcp(&mut self, now: Time, source: SocketAddr) -> Result<(), Reason> {
        let host = source.ip();
        let of = |address: Option<SocketAddr>| address.is_some_and(|known| known.ip() == host);
        let learned = self.source.map(|(source, _)| source);
        if !of(learned)
            && !of(self.signalled)
            && !of(self.signalled_rtcp)
            && self.signalling != Some(host)
        {
            return Err(Reason::Foreign);
        }
        if !self.rtcp_rate.is_within(now, RTCP_PER_S_MAX) {
            return Err(Reason::TooMany);
        }
        self.rtcp_source = Some(source);
        Ok(())
    }

    /// Where packets for the peer go.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.source.map(|(source, _)| source).or(self.signalled)
    }

    /// Whether RTCP shares the port, and where it goes.
    pub(crate) fn rtcp_destination(&self) -> Option<(bool, SocketAddr)> {
        if self.rtcp_mux {
            return Some((true, self.destination()?));
        }
        let learned = self.source.and_then(|(source, _)| {
            let port = source.port().checked_add(1)?;
            Some(SocketAddr::new(source.ip(), port))
        });
        let moved = self.source.is_some_and(|(_, rank)| rank != Rank::Signalled);
        let told = match moved {
            true => learned,
            false => self.signalled_rtcp,
        };
        Some((false, self.rtcp_source.or(told)?))
    }

    fn rank(&self, source: SocketAddr) -> Option<Rank> {
        match self.signalled {
            Some(signalled) if signalled == source => return Some(Rank::Signalled),
            Some(signalled) if signalled.ip() == source.ip() => return Some(Rank::Host),
            _ => {}
        }
        (self.signalling == Some(source.ip())).then_some(Rank::Signalling)
    }

    fn take(&mut self, now: Time, source: SocketAddr, rank: Rank) {
        self.source = Some((source, rank));
        self.last = now;
        self.learning_until = now.plus_micros(LEARNING_US);
    }
}

/// An address that something can be sent to.
fn usable(address: Option<SocketAddr>) -> Option<SocketAddr> {
    address.filter(|address| address.port() != 0 && !address.ip().is_unspecified())
}
