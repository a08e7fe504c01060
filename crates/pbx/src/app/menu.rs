//! Menus.

use crate::plan::{Menu, Plan};

use super::call::{Call, MenuAt, State, TimerKind};
use super::legs::prompts;
use super::steps::Flow;
use super::{KEYS_MAX, Round, Switchboard};

impl Switchboard {
    pub(crate) fn begin_menu(
        &mut self,
        call: &mut Call,
        name: &str,
        round: &mut Round<'_>,
    ) -> Flow {
        let plan = self.plan.clone();
        let Some(menu) = plan.menus.get(name) else {
            return self.say_and_go_on(call, prompts(&["sorry"]), round);
        };
        self.answer(call, round);
        call.program.clear();
        call.enter(State::Menu(MenuAt {
            name: name.to_owned(),
            ..MenuAt::default()
        }));
        self.listen(call, call.main, round);
        self.ask_menu(call, menu, false, round);
        Flow::Wait
    }

    fn ask_menu(&mut self, call: &mut Call, menu: &Menu, was_wrong: bool, round: &mut Round<'_>) {
        let mut sounds = if was_wrong {
            self.sounds(call, &menu.wrong)
        } else {
            Vec::new()
        };
        sounds.extend(self.sounds(call, &menu.prompt));
        if sounds.is_empty() {
            return self.menu_waits(call, round);
        }
        self.play(call, call.main, sounds, false, menu.barge_in, round);
    }

    /// The prompt has been heard.
    pub(crate) fn menu_waits(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let plan = self.plan.clone();
        let Some((menu, at)) = menu_of(&plan, call) else {
            return self.finish(call, 404, round);
        };
        let wait_ms = if at.keys.is_empty() {
            menu.timeout_ms
        } else {
            menu.between_ms
        };
        call.set_timer(TimerKind::State, round.unix_ms + u64::from(wait_ms));
    }

    pub(crate) fn menu_digit(&mut self, call: &mut Call, digit: char, round: &mut Round<'_>) {
        let plan = self.plan.clone();
        let Some((menu, mut at)) = menu_of(&plan, call) else {
            return self.finish(call, 404, round);
        };
        let is_playing = call.sounding.iter().any(|one| one.leg == call.main);
        if is_playing && !menu.barge_in || at.keys.len() >= KEYS_MAX {
            return;
        }
        self.hush(call, call.main, round);
        at.keys.push(digit);
        let keys = at.keys.clone();
        call.state = State::Menu(at);
        let is_begun = menu
            .keys
            .iter()
            .any(|(key, _)| key.len() > keys.len() && key.starts_with(&keys));
        // One key that is enough is not waited after, unless it may be the beginning of a number.
        if !is_begun && !menu.direct {
            return self.menu_chosen(call, round);
        }
        call.set_timer(TimerKind::State, round.unix_ms + u64::from(menu.between_ms));
    }

    pub(crate) fn menu_timeout(&mut self, call: &mut Call, round: &mut Round<'_>) {
        self.menu_chosen(call, round);
    }

    /// What was keyed in is complete, or nothing was.
    fn menu_chosen(&mut self, call: &mut Call, round: &mut Round<'_>) {
        call.clear_timer(&TimerKind::State);
        let plan = self.plan.clone();
        let Some((menu, mut at)) = menu_of(&plan, call) else {
            return self.finish(call, 404, round);
        };
        let keys = std::mem::take(&mut at.keys);
        let chosen = menu.keys.iter().find(|(key, _)| *key == keys);
        if let Some((key, steps)) = chosen {
            call.note(format!("key {key}"));
            call.program.clone_from(steps);
            return self.run(call, round);
        }
        let number = keys.trim_end_matches('#');
        if menu.direct && !number.is_empty() && self.may_dial(&call.rights, number, round) {
            call.note(format!("keys {number}"));
            let number = number.to_owned();
            return self.dialled(call, &number, round);
        }
        at.tries += 1;
        let tries = at.tries;
        call.state = State::Menu(at);
        if tries < menu.tries {
            return self.ask_menu(call, menu, !keys.is_empty(), round);
        }
        let steps = if keys.is_empty() {
            &menu.on_timeout
        } else {
            &menu.on_invalid
        };
        call.program.clone_from(steps);
        self.run(call, round);
    }
}

/// The menu that a call is in, and where in it.
fn menu_of<'p>(plan: &'p Plan, call: &Call) -> Option<(&'p Menu, MenuAt)> {
    let State::Menu(at) = &call.state else {
        return None;
    };
    Some((plan.menus.get(&at.name)?, at.clone()))
}
