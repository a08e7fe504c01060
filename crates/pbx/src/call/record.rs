//! What of calls is written down, and how another node goes on with it.

use std::net::SocketAddr;

use dialog::reliable::{Receiver, Sender};
use dialog::subscription::Subscription;
use dialog::{Dialog, offer, session};
use records::tlv::{self, Fields};
use records::{Error, Op};
use sip::build::ToTag;
use transaction::layer::{ClientRecord, ServerRecord};
use transaction::{Flow, Time, Transport};
use voice::{Command, EndId, Stream};

use crate::call::Calls;
use crate::call::calls::Owner;
use crate::call::leg::{
    Abilities, Calling, End, Fork, Leg, Path, Play, Repeating, Serving, Taking, Timer, Told,
    Transfer, Why,
};
use crate::call::reply::Purpose;
use crate::call::state::State;
use crate::call::watch::{Package, Watcher};
use crate::control::{Ids, LegId, Now, PlayId, RecordingId, RoomId, Sound};
use crate::output::Voiced;
use crate::pbx::Turn;
use crate::session::Peer;

/// A leg, by its number.
pub(crate) const LEG: u16 = 1;
/// A subscription, by its tag.
pub(crate) const SUBSCRIPTION: u16 = 2;

fn number(value: &[u8]) -> Result<u64, Error> {
    tlv::number(value)
}

fn small(value: &[u8]) -> Result<u32, Error> {
    Ok(u32::try_from(number(value)?).unwrap_or(u32::MAX))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Appends a field of fields.
fn nested(tag: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    tlv::write_bytes(tag, &inner, out);
}

/// Each field of a value.
fn each(value: &[u8], mut then: impl FnMut(u64, &[u8]) -> Result<(), Error>) -> Result<(), Error> {
    let mut fields = Fields::new(value);
    while let Some((tag, value)) = fields.field()? {
        then(tag, value)?;
    }
    Ok(())
}

fn write_flow(tag: u64, flow: Flow, out: &mut Vec<u8>) {
    let transport = if flow.transport == Transport::Udp {
        'u'
    } else {
        't'
    };
    tlv::write_bytes(
        tag,
        format!("{transport} {} {}", flow.remote, flow.local).as_bytes(),
        out,
    );
}

fn read_flow(tag: u64, value: &[u8]) -> Result<Flow, Error> {
    let wrong = Error::Field { tag };
    let text = std::str::from_utf8(value).map_err(|_| wrong)?;
    let mut words = text.split(' ');
    let transport = match words.next() {
        Some("u") => Transport::Udp,
        Some("t") => Transport::Tcp,
        _ => return Err(wrong),
    };
    let mut address = || words.next().and_then(|word| word.parse().ok()).ok_or(wrong);
    Ok(Flow {
        transport,
        remote: address()?,
        local: address()?,
    })
}

/// Clocks differ from node to node: deadlines are written in milliseconds since 1970.
fn unix_ms(now: Now, time: Time) -> u64 {
    now.unix_ms.saturating_add(time.ms_since(now.time))
}

fn time(now: Now, unix_ms: u64) -> Time {
    now.time.plus_ms(unix_ms.saturating_sub(now.unix_ms))
}

impl Calls {
    /// Writes the records of what changed since the last input.
    pub(crate) fn write_changes(&mut self, turn: &mut Turn<'_>) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for id in changed.drain(..) {
            let Some(leg) = self.legs.get(&id).filter(|leg| leg.is_changed) else {
                continue;
            };
            // What is too large is a leg that another node could not go on with: the record before stands.
            let _ = turn.output.changes.put(LEG, &id.0.to_be_bytes(), |out| {
                self.write_leg(turn.now, leg, out)
            });
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.is_changed = false;
            }
        }
        self.changed = changed;
        for id in self.forgotten.drain(..) {
            let _ = turn.output.changes.remove(LEG, &id.0.to_be_bytes());
        }
        let mut watched = std::mem::take(&mut self.watch.changed);
        for tag in watched.drain(..) {
            let key = tag.to_be_bytes();
            let _ = match self.watch.watchers.get(&tag) {
                Some(watcher) => turn.output.changes.put(SUBSCRIPTION, &key, |out| {
                    write_watcher(turn.now, watcher, out)
                }),
                None => turn.output.changes.remove(SUBSCRIPTION, &key),
            };
        }
        self.watch.changed = watched;
    }

    fn write_leg(&self, now: Now, leg: &Leg, out: &mut Vec<u8>) {
        let session = &leg.session;
        nested(1, out, |out| leg.dialog.write_record(out));
        tlv::write_number(2, leg.state as u64, out);
        let flags = [
            leg.is_incoming,
            leg.was_answered,
            leg.is_holding,
            leg.has_failed,
            session.has_remote,
            session.is_previewed,
            leg.ears.is_echo,
            leg.ears.in_band,
        ];
        tlv::write_number(
            3,
            flags
                .iter()
                .rev()
                .fold(0, |bits, &flag| bits << 1 | u64::from(flag)),
            out,
        );
        write_flow(4, leg.flow, out);
        tlv::write_number(5, leg.tag, out);
        for (tag, part) in [
            (6, &leg.party.user),
            (7, &leg.party.host),
            (8, &leg.party.display),
        ] {
            tlv::write_bytes(tag, part.as_bytes(), out);
        }
        tlv::write_number(9, leg.began_unix_ms, out);
        let can = leg.abilities;
        tlv::write_number(
            10,
            u64::from(can.reliable)
                | u64::from(can.requires_reliable) << 1
                | u64::from(can.update) << 2,
            out,
        );
        if let Some(serving) = &leg.serving {
            nested(11, out, |out| self.write_serving(serving, out));
        }
        if let Some(calling) = leg.calling.filter(|calling| calling.why == Why::Call) {
            nested(12, out, |out| self.write_calling(calling, out));
        }
        if let Some(repeating) = &leg.repeating {
            tlv::write_bytes(13, &repeating.bytes, out);
            tlv::write_number(14, u64::from(repeating.cseq), out);
        }
        tlv::write_number(15, u64::from(leg.invite_cseq), out);
        tlv::write_number(16, u64::from(leg.max_forwards), out);
        // An offer of ours that changes the session is made again, if it is still wanted.
        let offers = if session.offers == offer::State::Sent {
            offer::State::Stable
        } else {
            session.offers
        };
        for (tag, value) in [
            (17, offers.number()),
            (18, session.origin.0),
            (19, session.origin.1),
            (22, session.path as u64),
            (23, session.offered as u64),
            (26, leg.wants as u64),
            (27, leg.told as u64),
        ] {
            tlv::write_number(tag, value, out);
        }
        tlv::write_bytes(20, &session.local, out);
        tlv::write_bytes(21, &session.remote, out);
        if let Some(timer) = leg.timer {
            nested(25, out, |out| {
                tlv::write_number(1, u64::from(timer.expires_s), out);
                tlv::write_number(2, u64::from(timer.we_refresh), out);
                tlv::write_number(3, unix_ms(now, timer.deadline), out);
            });
        }
        for (tag, other) in [(28, leg.peer), (29, leg.offered_for)] {
            if let Some(other) = other {
                tlv::write_number(tag, other.0, out);
            }
        }
        write_ears(leg, out);
        if let Some(transfer) = &leg.transfer {
            tlv::write_number(
                36,
                u64::from(transfer.id) << 1 | u64::from(transfer.is_told),
                out,
            );
        }
        tlv::write_bytes(37, &leg.invite_extra, out);
        if let Some(sender) = &leg.reliable {
            tlv::write_number(38, u64::from(sender.last()), out);
        }
        tlv::write_number(39, leg.caller_key, out);
        for fork in &leg.forks {
            nested(40, out, |out| {
                tlv::write_number(1, u64::from(fork.received.last()), out);
                nested(2, out, |out| fork.dialog.write_record(out));
            });
        }
    }

    fn write_serving(&self, serving: &Serving, out: &mut Vec<u8>) {
        tlv::write_bytes(1, &serving.head, out);
        tlv::write_number(
            2,
            u64::from(serving.to_tag.at) << 1 | u64::from(serving.to_tag.present),
            out,
        );
        tlv::write_number(3, u64::from(serving.cseq), out);
        let Some(record) = self.layer.server_record(serving.server) else {
            return;
        };
        tlv::write_bytes(4, &record.key.to_be_bytes(), out);
        write_flow(5, record.flow, out);
        tlv::write_bytes(6, record.stored, out);
    }

    fn write_calling(&self, calling: Calling, out: &mut Vec<u8>) {
        tlv::write_number(1, u64::from(calling.cseq), out);
        let Some(record) = self.layer.client_record(calling.client) else {
            return;
        };
        tlv::write_number(2, record.branch, out);
        write_flow(3, record.flow, out);
        tlv::write_bytes(4, record.request, out);
        tlv::write_number(
            5,
            u64::from(record.state == transaction::State::Proceeding),
            out,
        );
    }

    /// Takes in a record, which rests until the office is taken.
    pub(crate) fn rest(&mut self, op: Op<'_>) {
        let Ok(key) = op.key.try_into().map(u64::from_be_bytes) else {
            return;
        };
        match op.value {
            Some(value) => {
                self.resting.insert((op.kind, key), value.to_vec());
            }
            None => {
                self.resting.remove(&(op.kind, key));
            }
        }
    }

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
        self.resting.clear();
        self.incoming = 0;
    }

    /// Makes what rested live.
    pub(crate) fn take_office(&mut self, turn: &mut Turn<'_>, epoch: u64) {
        self.ids = Ids::of_epoch(epoch);
        self.layer.set_epoch(epoch);
        let mut resting: Vec<_> = std::mem::take(&mut self.resting).into_iter().collect();
        resting.sort_unstable_by_key(|(key, _)| *key);
        for ((kind, key), value) in resting {
            let is_read = match kind {
                LEG => self.take_leg(turn, LegId(key), &value),
                SUBSCRIPTION => self.take_watcher(turn.now, key, &value),
                _ => Ok(()),
            };
            if is_read.is_err() {
                self.counts.unreadable += 1;
            }
        }
        // Legs whose other leg did not come along are on their own.
        let lonely: Vec<LegId> = self
            .legs
            .values()
            .filter(|leg| leg.peer.is_some_and(|peer| !self.legs.contains_key(&peer)))
            .map(|leg| leg.id)
            .collect();
        for id in lonely {
            self.with(id, |_, leg| leg.peer = None);
        }
    }

    fn take_leg(&mut self, turn: &mut Turn<'_>, id: LegId, value: &[u8]) -> Result<(), Error> {
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
            return Ok(());
        }
        if let Some(serving) = &later.serving {
            self.take_serving(turn, &mut leg, serving)?;
        }
        if let Some(calling) = &later.calling {
            self.take_calling(turn, &mut leg, calling)?;
        }
        let now = turn.now.time;
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
        if leg.is_incoming && matches!(leg.state, State::Invited | State::Answered) {
            self.by_caller.insert(leg.caller_key, id);
        }
        if let Some(taking) = &leg.ears.taking {
            self.recordings.insert(taking.recording, id);
        }
        if let Some(end) = later.end {
            self.take_end(turn, &mut leg, end);
        }
        self.insert(leg);
        Ok(())
    }

    /// The server transaction of an INVITE that is not answered: what was said last is said again.
    fn take_serving(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        value: &[u8],
    ) -> Result<(), Error> {
        let (mut head, mut to_tag, mut cseq, mut key, mut flow, mut stored) =
            (Vec::new(), ToTag::default(), 0, None, leg.flow, Vec::new());
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
            state: transaction::State::Proceeding,
            stored: &stored,
        };
        let server = self.layer.restore_server(
            turn.now.time,
            &record,
            leg.id.0,
            Some(&mut turn.output.outbox),
        );
        leg.serving = server.map(|server| Serving {
            server,
            head,
            to_tag,
            cseq,
            is_invite: true,
        });
        Ok(())
    }

    /// The client transaction of our first INVITE.
    fn take_calling(
        &mut self,
        turn: &mut Turn<'_>,
        leg: &mut Leg,
        value: &[u8],
    ) -> Result<(), Error> {
        let (mut cseq, mut branch, mut flow, mut request, mut is_heard) =
            (0, 0, leg.flow, Vec::new(), false);
        each(value, |tag, value| {
            match tag {
                1 => cseq = small(value)?,
                2 => branch = number(value)?,
                3 => flow = read_flow(tag, value)?,
                4 => request = value.to_vec(),
                5 => is_heard = number(value)? == 1,
                _ => {}
            }
            Ok(())
        })?;
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
                leg.calling = Some(Calling {
                    client,
                    cseq,
                    why: Why::Call,
                })
            }
            None => {
                self.purposes.remove(user);
            }
        }
        Ok(())
    }

    /// The RTP stream goes on with its number and its port.
    fn take_end(&mut self, turn: &mut Turn<'_>, leg: &mut Leg, end: EndRecord) {
        let port = turn.around.take_port_at(end.address);
        let Some(port) = port else {
            // The next step offers another port.
            leg.session.path = if leg.session.path == Path::Own {
                Path::Direct
            } else {
                leg.session.path
            };
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
            let by_peer = !leg.is_incoming;
            self.describe(turn, leg, by_peer);
        }
    }

    fn take_watcher(&mut self, now: Now, tag: u64, value: &[u8]) -> Result<(), Error> {
        let watcher = read_watcher(now, value)?;
        self.by_tag.insert(tag, Owner::Subscription);
        self.watch.insert(tag, watcher);
        Ok(())
    }
}

/// What of a leg's end is written down.
#[derive(Debug, Clone, Copy)]
struct EndRecord {
    id: EndId,
    address: SocketAddr,
    stream: Stream,
    learned: Option<SocketAddr>,
    was_described: bool,
}

/// What can be made live only when all of the leg is read.
#[derive(Debug, Default)]
struct Later {
    serving: Option<Vec<u8>>,
    calling: Option<Vec<u8>>,
    end: Option<EndRecord>,
}

fn write_ears(leg: &Leg, out: &mut Vec<u8>) {
    let ears = &leg.ears;
    if let Some(end) = ears.end {
        nested(30, out, |out| {
            tlv::write_number(1, end.id.0, out);
            tlv::write_bytes(2, end.port.address.to_string().as_bytes(), out);
            tlv::write_number(3, u64::from(end.stream.ssrc), out);
            tlv::write_number(4, u64::from(end.stream.first_sequence), out);
            tlv::write_number(5, u64::from(end.stream.first_timestamp), out);
            tlv::write_number(6, end.stream.started_at.as_micros(), out);
            if let Some(learned) = end.learned {
                tlv::write_bytes(7, learned.to_string().as_bytes(), out);
            }
            tlv::write_number(8, u64::from(end.is_described), out);
        });
    }
    if let Some(play) = &ears.play {
        nested(31, out, |out| {
            tlv::write_number(1, play.play.0, out);
            tlv::write_number(2, u64::from(play.from_ms), out);
            tlv::write_number(
                3,
                u64::from(play.repeat) | u64::from(play.barge_in) << 1,
                out,
            );
            if let Some(began) = play.began_unix_ms {
                tlv::write_number(4, began, out);
            }
            for sound in &play.sounds {
                nested(5, out, |out| write_sound(sound, out));
            }
        });
    }
    if let Some(taking) = &ears.taking {
        nested(32, out, |out| {
            tlv::write_number(1, taking.recording.0, out);
            tlv::write_bytes(2, taking.path.as_bytes(), out);
            tlv::write_number(
                3,
                u64::from(taking.both) | u64::from(taking.key_ends) << 1,
                out,
            );
            tlv::write_number(4, u64::from(taking.max_ms), out);
            tlv::write_number(5, u64::from(taking.silence_ms), out);
            tlv::write_number(6, u64::from(taking.from_ms), out);
            if let Some(began) = taking.began_unix_ms {
                tlv::write_number(7, began, out);
            }
        });
    }
    if let Some((room, muted)) = ears.room {
        nested(33, out, |out| {
            tlv::write_number(1, room.0, out);
            tlv::write_number(2, u64::from(muted), out);
        });
    }
}

fn write_sound(sound: &Sound, out: &mut Vec<u8>) {
    match sound {
        Sound::Prompt(name) => tlv::write_bytes(1, name.as_bytes(), out),
        Sound::Number(number) => tlv::write_number(2, *number, out),
        Sound::Digits(digits) => tlv::write_bytes(3, digits.as_bytes(), out),
        Sound::Tone(name) => tlv::write_bytes(4, name.as_bytes(), out),
        Sound::File(path) => tlv::write_bytes(5, path.as_bytes(), out),
        Sound::Music(class) => tlv::write_bytes(6, class.as_bytes(), out),
        Sound::Silence(ms) => tlv::write_number(7, u64::from(*ms), out),
    }
}

fn read_sound(tag: u64, value: &[u8]) -> Result<Option<Sound>, Error> {
    Ok(Some(match tag {
        1 => Sound::Prompt(text(value)),
        2 => Sound::Number(number(value)?),
        3 => Sound::Digits(text(value)),
        4 => Sound::Tone(text(value)),
        5 => Sound::File(text(value)),
        6 => Sound::Music(text(value)),
        7 => Sound::Silence(small(value)?),
        _ => return Ok(None),
    }))
}

fn path_of(number: u64) -> Path {
    match number {
        1 => Path::Own,
        2 => Path::Direct,
        _ => Path::None,
    }
}

fn told_of(number: u64) -> Told {
    [Told::Trying, Told::Ringing, Told::Progress, Told::Answer]
        .get(number as usize)
        .copied()
        .unwrap_or_default()
}

fn read_leg(
    now: Now,
    leg: &mut Leg,
    later: &mut Later,
    tag: u64,
    value: &[u8],
) -> Result<(), Error> {
    let session = &mut leg.session;
    match tag {
        1 => leg.dialog = Dialog::read_record(value).map_err(|_| Error::Field { tag })?,
        2 => leg.state = State::of_number(number(value)?).ok_or(Error::Field { tag })?,
        3 => {
            let bits = number(value)?;
            let flags = [
                &mut leg.is_incoming,
                &mut leg.was_answered,
                &mut leg.is_holding,
                &mut leg.has_failed,
                &mut session.has_remote,
                &mut session.is_previewed,
                &mut leg.ears.is_echo,
                &mut leg.ears.in_band,
            ];
            for (at, flag) in flags.into_iter().enumerate() {
                *flag = bits >> at & 1 == 1;
            }
        }
        4 => leg.flow = read_flow(tag, value)?,
        5 => leg.tag = number(value)?,
        6 => leg.party.user = text(value),
        7 => leg.party.host = text(value),
        8 => leg.party.display = text(value),
        9 => leg.began_unix_ms = number(value)?,
        10 => {
            let bits = number(value)?;
            leg.abilities = Abilities {
                reliable: bits & 1 != 0,
                requires_reliable: bits & 2 != 0,
                update: bits & 4 != 0,
            };
        }
        11 => later.serving = Some(value.to_vec()),
        12 => later.calling = Some(value.to_vec()),
        13 => leg.repeating.get_or_insert_default().bytes = value.to_vec(),
        14 => leg.repeating.get_or_insert_with(Repeating::default).cseq = small(value)?,
        15 => leg.invite_cseq = small(value)?,
        16 => leg.max_forwards = small(value)?,
        17 => {
            session.offers = offer::State::of_number(number(value)?).ok_or(Error::Field { tag })?
        }
        18 => session.origin.0 = number(value)?,
        19 => session.origin.1 = number(value)?,
        20 => session.local = value.to_vec(),
        21 => session.remote = value.to_vec(),
        22 => session.path = path_of(number(value)?),
        23 => session.offered = path_of(number(value)?),
        25 => leg.timer = Some(read_timer(now, value)?),
        26 => leg.wants = told_of(number(value)?),
        27 => leg.told = told_of(number(value)?),
        28 => leg.peer = Some(LegId(number(value)?)),
        29 => leg.offered_for = Some(LegId(number(value)?)),
        30 => later.end = Some(read_end(value)?),
        31 => leg.ears.play = Some(read_play(value)?),
        32 => leg.ears.taking = Some(read_taking(value)?),
        33 => {
            let mut room = (RoomId(0), false);
            each(value, |tag, value| {
                match tag {
                    1 => room.0 = RoomId(number(value)?),
                    2 => room.1 = number(value)? == 1,
                    _ => {}
                }
                Ok(())
            })?;
            leg.ears.room = Some(room);
        }
        36 => {
            let bits = number(value)?;
            leg.transfer = Some(Transfer {
                id: (bits >> 1) as u32,
                is_told: bits & 1 == 1,
            });
        }
        37 => leg.invite_extra = value.to_vec(),
        38 => leg.reliable = Some(Sender::new(number(value)?)),
        39 => leg.caller_key = number(value)?,
        40 => {
            let (mut last, mut dialog) = (0, None);
            each(value, |tag, value| {
                match tag {
                    1 => last = small(value)?,
                    2 => dialog = Dialog::read_record(value).ok(),
                    _ => {}
                }
                Ok(())
            })?;
            let dialog = dialog.ok_or(Error::Missing { tag: 2 })?;
            if leg.forks.len() < crate::call::leg::FORKS_MAX {
                leg.forks.push(Fork {
                    dialog,
                    received: Receiver::after(last),
                });
            }
        }
        _ => {}
    }
    Ok(())
}

fn read_timer(now: Now, value: &[u8]) -> Result<session::Session, Error> {
    let (mut expires_s, mut we_refresh, mut deadline) = (session::MIN_SE_S, true, now.time);
    each(value, |tag, value| {
        match tag {
            1 => expires_s = small(value)?,
            2 => we_refresh = number(value)? == 1,
            3 => deadline = time(now, number(value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(session::Session {
        deadline,
        ..session::Session::begin(now.time, expires_s, we_refresh)
    })
}

fn read_end(value: &[u8]) -> Result<EndRecord, Error> {
    let address = |tag, value: &[u8]| {
        std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Error::Field { tag })
    };
    let mut stream = Stream {
        ssrc: 0,
        first_sequence: 0,
        first_timestamp: 0,
        started_at: voice::Time::ZERO,
    };
    let (mut id, mut place, mut learned, mut was_described) = (None, None, None, false);
    each(value, |tag, value| {
        match tag {
            1 => id = Some(EndId(number(value)?)),
            2 => place = Some(address(tag, value)?),
            3 => stream.ssrc = small(value)?,
            4 => stream.first_sequence = number(value)? as u16,
            5 => stream.first_timestamp = small(value)?,
            6 => stream.started_at = voice::Time::from_micros(number(value)?),
            7 => learned = Some(address(tag, value)?),
            8 => was_described = number(value)? == 1,
            _ => {}
        }
        Ok(())
    })?;
    Ok(EndRecord {
        id: id.ok_or(Error::Missing { tag: 1 })?,
        address: place.ok_or(Error::Missing { tag: 2 })?,
        stream,
        learned,
        was_described,
    })
}

fn read_play(value: &[u8]) -> Result<Play, Error> {
    let mut play = Play {
        play: PlayId(0),
        sounds: Vec::new(),
        from_ms: 0,
        repeat: false,
        barge_in: false,
        began_unix_ms: None,
    };
    each(value, |tag, value| {
        match tag {
            1 => play.play = PlayId(number(value)?),
            2 => play.from_ms = small(value)?,
            3 => {
                let bits = number(value)?;
                (play.repeat, play.barge_in) = (bits & 1 != 0, bits & 2 != 0);
            }
            4 => play.began_unix_ms = Some(number(value)?),
            5 => each(value, |tag, value| {
                play.sounds.extend(read_sound(tag, value)?);
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(play)
}

fn read_taking(value: &[u8]) -> Result<Taking, Error> {
    let mut taking = Taking {
        recording: RecordingId(0),
        path: String::new(),
        both: false,
        max_ms: 0,
        silence_ms: 0,
        key_ends: false,
        beep: false,
        from_ms: 0,
        began_unix_ms: None,
    };
    each(value, |tag, value| {
        match tag {
            1 => taking.recording = RecordingId(number(value)?),
            2 => taking.path = text(value),
            3 => {
                let bits = number(value)?;
                (taking.both, taking.key_ends) = (bits & 1 != 0, bits & 2 != 0);
            }
            4 => taking.max_ms = small(value)?,
            5 => taking.silence_ms = small(value)?,
            6 => taking.from_ms = small(value)?,
            7 => taking.began_unix_ms = Some(number(value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(taking)
}

fn write_watcher(now: Now, watcher: &Watcher, out: &mut Vec<u8>) {
    nested(1, out, |out| watcher.dialog.write_record(out));
    write_flow(2, watcher.flow, out);
    tlv::write_bytes(3, watcher.package.name().as_bytes(), out);
    tlv::write_bytes(4, &watcher.event_id, out);
    tlv::write_bytes(5, watcher.user.as_bytes(), out);
    tlv::write_number(6, unix_ms(now, watcher.subscription.expires_at), out);
    tlv::write_number(7, u64::from(watcher.subscription.version), out);
}

fn read_watcher(now: Now, value: &[u8]) -> Result<Watcher, Error> {
    let (mut dialog, mut flow, mut package, mut event_id, mut user) =
        (None, None, None, Box::default(), String::new());
    let mut subscription = Subscription::grant(now.time, 0);
    each(value, |tag, value| {
        match tag {
            1 => dialog = Dialog::read_record(value).ok(),
            2 => flow = Some(read_flow(tag, value)?),
            3 => package = Package::parse(value),
            4 => event_id = value.into(),
            5 => user = text(value),
            6 => subscription.expires_at = time(now, number(value)?),
            7 => subscription.version = small(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Watcher {
        dialog: dialog.ok_or(Error::Missing { tag: 1 })?,
        flow: flow.ok_or(Error::Missing { tag: 2 })?,
        package: package.ok_or(Error::Missing { tag: 3 })?,
        event_id,
        user,
        subscription,
    })
}
