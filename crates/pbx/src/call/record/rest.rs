//! Records of another node. They rest as bytes; from the day this node has the office they are read in slices, or when something asks
//! for what they are of.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::SocketAddr;

use records::{Error, Op};
use transaction::Time;

use super::read::read_end;
use super::{LEG, SUBSCRIPTION, each, number};
use crate::call::Calls;
use crate::call::calls::cause_of;
use crate::call::state::State;
use crate::control::{Action, Happening, LegId};
use crate::pbx::Turn;
use crate::surroundings::MediaPort;

/// Records that a slice reads. A call is read whole, so that it may be a few more.
pub const SLICE_RECORDS: usize = 64;

/// Messages that a slice says again, after which it ends.
pub const SLICE_MESSAGES: usize = 16;

/// From one slice to the next, in milliseconds: messages that have come, timers and media commands have their turn between them.
pub const SLICE_MS: u64 = 1;

/// A record's kind and key.
type Place = (u16, u64);

/// Records that are not read yet.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    records: BTreeMap<Place, Vec<u8>>,
    /// What names a record from outside, sorted: our tag, branches, keys of transactions, a recording, a conference, who is watched. Two
    /// things of one number have both read.
    marks: Vec<(u64, Place)>,
    /// Ports that legs had, which are not for new calls.
    ports: BTreeMap<LegId, MediaPort>,
    /// The order in which they are read, the last one first.
    queue: Vec<Place>,
    /// When the next slice is due; `None`: there is none.
    pub(crate) next: Option<Time>,
    /// Legs, incoming ones and subscriptions among them, once the office is taken.
    pub(crate) legs: usize,
    pub(crate) incoming: usize,
    pub(crate) watchers: usize,
}

/// What of a record is looked at before it is read.
#[derive(Debug, Default)]
struct Glance {
    marks: Vec<u64>,
    state: Option<State>,
    is_incoming: bool,
    /// Where its sound goes on.
    port: Option<SocketAddr>,
    /// Whether something is to be said again.
    is_open: bool,
}

impl Glance {
    /// Sound stops until it is read: first. Who calls and is called waits for a word: second.
    fn urgency(&self) -> u8 {
        match self.port {
            Some(_) => 0,
            None if self.is_open || self.state != Some(State::Confirmed) => 1,
            None => 2,
        }
    }
}

fn transaction(value: &[u8], marks: &mut Vec<u64>) -> Result<(), Error> {
    each(value, |tag, value| {
        if tag == 4
            && let Ok(key) = value.try_into().map(u128::from_be_bytes)
        {
            marks.push(key as u64);
        }
        Ok(())
    })
}

fn glance_at_leg(value: &[u8]) -> Result<Glance, Error> {
    let mut seen = Glance::default();
    each(value, |tag, value| {
        match tag {
            2 => seen.state = State::of_number(number(value)?),
            3 => seen.is_incoming = number(value)? & 1 == 1,
            5 => seen.marks.push(number(value)?),
            11 => {
                seen.is_open = true;
                transaction(value, &mut seen.marks)?;
            }
            12 => {
                seen.is_open = true;
                each(value, |tag, value| {
                    if tag == 2 {
                        seen.marks.push(number(value)?);
                    }
                    Ok(())
                })?;
            }
            13 | 43 | 44 => seen.is_open = true,
            30 => seen.port = Some(read_end(value)?.address),
            32 | 33 => each(value, |tag, value| {
                if tag == 1 {
                    seen.marks.push(number(value)?);
                }
                Ok(())
            })?,
            42 => transaction(value, &mut seen.marks)?,
            _ => {}
        }
        Ok(())
    })?;
    if seen.state == Some(State::Over) {
        seen.port = None;
    }
    Ok(seen)
}

/// The legs that a leg names, whose records are read with its own.
fn others(value: &[u8], then: &mut Vec<LegId>) -> Result<(), Error> {
    each(value, |tag, value| {
        match tag {
            28 | 29 => then.push(LegId(number(value)?)),
            12 => each(value, |tag, value| {
                if tag == 7 {
                    then.push(LegId(number(value)?));
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })
}

impl Resting {
    fn take(&mut self, place: Place) -> Option<Vec<u8>> {
        let value = self.records.remove(&place)?;
        match place.0 {
            LEG => {
                self.legs = self.legs.saturating_sub(1);
                let is_incoming = glance_at_leg(&value).is_ok_and(|seen| seen.is_incoming);
                self.incoming = self.incoming.saturating_sub(usize::from(is_incoming));
            }
            SUBSCRIPTION => self.watchers = self.watchers.saturating_sub(1),
            _ => {}
        }
        Some(value)
    }

    /// The port that was kept for a leg.
    pub(super) fn take_port(&mut self, leg: LegId) -> Option<MediaPort> {
        self.ports.remove(&leg)
    }
}

impl Calls {
    /// Takes in a record, which rests until it is asked for, or until it is its turn.
    pub(crate) fn rest(&mut self, op: Op<'_>) {
        let Ok(key) = op.key.try_into().map(u64::from_be_bytes) else {
            return;
        };
        let records = &mut self.resting.records;
        match op.value {
            Some(value) => {
                records.insert((op.kind, key), value.to_vec());
            }
            None => {
                records.remove(&(op.kind, key));
            }
        }
    }

    /// Looks through what rests: how it is found, in which order it is read, and which ports it has.
    pub(super) fn index_resting(&mut self, turn: &mut Turn<'_>) {
        let mut resting = std::mem::take(&mut self.resting);
        let mut order = Vec::with_capacity(resting.records.len());
        for (&(kind, key), value) in &resting.records {
            let place = (kind, key);
            let urgency = match kind {
                LEG => {
                    resting.legs += 1;
                    // One that cannot be read has ended for its application, and that soon.
                    let seen = glance_at_leg(value).unwrap_or_default();
                    resting.incoming += usize::from(seen.is_incoming);
                    let marks = seen.marks.iter().map(|mark| (*mark, place));
                    resting.marks.extend(marks);
                    let port = seen.port.and_then(|at| turn.around.take_port_at(at));
                    resting.ports.extend(port.map(|port| (LegId(key), port)));
                    seen.urgency()
                }
                SUBSCRIPTION => {
                    resting.watchers += 1;
                    resting.marks.push((key, place));
                    // One that cannot be read is found out when it is.
                    let _ = each(value, |tag, value| {
                        if tag == 5 {
                            resting.marks.push((self.mark_of_user(value), place));
                        }
                        Ok(())
                    });
                    3
                }
                _ => continue,
            };
            order.push((urgency, place));
        }
        order.sort_unstable_by(|one, other| other.cmp(one));
        resting.marks.sort_unstable();
        resting.queue = order.into_iter().map(|(_, place)| place).collect();
        resting.next = Some(turn.now.time).filter(|_| !resting.queue.is_empty());
        self.resting = resting;
    }

    fn mark_of_user(&self, user: &[u8]) -> u64 {
        self.keyed(|hasher| hasher.write(user))
    }

    /// Reads the next slice, if it is due.
    pub(crate) fn read_slice(&mut self, turn: &mut Turn<'_>) {
        if self.resting.next.is_none_or(|next| next > turn.now.time) {
            return;
        }
        let left = self.resting.records.len().saturating_sub(SLICE_RECORDS);
        let said = turn.output.outbox.len() + SLICE_MESSAGES;
        while self.resting.records.len() > left && turn.output.outbox.len() < said {
            let Some(place) = self.resting.queue.pop() else {
                break;
            };
            self.read_resting(turn, place);
        }
        let Resting { queue, records, .. } = &mut self.resting;
        // What was asked for has been read out of its turn.
        while queue.pop_if(|place| !records.contains_key(place)).is_some() {}
        if queue.is_empty() {
            self.resting = Resting::default();
        } else {
            self.resting.next = Some(turn.now.time.plus_ms(SLICE_MS));
        }
    }

    /// Reads what has a mark.
    pub(crate) fn read_marked(&mut self, turn: &mut Turn<'_>, mark: u64) {
        if self.resting.next.is_none() {
            return;
        }
        let mut at = self.resting.marks.partition_point(|(one, _)| *one < mark);
        while let Some(&(_, place)) = self.resting.marks.get(at).filter(|(one, _)| *one == mark) {
            self.read_resting(turn, place);
            at += 1;
        }
    }

    /// Reads who watches a user.
    pub(crate) fn read_watchers_of(&mut self, turn: &mut Turn<'_>, user: &str) {
        if self.resting.next.is_some() {
            let mark = self.mark_of_user(user.as_bytes());
            self.read_marked(turn, mark);
        }
    }

    /// Reads the legs that an action is about.
    pub(crate) fn read_for(&mut self, turn: &mut Turn<'_>, action: &Action) {
        if self.resting.next.is_none() {
            return;
        }
        let (legs, mark) = match action {
            Action::Dial { for_leg, .. } => ([*for_leg, None], None),
            Action::Bridge { a, b } => ([Some(*a), Some(*b)], None),
            Action::StopRecord { recording } => ([None; 2], Some(recording.0)),
            Action::PlayRoom { room, .. } => ([None; 2], Some(room.0)),
            // All of a conference are on the thread of its eldest.
            Action::Join { leg, room, .. } => ([Some(*leg), None], Some(room.0)),
            Action::Ring { leg }
            | Action::Progress { leg }
            | Action::Answer { leg }
            | Action::Reject { leg, .. }
            | Action::Hangup { leg, .. }
            | Action::Unbridge { leg }
            | Action::Play { leg, .. }
            | Action::StopPlay { leg, .. }
            | Action::Record { leg, .. }
            | Action::Leave { leg }
            | Action::Mute { leg, .. }
            | Action::Echo { leg }
            | Action::SendDigits { leg, .. }
            | Action::DetectInBand { leg, .. }
            | Action::TransferResult { leg, .. } => ([Some(*leg), None], None),
            Action::Ask { .. } | Action::Cdr(_) | Action::Publish(_) => ([None; 2], None),
        };
        for leg in legs.into_iter().flatten() {
            self.read_resting(turn, (LEG, leg.0));
        }
        if let Some(mark) = mark {
            self.read_marked(turn, mark);
        }
    }

    /// Reads a record, and those of the legs that it names: who is live names nobody that rests.
    fn read_resting(&mut self, turn: &mut Turn<'_>, (kind, key): Place) {
        let Some(value) = self.resting.take((kind, key)) else {
            return;
        };
        if kind == SUBSCRIPTION {
            self.counts.unreadable += u64::from(self.take_watcher(turn, key, &value).is_err());
            return;
        }
        let (mut group, mut named, mut at) = (vec![(LegId(key), value)], Vec::new(), 0);
        while let Some((_, value)) = group.get(at) {
            // What cannot be read is told below.
            let _ = others(value, &mut named);
            for leg in named.drain(..) {
                group.extend(self.resting.take((LEG, leg.0)).map(|value| (leg, value)));
            }
            at += 1;
        }
        group.sort_unstable_by_key(|(leg, _)| *leg);
        for (leg, value) in &group {
            if self.take_leg(turn, *leg, value).is_err() {
                self.counts.unreadable += 1;
                // Whoever talks with it is not to wait for ever.
                let (leg, cause) = (*leg, cause_of(500, "unreadable"));
                self.tell(Happening::Ended { leg, cause });
                self.forgotten.push(leg);
            }
            if let Some(port) = self.resting.take_port(*leg) {
                turn.around.give_back(port);
            }
        }
        // Legs whose other leg did not come along are on their own.
        for (leg, _) in group {
            let peer = self.legs.get(&leg).and_then(|leg| leg.peer);
            if peer.is_some_and(|peer| !self.legs.contains_key(&peer)) {
                self.with(leg, |_, leg| leg.peer = None);
            }
        }
    }
}
