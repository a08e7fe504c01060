//! What rested is made live.

use std::hash::Hasher;

use dialog::reliable::Sender;
use dialog::{Dialog, offer};
use records::Error;
use sip::build::ToTag;
use transaction::Time;
use transaction::layer::{ClientRecord, ServerRecord};
use voice::Command;

use super::read::{EndRecord, Later, read_leg, read_watcher};
use super::rest::Resting;
use super::{Served, each, number, read_flow, small};
use crate::call::Calls;
use crate::call::calls::Owner;
use crate::call::leg::{Calling, End, Leg, Path, Serving, Timer, Why};
use crate::call::reply::Purpose;
use crate::call::state::State;
use crate::control::{Figures, Ids, LegId, Now};
use crate::output::Voiced;
use crate::pbx::Turn;
use crate::session::Peer;

impl Calls {
    /// Forgets all calls without a word.
    pub(crate) fn leave_office(&mut self, now: Now) {
        self.layer.clear(now.time);
        self.wheel.clear(now.time);
        self.legs.clear();
        self.by_tag.clear();
        self.by_caller.clear();
        self.ends.clear();
        self.recordings.clear();
        self.purposes = transaction::Slab::default();
        self.watch = crate::call::watch::Watch::default();
        self.happenings.clear();
        self.touched.clear();
        self.changed.clear();
        self.forgotten.clear();
        self.resting = Resting::default();
        self.incoming = 0;
    }

    /// What rested is this node's: read a slice at a time, or when it is asked for.
    pub(crate) fn take_office(&mut self, turn: &mut Turn<'_>, epoch: u64) {
        self.ids = Ids::of_epoch(epoch);
        self.layer.set_epoch(epoch);
        self.index_resting(turn);
    }

    pub(super) fn take_leg(
        &mut self,
        turn: &mut Turn<'_>,
        id: LegId,
        value: &[u8],
    ) -> Result<(), Error> {
        let mut leg = Leg::new(
            id,
            false,
            turn.settings.outbound,
            Dialog::outgoing(b"", (b"", b""), b"", b""),
            0,
        );
        let mut later = Later::default();
        each(value, |tag, value| {
            read_leg(turn.now, &mut leg, &mut later, tag, value)
        })?;
        if leg.tag == 0 || leg.dialog.call_id.is_empty() {
            return Err(Error::Missing { tag: 1 });
        }
        if leg.session.has_remote {
            let limits = &turn.settings.description_limits;
            leg.session.peer = Peer::read(&leg.session.remote, &mut self.descriptions, limits)
                .map_err(|_| Error::Field { tag: 21 })?;
        }
        if leg.state == State::Over {
            // The figures of its media never come.
            self.tell_quality(&leg, "", Figures::default());
            self.tell_end(turn, &mut leg);
            self.forgotten.push(id);
            return Ok(());
        }
        if leg.cause.is_some() {
            self.tell_quality(&leg, "", Figures::default());
            self.tell_end(turn, &mut leg);
        }
        if let Some(serving) = &later.serving {
            self.take_serving(turn, &mut leg, serving)?;
        }
        if let Some(served) = &later.served {
            self.take_served(turn, &mut leg, served)?;
        }
        if let Some(calling) = &later.calling {
            self.take_calling(turn, &mut leg, calling)?;
        }
        let now = turn.now.time;
        self.take_open(now, &mut leg, later.waiting);
        if let Some(repeating) = leg.repeating.take() {
            turn.output
                .outbox
                .send(leg.flow, |out| out.extend_from_slice(&repeating.bytes));
            self.repeat(now, &mut leg, repeating.bytes, repeating.cseq);
        }
        self.arm_session(now, &mut leg);
        if !leg.is_incoming && leg.state.is_early() {
            self.set_timer(now, &mut leg, Timer::Ring, turn.settings.ring_ms_max);
        }
        if leg.state == State::Invited {
            self.await_answer(turn.now, &mut leg);
        }
        if leg.is_incoming && matches!(leg.state, State::Invited | State::Answered) {
            self.by_caller.insert(leg.caller_key, id);
        }
        if let Some(taking) = &leg.ears.taking {
            self.recordings.insert(taking.recording, id);
        }
        if let Some(end) = later.end {
            self.take_end(turn, &mut leg, end);
        }
        // Members have it as it is.
        leg.written = self.keyed(|hasher| hasher.write(value));
        self.insert(leg);
        Ok(())
    }

    /// What is open in a leg: an offer whose request did not come along has come to nothing; a provisional waits for its PRACK.
    fn take_open(&mut self, now: Time, leg: &mut Leg, waiting: Option<Vec<u8>>) {
        match leg.session.offers {
            offer::State::Sent if leg.calling.is_none() && leg.repeating.is_none() => {
                leg.offer_step(offer::Event::Refuse);
                leg.session.is_unsure = true;
            }
            offer::State::Received if leg.serving.is_none() => {
                leg.offer_step(offer::Event::Refuse);
                leg.session.is_unsure = true;
            }
            _ => {}
        }
        if let (Some(sender), Some(waiting)) = (&leg.reliable, waiting) {
            // It was sent again with its transaction.
            let t1_ms = transaction::timer::T1_MS;
            leg.reliable = Some(Sender::after(sender.last(), Some(waiting)));
            self.set_timer(now, leg, Timer::Again, t1_ms);
            self.set_timer(now, leg, Timer::GiveUp, 64 * t1_ms);
        }
    }

    /// The transaction of the peer's last request, which was answered.
    fn take_served(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        value: &[u8],
    ) -> Result<(), Error> {
        let (mut how, mut key, mut flow, mut stored) = (0, None, leg.flow, Vec::new());
        each(value, |tag, value| {
            match tag {
                1 => how = number(value)?,
                4 => key = value.try_into().ok().map(u128::from_be_bytes),
                5 => flow = read_flow(tag, value)?,
                6 => stored = value.to_vec(),
                _ => {}
            }
            Ok(())
        })?;
        let is = |served: Served| how == served as u64;
        let record = ServerRecord {
            key: key.ok_or(Error::Missing { tag: 4 })?,
            flow,
            head: b"",
            tag: ToTag::default(),
            state: match is(Served::Accepted) {
                true => transaction::State::Accepted,
                false => transaction::State::Completed,
            },
            stored: &stored,
        };
        let (now, user) = (turn.now.time, leg.id.0);
        leg.served = match is(Served::Answered) {
            true => self.layer.restore_request(now, &record, user),
            false => {
                let outbox = &mut turn.output.outbox;
                self.layer.restore_server(now, &record, user, Some(outbox))
            }
        };
        Ok(())
    }

    /// The server transaction of an INVITE that is not answered: what was said last is said again. Of an UPDATE that waits for another
    /// leg's answer, too.
    fn take_serving(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        value: &[u8],
    ) -> Result<(), Error> {
        let (mut head, mut to_tag, mut cseq, mut key, mut flow, mut stored) =
            (Vec::new(), ToTag::default(), 0, None, leg.flow, Vec::new());
        let mut is_invite = true;
        each(value, |tag, value| {
            match tag {
                1 => head = value.to_vec(),
                2 => {
                    let bits = number(value)?;
                    to_tag = ToTag {
                        at: (bits >> 1) as u32,
                        present: bits & 1 == 1,
                    };
                }
                3 => cseq = small(value)?,
                4 => key = value.try_into().ok().map(u128::from_be_bytes),
                5 => flow = read_flow(tag, value)?,
                6 => stored = value.to_vec(),
                7 => is_invite = number(value)? == 0,
                _ => {}
            }
            Ok(())
        })?;
        let key = key.ok_or(Error::Missing { tag: 4 })?;
        let record = ServerRecord {
            key,
            flow,
            head: &head,
            tag: to_tag,
            state: match is_invite {
                true => transaction::State::Proceeding,
                false => transaction::State::Trying,
            },
            stored: &stored,
        };
        let (now, user) = (turn.now.time, leg.id.0);
        let server = match is_invite {
            true => {
                let outbox = &mut turn.output.outbox;
                self.layer.restore_server(now, &record, user, Some(outbox))
            }
            false => self.layer.restore_request(now, &record, user),
        };
        leg.served = server;
        leg.serving = server.map(|server| Serving {
            server,
            head,
            to_tag,
            cseq,
            is_invite,
        });
        Ok(())
    }

    /// The client transaction of our INVITE.
    fn take_calling(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        value: &[u8],
    ) -> Result<(), Error> {
        let (mut cseq, mut branch, mut flow, mut request, mut is_heard) =
            (0, 0, leg.flow, Vec::new(), false);
        let (mut why, mut other) = (0, LegId(0));
        each(value, |tag, value| {
            match tag {
                1 => cseq = small(value)?,
                2 => branch = number(value)?,
                3 => flow = read_flow(tag, value)?,
                4 => request = value.to_vec(),
                5 => is_heard = number(value)? == 1,
                6 => why = number(value)?,
                7 => other = LegId(number(value)?),
                _ => {}
            }
            Ok(())
        })?;
        let why = match why {
            0 => Why::Call,
            1 => Why::Own,
            2 => Why::Refresh,
            3 => Why::PassOn { other },
            why => Why::Direct {
                other,
                back: why == 5,
            },
        };
        let state = if is_heard {
            transaction::State::Proceeding
        } else {
            transaction::State::Calling
        };
        let record = ClientRecord {
            branch,
            flow,
            request: &request,
            state,
            is_cancelled: false,
        };
        let purpose = Purpose::Invite {
            leg: leg.id,
            cseq,
            flow,
            acks: Vec::new(),
            orphan: None,
        };
        let user = self.purposes.insert(purpose);
        match self.layer.restore_client(
            turn.now.time,
            &record,
            user.to_bits(),
            Some(&mut turn.output.outbox),
        ) {
            Some(client) => {
                leg.calling = Some(Calling { client, cseq, why });
            }
            None => {
                self.purposes.remove(user);
            }
        }
        Ok(())
    }

    /// The RTP stream goes on with its number and its port.
    fn take_end(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, end: EndRecord) {
        let Some(port) = self.resting.take_port(leg.id) else {
            // The next step offers another port.
            leg.session.is_unsure |= leg.session.path == Path::Own;
            return;
        };
        let id = end.id;
        leg.ears.end = Some(End {
            id,
            port,
            stream: end.stream,
            is_described: false,
            learned: end.learned,
            connected: None,
        });
        self.ends.insert(id, leg.id);
        turn.output.voice.push(Voiced {
            thread: port.thread,
            command: Command::Open {
                end: id,
                port: port.port,
                stream: end.stream,
            },
        });
        if let Some(play) = leg.ears.play.as_mut() {
            let heard_ms = play
                .began_unix_ms
                .map_or(0, |began| turn.now.unix_ms.saturating_sub(began));
            play.from_ms = play
                .from_ms
                .saturating_add(u32::try_from(heard_ms).unwrap_or(u32::MAX));
        }
        if let Some(taking) = leg.ears.taking.as_mut() {
            let taken_ms = taking
                .began_unix_ms
                .map_or(0, |began| turn.now.unix_ms.saturating_sub(began));
            taking.from_ms = taking
                .from_ms
                .saturating_add(u32::try_from(taken_ms).unwrap_or(u32::MAX));
        }
        if end.was_described {
            let by_peer = leg.session.by_peer;
            self.describe(turn, leg, by_peer);
        }
    }

    pub(super) fn take_watcher(
        &mut self,
        turn: &mut Turn<'_>,
        tag: u64,
        value: &[u8],
    ) -> Result<(), Error> {
        let watcher = read_watcher(turn.now, value)?;
        if watcher.told != (0, 0) {
            // What is there is asked for when somebody subscribes; a refresh is told this.
            let mailboxes = &mut self.watch.mailboxes;
            mailboxes.insert(watcher.user.clone(), watcher.told);
        }
        self.by_tag.insert(tag, Owner::Subscription);
        self.watch.restore(tag, watcher);
        self.notify_restored(turn, tag);
        Ok(())
    }
}
