//! A term of office: what its owner has renewed, what others have promised, and until when it may act.

use super::settings::Settings;
use crate::node::{Epoch, Identity, NODES_MAX, NodeId, NodeSet, Revision};
use crate::output::RequestId;
use crate::record::{Record, Tenure, Version};
use crate::rule::{Rule, Rules};
use crate::time::Time;

/// Writes at one revision whose answers may still come. Older ones are forgotten, though not what they
/// may have changed.
const ATTEMPTS_MAX: usize = 4;

/// A write of the record that may or may not have been taken.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    request: RequestId,
    sent: Time,
    record: Record,
}

/// What the coordinator's answer to a write means to the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It goes on.
    Good,
    /// Somebody else's epoch, or a release over our head.
    Over,
}

/// The owner's account of its term.
#[derive(Debug)]
pub(super) struct Term {
    identity: Identity,
    revision: Revision,
    record: Record,
    /// What the coordinator holds at that revision: `record`, unless it has lost writes.
    shown: Option<Record>,
    attempts: Vec<Attempt>,
    renewals: u64,
    /// Who may claim, and who is in sync, by some version of the record that may be the current one.
    members_possible: NodeSet,
    in_sync_possible: NodeSet,
    /// When the last successful renewal was sent.
    renewed: Time,
    /// The newest stamp that each member has acknowledged.
    acknowledged: [Option<Time>; NODES_MAX],
    until: Time,
    began: Time,
    /// When to write next, as things stand.
    renew_at: Time,
    unanswered: bool,
    pub(super) heartbeat_at: Time,
}

impl Term {
    /// The term that the claim `record`, sent at `sent` and taken as `revision`, begins.
    pub(super) fn new(
        now: Time,
        identity: Identity,
        sent: Time,
        (revision, record): (Revision, Record),
        settings: &Settings,
        rules: Rules,
    ) -> Term {
        Term {
            identity,
            revision,
            record,
            shown: Some(record),
            attempts: Vec::with_capacity(ATTEMPTS_MAX),
            renewals: record.renewals,
            members_possible: record.members,
            in_sync_possible: record.in_sync,
            renewed: sent,
            acknowledged: [None; NODES_MAX],
            until: sent.after(span(settings, rules)),
            began: now,
            renew_at: now.after(settings.renew_us),
            unanswered: false,
            heartbeat_at: now,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.record.epoch
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// The version that a write replaces.
    pub(super) fn expected(&self) -> Version {
        Version {
            revision: self.revision,
            record: self.shown,
        }
    }

    pub(super) fn until(&self) -> Time {
        self.until
    }

    /// Who may claim, by any version of the record that may be the current one.
    pub(super) fn claimants(&self) -> NodeSet {
        self.members_possible.without(self.identity.node)
    }

    /// Who may have to go on with what is committed.
    pub(super) fn guard(&self) -> NodeSet {
        self.in_sync_possible
    }

    /// When this ends unless something happens.
    pub(super) fn renew_at(&self) -> Time {
        self.renew_at
    }

    /// Computes until when the owner may act; `true` if that is later than before. What was granted
    /// once is not taken back: it was right by what could be claimed then.
    pub(super) fn extend(&mut self, now: Time, settings: &Settings, rules: Rules) -> bool {
        let set = if rules.keep(Rule::EveryMember) {
            self.claimants()
        } else {
            self.record.in_sync.without(self.identity.node)
        };
        let oldest = set
            .iter()
            .map(|node| self.acknowledged[node.index()])
            .try_fold(now, |oldest, stamp| Some(oldest.min(stamp?)));
        let stamp = oldest.map_or(self.renewed, |oldest| oldest.max(self.renewed));
        let until = stamp.after(span(settings, rules));
        let later = until > self.until;
        self.until = self.until.max(until);
        later
    }

    pub(super) fn acknowledge(&mut self, node: NodeId, stamp: Time) {
        let newest = &mut self.acknowledged[node.index()];
        *newest = (*newest).max(Some(stamp));
    }

    /// Members from whom nothing was heard for a lease.
    pub(super) fn silent(&self, now: Time, settings: &Settings) -> NodeSet {
        let heard = |node: &NodeId| self.acknowledged[node.index()].unwrap_or(self.began);
        let silent = |node: &NodeId| now.since(heard(node)) > settings.lease_us;
        self.claimants().iter().filter(silent).collect()
    }

    /// The record as it is to be, if it is time to write it.
    pub(super) fn renewal(&self, now: Time, in_sync: NodeSet, members: NodeSet) -> Option<Record> {
        let members = members.with(self.identity.node);
        let in_sync = in_sync.both(members).with(self.identity.node);
        let changed = in_sync != self.record.in_sync || members != self.record.members;
        let due = now >= self.renew_at || (changed && !self.unanswered);
        due.then_some(Record {
            in_sync,
            members,
            ..self.record
        })
    }

    /// Notes a write that is about to be sent: from now on it may be the current version.
    pub(super) fn attempt(
        &mut self,
        now: Time,
        request: RequestId,
        record: Record,
        settings: &Settings,
        rules: Rules,
    ) -> Record {
        self.renewals += 1;
        let record = Record {
            renewals: self.renewals,
            ..record
        };
        if self.attempts.len() == ATTEMPTS_MAX {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt {
            request,
            sent: now,
            record,
        });
        if rules.keep(Rule::PendingCounts) {
            self.members_possible = self.members_possible.union(record.members);
            self.in_sync_possible = self.in_sync_possible.union(record.in_sync);
        }
        self.unanswered = true;
        self.renew_at = now.after(settings.request_us);
        record
    }

    /// A write was taken.
    pub(super) fn written(
        &mut self,
        now: Time,
        request: RequestId,
        revision: Revision,
        settings: &Settings,
        rules: Rules,
    ) {
        let found = self
            .attempts
            .iter()
            .find(|attempt| attempt.request == request);
        if let Some(&Attempt { sent, record, .. }) = found {
            let stamp = if rules.keep(Rule::RenewalStamp) {
                sent
            } else {
                now
            };
            self.confirm(revision, record, Some(stamp), settings);
        }
    }

    /// A write was refused because the record is at another version, which is `revision`, `record`.
    pub(super) fn conflict(
        &mut self,
        request: RequestId,
        revision: Revision,
        record: Option<Record>,
        settings: &Settings,
    ) -> Standing {
        if !self
            .attempts
            .iter()
            .any(|attempt| attempt.request == request)
        {
            return Standing::Good;
        }
        match record {
            Some(record) if record.is_of(self.identity) && record.epoch == self.record.epoch => {
                if record.is_released() {
                    return Standing::Over;
                }
                // An earlier write of ours was taken and its answer lost. Which one, its number says.
                let found = self
                    .attempts
                    .iter()
                    .find(|attempt| attempt.record.renewals == record.renewals);
                let stamp = found.map(|attempt| attempt.sent);
                self.confirm(revision, record, stamp, settings);
                Standing::Good
            }
            Some(record) if record.epoch >= self.record.epoch => Standing::Over,
            older => {
                // The coordinator has lost writes. What it shows may be claimed by whom it names; the
                // next renewal writes over it.
                let stranger = older.map_or(NodeSet::EMPTY, |record| record.members);
                self.revision = revision;
                self.shown = older;
                self.attempts.clear();
                self.unanswered = false;
                self.members_possible = self.record.members.union(stranger);
                self.renew_at = Time(0);
                Standing::Good
            }
        }
    }

    fn confirm(
        &mut self,
        revision: Revision,
        record: Record,
        stamp: Option<Time>,
        settings: &Settings,
    ) {
        if let Some(stamp) = stamp {
            self.renewed = self.renewed.max(stamp);
        }
        let last = self
            .attempts
            .last()
            .map_or(self.renewed, |attempt| attempt.sent);
        self.revision = revision;
        self.record = record;
        self.shown = Some(record);
        // Whatever else was sent expected an earlier revision and cannot be taken any more.
        self.attempts.clear();
        self.members_possible = record.members;
        self.in_sync_possible = record.in_sync;
        self.unanswered = false;
        self.renew_at = last.after(self.renew_us(last, settings));
    }

    /// How long after the last write the next one is: half as long where no heartbeats keep the owner in office, so that it
    /// has most of a lease left whenever the coordinator stalls.
    fn renew_us(&self, now: Time, settings: &Settings) -> u64 {
        match self.silent(now, settings).is_empty() {
            true => settings.renew_us,
            false => settings.renew_us / 2,
        }
    }

    /// The record that ends this term.
    pub(super) fn released(&mut self, successor: Option<NodeId>) -> Record {
        self.renewals += 1;
        Record {
            tenure: Tenure::Released { successor },
            renewals: self.renewals,
            ..self.record
        }
    }
}

fn span(settings: &Settings, rules: Rules) -> u64 {
    let margin_us = if rules.keep(Rule::Margin) {
        settings.margin_us
    } else {
        0
    };
    settings.lease_us - margin_us
}
