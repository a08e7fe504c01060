//! A PBX in a cluster: as a member it takes records in, as the owner it lets the world know what is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::{Held, Seq};
use net::poll::{Interest, Token};
use net::udp::{UdpOptions, UdpSocket};
use pbx::control::{Question, QuestionId};
use records::{Changes, Op, Ops};
use store::CdrRow;
use transaction::Outbox;

use super::cdr;
use super::thread::{PbxThread, State, Switchboard};
use crate::cluster::{Desk, Ticket};
use crate::voice::Voices;
use crate::worker::Port;

/// Turns whose messages wait for a commit; those of one more are lost, as datagrams may be.
const HELD_MAX: usize = 8_192;
/// Turns beyond it whose questions and records of calls wait, which nobody sends again.
const LATE_MAX: usize = 65_536;
/// Memory of turns that is kept.
const SPARE_MAX: usize = 64;
/// How often, and how far apart, a socket is tried that the owner before has open still.
const OPEN_TRIES: u32 = 200;
const OPEN_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// Records of calls that are over and not in the store yet, by their numbers. The core's kinds are 1 and 2, those of applications
/// begin at 64.
const CDR: u16 = 32;

/// What the world would notice of one turn.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    pub(super) outbox: Outbox,
    pub(super) asks: Vec<(QuestionId, Question)>,
    pub(super) cdrs: Vec<CdrRow>,
}

impl Leaving {
    pub(super) fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.asks.is_empty() && self.cdrs.is_empty()
    }

    fn clear(&mut self) {
        self.outbox.clear();
        self.asks.clear();
        self.cdrs.clear();
    }
}

/// The part of a PBX in the office of its service.
pub(super) struct Office {
    pub(super) desk: Arc<Desk>,
    /// The term, while this node owns the service.
    pub(super) epoch: Option<u64>,
    /// Whether sockets are the owner's alone: all members are on this machine.
    pub(super) opens_late: bool,
    held: Held<Leaving>,
    last: Ticket,
    spare: Vec<Leaving>,
    /// Records of calls that are over, until they are in the store.
    records: BTreeMap<u64, CdrRow>,
    /// Turns whose messages never left.
    discarded: u64,
}

impl Office {
    pub(super) fn new(desk: Arc<Desk>, opens_late: bool) -> Office {
        Office {
            desk,
            epoch: None,
            opens_late,
            held: Held::new(HELD_MAX + LATE_MAX),
            last: Ticket(0),
            spare: Vec::new(),
            records: BTreeMap::new(),
            discarded: 0,
        }
    }

    fn give_back(&mut self, mut leaving: Leaving) {
        leaving.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(leaving);
        }
    }

    /// Leaves the changes of a turn for the members, and in `leaving` what may leave at once: nothing, if it has to wait. Gives how many
    /// records of calls there was no room for.
    fn hold(&mut self, epoch: u64, changes: &mut Changes, leaving: &mut Leaving) -> usize {
        if !changes.is_empty() {
            let ticket = self.desk.submit(epoch, 0, changes);
            changes.clear();
            match ticket {
                Some(ticket) => self.last = ticket,
                // The term is over, and word of it is on its way.
                None => {
                    self.discarded += 1;
                    leaving.clear();
                    return 0;
                }
            }
        } else if self.held.is_empty() {
            return 0;
        }
        if self.held.len() >= HELD_MAX && !leaving.outbox.is_empty() {
            self.discarded += 1;
            leaving.outbox.clear();
        }
        if leaving.is_empty() {
            return 0;
        }
        let next = self.spare.pop().unwrap_or_default();
        let leaving = std::mem::replace(leaving, next);
        let records = leaving.cdrs.len();
        match self.held.hold(Seq(self.last.0), leaving) {
            Ok(()) => 0,
            Err(_) => {
                self.discarded += 1;
                records
            }
        }
    }

    /// The next turn that may leave.
    fn release(&mut self, epoch: u64) -> Option<Leaving> {
        let Ticket(committed) = self.desk.committed(epoch)?;
        self.held.release(Seq(committed))
    }

    /// Takes a record of ours in. False: it is the core's.
    fn apply(&mut self, op: &Op<'_>) -> bool {
        if op.kind != CDR {
            return false;
        }
        if let Ok(key) = <[u8; 8]>::try_from(op.key) {
            let number = u64::from_be_bytes(key);
            let text = op.value.and_then(|value| std::str::from_utf8(value).ok());
            match text.and_then(cdr::parse) {
                Some(row) => self.records.insert(number, row),
                None => self.records.remove(&number),
            };
        }
        true
    }

    fn forget(&mut self) {
        self.epoch = None;
        self.discarded += self.held.len() as u64;
        self.held.discard();
        self.records.clear();
    }
}

impl PbxThread {
    /// Whether what comes from the network is for this node.
    pub(super) fn acts(&self) -> bool {
        let office = self.office.as_ref();
        office.is_none_or(|office| office.epoch.is_some())
    }

    /// Lets what the turn made leave: at once without a cluster; else when the members have what it depends on, in the order in which
    /// it was made, and only while this node may act.
    pub(super) fn release(&mut self, state: &mut State) {
        let output = &mut state.output;
        let mut made = std::mem::take(&mut state.leaving);
        std::mem::swap(&mut made.outbox, &mut output.outbox);
        made.asks.append(&mut output.asks);
        let Some(mut office) = self.office.take() else {
            output.changes.clear();
            made.cdrs
                .extend(output.cdrs.drain(..).map(|cdr| (self.row)(&cdr)));
            self.perform(&mut made, state);
            state.leaving = made;
            return;
        };
        if let Some(epoch) = office.epoch {
            for cdr in output.cdrs.drain(..) {
                let row = (self.row)(&cdr);
                let text = cdr::line(&row).to_string();
                let key = cdr.id.to_be_bytes();
                // One that is too long for a record is this node's alone.
                let _ = output
                    .changes
                    .put(CDR, &key, |out| out.extend_from_slice(text.as_bytes()));
                office.records.insert(cdr.id, row.clone());
                made.cdrs.push(row);
            }
            let lost = office.hold(epoch, &mut output.changes, &mut made);
            self.outside.news.cdrs_lost(lost);
            while let Some(mut leaving) = office.release(epoch) {
                self.perform_as_owner(&office.desk, &mut leaving, state);
                office.give_back(leaving);
            }
            self.perform_as_owner(&office.desk, &mut made, state);
        }
        output_of_nobody(state, &mut made, office.epoch);
        state.leaving = made;
        self.office = Some(office);
    }

    fn perform_as_owner(&mut self, desk: &Desk, leaving: &mut Leaving, state: &mut State) {
        if !desk.may_act() {
            // Whoever has the office knows what is committed, and does it.
            leaving.clear();
            for port in &mut self.ports {
                port.outgoing.clear();
            }
            return;
        }
        self.perform(leaving, state);
    }

    /// Takes records in.
    pub(super) fn apply(&mut self, records: &[u8]) {
        let Some(office) = &mut self.office else {
            return;
        };
        let mut ops = Ops::new(records);
        // The cluster's thread wrote them.
        while let Ok(Some(op)) = ops.op() {
            if !office.apply(&op) {
                self.core.restore(op);
            }
        }
    }

    /// Records of calls are in the store: nobody has to write them any more.
    pub(super) fn kept(&mut self, numbers: &[u64], state: &mut State) {
        let Some(office) = self.office.as_mut().filter(|office| office.epoch.is_some()) else {
            return;
        };
        for number in numbers {
            if office.records.remove(number).is_some() {
                // The key of a number is short.
                let _ = state.output.changes.remove(CDR, &number.to_be_bytes());
            }
        }
    }

    /// Owns the service from now on.
    pub(super) fn take_office(&mut self, epoch: u64, state: &mut State) {
        if self.office.as_ref().is_some_and(|office| office.opens_late) {
            self.open_late();
        }
        if let Some(office) = &mut self.office {
            office.epoch = Some(epoch);
            // What the owner before did not get into the store.
            state.leaving.cdrs.extend(office.records.values().cloned());
        }
        self.with_core(state, |core, turn| core.take_office(turn, epoch));
    }

    /// Is a member again, and knows nothing.
    pub(super) fn leave_office(&mut self, state: &mut State) {
        let opens_late = self.office.as_ref().map(|office| office.opens_late);
        if opens_late.is_some() {
            // Whoever comes next has the first socket when all others are free.
            self.close_voices();
        }
        if opens_late == Some(true) {
            for port in self.ports.drain(..) {
                // Closing it does the same.
                let _ = self.poller.remove(&port.socket);
            }
        }
        // Nobody waits for that: memory of thousands of calls takes its time.
        self.forget(state);
        if opens_late == Some(false) {
            self.open_voices();
        }
    }

    /// Empties the core and all that belongs to its calls.
    pub(super) fn forget(&mut self, state: &mut State) {
        let now = self.now();
        self.core.leave_office(now);
        *self.core.applications_mut() = Switchboard::new(self.plan.clone());
        self.files.abandon();
        state.output.clear();
        state.leaving.clear();
        if let Some(office) = &mut self.office {
            office.forget();
        }
    }

    /// Opens the sockets that only the owner has. The owner before may be about to close its own.
    fn open_late(&mut self) {
        if !self.ports.is_empty() {
            return;
        }
        let listen = self.listen;
        for _ in 0..OPEN_TRIES {
            match UdpSocket::bind(listen, &UdpOptions::default()) {
                Ok(socket) => {
                    self.ports.push(Port::new(socket));
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    std::thread::sleep(OPEN_PAUSE);
                }
                Err(error) => {
                    tracing::error!(%listen, %error, "the socket of the PBX cannot be opened");
                    return;
                }
            }
        }
        match self.ports.first() {
            Some(port) => {
                if let Err(error) = self.poller.add(&port.socket, Token(0), Interest::Readable) {
                    tracing::error!(%error, "a socket of the PBX cannot be watched");
                }
            }
            None => tracing::error!(
                %listen,
                "the socket of the PBX is another process's; is it the owner before, and hangs?"
            ),
        }
        self.open_voices();
    }

    fn open_voices(&mut self) {
        let desk = self.office.as_ref().map(|office| office.desk.clone());
        let mut tries = 0;
        let opened = loop {
            let opened = crate::voice::open(&self.voice);
            // A process that was killed has its sockets for a moment still.
            let is_early = match &opened {
                Ok(opened) => opened.are_others_there(),
                Err(error) => error.are_others_there(),
            };
            if !is_early || tries == OPEN_TRIES {
                break opened;
            }
            tries += 1;
            drop(opened);
            std::thread::sleep(OPEN_PAUSE);
        };
        let started = opened.and_then(|opened| opened.start_for(self.ear.clone(), desk));
        match started {
            Ok(voices) => self.set_voices(Some(voices)),
            Err(error) => tracing::error!(%error, "the PBX has no ports for sound"),
        }
    }

    pub(super) fn close_voices(&mut self) {
        if let Some(voices) = self.around.voices.clone() {
            voices.stop();
        }
        self.set_voices(None);
    }

    fn set_voices(&mut self, voices: Option<Arc<Voices>>) {
        let mut shown = self
            .shown
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        shown.clone_from(&voices);
        drop(shown);
        self.around.voices = voices;
    }
}

/// A member says nothing and asks nothing.
fn output_of_nobody(state: &mut State, made: &mut Leaving, epoch: Option<u64>) {
    if epoch.is_none() {
        made.clear();
        state.output.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use net::poll::Poller;
    use transaction::{Flow, Transport};

    fn office() -> (Poller, Office) {
        let poller = Poller::new().unwrap();
        let mut office = Office::new(Arc::new(Desk::new(poller.waker())), false);
        office.desk.open(3);
        office.epoch = Some(3);
        (poller, office)
    }

    /// A turn in which a message was made, and a record was changed or not.
    fn turn(message: &[u8], is_changed: bool) -> (Changes, Leaving) {
        let (mut changes, mut leaving) = (Changes::new(), Leaving::default());
        if is_changed {
            changes.put(1, &[1; 8], |out| out.push(1)).unwrap();
        }
        let flow = Flow {
            transport: Transport::Udp,
            remote: ([192, 0, 2, 1], 5060).into(),
            local: ([192, 0, 2, 2], 5070).into(),
        };
        leaving
            .outbox
            .send(flow, |out| out.extend_from_slice(message));
        (changes, leaving)
    }

    fn sent(leaving: &Leaving) -> Vec<Vec<u8>> {
        let messages = leaving.outbox.iter();
        messages.map(|(bytes, _)| bytes.to_vec()).collect()
    }

    #[test]
    fn what_depends_on_a_change_and_what_comes_after_it_wait_for_the_commit() {
        let (_poller, mut office) = office();
        let (mut changes, mut leaving) = turn(b"180", false);
        office.hold(3, &mut changes, &mut leaving);
        assert_eq!(sent(&leaving), [b"180"]);
        for (message, is_changed) in [(b"200", true), (b"BYE", false)] {
            let (mut changes, mut leaving) = turn(message, is_changed);
            office.hold(3, &mut changes, &mut leaving);
            assert!(changes.is_empty() && leaving.is_empty());
        }
        assert!(office.release(3).is_none());
        let ticket = office.desk.take().unwrap().ticket;
        office.desk.commit(ticket);
        assert_eq!(sent(&office.release(3).unwrap()), [b"200"]);
        assert_eq!(sent(&office.release(3).unwrap()), [b"BYE"]);
        assert!(office.release(3).is_none() && office.held.is_empty());
    }

    #[test]
    fn what_was_not_committed_never_leaves_once_the_office_is_lost() {
        let (_poller, mut office) = office();
        let (mut changes, mut leaving) = turn(b"200", true);
        office.hold(3, &mut changes, &mut leaving);
        office.desk.close();
        let (mut changes, mut leaving) = turn(b"BYE", true);
        office.hold(3, &mut changes, &mut leaving);
        assert!(leaving.is_empty());
        office.forget();
        assert_eq!(office.discarded, 2);
        assert!(office.held.is_empty() && office.release(3).is_none());
    }

    #[test]
    fn records_of_calls_wait_where_messages_are_lost() {
        let (_poller, mut office) = office();
        let cdr = || cdr::row("pbx1", &pbx::control::Cdr::default());
        let mut lost = 0;
        for at in 0..=HELD_MAX + LATE_MAX {
            let (mut changes, mut leaving) = turn(b"200", at == 0);
            leaving.cdrs.push(cdr());
            lost += office.hold(3, &mut changes, &mut leaving);
        }
        assert_eq!(lost, 1);
        assert_eq!(office.discarded as usize, LATE_MAX + 2);
        let ticket = office.desk.take().unwrap().ticket;
        office.desk.commit(ticket);
        let (mut messages, mut records) = (0, 0);
        while let Some(leaving) = office.release(3) {
            messages += leaving.outbox.len();
            records += leaving.cdrs.len();
        }
        assert_eq!((messages, records), (HELD_MAX, HELD_MAX + LATE_MAX));
    }

    #[test]
    fn a_record_of_a_call_is_known_to_members_until_it_is_in_the_store() {
        let (_poller, mut office) = office();
        let cdr = pbx::control::Cdr {
            id: 7,
            ..Default::default()
        };
        let text = cdr::line(&cdr::row("pbx1", &cdr)).to_string();
        let key = 7_u64.to_be_bytes();
        let op = |kind, value| Op {
            kind,
            key: &key,
            value,
        };
        assert!(office.apply(&op(CDR, Some(text.as_bytes()))));
        assert_eq!(office.records[&7].id, "pbx1-0000000000000007");
        assert!(office.apply(&op(CDR, None)));
        assert!(office.records.is_empty());
        // The rest is the core's.
        assert!(!office.apply(&op(1, None)));
    }
}
