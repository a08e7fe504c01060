//! The phases of a node in one service, and every way from one to another.

/// What a node is doing about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Not the owner: acknowledges the owner's heartbeats and watches the record.
    Member,
    /// May claim, and waits for the fence agent first.
    Fencing,
    /// Has asked the coordinator for the record; acknowledges nobody.
    Claiming,
    /// Has authority.
    Owner,
    /// Has authority, takes no new work, and waits until its successor has everything.
    Draining,
    /// Has given up authority and tells the coordinator so.
    Releasing,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 6] = [
        Phase::Member,
        Phase::Fencing,
        Phase::Claiming,
        Phase::Owner,
        Phase::Draining,
        Phase::Releasing,
    ];
}

/// What moves a node from one phase to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The rules of claiming hold.
    RulesHold,
    /// The rules of claiming hold, and the operator wants fencing.
    FenceFirst,
    /// The fence agent succeeded.
    Fenced,
    /// The fence agent failed, or took too long.
    FenceFailed,
    /// While fencing, the rules ceased to hold: the owner was heard, or the record changed.
    Withdrawn,
    /// The coordinator took the claim.
    Won,
    /// Another write came first.
    Lost,
    /// No answer, or one too late to act on.
    Unknown,
    /// The operator or the preference moves the service.
    SwitchoverAsked,
    /// The successor has everything.
    Drained,
    /// The drain took too long, or the successor fell out.
    DrainFailed,
    /// Authority ran out.
    Lapsed,
    /// There is a later epoch, or the record was released over our head.
    Superseded,
    /// The coordinator took the release.
    Released,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 14] = [
        Cause::RulesHold,
        Cause::FenceFirst,
        Cause::Fenced,
        Cause::FenceFailed,
        Cause::Withdrawn,
        Cause::Won,
        Cause::Lost,
        Cause::Unknown,
        Cause::SwitchoverAsked,
        Cause::Drained,
        Cause::DrainFailed,
        Cause::Lapsed,
        Cause::Superseded,
        Cause::Released,
    ];
}

/// Every transition there is: phase, cause, next phase.
pub const TRANSITIONS: &[(Phase, Cause, Phase)] = &[
    (Phase::Member, Cause::RulesHold, Phase::Claiming),
    (Phase::Member, Cause::FenceFirst, Phase::Fencing),
    (Phase::Fencing, Cause::Fenced, Phase::Claiming),
    (Phase::Fencing, Cause::FenceFailed, Phase::Member),
    (Phase::Fencing, Cause::Withdrawn, Phase::Member),
    (Phase::Claiming, Cause::Won, Phase::Owner),
    (Phase::Claiming, Cause::Lost, Phase::Member),
    (Phase::Claiming, Cause::Unknown, Phase::Member),
    (Phase::Owner, Cause::SwitchoverAsked, Phase::Draining),
    (Phase::Owner, Cause::Lapsed, Phase::Member),
    (Phase::Owner, Cause::Superseded, Phase::Member),
    (Phase::Draining, Cause::Drained, Phase::Releasing),
    (Phase::Draining, Cause::DrainFailed, Phase::Owner),
    (Phase::Draining, Cause::Lapsed, Phase::Member),
    (Phase::Draining, Cause::Superseded, Phase::Member),
    (Phase::Releasing, Cause::Released, Phase::Member),
    (Phase::Releasing, Cause::Unknown, Phase::Member),
    (Phase::Releasing, Cause::Superseded, Phase::Member),
];

/// Where `cause` leads from `phase`, if anywhere.
pub fn next(phase: Phase, cause: Cause) -> Option<Phase> {
    let row = TRANSITIONS
        .iter()
        .find(|row| row.0 == phase && row.1 == cause);
    row.map(|row| row.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_and_a_cause_lead_to_one_phase() {
        for (index, row) in TRANSITIONS.iter().enumerate() {
            let same = |other: &(Phase, Cause, Phase)| other.0 == row.0 && other.1 == row.1;
            assert_eq!(TRANSITIONS.iter().position(same), Some(index));
        }
        for cause in Cause::ALL {
            assert!(TRANSITIONS.iter().any(|row| row.1 == cause), "{cause:?}");
        }
    }

    #[test]
    fn authority_comes_by_a_claim_that_was_won_and_ends_in_a_member() {
        let holds = |phase| matches!(phase, Phase::Owner | Phase::Draining);
        for &(from, cause, to) in TRANSITIONS {
            if !holds(from) && holds(to) {
                assert_eq!((from, cause), (Phase::Claiming, Cause::Won));
            }
            if holds(from) && !holds(to) {
                assert!(matches!(to, Phase::Member | Phase::Releasing));
            }
        }
    }

    #[test]
    fn every_phase_can_be_left_and_reached() {
        for phase in Phase::ALL {
            assert!(TRANSITIONS.iter().any(|row| row.0 == phase));
            assert!(TRANSITIONS.iter().any(|row| row.2 == phase));
        }
    }
}
