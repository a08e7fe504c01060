//! Conferences in the engine: who is in, who speaks, and the frame that all hear.

use audio::SampleRate;

use crate::ear::Heard;
use crate::end::Source;
use crate::event::{Ending, Event};
use crate::room::{Room, Seat};
use crate::types::RoomId;
use crate::voice::{Voice, push_bounded};

impl Voice {
    /// Mixes the next frame of a conference.
    pub(crate) fn mix(&mut self, index: u32) {
        self.find_speakers(index);
        let Some(room) = self.rooms.get_mut(index as usize) else {
            return;
        };
        if room.begin() {
            let (room, player) = (room.id, room.player.take());
            if let Some(player) = player {
                self.events.push(Event::RoomPlayed {
                    room,
                    play: player.play,
                    completed: true,
                });
            }
        }
        let Some(room) = self.rooms.get_mut(index as usize) else {
            return;
        };
        for n in 0..room.speakers.len() {
            let Some(end) = self.ends.get_mut(room.speakers[n].1 as usize) else {
                continue;
            };
            if let (Some(seat), Some(halves)) = (&mut end.seat, &end.halves) {
                seat.speak(&halves.ear.frame, room);
            }
        }
        room.finish();
        for (_, speaker) in &room.speakers {
            let end = self.ends.get_mut(*speaker as usize);
            if let Some(seat) = end.and_then(|end| end.seat.as_mut()) {
                seat.listen(room);
            }
        }
        if let Some(reason) = room.record(&mut self.events) {
            self.end_room_recording(index, reason);
        }
    }

    /// Finds the loudest of those who speak, and tells who began or ceased to.
    fn find_speakers(&mut self, index: u32) {
        let Some(room) = self.rooms.get_mut(index as usize) else {
            return;
        };
        room.speakers.clear();
        for member in &room.members {
            let Some(end) = self.ends.get_mut(*member as usize) else {
                continue;
            };
            let (Some(seat), Some(halves)) = (&mut end.seat, &end.halves) else {
                continue;
            };
            seat.is_mixed = false;
            let ear = &halves.ear;
            let is_heard = !seat.is_muted && ear.heard == Heard::Sound;
            let is_talking = is_heard && ear.meter.is_speech();
            if is_talking {
                room.speakers.push((ear.meter.level_db(), *member));
            }
            if is_talking != seat.is_talking {
                seat.is_talking = is_talking;
                let event = Event::Talking {
                    room: room.id,
                    end: end.id,
                    on: is_talking,
                };
                push_bounded(&mut self.events, &mut self.totals, event);
            }
        }
        if room.speakers.len() > self.settings.speakers_max {
            room.speakers.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
            room.speakers.truncate(self.settings.speakers_max);
        }
    }

    /// An end enters, or is muted anew where it is in already.
    pub(crate) fn join(&mut self, end: u32, id: RoomId, muted: bool) {
        let room = self.rooms_by_id.get(&id).copied();
        let source = self.ends.get(end as usize).map(|end| end.source);
        if room.is_some() && source == room.map(Source::Room) {
            let seat = self
                .ends
                .get_mut(end as usize)
                .and_then(|end| end.seat.as_mut());
            if let Some(seat) = seat {
                seat.is_muted = muted;
            }
            return;
        }
        self.detach(end);
        let Some(member) = self.ends.get_mut(end as usize) else {
            return;
        };
        member.seat = Some(Box::new(Seat::new(muted)));
        let speak_slot = member.speak_slot;
        // The room that it left may have been another one.
        let room = match self.rooms_by_id.get(&id) {
            Some(room) => *room,
            None => {
                let room = self.rooms.insert(Box::new(Room::new(id, speak_slot))) as u32;
                self.rooms_by_id.insert(id, room);
                self.mixes[speak_slot].push(room);
                room
            }
        };
        if let Some(member) = self.ends.get_mut(end as usize) {
            member.source = Source::Room(room);
        }
        let Some(conference) = self.rooms.get_mut(room as usize) else {
            return;
        };
        conference.members.push(end);
        let members = conference.members.len();
        conference.speakers.reserve(members);
        let slot = conference.slot;
        self.hear_in(end, slot);
        self.set_room_rate(room);
    }

    /// An end leaves; the last one ends the conference.
    pub(crate) fn leave(&mut self, end: u32, room: u32) {
        let Some(member) = self.ends.get_mut(end as usize) else {
            return;
        };
        member.source = Source::Nothing;
        let (id, seat) = (member.id, member.seat.take());
        let Some(conference) = self.rooms.get_mut(room as usize) else {
            return;
        };
        conference.members.retain(|member| *member != end);
        if seat.is_some_and(|seat| seat.is_talking) {
            self.events.push(Event::Talking {
                room: conference.id,
                end: id,
                on: false,
            });
        }
        match conference.members.is_empty() {
            true => self.end_room(room),
            false => self.set_room_rate(room),
        }
    }

    fn end_room(&mut self, index: u32) {
        self.stop_room_play(index);
        self.end_room_recording(index, Ending::Closed);
        let Some(room) = self.rooms.try_remove(index as usize) else {
            return;
        };
        self.rooms_by_id.remove(&room.id);
        self.mixes[room.slot].retain(|mixed| *mixed != index);
    }

    /// What a conference hears is cut off.
    pub(crate) fn stop_room_play(&mut self, index: u32) {
        let Some(room) = self.rooms.get_mut(index as usize) else {
            return;
        };
        if let Some(player) = room.player.take() {
            self.events.push(Event::RoomPlayed {
                room: room.id,
                play: player.play,
                completed: false,
            });
        }
    }

    /// A recording of a conference is over.
    pub(crate) fn end_room_recording(&mut self, index: u32, reason: Ending) {
        let room = self.rooms.get_mut(index as usize);
        if let Some(recorder) = room.and_then(|room| room.recorder.take()) {
            self.records.remove(&recorder.id());
            recorder.end(reason, &mut self.events);
        }
    }

    /// A conference is mixed at the best rate that a member hears or speaks at.
    pub(crate) fn set_room_rate(&mut self, index: u32) {
        let Some(room) = self.rooms.get_mut(index as usize) else {
            return;
        };
        let members = room
            .members
            .iter()
            .filter_map(|end| self.ends.get(*end as usize));
        let halves = members.filter_map(|end| end.halves.as_ref());
        let rates = halves.map(|it| it.ear.rate().max(it.mouth.format.codec.rate()));
        room.set_rate(rates.max().unwrap_or(SampleRate::Hz8000));
    }
}
