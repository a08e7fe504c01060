//! What happens to legs, and how calls end: exactly one record each.

use crate::control::{Action, Cause, Cdr, EndedBy, Happening, LegId};

use super::call::{Call, Leaving, Purpose, Stage, State, TimerKind};
use super::{Round, Switchboard};

/// Most recordings of a call at one time.
pub const RECORDINGS_MAX: usize = 4;

/// How long the end of a leg, a recording or an answer is waited for when all else is over.
pub const END_TIMEOUT_MS: u64 = 40_000;

/// The cause that goes with a status (RFC 3398 section 8.2.6.1, Q.850).
pub(crate) fn cause(status: u16) -> Cause {
    let q850 = match status {
        486 | 600 => 17,
        480 | 408 => 19,
        403 | 603 => 21,
        404 | 604 => 1,
        482 => 25,
        484 => 28,
        500..=599 => 41,
        300..=699 => 31,
        _ => 16,
    };
    Cause {
        status,
        q850,
        text: String::new(),
    }
}

/// The cause for phones whose call somebody else answered (RFC 3326).
pub(crate) fn completed_elsewhere() -> Cause {
    Cause {
        status: 200,
        q850: 26,
        text: "Call completed elsewhere".to_owned(),
    }
}

impl Call {
    /// Whether nothing is left to wait for.
    pub(crate) fn is_finished(&self) -> bool {
        self.state == State::Over
            && self.legs.is_empty()
            && self.recordings.is_empty()
            && self.asked.is_none()
    }

    /// The cause of a status that the caller is told: where a phone refused for that, its Q.850 cause (RFC 3326, RFC 6432).
    fn cause_of(&self, status: u16) -> Cause {
        let refusal = self
            .refusal
            .as_ref()
            .filter(|refusal| self.outcome == Some(super::ring::outcome(refusal.status)));
        Cause {
            q850: match refusal {
                Some(refusal) if matches!(status, 480 | 486) => refusal.q850,
                _ => cause(status).q850,
            },
            ..cause(status)
        }
    }

    /// What the record of the call says of its end.
    fn cause_told(&mut self) -> Cause {
        let ended = self.ended.take().unwrap_or_else(|| cause(200));
        match self.answered_unix_ms {
            Some(_) => Cause {
                status: 200,
                ..ended
            },
            None => ended,
        }
    }
}

impl Switchboard {
    /// Ends all legs. The call goes when they, its recordings and its questions are over.
    pub(crate) fn over(&mut self, call: &mut Call, cause: &Cause, round: &mut Round<'_>) {
        if call.state == State::Over {
            return;
        }
        self.leave_tables(call, round);
        call.enter(State::Over);
        call.ended = Some(cause.clone());
        call.program.clear();
        call.set_timer(TimerKind::End, round.unix_ms + END_TIMEOUT_MS);
        for leg in call.legs.iter().map(|leg| leg.id).collect::<Vec<_>>() {
            self.hang_up(call, leg, cause.clone(), round);
        }
    }

    /// Takes the call out of queue, room and slot, and frees its agent.
    pub(crate) fn leave_tables(&mut self, call: &mut Call, round: &mut Round<'_>) {
        match std::mem::take(&mut call.state) {
            State::Queued(queued) => self.leave_queue(call, &queued, round),
            State::Room(at) => self.leave_room(call, &at, round),
            State::Parked(parked) => {
                self.slots.remove(&parked.slot);
            }
            State::Talking(talking) => self.free_talker(call.id, &talking, round),
            State::Consulting(consulting) => {
                self.with(consulting.call, round, |_, other, _| other.consults = None);
            }
            _ => {}
        }
    }

    /// Whether there is a call.
    pub fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// What the records of the calls in progress would say of their parties and times if they ended at `unix_ms`.
    pub fn underway(&self, unix_ms: u64) -> impl Iterator<Item = Cdr> + '_ {
        self.calls.values().map(move |call| Cdr {
            id: call.id,
            caller: call.caller.clone(),
            called: call.called.clone(),
            began_unix_ms: call.began_unix_ms,
            answered_unix_ms: call.answered_unix_ms,
            ended_unix_ms: unix_ms,
            ..Cdr::default()
        })
    }

    /// Writes the record of a call that is over, and forgets it.
    pub(crate) fn close(&mut self, call: &mut Call, round: &mut Round<'_>) {
        self.counts.ended += 1;
        if let Some(first) = call.consults.take() {
            let id = call.id;
            self.with(first, round, |board, other, round| {
                if matches!(&other.state, State::Consulting(at) if at.call == id) {
                    board.over(other, &cause(200), round);
                }
            });
        }
        round.act(Action::Cdr(Box::new(Cdr {
            id: call.id,
            caller: call.caller.clone(),
            called: call.called.clone(),
            began_unix_ms: call.began_unix_ms,
            answered_unix_ms: call.answered_unix_ms,
            ended_unix_ms: round.unix_ms,
            cause: call.cause_told(),
            ended_by: call.ended_by,
            steps: std::mem::take(&mut call.notes),
            legs: std::mem::take(&mut call.done),
        })));
    }

    pub(crate) fn leg_happened(
        &mut self,
        call: &mut Call,
        leg: LegId,
        happening: &Happening,
        round: &mut Round<'_>,
    ) {
        match happening {
            Happening::Ringing { has_media, .. } => self.leg_rings(call, leg, *has_media, round),
            Happening::Answered { .. } => self.leg_answered(call, leg, round),
            Happening::Failed {
                cause, contacts, ..
            } => self.leg_gone(call, leg, cause, contacts, round),
            Happening::Ended { cause, .. } => self.leg_gone(call, leg, cause, &[], round),
            Happening::Digit { digit, .. } => self.digit(call, leg, *digit, round),
            Happening::Played { play, .. } => {
                let last = Leaving { leg, play: *play };
                if call.leaving.contains(&last) {
                    self.hang_up(call, leg, cause(200), round);
                    return;
                }
                let before = call.sounding.len();
                call.sounding
                    .retain(|one| one.leg != leg || one.play != *play);
                if call.sounding.len() < before {
                    self.played(call, leg, round);
                }
            }
            Happening::Recorded {
                recording,
                length_ms,
                is_saved,
                ..
            } => {
                self.recordings.remove(recording);
                let Some(at) = call.recordings.iter().position(|one| one.id == *recording) else {
                    return;
                };
                let recording = call.recordings.remove(at);
                match recording.purpose {
                    Purpose::Demand if !*is_saved => call.note("recording lost".to_owned()),
                    Purpose::Demand => {}
                    Purpose::Message => self.message_recorded(call, *length_ms, *is_saved, round),
                    Purpose::Greeting => self.greeting_recorded(call, *length_ms, *is_saved, round),
                }
            }
            Happening::TransferTo {
                target,
                replaces,
                referral,
                ..
            } => self.transfer_to(call, leg, target, (*replaces, referral), round),
            Happening::Hold { on, .. } => self.held(call, leg, *on, round),
            Happening::Quality {
                call_id,
                codec,
                figures,
                ..
            } => {
                if let Some(leg) = call.leg_mut(leg) {
                    leg.call_id.clone_from(call_id);
                    leg.codec.clone_from(codec);
                    leg.figures = *figures;
                }
            }
            Happening::Incoming(_) | Happening::Told { .. } | Happening::Watched { .. } => {}
        }
    }

    fn leg_answered(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        let is_called = call
            .leg(leg)
            .is_some_and(|one| !one.is_incoming && one.stage != Stage::Ending);
        if !is_called {
            return;
        }
        self.set_stage(call, leg, Stage::Answered, round);
        match &call.state {
            State::Ringing(ringing) if ringing.legs.contains(&leg) => {
                self.rung_answered(call, leg, round);
            }
            State::Queued(queued) if queued.ringing.iter().any(|(one, _)| *one == leg) => {
                self.agent_answered(call, leg, round);
            }
            // It was too late.
            _ => self.hang_up(call, leg, completed_elsewhere(), round),
        }
    }

    /// A leg is over: called in vain, or hung up.
    fn leg_gone(
        &mut self,
        call: &mut Call,
        leg: LegId,
        why: &Cause,
        contacts: &[String],
        round: &mut Round<'_>,
    ) {
        if call.leg(leg).is_none() {
            return;
        }
        let is_caller = call.leg(leg).is_some_and(|one| one.is_incoming);
        // A caller whose time is up, or whom we could not answer, did not hang up.
        let was_told_to_end = !call.is_live(leg) || is_caller && !matches!(why.status, 200 | 487);
        self.remove_leg(call, leg, why, round);
        let was_over = call.state == State::Over;
        self.without(call, leg, why, contacts, round);
        if call.state == State::Over
            && !was_over
            && !was_told_to_end
            && call.ended.as_ref() == Some(why)
        {
            call.ended_by = match is_caller {
                true => EndedBy::Caller,
                false => EndedBy::Callee,
            };
        }
    }

    /// The call goes on, or not, without a leg.
    fn without(
        &mut self,
        call: &mut Call,
        leg: LegId,
        why: &Cause,
        contacts: &[String],
        round: &mut Round<'_>,
    ) {
        match &mut call.state {
            State::Over => {}
            State::Ringing(ringing) if ringing.legs.contains(&leg) => {
                self.rung_failed(call, leg, why, contacts, round);
            }
            State::Queued(queued) if queued.ringing.iter().any(|(one, _)| *one == leg) => {
                self.agent_failed(call, leg, round);
            }
            State::Talking(talking) if talking.peer == leg || call.main == leg => {
                self.talker_gone(call, leg, why, round);
            }
            State::Dialling(at) if at.by == leg || at.held == leg => {
                self.dialler_gone(call, leg, why, round);
            }
            State::Consulting(at) if at.held == leg => self.over(call, why, round),
            _ if call.main == leg => self.main_gone(call, why, round),
            _ => {}
        }
    }

    /// Who the steps are for has hung up.
    fn main_gone(&mut self, call: &mut Call, why: &Cause, round: &mut Round<'_>) {
        if call.consults.is_some() && self.complete_transfer(call, round) {
            return;
        }
        if self.message_gone(call, round) {
            return;
        }
        self.over(call, why, round);
    }

    /// There is nothing more to do, and nobody to talk to.
    pub(crate) fn finish(&mut self, call: &mut Call, status: u16, round: &mut Round<'_>) {
        if call.consults.is_some() && self.return_from_consulting(call, round) {
            return;
        }
        match status {
            200 => self.sending_done(call, round),
            _ if self.sending_failed(call, status, round) => return,
            _ => {}
        }
        self.leave_tables(call, round);
        call.state = State::Running;
        let main_is_answered = call.is_answered(call.main);
        let why = call.cause_of(status);
        if !main_is_answered || status == 200 {
            self.over(call, &why, round);
            return;
        }
        // Who has been answered is told by sound.
        call.program = vec![crate::plan::Step::Hangup(None)];
        call.steps_done = 0;
        call.cause = Some(why);
        call.enter(State::Sounding);
        if status == 486 || status == 600 {
            call.set_timer(TimerKind::State, round.unix_ms + 4_000);
            let busy = vec![crate::control::Sound::Tone("busy".to_owned())];
            self.play(call, call.main, busy, true, false, round);
        } else {
            let sorry = super::legs::prompts(&["sorry"]);
            self.play(call, call.main, sorry, false, false, round);
        }
    }
}
