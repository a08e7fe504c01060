//! The dialplan: what is to be done with a call, by the number dialled, the time and who calls.
//!
//! It is written by people (`docs/dialplan.md`) in the configuration file or in the store, read whole by [`Plan::build`], checked whole,
//! and never changed afterwards: another one takes its place.

mod check;
pub(crate) mod features;
mod hours;
mod mistake;
mod parts;
mod pattern;
mod read;
mod section;
mod step;

use std::collections::BTreeMap;

pub use features::{Features, Parking};
pub use hours::{Hours, Zone};
pub use mistake::{Fault, Mistake};
pub use parts::{
    Class, Extension, Mailbox, Menu, Music, Pin, PinRule, Queue, QueueOrder, Room, Route,
};
pub use pattern::{NUMBER_CHARS_MAX, Pattern};
pub use step::{
    Order, Outcome, PIECES_MAX, Piece, Ring, STEP_BYTES_MAX, Step, TARGETS_MAX, Template, Values,
    Wrong,
};

/// Most things of one kind in a dialplan.
pub const PARTS_MAX: usize = 65_536;

/// Most steps of a list.
pub const STEPS_MAX: usize = 64;

/// Most agents of a queue.
pub const AGENTS_MAX: usize = 256;

/// The class of those whose identity is proven.
pub const KNOWN: &str = "known";

/// The class that everybody is of.
pub const ANYONE: &str = "anyone";

/// One text that dialplans are read from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'s> {
    /// What it is called, for mistakes: a file's name, or where in the store it is.
    pub name: &'s str,
    /// TOML.
    pub text: &'s str,
    /// Whether keys outside the dialplan are another reader's; otherwise they are mistakes.
    pub is_shared: bool,
}

/// A dialplan without mistakes.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(crate) zone: Zone,
    pub(crate) extensions: BTreeMap<String, Extension>,
    /// The extension of a user.
    pub(crate) users: BTreeMap<String, String>,
    /// The most specific first, then in the order of the text.
    pub(crate) routes: Vec<Route>,
    pub(crate) menus: BTreeMap<String, Menu>,
    pub(crate) queues: BTreeMap<String, Queue>,
    pub(crate) mailboxes: BTreeMap<String, Mailbox>,
    pub(crate) rooms: BTreeMap<String, Room>,
    pub(crate) hours: BTreeMap<String, Hours>,
    pub(crate) classes: BTreeMap<String, Class>,
    pub(crate) pins: BTreeMap<String, Pin>,
    pub(crate) music: BTreeMap<String, Music>,
    pub(crate) parking: Parking,
    pub(crate) features: Features,
    /// Where a recording on demand ends, in milliseconds.
    pub(crate) recording_max_ms: u32,
}

/// What a number leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'p> {
    /// An extension.
    Extension(&'p Extension),
    /// A route, and what its pattern left free of the number.
    Route(&'p Route, String),
    /// There is something, but not for this caller or not now.
    Denied,
    /// There is nothing.
    Nothing,
}

impl Plan {
    /// The extensions that a mailbox is the own one of, and the users of their phones, but for the mailbox's own number.
    pub(crate) fn names_of_mailbox(&self, mailbox: &str) -> impl Iterator<Item = &str> {
        let own = move |extension: &&Extension| extension.mailbox.as_deref() == Some(mailbox);
        let numbers = self.extensions.values().filter(own);
        let numbers = numbers.map(|extension| extension.number.as_str());
        let users = self.users.iter().filter(move |(_, number)| {
            let extension = self.extensions.get(*number);
            extension.as_ref().is_some_and(own)
        });
        let names = numbers.chain(users.map(|(user, _)| user.as_str()));
        names.filter(move |name| *name != mailbox)
    }

    /// Where the owner of a mailbox gets e-mail.
    pub fn email_of(&self, mailbox: &str) -> Option<&str> {
        self.mailboxes.get(mailbox)?.email.as_deref()
    }

    /// Reads and checks a dialplan. `has_prompt` says which prompts there are.
    ///
    /// # Errors
    /// Every mistake there is, in the order of the texts.
    pub fn build(
        sources: &[Source<'_>],
        has_prompt: &dyn Fn(&str) -> bool,
    ) -> Result<Plan, Vec<Mistake>> {
        let mut draft = read::Draft::default();
        for (number, source) in sources.iter().enumerate() {
            draft.read(number, source);
        }
        let (plan, uses, mut mistakes) = draft.finish();
        check::check(&plan, &uses, has_prompt, &mut mistakes);
        if mistakes.is_empty() {
            return Ok(plan);
        }
        mistakes.sort_by_key(|mistake| (mistake.source, mistake.span.start));
        Err(mistakes)
    }

    /// What `number` leads to for a caller of the classes `rights`, or for the operator (`None`), at a time.
    pub fn find(&self, number: &str, rights: Option<&[String]>, unix_ms: u64) -> Found<'_> {
        if let Some(extension) = self.extension(number) {
            return Found::Extension(extension);
        }
        let mut denied = false;
        for route in self
            .routes
            .iter()
            .filter(|route| route.pattern.matches(number))
        {
            if route.is_for(rights) && self.holds(&route.hours, unix_ms) {
                return Found::Route(route, route.pattern.rest(number).to_owned());
            }
            denied = true;
        }
        if denied {
            Found::Denied
        } else {
            Found::Nothing
        }
    }

    /// Whether callers with `rights` may dial something now that rings at `host`.
    pub fn leads_to(&self, host: &str, rights: &[String], unix_ms: u64) -> bool {
        self.routes.iter().any(|route| {
            route.is_for(Some(rights))
                && self.holds(&route.hours, unix_ms)
                && route.steps.iter().any(|step| step.rings_at(host))
        })
    }

    fn holds(&self, hours: &Option<String>, unix_ms: u64) -> bool {
        hours
            .as_ref()
            .is_none_or(|name| self.is_open(name, unix_ms))
    }

    /// Whether the hours `name` hold; those that are not there never do.
    pub fn is_open(&self, name: &str, unix_ms: u64) -> bool {
        self.hours
            .get(name)
            .is_some_and(|hours| hours.is_open(&self.zone, unix_ms))
    }

    /// The extension of a number or a user.
    pub fn extension(&self, text: &str) -> Option<&Extension> {
        let number = self.users.get(text).map_or(text, String::as_str);
        self.extensions.get(number)
    }

    /// What music of a class is made of; the one that ships with the program if there is no such class.
    pub fn music(&self, name: &str) -> Vec<Piece> {
        match self.music.get(name) {
            Some(music) => music.sounds.clone(),
            None => vec![Piece::Prompt("music/default".to_owned())],
        }
    }

    /// The classes of a caller. A number that anybody could claim has no class but [`ANYONE`] and those that say so.
    pub fn rights(&self, user: &str, is_trusted: bool) -> Vec<String> {
        let mut rights = vec![ANYONE.to_owned()];
        if is_trusted {
            rights.push(KNOWN.to_owned());
            if let Some(class) = self.extension(user).and_then(|e| e.class.clone()) {
                rights.push(class);
            }
        }
        for (name, class) in &self.classes {
            let is_member = class.callers.iter().any(|pattern| pattern.matches(user));
            if is_member && (is_trusted || !class.trusted) && !rights.contains(name) {
                rights.push(name.clone());
            }
        }
        rights
    }
}

#[cfg(test)]
mod tests;
