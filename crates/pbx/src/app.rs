//! What runs calls by the dialplan.
//!
//! Every call is a machine (`call::State`) with a list of steps that are left to do, its legs, what they hear and what is recorded. An
//! input takes the call out of the table, moves it, and puts it back with its timers; what concerns other calls (queues, rooms, parking,
//! pick-up) is done through the table. All of a call is in its record, with times as milliseconds since 1970, so that another node goes on.
//!
//! A call keeps the steps it began with when the dialplan changes; menus, queues and mailboxes are looked up by name when their
//! turn comes.

mod blind;
mod call;
mod codec;
mod end;
mod legs;
mod mailbox;
mod menu;
mod park;
mod pin;
mod presence;
mod queue;
mod restore;
mod ring;
mod room;
mod steps;
mod talk;
mod voicemail;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use records::{Changes, Op};
use transaction::Time;

use crate::control::{
    Action, Answer, Applications, Cdr, Happening, Ids, Incoming, LegId, LegRecord, Mailbox, Now,
    Publish, QuestionId, RecordingId,
};
use crate::plan::{NUMBER_CHARS_MAX, Plan};

use call::{Call, TimerKind};
pub use call::{KEYS_MAX, LEGS_MAX, LEGS_NOTED_MAX, NOTES_MAX, STEPS_DONE_MAX};
use codec::mailbox_of;
pub use end::{END_TIMEOUT_MS, RECORDINGS_MAX};
pub use mailbox::MESSAGES_MAX;
pub use pin::{PIN_TRIES_MAX, WRONG_PINS_MAX, WRONG_PINS_MS, WRONG_PINS_TABLE_MAX};
use presence::Presence;
use queue::Agent;
pub use restore::{AGENT_KIND, CALL_KIND, USER_KIND};
pub use ring::LAST_CALLS_MAX;
pub use steps::DIVERSIONS_MAX;

/// Most calls at one time, whatever the node's own limit.
pub const CALLS_MAX: usize = 100_000;

/// Most questions at one time that belong to no call.
pub const ERRANDS_MAX: usize = 4_096;

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that began.
    pub calls: u64,
    /// Calls that ended.
    pub ended: u64,
    /// Calls that did more steps than may be.
    pub loops: u64,
    /// Calls refused because there was no room.
    pub refused: u64,
    /// Records that could not be read.
    pub unreadable: u64,
    /// Calls whose record was too large.
    pub unwritten: u64,
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Calls.
    pub calls: usize,
    /// Legs.
    pub legs: usize,
    /// Questions.
    pub questions: usize,
    /// Timers.
    pub timers: usize,
    /// Callers in queues.
    pub queued: usize,
    /// Members of conferences.
    pub members: usize,
    /// Calls that are parked.
    pub parked: usize,
    /// Users whose phones do something.
    pub present: usize,
}

/// What one input is handled with.
pub(crate) struct Round<'r> {
    unix_ms: u64,
    ids: &'r mut Ids,
    actions: &'r mut Vec<Action>,
}

impl Round<'_> {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}

/// All calls of a node.
#[derive(Debug, Default)]
pub struct Switchboard {
    plan: Arc<Plan>,
    calls: BTreeMap<u64, Box<Call>>,
    /// The call of each leg.
    legs: BTreeMap<LegId, u64>,
    /// The call of each question.
    questions: BTreeMap<u64, u64>,
    /// Mailboxes whose counts are asked for.
    errands: BTreeMap<u64, String>,
    due: BTreeSet<(u64, u64)>,
    /// Callers by queue, who came first first.
    waiting: BTreeMap<String, Vec<u64>>,
    agents: BTreeMap<String, Agent>,
    /// Queues that may be able to go on.
    to_serve: BTreeSet<String>,
    rooms: BTreeMap<String, Vec<u64>>,
    slots: BTreeMap<u32, u64>,
    presence: Presence,
    /// When each user's last call was.
    last_calls: BTreeMap<String, u64>,
    /// Mailboxes whose counts were told.
    mailboxes: BTreeMap<String, (u32, u32)>,
    /// Wrong PINs by caller and what they were for: how many, and when the first was.
    wrong_pins: BTreeMap<(String, String), (u32, u64)>,
    /// The call of each recording.
    recordings: BTreeMap<RecordingId, u64>,
    /// Calls that were begun by others in this input.
    to_run: Vec<u64>,
    changed: BTreeSet<u64>,
    changed_agents: BTreeSet<String>,
    changed_users: BTreeSet<String>,
    counts: Counts,
    /// The time of day less the monotonic clock, in milliseconds.
    offset_ms: u64,
}

impl Switchboard {
    /// A switchboard without calls.
    pub fn new(plan: Arc<Plan>) -> Switchboard {
        Switchboard {
            plan,
            ..Switchboard::default()
        }
    }

    /// Puts another dialplan in the place of the one in force. Calls go on with the steps they have; what steps name is
    /// looked up in the new one.
    pub fn reload(&mut self, plan: Arc<Plan>) {
        self.plan = plan;
        self.to_serve.extend(self.waiting.keys().cloned());
    }

    /// The dialplan in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How full the tables are.
    pub fn tables(&self) -> Tables {
        Tables {
            calls: self.calls.len(),
            legs: self.legs.len(),
            questions: self.questions.len() + self.errands.len(),
            timers: self.due.len(),
            queued: self.waiting.values().map(Vec::len).sum(),
            members: self.rooms.values().map(Vec::len).sum(),
            parked: self.slots.len(),
            present: self.presence.len(),
        }
    }

    fn round<R>(
        &mut self,
        now: Now,
        ids: &mut Ids,
        actions: &mut Vec<Action>,
        work: impl FnOnce(&mut Switchboard, &mut Round<'_>) -> R,
    ) -> R {
        self.offset_ms = now.unix_ms.saturating_sub(now.time.as_ms());
        let mut round = Round {
            unix_ms: now.unix_ms,
            ids,
            actions,
        };
        let result = work(self, &mut round);
        self.run_begun(&mut round);
        self.serve_queues(&mut round);
        result
    }

    /// Takes the call `id` out of the table for `work`, and puts it back. Nothing is done if it is not there, or
    /// is out already.
    fn with(
        &mut self,
        id: u64,
        round: &mut Round<'_>,
        work: impl FnOnce(&mut Switchboard, &mut Call, &mut Round<'_>),
    ) -> bool {
        let Some(mut call) = self.calls.remove(&id) else {
            return false;
        };
        if let Some(at) = call.due() {
            self.due.remove(&(at, id));
        }
        work(self, &mut call, round);
        self.put_back(call, round);
        true
    }

    fn put_back(&mut self, mut call: Box<Call>, round: &mut Round<'_>) {
        self.changed.insert(call.id);
        if call.is_finished() {
            self.close(&mut call, round);
            return;
        }
        if let Some(at) = call.due() {
            self.due.insert((at, call.id));
        }
        self.calls.insert(call.id, call);
    }

    fn happen(&mut self, happening: &Happening, round: &mut Round<'_>) {
        let leg = match happening {
            Happening::Incoming(incoming) => return self.incoming(incoming, round),
            Happening::Told { question, answer } => return self.told(*question, answer, round),
            Happening::Watched { mailbox } => {
                if let Some(mailbox) = self.mailbox_number(mailbox) {
                    self.count_mailbox(&mailbox, round);
                }
                return;
            }
            Happening::Ringing { leg, .. }
            | Happening::Answered { leg }
            | Happening::Failed { leg, .. }
            | Happening::Ended { leg, .. }
            | Happening::Digit { leg, .. }
            | Happening::Played { leg, .. }
            | Happening::Recorded { leg, .. }
            | Happening::TransferTo { leg, .. }
            | Happening::Hold { leg, .. }
            | Happening::Quality { leg, .. } => *leg,
        };
        // A recording outlives its leg.
        let call = self.legs.get(&leg).copied().or_else(|| match happening {
            Happening::Recorded { recording, .. } => self.recordings.get(recording).copied(),
            _ => None,
        });
        if let Some(call) = call {
            self.with(call, round, |board, call, round| {
                board.leg_happened(call, leg, happening, round);
            });
        }
    }

    fn incoming(&mut self, incoming: &Incoming, round: &mut Round<'_>) {
        let number = incoming.called.user.as_str();
        let status = if self.calls.len() >= CALLS_MAX {
            Some(503)
        } else if !(is_number(number) || number.is_empty() && incoming.replaces.is_some()) {
            // A hostile number does not come near a path or a target. Who names a dialog need not name one (RFC 5589 section 7).
            Some(404)
        } else {
            None
        };
        if let Some(status) = status {
            self.counts.refused += 1;
            self.note_refusal(incoming, status, round);
            round.act(Action::Reject {
                leg: incoming.leg,
                cause: end::cause(status),
                retry_after_s: (status == 503).then_some(5),
            });
            return;
        }
        self.counts.calls += 1;
        let mut call = Box::new(self.new_call(incoming, round));
        match incoming.replaces {
            Some(replaced) => self.take_place(&mut call, replaced, round),
            None => self.dialled(&mut call, number, round),
        }
        self.put_back(call, round);
    }

    /// A call that no machine runs has a record, too.
    fn note_refusal(&self, incoming: &Incoming, status: u16, round: &mut Round<'_>) {
        let mut called = incoming.called.clone();
        called.user = called.user.chars().take(NUMBER_CHARS_MAX).collect();
        let cause = end::cause(status);
        let leg = LegRecord {
            call_id: incoming.call_id.clone(),
            party: incoming.caller.clone(),
            cause: cause.clone(),
            ..LegRecord::default()
        };
        let cdr = Cdr {
            id: round.ids.issue(),
            caller: incoming.caller.clone(),
            called,
            began_unix_ms: round.unix_ms,
            ended_unix_ms: round.unix_ms,
            cause,
            legs: vec![leg],
            ..Cdr::default()
        };
        round.act(Action::Cdr(Box::new(cdr)));
    }

    fn told(&mut self, question: QuestionId, answer: &Answer, round: &mut Round<'_>) {
        if let Some(mailbox) = self.errands.remove(&question.0) {
            if let Some(found) = mailbox_of(answer) {
                self.publish_mailbox(&mailbox, found, round);
            }
            return;
        }
        let Some(call) = self.questions.remove(&question.0) else {
            return;
        };
        self.with(call, round, |board, call, round| {
            let is_open = call
                .asked
                .as_ref()
                .is_some_and(|asked| asked.number == question.0);
            if let Some(asked) = call.asked.take_if(|_| is_open) {
                board.answer_came(call, asked, answer, round);
            }
        });
    }

    /// Somebody begins to watch a mailbox: its counts are asked for, and told by [`Publish::Mailbox`]. Nothing is done for
    /// mailboxes that are not in the dialplan.
    pub fn watch_mailbox(
        &mut self,
        now: Now,
        ids: &mut Ids,
        mailbox: &str,
        actions: &mut Vec<Action>,
    ) {
        if let Some(mailbox) = self.mailbox_number(mailbox) {
            self.round(now, ids, actions, |board, round| {
                board.count_mailbox(&mailbox, round);
            });
        }
    }

    /// Asks for the counts of a mailbox, for those who watch it; [`Publish::Mailbox`] follows.
    fn count_mailbox(&mut self, mailbox: &str, round: &mut Round<'_>) {
        if self.errands.len() >= ERRANDS_MAX {
            return;
        }
        let number = round.ids.issue();
        self.errands.insert(number, mailbox.to_owned());
        round.act(Action::Ask {
            question: QuestionId(number),
            what: crate::control::Question::Mailbox {
                mailbox: mailbox.to_owned(),
            },
        });
    }

    fn publish_mailbox(&mut self, mailbox: &str, found: &Mailbox, round: &mut Round<'_>) {
        let old = found.messages.iter().filter(|message| message.is_heard);
        let old = u32::try_from(old.count()).unwrap_or(u32::MAX);
        let all = u32::try_from(found.messages.len()).unwrap_or(u32::MAX);
        let counts = (all - old, old);
        self.mailboxes.insert(mailbox.to_owned(), counts);
        // Phones watch it by its number, by an extension's or by their user's name.
        let names = std::iter::once(mailbox).chain(self.plan.names_of_mailbox(mailbox));
        for name in names {
            round.actions.push(Action::Publish(Publish::Mailbox {
                mailbox: name.to_owned(),
                new: counts.0,
                old: counts.1,
            }));
        }
    }

    fn poll_due(&mut self, round: &mut Round<'_>) {
        while let Some((at, id)) = self.due.first().copied() {
            if at > round.unix_ms {
                return;
            }
            let is_there = self.with(id, round, |board, call, round| {
                let kinds: Vec<TimerKind> = call
                    .timers
                    .iter()
                    .filter(|timer| timer.at_unix_ms <= round.unix_ms)
                    .map(|timer| timer.kind)
                    .collect();
                call.timers.retain(|timer| timer.at_unix_ms > round.unix_ms);
                for kind in kinds {
                    board.timer_fired(call, kind, round);
                }
            });
            if !is_there {
                self.due.remove(&(at, id));
            }
        }
    }
}

/// Whether a called user part may be looked at: no spaces, slashes or signs that mean something elsewhere.
fn is_number(text: &str) -> bool {
    (1..=NUMBER_CHARS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.+*#".contains(&b))
}

impl Applications for Switchboard {
    fn happened(
        &mut self,
        now: Now,
        ids: &mut Ids,
        happening: &Happening,
        actions: &mut Vec<Action>,
    ) {
        self.round(now, ids, actions, |board, round| {
            board.happen(happening, round);
        });
    }

    fn poll(&mut self, now: Now, ids: &mut Ids, actions: &mut Vec<Action>) {
        self.round(now, ids, actions, Switchboard::poll_due);
    }

    fn next(&self, _now: Time) -> Option<Time> {
        let (at, _) = self.due.first()?;
        Some(Time::from_ms(at.saturating_sub(self.offset_ms)))
    }

    fn changes(&mut self, changes: &mut Changes) {
        self.write_changes(changes);
    }

    fn restore(&mut self, op: Op<'_>) {
        self.read_change(op);
    }

    fn take_office(&mut self, now: Now, ids: &mut Ids, actions: &mut Vec<Action>) {
        self.round(now, ids, actions, Switchboard::go_on);
    }
}

#[cfg(test)]
mod tests;
