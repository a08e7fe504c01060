//! Who may send RTCP: it follows the host and the SSRC of its RTP.

use std::net::SocketAddr;

use crate::guard::Guard;
use crate::report::Reason;
use crate::types::Time;

/// While RTP came within this time, its sender's RTCP bears its SSRC.
const STREAM_US: u64 = 5_000_000;
/// Where there is no RTP, another SSRC is taken when RTCP has stayed away for this long: three usual intervals (RFC 3550
/// section 6.2).
const QUIET_US: u64 = 15_000_000;

/// What is known of the RTCP of one side of one stream.
#[derive(Debug, Clone)]
pub(crate) struct RtcpGuard {
    source: Option<SocketAddr>,
    ssrc: Option<u32>,
    last: Time,
}

impl RtcpGuard {
    pub(crate) fn new() -> RtcpGuard {
        RtcpGuard {
            source: None,
            ssrc: None,
            last: Time::ZERO,
        }
    }

    /// Where the peer's RTCP comes from, when it has a port of its own.
    pub(crate) fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// Another SSRC may come, from the same source or another.
    pub(crate) fn relearn(&mut self) {
        self.ssrc = None;
    }

    /// The peer's RTP comes from another host.
    pub(crate) fn forget(&mut self) {
        *self = RtcpGuard::new();
    }

    /// Whether RTCP of this SSRC may come from the peer of `stream`. Nothing is changed.
    pub(crate) fn admits(&self, now: Time, ssrc: u32, stream: &Guard) -> bool {
        if stream.ssrc() == Some(ssrc) {
            return true;
        }
        if stream.ssrc().is_some() && now.micros_since(stream.last()) < STREAM_US {
            return false;
        }
        self.ssrc.is_none_or(|known| known == ssrc) || now.micros_since(self.last) >= QUIET_US
    }

    /// Judges where a packet on the port of RTCP comes from. `is_ranked` says whether that is a host of the peer's; it is
    /// asked as long as no source of RTP was learned.
    pub(crate) fn source_of(
        &self,
        source: SocketAddr,
        stream: &Guard,
        is_ranked: impl FnOnce() -> bool,
    ) -> Result<(), Reason> {
        let is_known = match stream.source() {
            Some(learned) => learned.ip() == source.ip(),
            None => is_ranked(),
        };
        match is_known {
            true => Ok(()),
            false => Err(Reason::Foreign),
        }
    }

    /// Notes what was let through.
    pub(crate) fn note(&mut self, now: Time, ssrc: u32) {
        self.ssrc = Some(ssrc);
        self.last = now;
    }

    /// Notes where it came from.
    pub(crate) fn learn(&mut self, source: SocketAddr) {
        self.source = Some(source);
    }
}
