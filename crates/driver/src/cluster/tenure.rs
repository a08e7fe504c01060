//! Who owns a service, and when he was last heard.

use cluster::{Epoch, NodeId, Time};

/// The owner that a node follows, or is.
#[derive(Debug)]
pub(super) struct Tenure {
    /// Who it is, by which term, and when he was last heard.
    owner: Option<(NodeId, Epoch, Time)>,
    /// Since when somebody listens.
    began: Time,
}

impl Tenure {
    pub(super) fn new(now: Time) -> Tenure {
        Tenure {
            owner: None,
            began: now,
        }
    }

    /// For how many milliseconds this node was not heard as the owner, at most since it is listened.
    pub(super) fn silent_ms(&self, now: Time, owner: Option<NodeId>) -> u64 {
        let known = self.owner.filter(|(known, _, _)| Some(*known) == owner);
        let since = known.map_or(self.began, |(_, _, heard)| heard);
        now.since(since) / 1_000
    }

    /// The owner was heard. For how many milliseconds nobody was, if there was one before whose term has ended.
    pub(super) fn heard(&mut self, now: Time, owner: NodeId, epoch: Epoch) -> Option<u64> {
        let before = self.owner.replace((owner, epoch, now))?;
        let is_new = before.1 != epoch;
        is_new.then(|| now.since(before.2) / 1_000)
    }

    /// This node becomes the owner. For how many milliseconds the one before was not heard, if there was one.
    pub(super) fn begin(&mut self, now: Time, own: NodeId, epoch: Epoch) -> Option<u64> {
        let before = self.owner.replace((own, epoch, now));
        before.map(|(_, _, heard)| now.since(heard) / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).expect("a number of a node")
    }

    #[test]
    fn a_member_sees_how_long_nobody_was_heard_when_the_owner_is_another() {
        let mut tenure = Tenure::new(Time(0));
        // Whoever is in office when the node starts took it at a time that it does not know.
        assert_eq!(tenure.heard(Time(1_000), node(1), Epoch(4)), None);
        assert_eq!(tenure.heard(Time(2_000), node(1), Epoch(4)), None);
        let changed = tenure.heard(Time(502_000), node(2), Epoch(5));
        assert_eq!(changed, Some(500));
        assert_eq!(tenure.heard(Time(503_000), node(2), Epoch(5)), None);
    }

    #[test]
    fn who_is_not_heard_is_silent_since_then_or_since_somebody_listens() {
        let mut tenure = Tenure::new(Time(1_000));
        assert_eq!(tenure.silent_ms(Time(9_000), Some(node(1))), 8);
        tenure.heard(Time(9_000), node(1), Epoch(1));
        assert_eq!(tenure.silent_ms(Time(11_000), Some(node(1))), 2);
        assert_eq!(tenure.silent_ms(Time(11_000), Some(node(2))), 10);
    }

    #[test]
    fn an_owner_knows_how_long_the_one_before_was_not_heard() {
        let mut tenure = Tenure::new(Time(0));
        assert_eq!(tenure.begin(Time(9), node(1), Epoch(1)), None);
        tenure.heard(Time(10_000), node(1), Epoch(1));
        tenure.heard(Time(11_000), node(2), Epoch(2));
        assert_eq!(tenure.begin(Time(31_000), node(1), Epoch(3)), Some(20));
    }
}
