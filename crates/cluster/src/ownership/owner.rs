//! The owner: heartbeats, renewals, the list of members in sync, handing over.

use super::phase::Cause;
use super::tenure::{Standing, Term};
use super::{Drain, Event, LossReason, Outcome, Ownership, Release, Role, Wishes};
use crate::error::Error;
use crate::node::{Epoch, Incarnation, NodeId, NodeSet};
use crate::output::{Effect, Output, RequestId};
use crate::record::Version;
use crate::rule::Rule;
use crate::time::Time;
use crate::wire::message::Message;

/// How many times a release is tried, in spans of a request.
const RELEASE_TRIES: u64 = 6;

impl Ownership {
    fn term_mut(&mut self) -> Option<&mut Term> {
        match &mut self.role {
            Role::Owner(term) | Role::Draining(term, _) => Some(term),
            _ => None,
        }
    }

    pub(super) fn term_at(&self, term: &Term) -> Time {
        term.until().min(term.renew_at()).min(term.heartbeat_at)
    }

    /// A member's promise.
    pub fn acknowledged(
        &mut self,
        now: Time,
        from: NodeId,
        epoch: Epoch,
        (owner, stamp): (Incarnation, Time),
        out: &mut Output,
    ) {
        self.lapse(now, out);
        let own = owner == self.identity.incarnation;
        if let Some(term) = self.term_mut()
            && own
            && epoch == term.epoch()
            && stamp <= now
        {
            term.acknowledge(from, stamp);
            self.extend(now, out);
        }
    }

    /// Another node knows a later epoch, or the same epoch of another owner, which only a coordinator that
    /// lost writes brings about: then this node claims anew, with a number that nobody has seen.
    pub fn refused(&mut self, now: Time, epoch: Epoch, owner: Incarnation, out: &mut Output) {
        self.lapse(now, out);
        let other = owner != self.identity.incarnation;
        let later = |term: &Term| epoch > term.epoch() || (epoch == term.epoch() && other);
        if self.term().is_some_and(later) {
            self.lose(now, Cause::Superseded, out);
        }
    }

    fn extend(&mut self, now: Time, out: &mut Output) {
        let (settings, rules) = (self.settings, self.rules);
        if let Some(term) = self.term_mut()
            && term.extend(now, &settings, rules)
        {
            let until = term.until();
            out.push(Effect::ExtendAuthority { until });
        }
    }

    /// Moves the service to `successor`, or to the most preferred member in sync: pauses, waits until that
    /// member has everything, and hands over.
    ///
    /// # Errors
    /// [`Error::NotOwner`]; [`Error::NoSuccessor`] if no such member is in sync.
    pub fn switchover(
        &mut self,
        now: Time,
        successor: Option<NodeId>,
        out: &mut Output,
    ) -> Result<(), Error> {
        self.lapse(now, out);
        let Role::Owner(term) = &self.role else {
            return Err(Error::NotOwner);
        };
        let others = term.record().in_sync.without(self.identity.node);
        let chosen = match successor {
            Some(node) => Some(node).filter(|&node| others.contains(node)),
            None => self
                .preference
                .iter()
                .copied()
                .find(|&node| others.contains(node)),
        };
        if chosen.is_none() && !self.leaving {
            return Err(Error::NoSuccessor);
        }
        self.drain(now, chosen, out);
        Ok(())
    }

    fn drain(&mut self, now: Time, successor: Option<NodeId>, out: &mut Output) {
        self.step(Cause::SwitchoverAsked, out);
        let deadline = now.after(self.settings.drain_us);
        self.role = match std::mem::replace(&mut self.role, Role::Member) {
            Role::Owner(term) => Role::Draining(
                term,
                Drain {
                    successor,
                    deadline,
                },
            ),
            other => other,
        };
        out.push(Effect::Pause { successor });
    }

    pub(super) fn poll_owner(&mut self, now: Time, wishes: &Wishes, out: &mut Output) {
        self.extend(now, out);
        self.beat(now, out);
        if matches!(self.role, Role::Owner(_)) {
            self.move_on(now, out);
        }
        if let Role::Draining(term, drain) = &self.role {
            let in_sync = term.record().in_sync;
            let has_successor = drain.successor.is_none_or(|node| in_sync.contains(node));
            if wishes.drained && has_successor {
                self.release(now, out);
                return;
            }
            if now >= drain.deadline || !has_successor {
                self.resume(now, out);
            }
        }
        self.renew(now, wishes.in_sync, out);
    }

    fn resume(&mut self, now: Time, out: &mut Output) {
        self.step(Cause::DrainFailed, out);
        self.preferred_since = Some(now);
        self.role = match std::mem::replace(&mut self.role, Role::Member) {
            Role::Draining(term, _) => Role::Owner(term),
            other => other,
        };
        out.push(Effect::Resume);
    }

    fn beat(&mut self, now: Time, out: &mut Output) {
        let heartbeat_us = self.settings.heartbeat_us;
        let owner = self.identity.incarnation;
        let Some(term) = self.term_mut().filter(|term| now >= term.heartbeat_at) else {
            return;
        };
        term.heartbeat_at = now.after(heartbeat_us);
        let (epoch, to) = (term.epoch(), term.claimants());
        for node in to.iter() {
            let stamp = now;
            self.send(node, epoch, Message::Heartbeat { owner, stamp }, out);
        }
    }

    fn renew(&mut self, now: Time, in_sync: NodeSet, out: &mut Output) {
        let members = self.preference.iter().copied().collect();
        let (settings, rules) = (self.settings, self.rules);
        let request = RequestId(self.numbers + 1);
        let Some(term) = self.term_mut() else {
            return;
        };
        let Some(record) = term.renewal(now, in_sync, members) else {
            return;
        };
        let expected = term.expected();
        let record = term.attempt(now, request, record, &settings, rules);
        self.numbers = request.0;
        out.push(Effect::CoordinatorCas {
            request,
            expected,
            record,
        });
    }

    pub(super) fn renewal_answered(
        &mut self,
        now: Time,
        request: RequestId,
        outcome: Outcome,
        out: &mut Output,
    ) {
        let (settings, rules, known) = (self.settings, self.rules, self.epoch());
        let Some(term) = self.term_mut() else {
            return;
        };
        let before = term.record().in_sync;
        let standing = match outcome {
            Outcome::Written { revision } => {
                term.written(now, request, revision, &settings, rules);
                Standing::Good
            }
            Outcome::Conflict { revision, record } => {
                let found = record.map_or(Epoch(0), |record| record.epoch);
                if found < known {
                    out.event(Event::CoordinatorWentBack { found, known });
                }
                let standing = term.conflict(request, revision, record, &settings);
                if standing == Standing::Over {
                    self.lose(now, Cause::Superseded, out);
                    self.see(now, revision, record, out);
                }
                standing
            }
            Outcome::Read { .. } | Outcome::Failed => Standing::Good,
        };
        if standing == Standing::Good {
            let members = self.record().map_or(before, |record| record.in_sync);
            if members != before {
                out.event(Event::InSync { members });
            }
            self.extend(now, out);
        }
    }

    /// Whom the service is to move to by itself, and after how long: to the most preferred member, if the
    /// operator wants that, and away from a node that the configuration names no more.
    fn destination(&self, term: &Term) -> Option<(NodeId, u64)> {
        let in_sync = term.record().in_sync;
        let members = term.record().members;
        let mut listed = self.preference.iter().copied();
        if self.preference.contains(&self.identity.node) {
            let first = listed.find(|&node| members.contains(node))?;
            let fit = first != self.identity.node && in_sync.contains(first);
            Some((first, self.settings.failback_us?)).filter(|_| fit)
        } else {
            let node = listed.find(|&node| in_sync.contains(node))?;
            Some((node, self.settings.lease_us))
        }
    }

    pub(super) fn moves_at(&self, term: &Term) -> Time {
        match (self.destination(term), self.preferred_since) {
            (Some((_, span_us)), Some(since)) => since.after(span_us),
            _ => Time::NEVER,
        }
    }

    fn move_on(&mut self, now: Time, out: &mut Output) {
        let destination = self.term().and_then(|term| self.destination(term));
        match (destination, self.preferred_since) {
            (None, _) => self.preferred_since = None,
            (Some(_), None) => self.preferred_since = Some(now),
            (Some((node, span_us)), Some(since)) if now.since(since) >= span_us => {
                self.preferred_since = Some(now);
                self.drain(now, Some(node), out);
            }
            _ => {}
        }
    }

    /// Gives up authority, then the record: in this order, because whoever sees it released acts at once.
    fn release(&mut self, now: Time, out: &mut Output) {
        let request = self.number();
        let successor = self.successor();
        let deadline = now.after(self.settings.request_us * RELEASE_TRIES);
        let first = self.rules.keep(Rule::WithdrawFirst);
        let Some(term) = self.term_mut() else {
            return;
        };
        let epoch = term.epoch();
        let expected = term.expected();
        let record = term.released(successor);
        if first {
            let reason = LossReason::HandedOver;
            out.push(Effect::LoseAuthority { epoch, reason });
        }
        self.step(Cause::Drained, out);
        self.role = Role::Releasing(Release {
            request,
            expected,
            record,
            sent: now,
            deadline,
        });
        out.push(Effect::CoordinatorCas {
            request,
            expected,
            record,
        });
    }

    pub(super) fn poll_releasing(&mut self, now: Time, out: &mut Output) {
        let request_us = self.settings.request_us;
        let Role::Releasing(release) = &self.role else {
            return;
        };
        if now >= release.deadline {
            self.end_release(now, Cause::Unknown, out);
        } else if now.since(release.sent) >= request_us {
            self.release_again(now, out);
        }
    }

    fn release_again(&mut self, now: Time, out: &mut Output) {
        let request = self.number();
        let Role::Releasing(release) = &mut self.role else {
            return;
        };
        release.request = request;
        release.sent = now;
        out.push(Effect::CoordinatorCas {
            request,
            expected: release.expected,
            record: release.record,
        });
    }

    pub(super) fn release_answered(&mut self, now: Time, outcome: Outcome, out: &mut Output) {
        let identity = self.identity;
        let Role::Releasing(release) = &mut self.role else {
            return;
        };
        let (epoch, released) = (release.record.epoch, release.record);
        match outcome {
            Outcome::Written { revision } => {
                self.end_release(now, Cause::Released, out);
                self.view = None;
                self.see(now, revision, Some(released), out);
                for node in released.members.without(identity.node).iter() {
                    let record = released;
                    self.send(node, epoch, Message::Released { revision, record }, out);
                }
            }
            Outcome::Conflict { revision, record } => match record {
                Some(record) if record.is_of(identity) && record.epoch == epoch => {
                    if record.is_released() {
                        self.end_release(now, Cause::Released, out);
                        self.see(now, revision, Some(record), out);
                    } else {
                        // A renewal was taken that we had no answer to.
                        let record = Some(record);
                        release.expected = Version { revision, record };
                        self.release_again(now, out);
                    }
                }
                record => {
                    self.end_release(now, Cause::Superseded, out);
                    self.see(now, revision, record, out);
                }
            },
            Outcome::Read { .. } | Outcome::Failed => {}
        }
    }

    fn end_release(&mut self, now: Time, cause: Cause, out: &mut Output) {
        let Role::Releasing(release) = &self.role else {
            return;
        };
        if !self.rules.keep(Rule::WithdrawFirst) {
            let (epoch, reason) = (release.record.epoch, LossReason::HandedOver);
            out.push(Effect::LoseAuthority { epoch, reason });
        }
        self.step(cause, out);
        self.become_member(now);
        // What the record says is read anew before anything is made of it.
        self.view = None;
        self.not_before = now.after(self.settings.renew_us);
    }
}
