//! The messages between the nodes of a service.
//!
//! A frame is its length (four bytes, big-endian, without themselves), a version, and fields: service,
//! epoch, kind of message, and what that kind holds. A reader passes over fields and kinds that it does
//! not know. The version rises only when that is not enough.

use crate::error::Error;
use crate::node::{Epoch, Incarnation, Revision, Seq};
use crate::record::Record;
use crate::time::Time;
use records::tlv::{self, Fields};

/// Longest frame, in bytes, its length included.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;
/// The version of the frames.
pub const VERSION: u8 = 1;
const LENGTH_BYTES: usize = 4;

/// A service, by the number that the cluster's registry gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceId(pub u32);

/// One run of a stream to one member. The member chooses it, and every frame of the run names it, so that
/// what an older connection still delivers is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// The member's life.
    pub incarnation: Incarnation,
    /// Rises with each of the member's joins.
    pub join: u64,
}

/// What a table holds: all of one epoch's stream up to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The epoch of the stream.
    pub epoch: Epoch,
    /// The life of the owner that wrote it: tells streams apart even if a coordinator that lost its data
    /// let an epoch come twice.
    pub owner: Incarnation,
    /// The last batch.
    pub seq: Seq,
}

/// How a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// With the batch after this one; the member has all before it.
    Resume(Seq),
    /// With a snapshot beside the batches after this one; what the member has is void.
    Snapshot(Seq),
}

/// What one node tells another about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The owner is in office, and asks for a promise.
    Heartbeat {
        /// The owner's life.
        owner: Incarnation,
        /// When it was sent, by the owner's clock.
        stamp: Time,
    },
    /// The promise not to claim for a lease.
    Acknowledged {
        /// As in the heartbeat.
        owner: Incarnation,
        /// As in the heartbeat.
        stamp: Time,
    },
    /// The other's epoch is over; the frame's epoch is the one known.
    Refused {
        /// Who has that epoch.
        owner: Incarnation,
    },
    /// The owner has released the record.
    Released {
        /// The version of the record.
        revision: Revision,
        /// The record.
        record: Record,
    },
    /// A member asks for the stream.
    Join {
        /// The session to begin.
        session: Session,
        /// What its table holds, if that is whole.
        position: Option<Position>,
    },
    /// The session begins.
    Welcome {
        /// The session.
        session: Session,
        /// How.
        start: Start,
    },
    /// Part of a snapshot: puts.
    Snapshot {
        /// The session.
        session: Session,
        /// Its number among the session's frames, the first being 1.
        frame: u64,
        /// The operations, for [`crate::checkpoint::Ops`].
        ops: &'a [u8],
    },
    /// The snapshot is complete once this batch is applied.
    SnapshotEnd {
        /// The session.
        session: Session,
        /// Its number among the session's frames, the first being 1.
        frame: u64,
        /// The batch.
        seq: Seq,
    },
    /// A batch of the stream.
    Batch {
        /// The session.
        session: Session,
        /// Its number among the session's frames, the first being 1.
        frame: u64,
        /// Its number.
        seq: Seq,
        /// The operations, for [`crate::checkpoint::Ops`].
        ops: &'a [u8],
    },
    /// How far the member is.
    Applied {
        /// The session.
        session: Session,
        /// Frames of the session taken in: what flow control counts.
        frames: u64,
        /// Its table is whole up to this batch; `None` before the snapshot's end.
        seq: Option<Seq>,
    },
    /// The owner cannot go on with the session: the member is to join anew.
    Rejoin {
        /// The session.
        session: Session,
    },
    /// A kind that this version does not know.
    Unknown {
        /// Its number.
        kind: u64,
    },
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The service it is about.
    pub service: ServiceId,
    /// The epoch that its sender knows.
    pub epoch: Epoch,
    /// What it says.
    pub message: Message<'a>,
}

mod tag {
    pub(super) const SERVICE: u64 = 1;
    pub(super) const EPOCH: u64 = 2;
    pub(super) const KIND: u64 = 3;
    pub(super) const OWNER: u64 = 4;
    pub(super) const STAMP: u64 = 5;
    pub(super) const REVISION: u64 = 6;
    pub(super) const RECORD: u64 = 7;
    pub(super) const MEMBER: u64 = 8;
    pub(super) const JOIN: u64 = 9;
    pub(super) const SEQ: u64 = 10;
    pub(super) const FRAMES: u64 = 11;
    pub(super) const OPS: u64 = 12;
    pub(super) const POSITION_EPOCH: u64 = 13;
    pub(super) const POSITION_OWNER: u64 = 14;
    pub(super) const RESUME: u64 = 15;
}

mod kind {
    pub(super) const HEARTBEAT: u64 = 1;
    pub(super) const ACKNOWLEDGED: u64 = 2;
    pub(super) const REFUSED: u64 = 3;
    pub(super) const RELEASED: u64 = 4;
    pub(super) const JOIN: u64 = 5;
    pub(super) const WELCOME: u64 = 6;
    pub(super) const SNAPSHOT: u64 = 7;
    pub(super) const SNAPSHOT_END: u64 = 8;
    pub(super) const BATCH: u64 = 9;
    pub(super) const APPLIED: u64 = 10;
    pub(super) const REJOIN: u64 = 11;
}

/// Bytes of the first frame in `bytes`, as they come from a stream; `None` while too few came to tell.
///
/// # Errors
/// [`Error::TooLarge`] for a length beyond [`FRAME_BYTES_MAX`]: the connection is of no further use.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let size_bytes = u32::from_be_bytes(*length) as usize;
    if size_bytes > FRAME_BYTES_MAX - LENGTH_BYTES {
        return Err(Error::TooLarge {
            size_bytes,
            size_bytes_max: FRAME_BYTES_MAX,
        });
    }
    Ok(Some(size_bytes + LENGTH_BYTES))
}

impl<'a> Frame<'a> {
    /// Appends the frame, its length included.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        out.push(VERSION);
        tlv::write_number(tag::SERVICE, u64::from(self.service.0), out);
        tlv::write_number(tag::EPOCH, self.epoch.0, out);
        self.message.write(out);
        let size = out.len() - begin - LENGTH_BYTES;
        let length = u32::try_from(size).expect("a batch is bounded far below 4 GiB");
        out[begin..begin + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    }

    /// Reads one whole frame, as [`frame_length`] found it.
    ///
    /// # Errors
    /// All of them are the peer's fault.
    pub fn read(bytes: &'a [u8]) -> Result<Frame<'a>, Error> {
        if frame_length(bytes)? != Some(bytes.len()) {
            return Err(Error::Truncated);
        }
        let (&version, fields) = bytes[LENGTH_BYTES..]
            .split_first()
            .ok_or(Error::Truncated)?;
        if version != VERSION {
            return Err(Error::Version { found: version });
        }
        let parts = Parts::read(fields)?;
        let service = u32::try_from(need(parts.service, tag::SERVICE)?)
            .map_err(|_| Error::Field { tag: tag::SERVICE })?;
        Ok(Frame {
            service: ServiceId(service),
            epoch: Epoch(need(parts.epoch, tag::EPOCH)?),
            message: parts.message()?,
        })
    }
}

impl Message<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let head = |kind: u64, out: &mut Vec<u8>| tlv::write_number(tag::KIND, kind, out);
        match *self {
            Message::Heartbeat { owner, stamp } => {
                head(kind::HEARTBEAT, out);
                write_stamp(owner, stamp, out);
            }
            Message::Acknowledged { owner, stamp } => {
                head(kind::ACKNOWLEDGED, out);
                write_stamp(owner, stamp, out);
            }
            Message::Refused { owner } => {
                head(kind::REFUSED, out);
                tlv::write_number(tag::OWNER, owner.0, out);
            }
            Message::Released { revision, record } => {
                head(kind::RELEASED, out);
                tlv::write_number(tag::REVISION, revision.0, out);
                let mut bytes = Vec::new();
                record.write(&mut bytes);
                tlv::write_bytes(tag::RECORD, &bytes, out);
            }
            Message::Unknown { kind } => head(kind, out),
            stream => stream.write_stream(out),
        }
    }

    /// The messages that carry a session.
    fn write_stream(&self, out: &mut Vec<u8>) {
        let head = |kind: u64, session: Session, out: &mut Vec<u8>| {
            tlv::write_number(tag::KIND, kind, out);
            write_session(session, out);
        };
        match *self {
            Message::Join { session, position } => {
                head(kind::JOIN, session, out);
                if let Some(position) = position {
                    tlv::write_number(tag::POSITION_EPOCH, position.epoch.0, out);
                    tlv::write_number(tag::POSITION_OWNER, position.owner.0, out);
                    tlv::write_number(tag::SEQ, position.seq.0, out);
                }
            }
            Message::Welcome { session, start } => {
                head(kind::WELCOME, session, out);
                let (seq, resume) = match start {
                    Start::Resume(seq) => (seq, 1),
                    Start::Snapshot(seq) => (seq, 0),
                };
                tlv::write_number(tag::SEQ, seq.0, out);
                tlv::write_number(tag::RESUME, resume, out);
            }
            Message::Snapshot {
                session,
                frame,
                ops,
            } => {
                head(kind::SNAPSHOT, session, out);
                tlv::write_number(tag::FRAMES, frame, out);
                tlv::write_bytes(tag::OPS, ops, out);
            }
            Message::SnapshotEnd {
                session,
                frame,
                seq,
            } => {
                head(kind::SNAPSHOT_END, session, out);
                tlv::write_number(tag::FRAMES, frame, out);
                tlv::write_number(tag::SEQ, seq.0, out);
            }
            Message::Batch {
                session,
                frame,
                seq,
                ops,
            } => {
                head(kind::BATCH, session, out);
                tlv::write_number(tag::FRAMES, frame, out);
                tlv::write_number(tag::SEQ, seq.0, out);
                tlv::write_bytes(tag::OPS, ops, out);
            }
            Message::Applied {
                session,
                frames,
                seq,
            } => {
                head(kind::APPLIED, session, out);
                tlv::write_number(tag::FRAMES, frames, out);
                if let Some(seq) = seq {
                    tlv::write_number(tag::SEQ, seq.0, out);
                }
            }
            Message::Rejoin { session } => {
                head(kind::REJOIN, session, out);
            }
            _ => {}
        }
    }
}

fn write_stamp(owner: Incarnation, stamp: Time, out: &mut Vec<u8>) {
    tlv::write_number(tag::OWNER, owner.0, out);
    tlv::write_number(tag::STAMP, stamp.0, out);
}

fn write_session(session: Session, out: &mut Vec<u8>) {
    tlv::write_number(tag::MEMBER, session.incarnation.0, out);
    tlv::write_number(tag::JOIN, session.join, out);
}

fn need<T>(value: Option<T>, tag: u64) -> Result<T, Error> {
    value.ok_or(Error::Missing { tag })
}

/// The fields of a frame, before its kind says which of them it needs.
#[derive(Default)]
struct Parts<'a> {
    service: Option<u64>,
    epoch: Option<u64>,
    kind: Option<u64>,
    owner: Option<u64>,
    stamp: Option<u64>,
    revision: Option<u64>,
    record: Option<&'a [u8]>,
    member: Option<u64>,
    join: Option<u64>,
    seq: Option<u64>,
    frames: Option<u64>,
    ops: Option<&'a [u8]>,
    position_epoch: Option<u64>,
    position_owner: Option<u64>,
    resume: Option<u64>,
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Parts<'a>, Error> {
        let mut parts = Parts::default();
        let mut fields = Fields::new(bytes);
        while let Some((tag, value)) = fields.field()? {
            let place = match tag {
                tag::SERVICE => &mut parts.service,
                tag::EPOCH => &mut parts.epoch,
                tag::KIND => &mut parts.kind,
                tag::OWNER => &mut parts.owner,
                tag::STAMP => &mut parts.stamp,
                tag::REVISION => &mut parts.revision,
                tag::MEMBER => &mut parts.member,
                tag::JOIN => &mut parts.join,
                tag::SEQ => &mut parts.seq,
                tag::FRAMES => &mut parts.frames,
                tag::POSITION_EPOCH => &mut parts.position_epoch,
                tag::POSITION_OWNER => &mut parts.position_owner,
                tag::RESUME => &mut parts.resume,
                tag::RECORD => {
                    parts.record = Some(value);
                    continue;
                }
                tag::OPS => {
                    parts.ops = Some(value);
                    continue;
                }
                _ => continue,
            };
            *place = Some(tlv::number(value)?);
        }
        Ok(parts)
    }

    fn message(&self) -> Result<Message<'a>, Error> {
        let owner = || need(self.owner, tag::OWNER).map(Incarnation);
        let stamp = || need(self.stamp, tag::STAMP).map(Time);
        let seq = || need(self.seq, tag::SEQ).map(Seq);
        let ops = || need(self.ops, tag::OPS);
        Ok(match need(self.kind, tag::KIND)? {
            kind::HEARTBEAT => Message::Heartbeat {
                owner: owner()?,
                stamp: stamp()?,
            },
            kind::ACKNOWLEDGED => Message::Acknowledged {
                owner: owner()?,
                stamp: stamp()?,
            },
            kind::REFUSED => Message::Refused { owner: owner()? },
            kind::RELEASED => Message::Released {
                revision: Revision(need(self.revision, tag::REVISION)?),
                record: Record::read(need(self.record, tag::RECORD)?)?,
            },
            kind::JOIN => Message::Join {
                session: self.session()?,
                position: self.position(),
            },
            kind::WELCOME => Message::Welcome {
                session: self.session()?,
                start: match self.resume {
                    Some(1) => Start::Resume(seq()?),
                    _ => Start::Snapshot(seq()?),
                },
            },
            kind::SNAPSHOT => Message::Snapshot {
                session: self.session()?,
                frame: need(self.frames, tag::FRAMES)?,
                ops: ops()?,
            },
            kind::SNAPSHOT_END => Message::SnapshotEnd {
                session: self.session()?,
                frame: need(self.frames, tag::FRAMES)?,
                seq: seq()?,
            },
            kind::BATCH => Message::Batch {
                session: self.session()?,
                frame: need(self.frames, tag::FRAMES)?,
                seq: seq()?,
                ops: ops()?,
            },
            kind::APPLIED => Message::Applied {
                session: self.session()?,
                frames: self.frames.unwrap_or(0),
                seq: self.seq.map(Seq),
            },
            kind::REJOIN => Message::Rejoin {
                session: self.session()?,
            },
            kind => Message::Unknown { kind },
        })
    }

    fn session(&self) -> Result<Session, Error> {
        Ok(Session {
            incarnation: Incarnation(need(self.member, tag::MEMBER)?),
            join: need(self.join, tag::JOIN)?,
        })
    }

    fn position(&self) -> Option<Position> {
        Some(Position {
            epoch: Epoch(self.position_epoch?),
            owner: Incarnation(self.position_owner?),
            seq: Seq(self.seq?),
        })
    }
}

#[cfg(test)]
mod tests;
