//! Phones that are rung for a caller.

use crate::control::{Action, Cause, LegId, Sound};
use crate::plan::{Extension, Order, Outcome, Ring, Step, Template};

use super::call::{Call, Ringing, Stage, State, Talking, Target, TimerKind};
use super::end::{cause, completed_elsewhere};
use super::legs::prompts;
use super::steps::Flow;
use super::{Round, Switchboard};

/// Most users whose last call is remembered.
pub const LAST_CALLS_MAX: usize = 65_536;

/// What a failed leg says about its phone.
pub(crate) fn outcome(status: u16) -> Outcome {
    match status {
        486 | 600 | 603 => Outcome::Busy,
        408 | 487 => Outcome::NoAnswer,
        _ => Outcome::Unreachable,
    }
}

impl Switchboard {
    /// The step `ring`.
    pub(crate) fn ring(&mut self, call: &mut Call, ring: &Ring, round: &mut Round<'_>) -> Flow {
        let mut targets = Vec::new();
        for template in &ring.targets {
            let text = template.fill(call.values());
            // A number is that of all its phones, a user is one.
            let phones = self
                .plan
                .extensions
                .get(&text)
                .map(|one| one.phones.clone());
            match phones {
                Some(phones) => targets.extend(phones.into_iter().map(Target::of)),
                None => targets.push(Target::of(text)),
            }
        }
        let ringing = Ringing {
            order: ring.order,
            for_ms: ring.for_s * 1_000,
            confirm: ring.confirm,
            auto_answer: ring.auto_answer,
            ..Ringing::default()
        };
        self.begin_ringing(call, targets, ringing, round)
    }

    /// All phones of an extension.
    pub(crate) fn ring_phones(
        &mut self,
        call: &mut Call,
        extension: &Extension,
        round: &mut Round<'_>,
    ) -> Flow {
        let phones = extension.phones.iter().cloned().map(Target::of).collect();
        let ringing = Ringing {
            order: extension.order,
            for_ms: extension.ring_s * 1_000,
            ..Ringing::default()
        };
        self.begin_ringing(call, phones, ringing, round)
    }

    pub(crate) fn begin_ringing(
        &mut self,
        call: &mut Call,
        mut targets: Vec<Target>,
        ringing: Ringing,
        round: &mut Round<'_>,
    ) -> Flow {
        if ringing.order == Order::LeastRecent {
            targets.sort_by_key(|target| self.last_calls.get(&target.user).copied());
        }
        call.outcome = None;
        let order = ringing.order;
        call.enter(State::Ringing(Ringing {
            is_single: targets.len() == 1,
            left: targets,
            ..ringing
        }));
        if call.is_answered(call.main) {
            let tone = vec![Sound::Tone("ringback".to_owned())];
            self.play(call, call.main, tone, true, false, round);
        }
        let is_ringing = match order {
            Order::All => {
                let mut some = false;
                while self.ring_next(call, round) {
                    some = true;
                }
                some
            }
            Order::InOrder | Order::LeastRecent => self.ring_next(call, round),
        };
        if is_ringing {
            return Flow::Wait;
        }
        self.hush(call, call.main, round);
        call.outcome = Some(Outcome::Unreachable);
        Flow::Next
    }

    /// Rings the next phone; whether there was one.
    fn ring_next(&mut self, call: &mut Call, round: &mut Round<'_>) -> bool {
        let State::Ringing(ringing) = &mut call.state else {
            return false;
        };
        if ringing.left.is_empty() {
            return false;
        }
        let target = ringing.left.remove(0);
        let (for_ms, auto_answer) = (ringing.for_ms, ringing.auto_answer);
        let shown = ringing.shown.clone();
        let leg = self.dial(call, &target, shown, auto_answer, round);
        let Some(leg) = leg else { return false };
        if let State::Ringing(ringing) = &mut call.state {
            ringing.legs.push(leg);
        }
        call.set_timer(TimerKind::State, round.unix_ms + u64::from(for_ms));
        true
    }

    /// A phone rings.
    pub(crate) fn rung(
        &mut self,
        call: &mut Call,
        leg: LegId,
        has_media: bool,
        round: &mut Round<'_>,
    ) {
        let State::Ringing(ringing) = &mut call.state else {
            return;
        };
        if !ringing.legs.contains(&leg) {
            return;
        }
        if has_media && ringing.is_single && !ringing.confirm {
            if !ringing.has_media {
                ringing.has_media = true;
                self.bridge(call, call.main, leg, round);
            }
            return;
        }
        let main = call.main;
        if call
            .leg(main)
            .is_some_and(|one| one.is_incoming && one.stage == Stage::Calling)
        {
            round.act(Action::Ring { leg: main });
            self.set_stage(call, main, Stage::Ringing, round);
        }
    }

    pub(crate) fn rung_answered(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        let State::Ringing(ringing) = &mut call.state else {
            return;
        };
        if !ringing.confirm {
            return self.connect(call, leg, round);
        }
        ringing.asked.push(leg);
        round.act(Action::DetectInBand { leg, on: true });
        let sounds = prompts(&["call/confirm", "call/confirm"]);
        self.play(call, leg, sounds, false, true, round);
    }

    /// Who answered pressed a key to say whether the call is taken.
    pub(crate) fn confirmed(
        &mut self,
        call: &mut Call,
        leg: LegId,
        digit: char,
        round: &mut Round<'_>,
    ) {
        if digit == '1' {
            self.connect(call, leg, round);
        } else {
            self.hang_up(call, leg, cause(603), round);
            self.rung_failed(call, leg, &cause(603), &[], round);
        }
    }

    /// Brings the caller and `leg` together; other phones stop ringing.
    pub(crate) fn connect(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        let mut is_by_turns = false;
        let legs = match &mut call.state {
            State::Ringing(ringing) => {
                is_by_turns = ringing.order == Order::LeastRecent;
                std::mem::take(&mut ringing.legs)
            }
            State::Queued(queued) => queued.ringing.iter().map(|(leg, _)| *leg).collect(),
            _ => Vec::new(),
        };
        for other in legs.into_iter().filter(|other| *other != leg) {
            self.hang_up(call, other, completed_elsewhere(), round);
        }
        self.sending_done(call, round);
        call.program.clear();
        call.outcome = None;
        let user = call
            .leg(leg)
            .map(|one| one.user.clone())
            .unwrap_or_default();
        if !user.is_empty() {
            call.note(format!("answered by {user}"));
            if is_by_turns {
                self.remember_call(&user, round);
            }
        }
        call.enter(State::Talking(Talking {
            peer: leg,
            ..Talking::default()
        }));
        call.answered_unix_ms.get_or_insert(round.unix_ms);
        self.listen_no_more(call, round);
        let main = call.main;
        self.answer(call, round);
        self.bridge(call, main, leg, round);
    }

    fn remember_call(&mut self, user: &str, round: &Round<'_>) {
        if self.last_calls.len() < LAST_CALLS_MAX || self.last_calls.contains_key(user) {
            self.last_calls.insert(user.to_owned(), round.unix_ms);
            self.changed_users.insert(user.to_owned());
        }
    }

    pub(crate) fn rung_failed(
        &mut self,
        call: &mut Call,
        leg: LegId,
        why: &Cause,
        contacts: &[String],
        round: &mut Round<'_>,
    ) {
        let State::Ringing(ringing) = &mut call.state else {
            return;
        };
        ringing.legs.retain(|one| *one != leg);
        ringing.asked.retain(|one| *one != leg);
        self.sending_refused(call, why.status);
        call.refusal = Some(why.clone());
        let State::Ringing(ringing) = &mut call.state else {
            return;
        };
        let is_alone = ringing.legs.is_empty() && ringing.left.is_empty();
        if let Some(contact) = contacts.first().filter(|_| is_alone)
            && self.redirect(call, contact, round)
        {
            return;
        }
        if let State::Ringing(ringing) = &mut call.state {
            ringing.outcomes.push(outcome(why.status));
            if !ringing.legs.is_empty() {
                return;
            }
        }
        if !self.ring_next(call, round) {
            self.rung_in_vain(call, round);
        }
    }

    /// A phone sends its caller on (3xx): within the dialplan, and with the rights of the phone's extension.
    fn redirect(&mut self, call: &mut Call, contact: &str, round: &mut Round<'_>) -> bool {
        let Some(Step::Forwards(extension)) = call.program.first().cloned() else {
            return false;
        };
        let user = contact.split_once('@').map_or(contact, |(user, _)| user);
        let rights = self.plan.rights(&extension, true);
        if !self.may_dial(&rights, user, round) {
            return false;
        }
        call.note(format!("redirected to {user}"));
        let reason = crate::control::DiversionReason::Unconditional;
        let text = format!("$number{user}");
        // A number that is not the operator's is looked up with the rights of who sends the call on.
        call.number = String::new();
        call.program = vec![
            Step::Diverted(extension, reason),
            Step::Goto(Template(text)),
        ];
        self.hush(call, call.main, round);
        self.run(call, round);
        true
    }

    pub(crate) fn ring_timeout(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Ringing(ringing) = &mut call.state else {
            return;
        };
        let legs = std::mem::take(&mut ringing.legs);
        ringing.asked.clear();
        ringing.outcomes.push(Outcome::NoAnswer);
        call.refusal = None;
        let mut why = cause(408);
        why.text = "no answer".to_owned();
        for leg in legs {
            self.hang_up(call, leg, why.clone(), round);
        }
        if !self.ring_next(call, round) {
            self.rung_in_vain(call, round);
        }
    }

    fn rung_in_vain(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Ringing(ringing) = &call.state else {
            return;
        };
        // Who let it ring may yet come; who is busy is there; else nobody is.
        let worst = [Outcome::NoAnswer, Outcome::Busy]
            .into_iter()
            .find(|outcome| ringing.outcomes.contains(outcome))
            .unwrap_or(Outcome::Unreachable);
        call.outcome = Some(worst);
        self.hush(call, call.main, round);
        self.run(call, round);
    }
}

impl Target {
    /// A bare user is one of ours.
    pub(crate) fn of(dial: String) -> Target {
        let user = if dial.contains('@') {
            String::new()
        } else {
            dial.clone()
        };
        Target { user, dial }
    }
}
