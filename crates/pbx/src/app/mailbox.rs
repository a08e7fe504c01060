//! Hearing messages.
//!
//! Keys: 4 the one before, 5 again, 6 the next one, 7 deletes, 9 keeps, 0 speaks a greeting, * says the keys, # ends.

use crate::control::{Answer, Question, Sound};
use crate::plan::{PinRule, Template};

use super::call::{
    Call, Guarded, MailboxAt, MailboxStage as Stage, Purpose, Recording, State, TimerKind,
};
use super::legs::{prompt, prompts};
use super::steps::Flow;
use super::{KEYS_MAX, Round, Switchboard};

/// How long a key is waited for.
const KEY_MS: u64 = 8_000;

/// How long an answer of the mailbox is waited for.
const ANSWER_MS: u64 = 10_000;

/// How often nothing is keyed in before the call ends.
const TRIES_MAX: u32 = 3;

/// Most messages that are heard in one call.
pub const MESSAGES_MAX: usize = 100;

/// Longest greeting, in milliseconds.
const GREETING_MAX_MS: u32 = 120_000;

impl Switchboard {
    /// `mailbox own` is that of the caller's extension, `mailbox` asks for its number.
    pub(crate) fn begin_mailbox(
        &mut self,
        call: &mut Call,
        mailbox: Option<&Template>,
        round: &mut Round<'_>,
    ) -> Flow {
        let number = match mailbox {
            None => None,
            Some(text) if text.0 == "own" => {
                let user = call
                    .leg(call.main)
                    .map(|leg| leg.user.clone())
                    .unwrap_or_default();
                let own = self
                    .plan
                    .extension(&user)
                    .and_then(|one| one.mailbox.clone());
                own.or(Some(user))
            }
            Some(text) => Some(text.fill(call.values())),
        };
        self.answer(call, round);
        self.listen(call, call.main, round);
        call.program.clear();
        match number {
            None => self.ask_number(call, 0, "mailbox/number", round),
            Some(number) => match self.mailbox_number(&number) {
                Some(number) => return self.unlock(call, &number, round),
                None => return self.say_and_go_on(call, prompts(&["mailbox/none-here"]), round),
            },
        }
        Flow::Wait
    }

    fn ask_number(&mut self, call: &mut Call, tries: u32, words: &str, round: &mut Round<'_>) {
        call.enter(State::Mailbox(MailboxAt {
            tries,
            ..MailboxAt::default()
        }));
        self.say(call, prompts(&[words]), round);
    }

    fn unlock(&mut self, call: &mut Call, number: &str, round: &mut Round<'_>) -> Flow {
        let rule = self
            .plan
            .mailboxes
            .get(number)
            .map(|mailbox| mailbox.pin.clone());
        if rule == Some(PinRule::None) {
            self.open_mailbox(call, number, Stage::Asking, round);
            return Flow::Wait;
        }
        self.ask_pin(call, Guarded::Mailbox(number.to_owned()), round)
    }

    pub(crate) fn open_mailbox(
        &mut self,
        call: &mut Call,
        number: &str,
        stage: Stage,
        round: &mut Round<'_>,
    ) {
        let mailbox = number.to_owned();
        call.enter(State::Mailbox(MailboxAt {
            mailbox: mailbox.clone(),
            stage,
            ..MailboxAt::default()
        }));
        call.set_timer(TimerKind::State, round.unix_ms + ANSWER_MS);
        self.ask(call, Question::Mailbox { mailbox }, round);
    }

    /// Moves on, and returns where the caller is; what was heard before is stopped.
    fn set_mailbox(&mut self, call: &mut Call, stage: Stage, round: &mut Round<'_>) -> MailboxAt {
        call.clear_timer(&TimerKind::State);
        self.hush(call, call.main, round);
        if let State::Mailbox(at) = &mut call.state {
            at.stage = stage;
            return at.clone();
        }
        MailboxAt::default()
    }

    fn ask_world(&mut self, call: &mut Call, stage: Stage, what: Question, round: &mut Round<'_>) {
        self.set_mailbox(call, stage, round);
        call.set_timer(TimerKind::State, round.unix_ms + ANSWER_MS);
        self.ask(call, what, round);
    }

    fn bye(&mut self, call: &mut Call, words: &str, round: &mut Round<'_>) {
        self.set_mailbox(call, Stage::Bye, round);
        self.say(call, prompts(&[words, "goodbye"]), round);
    }

    pub(crate) fn mailbox_told(&mut self, call: &mut Call, answer: &Answer, round: &mut Round<'_>) {
        let State::Mailbox(at) = &mut call.state else {
            return;
        };
        match (at.stage.clone(), answer) {
            (Stage::Asking, Answer::Mailbox(found)) => {
                let messages = found.messages.iter().take(MESSAGES_MAX);
                at.messages = messages
                    .clone()
                    .map(|one| (one.message.clone(), one.path.clone()))
                    .collect();
                at.callers = messages
                    .clone()
                    .map(|one| one.caller.user.clone())
                    .collect();
                at.new = messages.filter(|one| !one.is_heard).count() as u32;
                let old = at.messages.len() as u32 - at.new;
                let counts = vec![
                    prompt("mailbox/you-have"),
                    Sound::Number(u64::from(at.new)),
                    prompt("mailbox/new"),
                    Sound::Number(u64::from(old)),
                    prompt("mailbox/old"),
                ];
                let mailbox = at.mailbox.clone();
                self.set_mailbox(call, Stage::Menu, round);
                self.publish_mailbox(&mailbox, found, round);
                self.say(call, counts, round);
            }
            (Stage::Changing, Answer::Done) => {
                let at = self.set_mailbox(call, Stage::Menu, round);
                self.message(call, at.at, round);
            }
            (Stage::Keeping, Answer::Done) => {
                self.set_mailbox(call, Stage::Menu, round);
                self.say(
                    call,
                    prompts(&["mailbox/greeting-kept", "mailbox/menu"]),
                    round,
                );
            }
            _ => self.bye(call, "mailbox/failed", round),
        }
    }

    /// Plays the message with this number, or says that there is none.
    fn message(&mut self, call: &mut Call, number: u32, round: &mut Round<'_>) {
        let at = self.set_mailbox(call, Stage::Message, round);
        let Some((_, path)) = at.messages.get(number as usize) else {
            self.set_mailbox(call, Stage::Menu, round);
            return self.say(call, prompts(&["mailbox/end", "mailbox/menu"]), round);
        };
        let mut sounds = vec![
            prompt("mailbox/message"),
            Sound::Number(u64::from(number) + 1),
        ];
        let caller = at.callers.get(number as usize).cloned().unwrap_or_default();
        if !caller.is_empty() && caller.bytes().all(|b| b.is_ascii_digit()) {
            sounds.push(prompt("mailbox/from"));
            sounds.push(Sound::Digits(caller));
        }
        sounds.push(Sound::File(path.clone()));
        if let State::Mailbox(at) = &mut call.state {
            at.at = number;
        }
        // Keys work while it is heard.
        self.play(call, call.main, sounds, false, false, round);
    }

    pub(crate) fn mailbox_played(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Mailbox(at) = &mut call.state else {
            return;
        };
        match at.stage {
            Stage::Menu if at.at == 0 && at.heard.is_empty() && !at.messages.is_empty() => {
                self.message(call, 0, round);
            }
            Stage::Message => {
                let name = at
                    .messages
                    .get(at.at as usize)
                    .map(|(name, _)| name.clone());
                if let Some(message) = name
                    && !at.heard.contains(&message)
                {
                    at.heard.push(message);
                }
                self.say_keys(call, round);
            }
            Stage::Greeting => {}
            Stage::Bye => self.finish(call, 200, round),
            _ => call.set_timer(TimerKind::State, round.unix_ms + KEY_MS),
        }
    }

    fn say_keys(&mut self, call: &mut Call, round: &mut Round<'_>) {
        self.set_mailbox(call, Stage::Menu, round);
        if let State::Mailbox(at) = &mut call.state
            && at.heard.is_empty()
        {
            // The first message does not begin by itself again.
            at.heard.push(String::new());
        }
        self.say(call, prompts(&["mailbox/menu"]), round);
    }

    pub(crate) fn mailbox_timeout(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Mailbox(at) = &mut call.state else {
            return;
        };
        at.tries += 1;
        let (tries, stage) = (at.tries, at.stage.clone());
        match stage {
            Stage::Asking | Stage::Changing | Stage::Keeping => {
                self.bye(call, "mailbox/failed", round);
            }
            Stage::Number if !at.keys.is_empty() => self.number_entered(call, round),
            _ if tries >= TRIES_MAX => self.bye(call, "sorry", round),
            Stage::Number => self.ask_number(call, tries, "mailbox/number", round),
            Stage::Review => self.say(call, prompts(&["mailbox/greeting-review"]), round),
            _ => self.say_keys(call, round),
        }
    }

    fn number_entered(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Mailbox(at) = &mut call.state else {
            return;
        };
        at.tries += 1;
        let (keys, tries) = (std::mem::take(&mut at.keys), at.tries);
        match self.mailbox_number(&keys) {
            Some(number) => {
                if self.unlock(call, &number, round) == Flow::Next {
                    self.run(call, round);
                }
            }
            None if tries >= TRIES_MAX => self.bye(call, "sorry", round),
            None => self.ask_number(call, tries, "mailbox/number", round),
        }
    }

    pub(crate) fn mailbox_digit(&mut self, call: &mut Call, digit: char, round: &mut Round<'_>) {
        let State::Mailbox(at) = &mut call.state else {
            return;
        };
        match (&at.stage, digit) {
            (Stage::Number, '#') => self.number_entered(call, round),
            (Stage::Number, digit) => {
                if at.keys.len() < KEYS_MAX {
                    at.keys.push(digit);
                }
                call.set_timer(TimerKind::State, round.unix_ms + 4_000);
                self.hush(call, call.main, round);
            }
            (Stage::Menu | Stage::Message, digit) => {
                at.tries = 0;
                self.menu_key(call, digit, round);
            }
            (Stage::Review, '1' | '#') => {
                let (mailbox, path) = (at.mailbox.clone(), at.path.clone());
                let what = Question::KeepGreeting { mailbox, path };
                self.ask_world(call, Stage::Keeping, what, round);
            }
            (Stage::Review, '2') => {
                let sounds = vec![
                    Sound::File(at.path.clone()),
                    prompt("mailbox/greeting-review"),
                ];
                self.say(call, sounds, round);
            }
            (Stage::Review, '3') => self.speak_greeting(call, round),
            // What is played before the recording stops by the key.
            _ => {}
        }
    }

    fn menu_key(&mut self, call: &mut Call, digit: char, round: &mut Round<'_>) {
        let State::Mailbox(at) = &call.state else {
            return;
        };
        let (number, mailbox) = (at.at, at.mailbox.clone());
        let is_begun = at.stage == Stage::Message || !at.heard.is_empty();
        let message = at
            .messages
            .get(number as usize)
            .map(|(name, _)| name.clone());
        match (digit, message) {
            ('4', _) => self.message(call, number.saturating_sub(1), round),
            ('5', _) => self.message(call, number, round),
            ('6', Some(_)) => self.message(call, number + u32::from(is_begun), round),
            ('7', Some(message)) => {
                if let State::Mailbox(at) = &mut call.state {
                    at.messages.remove(number as usize);
                    if (number as usize) < at.callers.len() {
                        at.callers.remove(number as usize);
                    }
                    at.heard.push(String::new());
                }
                call.note("message deleted".to_owned());
                let what = Question::DeleteMessage { mailbox, message };
                self.ask_world(call, Stage::Changing, what, round);
            }
            ('9', Some(message)) => {
                if let State::Mailbox(at) = &mut call.state {
                    at.at += 1;
                    at.heard.push(String::new());
                }
                let what = Question::MarkHeard { mailbox, message };
                self.ask_world(call, Stage::Changing, what, round);
            }
            ('0', _) => self.speak_greeting(call, round),
            ('#', _) => self.bye(call, "mailbox/bye", round),
            _ => self.say_keys(call, round),
        }
    }

    fn speak_greeting(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let at = self.set_mailbox(call, Stage::Greeting, round);
        self.delete_recording(&at.path, round);
        let path = format!(
            "greetings/{}/{}-{:x}.wav",
            at.mailbox, round.unix_ms, call.id
        );
        if let State::Mailbox(at) = &mut call.state {
            at.path.clone_from(&path);
        }
        let recording = Recording {
            leg: call.main,
            path,
            max_ms: GREETING_MAX_MS,
            silence_ms: 5_000,
            purpose: Purpose::Greeting,
            ..Recording::default()
        };
        self.record(call, recording, true, round);
    }

    pub(crate) fn greeting_recorded(
        &mut self,
        call: &mut Call,
        length_ms: u32,
        is_saved: bool,
        round: &mut Round<'_>,
    ) {
        if !matches!(&call.state, State::Mailbox(at) if at.stage == Stage::Greeting) {
            return;
        }
        if !is_saved {
            return self.bye(call, "mailbox/failed", round);
        }
        if length_ms < 500 {
            if let State::Mailbox(at) = &mut call.state {
                self.delete_recording(&std::mem::take(&mut at.path), round);
            }
            return self.say_keys(call, round);
        }
        self.set_mailbox(call, Stage::Review, round);
        self.say(call, prompts(&["mailbox/greeting-review"]), round);
    }
}
