//! Calls that wait in slots, and calls that ring elsewhere.

use crate::control::{Action, LegId, Sound};
use crate::plan::{Step, Template};

use super::call::{Call, Leaving, Parked, State, TimerKind};
use super::end::cause;
use super::legs::{prompt, prompts};
use super::steps::Flow;
use super::talk::may_transfer;
use super::{Round, Switchboard};

impl Switchboard {
    /// `pickup`: answers what rings in the caller's group, or at a number.
    pub(crate) fn pick_up(
        &mut self,
        call: &mut Call,
        number: Option<&Template>,
        round: &mut Round<'_>,
    ) -> Flow {
        let picker = call
            .leg(call.main)
            .map(|leg| leg.user.clone())
            .unwrap_or_default();
        let number = number.map(|text| text.fill(call.values()));
        let found = self
            .calls
            .values()
            .find(|other| self.can_pick_up(other, &picker, number.as_deref()))
            .map(|other| other.id);
        let Some(found) = found else {
            return self.say_and_go_on(call, vec![prompt("pickup/nothing")], round);
        };
        call.note(format!("picked up call {found}"));
        self.hand_over(call, found, round);
        Flow::Wait
    }

    fn can_pick_up(&self, other: &Call, picker: &str, number: Option<&str>) -> bool {
        let State::Ringing(ringing) = &other.state else {
            return false;
        };
        let group = self
            .plan
            .extension(picker)
            .and_then(|one| one.group.clone());
        ringing.legs.iter().any(|leg| {
            let Some(leg) = other.leg(*leg) else {
                return false;
            };
            let rings = self.plan.extension(&leg.user);
            match number {
                Some(number) => {
                    leg.user == number || rings.is_some_and(|rings| rings.number == number)
                }
                None => group.is_some() && rings.is_some_and(|rings| rings.group == group),
            }
        })
    }

    /// The leg of `call` becomes the other party of the call `to`.
    pub(crate) fn hand_over(&mut self, call: &mut Call, to: u64, round: &mut Round<'_>) {
        let Some(leg) = self.give_away(call, call.main, round) else {
            return self.over(call, &cause(200), round);
        };
        let id = leg.id;
        self.with(to, round, |board, other, round| {
            board.adopt(other, leg, round);
            board.answer_leg(other, id, round);
            board.connect(other, id, round);
        });
        self.over(call, &cause(200), round);
    }

    /// `park`: who the steps are for waits in a slot.
    pub(crate) fn park_step(&mut self, call: &mut Call, round: &mut Round<'_>) -> Flow {
        self.answer(call, round);
        let sender = call.sending.as_ref().map(|sending| sending.by_user.clone());
        let from = call.diversions.first().map(|(from, _)| from.user.clone());
        let parker = sender.or(from);
        if self.park(call, parker.unwrap_or_default(), round).is_some() {
            self.sending_done(call, round);
            return Flow::Wait;
        }
        self.say_and_go_on(call, vec![prompt("park/full")], round)
    }

    fn park(&mut self, call: &mut Call, parker: String, round: &mut Round<'_>) -> Option<u32> {
        let parking = self.plan.parking.clone();
        let slot = (parking.first..=parking.last).find(|slot| !self.slots.contains_key(slot))?;
        self.slots.insert(slot, call.id);
        call.note(format!("parked at {slot}"));
        call.program.clear();
        call.enter(State::Parked(Parked { slot, parker }));
        call.set_timer(
            TimerKind::State,
            round.unix_ms + u64::from(parking.timeout_ms),
        );
        self.music(call, call.main, &parking.music, round);
        Some(slot)
    }

    pub(crate) fn park_by_code(&mut self, call: &mut Call, by: LegId, round: &mut Round<'_>) {
        let Some(held) = call.other(by).filter(|_| may_transfer(call, by)) else {
            return;
        };
        let user = call.leg(by).map(|leg| leg.user.clone()).unwrap_or_default();
        let before = call.main;
        call.main = held;
        let talking = call.state.clone();
        let Some(slot) = self.park(call, user, round) else {
            call.main = before;
            self.play(call, by, prompts(&["park/full"]), false, true, round);
            return;
        };
        if let State::Talking(talking) = talking {
            self.free_talker(call.id, &talking, round);
        }
        round.act(Action::Unbridge { leg: by });
        let sounds = vec![prompt("park/slot"), Sound::Digits(slot.to_string())];
        let play = self.play(call, by, sounds, false, false, round);
        call.leaving.push(Leaving { leg: by, play });
    }

    /// `unpark`: takes the call of a slot.
    pub(crate) fn unpark(
        &mut self,
        call: &mut Call,
        slot: &Template,
        round: &mut Round<'_>,
    ) -> Flow {
        let slot = slot.fill(call.values()).parse().unwrap_or(0);
        let Some(parked) = self.slots.get(&slot).copied().filter(|id| *id != call.id) else {
            return self.say_and_go_on(call, vec![prompt("park/nothing")], round);
        };
        self.slots.remove(&slot);
        call.note(format!("took call {parked} from {slot}"));
        self.hand_over(call, parked, round);
        Flow::Wait
    }

    pub(crate) fn parked_too_long(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Parked(parked) = call.state.clone() else {
            return;
        };
        self.leave_tables(call, round);
        self.hush(call, call.main, round);
        call.program = match Step::parse(&format!("ring {} for 30s", parked.parker)) {
            Ok(step) if !parked.parker.is_empty() => vec![step],
            _ => Vec::new(),
        };
        call.note(format!("parked too long at {}", parked.slot));
        self.run(call, round);
    }
}
