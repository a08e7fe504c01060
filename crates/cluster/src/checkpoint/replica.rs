//! A member's end of the stream.

use super::table::{Apply, Table};
use crate::error::Error;
use crate::node::{Epoch, Identity, NodeId, Seq};
use crate::time::Time;
use crate::wire::message::{Message, Position, Session, Start};
use records::Ops;

/// Whom a session is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    epoch: Epoch,
    owner: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// No session.
    None,
    /// Asked for one at this time.
    Asked(Source, Session, Time),
    /// The stream runs.
    Open(Open),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    source: Source,
    session: Session,
    /// The last batch applied.
    applied: Seq,
    /// Frames taken in.
    frames: u64,
    /// The table is whole once this batch is applied; `None`: the snapshot's end did not come yet.
    whole_at: Option<Seq>,
}

/// Applies what the owner sends, and says how far it is.
#[derive(Debug)]
pub struct Replica {
    identity: Identity,
    joins: u64,
    link: Link,
    owes_answer: bool,
    /// The last session ended by our own fault or limit: the next one waits.
    has_failed: bool,
    /// What the table holds, if it is whole.
    position: Option<Position>,
}

impl Replica {
    /// A member whose table is empty: a process that has just started.
    pub fn new(identity: Identity) -> Replica {
        Replica {
            identity,
            joins: 0,
            link: Link::None,
            owes_answer: false,
            has_failed: false,
            position: None,
        }
    }

    /// What the table holds, if it is whole.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// How often it has asked for the stream.
    pub fn joins(&self) -> u64 {
        self.joins
    }

    /// The table's content by another way: this node was the owner.
    pub fn resume_from(&mut self, position: Position) {
        self.position = Some(position);
        self.link = Link::None;
    }

    /// The connection to `node` ended.
    pub fn unlink(&mut self, node: NodeId) {
        let with = match self.link {
            Link::None => return,
            Link::Asked(source, ..) => source,
            Link::Open(open) => open.source,
        };
        if with.owner.node == node {
            self.link = Link::None;
        }
    }

    /// There is no session any more; what the table holds stays.
    pub fn close(&mut self) {
        self.link = Link::None;
        self.owes_answer = false;
    }

    /// The owner is there: the message to join with, if there is no session with it yet.
    pub fn join(
        &mut self,
        now: Time,
        epoch: Epoch,
        owner: Identity,
        patience_us: u64,
    ) -> Option<Message<'static>> {
        let source = Source { epoch, owner };
        match self.link {
            Link::Open(open) if open.source == source => return None,
            Link::Asked(with, _, at) if with == source && now.since(at) < patience_us => {
                return None;
            }
            _ => {}
        }
        self.joins += 1;
        let session = Session {
            incarnation: self.identity.incarnation,
            join: self.joins,
        };
        self.link = Link::Asked(source, session, now);
        if std::mem::take(&mut self.has_failed) {
            // A table that is full is not full of a snapshot again at once.
            return None;
        }
        self.owes_answer = false;
        Some(Message::Join {
            session,
            position: self.position,
        })
    }

    /// Takes in a message of the stream. Messages of sessions that are over are passed over.
    ///
    /// # Errors
    /// [`Error::Gap`], what the changes may have, [`Error::TableFull`]: the session is over, and joining
    /// again mends it.
    pub fn receive(
        &mut self,
        message: Message<'_>,
        table: &mut Table,
        apply: &mut impl Apply,
    ) -> Result<(), Error> {
        let result = self.take(message, table, apply);
        match result {
            Ok(()) => {}
            // What is there is whole up to where it was.
            Err(Error::Gap { .. }) => self.close(),
            Err(_) => {
                // A batch may have been applied in part.
                self.position = None;
                self.has_failed = true;
                self.close();
            }
        }
        result
    }

    fn take(
        &mut self,
        message: Message<'_>,
        table: &mut Table,
        apply: &mut impl Apply,
    ) -> Result<(), Error> {
        match message {
            Message::Welcome { session, start } => {
                self.welcome(session, start, table, apply);
                Ok(())
            }
            Message::Rejoin { session } => {
                if matches!(self.link, Link::Open(open) if open.session == session) {
                    self.close();
                }
                Ok(())
            }
            Message::Snapshot {
                session,
                frame,
                ops,
            } => match self.open(session, frame)? {
                Some(_) => run(ops, table, apply),
                None => Ok(()),
            },
            Message::SnapshotEnd {
                session,
                frame,
                seq,
            } => {
                if let Some(open) = self.open(session, frame)? {
                    open.whole_at = Some(seq);
                }
                self.settle();
                Ok(())
            }
            Message::Batch {
                session,
                frame,
                seq,
                ops,
            } => {
                let Some(open) = self.open(session, frame)? else {
                    return Ok(());
                };
                in_turn(open.applied.0 + 1, seq.0)?;
                open.applied = seq;
                run(ops, table, apply)?;
                self.settle();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn welcome(
        &mut self,
        session: Session,
        start: Start,
        table: &mut Table,
        apply: &mut impl Apply,
    ) {
        let Link::Asked(source, asked, _) = self.link else {
            return;
        };
        if asked != session {
            return;
        }
        let (applied, whole_at) = match start {
            Start::Resume(seq) => (seq, Some(seq)),
            Start::Snapshot(seq) => {
                table.clear();
                apply.clear();
                self.position = None;
                (seq, None)
            }
        };
        self.link = Link::Open(Open {
            source,
            session,
            applied,
            frames: 0,
            whole_at,
        });
        self.owes_answer = true;
        self.settle();
    }

    /// The session, if it is this one and the frame is the next: it is taken in.
    fn open(&mut self, session: Session, frame: u64) -> Result<Option<&mut Open>, Error> {
        match &mut self.link {
            Link::Open(open) if open.session == session => {
                in_turn(open.frames + 1, frame)?;
                open.frames = frame;
                self.owes_answer = true;
                Ok(Some(open))
            }
            _ => Ok(None),
        }
    }

    /// Notes what the table holds.
    fn settle(&mut self) {
        if let Link::Open(open) = self.link
            && open.whole_at.is_some_and(|seq| open.applied >= seq)
        {
            self.position = Some(Position {
                epoch: open.source.epoch,
                owner: open.source.owner.incarnation,
                seq: open.applied,
            });
        }
    }

    /// Says again how far it is, with the owner's next heartbeat: an acknowledgement that the owner had no use
    /// for when it came is not missed for ever.
    pub fn answer_again(&mut self) {
        self.owes_answer |= matches!(self.link, Link::Open(_));
    }

    /// The acknowledgement of all that came since the last one, for the node it goes to.
    pub fn answer(&mut self) -> Option<(NodeId, Epoch, Message<'static>)> {
        let Link::Open(open) = self.link else {
            return None;
        };
        if !std::mem::take(&mut self.owes_answer) {
            return None;
        }
        let whole = open.whole_at.is_some_and(|seq| open.applied >= seq);
        let message = Message::Applied {
            session: open.session,
            frames: open.frames,
            seq: whole.then_some(open.applied),
        };
        Some((open.source.owner.node, open.source.epoch, message))
    }
}

fn in_turn(expected: u64, found: u64) -> Result<(), Error> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::Gap { expected, found })
    }
}

fn run(ops: &[u8], table: &mut Table, apply: &mut impl Apply) -> Result<(), Error> {
    let mut ops = Ops::new(ops);
    while let Some(op) = ops.op()? {
        table.apply(op)?;
        match op.value {
            Some(value) => apply.put(op.kind, op.key, value),
            None => apply.remove(op.kind, op.key),
        }
    }
    Ok(())
}
