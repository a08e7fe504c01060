//! PINs: asked for, keyed in, compared here or by the store.

use crate::control::Question;
use crate::plan::{PinRule, Step};

use super::call::{Call, Guarded, MailboxStage, PinAt, State, TimerKind};
use super::legs::{prompt, prompts};
use super::steps::Flow;
use super::{Round, Switchboard};

/// How often a PIN may be wrong in a call.
pub const PIN_TRIES_MAX: u32 = 3;

/// How many wrong PINs of a caller are borne for one thing, over all calls, within [`WRONG_PINS_MS`]. Callers who are not proven count
/// as one.
pub const WRONG_PINS_MAX: u32 = 12;

/// How long wrong PINs are remembered, in milliseconds.
pub const WRONG_PINS_MS: u64 = 600_000;

/// Most callers whose wrong PINs are remembered; beyond it the oldest are forgotten.
pub const WRONG_PINS_TABLE_MAX: usize = 4_096;

/// How long the store's word on a PIN is waited for.
const CHECK_MS: u64 = 10_000;

impl Switchboard {
    /// Asks for a PIN before the next step.
    pub(crate) fn guard(&mut self, call: &mut Call, name: &str, round: &mut Round<'_>) -> Flow {
        match self.plan.pins.get(name).map(|pin| &pin.rule) {
            None => {
                call.program = vec![Step::Hangup(Some(403))];
                Flow::Next
            }
            Some(PinRule::None) => Flow::Next,
            Some(_) => self.ask_pin(call, Guarded::Route(name.to_owned()), round),
        }
    }

    pub(crate) fn ask_pin(
        &mut self,
        call: &mut Call,
        what: Guarded,
        round: &mut Round<'_>,
    ) -> Flow {
        self.answer(call, round);
        let key = self.wrong_pins_key(call, &what);
        if self.is_shut_out(&key, round) {
            call.note(format!("too many wrong pins for {}", key.1));
            call.program = vec![Step::Hangup(Some(403))];
            return Flow::Next;
        }
        call.enter(State::Pin(PinAt {
            what,
            ..PinAt::default()
        }));
        self.listen(call, call.main, round);
        self.say(call, prompts(&["pin/enter"]), round);
        Flow::Wait
    }

    /// Who tries, and for what.
    fn wrong_pins_key(&self, call: &Call, what: &Guarded) -> (String, String) {
        let user = call.leg(call.main).map(|leg| leg.user.clone());
        (user.unwrap_or_default(), subject(what))
    }

    fn is_shut_out(&self, key: &(String, String), round: &Round<'_>) -> bool {
        self.wrong_pins.get(key).is_some_and(|(count, since)| {
            *count >= WRONG_PINS_MAX && round.unix_ms < since + WRONG_PINS_MS
        })
    }

    fn note_wrong_pin(&mut self, key: (String, String), round: &Round<'_>) {
        let now = round.unix_ms;
        self.wrong_pins
            .retain(|_, (_, since)| now < *since + WRONG_PINS_MS);
        if self.wrong_pins.len() >= WRONG_PINS_TABLE_MAX {
            let oldest = self.wrong_pins.iter().min_by_key(|(_, (_, since))| *since);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.wrong_pins.remove(&key);
            }
        }
        self.wrong_pins.entry(key).or_insert((0, now)).0 += 1;
    }

    pub(crate) fn pin_digit(&mut self, call: &mut Call, digit: char, round: &mut Round<'_>) {
        let State::Pin(at) = &mut call.state else {
            return;
        };
        if at.is_checking {
            return;
        }
        if digit.is_ascii_digit() && at.keys.len() < super::KEYS_MAX {
            at.keys.push(digit);
            call.set_timer(TimerKind::State, round.unix_ms + 5_000);
            self.hush(call, call.main, round);
        } else if digit == '#' {
            self.pin_entered(call, round);
        }
    }

    pub(crate) fn pin_entered(&mut self, call: &mut Call, round: &mut Round<'_>) {
        call.clear_timer(&TimerKind::State);
        let State::Pin(at) = &mut call.state else {
            return;
        };
        let (what, keys) = (at.what.clone(), std::mem::take(&mut at.keys));
        if std::mem::take(&mut at.is_checking) {
            // The store did not answer in time.
            if let Some(asked) = call.asked.take() {
                self.questions.remove(&asked.number);
            }
            return self.finish(call, 503, round);
        }
        let plan = self.plan.clone();
        let rule = match &what {
            Guarded::Nothing => None,
            Guarded::Route(name) => plan.pins.get(name).map(|pin| &pin.rule),
            Guarded::Room(name) => plan.rooms.get(name).map(|room| &room.pin),
            Guarded::Mailbox(name) => plan.mailboxes.get(name).map(|mailbox| &mailbox.pin),
        };
        self.hush(call, call.main, round);
        match rule {
            _ if keys.is_empty() => self.pin_checked(call, false, round),
            Some(PinRule::Fixed(pin)) => self.pin_checked(call, is_same(pin, &keys), round),
            Some(PinRule::Stored) => {
                if let State::Pin(at) = &mut call.state {
                    at.is_checking = true;
                }
                let (subject, pin) = (subject(&what), keys);
                call.set_timer(TimerKind::State, round.unix_ms + CHECK_MS);
                self.ask(call, Question::CheckPin { subject, pin }, round);
            }
            Some(PinRule::None) => self.pin_checked(call, true, round),
            None => self.finish(call, 403, round),
        }
    }

    pub(crate) fn pin_checked(&mut self, call: &mut Call, is_right: bool, round: &mut Round<'_>) {
        call.clear_timer(&TimerKind::State);
        let State::Pin(at) = &mut call.state else {
            return;
        };
        at.is_checking = false;
        at.tries += 1;
        let (tries, what) = (at.tries, at.what.clone());
        if !is_right {
            let key = self.wrong_pins_key(call, &what);
            self.note_wrong_pin(key.clone(), round);
            if tries >= PIN_TRIES_MAX || self.is_shut_out(&key, round) {
                call.note("wrong pin".to_owned());
                return self.finish(call, 403, round);
            }
            return self.say(call, vec![prompt("pin/wrong"), prompt("pin/enter")], round);
        }
        match what {
            Guarded::Nothing | Guarded::Route(_) => self.run(call, round),
            Guarded::Room(number) => self.enter_room(call, &number, round),
            Guarded::Mailbox(number) => {
                self.open_mailbox(call, &number, MailboxStage::Asking, round)
            }
        }
    }
}

/// What a PIN is for, as the store is asked.
fn subject(what: &Guarded) -> String {
    match what {
        Guarded::Nothing => String::new(),
        Guarded::Route(name) => format!("route/{name}"),
        Guarded::Room(name) => format!("room/{name}"),
        Guarded::Mailbox(name) => format!("mailbox/{name}"),
    }
}

/// Compares without telling by its time how much is right.
fn is_same(one: &str, two: &str) -> bool {
    let (one, two) = (one.as_bytes(), two.as_bytes());
    let differing = one.iter().zip(two).fold(0, |bits, (a, b)| bits | (a ^ b));
    one.len() == two.len() && differing == 0
}
