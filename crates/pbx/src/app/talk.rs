//! Two who talk: codes they key in, hold, transfer, and others who take a place.

use crate::control::{Action, Cause, LegId, Party, Referral, Sound};

use super::call::{Call, Consulting, Dialling, Keys, Sending, Stage, State, Talking, TimerKind};
use super::end::cause;
use super::legs::prompts;
use super::{KEYS_MAX, Round, Switchboard};
use crate::plan::features::{Code, Heard};

/// The result of a transfer has been told already.
const SAID: u16 = 0;

/// How long the first digit of a transfer is waited for, and the next.
const FIRST_DIGIT_MS: u64 = 10_000;
const NEXT_DIGIT_MS: u64 = 4_000;

impl Switchboard {
    /// One of two has hung up.
    pub(crate) fn talker_gone(
        &mut self,
        call: &mut Call,
        leg: LegId,
        why: &Cause,
        round: &mut Round<'_>,
    ) {
        if call.consults.is_some() {
            let is_done = if leg == call.main {
                self.complete_transfer(call, round)
            } else {
                self.return_from_consulting(call, round)
            };
            if is_done {
                return;
            }
        }
        self.over(call, why, round);
    }

    pub(crate) fn talk_digit(
        &mut self,
        call: &mut Call,
        leg: LegId,
        digit: char,
        round: &mut Round<'_>,
    ) {
        let mut keys = match call.keys.take() {
            Some(keys) if keys.leg == leg => keys.keys,
            _ => String::new(),
        };
        keys.push(digit);
        let plan = self.plan.clone();
        call.clear_timer(&TimerKind::Code);
        // A key that does not go on with a code may begin another.
        let mut heard = plan.features.hear(&keys);
        if heard == Heard::Nothing && keys.len() > 1 {
            keys = digit.to_string();
            heard = plan.features.hear(&keys);
        }
        match heard {
            Heard::Nothing => {}
            Heard::Begun => {
                let between_ms = u64::from(plan.features.between_ms);
                call.set_timer(TimerKind::Code, round.unix_ms + between_ms);
                call.keys = Some(Keys { leg, keys });
            }
            Heard::Code(Code::Record) => self.toggle_recording(call, leg, round),
            Heard::Code(Code::Attended) if call.consults.is_some() && leg == call.main => {
                self.return_from_consulting(call, round);
            }
            Heard::Code(_) if call.consults.is_some() => {}
            Heard::Code(Code::Blind) => self.begin_dialling(call, leg, false, round),
            Heard::Code(Code::Attended) => self.begin_dialling(call, leg, true, round),
            Heard::Code(Code::Park) => self.park_by_code(call, leg, round),
        }
    }

    fn begin_dialling(
        &mut self,
        call: &mut Call,
        by: LegId,
        is_attended: bool,
        round: &mut Round<'_>,
    ) {
        let Some(held) = call.other(by).filter(|_| may_transfer(call, by)) else {
            return;
        };
        let by_user = call.leg(by).map(|leg| leg.user.clone()).unwrap_or_default();
        self.leave_tables(call, round);
        round.act(Action::Unbridge { leg: by });
        call.enter(State::Dialling(Dialling {
            by,
            by_user,
            held,
            is_attended,
            keys: String::new(),
        }));
        call.set_timer(TimerKind::State, round.unix_ms + FIRST_DIGIT_MS);
        self.listen(call, by, round);
        self.music(call, held, "default", round);
        self.play(call, by, prompts(&["transfer/number"]), false, true, round);
    }

    pub(crate) fn dialling_digit(&mut self, call: &mut Call, digit: char, round: &mut Round<'_>) {
        let State::Dialling(at) = &mut call.state else {
            return;
        };
        let by = at.by;
        match digit {
            '#' => return self.dialling_timeout(call, round),
            '*' if at.keys.is_empty() => return self.resume(call, round),
            _ if at.keys.len() < KEYS_MAX => at.keys.push(digit),
            _ => {}
        }
        call.set_timer(TimerKind::State, round.unix_ms + NEXT_DIGIT_MS);
        self.hush(call, by, round);
    }

    /// The number is complete.
    pub(crate) fn dialling_timeout(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Dialling(at) = call.state.clone() else {
            return;
        };
        let rights = self.rights_of(call, at.by);
        if !self.may_dial(&rights, &at.keys, round) {
            self.resume(call, round);
            self.play(
                call,
                at.by,
                prompts(&["transfer/wrong"]),
                false,
                true,
                round,
            );
            return;
        }
        if at.is_attended {
            self.consult(call, &at, rights, round);
        } else {
            self.send_dialled(call, at, rights, round);
        }
    }

    fn send_dialled(
        &mut self,
        call: &mut Call,
        at: Dialling,
        rights: Vec<String>,
        round: &mut Round<'_>,
    ) {
        let by_user = match call.leg(at.by) {
            Some(leg) => leg.user.clone(),
            None => at.by_user,
        };
        let sending = Sending {
            by: at.by,
            by_user,
            number: at.keys,
            ..Sending::default()
        };
        self.send_on(call, at.held, sending, rights, round);
    }

    fn rights_of(&self, call: &Call, leg: LegId) -> Vec<String> {
        let user = call
            .leg(leg)
            .map(|leg| leg.user.clone())
            .unwrap_or_default();
        self.plan.rights(&user, !user.is_empty())
    }

    /// Both talk again.
    fn resume(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let (State::Dialling(Dialling { by, held, .. }), main) = (&call.state, call.main) else {
            return;
        };
        let peer = if *by == main { *held } else { *by };
        call.enter(State::Talking(Talking {
            peer,
            ..Talking::default()
        }));
        self.listen_no_more(call, round);
        self.bridge(call, main, peer, round);
    }

    /// One asks somebody, in a call of its own, while the other waits.
    fn consult(
        &mut self,
        call: &mut Call,
        at: &Dialling,
        rights: Vec<String>,
        round: &mut Round<'_>,
    ) {
        let Some(leg) = self.give_away(call, at.by, round) else {
            return self.over(call, &cause(200), round);
        };
        call.note(format!("{} asks {}", leg.user, at.keys));
        let mut asking = Box::new(Call {
            id: round.ids.issue(),
            caller: leg.party.clone(),
            called: Party {
                user: at.keys.clone(),
                host: call.called.host.clone(),
                display: String::new(),
            },
            began_unix_ms: round.unix_ms,
            answered_unix_ms: Some(round.unix_ms),
            main: leg.id,
            rights,
            is_trusted: true,
            number: at.keys.clone(),
            consults: Some(call.id),
            ..Call::default()
        });
        call.enter(State::Consulting(Consulting {
            held: at.held,
            call: asking.id,
            by_user: leg.user.clone(),
        }));
        call.main = at.held;
        self.counts.calls += 1;
        self.adopt(&mut asking, leg, round);
        // Its steps begin when this call is back in the table.
        self.to_run.push(asking.id);
        self.put_back(asking, round);
    }

    /// Calls that were begun in this input do their first steps.
    pub(crate) fn run_begun(&mut self, round: &mut Round<'_>) {
        while let Some(id) = self.to_run.pop() {
            self.with(id, round, |board, call, round| {
                let number = call.number.clone();
                board.dialled(call, &number, round);
            });
        }
    }

    /// Who asked has hung up: who waited takes the place.
    pub(crate) fn complete_transfer(&mut self, call: &mut Call, round: &mut Round<'_>) -> bool {
        let Some(first) = call.consults.take() else {
            return false;
        };
        let mut waiting = None;
        let id = call.id;
        self.with(first, round, |board, other, round| {
            if let State::Consulting(at) = other.state.clone() {
                waiting = board.give_away(other, at.held, round);
                other.note(format!("transferred to call {id}"));
                other.state = State::Running;
                board.over(other, &cause(200), round);
            }
        });
        let Some(waiting) = waiting else { return false };
        let held = waiting.id;
        call.note(format!("transferred from call {first}"));
        (call.caller, call.is_private) = (waiting.party.clone(), waiting.is_private);
        let had = call.main;
        self.adopt(call, waiting, round);
        call.main = held;
        self.hang_up(call, had, cause(200), round);
        match call.state.clone() {
            State::Talking(talking) => self.bridge(call, held, talking.peer, round),
            State::Ringing(_) => {
                let tone = vec![Sound::Tone("ringback".to_owned())];
                self.play(call, held, tone, true, false, round);
            }
            _ => {
                self.leave_tables(call, round);
                let number = call.number.clone();
                self.dialled(call, &number, round);
            }
        }
        true
    }

    /// Who was asked is not there, or not willing: both who talked first talk again.
    pub(crate) fn return_from_consulting(
        &mut self,
        call: &mut Call,
        round: &mut Round<'_>,
    ) -> bool {
        let Some(first) = call.consults else {
            return false;
        };
        let main = call.main;
        if !self.calls.contains_key(&first) || !call.is_live(main) {
            return false;
        }
        call.consults = None;
        if let State::Talking(talking) = &call.state {
            let peer = talking.peer;
            round.act(Action::Unbridge { leg: main });
            self.hang_up(call, peer, cause(200), round);
        }
        let Some(leg) = self.give_away(call, main, round) else {
            return false;
        };
        self.with(first, round, |board, other, round| {
            let State::Consulting(at) = other.state.clone() else {
                return;
            };
            let back = leg.id;
            board.adopt(other, leg, round);
            other.note("back".to_owned());
            other.enter(State::Talking(Talking {
                peer: back,
                ..Talking::default()
            }));
            other.main = at.held;
            board.bridge(other, at.held, back, round);
        });
        self.over(call, &cause(200), round);
        true
    }

    /// Who keyed in a number, or who waited for it, has hung up.
    pub(crate) fn dialler_gone(
        &mut self,
        call: &mut Call,
        leg: LegId,
        why: &Cause,
        round: &mut Round<'_>,
    ) {
        let State::Dialling(at) = call.state.clone() else {
            return;
        };
        let rights = self.plan.rights(&at.by_user, true);
        if leg == at.by && self.may_dial(&rights, &at.keys, round) {
            return self.send_dialled(call, at, rights, round);
        }
        self.over(call, why, round);
    }

    /// A leg asks by REFER to send its other party elsewhere (RFC 3515, RFC 5589).
    pub(crate) fn transfer_to(
        &mut self,
        call: &mut Call,
        leg: LegId,
        target: &str,
        (replaces, referral): (Option<LegId>, &Referral),
        round: &mut Round<'_>,
    ) {
        let status = match (call.other(leg), replaces) {
            (None, _) => 403,
            (Some(held), Some(replaced)) => self.join_legs(call, leg, held, replaced, round),
            (Some(held), None) => self.refer(call, (leg, held), target, referral, round),
        };
        if status != SAID && call.leg(leg).is_some() {
            round.act(Action::TransferResult { leg, status });
        }
        if status == 200 {
            self.hang_up(call, leg, cause(200), round);
        }
    }

    /// Sends `held` on as `by` asks for.
    fn refer(
        &mut self,
        call: &mut Call,
        (by, held): (LegId, LegId),
        target: &str,
        referral: &Referral,
        round: &mut Round<'_>,
    ) -> u16 {
        // Where it leads is decided by the dialplan, with the rights of who sends.
        let rights = self.rights_of(call, by);
        let is_attended = !referral.replaces.is_empty();
        // A PBX of the farm is named without a user; what a number leads to is never asked of another host. Other hosts are for those who may
        // dial what leads there.
        let is_dialog_elsewhere = is_attended
            && may_transfer(call, by)
            && target.strip_prefix('@').is_some_and(|host| {
                referral.is_near || self.plan.leads_to(host, &rights, round.unix_ms)
            });
        if !is_dialog_elsewhere && (target.contains('@') || !self.may_dial(&rights, target, round))
        {
            return 403;
        }
        let by_user = call.leg(by).map(|leg| leg.user.clone()).unwrap_or_default();
        let sending = Sending {
            by,
            by_user,
            number: target.to_owned(),
            is_told: true,
            ..Sending::default()
        };
        round.act(Action::Unbridge { leg: by });
        self.leave_tables(call, round);
        call.referral = referral.clone();
        match is_attended {
            true => self.send_elsewhere(call, held, sending, round),
            false => self.send_on(call, held, sending, rights, round),
        }
        SAID
    }

    /// An attended transfer: `held` takes the place of `replaced` in that one's call.
    fn join_legs(
        &mut self,
        call: &mut Call,
        leg: LegId,
        held: LegId,
        replaced: LegId,
        round: &mut Round<'_>,
    ) -> u16 {
        let Some(other) = self.legs.get(&replaced).copied() else {
            return 481;
        };
        let is_possible = self
            .calls
            .get(&other)
            .is_some_and(|other| can_replace(other, replaced));
        if !is_possible {
            return 481;
        }
        round.act(Action::Unbridge { leg });
        self.leave_tables(call, round);
        call.enter(State::Running);
        let Some(moved) = self.give_away(call, held, round) else {
            return 481;
        };
        call.main = leg;
        call.note(format!("transferred to call {other}"));
        let from = call.id;
        self.with(other, round, |board, other, round| {
            other.note(format!("transferred from call {from}"));
            board.adopt(other, moved, round);
            board.replace(other, replaced, held, round);
        });
        // What is left of this call is who sent it on.
        round.act(Action::TransferResult { leg, status: 200 });
        self.over(call, &cause(200), round);
        SAID
    }

    /// A call that came in takes the place of a leg (RFC 3891).
    pub(crate) fn take_place(&mut self, call: &mut Call, replaced: LegId, round: &mut Round<'_>) {
        let other = self.legs.get(&replaced).copied().unwrap_or_default();
        // Who knows both tags of a dialog that is answered is one of the two, or was told by one; what rings can be seen by others.
        let is_known = call.is_trusted || self.leg_is_answered(other, replaced);
        let is_possible = is_known
            && self
                .calls
                .get(&other)
                .is_some_and(|other| can_replace(other, replaced));
        if !is_possible {
            return self.finish(call, 481, round);
        }
        call.note(format!("takes a place in call {other}"));
        let Some(leg) = self.give_away(call, call.main, round) else {
            return;
        };
        let id = leg.id;
        self.with(other, round, |board, other, round| {
            board.adopt(other, leg, round);
            board.answer_leg(other, id, round);
            board.replace(other, replaced, id, round);
        });
        self.over(call, &cause(200), round);
    }

    fn leg_is_answered(&self, call: u64, leg: LegId) -> bool {
        self.calls
            .get(&call)
            .is_some_and(|call| call.is_answered(leg))
    }

    /// Puts `new` where `old` was.
    fn replace(&mut self, call: &mut Call, old: LegId, new: LegId, round: &mut Round<'_>) {
        match &mut call.state {
            State::Talking(talking) => {
                if call.main == old {
                    call.main = new;
                } else {
                    talking.peer = new;
                }
                let (main, peer) = (call.main, talking.peer);
                self.hang_up(call, old, cause(200), round);
                self.bridge(call, main, peer, round);
            }
            State::Ringing(_) if call.main == old => {
                call.main = new;
                self.hang_up(call, old, cause(200), round);
                let tone = vec![Sound::Tone("ringback".to_owned())];
                self.play(call, new, tone, true, false, round);
            }
            // A phone that rings: who takes its place has the call.
            State::Ringing(_) => self.connect(call, new, round),
            _ => self.hang_up(call, new, cause(481), round),
        }
    }

    /// One put the other on hold, or took it back.
    pub(crate) fn held(&mut self, call: &mut Call, leg: LegId, on: bool, round: &mut Round<'_>) {
        if let Some(leg) = call.leg_mut(leg) {
            leg.is_holding = on;
        }
        let Some(other) = call.other(leg) else { return };
        if on {
            self.music(call, other, "default", round);
        } else {
            self.hush(call, other, round);
        }
    }
}

/// Who may use codes that move the other: those whose phone is one of ours.
pub(crate) fn may_transfer(call: &Call, leg: LegId) -> bool {
    call.leg(leg).is_some_and(|leg| !leg.user.is_empty())
}

/// Whether somebody can take the place of a leg.
fn can_replace(call: &Call, leg: LegId) -> bool {
    match &call.state {
        State::Talking(talking) => talking.peer == leg || call.main == leg,
        State::Ringing(ringing) => {
            ringing.legs.contains(&leg)
                || call.main == leg
                    && call
                        .leg(leg)
                        .is_some_and(|leg| leg.stage == Stage::Answered)
        }
        _ => false,
    }
}
