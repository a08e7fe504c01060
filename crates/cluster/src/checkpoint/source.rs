//! The owner's end of the stream.

use super::backlog::Backlog;
use super::table::Table;
use crate::error::Error;
use crate::node::{Epoch, Identity, NodeId, NodeSet, Seq};
use crate::output::Output;
use crate::rule::{Rule, Rules};
use crate::time::Time;
use crate::wire::message::{Frame, Message, Position, ServiceId, Session, Start};
use records::{Batch, Ops};

/// Frames that may be on their way to one member unacknowledged.
pub const WINDOW_FRAMES: u64 = 64;
/// Usual size of a snapshot's part, in bytes; a record may exceed it by its own size.
pub const PART_BYTES: usize = 64 * 1024;
/// A member this many batches behind, or fewer, is fit to be in sync.
const LAG_MAX: u64 = 64;

/// Where the snapshot for a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Snapshot {
    /// Goes on with this slot of the table.
    From(u32),
    /// All parts were sent.
    Sent,
}

#[derive(Debug)]
struct Follower {
    node: NodeId,
    session: Session,
    /// Whether its connection is up. One in sync is remembered without, so that it can resume.
    linked: bool,
    snapshot: Snapshot,
    /// The last batch sent.
    sent: Seq,
    /// Its table is whole up to here.
    applied: Option<Seq>,
    frames_sent: u64,
    frames_taken: u64,
    /// Whether a snapshot's part is next where both could be sent.
    part_next: bool,
}

impl Follower {
    /// Batches up to here are of no further use to it.
    fn needs_none_up_to(&self) -> Seq {
        // Until its table is whole it could not resume anyway.
        self.applied.unwrap_or(self.sent)
    }
}

/// How the stream stands after a batch was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append {
    /// The batch: what depends on it is held until it is committed.
    pub seq: Seq,
}

/// Sizes that a stream keeps to, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Batches that wait for members.
    pub backlog_bytes_max: usize,
    /// A snapshot's part, but for its last record; [`PART_BYTES`], or less.
    pub part_bytes: usize,
}

/// Numbers, keeps and sends batches, and knows who has them.
#[derive(Debug)]
pub struct Source {
    service: ServiceId,
    epoch: Epoch,
    identity: Identity,
    rules: Rules,
    /// What the table held when this term began.
    base: Option<Position>,
    last: Seq,
    committed: Seq,
    backlog: Backlog,
    limits: Limits,
    followers: Vec<Follower>,
    part: Vec<u8>,
}

impl Source {
    /// A stream that begins with what the table holds: `base`, if that is whole.
    pub fn new(
        service: ServiceId,
        epoch: Epoch,
        identity: Identity,
        base: Option<Position>,
        limits: Limits,
        rules: Rules,
    ) -> Source {
        Source {
            service,
            epoch,
            identity,
            rules,
            base,
            last: Seq(0),
            committed: Seq(0),
            backlog: Backlog::default(),
            limits,
            followers: Vec::new(),
            part: Vec::new(),
        }
    }

    /// The last batch.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// All batches up to this one are where they have to be.
    pub fn committed(&self) -> Seq {
        self.committed
    }

    /// What the table holds now.
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            owner: self.identity.incarnation,
            seq: self.last,
        }
    }

    /// Bytes that wait for members.
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.bytes()
    }

    /// How far a member is, if its table is whole.
    pub fn applied(&self, node: NodeId) -> Option<Seq> {
        self.follower(node)?.applied
    }

    /// Applies a batch to the owner's own table and queues it for the members.
    ///
    /// # Errors
    /// [`Error::TableFull`], [`Error::BacklogFull`]: nothing was changed, and the work that led to the batch
    /// is to be refused. What the fields of a batch of the owner's own making cannot have.
    pub fn append(&mut self, now: Time, batch: &Batch, table: &mut Table) -> Result<Append, Error> {
        let waiting = self.backlog.bytes() + batch.bytes().len();
        if waiting > self.limits.backlog_bytes_max {
            return Err(Error::BacklogFull);
        }
        // Where all of them find room as new ones, nobody need look which are.
        if table.room() < batch.ops_max() {
            // One that comes twice in it counts twice.
            let (mut ops, mut room) = (Ops::new(batch.bytes()), table.room());
            while let Some(op) = ops.op()? {
                if table.is_new(op) {
                    room = room.checked_sub(1).ok_or(Error::TableFull)?;
                }
            }
        }
        let mut ops = Ops::new(batch.bytes());
        while let Some(op) = ops.op()? {
            table.apply(op)?;
        }
        self.last.0 += 1;
        self.backlog.push(now, batch.bytes());
        Ok(Append { seq: self.last })
    }

    /// A member asks for the stream.
    pub fn join(
        &mut self,
        node: NodeId,
        session: Session,
        position: Option<Position>,
        out: &mut Output,
    ) {
        if self.follower(node).is_some_and(|known| {
            known.session.incarnation == session.incarnation && known.session.join >= session.join
        }) {
            return;
        }
        self.followers.retain(|follower| follower.node != node);
        let start = match position.and_then(|position| self.resume_at(position)) {
            Some(seq) => Start::Resume(seq),
            None => Start::Snapshot(self.last),
        };
        let (sent, snapshot, applied) = match start {
            Start::Resume(seq) => (seq, Snapshot::Sent, Some(seq)),
            Start::Snapshot(seq) => (seq, Snapshot::From(0), None),
        };
        self.followers.push(Follower {
            node,
            session,
            linked: true,
            snapshot,
            sent,
            applied,
            frames_sent: 0,
            frames_taken: 0,
            part_next: true,
        });
        out.send(node, self.frame(Message::Welcome { session, start }));
    }

    /// The batch after which a member with this table goes on, if it need not begin anew.
    fn resume_at(&self, position: Position) -> Option<Seq> {
        let seq = if self.base == Some(position) {
            Seq(0)
        } else if position.epoch == self.epoch && position.owner == self.identity.incarnation {
            position.seq
        } else {
            return None;
        };
        (self.backlog.floor() <= seq && seq <= self.last).then_some(seq)
    }

    /// A member's connection ended.
    pub fn unlink(&mut self, node: NodeId) {
        if let Some(follower) = self.followers.iter_mut().find(|f| f.node == node) {
            follower.linked = false;
        }
    }

    /// A member says how far it is. In a session that is not known here (of a life that ended, or one that an
    /// older join has displaced), it is told to join anew.
    pub fn acknowledge(
        &mut self,
        node: NodeId,
        session: Session,
        frames: u64,
        seq: Option<Seq>,
        out: &mut Output,
    ) {
        let found = self
            .followers
            .iter_mut()
            .find(|follower| follower.node == node);
        let Some(follower) = found.filter(|follower| follower.session == session) else {
            out.send(node, self.frame(Message::Rejoin { session }));
            return;
        };
        follower.frames_taken = follower.frames_taken.max(frames.min(follower.frames_sent));
        // A number beyond what was sent is no acknowledgement of anything.
        if let Some(seq) = seq.filter(|&seq| seq <= follower.sent) {
            follower.applied = follower.applied.max(Some(seq));
        }
    }

    /// Moves the commit forward; `guard` is everybody who may have to go on with what is committed. Returns
    /// whether it moved.
    pub fn commit(&mut self, guard: NodeSet) -> bool {
        let others = guard.without(self.identity.node);
        let mut reached = self.last;
        if self.rules.keep(Rule::OutputCommit) {
            for node in others.iter() {
                reached = reached.min(self.applied(node).unwrap_or(self.committed));
            }
        }
        let moved = reached > self.committed;
        self.committed = self.committed.max(reached);
        moved
    }

    /// Who may be entered as in sync now: whoever has all that was committed and is close to the end.
    pub fn ready(&self) -> NodeSet {
        let fit = |follower: &&Follower| {
            let near = |seq: Seq| seq >= self.committed && self.last.0 - seq.0 <= LAG_MAX;
            follower.linked && follower.applied.is_some_and(near)
        };
        self.followers
            .iter()
            .filter(fit)
            .map(|follower| follower.node)
            .collect()
    }

    /// Who of `in_sync` holds up the commit: it has to begin anew, or lacks a batch older than the timeout.
    pub fn laggards(&self, now: Time, in_sync: NodeSet, commit_timeout_us: u64) -> NodeSet {
        let lags = |&node: &NodeId| {
            let Some(seq) = self.applied(node) else {
                return true;
            };
            let oldest = self.backlog.at(Seq(seq.0 + 1));
            oldest.is_some_and(|at| now.since(at) >= commit_timeout_us)
        };
        in_sync
            .without(self.identity.node)
            .iter()
            .filter(lags)
            .collect()
    }

    /// When [`Source::laggards`] may have somebody new.
    pub fn next(&self, in_sync: NodeSet, commit_timeout_us: u64) -> Time {
        let others = in_sync.without(self.identity.node);
        let oldest = |node| self.backlog.at(Seq(self.applied(node)?.0 + 1));
        let first = others.iter().filter_map(oldest).min();
        first.map_or(Time::NEVER, |at| at.after(commit_timeout_us))
    }

    /// Sends what members can take, and forgets what nobody needs. `guard` as for [`Source::commit`];
    /// `members` is everybody who is to have the stream.
    pub fn pump(&mut self, guard: NodeSet, members: NodeSet, table: &Table, out: &mut Output) {
        self.followers
            .retain(|follower| follower.linked || guard.contains(follower.node));
        let invited = guard.union(members);
        self.expel(|follower| !invited.contains(follower.node), out);
        for index in 0..self.followers.len() {
            while self.followers[index].linked && self.send_one(index, table, out) {}
        }
        // Members that are not in sync do not hold more than half the backlog.
        if self.backlog.bytes() > self.limits.backlog_bytes_max / 2 {
            let last = self.last;
            let behind = |follower: &Follower| follower.needs_none_up_to() < last;
            self.expel(
                |follower| !guard.contains(follower.node) && behind(follower),
                out,
            );
        }
        let kept = self.followers.iter().map(Follower::needs_none_up_to).min();
        self.backlog.trim(kept.unwrap_or(self.last));
    }

    /// Ends sessions: their members begin anew if they are still to have the stream.
    fn expel(&mut self, is_out: impl Fn(&Follower) -> bool, out: &mut Output) {
        let mut index = 0;
        while index < self.followers.len() {
            if is_out(&self.followers[index]) {
                let Follower { node, session, .. } = self.followers.swap_remove(index);
                out.send(node, self.frame(Message::Rejoin { session }));
            } else {
                index += 1;
            }
        }
    }

    /// Sends one frame to a member; `false` if there is none, or no room in its window.
    fn send_one(&mut self, index: usize, table: &Table, out: &mut Output) -> bool {
        let last = self.last;
        let follower = &mut self.followers[index];
        if follower.frames_sent - follower.frames_taken >= WINDOW_FRAMES {
            return false;
        }
        let has_batch = follower.sent < last;
        let (node, session) = (follower.node, follower.session);
        match follower.snapshot {
            Snapshot::From(slot) if !has_batch || follower.part_next => {
                follower.part_next = false;
                follower.frames_sent += 1;
                let frame = follower.frames_sent;
                self.part.clear();
                let next = table.copy(slot, self.limits.part_bytes.min(PART_BYTES), &mut self.part);
                if let Some(slot) = next {
                    follower.snapshot = Snapshot::From(slot);
                } else {
                    follower.snapshot = Snapshot::Sent;
                    follower.frames_sent += 1;
                }
                let ops = &self.part;
                let part = Message::Snapshot {
                    session,
                    frame,
                    ops,
                };
                out.send(node, self.frame(part));
                if next.is_none() {
                    // Parts hold what was true when they were written, which may be later than the
                    // batches sent so far: the table is whole when those are there as well.
                    let (seq, frame) = (last, frame + 1);
                    let end = Message::SnapshotEnd {
                        session,
                        frame,
                        seq,
                    };
                    out.send(node, self.frame(end));
                }
                true
            }
            _ if has_batch => {
                follower.part_next = true;
                follower.frames_sent += 1;
                follower.sent.0 += 1;
                let (seq, frame) = (follower.sent, follower.frames_sent);
                let ops = self
                    .backlog
                    .ops(seq)
                    .expect("what a linked member lacks is kept");
                let batch = Message::Batch {
                    session,
                    frame,
                    seq,
                    ops,
                };
                out.send(node, self.frame(batch));
                true
            }
            _ => false,
        }
    }

    fn follower(&self, node: NodeId) -> Option<&Follower> {
        self.followers.iter().find(|follower| follower.node == node)
    }

    fn frame<'a>(&self, message: Message<'a>) -> Frame<'a> {
        Frame {
            service: self.service,
            epoch: self.epoch,
            message,
        }
    }
}
