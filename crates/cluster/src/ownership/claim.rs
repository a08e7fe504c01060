//! Whether a member may claim a service: decided from one snapshot, with the reason.

use super::settings::Settings;
use crate::node::{Epoch, Identity, NodeId, NodeSet, Revision};
use crate::record::{Record, Tenure};
use crate::rule::{Rule, Rules};
use crate::time::Time;

/// The record as a member last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its version.
    pub revision: Revision,
    /// What it says; `None`: there is none.
    pub record: Option<Record>,
    /// When this member first saw this version, by its own clock.
    pub since: Time,
}

/// All that a claim is decided by.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Now.
    pub now: Time,
    /// Who decides.
    pub identity: Identity,
    /// The members as configured, in order of preference.
    pub preference: &'a [NodeId],
    /// The record, if it was ever read.
    pub view: Option<View>,
    /// When this member last acknowledged a heartbeat; its start, if it did not since.
    pub promised: Time,
    /// The latest epoch that it knows of.
    pub known: Option<Epoch>,
    /// The epoch whose state its table holds whole.
    pub whole: Option<Epoch>,
    /// Its last claim whose answer did not come, or came too late to act on.
    pub unanswered: Option<Unanswered>,
    /// It is to leave services to others.
    pub leaving: bool,
    /// A claim ended without an answer: not before this.
    pub not_before: Time,
}

/// A claim that may have been taken without this node having acted on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The epoch claimed.
    pub epoch: Epoch,
    /// What the table held whole at that time.
    pub whole: Option<Epoch>,
    /// By what right.
    pub basis: Basis,
}

/// By what right a member claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// There was no record: the service begins.
    First,
    /// It is in sync, and the owner's lease has run out.
    InSync,
    /// It is in sync, and the owner has released the record.
    Released,
    /// The record is its own, of a term that lapsed.
    Own,
    /// It is not in sync, and nobody who is has claimed: what others had committed may be lost.
    Unsynced,
}

/// Why a member waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// It is to leave services to others.
    Leaving,
    /// It has not read the record.
    NoView,
    /// The record does not name it as a member.
    NotMember,
    /// It promised not to, less than a lease ago.
    Promised,
    /// The record changed less than a lease ago.
    Changed,
    /// Others go first: a preferred member, a successor, those in sync.
    OthersFirst,
    /// It is not in sync, and the operator wants no claim without.
    NotInSync,
}

/// What a member does about the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Claim it.
    Claim(Basis),
    /// Wait until then, and decide again.
    Wait(Wait, Time),
}

/// Decides whether to claim.
///
/// A record of an epoch earlier than one that is known comes from a coordinator that lost writes. Who it
/// names as in sync means nothing then, and the rule for members not in sync applies; the rules of time,
/// which alone keep two owners apart, are the same.
pub fn judge(situation: &Situation<'_>, settings: &Settings, rules: Rules) -> Verdict {
    let s = situation;
    if s.leaving {
        return Verdict::Wait(Wait::Leaving, Time::NEVER);
    }
    let Some(view) = s.view else {
        return Verdict::Wait(Wait::NoView, Time::NEVER);
    };
    let lease_us = settings.lease_us;
    let promise_ends = if rules.keep(Rule::Promise) {
        s.promised.after(lease_us)
    } else {
        Time(0)
    };
    let unchanged = if rules.keep(Rule::Unchanged) {
        view.since.after(lease_us)
    } else {
        view.since
    };
    let Some(record) = view.record else {
        return first(s, settings, promise_ends, unchanged);
    };
    if !record.members.contains(s.identity.node) {
        return Verdict::Wait(Wait::NotMember, Time::NEVER);
    }
    let own = record.is_of(s.identity);
    let again = s
        .unanswered
        .filter(|claim| own && claim.epoch == record.epoch && claim.whole == s.whole);
    let in_sync = again.is_some() || is_in_sync(s, &record, rules);
    let (free, basis, why) = match record.tenure {
        Tenure::Released { successor } if successor.is_none_or(|node| node == s.identity.node) => {
            (view.since, Basis::Released, Wait::OthersFirst)
        }
        Tenure::Released { .. } => (unchanged, Basis::Released, Wait::OthersFirst),
        // Nobody else has had authority since this node lost its own, unless it acknowledged somebody.
        Tenure::Held if own => {
            let first = again.map(|claim| claim.basis);
            let kept = first.filter(|basis| matches!(basis, Basis::First | Basis::Unsynced));
            (promise_ends, kept.unwrap_or(Basis::Own), Wait::Promised)
        }
        Tenure::Held if promise_ends > unchanged => (promise_ends, Basis::InSync, Wait::Promised),
        Tenure::Held => (unchanged, Basis::InSync, Wait::Changed),
    };
    if !in_sync {
        return unsynced(s, settings, &record, free.max(unchanged));
    }
    let turn = if own {
        0
    } else {
        rank(s, record.in_sync.without(record.owner))
    };
    decide(s, free, turn, settings, basis, why)
}

fn is_in_sync(s: &Situation<'_>, record: &Record, rules: Rules) -> bool {
    let current = s.known.is_none_or(|known| record.epoch >= known);
    let whole = s.whole == Some(record.epoch) || !rules.keep(Rule::CompleteTable);
    current && whole && record.in_sync.contains(s.identity.node)
}

/// There is no record. A member that knows of an epoch all the same has seen a coordinator that lost it,
/// and leaves those first who have not.
fn first(s: &Situation<'_>, settings: &Settings, promise_ends: Time, unchanged: Time) -> Verdict {
    let members: NodeSet = s.preference.iter().copied().collect();
    if !members.contains(s.identity.node) {
        return Verdict::Wait(Wait::NotMember, Time::NEVER);
    }
    let (free, why) = if promise_ends > unchanged {
        (promise_ends, Wait::Promised)
    } else {
        (unchanged, Wait::Changed)
    };
    let basis = match s.known {
        None => Basis::First,
        Some(_) => Basis::Unsynced,
    };
    decide(s, free, rank(s, members), settings, basis, why)
}

fn unsynced(s: &Situation<'_>, settings: &Settings, record: &Record, free: Time) -> Verdict {
    let Some(grace_us) = settings.grace_us else {
        return Verdict::Wait(Wait::NotInSync, Time::NEVER);
    };
    // One whose table is whole, if only of an earlier epoch, goes before one that has part of it or none.
    let graces = if s.whole.is_some() { 1 } else { 2 };
    // From when those in sync may claim: an owner that the coordinator did not hear may have been kept in
    // office by heartbeats until a moment ago, with its record unchanged for long.
    let free = free.after(grace_us * graces);
    let turn = rank(s, record.members.without(record.owner));
    decide(s, free, turn, settings, Basis::Unsynced, Wait::OthersFirst)
}

fn decide(
    s: &Situation<'_>,
    free: Time,
    turn: u64,
    settings: &Settings,
    basis: Basis,
    why: Wait,
) -> Verdict {
    let at = free.after(turn * settings.stagger_us).max(s.not_before);
    if s.now >= at {
        Verdict::Claim(basis)
    } else if s.now >= free {
        Verdict::Wait(Wait::OthersFirst, at)
    } else {
        Verdict::Wait(why, at)
    }
}

/// How many of `candidates` are preferred to this node.
fn rank(s: &Situation<'_>, candidates: NodeSet) -> u64 {
    let before = s
        .preference
        .iter()
        .take_while(|&&node| node != s.identity.node);
    before.filter(|&&node| candidates.contains(node)).count() as u64
}

#[cfg(test)]
mod tests;
