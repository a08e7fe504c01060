//! Conferences.

use crate::control::{Action, RoomId};
use crate::plan::{PinRule, Template};

use super::call::{Call, Guarded, RoomAt, State, TimerKind};
use super::legs::prompts;
use super::steps::Flow;
use super::{Round, Switchboard};

impl Switchboard {
    pub(crate) fn begin_room(
        &mut self,
        call: &mut Call,
        number: &Template,
        round: &mut Round<'_>,
    ) -> Flow {
        let number = number.fill(call.values());
        match self.plan.rooms.get(&number).map(|room| room.pin.clone()) {
            None => self.say_and_go_on(call, prompts(&["sorry"]), round),
            Some(PinRule::None) => {
                self.answer(call, round);
                self.enter_room(call, &number, round);
                Flow::Wait
            }
            Some(_) => self.ask_pin(call, Guarded::Room(number), round),
        }
    }

    pub(crate) fn enter_room(&mut self, call: &mut Call, number: &str, round: &mut Round<'_>) {
        let plan = self.plan.clone();
        let Some(room) = plan.rooms.get(number) else {
            return self.finish(call, 404, round);
        };
        let members = self.rooms.get(number).cloned().unwrap_or_default();
        if members.len() >= room.members_max {
            call.program = vec![crate::plan::Step::Hangup(None)];
            self.say_and_go_on(call, prompts(&["room/full"]), round);
            return;
        }
        let known = members.first().and_then(|id| self.calls.get(id));
        let id = match known.map(|other| &other.state) {
            Some(State::Room(at)) => at.room,
            _ => RoomId(round.ids.issue()),
        };
        self.hush(call, call.main, round);
        self.listen(call, call.main, round);
        call.note(format!("joined room {number}"));
        call.program.clear();
        call.enter(State::Room(RoomAt {
            number: number.to_owned(),
            room: id,
            muted: room.muted,
            keys: String::new(),
            joined_unix_ms: round.unix_ms,
        }));
        if room.announce && !members.is_empty() {
            round.act(Action::PlayRoom {
                room: id,
                sounds: prompts(&["room/joined"]),
            });
        }
        round.act(Action::Join {
            leg: call.main,
            room: id,
            muted: room.muted,
        });
        self.rooms
            .entry(number.to_owned())
            .or_default()
            .push(call.id);
        if members.is_empty() {
            self.say(call, prompts(&["room/alone"]), round);
        } else if let [only] = members[..] {
            // Who was alone hears music no more.
            self.with(only, round, |board, other, round| {
                board.hush(other, other.main, round);
            });
        }
    }

    /// What was said to a member is over: who is alone hears music.
    pub(crate) fn room_played(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Room(at) = &call.state else { return };
        let is_alone = self
            .rooms
            .get(&at.number)
            .is_none_or(|members| members.len() < 2);
        let music = self
            .plan
            .rooms
            .get(&at.number)
            .and_then(|room| room.music.clone());
        if let Some(music) = music.filter(|_| is_alone) {
            self.music(call, call.main, &music, round);
        }
    }

    pub(crate) fn leave_room(&mut self, call: &mut Call, at: &RoomAt, round: &mut Round<'_>) {
        let Some(members) = self.rooms.get_mut(&at.number) else {
            return;
        };
        members.retain(|id| *id != call.id);
        let left = members.clone();
        if left.is_empty() {
            self.rooms.remove(&at.number);
        }
        if call.is_live(call.main) {
            round.act(Action::Leave { leg: call.main });
        }
        let announce = self
            .plan
            .rooms
            .get(&at.number)
            .is_none_or(|room| room.announce);
        if announce && !left.is_empty() {
            round.act(Action::PlayRoom {
                room: at.room,
                sounds: prompts(&["room/left"]),
            });
        }
        if let [only] = left[..] {
            self.with(only, round, |board, other, round| {
                board.room_played(other, round)
            });
        }
    }

    pub(crate) fn room_digit(&mut self, call: &mut Call, digit: char, round: &mut Round<'_>) {
        let plan = self.plan.clone();
        let code = &plan.features.mute;
        let State::Room(at) = &mut call.state else {
            return;
        };
        at.keys.push(digit);
        if !code.starts_with(&at.keys) {
            at.keys = digit.to_string();
        }
        if !code.starts_with(&at.keys) {
            at.keys.clear();
            return;
        }
        if at.keys != *code || code.is_empty() {
            let between_ms = u64::from(plan.features.between_ms);
            return call.set_timer(TimerKind::Code, round.unix_ms + between_ms);
        }
        at.keys.clear();
        at.muted = !at.muted;
        let muted = at.muted;
        call.clear_timer(&TimerKind::Code);
        round.act(Action::Mute {
            leg: call.main,
            muted,
        });
        let word = if muted { "room/muted" } else { "room/unmuted" };
        self.say(call, prompts(&[word]), round);
    }
}
