//! What must hold, checked against what the world really did.

use std::collections::HashMap;

use cluster::checkpoint::Table;
use cluster::invariant::Broken;
use cluster::{Epoch, NodeId, Seq};

/// A promise that a run found broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// One of the protocol's own invariants.
    Broken {
        /// Which service.
        service: usize,
        /// What.
        what: Broken,
    },
    /// A new owner that was in sync lacks what an output had told the world.
    Lost {
        /// Which service.
        service: usize,
        /// The new owner.
        node: NodeId,
        /// The record.
        key: u64,
        /// The version that the world has seen.
        version: u64,
    },
    /// A member that was not in sync claimed although one that was could have.
    ClaimedOverSynced {
        /// Which service.
        service: usize,
        /// Who claimed.
        node: NodeId,
        /// Who could have.
        member: NodeId,
    },
    /// After all faults had healed, the cluster did not settle.
    Unsettled {
        /// Which service.
        service: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The nodes keep the machine busy without doing anything.
    Spinning {
        /// When, in microseconds.
        at_us: u64,
    },
}

/// A change of the application: a version of a key, or its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) key: u64,
    pub(crate) version: u64,
}

/// The truth about one service.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// The last epoch that gained authority.
    pub(crate) epoch: Option<Epoch>,
    version: u64,
    /// Versions that remove their key.
    removals: HashMap<u64, Vec<u64>>,
    /// The latest version of each key that an output has told the world.
    visible: HashMap<u64, (u64, bool)>,
    /// When the last output left, and the longest time without one.
    pub(crate) left_us: u64,
    pub(crate) left: u64,
}

/// The kind under which the application keeps its records.
pub(crate) const KIND: u16 = 7;

impl Truth {
    /// Numbers a change.
    pub(crate) fn change(&mut self, key: u64, removes: bool) -> Change {
        self.version += 1;
        let version = self.version;
        if removes {
            self.removals.entry(key).or_default().push(version);
        }
        Change { key, version }
    }

    /// An output that tells the world of a change has left.
    pub(crate) fn leave(&mut self, now_us: u64, change: Change) {
        let removes = self
            .removals
            .get(&change.key)
            .is_some_and(|versions| versions.contains(&change.version));
        let seen = self.visible.entry(change.key).or_insert((0, false));
        if change.version > seen.0 {
            *seen = (change.version, removes);
        }
        self.left_us = now_us;
        self.left += 1;
    }

    /// What a new owner's table lacks of what the world has seen.
    pub(crate) fn lacks(&self, table: &Table) -> Option<(u64, u64)> {
        let lacks = |(&key, &(version, removed)): (&u64, &(u64, bool))| {
            let has = version_in(table, key);
            let removed_later = || {
                let later = |versions: &Vec<u64>| versions.iter().any(|&other| other > version);
                self.removals.get(&key).is_some_and(later)
            };
            let good = match has {
                Some(has) if removed => has > version,
                Some(has) => has >= version,
                None => removed || removed_later(),
            };
            (!good).then_some((key, version))
        };
        let mut found: Vec<(u64, u64)> = self.visible.iter().filter_map(lacks).collect();
        found.sort_unstable();
        found.first().copied()
    }

    /// What the world has seen is void: the service begins anew with what somebody has.
    pub(crate) fn forget(&mut self) {
        self.visible.clear();
    }
}

/// The version of a key that a table holds.
pub(crate) fn version_in(table: &Table, key: u64) -> Option<u64> {
    let value = table.find(KIND, &key.to_be_bytes())?;
    let version = value.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*version))
}

/// An output that waits for its checkpoint.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) needs: Seq,
    pub(crate) epoch: Epoch,
    pub(crate) tells: Vec<Change>,
}
