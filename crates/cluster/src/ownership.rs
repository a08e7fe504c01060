//! Who owns a service: one machine for each node and service.
//!
//! An owner may act until `stamp + lease - margin`, where `stamp` is the later of the sending of its last
//! successful renewal and the oldest, over all other members that might claim, of the newest heartbeat
//! each has acknowledged. A member claims when its own promise and the record have both been still for a
//! lease. `docs/ownership.md` proves that two nodes never have authority at once.

mod claim;
mod member;
mod owner;
mod phase;
mod settings;
mod tenure;

pub use claim::{Basis, Situation, Unanswered, Verdict, View, Wait, judge};
pub use phase::{Cause, Phase, TRANSITIONS, next};
pub use settings::Settings;

use tenure::Term;

use crate::node::{Epoch, Identity, NodeId, NodeSet, Revision};
use crate::output::{Effect, Output, RequestId};
use crate::record::{Record, Version};
use crate::rule::{Rule, Rules};
use crate::time::Time;
use crate::wire::message::{Frame, Message, ServiceId};

/// Why authority ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// Neither the coordinator nor the members confirmed it in time.
    Lapsed,
    /// There is a later epoch.
    Superseded,
    /// It was handed over.
    HandedOver,
}

/// What an operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The node moved from one phase to another.
    Step {
        /// From here.
        from: Phase,
        /// For this reason.
        cause: Cause,
        /// To here.
        to: Phase,
    },
    /// The list of members in sync changed.
    InSync {
        /// Who is in sync now.
        members: NodeSet,
    },
    /// The coordinator shows an epoch earlier than one that is known: it was restored from an old copy, or
    /// lost writes.
    CoordinatorWentBack {
        /// What it shows.
        found: Epoch,
        /// What is known.
        known: Epoch,
    },
    /// A claim was taken by a member that may lack what others had committed.
    ClaimedUnsynced {
        /// Its epoch.
        epoch: Epoch,
    },
}

/// The coordinator's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To a read: the record, if there is one. It may be older than the newest; a write decides.
    Read {
        /// Its version; zero if there is none.
        revision: Revision,
        /// The record.
        record: Option<Record>,
    },
    /// To a write: it was taken.
    Written {
        /// The new version.
        revision: Revision,
    },
    /// To a write: the record was at another version, this one.
    Conflict {
        /// Its version; zero if there is none.
        revision: Revision,
        /// The record.
        record: Option<Record>,
    },
    /// No answer will come. Whether a write was taken is not known.
    Failed,
}

/// What the other half of the node (its table and stream) has to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Owner: who is to be listed as in sync.
    pub in_sync: NodeSet,
    /// Draining: the successor has everything, and nothing is held.
    pub drained: bool,
    /// Member: the epoch whose state the table holds whole.
    pub whole: Option<Epoch>,
}

/// The epoch that a node follows, and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) epoch: Epoch,
    pub(crate) owner: Identity,
}

/// A claim under way.
#[derive(Debug)]
struct Claim {
    request: RequestId,
    sent: Time,
    record: Record,
    basis: Basis,
    whole: Option<Epoch>,
}

#[derive(Debug)]
struct Fencing {
    attempt: u64,
    began: Time,
    done: bool,
}

#[derive(Debug)]
struct Release {
    request: RequestId,
    expected: Version,
    record: Record,
    sent: Time,
    deadline: Time,
}

#[derive(Debug)]
struct Drain {
    successor: Option<NodeId>,
    deadline: Time,
}

#[derive(Debug)]
enum Role {
    Member,
    Fencing(Fencing),
    Claiming(Claim),
    Owner(Box<Term>),
    Draining(Box<Term>, Drain),
    Releasing(Release),
}

/// The machine.
#[derive(Debug)]
pub struct Ownership {
    service: ServiceId,
    identity: Identity,
    settings: Settings,
    rules: Rules,
    preference: Vec<NodeId>,
    role: Role,
    view: Option<View>,
    /// The last promise; the start counts as one, because an earlier life's are forgotten.
    promised: Time,
    known: Option<Known>,
    whole: Option<Epoch>,
    unanswered: Option<Unanswered>,
    leaving: bool,
    not_before: Time,
    reading: Option<(RequestId, Time)>,
    read_at: Time,
    /// Until then the record is read more often: the owner's connection ended.
    hurried_until: Time,
    numbers: u64,
    preferred_since: Option<Time>,
}

impl Ownership {
    /// A node that has just started: a member that has promised not to claim for a lease.
    pub fn new(
        now: Time,
        service: ServiceId,
        identity: Identity,
        preference: &[NodeId],
        settings: Settings,
        rules: Rules,
    ) -> Ownership {
        Ownership {
            service,
            identity,
            settings,
            rules,
            preference: preference.to_vec(),
            role: Role::Member,
            view: None,
            promised: now,
            known: None,
            whole: None,
            unanswered: None,
            leaving: false,
            not_before: now,
            reading: None,
            read_at: now,
            hurried_until: now,
            numbers: 0,
            preferred_since: None,
        }
    }

    /// What this node is doing.
    pub fn phase(&self) -> Phase {
        match self.role {
            Role::Member => Phase::Member,
            Role::Fencing(_) => Phase::Fencing,
            Role::Claiming(_) => Phase::Claiming,
            Role::Owner(_) => Phase::Owner,
            Role::Draining(..) => Phase::Draining,
            Role::Releasing(_) => Phase::Releasing,
        }
    }

    /// The latest epoch that this node knows of.
    pub fn epoch(&self) -> Epoch {
        self.known.map_or(Epoch(0), |known| known.epoch)
    }

    /// The latest epoch that this node knows of, and who had or has it.
    pub fn known(&self) -> Option<(Epoch, Identity)> {
        self.known.map(|known| (known.epoch, known.owner))
    }

    /// Tells a life that has just begun what an earlier one knew: what it claims gets a later epoch, whatever the coordinator has.
    pub fn remember(&mut self, epoch: Epoch, owner: Identity) {
        if self.known.is_none() {
            self.known = Some(Known { epoch, owner });
        }
    }

    /// Whom this node takes for the owner.
    pub fn owner(&self) -> Option<NodeId> {
        self.known.map(|known| known.owner.node)
    }

    /// Until when this node may act, if it may.
    pub fn until(&self) -> Option<Time> {
        self.term().map(Term::until)
    }

    /// The record as last seen.
    pub fn record(&self) -> Option<Record> {
        match self.term() {
            Some(term) => Some(*term.record()),
            None => self.view?.record,
        }
    }

    /// Who may have to go on with what the owner commits: everybody in sync by some version of the record
    /// that may be the current one.
    pub fn guard(&self) -> NodeSet {
        self.term().map_or(NodeSet::EMPTY, Term::guard)
    }

    /// Who else may claim the service that this node owns: who is sent heartbeats, and the stream.
    pub fn claimants(&self) -> NodeSet {
        self.term().map_or(NodeSet::EMPTY, Term::claimants)
    }

    /// Members from whom the owner has not heard for a lease.
    pub fn silent(&self, now: Time) -> NodeSet {
        self.term()
            .map_or(NodeSet::EMPTY, |term| term.silent(now, &self.settings))
    }

    /// Whom a drain waits for.
    pub(crate) fn successor(&self) -> Option<NodeId> {
        match &self.role {
            Role::Draining(_, drain) => drain.successor,
            _ => None,
        }
    }

    /// Configures the members anew, in order of preference.
    pub fn configure(&mut self, preference: &[NodeId]) {
        self.preference.clear();
        self.preference.extend_from_slice(preference);
    }

    /// Leaves services to others from now on (`true`), or takes part again. An owner that leaves hands over
    /// first; see [`Ownership::switchover`].
    pub fn set_leaving(&mut self, leaving: bool) {
        self.leaving = leaving;
    }

    /// The next moment at which [`Ownership::poll`] has something to do.
    pub fn next(&self, now: Time) -> Time {
        match &self.role {
            Role::Member => self.reading_at().min(self.verdict_at(now)),
            Role::Fencing(fencing) => {
                let given_up = fencing.began.after(self.settings.fence_us);
                self.reading_at().min(given_up)
            }
            Role::Claiming(claim) => self
                .reading_at()
                .min(claim.sent.after(self.settings.lease_us)),
            Role::Owner(term) => self.term_at(term).min(self.moves_at(term)),
            Role::Draining(term, drain) => self.term_at(term).min(drain.deadline),
            Role::Releasing(release) => {
                let again = release.sent.after(self.settings.request_us);
                again.min(release.deadline)
            }
        }
    }

    /// Does what is due. To be called after every input and when [`Ownership::next`] has come.
    pub fn poll(&mut self, now: Time, wishes: &Wishes, out: &mut Output) {
        self.whole = wishes.whole;
        self.run_out(now, out);
        match self.role {
            Role::Member => self.poll_member(now, out),
            Role::Fencing(_) => self.poll_fencing(now, out),
            Role::Claiming(_) => self.poll_claiming(now, out),
            Role::Owner(_) | Role::Draining(..) => self.poll_owner(now, wishes, out),
            Role::Releasing(_) => self.poll_releasing(now, out),
        }
    }

    /// The coordinator has answered.
    pub fn answered(&mut self, now: Time, request: RequestId, outcome: Outcome, out: &mut Output) {
        self.lapse(now, out);
        if self.reading.is_some_and(|(reading, _)| reading == request) {
            self.reading = None;
        }
        if let Outcome::Read { revision, record } = outcome {
            self.observe(now, revision, record, out);
            return;
        }
        match &mut self.role {
            Role::Claiming(claim) if claim.request == request => {
                self.claim_answered(now, outcome, out)
            }
            Role::Owner(_) | Role::Draining(..) => {
                self.renewal_answered(now, request, outcome, out)
            }
            Role::Releasing(release) if release.request == request => {
                self.release_answered(now, outcome, out);
            }
            _ => {}
        }
    }

    /// The record as a watch on the coordinator, or the owner that released it, shows it.
    pub fn observe(
        &mut self,
        now: Time,
        revision: Revision,
        record: Option<Record>,
        out: &mut Output,
    ) {
        self.lapse(now, out);
        if self.view.is_some_and(|view| view.revision > revision) {
            return;
        }
        self.see(now, revision, record, out);
    }

    /// Takes a version of the record as the current one.
    fn see(&mut self, now: Time, revision: Revision, record: Option<Record>, out: &mut Output) {
        let same = |view: View| view.revision == revision && view.record == record;
        if !self.view.is_some_and(same) {
            self.view = Some(View {
                revision,
                record,
                since: now,
            });
        }
        let Some(record) = record else {
            return;
        };
        if self.known.is_none_or(|known| known.epoch < record.epoch) {
            if self.term().is_some() {
                self.lose(now, Cause::Superseded, out);
            }
            let owner = Identity {
                node: record.owner,
                incarnation: record.incarnation,
            };
            self.known = Some(Known {
                epoch: record.epoch,
                owner,
            });
        }
        if let Role::Claiming(claim) = &self.role
            && claim.record == record
        {
            self.won(now, revision, out);
        }
    }

    /// The connection to a node ended: if it is the owner's, the record may have been released, or is about to be.
    pub fn disconnected(&mut self, now: Time, node: NodeId) {
        if self.owner() == Some(node) && matches!(self.role, Role::Member) {
            self.read_at = now;
            self.hurried_until = now.after(self.settings.lease_us);
        }
    }

    fn term(&self) -> Option<&Term> {
        match &self.role {
            Role::Owner(term) | Role::Draining(term, _) => Some(term),
            _ => None,
        }
    }

    /// Gives up authority whose time is over, before anything else is done.
    fn lapse(&mut self, now: Time, out: &mut Output) {
        if self.rules.keep(Rule::LapseIsFinal) {
            self.run_out(now, out);
        }
    }

    fn run_out(&mut self, now: Time, out: &mut Output) {
        if self.term().is_some_and(|term| now >= term.until()) {
            self.lose(now, Cause::Lapsed, out);
        }
    }

    /// Authority ends, and this node is a member again.
    fn lose(&mut self, now: Time, cause: Cause, out: &mut Output) {
        let Some(term) = self.term() else {
            return;
        };
        let (epoch, revision, record) = (term.epoch(), term.revision(), *term.record());
        let reason = match cause {
            Cause::Lapsed => LossReason::Lapsed,
            _ => LossReason::Superseded,
        };
        out.push(Effect::LoseAuthority { epoch, reason });
        self.step(cause, out);
        self.become_member(now);
        if self.view.is_none_or(|view| view.revision < revision) {
            self.view = Some(View {
                revision,
                record: Some(record),
                since: now,
            });
        }
    }

    fn become_member(&mut self, now: Time) {
        self.role = Role::Member;
        self.reading = None;
        self.read_at = now;
    }

    /// Notes a transition; what it leads to is set by the caller.
    fn step(&self, cause: Cause, out: &mut Output) {
        let from = self.phase();
        let to = next(from, cause);
        debug_assert!(to.is_some(), "{from:?} has no way out by {cause:?}");
        if let Some(to) = to {
            out.event(Event::Step { from, cause, to });
        }
    }

    fn number(&mut self) -> RequestId {
        self.numbers += 1;
        RequestId(self.numbers)
    }

    fn send(&self, to: NodeId, epoch: Epoch, message: Message<'_>, out: &mut Output) {
        let service = self.service;
        out.send(
            to,
            Frame {
                service,
                epoch,
                message,
            },
        );
    }
}

#[cfg(test)]
mod tests;
