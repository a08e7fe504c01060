//! The steps of a dialplan, one after the other.

use std::sync::Arc;

use crate::control::{Action, DiversionReason, Incoming, LegId, Party, Question, Referral, Sound};
use crate::plan::{Found, NUMBER_CHARS_MAX, Outcome, Step, Template};

use super::call::{Asked, Call, Endless, Leg, STEPS_DONE_MAX, Stage, State, TimerKind};
use super::{Round, Switchboard};
use crate::control::Answer;

/// Most diversions that a call has on its way.
pub const DIVERSIONS_MAX: usize = 10;

/// Whether the next step has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Wait,
}

impl Switchboard {
    pub(crate) fn new_call(&mut self, incoming: &Incoming, round: &mut Round<'_>) -> Call {
        let mut call = Call {
            id: round.ids.issue(),
            caller: incoming.caller.clone(),
            called: incoming.called.clone(),
            began_unix_ms: round.unix_ms,
            main: incoming.leg,
            rights: self.plan.rights(&incoming.caller.user, incoming.is_trusted),
            is_private: incoming.is_private,
            is_trusted: incoming.is_trusted,
            auto_answer: incoming.auto_answer && incoming.is_trusted,
            diversions: incoming.diversions.clone(),
            referral: Referral {
                referred_by: incoming.referred_by.clone(),
                ..Referral::default()
            },
            ..Call::default()
        };
        call.diversions.truncate(DIVERSIONS_MAX);
        let leg = Leg {
            id: incoming.leg,
            user: self.user_of(&incoming.caller, incoming.is_trusted),
            party: incoming.caller.clone(),
            call_id: incoming.call_id.clone(),
            is_incoming: true,
            is_private: incoming.is_private,
            remote: Some(Arc::new(incoming.called.clone())),
            ..Leg::default()
        };
        self.adopt(&mut call, leg, round);
        call
    }

    /// The caller, or who was sent on, wants `number`.
    pub(crate) fn dialled(&mut self, call: &mut Call, number: &str, round: &mut Round<'_>) {
        let rights = call.rights.clone();
        self.lead_to(call, number, Some(&rights), round);
        self.run(call, round);
    }

    /// Whether the caller may go on to `number`.
    pub(crate) fn may_dial(&self, rights: &[String], number: &str, round: &Round<'_>) -> bool {
        super::is_number(number)
            && matches!(
                self.plan.find(number, Some(rights), round.unix_ms),
                Found::Extension(_) | Found::Route(..)
            )
    }

    /// Puts the steps of `number` in the place of those that are left.
    fn lead_to(
        &mut self,
        call: &mut Call,
        number: &str,
        rights: Option<&[String]>,
        round: &mut Round<'_>,
    ) {
        let plan = self.plan.clone();
        call.program = match plan.find(number, rights, round.unix_ms) {
            Found::Extension(extension) => {
                vec![Step::Extension(Template(extension.number.clone()))]
            }
            Found::Route(route, rest) => {
                call.rest = rest;
                route.steps.clone()
            }
            Found::Denied => vec![Step::Hangup(Some(403))],
            Found::Nothing => vec![Step::Hangup(Some(404))],
        };
        call.number = number.chars().take(NUMBER_CHARS_MAX).collect();
    }

    /// Does steps until one takes time.
    pub(crate) fn run(&mut self, call: &mut Call, round: &mut Round<'_>) {
        call.enter(State::Running);
        loop {
            if call.program.is_empty() {
                let status = match call.outcome {
                    Some(Outcome::Busy) => 486,
                    Some(Outcome::NoAnswer | Outcome::Unreachable) => 480,
                    None if call.is_answered(call.main) => 200,
                    None => 404,
                };
                return self.finish(call, status, round);
            }
            let step = call.program.remove(0);
            call.steps_done += 1;
            if call.steps_done > STEPS_DONE_MAX {
                self.counts.loops += 1;
                call.note(format!("loop: {STEPS_DONE_MAX} steps at `{step}`"));
                return self.finish(call, 482, round);
            }
            if self.step(call, &step, round) == Flow::Wait {
                return;
            }
        }
    }

    fn step(&mut self, call: &mut Call, step: &Step, round: &mut Round<'_>) -> Flow {
        if !matches!(
            step,
            Step::When { .. } | Step::On { .. } | Step::Forwards(_) | Step::Hangup(None)
        ) {
            call.note(step.to_string());
        }
        if takes_the_call(step) {
            self.sending_done(call, round);
        }
        match step {
            Step::Answer => self.answer(call, round),
            Step::Ring(ring) => return self.ring(call, ring, round),
            Step::Extension(text) => return self.ring_extension(call, text, round),
            Step::Goto(text) => {
                let number = text.fill(call.values());
                let rights = call.rights.clone();
                let rights = (!text.is_fixed()).then_some(rights.as_slice());
                self.lead_to(call, &number, rights, round);
            }
            Step::Play(pieces) => {
                self.answer(call, round);
                let sounds = self.sounds(call, pieces);
                return self.sound(call, sounds, None, round);
            }
            Step::Announce(pieces) => {
                self.open_media(call, round);
                let sounds = self.sounds(call, pieces);
                return self.sound(call, sounds, None, round);
            }
            Step::Tone(name, for_s) => {
                self.open_media(call, round);
                let tone = vec![Sound::Tone(name.clone())];
                return self.sound(call, tone, Some(*for_s), round);
            }
            Step::Wait(for_s) => return self.sound(call, Vec::new(), Some(*for_s), round),
            Step::Music(name) => return self.endless(call, Endless::Music(name.clone()), round),
            Step::Echo => return self.endless(call, Endless::Echo, round),
            Step::Milliwatt => return self.endless(call, Endless::Milliwatt, round),
            Step::Menu(name) => return self.begin_menu(call, name, round),
            Step::Queue(name) => return self.join_queue(call, name, round),
            Step::Voicemail(text) => return self.begin_message(call, text, round),
            Step::Mailbox(text) => return self.begin_mailbox(call, text.as_ref(), round),
            Step::Room(text) => return self.begin_room(call, text, round),
            Step::Park => return self.park_step(call, round),
            Step::Unpark(text) => return self.unpark(call, text, round),
            Step::PickUp(text) => return self.pick_up(call, text.as_ref(), round),
            Step::Pin(name) => return self.guard(call, name, round),
            Step::Record => self.toggle_recording(call, call.main, round),
            Step::Agent { is_login, queue } => {
                return self.agent_step(call, *is_login, queue.as_deref(), round);
            }
            Step::Hangup(status) => {
                match (status, call.cause.take()) {
                    (Some(status), _) => self.finish(call, *status, round),
                    (None, Some(cause)) => self.over(call, &cause, round),
                    (None, None) => self.finish(call, 200, round),
                }
                return Flow::Wait;
            }
            Step::When {
                hours,
                is_open,
                step,
            } => {
                if self.plan.is_open(hours, round.unix_ms) == *is_open {
                    return self.step(call, step, round);
                }
            }
            Step::On { outcome, step } => {
                if call.outcome == Some(*outcome) {
                    return self.step(call, step, round);
                }
            }
            Step::Forwards(number) => self.forward(call, number),
            Step::Diverted(number, reason) => self.divert(call, number, *reason),
        }
        Flow::Next
    }

    fn open_media(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let leg = call.main;
        if call.is_live(leg) && !call.is_answered(leg) {
            round.act(Action::Progress { leg });
        }
    }

    /// Plays, or lets time pass, before the next step.
    fn sound(
        &mut self,
        call: &mut Call,
        sounds: Vec<Sound>,
        for_s: Option<u32>,
        round: &mut Round<'_>,
    ) -> Flow {
        call.enter(State::Sounding);
        if let Some(for_s) = for_s {
            call.set_timer(TimerKind::State, round.unix_ms + u64::from(for_s) * 1_000);
        }
        if !sounds.is_empty() {
            let repeat = for_s.is_some();
            self.play(call, call.main, sounds, repeat, false, round);
        }
        Flow::Wait
    }

    /// Says something and goes on with the steps that are left.
    pub(crate) fn say_and_go_on(
        &mut self,
        call: &mut Call,
        sounds: Vec<Sound>,
        round: &mut Round<'_>,
    ) -> Flow {
        self.answer(call, round);
        self.sound(call, sounds, None, round)
    }

    fn endless(&mut self, call: &mut Call, what: Endless, round: &mut Round<'_>) -> Flow {
        self.answer(call, round);
        let leg = call.main;
        match &what {
            Endless::Echo => round.act(Action::Echo { leg }),
            Endless::Milliwatt => {
                let tone = vec![Sound::Tone("milliwatt".to_owned())];
                self.play(call, leg, tone, true, false, round);
            }
            Endless::Music(name) => self.music(call, leg, name, round),
        }
        call.enter(State::Endless(what));
        Flow::Wait
    }

    fn forward(&mut self, call: &mut Call, number: &str) {
        let plan = self.plan.clone();
        let Some(extension) = plan.extension(number) else {
            return;
        };
        let (steps, reason) = match call.outcome {
            Some(Outcome::Busy) => (&extension.busy, DiversionReason::Busy),
            Some(Outcome::Unreachable) => (&extension.unreachable, DiversionReason::Unavailable),
            Some(Outcome::NoAnswer) | None => (&extension.no_answer, DiversionReason::NoAnswer),
        };
        if !steps.is_empty() {
            call.program = vec![Step::Diverted(extension.number.clone(), reason)];
            call.program.extend(steps.iter().cloned());
        }
    }

    fn divert(&mut self, call: &mut Call, number: &str, reason: DiversionReason) {
        let from = Party {
            user: number.to_owned(),
            host: call.called.host.clone(),
            display: String::new(),
        };
        call.diversions.insert(0, (from, reason));
        call.diversions.truncate(DIVERSIONS_MAX);
        // Who sends a call on answers for it.
        call.rights = self.plan.rights(number, true);
    }

    fn ring_extension(&mut self, call: &mut Call, text: &Template, round: &mut Round<'_>) -> Flow {
        let number = text.fill(call.values());
        let plan = self.plan.clone();
        let Some(extension) = plan.extension(&number) else {
            call.program = vec![Step::Hangup(Some(404))];
            return Flow::Next;
        };
        if !extension.always.is_empty() {
            let reason = DiversionReason::Unconditional;
            call.program = vec![Step::Diverted(extension.number.clone(), reason)];
            call.program.extend(extension.always.iter().cloned());
            return Flow::Next;
        }
        call.program = vec![Step::Forwards(extension.number.clone())];
        self.ring_phones(call, extension, round)
    }

    /// What was played to a leg has come to its end.
    pub(crate) fn played(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        if leg != call.main {
            return;
        }
        match &call.state {
            State::Sounding
                if call
                    .timers
                    .iter()
                    .all(|timer| timer.kind != TimerKind::State) =>
            {
                self.run(call, round);
            }
            State::Menu(_) => self.menu_waits(call, round),
            State::Pin(_) => call.set_timer(TimerKind::State, round.unix_ms + 8_000),
            State::Message(_) => self.message_played(call, round),
            State::Mailbox(_) => self.mailbox_played(call, round),
            State::Queued(_) => self.queue_played(call, round),
            State::Room(_) => self.room_played(call, round),
            _ => {}
        }
    }

    /// A key was pressed.
    pub(crate) fn digit(
        &mut self,
        call: &mut Call,
        leg: LegId,
        digit: char,
        round: &mut Round<'_>,
    ) {
        if !(digit.is_ascii_digit() || "*#ABCD".contains(digit)) || !call.is_live(leg) {
            return;
        }
        if call.leaving.iter().any(|one| one.leg == leg) {
            return;
        }
        match &mut call.state {
            State::Ringing(ringing) if ringing.asked.contains(&leg) => {
                self.confirmed(call, leg, digit, round);
            }
            State::Talking(_) => self.talk_digit(call, leg, digit, round),
            State::Dialling(at) if at.by == leg => self.dialling_digit(call, digit, round),
            _ if leg != call.main => {}
            State::Menu(_) => self.menu_digit(call, digit, round),
            State::Pin(_) => self.pin_digit(call, digit, round),
            State::Message(_) => self.message_digit(call, digit, round),
            State::Mailbox(_) => self.mailbox_digit(call, digit, round),
            State::Room(_) => self.room_digit(call, digit, round),
            _ => {}
        }
    }

    pub(crate) fn timer_fired(&mut self, call: &mut Call, kind: TimerKind, round: &mut Round<'_>) {
        match (kind, &call.state) {
            (TimerKind::End, _) => self.give_up(call, round),
            (TimerKind::State, State::Sounding) => {
                self.hush(call, call.main, round);
                self.run(call, round);
            }
            (TimerKind::State, State::Ringing(_)) => self.ring_timeout(call, round),
            (TimerKind::State, State::Menu(_)) => self.menu_timeout(call, round),
            (TimerKind::State, State::Pin(_)) => self.pin_entered(call, round),
            (TimerKind::State, State::Message(_)) => self.message_timeout(call, round),
            (TimerKind::State, State::Mailbox(_)) => self.mailbox_timeout(call, round),
            (TimerKind::State, State::Parked(_)) => self.parked_too_long(call, round),
            (TimerKind::State, State::Dialling(_)) => self.dialling_timeout(call, round),
            (TimerKind::Code, State::Talking(_)) => call.keys = None,
            (TimerKind::Code, State::Room(at)) => {
                let at = super::call::RoomAt {
                    keys: String::new(),
                    ..at.clone()
                };
                call.state = State::Room(at);
            }
            (TimerKind::Position, State::Queued(_)) => self.tell_position(call, round),
            (TimerKind::Wait, State::Queued(_)) => self.waited_too_long(call, round),
            (TimerKind::Agents, State::Queued(_)) => self.agents_timeout(call, round),
            _ => {}
        }
    }

    /// What should have ended long ago is taken for ended.
    fn give_up(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let cause = super::end::cause(408);
        for leg in call.legs.iter().map(|leg| leg.id).collect::<Vec<_>>() {
            self.remove_leg(call, leg, &cause, round);
        }
        for recording in call.recordings.drain(..) {
            self.recordings.remove(&recording.id);
        }
        if let Some(asked) = call.asked.take() {
            self.questions.remove(&asked.number);
        }
        call.state = State::Over;
    }

    pub(crate) fn answer_came(
        &mut self,
        call: &mut Call,
        asked: Asked,
        answer: &Answer,
        round: &mut Round<'_>,
    ) {
        match &call.state {
            State::Pin(_) => self.pin_checked(call, *answer == Answer::Done, round),
            State::Message(_) => self.message_told(call, answer, round),
            State::Mailbox(_) => self.mailbox_told(call, answer, round),
            _ => {}
        }
        // Whatever became of the caller, those who watch the mailbox are told.
        if let Some(
            Question::KeepMessage { mailbox, .. }
            | Question::MarkHeard { mailbox, .. }
            | Question::DeleteMessage { mailbox, .. },
        ) = asked.what
            && *answer == Answer::Done
        {
            self.count_mailbox(&mailbox, round);
        }
    }
}

impl Switchboard {
    /// Marks a called leg as ringing, and lets the caller hear it.
    pub(crate) fn leg_rings(
        &mut self,
        call: &mut Call,
        leg: LegId,
        has_media: bool,
        round: &mut Round<'_>,
    ) {
        let is_new = call.leg(leg).is_some_and(|one| one.stage == Stage::Calling);
        if is_new {
            self.set_stage(call, leg, Stage::Ringing, round);
            self.sending_rings(call, round);
        }
        if matches!(call.leg(leg).map(|one| &one.stage), Some(Stage::Ringing)) {
            self.rung(call, leg, has_media, round);
        }
    }
}

/// Whether a step is something that a call can be sent on to: who did so is let go.
fn takes_the_call(step: &Step) -> bool {
    matches!(
        step,
        Step::Play(_)
            | Step::Music(_)
            | Step::Echo
            | Step::Milliwatt
            | Step::Menu(_)
            | Step::Queue(_)
            | Step::Voicemail(_)
            | Step::Mailbox(_)
            | Step::Room(_)
            | Step::Unpark(_)
            | Step::PickUp(_)
    )
}
