//! Rules that the simulator can switch off, to show that it notices.
//!
//! Without the feature `mutations`, which no program enables, every rule holds and this costs nothing.

/// A rule that safety rests on. Some are each other's second line: what happens then is in
/// `docs/ownership.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Authority ends a margin before the lease does.
    Margin,
    /// A member that acknowledged does not claim for a lease.
    Promise,
    /// A record is claimed only when it did not change for a lease.
    Unchanged,
    /// Nothing is acknowledged while a claim is under way.
    SilentWhileClaiming,
    /// A heartbeat of an epoch that is over is refused.
    StaleEpoch,
    /// Authority that has run out is not extended by what comes later.
    LapseIsFinal,
    /// A claim counts from its sending, not from its answer.
    ClaimStamp,
    /// A renewal counts from its sending, not from its answer.
    RenewalStamp,
    /// Heartbeats of every other member count, not of those in sync only.
    EveryMember,
    /// Authority is given up before the record is released.
    WithdrawFirst,
    /// A write whose answer did not come counts as possibly taken.
    PendingCounts,
    /// A member is left out of the commit only after the coordinator's list is without it.
    DropThroughCoordinator,
    /// Output waits for the members in sync.
    OutputCommit,
    /// Only a member with a complete table claims as one in sync.
    CompleteTable,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 14] = [
        Rule::Margin,
        Rule::Promise,
        Rule::Unchanged,
        Rule::SilentWhileClaiming,
        Rule::StaleEpoch,
        Rule::LapseIsFinal,
        Rule::ClaimStamp,
        Rule::RenewalStamp,
        Rule::EveryMember,
        Rule::WithdrawFirst,
        Rule::PendingCounts,
        Rule::DropThroughCoordinator,
        Rule::OutputCommit,
        Rule::CompleteTable,
    ];
}

/// Which rules hold: all of them, but for a mutation under test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    #[cfg(feature = "mutations")]
    off: u32,
}

impl Rules {
    /// All rules but these.
    #[cfg(feature = "mutations")]
    pub fn without(rules: &[Rule]) -> Rules {
        let off = rules.iter().fold(0, |off, &rule| off | 1 << rule as u32);
        Rules { off }
    }

    /// Whether `rule` is to be kept.
    pub fn keep(self, rule: Rule) -> bool {
        #[cfg(feature = "mutations")]
        return self.off & 1 << rule as u32 == 0;
        #[cfg(not(feature = "mutations"))]
        {
            let _ = rule;
            true
        }
    }
}
