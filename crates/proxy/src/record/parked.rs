//! INVITEs in progress at the owner, as its standby has them: their records, found by what messages bring.

use std::collections::{BTreeMap, VecDeque};

use records::Error;
use transaction::Time;
use transaction::layer::Id;

use super::invite::{BranchRecord, InviteRecord, StateRecord};
use super::{BRANCH, INVITE, INVITE_STATE, read_key};

/// The records of one INVITE. They may come in any order.
#[derive(Debug, Default)]
pub(super) struct ParkedInvite {
    pub(super) call_id: Vec<u8>,
    pub(super) invite: Vec<u8>,
    pub(super) state: Vec<u8>,
    /// By their numbers in the INVITE; with the number in the branch.
    pub(super) branches: Vec<(u32, Option<u64>, Vec<u8>)>,
    key: Option<u128>,
    /// The number of the call that it begins.
    call: u64,
}

/// INVITEs that are not live here.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    invites: BTreeMap<u64, ParkedInvite>,
    by_key: BTreeMap<u128, u64>,
    by_branch: BTreeMap<u64, u64>,
    /// After a takeover: when each is made live.
    pub(super) queue: VecDeque<(Time, u64)>,
    /// Calls that records made, by the numbers of these.
    pub(super) calls: BTreeMap<u64, Id>,
}

impl Parked {
    /// How many INVITEs are not live.
    pub(crate) fn len(&self) -> usize {
        self.invites.len()
    }

    /// The INVITE with a branch of this number.
    pub(crate) fn by_branch(&self, branch: u64) -> Option<u64> {
        self.by_branch.get(&branch).copied()
    }

    /// The INVITE whose server transaction is matched by this.
    pub(crate) fn by_key(&self, key: u128) -> Option<u64> {
        self.by_key.get(&key).copied()
    }

    /// When the next one is to be made live.
    pub(crate) fn next(&self) -> Option<Time> {
        self.queue.front().map(|(due, _)| *due)
    }

    /// The numbers of the calls that INVITEs began, sorted: those without a state were not committed.
    pub(super) fn calls_of_invites(&self) -> Vec<u64> {
        let whole = self
            .invites
            .values()
            .filter(|parked| !parked.state.is_empty());
        let mut calls: Vec<u64> = whole.map(|parked| parked.call).collect();
        calls.sort_unstable();
        calls
    }

    /// The numbers of all.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.invites.keys().copied()
    }

    pub(super) fn take(&mut self, number: u64) -> Option<ParkedInvite> {
        let taken = self.invites.remove(&number)?;
        if let Some(key) = taken.key {
            self.by_key.remove(&key);
        }
        for (_, branch, _) in &taken.branches {
            if let Some(branch) = branch {
                self.by_branch.remove(branch);
            }
        }
        Some(taken)
    }

    pub(super) fn clear(&mut self) {
        self.invites.clear();
        self.by_key.clear();
        self.by_branch.clear();
        self.queue.clear();
        self.calls.clear();
    }

    /// Takes a record in, once it is known to be good.
    pub(super) fn put(&mut self, kind: u16, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let (number, rest) = read_key(key)?;
        match kind {
            INVITE => {
                let record = InviteRecord::read(value)?;
                let (matched_by, call) = (record.key, record.call);
                let parked = entry(&mut self.invites, number, rest);
                fill(&mut parked.invite, value);
                parked.call = call;
                if let Some(before) = parked.key.replace(matched_by) {
                    self.by_key.remove(&before);
                }
                self.by_key.insert(matched_by, number);
            }
            INVITE_STATE => {
                StateRecord::read(value)?;
                fill(&mut entry(&mut self.invites, number, rest).state, value);
            }
            BRANCH => {
                let (index, call_id) = read_index(rest)?;
                let branch = BranchRecord::read(value)?.map(|branch| branch.number);
                let branches = &mut entry(&mut self.invites, number, call_id).branches;
                match branches.iter_mut().find(|(known, ..)| *known == index) {
                    Some((_, before, kept)) => {
                        if let Some(before) = std::mem::replace(before, branch) {
                            self.by_branch.remove(&before);
                        }
                        fill(kept, value);
                    }
                    None => branches.push((index, branch, value.to_vec())),
                }
                if let Some(branch) = branch {
                    self.by_branch.insert(branch, number);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the end of a record in.
    pub(super) fn remove(&mut self, kind: u16, key: &[u8]) -> Result<(), Error> {
        let (number, rest) = read_key(key)?;
        let Some(parked) = self.invites.get_mut(&number) else {
            return Ok(());
        };
        match kind {
            INVITE => {
                parked.invite.clear();
                if let Some(before) = parked.key.take() {
                    self.by_key.remove(&before);
                }
            }
            INVITE_STATE => parked.state.clear(),
            BRANCH => {
                let (index, _) = read_index(rest)?;
                let place = parked.branches.iter().position(|(at, ..)| *at == index);
                if let Some((_, Some(branch), _)) =
                    place.map(|place| parked.branches.swap_remove(place))
                {
                    self.by_branch.remove(&branch);
                }
            }
            _ => {}
        }
        if parked.invite.is_empty() && parked.state.is_empty() && parked.branches.is_empty() {
            self.invites.remove(&number);
        }
        Ok(())
    }
}

fn entry<'a>(
    invites: &'a mut BTreeMap<u64, ParkedInvite>,
    number: u64,
    call_id: &[u8],
) -> &'a mut ParkedInvite {
    invites.entry(number).or_insert_with(|| ParkedInvite {
        call_id: call_id.to_vec(),
        ..ParkedInvite::default()
    })
}

fn fill(kept: &mut Vec<u8>, value: &[u8]) {
    kept.clear();
    kept.extend_from_slice(value);
}

fn read_index(rest: &[u8]) -> Result<(u32, &[u8]), Error> {
    let (index, call_id) = rest.split_first_chunk().ok_or(Error::Truncated)?;
    Ok((u32::from_be_bytes(*index), call_id))
}
