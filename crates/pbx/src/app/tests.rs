//! Scripts: what happens in, what is done out. Every script runs twice, the second time on another node after each input.

mod ends;
mod features;
mod hostile;
mod menus;
mod messages;
mod queues;
mod rings;
mod transfers;

use std::collections::BTreeMap;
use std::sync::Arc;

use records::Op;

use crate::control::*;
use crate::plan::{Plan, Source};

use super::restore::{AGENT_KIND, CALL_KIND};
use super::{Switchboard, Tables};

/// 2026-03-02, a Monday, at 12:00 UTC.
const NOON: u64 = 1_772_409_600_000 + 12 * 3_600_000;

pub(crate) fn plan(text: &str) -> Arc<Plan> {
    let source = Source {
        name: "test",
        text,
        is_shared: false,
    };
    match Plan::build(&[source], &|_| true) {
        Ok(plan) => Arc::new(plan),
        Err(mistakes) => {
            let lines: Vec<String> = mistakes
                .iter()
                .map(|one| format!("{}: {}", one.line(text), one.fault))
                .collect();
            panic!("{}", lines.join("\n"))
        }
    }
}

/// A desk with phones on it.
pub(crate) struct Desk {
    board: Switchboard,
    ids: Ids,
    unix_ms: u64,
    /// Whether another node goes on after each input.
    moves: bool,
    records: BTreeMap<(u16, Vec<u8>), Vec<u8>>,
    /// What was done since it was asked for last.
    said: Vec<String>,
    /// All of it.
    history: Vec<String>,
    names: BTreeMap<LegId, String>,
    /// What each leg hears.
    plays: BTreeMap<LegId, PlayId>,
    recordings: Vec<(LegId, RecordingId)>,
    questions: Vec<QuestionId>,
    incoming: u64,
    dialled: usize,
    ended: usize,
    pub(crate) cdrs: Vec<Cdr>,
    /// The plan that another node has.
    plan: Arc<Plan>,
}

/// Runs a script on one node, and on a new one after each input: both have to do the same.
pub(crate) fn script(text: &str, run: impl Fn(&mut Desk)) {
    let mut histories = Vec::new();
    for moves in [false, true] {
        let mut desk = Desk::new(plan(text), moves);
        run(&mut desk);
        desk.close();
        histories.push(desk.history.clone());
    }
    assert_eq!(
        histories[0], histories[1],
        "another node went on in another way"
    );
}

impl Desk {
    pub(crate) fn new(plan: Arc<Plan>, moves: bool) -> Desk {
        Desk {
            board: Switchboard::new(plan.clone()),
            ids: Ids::of_epoch(1),
            unix_ms: NOON,
            moves,
            records: BTreeMap::new(),
            said: Vec::new(),
            history: Vec::new(),
            names: BTreeMap::new(),
            plays: BTreeMap::new(),
            recordings: Vec::new(),
            questions: Vec::new(),
            incoming: 0,
            dialled: 0,
            ended: 0,
            cdrs: Vec::new(),
            plan,
        }
    }

    fn now(&self) -> Now {
        Now {
            time: transaction::Time::from_ms(self.unix_ms - NOON + 1_000),
            unix_ms: self.unix_ms,
        }
    }

    pub(crate) fn name(&self, leg: LegId) -> String {
        self.names
            .get(&leg)
            .cloned()
            .unwrap_or_else(|| "?".to_owned())
    }

    /// Something happens; what was asked for is done at once.
    pub(crate) fn happen(&mut self, happening: Happening) {
        let mut actions = Vec::new();
        let now = self.now();
        self.board
            .happened(now, &mut self.ids, &happening, &mut actions);
        self.after(actions);
    }

    fn after(&mut self, actions: Vec<Action>) {
        let mut answers = Vec::new();
        for action in actions {
            self.note(&action, &mut answers);
        }
        self.move_on();
        for answer in answers {
            self.happen(answer);
        }
    }

    fn move_on(&mut self) {
        let mut changes = records::Changes::new();
        self.board.changes(&mut changes);
        for op in changes.iter() {
            let key = (op.kind, op.key.to_vec());
            match op.value {
                Some(value) => self.records.insert(key, value.to_vec()),
                None => self.records.remove(&key),
            };
        }
        if !self.moves {
            return;
        }
        let errands = std::mem::take(&mut self.board.errands);
        let mut other = Switchboard::new(self.plan.clone());
        for ((kind, key), value) in &self.records {
            let mut value = value.clone();
            if matches!(*kind, CALL_KIND | AGENT_KIND) {
                // A later version might have written it.
                records::tlv::write_bytes(4_711, b"unknown here", &mut value);
            }
            other.restore(Op {
                kind: *kind,
                key,
                value: Some(&value),
            });
        }
        let mut again = Vec::new();
        let now = self.now();
        other.take_office(now, &mut self.ids, &mut again);
        assert_eq!(other.counts().unreadable, 0);
        let before = self.board.tables();
        let tables = Tables {
            questions: other.tables().questions + errands.len(),
            ..other.tables()
        };
        let before = Tables {
            questions: before.questions + errands.len(),
            ..before
        };
        assert_eq!(tables, before, "tables after a move");
        for action in again {
            match action {
                Action::Ask { question, .. } => assert!(self.questions.contains(&question)),
                Action::Publish(Publish::Extension { user, dialogs }) => {
                    let before = self.board.extension_dialogs(&user);
                    assert_eq!(dialogs, before, "{user} after a move");
                }
                _ => panic!("legs go on by themselves"),
            }
        }
        // Errands are not moved; here their answers are to come all the same.
        other.errands = errands;
        other.wrong_pins = std::mem::take(&mut self.board.wrong_pins);
        other.mailboxes = std::mem::take(&mut self.board.mailboxes);
        self.board = other;
    }

    fn say(&mut self, text: String) {
        self.history.push(text.clone());
        self.said.push(text);
    }

    fn note(&mut self, action: &Action, answers: &mut Vec<Happening>) {
        let text = match action {
            Action::Ring { leg } => format!("180 {}", self.name(*leg)),
            Action::Progress { leg } => format!("183 {}", self.name(*leg)),
            Action::Answer { leg } => {
                answers.push(Happening::Answered { leg: *leg });
                format!("answer {}", self.name(*leg))
            }
            Action::Reject { leg, cause, .. } => {
                self.gone(*leg, cause, answers);
                format!("reject {} {}", self.name(*leg), cause.status)
            }
            Action::Dial {
                leg,
                target,
                caller,
                diversions,
                auto_answer,
                referral,
                ..
            } => {
                self.dialled += 1;
                let same = self
                    .names
                    .values()
                    .filter(|name| name.split('/').next() == Some(target))
                    .count();
                let name = if same == 0 {
                    target.clone()
                } else {
                    format!("{target}/{}", same + 1)
                };
                self.names.insert(*leg, name.clone());
                let mut text = format!("dial {name} from {}", caller.user);
                for (from, reason) in diversions {
                    text += &format!(" by {} {reason:?}", from.user);
                }
                if *auto_answer {
                    text += " auto";
                }
                for (what, value) in [
                    ("referred by", &referral.referred_by),
                    ("replaces", &referral.replaces),
                    ("at", &referral.uri),
                ] {
                    if !value.is_empty() {
                        text += &format!(" {what} {value}");
                    }
                }
                text
            }
            Action::Hangup { leg, cause } => {
                self.gone(*leg, cause, answers);
                format!("hangup {} {}", self.name(*leg), cause.status)
            }
            Action::Bridge { a, b } => format!("bridge {} {}", self.name(*a), self.name(*b)),
            Action::Unbridge { leg } => format!("unbridge {}", self.name(*leg)),
            Action::Play {
                leg,
                play,
                sounds,
                repeat,
                ..
            } => {
                self.plays.insert(*leg, *play);
                let sounds: Vec<String> = sounds.iter().map(shown).collect();
                let verb = if *repeat { "loop" } else { "play" };
                format!("{verb} {}: {}", self.name(*leg), sounds.join(" "))
            }
            Action::StopPlay { leg, play } => {
                assert_eq!(
                    self.plays.remove(leg),
                    Some(*play),
                    "stops what is not played"
                );
                return;
            }
            Action::Record {
                leg,
                recording,
                both,
                beep,
                ..
            } => {
                self.recordings.push((*leg, *recording));
                let with = if *both { " both" } else { "" };
                let beep = if *beep { " beep" } else { "" };
                format!("record {}{with}{beep}", self.name(*leg))
            }
            Action::StopRecord { recording } => {
                // Its leg may have gone just before.
                let at = self.recordings.iter().position(|one| one.1 == *recording);
                let Some(at) = at else { return };
                let (leg, recording) = self.recordings.remove(at);
                answers.push(Happening::Recorded {
                    leg,
                    recording,
                    length_ms: 1_000,
                    is_saved: true,
                });
                format!("stop recording {}", self.name(leg))
            }
            Action::Join { leg, muted, .. } => {
                format!(
                    "join {}{}",
                    self.name(*leg),
                    if *muted { " muted" } else { "" }
                )
            }
            Action::Leave { leg } => format!("leave {}", self.name(*leg)),
            Action::Mute { leg, muted } => format!("mute {} {muted}", self.name(*leg)),
            Action::PlayRoom { sounds, .. } => {
                let sounds: Vec<String> = sounds.iter().map(shown).collect();
                format!("play room: {}", sounds.join(" "))
            }
            Action::Echo { leg } => format!("echo {}", self.name(*leg)),
            Action::SendDigits { leg, digits } => format!("digits {} {digits}", self.name(*leg)),
            Action::DetectInBand { leg, on } => {
                return self
                    .history
                    .push(format!("in band {} {on}", self.name(*leg)));
            }
            Action::TransferResult { leg, status } => {
                format!("transfer {} {status}", self.name(*leg))
            }
            Action::Ask { question, what } => {
                self.questions.push(*question);
                match what {
                    Question::Mailbox { mailbox } => format!("ask mailbox {mailbox}"),
                    Question::KeepMessage {
                        mailbox, length_ms, ..
                    } => format!("ask keep {mailbox} {length_ms}"),
                    Question::MarkHeard { mailbox, message } => {
                        format!("ask heard {mailbox} {message}")
                    }
                    Question::DeleteMessage { mailbox, message } => {
                        format!("ask delete {mailbox} {message}")
                    }
                    Question::DeleteRecording { path } => {
                        // Nobody waits for the answer.
                        self.questions.pop();
                        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                        format!("ask drop {folder}")
                    }
                    Question::KeepGreeting { mailbox, .. } => format!("ask greeting {mailbox}"),
                    Question::CheckPin { subject, pin } => format!("ask pin {subject} {pin}"),
                }
            }
            Action::Cdr(cdr) => {
                assert!(self.cdrs.iter().all(|one| one.id != cdr.id), "two records");
                self.cdrs.push((**cdr).clone());
                return self.history.push(format!("cdr {:?}", cdr.steps));
            }
            Action::Publish(Publish::Extension { user, dialogs }) => {
                let dialogs: Vec<String> = dialogs.iter().map(watched).collect();
                return self
                    .history
                    .push(format!("{user} is [{}]", dialogs.join(", ")));
            }
            Action::Publish(Publish::Mailbox { mailbox, new, old }) => {
                format!("mailbox {mailbox} has {new} new {old} old")
            }
        };
        self.say(text);
    }

    /// A leg that was told to end does, and so does what is recorded of it.
    fn gone(&mut self, leg: LegId, cause: &Cause, answers: &mut Vec<Happening>) {
        self.plays.remove(&leg);
        self.recordings_end(leg, answers);
        answers.push(Happening::Ended {
            leg,
            cause: cause.clone(),
        });
    }

    fn recordings_end(&mut self, leg: LegId, answers: &mut Vec<Happening>) {
        while let Some(at) = self.recordings.iter().position(|one| one.0 == leg) {
            let (leg, recording) = self.recordings.remove(at);
            answers.push(Happening::Recorded {
                leg,
                recording,
                length_ms: 4_000,
                is_saved: true,
            });
        }
    }

    /// What was done since the last time.
    pub(crate) fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, wanted: &[&str]) {
        assert_eq!(self.said(), wanted);
    }

    /// A call of a known user.
    pub(crate) fn call(&mut self, from: &str, number: &str) -> LegId {
        self.call_as(from, number, true)
    }

    pub(crate) fn call_as(&mut self, from: &str, number: &str, is_trusted: bool) -> LegId {
        let leg = self.next_leg(from);
        let incoming = self.incoming_of(leg, from, number, is_trusted);
        self.happen(Happening::Incoming(Box::new(incoming)));
        leg
    }

    pub(crate) fn next_leg(&mut self, from: &str) -> LegId {
        self.incoming += 1;
        let leg = LegId(self.incoming);
        self.names.insert(leg, format!("<{from}>"));
        leg
    }

    pub(crate) fn incoming_of(
        &self,
        leg: LegId,
        from: &str,
        number: &str,
        is_trusted: bool,
    ) -> Incoming {
        Incoming {
            leg,
            caller: Party {
                user: from.to_owned(),
                ..Party::default()
            },
            is_trusted,
            is_private: false,
            called: Party {
                user: number.to_owned(),
                ..Party::default()
            },
            diversions: Vec::new(),
            replaces: None,
            auto_answer: false,
            referred_by: String::new(),
            call_id: format!("call-{}", leg.0),
        }
    }

    /// The leg that was dialled under this name.
    #[track_caller]
    pub(crate) fn leg(&self, name: &str) -> LegId {
        let found = self.names.iter().find(|(_, one)| *one == name);
        *found.expect("there is such a leg").0
    }

    pub(crate) fn rings(&mut self, name: &str) {
        let leg = self.leg(name);
        self.happen(Happening::Ringing {
            leg,
            has_media: false,
        });
    }

    pub(crate) fn answers(&mut self, name: &str) {
        let leg = self.leg(name);
        self.happen(Happening::Answered { leg });
    }

    pub(crate) fn fails(&mut self, name: &str, status: u16) {
        let leg = self.leg(name);
        self.happen(Happening::Failed {
            leg,
            cause: super::end::cause(status),
            contacts: Vec::new(),
        });
    }

    pub(crate) fn hangs_up(&mut self, leg: LegId) {
        self.plays.remove(&leg);
        let mut answers = Vec::new();
        self.recordings_end(leg, &mut answers);
        self.happen(Happening::Ended {
            leg,
            cause: super::end::cause(200),
        });
        for answer in answers {
            self.happen(answer);
        }
    }

    pub(crate) fn presses(&mut self, leg: LegId, keys: &str) {
        for digit in keys.chars() {
            self.happen(Happening::Digit { leg, digit });
        }
    }

    /// What the leg hears comes to its end.
    #[track_caller]
    pub(crate) fn heard(&mut self, leg: LegId) {
        let play = self.plays.remove(&leg).expect("it hears something");
        self.happen(Happening::Played {
            leg,
            play,
            completed: true,
        });
    }

    /// What is recorded of the leg ends by itself.
    #[track_caller]
    pub(crate) fn recorded(&mut self, leg: LegId, length_ms: u32, is_saved: bool) {
        let at = self.recordings.iter().position(|one| one.0 == leg);
        let (leg, recording) = self.recordings.remove(at.expect("it is recorded"));
        self.happen(Happening::Recorded {
            leg,
            recording,
            length_ms,
            is_saved,
        });
    }

    /// The oldest open question gets its answer.
    #[track_caller]
    pub(crate) fn told(&mut self, answer: Answer) {
        assert!(!self.questions.is_empty(), "nothing was asked");
        let question = self.questions.remove(0);
        self.happen(Happening::Told { question, answer });
    }

    /// Time passes, and what is due is done.
    pub(crate) fn wait(&mut self, ms: u64) {
        let end = self.unix_ms + ms;
        loop {
            let now = self.now();
            let next = self
                .board
                .next(now.time)
                .map(|at| at.as_ms() + NOON - 1_000);
            match next.filter(|at| *at <= end) {
                Some(at) => self.unix_ms = self.unix_ms.max(at),
                None => break,
            }
            let mut actions = Vec::new();
            let now = self.now();
            self.board.poll(now, &mut self.ids, &mut actions);
            self.after(actions);
        }
        self.unix_ms = end;
    }

    /// The script is over: all tables are empty, and each call has one record.
    #[track_caller]
    pub(crate) fn close(&mut self) {
        assert_eq!(
            self.board.tables(),
            Tables::default(),
            "{:#?}",
            self.board.calls
        );
        assert_eq!(
            self.records
                .keys()
                .filter(|key| key.0 == super::CALL_KIND)
                .count(),
            0
        );
        assert!(self.recordings.is_empty());
        let _ = (self.dialled, self.ended);
    }
}

fn watched(dialog: &WatchedDialog) -> String {
    let way = if dialog.is_initiator { "to" } else { "from" };
    let remote = match &dialog.remote {
        Some(party) => party.user.as_str(),
        None => "?",
    };
    format!("{:?} {way} {remote}", dialog.state)
}

fn shown(sound: &Sound) -> String {
    match sound {
        Sound::Prompt(name) => name.clone(),
        Sound::Number(number) => format!("{number}"),
        Sound::Digits(digits) => format!("'{digits}'"),
        Sound::Tone(name) => format!("tone:{name}"),
        Sound::File(path) => match path.rsplit_once('/') {
            Some((folder, _)) => format!("file:{folder}"),
            None => format!("file:{path}"),
        },
        Sound::Music(name) => format!("music:{name}"),
        Sound::Silence(ms) => format!("silence:{ms}"),
    }
}
