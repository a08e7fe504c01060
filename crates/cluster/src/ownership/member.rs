//! A node that is not the owner: promises, reading the record, claiming it.

use super::claim::{Basis, Situation, Unanswered, Verdict, judge};
use super::phase::Cause;
use super::tenure::Term;
use super::{Claim, Event, Fencing, Known, Outcome, Ownership, Role};
use crate::node::{Epoch, Identity, Incarnation, NodeId, NodeSet, Revision};
use crate::output::{Effect, Output, RequestId};
use crate::record::{Record, Tenure, Version};
use crate::rule::Rule;
use crate::time::Time;
use crate::wire::message::Message;

/// How many times as often the record is read in the lease after the owner's connection ended: a watch on it may be broken.
const HURRY: u64 = 5;

impl Ownership {
    /// An owner's heartbeat. Returns whether it is the owner that this node follows from now on.
    pub fn heartbeat(
        &mut self,
        now: Time,
        from: NodeId,
        epoch: Epoch,
        (owner, stamp): (Incarnation, Time),
        out: &mut Output,
    ) -> bool {
        self.lapse(now, out);
        let sender = Identity {
            node: from,
            incarnation: owner,
        };
        let later = self
            .known
            .filter(|known| epoch < known.epoch || (epoch == known.epoch && sender != known.owner));
        let stale = later.is_some();
        if let Some(known) = later.filter(|_| self.rules.keep(Rule::StaleEpoch)) {
            let owner = known.owner.incarnation;
            self.send(from, known.epoch, Message::Refused { owner }, out);
            return false;
        }
        match self.role {
            // A promise now would be broken by the claim that is under way.
            Role::Claiming(_) if self.rules.keep(Rule::SilentWhileClaiming) => return false,
            Role::Owner(_) | Role::Draining(..) if !stale => self.lose(now, Cause::Superseded, out),
            Role::Releasing(_) if !stale => {
                self.step(Cause::Superseded, out);
                self.become_member(now);
            }
            Role::Fencing(_) => {
                self.step(Cause::Withdrawn, out);
                self.become_member(now);
            }
            _ => {}
        }
        if !stale {
            let owner = sender;
            self.known = Some(Known { epoch, owner });
        }
        self.promised = now;
        self.send(from, epoch, Message::Acknowledged { owner, stamp }, out);
        true
    }

    /// The fence agent has ended.
    pub fn fenced(&mut self, now: Time, attempt: u64, succeeded: bool, out: &mut Output) {
        self.lapse(now, out);
        let Role::Fencing(fencing) = &mut self.role else {
            return;
        };
        if fencing.attempt != attempt {
            return;
        }
        if succeeded {
            fencing.done = true;
        } else {
            self.fence_failed(now, out);
        }
    }

    fn fence_failed(&mut self, now: Time, out: &mut Output) {
        self.step(Cause::FenceFailed, out);
        self.become_member(now);
        self.not_before = now.after(self.settings.lease_us);
    }

    fn verdict(&self, now: Time) -> Verdict {
        let situation = Situation {
            now,
            identity: self.identity,
            preference: &self.preference,
            view: self.view,
            promised: self.promised,
            known: self.known.map(|known| known.epoch),
            whole: self.whole,
            unanswered: self.unanswered,
            leaving: self.leaving,
            not_before: self.not_before,
        };
        judge(&situation, &self.settings, self.rules)
    }

    pub(super) fn verdict_at(&self, now: Time) -> Time {
        match self.verdict(now) {
            Verdict::Claim(_) => now,
            Verdict::Wait(_, at) => at,
        }
    }

    pub(super) fn reading_at(&self) -> Time {
        match self.reading {
            Some((_, sent)) => sent.after(self.settings.request_us),
            None => self.read_at,
        }
    }

    pub(super) fn poll_member(&mut self, now: Time, out: &mut Output) {
        if let Verdict::Claim(basis) = self.verdict(now) {
            match self.view.and_then(|view| view.record) {
                // Whoever released it is known not to act; and nobody fences itself.
                Some(record)
                    if self.settings.fences
                        && !record.is_released()
                        && record.owner != self.identity.node =>
                {
                    self.fence(now, record.owner, out);
                }
                _ => self.claim(now, basis, Cause::RulesHold, out),
            }
            return;
        }
        self.read(now, out);
    }

    fn read(&mut self, now: Time, out: &mut Output) {
        if now >= self.reading_at() {
            let request = self.number();
            self.reading = Some((request, now));
            let pace = if now < self.hurried_until { HURRY } else { 1 };
            self.read_at = now.after(self.settings.read_us / pace);
            out.push(Effect::CoordinatorRead { request });
        }
    }

    fn fence(&mut self, now: Time, target: NodeId, out: &mut Output) {
        let RequestId(attempt) = self.number();
        self.step(Cause::FenceFirst, out);
        self.role = Role::Fencing(Fencing {
            attempt,
            began: now,
            done: false,
        });
        out.push(Effect::Fence { target, attempt });
    }

    pub(super) fn poll_fencing(&mut self, now: Time, out: &mut Output) {
        let Role::Fencing(Fencing { began, done, .. }) = self.role else {
            return;
        };
        match self.verdict(now) {
            Verdict::Claim(basis) if done => self.claim(now, basis, Cause::Fenced, out),
            Verdict::Claim(_) if now.since(began) < self.settings.fence_us => self.read(now, out),
            Verdict::Claim(_) => self.fence_failed(now, out),
            Verdict::Wait(..) => {
                self.step(Cause::Withdrawn, out);
                self.become_member(now);
            }
        }
    }

    fn claim(&mut self, now: Time, basis: Basis, cause: Cause, out: &mut Output) {
        let Some(view) = self.view else {
            return;
        };
        let request = self.number();
        let shown = view.record.map_or(Epoch(0), |record| record.epoch);
        let known = self.epoch();
        if shown < known {
            let found = shown;
            out.event(Event::CoordinatorWentBack { found, known });
        }
        let configured = || -> NodeSet { self.preference.iter().copied().collect() };
        let record = Record {
            owner: self.identity.node,
            incarnation: self.identity.incarnation,
            epoch: Epoch(shown.max(known).0 + 1),
            tenure: Tenure::Held,
            members: view.record.map_or_else(configured, |record| record.members),
            in_sync: NodeSet::of(self.identity.node),
            // No two claims of one life look the same, so that an answer shows which of them was taken.
            renewals: request.0,
        };
        self.step(cause, out);
        self.role = Role::Claiming(Claim {
            request,
            sent: now,
            record,
            basis,
            whole: self.whole,
        });
        out.push(Effect::CoordinatorCas {
            request,
            expected: Version {
                revision: view.revision,
                record: view.record,
            },
            record,
        });
        self.reading = None;
        self.read_at = now.after(self.settings.request_us);
    }

    pub(super) fn poll_claiming(&mut self, now: Time, out: &mut Output) {
        if let Role::Claiming(claim) = &self.role
            && now.since(claim.sent) >= self.settings.lease_us
        {
            self.claim_unknown(now, out);
        } else {
            self.read(now, out);
        }
    }

    pub(super) fn claim_answered(&mut self, now: Time, outcome: Outcome, out: &mut Output) {
        let Role::Claiming(claim) = &self.role else {
            return;
        };
        let taken = claim.record;
        match outcome {
            Outcome::Written { revision } => self.won(now, revision, out),
            // The driver tried twice, and the first was taken.
            Outcome::Conflict { revision, record } if record == Some(taken) => {
                self.won(now, revision, out);
            }
            Outcome::Conflict { revision, record } => {
                self.step(Cause::Lost, out);
                self.become_member(now);
                self.see(now, revision, record, out);
            }
            Outcome::Read { .. } => {}
            Outcome::Failed => self.claim_unknown(now, out),
        }
    }

    /// The claim may be taken yet, or may have been. Nothing is done by its right any more: if the record
    /// turns out to be ours, it is claimed anew.
    fn claim_unknown(&mut self, now: Time, out: &mut Output) {
        let Role::Claiming(claim) = &self.role else {
            return;
        };
        self.unanswered = Some(Unanswered {
            epoch: claim.record.epoch,
            whole: claim.whole,
            basis: claim.basis,
        });
        self.step(Cause::Unknown, out);
        self.become_member(now);
        self.not_before = now.after(self.settings.renew_us);
    }

    /// The coordinator holds our claim.
    pub(super) fn won(&mut self, now: Time, revision: Revision, out: &mut Output) {
        let Role::Claiming(claim) = &self.role else {
            return;
        };
        let (record, basis) = (claim.record, claim.basis);
        let sent = if self.rules.keep(Rule::ClaimStamp) {
            claim.sent
        } else {
            now
        };
        let term = Term::new(
            now,
            self.identity,
            sent,
            (revision, record),
            &self.settings,
            self.rules,
        );
        let (epoch, until) = (record.epoch, term.until());
        self.view = None;
        self.known = Some(Known {
            epoch,
            owner: self.identity,
        });
        if now >= until {
            self.claim_unknown(now, out);
            self.see(now, revision, Some(record), out);
            return;
        }
        self.step(Cause::Won, out);
        self.unanswered = None;
        self.preferred_since = None;
        self.role = Role::Owner(Box::new(term));
        out.push(Effect::GainAuthority {
            epoch,
            until,
            basis,
        });
        if basis == Basis::Unsynced {
            out.event(Event::ClaimedUnsynced { epoch });
        }
    }
}
