//! What the phones of users do, for those who watch (RFC 4235).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::{Action, DialogState, ExtensionState, LegId, Publish, WatchedDialog};

use super::call::{Call, Leg, Stage};
use super::{Round, Switchboard};

/// What the phones of users do, leg by leg.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    users: BTreeMap<String, BTreeMap<LegId, WatchedDialog>>,
}

impl Presence {
    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// What a user's phones do, taken together.
    pub(crate) fn state(&self, user: &str) -> ExtensionState {
        let Some(legs) = self.users.get(user) else {
            return ExtensionState::Idle;
        };
        let is_any = |test: fn(&WatchedDialog) -> bool| legs.values().any(test);
        if is_any(|one| one.state == DialogState::Confirmed) {
            ExtensionState::Busy
        } else if is_any(|one| !one.is_initiator) {
            ExtensionState::Ringing
        } else {
            ExtensionState::Trying
        }
    }

    /// Notes what a leg does; whether that is something else than before.
    fn set(&mut self, user: &str, shown: &WatchedDialog) -> bool {
        if shown.state != DialogState::Terminated {
            let before = match self.users.get_mut(user) {
                Some(legs) => legs.insert(shown.leg, shown.clone()),
                None => {
                    let legs = BTreeMap::from([(shown.leg, shown.clone())]);
                    self.users.insert(user.to_owned(), legs);
                    None
                }
            };
            return before.as_ref() != Some(shown);
        }
        let Some(legs) = self.users.get_mut(user) else {
            return false;
        };
        let was_there = legs.remove(&shown.leg).is_some();
        if legs.is_empty() {
            self.users.remove(user);
        }
        was_there
    }

    fn dialogs<'p>(&'p self, user: &str) -> impl Iterator<Item = &'p WatchedDialog> {
        self.users.get(user).into_iter().flat_map(BTreeMap::values)
    }
}

impl Leg {
    fn shown(&self) -> WatchedDialog {
        let state = match (&self.stage, self.is_incoming) {
            (Stage::Answered, _) => DialogState::Confirmed,
            (Stage::Calling, true) => DialogState::Proceeding,
            (Stage::Calling, false) => DialogState::Trying,
            (Stage::Ringing, _) => DialogState::Early,
            (Stage::Ending, _) => DialogState::Terminated,
        };
        WatchedDialog {
            leg: self.id,
            is_initiator: self.is_incoming,
            state,
            remote: self.remote.clone(),
        }
    }
}

impl Switchboard {
    /// What a user's phones do, for a subscription that begins.
    pub fn extension_state(&self, user: &str) -> ExtensionState {
        self.presence.state(user)
    }

    /// Tells those who watch what a leg does now.
    pub(crate) fn show(&mut self, leg: &Leg, round: &mut Round<'_>) {
        self.show_as(&leg.user, leg.shown(), round);
    }

    /// Two talk with each other now.
    pub(crate) fn show_pair(&mut self, call: &mut Call, a: LegId, b: LegId, round: &mut Round<'_>) {
        for (id, other) in [(a, b), (b, a)] {
            let Some(other) = call.leg(other) else {
                continue;
            };
            let remote = (!other.is_private).then(|| Arc::new(other.party.clone()));
            if let Some(leg) = call.leg_mut(id) {
                leg.remote = remote;
                self.show(leg, round);
            }
        }
    }

    /// A leg is over.
    pub(crate) fn show_gone(&mut self, leg: &Leg, round: &mut Round<'_>) {
        let shown = WatchedDialog {
            leg: leg.id,
            is_initiator: leg.is_incoming,
            state: DialogState::Terminated,
            remote: None,
        };
        self.show_as(&leg.user, shown, round);
    }

    fn show_as(&mut self, user: &str, shown: WatchedDialog, round: &mut Round<'_>) {
        if user.is_empty() || !self.presence.set(user, &shown) {
            return;
        }
        if self.presence.state(user) == ExtensionState::Idle {
            self.phone_is_free(user);
        }
        let ended = Some(shown).filter(|shown| shown.state == DialogState::Terminated);
        self.publish_user(user, ended, round);
    }

    /// Tells what a user does, and the extension whose phone it is: that one's calls are those of all its phones.
    fn publish_user(&self, user: &str, ended: Option<WatchedDialog>, round: &mut Round<'_>) {
        let number = self.plan.extension(user).map(|one| one.number.as_str());
        let names = [Some(user).filter(|user| number != Some(*user)), number];
        for name in names.into_iter().flatten() {
            let mut dialogs = self.extension_dialogs(name);
            dialogs.extend(ended.clone());
            round.act(Action::Publish(Publish::Extension {
                user: name.to_owned(),
                dialogs,
            }));
        }
    }

    /// All calls of an extension, or of a user.
    pub fn extension_dialogs(&self, name: &str) -> Vec<WatchedDialog> {
        match self.plan.extension(name).filter(|one| one.number == name) {
            Some(extension) => {
                let phones = extension.phones.iter();
                let named = Some(&extension.number).filter(|one| !extension.phones.contains(one));
                let names = phones.chain(named).map(String::as_str);
                names
                    .flat_map(|phone| self.presence.dialogs(phone))
                    .cloned()
                    .collect()
            }
            None => self.presence.dialogs(name).cloned().collect(),
        }
    }

    /// Tells what all do, after calls were taken over.
    pub(crate) fn publish_all(&mut self, round: &mut Round<'_>) {
        for call in self.calls.values() {
            for leg in call.legs.iter().filter(|leg| !leg.user.is_empty()) {
                self.presence.set(&leg.user, &leg.shown());
            }
        }
        for user in self.presence.users.keys() {
            self.publish_user(user, None, round);
        }
    }
}
