//! What must hold at every moment, as predicates that a simulator, a test or a debug build asks.

use crate::node::{Epoch, NodeId, Seq};
use crate::time::Time;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Two nodes may act for one service at the same moment.
    TwoOwners {
        /// One.
        first: NodeId,
        /// The other.
        second: NodeId,
    },
    /// An epoch came again, or an earlier one after a later.
    EpochFell {
        /// The later one, which was first.
        before: Epoch,
        /// The one after it.
        after: Epoch,
    },
    /// An output left before a member that may take over had what it depends on.
    LeftEarly {
        /// The batch that it depends on.
        needs: Seq,
        /// The member.
        member: NodeId,
        /// What it has.
        has: Seq,
    },
}

/// One node's claim to a service at one moment, by its own clock: what its kernel goes by.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The node.
    pub node: NodeId,
    /// Its clock.
    pub now: Time,
    /// Until when it may act.
    pub until: Time,
}

/// At most one of the nodes may act.
///
/// # Errors
/// [`Broken::TwoOwners`].
pub fn one_owner(grants: impl IntoIterator<Item = Grant>) -> Result<Option<NodeId>, Broken> {
    let mut owner = None;
    for grant in grants {
        if grant.now >= grant.until {
            continue;
        }
        match owner {
            None => owner = Some(grant.node),
            Some(first) => {
                let second = grant.node;
                return Err(Broken::TwoOwners { first, second });
            }
        }
    }
    Ok(owner)
}

/// Terms of office come in the order of their epochs.
///
/// # Errors
/// [`Broken::EpochFell`].
pub fn epochs_rise(before: Option<Epoch>, after: Epoch) -> Result<(), Broken> {
    match before {
        Some(before) if before >= after => Err(Broken::EpochFell { before, after }),
        _ => Ok(()),
    }
}

/// An output that depends on batch `needs` may leave: every member that could take over as one in sync has it.
///
/// # Errors
/// [`Broken::LeftEarly`].
pub fn may_leave(
    needs: Seq,
    members: impl IntoIterator<Item = (NodeId, Seq)>,
) -> Result<(), Broken> {
    match members.into_iter().find(|&(_, has)| has < needs) {
        Some((member, has)) => Err(Broken::LeftEarly { needs, member, has }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(node: u8, until: u64) -> Grant {
        Grant {
            node: NodeId::new(node).unwrap(),
            now: Time(10),
            until: Time(until),
        }
    }

    #[test]
    fn a_grant_that_is_over_counts_for_nobody() {
        assert_eq!(one_owner([grant(1, 10), grant(2, 11)]), Ok(NodeId::new(2)));
        assert!(one_owner([grant(1, 11), grant(2, 11)]).is_err());
        assert_eq!(one_owner([]), Ok(None));
    }

    #[test]
    fn an_epoch_that_comes_twice_is_broken() {
        assert_eq!(epochs_rise(None, Epoch(0)), Ok(()));
        assert_eq!(epochs_rise(Some(Epoch(1)), Epoch(2)), Ok(()));
        assert!(epochs_rise(Some(Epoch(2)), Epoch(2)).is_err());
    }

    #[test]
    fn an_output_waits_for_the_slowest() {
        let node = NodeId::new(1).unwrap();
        assert_eq!(may_leave(Seq(2), [(node, Seq(2))]), Ok(()));
        assert!(may_leave(Seq(3), [(node, Seq(4)), (node, Seq(2))]).is_err());
    }
}
