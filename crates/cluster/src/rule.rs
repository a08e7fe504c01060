//! Rules that the simulator can switch off one at a time, to show that it notices each.
//!
//! Without the feature `mutations`, which no program enables, every rule holds and this costs nothing.

/// A rule that safety rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Authority ends a margin before the lease does.
    Margin,
    /// A member that acknowledged does not claim for a lease.
    Promise,
    /// A record is claimed only when it did not change for a lease.
    Unchanged,
    /// A member that restarted promises as if it had acknowledged at its start.
    Restart,
    /// Nothing is acknowledged while a claim is under way.
    SilentWhileClaiming,
    /// A claim that succeeds late gives no authority later than its sending allows.
    ClaimStamp,
    /// A renewal counts from its sending, not from its answer.
    RenewalStamp,
    /// Heartbeats of every other member count, not of those in sync only.
    EveryMember,
    /// A member is left out of the commit only after the coordinator's list is without it.
    DropThroughCoordinator,
    /// Output waits for the members in sync.
    OutputCommit,
    /// Authority is given up before the record is released.
    WithdrawFirst,
    /// Only a member with a complete table claims as one in sync.
    CompleteTable,
    /// An acknowledgement of an older session is refused.
    Session,
    /// A heartbeat of an epoch that is over is refused.
    StaleEpoch,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 14] = [
        Rule::Margin,
        Rule::Promise,
        Rule::Unchanged,
        Rule::Restart,
        Rule::SilentWhileClaiming,
        Rule::ClaimStamp,
        Rule::RenewalStamp,
        Rule::EveryMember,
        Rule::DropThroughCoordinator,
        Rule::OutputCommit,
        Rule::WithdrawFirst,
        Rule::CompleteTable,
        Rule::Session,
        Rule::StaleEpoch,
    ];
}

/// Which rules hold: all of them, but for a mutation under test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    #[cfg(feature = "mutations")]
    without: Option<Rule>,
}

impl Rules {
    /// All rules but `rule`.
    #[cfg(feature = "mutations")]
    pub fn without(rule: Rule) -> Rules {
        Rules {
            without: Some(rule),
        }
    }

    /// Whether `rule` is to be kept.
    pub fn keep(self, rule: Rule) -> bool {
        #[cfg(feature = "mutations")]
        return self.without != Some(rule);
        #[cfg(not(feature = "mutations"))]
        {
            let _ = rule;
            true
        }
    }
}
