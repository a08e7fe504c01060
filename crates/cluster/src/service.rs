//! One service on one node: who owns it, and what it knows.

use crate::checkpoint::{Apply, Batch, Limits, Replica, Source, Table};
use crate::error::Error;
use crate::node::{Epoch, Identity, NodeId, NodeSet, Revision, Seq};
use crate::output::{Effect, Output, RequestId};
use crate::ownership::{Outcome, Ownership, Phase, Settings, Wishes};
use crate::record::Record;
use crate::rule::{Rule, Rules};
use crate::time::Time;
use crate::wire::message::{Frame, Message, Position, ServiceId};

/// How many leases a member waits for an answer before it asks for the stream again.
const JOIN_LEASES: u64 = 4;

/// How a service is set up on a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its number.
    pub service: ServiceId,
    /// This node, in this life.
    pub identity: Identity,
    /// The members in order of preference, this node among them.
    pub preference: Vec<NodeId>,
    /// The spans.
    pub settings: Settings,
    /// Keys the hashes of the table.
    pub seed: (u64, u64),
    /// Most records of the table.
    pub records_max: usize,
    /// What the stream keeps to.
    pub limits: Limits,
    /// All rules, but in the simulator.
    pub rules: Rules,
}

/// What an operator is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What this node does about the service.
    pub phase: Phase,
    /// The latest epoch it knows of.
    pub epoch: Epoch,
    /// Whom it takes for the owner.
    pub owner: Option<NodeId>,
    /// Until when this node may act.
    pub until: Option<Time>,
    /// The record as last seen.
    pub record: Option<Record>,
    /// What its table holds, if that is whole.
    pub position: Option<Position>,
    /// Owner: the last batch that is committed.
    pub committed: Option<Seq>,
    /// Owner: bytes that wait for members.
    pub backlog_bytes: usize,
    /// Records in the table.
    pub records: usize,
}

/// The machine that a driver runs: ownership and checkpoints of one service on one node.
#[derive(Debug)]
pub struct Service {
    options: Options,
    ownership: Ownership,
    table: Table,
    replica: Replica,
    source: Option<Source>,
}

impl Service {
    /// A process that has just started, at `now`.
    pub fn new(now: Time, options: Options) -> Service {
        Service {
            ownership: Ownership::new(
                now,
                options.service,
                options.identity,
                &options.preference,
                options.settings,
                options.rules,
            ),
            table: Table::new(options.seed, options.records_max),
            replica: Replica::new(options.identity),
            source: None,
            options,
        }
    }

    /// The records.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What an operator is shown.
    pub fn status(&self) -> Status {
        Status {
            phase: self.ownership.phase(),
            epoch: self.ownership.epoch(),
            owner: self.ownership.owner(),
            until: self.ownership.until(),
            record: self.ownership.record(),
            position: self.position(),
            committed: self.source.as_ref().map(Source::committed),
            backlog_bytes: self.source.as_ref().map_or(0, Source::backlog_bytes),
            records: self.table.len(),
        }
    }

    /// Until when this node may act for the service, if it may. The kernel's deadline is the same.
    pub fn until(&self) -> Option<Time> {
        self.ownership.until()
    }

    /// What the table holds, if it is whole.
    pub fn position(&self) -> Option<Position> {
        match &self.source {
            Some(source) => Some(source.position()),
            None => self.replica.position(),
        }
    }

    /// The latest epoch that this node knows of, and who had or has it: to be kept for its next life.
    pub fn known(&self) -> Option<(Epoch, Identity)> {
        self.ownership.known()
    }

    /// Tells a life that has just begun what an earlier one knew ([`Service::known`]): no epoch is given twice then, also where the
    /// coordinator was restored from an old copy while all nodes were stopped.
    pub fn remember(&mut self, epoch: Epoch, owner: Identity) {
        self.ownership.remember(epoch, owner);
    }

    /// Configures the members anew, in order of preference.
    pub fn configure(&mut self, preference: &[NodeId]) {
        self.ownership.configure(preference);
        self.options.preference.clear();
        self.options.preference.extend_from_slice(preference);
    }

    /// Leaves the service to others (`true`), or takes part again. An owner hands it over as in
    /// [`Service::switchover`].
    pub fn set_leaving(&mut self, now: Time, leaving: bool, out: &mut Output) {
        self.ownership.set_leaving(leaving);
        if leaving {
            // Not being the owner is what is wanted.
            let _ = self.ownership.switchover(now, None, out);
        }
    }

    /// Moves the service to another member.
    ///
    /// # Errors
    /// [`Error::NotOwner`], [`Error::NoSuccessor`].
    pub fn switchover(
        &mut self,
        now: Time,
        successor: Option<NodeId>,
        out: &mut Output,
    ) -> Result<(), Error> {
        let result = self.ownership.switchover(now, successor, out);
        self.settle();
        result
    }

    /// Applies changes to the table and streams them. What depends on them is held until the batch is
    /// committed ([`Effect::Committed`]).
    ///
    /// # Errors
    /// [`Error::NotOwner`], [`Error::BacklogFull`], [`Error::TableFull`]: nothing was changed.
    pub fn checkpoint(&mut self, now: Time, batch: &Batch) -> Result<Seq, Error> {
        let source = self.source.as_mut().ok_or(Error::NotOwner)?;
        Ok(source.append(now, batch, &mut self.table)?.seq)
    }

    /// A frame from another node.
    ///
    /// # Errors
    /// The peer's fault, all of them, and counted by the driver; the connection may go on.
    pub fn receive(
        &mut self,
        now: Time,
        from: NodeId,
        bytes: &[u8],
        apply: &mut impl Apply,
        out: &mut Output,
    ) -> Result<(), Error> {
        let frame = Frame::read(bytes)?;
        let known = self
            .ownership
            .record()
            .map_or(NodeSet::EMPTY, |record| record.members);
        if !known.contains(from) && !self.options.preference.contains(&from) {
            return Err(Error::Stranger { node: from });
        }
        let result = self.take(now, from, frame, apply, out);
        self.settle();
        result
    }

    fn take(
        &mut self,
        now: Time,
        from: NodeId,
        frame: Frame<'_>,
        apply: &mut impl Apply,
        out: &mut Output,
    ) -> Result<(), Error> {
        let epoch = frame.epoch;
        match frame.message {
            Message::Heartbeat { owner, stamp } => {
                let followed = self
                    .ownership
                    .heartbeat(now, from, epoch, (owner, stamp), out);
                self.settle();
                if followed {
                    let owner = Identity {
                        node: from,
                        incarnation: owner,
                    };
                    self.join(now, epoch, owner, out);
                    self.replica.answer_again();
                }
                Ok(())
            }
            Message::Acknowledged { owner, stamp } => {
                self.ownership
                    .acknowledged(now, from, epoch, (owner, stamp), out);
                Ok(())
            }
            Message::Refused { owner } => {
                self.ownership.refused(now, epoch, owner, out);
                Ok(())
            }
            Message::Released { revision, record } => {
                if record.owner == from && record.is_released() {
                    self.ownership.observe(now, revision, Some(record), out);
                }
                Ok(())
            }
            Message::Unknown { .. } => Ok(()),
            stream => self.stream(from, epoch, stream, apply, out),
        }
    }

    fn stream(
        &mut self,
        from: NodeId,
        epoch: Epoch,
        message: Message<'_>,
        apply: &mut impl Apply,
        out: &mut Output,
    ) -> Result<(), Error> {
        let known = self.ownership.epoch();
        if epoch != known && self.options.rules.keep(Rule::StaleEpoch) {
            return Err(Error::StaleEpoch {
                found: epoch,
                known,
            });
        }
        match (message, &mut self.source) {
            (Message::Join { session, position }, Some(source)) => {
                source.join(from, session, position, out);
                Ok(())
            }
            (
                Message::Applied {
                    session,
                    frames,
                    seq,
                },
                Some(source),
            ) => {
                source.acknowledge(from, session, frames, seq, out);
                Ok(())
            }
            (Message::Join { .. } | Message::Applied { .. }, None) | (_, Some(_)) => Ok(()),
            (message, None) if self.ownership.owner() == Some(from) => {
                self.replica.receive(message, &mut self.table, apply)
            }
            _ => Err(Error::Stranger { node: from }),
        }
    }

    fn join(&mut self, now: Time, epoch: Epoch, owner: Identity, out: &mut Output) {
        let patience_us = self.options.settings.lease_us * JOIN_LEASES;
        if let Some(message) = self.replica.join(now, epoch, owner, patience_us) {
            let service = self.options.service;
            let frame = Frame {
                service,
                epoch,
                message,
            };
            out.send(owner.node, frame);
        }
    }

    /// The connection to a node ended.
    pub fn disconnected(&mut self, now: Time, node: NodeId) {
        self.ownership.disconnected(now, node);
        self.replica.unlink(node);
        if let Some(source) = &mut self.source {
            source.unlink(node);
        }
    }

    /// The coordinator has answered.
    pub fn answered(&mut self, now: Time, request: RequestId, outcome: Outcome, out: &mut Output) {
        self.ownership.answered(now, request, outcome, out);
        self.settle();
    }

    /// A watch on the coordinator shows the record.
    pub fn observe(
        &mut self,
        now: Time,
        revision: Revision,
        record: Option<Record>,
        out: &mut Output,
    ) {
        self.ownership.observe(now, revision, record, out);
        self.settle();
    }

    /// The fence agent has ended.
    pub fn fenced(&mut self, now: Time, attempt: u64, succeeded: bool, out: &mut Output) {
        self.ownership.fenced(now, attempt, succeeded, out);
        self.settle();
    }

    /// When [`Service::poll`] is to be called at the latest.
    pub fn next(&self, now: Time) -> Time {
        let settings = &self.options.settings;
        let lagging = self.source.as_ref().map(|source| {
            let at = source.next(self.ownership.guard(), settings.commit_timeout_us);
            // What is overdue waits for the coordinator, and is tried again with each renewal.
            if at > now { at } else { Time::NEVER }
        });
        self.ownership.next(now).min(lagging.unwrap_or(Time::NEVER))
    }

    /// Does what is due: to be called after one or many inputs, and when [`Service::next`] has come.
    pub fn poll(&mut self, now: Time, out: &mut Output) {
        let wishes = self.wishes(now);
        self.ownership.poll(now, &wishes, out);
        self.settle();
        if let Some(source) = &mut self.source {
            let guard = if self.options.rules.keep(Rule::DropThroughCoordinator) {
                self.ownership.guard()
            } else {
                wishes.in_sync
            };
            if source.commit(guard) {
                let seq = source.committed();
                out.push(Effect::Committed { seq });
            }
            let (guard, members) = (self.ownership.guard(), self.ownership.claimants());
            source.pump(guard, members, &self.table, out);
        }
        if let Some((to, epoch, message)) = self.replica.answer() {
            let service = self.options.service;
            let frame = Frame {
                service,
                epoch,
                message,
            };
            out.send(to, frame);
        }
    }

    /// What the stream asks of ownership. Computed at the moment it is used: whom it names as in sync has
    /// to be so when the record is written.
    fn wishes(&self, now: Time) -> Wishes {
        let whole = self.position().map(|position| position.epoch);
        let Some(source) = &self.source else {
            return Wishes {
                whole,
                ..Wishes::default()
            };
        };
        let listed = self
            .ownership
            .record()
            .map_or(NodeSet::EMPTY, |record| record.in_sync);
        let candidates = listed.union(source.ready());
        let timeout_us = self.options.settings.commit_timeout_us;
        let out = source
            .laggards(now, candidates, timeout_us)
            .union(self.ownership.silent(now));
        let caught_up = |node| source.applied(node) == Some(source.last());
        Wishes {
            in_sync: candidates.minus(out).with(self.options.identity.node),
            drained: source.committed() == source.last()
                && self.ownership.successor().is_none_or(caught_up),
            whole,
        }
    }

    /// Puts the stream's end in order with the role.
    fn settle(&mut self) {
        let owns = matches!(self.ownership.phase(), Phase::Owner | Phase::Draining);
        match (&self.source, owns) {
            (Some(source), false) => {
                self.replica.resume_from(source.position());
                self.source = None;
            }
            (None, true) => {
                self.replica.close();
                self.source = Some(Source::new(
                    self.options.service,
                    self.ownership.epoch(),
                    self.options.identity,
                    self.replica.position(),
                    self.options.limits,
                    self.options.rules,
                ));
            }
            (Some(source), true) => {
                debug_assert_eq!(source.position().epoch, self.ownership.epoch());
            }
            (None, false) => {}
        }
    }
}

#[cfg(test)]
mod tests;
