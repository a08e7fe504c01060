//! What a dialplan is made of.

use super::ANYONE;
use super::pattern::Pattern;
use super::step::{Order, Piece, Step};

/// A number that belongs to somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// What is dialled.
    pub number: String,
    /// Whose it is, for displays.
    pub name: String,
    /// The users whose phones ring.
    pub phones: Vec<String>,
    /// In which order.
    pub order: Order,
    /// How long they ring.
    pub ring_s: u32,
    /// The class of those who call from it.
    pub class: Option<String>,
    /// Phones of one group may pick up each other's calls.
    pub group: Option<String>,
    /// The mailbox of its own.
    pub mailbox: Option<String>,
    /// Done instead of ringing.
    pub always: Vec<Step>,
    /// Done when nobody answered.
    pub no_answer: Vec<Step>,
    /// Done when all were busy.
    pub busy: Vec<Step>,
    /// Done when none could be reached.
    pub unreachable: Vec<Step>,
}

/// Numbers that lead to steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which numbers.
    pub pattern: Pattern,
    /// The classes of callers that it is for.
    pub classes: Vec<String>,
    /// When.
    pub hours: Option<String>,
    /// What is done.
    pub steps: Vec<Step>,
    /// Which section it was in; services of the program have none.
    pub(super) place: Option<usize>,
}

impl Route {
    /// Whether it is for callers of these classes, or for the operator (`None`).
    pub fn is_for(&self, rights: Option<&[String]>) -> bool {
        rights.is_none_or(|rights| {
            self.classes
                .iter()
                .any(|class| class == ANYONE || rights.contains(class))
        })
    }
}

/// Keys that lead somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Menu {
    /// Its name.
    pub name: String,
    /// What is played.
    pub prompt: Vec<Piece>,
    /// How long it waits for the first key after the prompt, in milliseconds.
    pub timeout_ms: u32,
    /// How long it waits for another key, in milliseconds.
    pub between_ms: u32,
    /// How often it asks.
    pub tries: u32,
    /// Whether keys stop the prompt.
    pub barge_in: bool,
    /// Whether callers may key in what they could dial.
    pub direct: bool,
    /// What keys do.
    pub keys: Vec<(String, Vec<Step>)>,
    /// Played after a wrong key.
    pub wrong: Vec<Piece>,
    /// Done when no key came at all.
    pub on_timeout: Vec<Step>,
    /// Done after too many wrong keys.
    pub on_invalid: Vec<Step>,
}

/// In which order agents are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueOrder {
    /// All at once.
    All,
    /// As they are listed.
    InOrder,
    /// First the one whose last call is longest ago.
    #[default]
    LeastRecent,
    /// First the one with the fewest calls.
    FewestCalls,
    /// One after the other, going on where the last call left off.
    Rotary,
}

/// Callers who wait for agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Users; those with `is_static` set are always there.
    pub agents: Vec<String>,
    /// Whether agents are there without having logged in.
    pub always_in: bool,
    /// In which order.
    pub order: QueueOrder,
    /// How long an agent's phone rings.
    pub ring_ms: u32,
    /// How long an agent has peace after a call.
    pub wrap_up_ms: u32,
    /// How long an agent who did not answer is left alone.
    pub retry_ms: u32,
    /// The music.
    pub music: String,
    /// Played to who enters.
    pub welcome: Vec<Piece>,
    /// How often the position is told; 0: never.
    pub announce_ms: u32,
    /// Most callers.
    pub callers_max: usize,
    /// Longest wait; 0: for ever.
    pub wait_max_ms: u32,
    /// Whether callers may enter while no agent is there.
    pub join_empty: bool,
    /// Done with those who find no place or waited too long.
    pub overflow: Vec<Step>,
}

/// Where a PIN comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PinRule {
    /// None is asked for.
    #[default]
    None,
    /// It is in the dialplan.
    Fixed(String),
    /// The store knows it.
    Stored,
}

/// A voice mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// Its number.
    pub number: String,
    /// Its PIN.
    pub pin: PinRule,
    /// Longest message, in milliseconds.
    pub message_max_ms: u32,
    /// The shortest that is kept.
    pub message_min_ms: u32,
    /// A message ends after so much silence.
    pub silence_ms: u32,
    /// Whether callers may listen to their message and speak it again.
    pub review: bool,
    /// Where its owner gets e-mail.
    pub email: Option<String>,
}

/// A conference room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Its number.
    pub number: String,
    /// Its PIN.
    pub pin: PinRule,
    /// Most members.
    pub members_max: usize,
    /// Whether members hear others come and go.
    pub announce: bool,
    /// Whether members are muted when they come.
    pub muted: bool,
    /// What a member hears who is alone.
    pub music: Option<String>,
}

/// Who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// Its members by their numbers or users.
    pub callers: Vec<Pattern>,
    /// Whether their identity has to be proven.
    pub trusted: bool,
}

/// A PIN that guards steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub rule: PinRule,
}

/// Music on hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Music {
    /// Its name.
    pub name: String,
    /// What is played, one after the other and over again.
    pub sounds: Vec<Piece>,
}
