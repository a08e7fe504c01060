//! Legs: who is called, what they hear, and what that looks like to those who watch.

use std::sync::Arc;

use crate::control::{
    Action, Cause, LegId, LegRecord, Party, PlayId, Question, QuestionId, RecordingId, Sound,
};
use crate::plan::{Piece, Values};

use super::call::{
    Asked, Call, LEGS_MAX, LEGS_NOTED_MAX, Leg, Purpose, Recording, Sounding, Stage, State, Target,
};
use super::{Round, Switchboard};

impl Leg {
    pub(crate) fn record(&self, cause: Cause) -> LegRecord {
        LegRecord {
            call_id: self.call_id.clone(),
            party: self.party.clone(),
            codec: self.codec.clone(),
            cause,
            figures: self.figures,
        }
    }
}

impl Switchboard {
    pub(crate) fn set_stage(
        &mut self,
        call: &mut Call,
        leg: LegId,
        stage: Stage,
        round: &mut Round<'_>,
    ) {
        if let Some(leg) = call.leg_mut(leg) {
            leg.stage = stage;
            self.show(leg, round);
        }
    }

    /// Takes in a leg of another call, or a new one.
    pub(crate) fn adopt(&mut self, call: &mut Call, leg: Leg, round: &mut Round<'_>) {
        self.legs.insert(leg.id, call.id);
        self.show(&leg, round);
        call.legs.push(leg);
    }

    /// Gives a leg away; what it heard is stopped.
    pub(crate) fn give_away(
        &mut self,
        call: &mut Call,
        leg: LegId,
        round: &mut Round<'_>,
    ) -> Option<Leg> {
        self.hush(call, leg, round);
        if call.listens == Some(leg) {
            self.listen_no_more(call, round);
        }
        // What was recorded of it here is whole.
        for recording in call
            .recordings
            .iter_mut()
            .filter(|one| one.leg == leg && !one.is_stopping)
        {
            recording.is_stopping = true;
            round.act(Action::StopRecord {
                recording: recording.id,
            });
        }
        let at = call.legs.iter().position(|one| one.id == leg)?;
        let leg = call.legs.remove(at);
        if call.done.len() < LEGS_NOTED_MAX {
            call.done.push(leg.record(super::end::cause(200)));
        }
        Some(leg)
    }

    /// The end of a leg has been told.
    pub(crate) fn remove_leg(
        &mut self,
        call: &mut Call,
        leg: LegId,
        cause: &Cause,
        round: &mut Round<'_>,
    ) {
        let Some(at) = call.legs.iter().position(|one| one.id == leg) else {
            return;
        };
        let leg = call.legs.remove(at);
        self.legs.remove(&leg.id);
        call.sounding.retain(|one| one.leg != leg.id);
        call.leaving.retain(|one| one.leg != leg.id);
        call.keys.take_if(|keys| keys.leg == leg.id);
        call.listens.take_if(|listens| *listens == leg.id);
        self.show_gone(&leg, round);
        if call.done.len() < LEGS_NOTED_MAX {
            call.done.push(leg.record(cause.clone()));
        }
    }

    /// Calls a phone. `None`: there are as many legs as may be.
    pub(crate) fn dial(
        &mut self,
        call: &mut Call,
        target: &Target,
        shown: Option<Party>,
        auto_answer: bool,
        round: &mut Round<'_>,
    ) -> Option<LegId> {
        if call.legs.len() >= LEGS_MAX {
            return None;
        }
        let leg = LegId(round.ids.issue());
        round.act(Action::Dial {
            leg,
            for_leg: call.is_live(call.main).then_some(call.main),
            target: target.dial.clone(),
            caller: shown.unwrap_or_else(|| call.caller.clone()),
            is_private: call.is_private,
            diversions: call.diversions.clone(),
            auto_answer: auto_answer || call.auto_answer,
            referral: call.referral.clone(),
        });
        let (user, host) = target
            .dial
            .split_once('@')
            .unwrap_or((target.dial.as_str(), ""));
        let party = Party {
            user: user.to_owned(),
            host: host.to_owned(),
            display: String::new(),
        };
        // A dialog is replaced once.
        call.referral.replaces.clear();
        call.referral.uri.clear();
        let leg_state = Leg {
            id: leg,
            user: target.user.clone(),
            party,
            remote: (!call.is_private).then(|| Arc::new(call.caller.clone())),
            ..Leg::default()
        };
        self.adopt(call, leg_state, round);
        Some(leg)
    }

    /// Ends a leg; [`crate::control::Happening::Ended`] follows.
    pub(crate) fn hang_up(
        &mut self,
        call: &mut Call,
        leg: LegId,
        cause: Cause,
        round: &mut Round<'_>,
    ) {
        if !call.is_live(leg) {
            return;
        }
        call.sounding.retain(|one| one.leg != leg);
        let is_unanswered = call
            .leg(leg)
            .is_some_and(|one| one.is_incoming && one.stage != Stage::Answered);
        self.set_stage(call, leg, Stage::Ending, round);
        round.act(if is_unanswered {
            let retry_after_s = (cause.status == 503).then_some(5);
            Action::Reject {
                leg,
                cause,
                retry_after_s,
            }
        } else {
            Action::Hangup { leg, cause }
        });
    }

    /// Answers the caller, once.
    pub(crate) fn answer(&mut self, call: &mut Call, round: &mut Round<'_>) {
        self.answer_leg(call, call.main, round);
    }

    pub(crate) fn answer_leg(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        let is_waiting = call
            .leg(leg)
            .is_some_and(|one| matches!(one.stage, Stage::Calling | Stage::Ringing));
        if is_waiting {
            round.act(Action::Answer { leg });
            self.set_stage(call, leg, Stage::Answered, round);
            call.answered_unix_ms.get_or_insert(round.unix_ms);
        }
    }

    pub(crate) fn play(
        &mut self,
        call: &mut Call,
        leg: LegId,
        sounds: Vec<Sound>,
        repeat: bool,
        barge_in: bool,
        round: &mut Round<'_>,
    ) -> PlayId {
        let play = PlayId(round.ids.issue());
        if !call.is_live(leg) {
            return play;
        }
        self.hush(call, leg, round);
        round.act(Action::Play {
            leg,
            play,
            sounds,
            from_ms: 0,
            repeat,
            barge_in,
        });
        call.sounding.push(Sounding { leg, play });
        play
    }

    /// Plays prompts to the leg that the steps are for; a key stops them.
    pub(crate) fn say(&mut self, call: &mut Call, sounds: Vec<Sound>, round: &mut Round<'_>) {
        self.play(call, call.main, sounds, false, true, round);
    }

    /// Keys are waited for: they may come in the sound too.
    pub(crate) fn listen(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        if call.listens != Some(leg) {
            self.listen_no_more(call, round);
            call.listens = Some(leg);
            round.act(Action::DetectInBand { leg, on: true });
        }
    }

    pub(crate) fn listen_no_more(&mut self, call: &mut Call, round: &mut Round<'_>) {
        if let Some(leg) = call.listens.take()
            && call.is_live(leg)
        {
            round.act(Action::DetectInBand { leg, on: false });
        }
    }

    pub(crate) fn hush(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        let is_live = call.is_live(leg);
        call.sounding.retain(|one| {
            if one.leg == leg && is_live {
                round.actions.push(Action::StopPlay {
                    leg,
                    play: one.play,
                });
            }
            one.leg != leg
        });
    }

    pub(crate) fn music(&mut self, call: &mut Call, leg: LegId, name: &str, round: &mut Round<'_>) {
        let music = Sound::Music(name.to_owned());
        self.play(call, leg, vec![music], true, false, round);
    }

    pub(crate) fn bridge(&mut self, call: &mut Call, a: LegId, b: LegId, round: &mut Round<'_>) {
        self.hush(call, a, round);
        self.hush(call, b, round);
        round.act(Action::Bridge { a, b });
        self.show_pair(call, a, b, round);
    }

    pub(crate) fn record(
        &mut self,
        call: &mut Call,
        recording: Recording,
        beep: bool,
        round: &mut Round<'_>,
    ) {
        let recording = Recording {
            id: RecordingId(round.ids.issue()),
            began_unix_ms: round.unix_ms,
            ..recording
        };
        round.act(recording.action(0, beep));
        self.recordings.insert(recording.id, call.id);
        call.recordings.push(recording);
    }

    /// Begins or ends the recording that somebody asked for.
    pub(crate) fn toggle_recording(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        let running = call
            .recordings
            .iter_mut()
            .find(|one| one.purpose == Purpose::Demand && !one.is_stopping);
        if let Some(recording) = running {
            recording.is_stopping = true;
            round.act(Action::StopRecord {
                recording: recording.id,
            });
            call.note("record off".to_owned());
            return;
        }
        if call.recordings.len() >= super::end::RECORDINGS_MAX {
            return;
        }
        let path = format!("recordings/{}-{:x}.wav", round.unix_ms, round.ids.issue());
        call.note(format!("record {path}"));
        let recording = Recording {
            leg,
            path,
            both: true,
            max_ms: self.plan.recording_max_ms,
            ..Recording::default()
        };
        self.record(call, recording, false, round);
    }

    pub(crate) fn ask(&mut self, call: &mut Call, what: Question, round: &mut Round<'_>) {
        let number = round.ids.issue();
        self.questions.insert(number, call.id);
        if let Some(before) = call.asked.replace(Asked {
            number,
            what: Some(what.clone()),
        }) {
            self.questions.remove(&before.number);
        }
        round.act(Action::Ask {
            question: QuestionId(number),
            what,
        });
    }

    /// Has a recording deleted that was spoken again, or is too short. No call waits for it.
    pub(crate) fn delete_recording(&self, path: &str, round: &mut Round<'_>) {
        if !path.is_empty() {
            let question = QuestionId(round.ids.issue());
            let path = path.to_owned();
            let what = Question::DeleteRecording { path };
            round.act(Action::Ask { question, what });
        }
    }

    /// Sounds of a step in a call.
    pub(crate) fn sounds(&self, call: &Call, pieces: &[Piece]) -> Vec<Sound> {
        let values = call.values();
        pieces.iter().map(|piece| piece.sound(values)).collect()
    }

    /// The user whose phone a party of ours uses.
    pub(crate) fn user_of(&self, party: &Party, is_trusted: bool) -> String {
        if is_trusted {
            party.user.clone()
        } else {
            String::new()
        }
    }
}

impl Recording {
    pub(crate) fn action(&self, from_ms: u32, beep: bool) -> Action {
        Action::Record {
            leg: self.leg,
            recording: self.id,
            path: self.path.clone(),
            both: self.both,
            max_ms: self.max_ms,
            silence_ms: self.silence_ms,
            key_ends: self.purpose != Purpose::Demand,
            beep,
            from_ms,
        }
    }
}

impl Call {
    /// What templates are filled with.
    pub(crate) fn values(&self) -> Values<'_> {
        Values {
            number: &self.number,
            rest: &self.rest,
            caller: &self.caller.user,
        }
    }

    /// Moves to another state; what the old one waited for is forgotten.
    pub(crate) fn enter(&mut self, state: State) {
        use super::call::TimerKind as Kind;
        for kind in [
            Kind::State,
            Kind::Position,
            Kind::Wait,
            Kind::Agents,
            Kind::Code,
        ] {
            self.clear_timer(&kind);
        }
        self.keys = None;
        self.state = state;
    }
}

/// A prompt.
pub(crate) fn prompt(name: &str) -> Sound {
    Sound::Prompt(name.to_owned())
}

/// Prompts.
pub(crate) fn prompts(names: &[&str]) -> Vec<Sound> {
    names.iter().map(|name| prompt(name)).collect()
}
