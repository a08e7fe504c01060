//! What the controller wants, done.

use crate::command::Command;
use crate::end::{End, Source};
use crate::event::{Ending, Event, Refusal};
use crate::mouth::SLOT_US;
use crate::player::Player;
use crate::recorder::{Plan, Recorder};
use crate::types::{EndId, PlayId, PortId, RecordId, Remote, RoomId, Sound, Stream, Time};
use crate::voice::{Farewell, NONE, Recorded, Voice};
use audio::SampleRate;

/// There is no such end, conference, play or recording.
struct Unknown;

impl Voice {
    /// Does what the controller wants.
    pub fn command(&mut self, now: Time, command: Command) {
        let done = match command {
            Command::Open { end, port, stream } => {
                self.open(now, end, port, stream);
                Ok(())
            }
            Command::Close { end } => self.close(now, end),
            Command::Remote { end, remote } => self.describe(now, end, &remote),
            Command::Connect { a, b } => self.connect(a, b),
            Command::Disconnect { end } => self.of(end).map(|index| self.detach(index)),
            Command::Echo { end } => self.echo(end),
            Command::DetectInBand { end, on } => self.detect(end, on),
            Command::Join { end, room, muted } => {
                self.of(end).map(|index| self.join(index, room, muted))
            }
            Command::Leave { end } => self.leave_room(end),
            Command::Mute { end, muted } => self.mute(end, muted),
            command => self.command_sound(command),
        };
        if done.is_err() {
            self.totals.commands_unknown += 1;
        }
    }

    /// Those about what is heard, said and recorded.
    fn command_sound(&mut self, command: Command) -> Result<(), Unknown> {
        match command {
            Command::Play {
                end,
                play,
                sounds,
                from_ms,
                times,
                barge_in,
            } => self.play(end, play, sounds, from_ms, times, barge_in),
            Command::StopPlay { end, play } => self.stop(end, play),
            Command::Feed {
                end,
                play,
                chunk,
                is_last,
            } => {
                let player = self.player(end, play)?;
                if !player.feed(chunk, is_last) {
                    self.totals.left_out += 1;
                }
                Ok(())
            }
            Command::StopRecord { record } => self.stop_record(record),
            Command::SendDigits {
                end,
                digits,
                ms,
                pause_ms,
            } => {
                let digits_max = self.settings.digits_max;
                let halves = self.end(end)?.halves.as_mut().ok_or(Unknown)?;
                let left_out = halves.mouth.dial(&digits, ms, pause_ms, digits_max);
                self.totals.left_out += left_out as u64;
                Ok(())
            }
            command => self.command_record(command),
        }
    }

    /// Those about what conferences hear, and what is recorded.
    fn command_record(&mut self, command: Command) -> Result<(), Unknown> {
        match command {
            Command::RoomPlay {
                room,
                play,
                sounds,
                times,
            } => self.room_play(room, play, sounds, times),
            Command::StopRoomPlay { room, play } => self.stop_in_room(room, play),
            Command::Record {
                end,
                record,
                both,
                written,
                rate,
                ms_max,
                silence_ms,
                beep,
            } => {
                let plan = Plan {
                    record,
                    both,
                    written,
                    rate,
                    ms_max,
                    silence_ms,
                    beep,
                };
                self.record(end, plan)
            }
            Command::RecordRoom {
                room,
                record,
                written,
                ms_max,
            } => {
                let plan = Plan {
                    record,
                    both: false,
                    written,
                    rate: SampleRate::Hz16000,
                    ms_max,
                    silence_ms: 0,
                    beep: false,
                };
                self.record_room(room, plan)
            }
            _ => Err(Unknown),
        }
    }

    fn open(&mut self, now: Time, id: EndId, port: PortId, stream: Stream) {
        if let Err(reason) = self.may_open(id, port) {
            self.totals.refused += 1;
            if matches!(reason, Refusal::AlreadyOpen | Refusal::TooManyEnds) {
                self.freed.push(port);
            }
            self.events.push(Event::Refused {
                end: id,
                port,
                reason,
            });
            return;
        }
        if self.by_id.is_empty() {
            self.done = self.done.max(now.as_micros() / SLOT_US);
        }
        let end = Box::new(End::new(now, id, port, stream));
        let slot = end.speak_slot;
        let index = self.ends.insert(end) as u32;
        self.by_id.insert(id, index);
        self.own(port, index);
        self.hear[slot].push(index);
        self.speak[slot].push(index);
        self.totals.opened += 1;
    }

    fn may_open(&self, id: EndId, port: PortId) -> Result<(), Refusal> {
        let first = port.0 as usize;
        let Some(pair) = self.by_socket.get(first..first.saturating_add(2)) else {
            return Err(Refusal::NoSuchPort);
        };
        if pair.iter().any(|owner| *owner != NONE) {
            return Err(Refusal::PortInUse);
        }
        if self.by_id.contains_key(&id) {
            return Err(Refusal::AlreadyOpen);
        }
        match self.by_id.len() < self.settings.ends_max {
            true => Ok(()),
            false => Err(Refusal::TooManyEnds),
        }
    }

    /// A pair of sockets is this end's, or nobody's.
    fn own(&mut self, port: PortId, index: u32) {
        let first = port.0 as usize;
        if let Some(pair) = self.by_socket.get_mut(first..first.saturating_add(2)) {
            pair.fill(index);
        }
    }

    fn close(&mut self, now: Time, id: EndId) -> Result<(), Unknown> {
        let index = self.of(id)?;
        self.detach(index);
        self.stop_play(index);
        self.end_recording(index, Ending::Closed);
        let mut end = self.ends.try_remove(index as usize).ok_or(Unknown)?;
        self.by_id.remove(&id);
        self.own(end.port, NONE);
        self.hear[end.hear_slot].retain(|heard| *heard != index);
        self.speak[end.speak_slot].retain(|speaks| *speaks != index);
        let mut packet = Vec::new();
        if let Some((socket, destination)) = end.write_rtcp(now, true, &mut packet) {
            self.farewells.push(Farewell {
                socket,
                destination,
                packet,
            });
        }
        self.freed.push(end.port);
        self.totals.closed += 1;
        self.events.push(Event::Closed {
            end: id,
            report: Box::new(end.report()),
        });
        Ok(())
    }

    fn describe(&mut self, now: Time, id: EndId, remote: &Remote) -> Result<(), Unknown> {
        let settings = self.settings;
        let end = self.end(id)?;
        end.describe(now, remote, &settings);
        if let Source::Room(room) = end.source {
            self.set_room_rate(room);
        }
        Ok(())
    }

    fn connect(&mut self, a: EndId, b: EndId) -> Result<(), Unknown> {
        let (first, second) = (self.of(a)?, self.of(b)?);
        if first == second {
            return Err(Unknown);
        }
        let is_so =
            |end: Option<&Box<End>>| end.map(|end| end.source) == Some(Source::Peer(second));
        if is_so(self.ends.get(first as usize)) {
            return Ok(());
        }
        self.detach(first);
        self.detach(second);
        for (one, other) in [(first, second), (second, first)] {
            // Listened to just before the other speaks, so that nothing waits.
            let slot = self.ends.get(other as usize).map(|end| end.speak_slot);
            if let Some(slot) = slot {
                self.hear_in(one, slot);
            }
            if let Some(end) = self.ends.get_mut(one as usize) {
                end.source = Source::Peer(other);
            }
        }
        Ok(())
    }

    /// The end hears nobody, and nobody hears it.
    pub(crate) fn detach(&mut self, index: u32) {
        let Some(end) = self.ends.get_mut(index as usize) else {
            return;
        };
        match end.source {
            Source::Nothing => {}
            Source::Echo => end.source = Source::Nothing,
            Source::Room(room) => self.leave(index, room),
            Source::Peer(peer) => {
                self.alone(index);
                self.alone(peer);
            }
        }
        if let Some(end) = self.ends.get(index as usize) {
            let slot = end.speak_slot;
            self.hear_in(index, slot);
        }
    }

    fn alone(&mut self, index: u32) {
        let Some(end) = self.ends.get_mut(index as usize) else {
            return;
        };
        end.source = Source::Nothing;
        if let Some(halves) = &mut end.halves {
            halves.mouth.release();
        }
        let slot = end.speak_slot;
        self.hear_in(index, slot);
    }

    /// Listens to an end in this slot from now on.
    pub(crate) fn hear_in(&mut self, index: u32, slot: usize) {
        let Some(end) = self.ends.get_mut(index as usize) else {
            return;
        };
        let before = std::mem::replace(&mut end.hear_slot, slot);
        if before != slot {
            self.hear[before].retain(|heard| *heard != index);
            self.hear[slot].push(index);
        }
    }

    fn echo(&mut self, id: EndId) -> Result<(), Unknown> {
        let index = self.of(id)?;
        self.detach(index);
        self.ends.get_mut(index as usize).ok_or(Unknown)?.source = Source::Echo;
        Ok(())
    }

    fn detect(&mut self, id: EndId, on: bool) -> Result<(), Unknown> {
        let end = self.end(id)?;
        end.detects = on;
        if let Some(halves) = &mut end.halves {
            halves.ear.detect(on);
        }
        Ok(())
    }

    fn leave_room(&mut self, id: EndId) -> Result<(), Unknown> {
        let index = self.of(id)?;
        match self.ends.get(index as usize).map(|end| end.source) {
            Some(Source::Room(_)) => self.detach(index),
            _ => return Err(Unknown),
        }
        Ok(())
    }

    fn mute(&mut self, id: EndId, muted: bool) -> Result<(), Unknown> {
        self.end(id)?.seat.as_mut().ok_or(Unknown)?.is_muted = muted;
        Ok(())
    }

    fn play(
        &mut self,
        id: EndId,
        play: PlayId,
        mut sounds: Vec<Sound>,
        from_ms: u32,
        times: u32,
        barge_in: bool,
    ) -> Result<(), Unknown> {
        let index = self.of(id)?;
        self.stop_play(index);
        self.cut(&mut sounds);
        let end = self.ends.get_mut(index as usize).ok_or(Unknown)?;
        let rate = end.said_rate();
        let player = Player::new(play, sounds, rate, from_ms, times, barge_in);
        end.player = Some(Box::new(player));
        Ok(())
    }

    /// Leaves out sounds beyond the limit.
    fn cut(&mut self, sounds: &mut Vec<Sound>) {
        let over = sounds.len().saturating_sub(self.settings.sounds_max);
        self.totals.left_out += over as u64;
        sounds.truncate(self.settings.sounds_max);
    }

    fn stop(&mut self, id: EndId, play: PlayId) -> Result<(), Unknown> {
        self.player(id, play)?;
        let index = self.of(id)?;
        self.stop_play(index);
        Ok(())
    }

    fn room_play(
        &mut self,
        id: RoomId,
        play: PlayId,
        mut sounds: Vec<Sound>,
        times: u32,
    ) -> Result<(), Unknown> {
        let index = *self.rooms_by_id.get(&id).ok_or(Unknown)?;
        self.stop_room_play(index);
        sounds.retain(|sound| !matches!(sound, Sound::Feed { .. }));
        self.cut(&mut sounds);
        let room = self.rooms.get_mut(index as usize).ok_or(Unknown)?;
        let player = Player::new(play, sounds, room.rate, 0, times, false);
        room.player = Some(Box::new(player));
        Ok(())
    }

    fn stop_in_room(&mut self, id: RoomId, play: PlayId) -> Result<(), Unknown> {
        let index = *self.rooms_by_id.get(&id).ok_or(Unknown)?;
        let room = self.rooms.get(index as usize).ok_or(Unknown)?;
        if room.player.as_ref().map(|player| player.play) != Some(play) {
            return Err(Unknown);
        }
        self.stop_room_play(index);
        Ok(())
    }

    fn record(&mut self, id: EndId, plan: Plan) -> Result<(), Unknown> {
        let index = self.of(id)?;
        if self.records.contains_key(&plan.record) {
            return Err(Unknown);
        }
        self.end_recording(index, Ending::Replaced);
        let plan = self.bounded(plan);
        let end = self.ends.get_mut(index as usize).ok_or(Unknown)?;
        let rate = end.said_rate();
        end.said.clear(rate);
        end.recorder = Some(Box::new(Recorder::new(plan, rate)));
        self.records.insert(plan.record, Recorded::End(index));
        Ok(())
    }

    fn record_room(&mut self, id: RoomId, plan: Plan) -> Result<(), Unknown> {
        let index = *self.rooms_by_id.get(&id).ok_or(Unknown)?;
        if self.records.contains_key(&plan.record) {
            return Err(Unknown);
        }
        self.end_room_recording(index, Ending::Replaced);
        let plan = self.bounded(plan);
        let room = self.rooms.get_mut(index as usize).ok_or(Unknown)?;
        room.recorder = Some(Box::new(Recorder::new(plan, SampleRate::Hz16000)));
        self.records.insert(plan.record, Recorded::Room(index));
        Ok(())
    }

    fn bounded(&self, plan: Plan) -> Plan {
        let limit = self.settings.record_ms_max;
        let ms_max = match plan.ms_max {
            0 => limit,
            asked => asked.min(limit),
        };
        Plan { ms_max, ..plan }
    }

    fn stop_record(&mut self, record: RecordId) -> Result<(), Unknown> {
        match self.records.get(&record).copied().ok_or(Unknown)? {
            Recorded::End(index) => self.end_recording(index, Ending::Stopped),
            Recorded::Room(index) => self.end_room_recording(index, Ending::Stopped),
        }
        Ok(())
    }

    fn of(&self, id: EndId) -> Result<u32, Unknown> {
        self.by_id.get(&id).copied().ok_or(Unknown)
    }

    fn end(&mut self, id: EndId) -> Result<&mut End, Unknown> {
        let index = self.of(id)?;
        Ok(self.ends.get_mut(index as usize).ok_or(Unknown)?.as_mut())
    }

    fn player(&mut self, id: EndId, play: PlayId) -> Result<&mut Player, Unknown> {
        let player = self.end(id)?.player.as_mut().ok_or(Unknown)?;
        (player.play == play)
            .then_some(player.as_mut())
            .ok_or(Unknown)
    }
}
