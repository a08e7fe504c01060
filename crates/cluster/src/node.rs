//! Nodes, sets of them, and the numbers that order what they do.

/// Most nodes of a cluster: a set of them is one machine word.
pub const NODES_MAX: usize = 64;

/// A node of the cluster, by the number that the cluster's registry gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u8);

impl NodeId {
    /// The node with this number; `None` from [`NODES_MAX`] on.
    pub const fn new(number: u8) -> Option<NodeId> {
        if (number as usize) < NODES_MAX {
            Some(NodeId(number))
        } else {
            None
        }
    }

    /// The number, below [`NODES_MAX`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct NodeSet(u64);

impl NodeSet {
    /// Nobody.
    pub const EMPTY: NodeSet = NodeSet(0);

    /// The set as a word, bit `n` for node `n`.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set that [`NodeSet::bits`] gave.
    pub const fn from_bits(bits: u64) -> NodeSet {
        NodeSet(bits)
    }

    /// Only `node`.
    pub const fn of(node: NodeId) -> NodeSet {
        NodeSet(1 << node.0)
    }

    /// Whether `node` is in it.
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }

    /// This set and `node`.
    #[must_use]
    pub const fn with(self, node: NodeId) -> NodeSet {
        NodeSet(self.0 | 1 << node.0)
    }

    /// This set but `node`.
    #[must_use]
    pub const fn without(self, node: NodeId) -> NodeSet {
        NodeSet(self.0 & !(1 << node.0))
    }

    /// Who is in either.
    #[must_use]
    pub const fn union(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 | other.0)
    }

    /// Who is in this set and not in the other.
    #[must_use]
    pub const fn minus(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 & !other.0)
    }

    /// Who is in both.
    #[must_use]
    pub const fn both(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 & other.0)
    }

    /// Whether nobody is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are in it.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Its nodes, by number.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let number = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            // Below 64 by the width of the word; 64 when nothing is left.
            (number < u64::BITS).then_some(NodeId(number as u8))
        })
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> NodeSet {
        nodes.into_iter().fold(NodeSet::EMPTY, NodeSet::with)
    }
}

/// One life of a node's process: a number that no other life of any node has (drawn at random at start).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// The number of a term of office. It rises with every claim and never falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// The number of a batch in the stream of one epoch; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

/// The coordinator's number of one version of a record. Zero: there is no record yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A node, in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_every_number_below_the_limit() {
        assert_eq!(NodeId::new(64), None);
        let all: NodeSet = (0..64).filter_map(NodeId::new).collect();
        assert_eq!(all.len(), NODES_MAX);
        assert_eq!(all.iter().count(), NODES_MAX);
        let last = NodeId::new(63).unwrap();
        assert!(!all.without(last).contains(last));
        assert_eq!(NodeSet::of(last).iter().next(), Some(last));
        assert!(NodeSet::EMPTY.iter().next().is_none());
    }
}
