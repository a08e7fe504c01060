//! The coordinator's record of a service.

use crate::error::Error;
use crate::node::{Epoch, Identity, Incarnation, NodeId, NodeSet, Revision};
use records::tlv::{self, Fields};

/// Whether a record's owner is in office.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tenure {
    /// The owner renews it, or did.
    Held,
    /// The owner has given it up (or its supervisor, for a process that is dead): it does not act any more,
    /// and whoever may claim needs to wait for nothing.
    Released {
        /// Who is to claim it; others let it go first.
        successor: Option<NodeId>,
    },
}

/// Who owns a service, as the coordinator holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The owner, or the last one.
    pub owner: NodeId,
    /// Which life of the owner's process.
    pub incarnation: Incarnation,
    /// The term of office.
    pub epoch: Epoch,
    /// Whether the owner is in office.
    pub tenure: Tenure,
    /// Who may claim it at all.
    pub members: NodeSet,
    /// Who has all that was committed, the owner among them.
    pub in_sync: NodeSet,
    /// Counts the owner's writes, so that it knows each of them again.
    pub renewals: u64,
}

/// A version of the record, as a write expects to find it. Both have to be the same: the revision, so that
/// nothing came in between, and the record, because a coordinator that was restored from an old copy counts
/// its revisions anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The coordinator's number of it; zero if there is no record.
    pub revision: Revision,
    /// What it says; `None`: there is no record.
    pub record: Option<Record>,
}

const OWNER: u64 = 1;
const INCARNATION: u64 = 2;
const EPOCH: u64 = 3;
const RELEASED: u64 = 4;
const SUCCESSOR: u64 = 5;
const MEMBERS: u64 = 6;
const IN_SYNC: u64 = 7;
const RENEWALS: u64 = 8;

impl Record {
    /// Whether `identity` wrote it as its owner.
    pub fn is_of(&self, identity: Identity) -> bool {
        self.owner == identity.node && self.incarnation == identity.incarnation
    }

    /// Whether its owner has given it up.
    pub fn is_released(&self) -> bool {
        matches!(self.tenure, Tenure::Released { .. })
    }

    /// The record to write for a process that is dead and whose address is withdrawn; `None` if there is
    /// nothing to release. For the supervisor: to be written by compare-and-set on the revision read, and
    /// asked again with what a conflict shows.
    ///
    /// Only that life's record is released, so that a supervisor that is late cannot depose the next life.
    #[must_use]
    pub fn released_for(&self, dead: Identity) -> Option<Record> {
        (self.is_of(dead) && !self.is_released()).then_some(Record {
            tenure: Tenure::Released { successor: None },
            renewals: self.renewals + 1,
            ..*self
        })
    }

    /// Appends the record as bytes, for the coordinator.
    pub fn write(&self, out: &mut Vec<u8>) {
        tlv::write_number(OWNER, self.owner.index() as u64, out);
        tlv::write_number(INCARNATION, self.incarnation.0, out);
        tlv::write_number(EPOCH, self.epoch.0, out);
        if let Tenure::Released { successor } = self.tenure {
            tlv::write_bytes(RELEASED, &[], out);
            if let Some(successor) = successor {
                tlv::write_number(SUCCESSOR, successor.index() as u64, out);
            }
        }
        tlv::write_number(MEMBERS, self.members.bits(), out);
        tlv::write_number(IN_SYNC, self.in_sync.bits(), out);
        tlv::write_number(RENEWALS, self.renewals, out);
    }

    /// Reads what [`Record::write`] wrote, or a later version of it.
    ///
    /// # Errors
    /// [`Error::Missing`] without owner, incarnation, epoch or members; what the fields may have.
    pub fn read(bytes: &[u8]) -> Result<Record, Error> {
        let (mut owner, mut incarnation, mut epoch, mut members) = (None, None, None, None);
        let (mut released, mut successor) = (false, None);
        let (mut in_sync, mut renewals) = (NodeSet::EMPTY, 0);
        let mut fields = Fields::new(bytes);
        while let Some((tag, value)) = fields.field()? {
            match tag {
                OWNER => owner = Some(node(tag, value)?),
                INCARNATION => incarnation = Some(Incarnation(tlv::number(value)?)),
                EPOCH => epoch = Some(Epoch(tlv::number(value)?)),
                RELEASED => released = true,
                SUCCESSOR => successor = Some(node(tag, value)?),
                MEMBERS => members = Some(NodeSet::from_bits(tlv::number(value)?)),
                IN_SYNC => in_sync = NodeSet::from_bits(tlv::number(value)?),
                RENEWALS => renewals = tlv::number(value)?,
                _ => {}
            }
        }
        Ok(Record {
            owner: owner.ok_or(Error::Missing { tag: OWNER })?,
            incarnation: incarnation.ok_or(Error::Missing { tag: INCARNATION })?,
            epoch: epoch.ok_or(Error::Missing { tag: EPOCH })?,
            tenure: if released {
                Tenure::Released { successor }
            } else {
                Tenure::Held
            },
            members: members.ok_or(Error::Missing { tag: MEMBERS })?,
            in_sync,
            renewals,
        })
    }
}

fn node(tag: u64, value: &[u8]) -> Result<NodeId, Error> {
    u8::try_from(tlv::number(value)?)
        .ok()
        .and_then(NodeId::new)
        .ok_or(Error::Field { tag })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let (a, b) = (NodeId::new(1).unwrap(), NodeId::new(63).unwrap());
        Record {
            owner: a,
            incarnation: Incarnation(u64::MAX),
            epoch: Epoch(7),
            tenure: Tenure::Held,
            members: NodeSet::of(a).with(b),
            in_sync: NodeSet::of(a),
            renewals: 300,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let successor = NodeId::new(63);
        let tenures = [None, successor].map(|successor| Tenure::Released { successor });
        for tenure in [Tenure::Held, tenures[0], tenures[1]] {
            let record = Record { tenure, ..record() };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            assert_eq!(Record::read(&bytes), Ok(record));
            tlv::write_bytes(99, b"of a later version", &mut bytes);
            assert_eq!(Record::read(&bytes), Ok(record));
        }
        assert_eq!(Record::read(&[]), Err(Error::Missing { tag: OWNER }));
    }

    #[test]
    fn a_supervisor_releases_only_the_life_that_ended() {
        let record = record();
        let dead = Identity {
            node: record.owner,
            incarnation: record.incarnation,
        };
        let released = record.released_for(dead).unwrap();
        assert!(released.is_released());
        assert_eq!(released.released_for(dead), None);
        let next = Identity {
            incarnation: Incarnation(1),
            ..dead
        };
        assert_eq!(record.released_for(next), None);
    }
}
