//! All ends of one thread.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rtp::{Class, Packet};

use crate::ear::{Heard, News};
use crate::end::{End, Source};
use crate::event::{Ending, Event};
use crate::frame::Frame;
use crate::mouth::{SLOT_US, SLOTS, Say};
use crate::report::{Reason, Report, Totals};
use crate::room::Room;
use crate::settings::Settings;
use crate::types::{Codec, EndId, PortId, RecordId, RoomId, Time};
use slab::Slab;

/// The longest packet that is looked at: the longest payload with every header extension that is of use.
const PACKET_BYTES_MAX: usize = 1_500;
/// [`Event::Digit`], [`Event::Talking`], [`Event::Learned`] and [`Event::Hungry`] are left out while so many events wait. The others are as many
/// as commands, or one a second and recording.
const EVENTS_MAX: usize = 65_536;
/// After a longer absence of the thread what was due before is left out: five frames.
const CATCH_UP_SLOTS_MAX: u64 = 5 * SLOTS as u64;
/// No end has the socket.
pub(crate) const NONE: u32 = u32::MAX;

/// What a recording is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    End(u32),
    Room(u32),
}

/// The last report of a stream that is over.
#[derive(Debug)]
pub(crate) struct Farewell {
    pub(crate) socket: u32,
    pub(crate) destination: SocketAddr,
    pub(crate) packet: Vec<u8>,
}

/// What an end is about to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    Frame,
    Payload,
    Lost,
}

/// Room for what is under way from one end to another.
#[derive(Debug)]
struct Scratch {
    packet: Vec<u8>,
    payload: Vec<u8>,
    frame: Frame,
}

/// All media of one thread.
#[derive(Debug)]
pub struct Voice {
    pub(crate) settings: Settings,
    pub(crate) ends: Slab<Box<End>>,
    pub(crate) by_id: BTreeMap<EndId, u32>,
    /// The end of each socket.
    pub(crate) by_socket: Vec<u32>,
    pub(crate) rooms: Slab<Box<Room>>,
    pub(crate) rooms_by_id: BTreeMap<RoomId, u32>,
    pub(crate) records: BTreeMap<RecordId, Recorded>,
    /// Who is listened to, who speaks and which conferences are mixed, by slot of the frame.
    pub(crate) hear: [Vec<u32>; SLOTS],
    pub(crate) speak: [Vec<u32>; SLOTS],
    pub(crate) mixes: [Vec<u32>; SLOTS],
    /// The last slot that was done, since the start of 1970.
    pub(crate) done: u64,
    pub(crate) farewells: Vec<Farewell>,
    pub(crate) totals: Totals,
    pub(crate) events: Vec<Event>,
    pub(crate) freed: Vec<PortId>,
    scratch: Scratch,
}

impl Voice {
    /// No ends, on so many sockets.
    pub fn new(settings: Settings, sockets: u32) -> Voice {
        Voice {
            settings,
            ends: Slab::with_capacity(sockets as usize / 2),
            by_id: BTreeMap::new(),
            by_socket: vec![NONE; sockets as usize],
            rooms: Slab::with_capacity(0),
            rooms_by_id: BTreeMap::new(),
            records: BTreeMap::new(),
            hear: Default::default(),
            speak: Default::default(),
            mixes: Default::default(),
            done: 0,
            farewells: Vec::new(),
            totals: Totals::default(),
            events: Vec::new(),
            freed: Vec::new(),
            scratch: Scratch {
                packet: Vec::with_capacity(PACKET_BYTES_MAX),
                payload: Vec::with_capacity(PACKET_BYTES_MAX),
                frame: Frame::silent(audio::SampleRate::Hz16000),
            },
        }
    }

    /// Takes a packet that came to one of the sockets.
    pub fn receive(&mut self, now: Time, socket: u32, source: SocketAddr, packet: &[u8]) {
        let index = self.by_socket.get(socket as usize).copied();
        let index = index.unwrap_or(NONE);
        if let Err(reason) = self.receive_at(now, index, socket, source, packet) {
            self.totals.dropped[reason as usize] += 1;
            if let Some(end) = self.ends.get_mut(index as usize) {
                end.drop_packet(reason);
            }
            return;
        }
        self.totals.packets_received += 1;
    }

    fn receive_at(
        &mut self,
        now: Time,
        index: u32,
        socket: u32,
        source: SocketAddr,
        packet: &[u8],
    ) -> Result<(), Reason> {
        let end = self.ends.get_mut(index as usize).ok_or(Reason::NoEnd)?;
        if packet.len() > PACKET_BYTES_MAX {
            return Err(Reason::Huge);
        }
        let is_rtp_socket = socket == end.port.0;
        match rtp::classify(packet) {
            Class::Rtcp => return end.receive_rtcp(now, source, packet),
            Class::Rtp if is_rtp_socket => {}
            Class::Short => return Err(Reason::Short),
            _ => return Err(Reason::NotRtp),
        }
        let packet = Packet::parse(packet).map_err(|_| Reason::NotRtp)?;
        let is_new = end.admit(now, source, &packet)?;
        if is_new {
            let event = Event::Learned {
                end: end.id,
                source,
            };
            push_bounded(&mut self.events, &mut self.totals, event);
        }
        if !end.direction.receives() {
            return Err(Reason::Held);
        }
        let halves = end.halves.as_mut().ok_or(Reason::NotDescribed)?;
        let news = halves.ear.receive(now, &packet)?;
        end.is_silent = false;
        self.note(index, &news);
        Ok(())
    }

    /// Does all that is due until `now`; `send(socket, destination, packet)` is called for each packet that leaves.
    pub fn tick(&mut self, now: Time, mut send: impl FnMut(u32, SocketAddr, &[u8])) {
        for farewell in self.farewells.drain(..) {
            send(farewell.socket, farewell.destination, &farewell.packet);
            self.totals.packets_sent += 1;
        }
        let target = now.as_micros() / SLOT_US;
        if self.by_id.is_empty() {
            self.done = self.done.max(target);
            return;
        }
        let behind = target.saturating_sub(self.done);
        if behind > CATCH_UP_SLOTS_MAX {
            let skipped = behind - CATCH_UP_SLOTS_MAX;
            self.totals.frames_skipped += skipped * self.by_id.len() as u64 / SLOTS as u64;
            self.done += skipped;
        }
        while self.done < target {
            self.done += 1;
            self.slot(now, &mut send);
        }
    }

    /// When [`Voice::tick`] is to be called next.
    pub fn next(&self) -> Option<Time> {
        if !self.farewells.is_empty() {
            return Some(Time::from_micros(self.done * SLOT_US));
        }
        let has_work = |slot: &u64| {
            let at = (slot % SLOTS as u64) as usize;
            !self.hear[at].is_empty() || !self.speak[at].is_empty() || !self.mixes[at].is_empty()
        };
        let next = (self.done + 1..=self.done + SLOTS as u64).find(has_work)?;
        Some(Time::from_micros(next * SLOT_US))
    }

    /// What the controller is to be told, to be drained.
    pub fn events(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// Ports that belong to no end any more, to be drained: each once.
    pub fn freed(&mut self) -> &mut Vec<PortId> {
        &mut self.freed
    }

    /// What has become of an end so far.
    pub fn report(&self, end: EndId) -> Option<Report> {
        let index = *self.by_id.get(&end)?;
        Some(self.ends.get(index as usize)?.report())
    }

    /// Sums over all ends.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Ends at present.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nothing is left of all ends that there were.
    pub fn is_empty(&self) -> bool {
        let lists = self.hear.iter().chain(&self.speak).chain(&self.mixes);
        self.by_id.is_empty()
            && self.ends.len() == 0
            && self.rooms.len() == 0
            && self.rooms_by_id.is_empty()
            && self.records.is_empty()
            && self.farewells.is_empty()
            && self.by_socket.iter().all(|end| *end == NONE)
            && lists.into_iter().all(Vec::is_empty)
    }

    /// Does what is due in a slot: listens, mixes, speaks.
    fn slot(&mut self, now: Time, send: &mut impl FnMut(u32, SocketAddr, &[u8])) {
        let at = (self.done % SLOTS as u64) as usize;
        let due = Time::from_micros(self.done * SLOT_US);
        for n in 0..self.hear[at].len() {
            self.hear(self.hear[at][n], due);
        }
        for n in 0..self.mixes[at].len() {
            self.mix(self.mixes[at][n]);
        }
        for n in 0..self.speak[at].len() {
            self.say(self.speak[at][n], due, now, send);
        }
    }

    /// Takes the next frame of what came to an end.
    fn hear(&mut self, index: u32, due: Time) {
        let raw = self.passing_codec(index);
        let Some(end) = self.ends.get_mut(index as usize) else {
            return;
        };
        if end.falls_silent(due, &self.settings) {
            self.events.push(Event::Silent { end: end.id });
        }
        let Some(halves) = &mut end.halves else {
            return;
        };
        let ear = &mut halves.ear;
        let news = match end.direction.receives() {
            true => ear.hear(due, raw),
            false => {
                ear.heard = Heard::Nothing;
                let rate = ear.rate();
                ear.frame.clear(rate);
                News::default()
            }
        };
        let ending = match &mut end.recorder {
            Some(recorder) => recorder.add(&ear.frame, Some(&end.said), &mut self.events),
            None => None,
        };
        if let Some(reason) = ending {
            self.end_recording(index, reason);
        }
        self.note(index, &news);
    }

    /// The codec in which what an end hears may pass undecoded to the other: both are connected, and nothing else is to be heard or listened to.
    fn passing_codec(&self, index: u32) -> Option<Codec> {
        let end = self.ends.get(index as usize)?;
        let Source::Peer(peer) = end.source else {
            return None;
        };
        if !end.gives_payloads() {
            return None;
        }
        self.ends.get(peer as usize)?.takes_payloads()
    }

    /// Tells of keys, passes them on, and ends what they end.
    fn note(&mut self, index: u32, news: &News) {
        let Some(end) = self.ends.get_mut(index as usize) else {
            return;
        };
        let (id, source) = (end.id, end.source);
        if news.is_down && end.player.as_ref().is_some_and(|player| player.barge_in) {
            self.stop_play(index);
        }
        for pressed in news.pressed.iter().flatten() {
            self.totals.digits += 1;
            let event = Event::Digit {
                end: id,
                digit: pressed.digit,
                duration_ms: pressed.duration_ms,
                how: pressed.how,
            };
            push_bounded(&mut self.events, &mut self.totals, event);
        }
        let Source::Peer(peer) = source else {
            return;
        };
        let peer = self.ends.get_mut(peer as usize);
        let speaking = peer.filter(|peer| peer.direction.sends());
        let Some(halves) = speaking.and_then(|peer| peer.halves.as_mut()) else {
            return;
        };
        for change in news.changes.iter().flatten() {
            match change {
                audio::event::Change::Begun(event) => halves.mouth.press(*event),
                audio::event::Change::Ended { .. } => halves.mouth.release(),
            }
        }
    }

    /// Sends the next packet of an end, and its report if that is due.
    fn say(
        &mut self,
        index: u32,
        due: Time,
        now: Time,
        send: &mut impl FnMut(u32, SocketAddr, &[u8]),
    ) {
        let mut saying = self.compose(index);
        let Some(end) = self.ends.get_mut(index as usize) else {
            return;
        };
        let scratch = &mut self.scratch;
        let report = end.report_rtcp(due, &self.settings, &mut scratch.packet);
        if let Some((socket, destination)) = report {
            send(socket, destination, &scratch.packet);
            self.totals.packets_sent += 1;
        }
        let is_recorded = end.recorder.as_ref().is_some_and(|it| it.is_both());
        if is_recorded && saying == Saying::Frame {
            end.said.copy_from(&scratch.frame);
        }
        let (Some(halves), Some(destination)) = (&mut end.halves, end.guard.destination()) else {
            return;
        };
        if !end.direction.sends() {
            return;
        }
        if saying == Saying::Payload && scratch.payload.is_empty() {
            saying = Saying::Lost;
        }
        let say = match saying {
            Saying::Frame => Say::Sound(&scratch.frame),
            Saying::Payload => Say::Payload(&scratch.payload),
            Saying::Lost => Say::Lost,
        };
        let said = halves.mouth.speak(self.done, &say, &mut scratch.packet);
        if said.is_some() {
            send(end.port.0, destination, &scratch.packet);
            self.totals.packets_sent += 1;
            self.totals.packets_passed += u64::from(saying == Saying::Payload);
            self.totals.lateness.add(now.micros_since(due), 1);
        }
    }

    /// Puts what an end says next into the scratch.
    fn compose(&mut self, index: u32) -> Saying {
        let Some(end) = self.ends.get_mut(index as usize) else {
            return Saying::Lost;
        };
        let frame = &mut self.scratch.frame;
        let rate = end.said_rate();
        frame.set_rate(rate);
        if let Some(recorder) = &mut end.recorder
            && recorder.beep(frame)
        {
            return Saying::Frame;
        }
        if let Some(player) = &mut end.player {
            let is_over = player.play(frame.sound_mut());
            let (end, play, at_ms) = (end.id, player.play, player.at_ms());
            if is_over {
                self.events.push(Event::Played {
                    end,
                    play,
                    completed: true,
                    at_ms,
                });
                self.clear_player(index);
            } else if player.is_hungry() {
                let event = Event::Hungry { end, play };
                push_bounded(&mut self.events, &mut self.totals, event);
            }
            return Saying::Frame;
        }
        match end.source {
            Source::Nothing => {
                frame.clear(rate);
                Saying::Frame
            }
            Source::Peer(peer) => self.compose_of(peer, rate),
            Source::Echo => self.compose_of(index, rate),
            Source::Room(room) => self.compose_of_room(index, room),
        }
    }

    /// What another end heard.
    fn compose_of(&mut self, peer: u32, rate: audio::SampleRate) -> Saying {
        let scratch = &mut self.scratch;
        let ear = self
            .ends
            .get(peer as usize)
            .and_then(|peer| peer.halves.as_ref());
        let ear = ear.map(|halves| &halves.ear);
        match ear.map(|ear| (ear, ear.heard)) {
            Some((ear, Heard::Sound)) => {
                scratch.frame.copy_from(&ear.frame);
                Saying::Frame
            }
            Some((ear, Heard::Raw)) => {
                scratch.payload.clear();
                scratch.payload.extend_from_slice(&ear.raw);
                Saying::Payload
            }
            Some((_, Heard::Lost)) => Saying::Lost,
            Some((_, Heard::Nothing)) | None => {
                scratch.frame.clear(rate);
                Saying::Frame
            }
        }
    }

    fn compose_of_room(&mut self, index: u32, room: u32) -> Saying {
        let scratch = &mut self.scratch;
        let (Some(end), Some(room)) = (
            self.ends.get(index as usize),
            self.rooms.get_mut(room as usize),
        ) else {
            return Saying::Lost;
        };
        let Some(seat) = &end.seat else {
            return Saying::Lost;
        };
        if seat.is_mixed {
            scratch.frame.copy_from(&seat.hears);
            return Saying::Frame;
        }
        let is_recorded = end.recorder.as_ref().is_some_and(|it| it.is_both());
        let codec = end.halves.as_ref().map(|it| it.mouth.format.codec);
        if let Some(codec) = codec.filter(|_| !is_recorded)
            && let Some(payload) = room.payload(codec, self.settings.opus_complexity)
        {
            scratch.payload.clear();
            scratch.payload.extend_from_slice(payload);
            return Saying::Payload;
        }
        scratch.frame.copy_from(room.heard_at(end.said_rate()));
        Saying::Frame
    }

    /// A recording of an end is over.
    pub(crate) fn end_recording(&mut self, index: u32, reason: Ending) {
        let end = self.ends.get_mut(index as usize);
        if let Some(recorder) = end.and_then(|end| end.recorder.take()) {
            self.records.remove(&recorder.id());
            recorder.end(reason, &mut self.events);
        }
    }

    /// What is played to an end is cut off.
    pub(crate) fn stop_play(&mut self, index: u32) {
        let Some(end) = self.ends.get_mut(index as usize) else {
            return;
        };
        if let Some(player) = end.player.take() {
            self.events.push(Event::Played {
                end: end.id,
                play: player.play,
                completed: false,
                at_ms: player.at_ms(),
            });
        }
    }

    fn clear_player(&mut self, index: u32) {
        if let Some(end) = self.ends.get_mut(index as usize) {
            end.player = None;
        }
    }
}

/// Tells what may be left out when nobody listens.
pub(crate) fn push_bounded(events: &mut Vec<Event>, totals: &mut Totals, event: Event) {
    match events.len() < EVENTS_MAX {
        true => events.push(event),
        false => totals.left_out += 1,
    }
}
