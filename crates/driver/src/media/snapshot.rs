//! What the relay is doing, for those who look.

use relay::{Dropped, Report, Totals};

use super::MosHistogram;

/// What one relay thread says.
#[derive(Debug, Clone, Default)]
pub(crate) struct ThreadSnapshot {
    pub(crate) totals: Totals,
    pub(crate) counters: ThreadCounters,
    pub(crate) mos: MosHistogram,
    pub(crate) packets_per_s: u64,
    /// How those sessions are that were asked for and are there.
    pub(crate) reports: Vec<Report>,
}

/// What a relay thread counts besides the relay.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ThreadCounters {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) huge: u64,
    pub(crate) congested: u64,
    pub(crate) unsent: u64,
    pub(crate) kernel_drops: u64,
    pub(crate) turns: u64,
    pub(crate) commands_dropped: u64,
}

/// What the relay is doing, all threads together.
#[derive(Debug, Clone, Default)]
pub struct RelaySnapshot {
    /// Threads.
    pub threads: u64,
    /// Threads that did not answer in time; what they count is missing here.
    pub silent_threads: u64,
    /// Pairs of ports that belong to calls.
    pub ports_in_use: u64,
    /// Pairs of ports that are free.
    pub ports_free: u64,
    /// Times that a pair was asked for and there was none.
    pub ports_exhausted: u64,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets relayed in the last second or so, RTCP included.
    pub packets_per_s: u64,
    /// Packets lost because the kernel took no more.
    pub congested: u64,
    /// Packets that could not be sent for another reason.
    pub unsent: u64,
    /// Packets that the kernel dropped before we took them.
    pub kernel_drops: u64,
    /// Rounds of the threads' loops.
    pub turns: u64,
    /// Commands dropped since a thread had too many.
    pub commands_dropped: u64,
    /// Packets relayed, their bytes, those of RTCP, and the rest that the relays count.
    pub totals: Totals,
    /// Packets dropped by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Sessions in progress.
    pub sessions: u64,
    /// How calls sounded that have ended.
    pub mos: MosHistogram,
}

impl RelaySnapshot {
    pub(crate) fn add(&mut self, thread: &ThreadSnapshot) {
        let ThreadCounters {
            received,
            sent,
            huge,
            congested,
            unsent,
            kernel_drops,
            turns,
            commands_dropped,
        } = thread.counters;
        self.received += received;
        self.sent += sent;
        self.congested += congested;
        self.unsent += unsent;
        self.kernel_drops += kernel_drops;
        self.turns += turns;
        self.commands_dropped += commands_dropped;
        self.packets_per_s += thread.packets_per_s;
        self.mos.merge(&thread.mos);
        self.add_dropped(&thread.totals.dropped, huge);
        let ended = thread.totals.sessions_closed + thread.totals.sessions_silent;
        self.sessions += thread.totals.sessions_opened.saturating_sub(ended);
        let (all, more) = (&mut self.totals, &thread.totals);
        all.sessions_opened += more.sessions_opened;
        all.sessions_closed += more.sessions_closed;
        all.sessions_silent += more.sessions_silent;
        all.refused += more.refused;
        all.commands_unknown += more.commands_unknown;
        all.packets += more.packets;
        all.bytes += more.bytes;
        all.rtcp_packets += more.rtcp_packets;
        all.sources_learned += more.sources_learned;
    }

    fn add_dropped(&mut self, dropped: &Dropped, huge: u64) {
        for (reason, mut count) in dropped.iter() {
            // The largest do not come as far as the relay.
            if reason == relay::Reason::Huge {
                count += huge;
            }
            let known = self.dropped.iter_mut();
            match known.into_iter().find(|(name, _)| *name == reason.name()) {
                Some((_, total)) => *total += count,
                None => self.dropped.push((reason.name(), count)),
            }
        }
    }
}
