//! What is known of one call, all of it written down in its record.

use std::sync::Arc;

use crate::control::{
    Cause, DiversionReason, EndedBy, Figures, LegId, LegRecord, Party, PlayId, Question,
    RecordingId, Referral, RoomId,
};
use crate::plan::{Order, Outcome, Step};

use super::codec::{Field, choices, fields};

/// Most legs of a call at one time.
pub const LEGS_MAX: usize = 24;

/// Most legs that the record of a call names.
pub const LEGS_NOTED_MAX: usize = 64;

/// Most steps that the record of a call names.
pub const NOTES_MAX: usize = 64;

/// Most steps that are done with a call: a dialplan that loops ends here.
pub const STEPS_DONE_MAX: u32 = 200;

/// Most keys that are gathered.
pub const KEYS_MAX: usize = 32;

choices! {
    /// How far a leg is.
    pub(crate) enum Stage {
        /// It is called, or calls.
        #[default]
        0 Calling,
        /// It rings.
        1 Ringing,
        /// It is answered.
        2 Answered,
        /// It was told to end.
        3 Ending,
    }
}

fields! {
    /// One party.
    pub(crate) struct Leg {
        1 id: LegId,
        /// The user whose phone it is; empty if it is none of ours.
        2 user: String,
        3 party: Party,
        4 call_id: String,
        5 is_incoming: bool,
        6 stage: Stage,
        7 codec: String,
        13 figures: Figures,
        /// It put the other party on hold.
        10 is_holding: bool,
        /// Who it is is not to be told.
        11 is_private: bool,
        /// Whom its party talks with, or is to; `None`: somebody who wants no one to know.
        12 remote: Option<Arc<Party>>,
    }
}

fields! {
    /// What a leg hears.
    pub(crate) struct Sounding {
        1 leg: LegId,
        2 play: PlayId,
    }
}

choices! {
    /// What a recording is for.
    pub(crate) enum Purpose {
        /// Somebody wants it so.
        #[default]
        0 Demand,
        /// A message.
        1 Message,
        /// A greeting.
        2 Greeting,
    }
}

fields! {
    /// What is being recorded.
    pub(crate) struct Recording {
        1 leg: LegId,
        2 id: RecordingId,
        3 path: String,
        4 both: bool,
        5 max_ms: u32,
        6 silence_ms: u32,
        7 began_unix_ms: u64,
        8 purpose: Purpose,
        /// It was told to end.
        9 is_stopping: bool,
    }
}

choices! {
    /// What a timer is for.
    #[derive(Copy, PartialOrd, Ord)]
    pub(crate) enum TimerKind {
        /// The state's first one: the time for an answer, a key, a slot.
        #[default]
        0 State,
        /// Telling the position.
        1 Position,
        /// The longest wait.
        2 Wait,
        /// The phones of agents.
        3 Agents,
        /// The next key of a code.
        4 Code,
        /// The call is given up.
        5 End,
    }
}

fields! {
    pub(crate) struct Timer {
        1 kind: TimerKind,
        2 at_unix_ms: u64,
    }
}

fields! {
    /// What is asked and not answered.
    pub(crate) struct Asked {
        1 number: u64,
        2 what: Option<Question>,
    }
}

fields! {
    /// A phone that is to be rung.
    pub(crate) struct Target {
        /// The user whose phone it is; empty if it is none of ours.
        1 user: String,
        /// What is dialled.
        2 dial: String,
    }
}

fields! {
    /// Phones are being rung.
    pub(crate) struct Ringing {
        /// Not rung yet.
        1 left: Vec<Target>,
        /// Being rung.
        2 legs: Vec<LegId>,
        3 order: Order,
        4 for_ms: u32,
        5 confirm: bool,
        6 auto_answer: bool,
        /// What the others came to.
        7 outcomes: Vec<Outcome>,
        /// Answered, but not accepted yet.
        8 asked: Vec<LegId>,
        /// Only one was to be rung.
        9 is_single: bool,
        /// The caller hears what the called phone sends before its answer.
        10 has_media: bool,
        /// Shown as the caller, if not who calls.
        11 shown: Option<Party>,
    }
}

fields! {
    /// Two talk.
    pub(crate) struct Talking {
        1 peer: LegId,
        /// The queue that brought them together, and the agent.
        2 agent: String,
        3 queue: String,
    }
}

fields! {
    /// A menu.
    pub(crate) struct MenuAt {
        1 name: String,
        2 tries: u32,
        3 keys: String,
    }
}

choices! {
    /// What a PIN opens.
    pub(crate) enum Guarded {
        #[default]
        0 Nothing,
        1 Route(String),
        2 Room(String),
        3 Mailbox(String),
    }
}

fields! {
    /// Digits are keyed in.
    pub(crate) struct PinAt {
        1 what: Guarded,
        2 keys: String,
        3 tries: u32,
        4 is_checking: bool,
    }
}

choices! {
    /// How far a message is.
    pub(crate) enum MessageStage {
        /// The mailbox is being looked up.
        #[default]
        0 Asking,
        1 Greeting,
        2 Recording,
        /// What to do with it?
        3 Review,
        4 Listening,
        5 Keeping,
        /// The last words.
        6 Bye,
    }
}

fields! {
    /// A message is being left.
    pub(crate) struct MessageAt {
        1 mailbox: String,
        2 stage: MessageStage,
        3 path: String,
        4 length_ms: u32,
        5 tries: u32,
        /// How often it was begun.
        6 takes: u32,
    }
}

choices! {
    /// Where in a mailbox its owner is.
    pub(crate) enum MailboxStage {
        /// The mailbox's number is keyed in.
        #[default]
        0 Number,
        /// The mailbox is being looked up.
        1 Asking,
        /// How many there are; the menu.
        2 Menu,
        /// A message is heard, or has been.
        3 Message,
        /// It is being marked or deleted.
        4 Changing,
        /// A greeting is spoken.
        5 Greeting,
        /// What to do with it?
        6 Review,
        /// It is being kept.
        7 Keeping,
        /// The last words.
        8 Bye,
    }
}

fields! {
    /// Messages are heard.
    pub(crate) struct MailboxAt {
        1 mailbox: String,
        2 stage: MailboxStage,
        3 keys: String,
        4 tries: u32,
        /// The names of the messages and their paths.
        5 messages: Vec<(String, String)>,
        /// How many of them, the first ones, are new.
        6 new: u32,
        7 at: u32,
        8 path: String,
        /// Who left each one.
        9 callers: Vec<String>,
        /// Those that were heard and marked.
        10 heard: Vec<String>,
    }
}

fields! {
    /// In a conference.
    pub(crate) struct RoomAt {
        1 number: String,
        2 room: RoomId,
        3 muted: bool,
        4 keys: String,
        5 joined_unix_ms: u64,
    }
}

fields! {
    /// Waiting in a queue.
    pub(crate) struct Queued {
        1 queue: String,
        2 joined_unix_ms: u64,
        /// Agents' legs that are rung for this caller.
        3 ringing: Vec<(LegId, String)>,
        /// The welcome has been heard.
        4 is_welcomed: bool,
    }
}

fields! {
    pub(crate) struct Parked {
        1 slot: u32,
        /// The user who parked it.
        2 parker: String,
    }
}

choices! {
    /// What is heard until the caller hangs up.
    pub(crate) enum Endless {
        #[default]
        0 Echo,
        1 Milliwatt,
        2 Music(String),
    }
}

fields! {
    /// A number is keyed in for a transfer.
    pub(crate) struct Dialling {
        1 by: LegId,
        2 held: LegId,
        3 is_attended: bool,
        4 keys: String,
        5 by_user: String,
    }
}

fields! {
    /// One party waits while the other asks somebody, in a call of its own.
    pub(crate) struct Consulting {
        1 held: LegId,
        2 call: u64,
        /// The other party's user.
        3 by_user: String,
    }
}

fields! {
    /// A blind transfer that has come to nothing yet.
    pub(crate) struct Sending {
        /// Who sends; may have hung up.
        1 by: LegId,
        2 by_user: String,
        /// Where to.
        3 number: String,
        /// Who sends waits for the outcome (REFER).
        4 is_told: bool,
        5 has_rung: bool,
        /// What the last phone said that refused.
        6 status: u16,
    }
}

choices! {
    /// What a call does.
    pub(crate) enum State {
        /// Between steps.
        #[default]
        0 Running,
        /// Something is played, or time passes.
        1 Sounding,
        2 Ringing(Ringing),
        3 Talking(Talking),
        4 Menu(MenuAt),
        5 Pin(PinAt),
        6 Message(MessageAt),
        7 Mailbox(MailboxAt),
        8 Room(RoomAt),
        9 Queued(Queued),
        10 Parked(Parked),
        11 Endless(Endless),
        12 Dialling(Dialling),
        13 Consulting(Consulting),
        /// Waits for the ends of its legs, its recordings and its questions.
        14 Over,
    }
}

fields! {
    /// Keys that may become a code.
    pub(crate) struct Keys {
        1 leg: LegId,
        2 keys: String,
    }
}

fields! {
    /// Last words to a leg that the call goes on without.
    pub(crate) struct Leaving {
        1 leg: LegId,
        2 play: PlayId,
    }
}

fields! {
    /// A call.
    pub(crate) struct Call {
        1 id: u64,
        2 caller: Party,
        3 called: Party,
        4 began_unix_ms: u64,
        5 answered_unix_ms: Option<u64>,
        6 notes: Vec<String>,
        7 legs: Vec<Leg>,
        8 done: Vec<LegRecord>,
        /// The leg that the steps are for.
        9 main: LegId,
        10 state: State,
        11 program: Vec<Step>,
        12 steps_done: u32,
        13 rights: Vec<String>,
        14 is_private: bool,
        15 diversions: Vec<(Party, DiversionReason)>,
        16 number: String,
        17 rest: String,
        18 outcome: Option<Outcome>,
        19 sounding: Vec<Sounding>,
        20 recordings: Vec<Recording>,
        21 keys: Option<Keys>,
        22 asked: Option<Asked>,
        23 timers: Vec<Timer>,
        24 leaving: Vec<Leaving>,
        /// The call whose party waits for the outcome of this one.
        25 consults: Option<u64>,
        26 is_trusted: bool,
        27 auto_answer: bool,
        /// Why it is over, if a step said so.
        28 cause: Option<Cause>,
        /// The leg whose sound is searched for keys.
        29 listens: Option<LegId>,
        30 sending: Option<Sending>,
        /// What a transfer brought for the legs that are called.
        31 referral: Referral,
        /// Why it came to its end, and by whom.
        32 ended: Option<Cause>,
        33 ended_by: EndedBy,
        /// What the last phone said that was rung in vain.
        34 refusal: Option<Cause>,
    }
}

impl Call {
    pub(crate) fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.id == id)
    }

    pub(crate) fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// Whether a leg is there and answered.
    pub(crate) fn is_answered(&self, id: LegId) -> bool {
        self.leg(id).is_some_and(|leg| leg.stage == Stage::Answered)
    }

    /// Whether a leg is there and was not told to end.
    pub(crate) fn is_live(&self, id: LegId) -> bool {
        self.leg(id).is_some_and(|leg| leg.stage != Stage::Ending)
    }

    /// Adds a line to the record of the call.
    pub(crate) fn note(&mut self, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(text);
        }
    }

    pub(crate) fn set_timer(&mut self, kind: TimerKind, at_unix_ms: u64) {
        self.clear_timer(&kind);
        self.timers.push(Timer { kind, at_unix_ms });
    }

    pub(crate) fn clear_timer(&mut self, kind: &TimerKind) {
        self.timers.retain(|timer| timer.kind != *kind);
    }

    /// When the next timer is due.
    pub(crate) fn due(&self) -> Option<u64> {
        self.timers.iter().map(|timer| timer.at_unix_ms).min()
    }

    /// The other of two who talk.
    pub(crate) fn other(&self, leg: LegId) -> Option<LegId> {
        match &self.state {
            State::Talking(talking) if talking.peer == leg => Some(self.main),
            State::Talking(talking) if self.main == leg => Some(talking.peer),
            _ => None,
        }
    }

    /// The call as bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        Field::write(self, out);
    }
}
