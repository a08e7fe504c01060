//! Those who watch extensions (RFC 4235) and mailboxes (RFC 3842), by RFC 6665.

use std::collections::{BTreeMap, BTreeSet};

use dialog::Dialog;
use dialog::subscription::{Reason, Subscription};
use sip::{HeaderName, lex};
use transaction::layer::ServerKey;
use transaction::{Flow, Time};

use crate::call::Calls;
use crate::call::arrive::Ask;
use crate::call::calls::Owner;
use crate::call::dialog_info;
use crate::call::identity;
use crate::call::reply::Purpose;
use crate::call::send::{push_header, write_contact};
use crate::control::{DialogState, Happening, Publish, WatchedDialog};
use crate::pbx::Turn;
use crate::settings::Settings;

/// What is granted where nothing is asked for, in seconds (RFC 4235 section 3.4, RFC 3842 section 2.4).
const DEFAULT_S: u32 = 3_600;
/// The shortest subscription that is granted, in seconds (RFC 6665 section 4.2.1.1).
const MIN_S: u32 = 60;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Package {
    /// An extension's calls.
    Dialog,
    /// A mailbox.
    MessageSummary,
}

impl Package {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Package::Dialog => "dialog",
            Package::MessageSummary => "message-summary",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Package::Dialog => "application/dialog-info+xml",
            Package::MessageSummary => "application/simple-message-summary",
        }
    }

    pub(crate) fn parse(name: &[u8]) -> Option<Package> {
        [Package::Dialog, Package::MessageSummary]
            .into_iter()
            .find(|package| name.eq_ignore_ascii_case(package.name().as_bytes()))
    }
}

/// One subscription and its dialog.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) dialog: Dialog,
    pub(crate) flow: Flow,
    pub(crate) package: Package,
    /// `id` of the Event header, with its name; empty for none.
    pub(crate) event_id: Box<[u8]>,
    pub(crate) user: String,
    /// Whether who watches is one of our users: others are not told who talks with whom.
    pub(crate) is_known: bool,
    /// New and old messages as they were told last.
    pub(crate) told: (u32, u32),
    pub(crate) subscription: Subscription,
}

/// All subscriptions, and what is known of what they watch.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) watchers: BTreeMap<u64, Watcher>,
    /// Those of one user, by package.
    pub(crate) by_user: BTreeMap<(Package, String), Vec<u64>>,
    expiries: BTreeSet<(Time, u64)>,
    extensions: BTreeMap<String, Vec<WatchedDialog>>,
    pub(crate) mailboxes: BTreeMap<String, (u32, u32)>,
    /// Subscriptions whose records changed.
    pub(crate) changed: Vec<u64>,
}

impl Watch {
    pub(crate) fn next(&self) -> Option<Time> {
        self.expiries.first().map(|(time, _)| *time)
    }

    pub(crate) fn insert(&mut self, tag: u64, watcher: Watcher) {
        self.expiries.insert((watcher.subscription.expires_at, tag));
        self.by_user
            .entry((watcher.package, watcher.user.clone()))
            .or_default()
            .push(tag);
        self.watchers.insert(tag, watcher);
        self.changed.push(tag);
    }

    /// Puts one of another node in, whose record is written already.
    pub(crate) fn restore(&mut self, tag: u64, watcher: Watcher) {
        self.insert(tag, watcher);
        self.changed.pop();
    }

    /// Notes what an extension does before anybody is told.
    pub(crate) fn note(&mut self, user: String, dialogs: Vec<WatchedDialog>) {
        if !dialogs.is_empty() {
            self.extensions.insert(user, dialogs);
        }
    }

    fn remove(&mut self, tag: u64) {
        let Some(watcher) = self.watchers.remove(&tag) else {
            return;
        };
        self.expiries
            .remove(&(watcher.subscription.expires_at, tag));
        let key = (watcher.package, watcher.user);
        if let Some(tags) = self.by_user.get_mut(&key) {
            tags.retain(|other| *other != tag);
            if tags.is_empty() {
                self.by_user.remove(&key);
            }
        }
        self.changed.push(tag);
    }

    fn write_state(&self, watcher: &Watcher, version: u32, settings: &Settings) -> Vec<u8> {
        match watcher.package {
            Package::MessageSummary => {
                let (new, old) = self
                    .mailboxes
                    .get(&watcher.user)
                    .copied()
                    .unwrap_or_default();
                let waiting = if new > 0 { "yes" } else { "no" };
                let (user, domain) = (&watcher.user, settings.domain());
                format!("Messages-Waiting: {waiting}\r\nMessage-Account: sip:{user}@{domain}\r\nVoice-Message: {new}/{old} (0/0)\r\n").into_bytes()
            }
            Package::Dialog => {
                let dialogs = self.extensions.get(&watcher.user);
                let dialogs = dialogs.map_or(&[][..], Vec::as_slice);
                dialog_info::write(
                    (&watcher.user, watcher.is_known),
                    dialogs,
                    version,
                    settings,
                )
            }
        }
    }
}

/// The package and the `id` of an Event header.
fn event_of(ask: &Ask<'_, '_>) -> Option<(Package, Box<[u8]>)> {
    let value = ask.request.single(HeaderName::Event).ok()?;
    let (name, rest) = lex::token(value);
    let package = Package::parse(name)?;
    let params = sip::Params::new(lex::trim_start(rest).strip_prefix(b";").unwrap_or_default());
    let id = params
        .value(b"id")
        .filter(|id| lex::is_token_all(id))
        .map(|id| [b";id=", id].concat());
    Some((package, id.unwrap_or_default().into()))
}

impl Calls {
    /// SUBSCRIBE that begins a subscription.
    pub(crate) fn subscribed(&mut self, turn: &mut Turn<'_>, ask: &Ask<'_, '_>, key: ServerKey) {
        // Who watches was asked for credentials by the edge (RFC 6665 section 8.1): nobody else is told what phones and mailboxes do.
        if !turn.settings.trusted.contains(&ask.flow.remote.ip()) {
            return self.refuse(turn, ask.request, ask.back, 403);
        }
        let Some((package, event_id)) = event_of(ask) else {
            self.extra
                .extend_from_slice(b"Allow-Events: dialog, message-summary\r\n");
            return self.refuse(turn, ask.request, ask.back, 489);
        };
        let watchers = self.watch.watchers.len() + self.resting.watchers;
        if watchers >= turn.settings.subscriptions_max || self.layer.is_full() {
            push_header(
                &mut self.extra,
                "Retry-After",
                turn.settings.retry_after_s.to_string().as_bytes(),
            );
            return self.refuse(turn, ask.request, ask.back, 503);
        }
        let Some(seconds) = self.granted(turn, ask) else {
            return self.refuse(turn, ask.request, ask.back, 423);
        };
        let number = self.ids.issue();
        let tag = self.hidden(b'w', number);
        let mut tag_text = Vec::with_capacity(16);
        lex::push_hex(&mut tag_text, tag);
        let dialog = match Dialog::incoming(ask.request, &tag_text) {
            Ok(dialog) => dialog,
            Err(error) => return self.refuse(turn, ask.request, ask.back, error.status()),
        };
        for route in &dialog.routes {
            push_header(&mut self.extra, "Record-Route", route);
        }
        self.answer_subscribe(turn, ask, key, seconds, Some(&tag_text));
        let mut subscription = Subscription::grant(turn.now.time, seconds);
        if seconds == 0 {
            subscription.end(Reason::Timeout);
        }
        let user = identity::party_of_uri(ask.request.request_uri()).user;
        let (subscriber, _) = identity::caller(ask.request, true);
        let is_known = turn.settings.is_domain(&subscriber.host);
        self.by_tag.insert(tag, Owner::Subscription);
        let mailbox = user.clone();
        self.watch.insert(
            tag,
            Watcher {
                dialog,
                flow: ask.flow,
                package,
                event_id,
                user,
                is_known,
                told: (0, 0),
                subscription,
            },
        );
        self.notify(turn, tag);
        if package == Package::MessageSummary {
            // What is known may be from before a start: the counts follow where they differ.
            self.tell(Happening::Watched { mailbox });
        }
    }

    /// SUBSCRIBE within a subscription's dialog.
    pub(crate) fn subscribed_again(
        &mut self,
        turn: &mut Turn<'_>,
        ask: &Ask<'_, '_>,
        key: ServerKey,
    ) {
        let tag = ask.envelope.to_tag.and_then(lex::hex);
        let known = tag.filter(|tag| {
            self.watch.watchers.get(tag).is_some_and(|watcher| {
                *watcher.dialog.call_id == *ask.envelope.call_id
                    && *watcher.dialog.remote_tag == *ask.envelope.from_tag.unwrap_or_default()
            })
        });
        self.extra.clear();
        let Some(tag) = known else {
            return self.refuse(turn, ask.request, ask.back, 481);
        };
        if !self.understands(ask.request) {
            return self.refuse(turn, ask.request, ask.back, 420);
        }
        if ask.request.method() != Some(sip::Method::Subscribe) {
            self.extra.extend_from_slice(b"Allow: SUBSCRIBE\r\n");
            return self.refuse(turn, ask.request, ask.back, 405);
        }
        let Some(seconds) = self.granted(turn, ask) else {
            return self.refuse(turn, ask.request, ask.back, 423);
        };
        let Some(watcher) = self.watch.watchers.get_mut(&tag) else {
            return;
        };
        if let Err(error) = watcher.dialog.take_cseq(ask.envelope.cseq.number) {
            return self.refuse(turn, ask.request, ask.back, error.status());
        }
        watcher.dialog.refresh_target(ask.request);
        self.watch
            .expiries
            .remove(&(watcher.subscription.expires_at, tag));
        watcher.subscription.refresh(turn.now.time, seconds);
        self.watch
            .expiries
            .insert((watcher.subscription.expires_at, tag));
        self.watch.changed.push(tag);
        self.answer_subscribe(turn, ask, key, seconds, None);
        self.notify(turn, tag);
    }

    /// For how long a subscription is granted; `None`: it is asked for too briefly, and `self.extra` says so.
    fn granted(&mut self, turn: &Turn<'_>, ask: &Ask<'_, '_>) -> Option<u32> {
        let asked = ask
            .request
            .number(HeaderName::Expires, u32::MAX)
            .ok()
            .flatten()
            .unwrap_or(DEFAULT_S);
        if (1..MIN_S).contains(&asked) {
            push_header(&mut self.extra, "Min-Expires", MIN_S.to_string().as_bytes());
            return None;
        }
        Some(asked.min(turn.settings.subscription_s_max))
    }

    fn answer_subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        ask: &Ask<'_, '_>,
        key: ServerKey,
        seconds: u32,
        tag: Option<&[u8]>,
    ) {
        push_header(&mut self.extra, "Expires", seconds.to_string().as_bytes());
        write_contact(turn.settings, ask.back, &mut self.extra);
        self.answer(turn, ask, key, 200, tag, None);
    }

    /// Sends what is watched, all of it.
    fn notify(&mut self, turn: &mut Turn<'_>, tag: u64) {
        let Some(watcher) = self.watch.watchers.get_mut(&tag) else {
            return;
        };
        if !watcher.subscription.changed() {
            return;
        }
        let version = watcher.subscription.notifying();
        if watcher.package == Package::MessageSummary {
            let counts = self.watch.mailboxes.get(&watcher.user);
            watcher.told = counts.copied().unwrap_or_default();
        }
        let cseq = watcher.dialog.next_cseq();
        self.extra.clear();
        write_contact(turn.settings, watcher.flow, &mut self.extra);
        let event = [watcher.package.name().as_bytes(), &watcher.event_id].concat();
        push_header(&mut self.extra, "Event", &event);
        watcher.subscription.write(turn.now.time, &mut self.extra);
        let (dialog, flow, kind) = (watcher.dialog.clone(), watcher.flow, watcher.package.kind());
        let Some(watcher) = self.watch.watchers.get(&tag) else {
            return;
        };
        let body = self.watch.write_state(watcher, version, turn.settings);
        self.request(
            turn,
            (&dialog, flow),
            ("NOTIFY", cseq),
            Purpose::Notify { tag },
            Some((kind, &body)),
        );
        self.watch.changed.push(tag);
    }

    /// Tells who watched at another node what is.
    pub(crate) fn notify_restored(&mut self, turn: &mut Turn<'_>, tag: u64) {
        let watch = &self.watch;
        let is_news = watch.watchers.get(&tag).is_some_and(|watcher| {
            watcher.package == Package::Dialog && watch.extensions.contains_key(&watcher.user)
        });
        if is_news {
            self.notify(turn, tag);
        }
    }

    /// A NOTIFY was answered, or was not (RFC 6665 section 4.2.2).
    pub(crate) fn notified(&mut self, turn: &mut Turn<'_>, tag: u64, code: u16) {
        let Some(watcher) = self.watch.watchers.get_mut(&tag) else {
            return;
        };
        let is_again = watcher.subscription.notified();
        let is_lost = matches!(
            code,
            404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604
        );
        if is_lost || !watcher.subscription.is_active() && !is_again {
            return self.forget_watcher(tag);
        }
        if is_again {
            self.notify(turn, tag);
        }
    }

    fn forget_watcher(&mut self, tag: u64) {
        self.by_tag.remove(&tag);
        self.watch.remove(tag);
    }

    /// Ends what was not refreshed.
    pub(crate) fn watch_due(&mut self, turn: &mut Turn<'_>) {
        while let Some(&(time, tag)) = self
            .watch
            .expiries
            .first()
            .filter(|(time, _)| *time <= turn.now.time)
        {
            self.watch.expiries.remove(&(time, tag));
            if let Some(watcher) = self.watch.watchers.get_mut(&tag) {
                watcher.subscription.end(Reason::Timeout);
                self.notify(turn, tag);
            }
        }
    }

    /// Something that is watched changed.
    pub(crate) fn publish(&mut self, turn: &mut Turn<'_>, publish: Publish) {
        let (Publish::Extension { user: watched, .. }
        | Publish::Mailbox {
            mailbox: watched, ..
        }) = &publish;
        self.read_watchers_of(turn, watched);
        let (key, is_changed) = match publish {
            Publish::Extension { user, dialogs } => {
                let before = self.watch.extensions.get_mut(&user);
                let is_changed = match (before, dialogs.is_empty()) {
                    (None, true) => false,
                    (None, false) => {
                        self.watch.extensions.insert(user.clone(), dialogs);
                        true
                    }
                    (Some(_), true) => self.watch.extensions.remove(&user).is_some(),
                    (Some(before), false) => {
                        let is_changed = *before != dialogs;
                        *before = dialogs;
                        is_changed
                    }
                };
                ((Package::Dialog, user), is_changed)
            }
            Publish::Mailbox { mailbox, new, old } => {
                let before = match (new, old) {
                    (0, 0) => self.watch.mailboxes.remove(&mailbox),
                    counts => self.watch.mailboxes.insert(mailbox.clone(), counts),
                };
                let is_changed = before.unwrap_or_default() != (new, old);
                ((Package::MessageSummary, mailbox), is_changed)
            }
        };
        if !is_changed {
            return;
        }
        let tags = self.watch.by_user.get(&key).cloned().unwrap_or_default();
        for tag in tags {
            self.notify(turn, tag);
        }
        if key.0 == Package::Dialog {
            self.forget_ended(&key.1);
        }
    }

    /// That a call is over is told once; who is told of something else now hears of it by its absence.
    fn forget_ended(&mut self, user: &str) {
        if let Some(dialogs) = self.watch.extensions.get_mut(user) {
            dialogs.retain(|dialog| dialog.state != DialogState::Terminated);
            if dialogs.is_empty() {
                self.watch.extensions.remove(user);
            }
        }
    }
}
