//! Leaving a message.

use crate::control::{Answer, Question, Sound};
use crate::plan::Template;

use super::call::{Call, MessageAt, MessageStage as Stage, Purpose, Recording, State, TimerKind};
use super::codec::mailbox_of;
use super::legs::{prompt, prompts};
use super::steps::Flow;
use super::{Round, Switchboard};

/// How long a key is waited for after what was said about a message.
const REVIEW_MS: u64 = 6_000;

/// How often a message may be spoken again.
const TAKES_MAX: u32 = 5;

/// How long the mailbox's answer is waited for before the greeting that ships with the program is used.
const ASKING_MS: u64 = 3_000;

/// How long the answer that a message is safe is waited for.
const KEEPING_MS: u64 = 15_000;

impl Switchboard {
    pub(crate) fn begin_message(
        &mut self,
        call: &mut Call,
        mailbox: &Template,
        round: &mut Round<'_>,
    ) -> Flow {
        let mailbox = self.mailbox_number(&mailbox.fill(call.values()));
        // What is not in the dialplan becomes no part of a path.
        let Some(mailbox) = mailbox else {
            return self.say_and_go_on(call, prompts(&["sorry"]), round);
        };
        self.answer(call, round);
        self.listen(call, call.main, round);
        call.enter(State::Message(MessageAt {
            mailbox: mailbox.clone(),
            ..MessageAt::default()
        }));
        call.set_timer(TimerKind::State, round.unix_ms + ASKING_MS);
        self.ask(call, Question::Mailbox { mailbox }, round);
        Flow::Wait
    }

    /// The mailbox of a number: its own, or that of the extension.
    pub(crate) fn mailbox_number(&self, text: &str) -> Option<String> {
        if self.plan.mailboxes.contains_key(text) {
            return Some(text.to_owned());
        }
        self.plan.extension(text)?.mailbox.clone()
    }

    fn set_message(&self, call: &mut Call, stage: Stage) -> MessageAt {
        if let State::Message(at) = &mut call.state {
            at.stage = stage;
            let at = at.clone();
            call.clear_timer(&TimerKind::State);
            return at;
        }
        MessageAt::default()
    }

    fn greet(&mut self, call: &mut Call, greeting: Option<String>, round: &mut Round<'_>) {
        let at = self.set_message(call, Stage::Greeting);
        let sounds = match greeting {
            Some(path) => vec![Sound::File(path)],
            None => vec![
                prompt("voicemail/extension"),
                Sound::Digits(at.mailbox),
                prompt("voicemail/unavailable"),
            ],
        };
        // A key is told when it is let go. If it stopped the greeting when it went down, the recording would have begun by then, and would end by it.
        self.play(call, call.main, sounds, false, false, round);
    }

    fn record_message(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let mut at = self.set_message(call, Stage::Recording);
        let Some(mailbox) = self.plan.mailboxes.get(&at.mailbox).cloned() else {
            return self.finish(call, 404, round);
        };
        at.takes += 1;
        self.delete_recording(&at.path, round);
        at.path = format!(
            "voicemail/{}/{}-{:x}-{}.wav",
            at.mailbox, round.unix_ms, call.id, at.takes
        );
        let recording = Recording {
            leg: call.main,
            path: at.path.clone(),
            max_ms: mailbox.message_max_ms,
            silence_ms: mailbox.silence_ms,
            purpose: Purpose::Message,
            ..Recording::default()
        };
        self.hush(call, call.main, round);
        call.state = State::Message(at);
        self.record(call, recording, true, round);
    }

    pub(crate) fn message_played(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Message(at) = &call.state else {
            return;
        };
        match at.stage {
            Stage::Greeting => self.record_message(call, round),
            Stage::Review => call.set_timer(TimerKind::State, round.unix_ms + REVIEW_MS),
            Stage::Listening => self.review(call, round),
            Stage::Bye => self.finish(call, 200, round),
            Stage::Asking | Stage::Recording | Stage::Keeping => {}
        }
    }

    /// A recording of a message has ended: by silence, by a key, by its length or by the caller's going.
    pub(crate) fn message_recorded(
        &mut self,
        call: &mut Call,
        length_ms: u32,
        is_saved: bool,
        round: &mut Round<'_>,
    ) {
        let State::Message(at) = &mut call.state else {
            return;
        };
        at.length_ms = length_ms;
        let path = at.path.clone();
        let mailbox = self
            .plan
            .mailboxes
            .get(&at.mailbox)
            .cloned()
            .unwrap_or_default();
        let is_there = call.is_live(call.main);
        if !is_saved {
            call.note("message lost".to_owned());
            return self.last_words(call, "voicemail/failed", round);
        }
        if length_ms < mailbox.message_min_ms {
            self.delete_recording(&path, round);
            call.note("message too short".to_owned());
            return self.last_words(call, "voicemail/too-short", round);
        }
        if is_there && mailbox.review {
            self.review(call, round);
        } else {
            self.keep_message(call, round);
        }
    }

    fn review(&mut self, call: &mut Call, round: &mut Round<'_>) {
        self.set_message(call, Stage::Review);
        self.say(call, prompts(&["voicemail/review"]), round);
    }

    fn keep_message(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let at = self.set_message(call, Stage::Keeping);
        call.set_timer(TimerKind::State, round.unix_ms + KEEPING_MS);
        self.hush(call, call.main, round);
        call.note(format!("message of {} ms", at.length_ms));
        let what = Question::KeepMessage {
            mailbox: at.mailbox,
            path: at.path,
            caller: call.caller.clone(),
            length_ms: at.length_ms,
        };
        self.ask(call, what, round);
    }

    fn last_words(&mut self, call: &mut Call, words: &str, round: &mut Round<'_>) {
        self.set_message(call, Stage::Bye);
        if call.is_live(call.main) {
            self.say(call, prompts(&[words, "goodbye"]), round);
        } else {
            self.over(call, &super::end::cause(200), round);
        }
    }

    pub(crate) fn message_told(&mut self, call: &mut Call, answer: &Answer, round: &mut Round<'_>) {
        let State::Message(at) = &call.state else {
            return;
        };
        match (&at.stage, answer) {
            (Stage::Asking, answer) => {
                let greeting = mailbox_of(answer).and_then(|mailbox| mailbox.greeting.clone());
                self.greet(call, greeting, round);
            }
            (Stage::Keeping, Answer::Done) => self.last_words(call, "voicemail/saved", round),
            (Stage::Keeping, _) => {
                call.note("message not kept".to_owned());
                self.last_words(call, "voicemail/failed", round);
            }
            _ => {}
        }
    }

    pub(crate) fn message_digit(&mut self, call: &mut Call, digit: char, round: &mut Round<'_>) {
        let State::Message(at) = &call.state else {
            return;
        };
        match (&at.stage, digit) {
            (Stage::Greeting, '#') => self.record_message(call, round),
            // A recording ends by a key of itself.
            (Stage::Review | Stage::Listening, '1' | '#') => self.keep_message(call, round),
            (Stage::Review | Stage::Listening, '2') => {
                let at = self.set_message(call, Stage::Listening);
                self.say(call, vec![Sound::File(at.path)], round);
            }
            (Stage::Review | Stage::Listening, '3') if at.takes < TAKES_MAX => {
                self.record_message(call, round);
            }
            _ => {}
        }
    }

    pub(crate) fn message_timeout(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Message(at) = &call.state else {
            return;
        };
        match at.stage {
            Stage::Asking => {
                if let Some(asked) = call.asked.take() {
                    self.questions.remove(&asked.number);
                }
                self.greet(call, None, round);
            }
            Stage::Keeping => self.last_words(call, "voicemail/failed", round),
            _ => self.keep_message(call, round),
        }
    }

    /// The caller has hung up: what was said is kept.
    pub(crate) fn message_gone(&mut self, call: &mut Call, round: &mut Round<'_>) -> bool {
        let State::Message(at) = &call.state else {
            return false;
        };
        match at.stage {
            // The end of the recording is on its way.
            Stage::Recording => {
                let end = round.unix_ms + super::end::END_TIMEOUT_MS;
                call.set_timer(TimerKind::End, end);
                true
            }
            Stage::Review | Stage::Listening => {
                self.keep_message(call, round);
                true
            }
            Stage::Keeping => true,
            Stage::Asking | Stage::Greeting | Stage::Bye => false,
        }
    }
}
