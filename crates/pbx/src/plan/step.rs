//! What a dialplan does with a call, one line a step.

use std::fmt;

use crate::control::{DiversionReason, Sound};

use super::pattern::NUMBER_CHARS_MAX;

/// Most targets of one `ring`.
pub const TARGETS_MAX: usize = 16;

/// Most pieces of sound in one step.
pub const PIECES_MAX: usize = 16;

/// Longest text of a step, in bytes.
pub const STEP_BYTES_MAX: usize = 512;

/// A text in which `$number`, `$rest` and `$caller` stand for what was dialled, what the pattern left free of it, and who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(pub String);

/// What templates are filled with.
#[derive(Clone, Copy, Debug)]
pub struct Values<'v> {
    /// What was dialled.
    pub number: &'v str,
    /// What the pattern left free of it.
    pub rest: &'v str,
    /// Who calls.
    pub caller: &'v str,
}

impl Template {
    /// Whether it says the same for every call.
    pub fn is_fixed(&self) -> bool {
        !self.0.contains('$')
    }

    /// The text for a call.
    pub fn fill(&self, values: Values<'_>) -> String {
        if self.is_fixed() {
            return self.0.clone();
        }
        self.0
            .replace("$number", values.number)
            .replace("$rest", values.rest)
            .replace("$caller", values.caller)
    }

    fn parse(word: &str) -> Result<Template, &'static str> {
        let left = word
            .replace("$number", "")
            .replace("$rest", "")
            .replace("$caller", "");
        let is_plain = left
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.+*#@:[]".contains(&b));
        if is_plain && word.len() <= 2 * NUMBER_CHARS_MAX {
            Ok(Template(word.to_owned()))
        } else {
            Err("letters, digits, - _ . + * # @ : and $number, $rest, $caller")
        }
    }
}

/// In which order phones are rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// All at once; the first to answer has the call.
    #[default]
    All,
    /// One after the other.
    InOrder,
    /// One after the other, first the one whose last call is longest ago.
    LeastRecent,
}

/// Some phones are to be rung.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Extensions, users, or `user@host`.
    pub targets: Vec<Template>,
    /// In which order.
    pub order: Order,
    /// How long, each where it is one after the other.
    pub for_s: u32,
    /// Whether who answers has to accept the call by a key: a mobile's own mailbox cannot.
    pub confirm: bool,
    /// Whether the phones are to answer by themselves.
    pub auto_answer: bool,
}

/// How the last `ring` came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody answered.
    NoAnswer,
    /// All were busy, or declined.
    Busy,
    /// None could be reached.
    Unreachable,
}

/// A piece of what is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A prompt.
    Prompt(String),
    /// Digits, one by one.
    Digits(Template),
    /// A number.
    Number(u64),
    /// A tone of the country's.
    Tone(String),
    /// A file of the media store.
    File(String),
    /// Silence, in milliseconds.
    Silence(u32),
}

/// What is done with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `answer`.
    Answer,
    /// `ring 101 102 in order for 20s confirm auto`.
    Ring(Ring),
    /// `extension 101`: rings it with all its forwarding.
    Extension(Template),
    /// `goto 101`: as if it had been dialled.
    Goto(Template),
    /// `play welcome digits:$number`: answers first.
    Play(Vec<Piece>),
    /// `announce closed`: before the answer, as early media.
    Announce(Vec<Piece>),
    /// `tone busy 5s`.
    Tone(String, u32),
    /// `wait 2s`.
    Wait(u32),
    /// `music default`: until the caller hangs up.
    Music(String),
    /// `echo`.
    Echo,
    /// `milliwatt`.
    Milliwatt,
    /// `menu main`.
    Menu(String),
    /// `queue sales`.
    Queue(String),
    /// `voicemail 101`: takes a message.
    Voicemail(Template),
    /// `mailbox`, `mailbox own`, `mailbox 101`: plays messages.
    Mailbox(Option<Template>),
    /// `room 200`.
    Room(Template),
    /// `park`.
    Park,
    /// `unpark $number`: takes a parked call.
    Unpark(Template),
    /// `pickup`, `pickup 101`: answers what rings elsewhere.
    PickUp(Option<Template>),
    /// `pin abroad`: goes on after the right PIN only.
    Pin(String),
    /// `record`: keeps what is said in the call.
    Record,
    /// `login`, `logout`: the caller as agent of all queues that name it, or of one.
    Agent {
        /// Which of both.
        is_login: bool,
        /// The queue; all if absent.
        queue: Option<String>,
    },
    /// `hangup`, `hangup busy`, `hangup 480`.
    Hangup(Option<u16>),
    /// `when office goto 101`, `unless office menu closed`.
    When {
        /// The hours.
        hours: String,
        /// Whether they are to hold.
        is_open: bool,
        /// What is done.
        step: Box<Step>,
    },
    /// `on busy voicemail 101`.
    On {
        /// After which outcome.
        outcome: Outcome,
        /// What is done.
        step: Box<Step>,
    },
    /// `forwards 101`: what the extension does after its phones came to nothing. Made by the program.
    Forwards(String),
    /// `diverted 101 busy`: the extension sends the call on and answers for it. Made by the program.
    Diverted(String, DiversionReason),
}

impl Step {
    /// Whom it rings, itself or in some hours or after some outcome.
    pub(super) fn ring(&self) -> Option<&Ring> {
        match self {
            Step::Ring(ring) => Some(ring),
            Step::When { step, .. } | Step::On { step, .. } => step.ring(),
            _ => None,
        }
    }

    /// Whether it rings somebody at `host`, at whatever port.
    pub(super) fn rings_at(&self, host: &str) -> bool {
        let is_there = |target: &Template| {
            let (_, place) = target.0.rsplit_once('@')?;
            let (name, port) = place.split_at_checked(host.len())?;
            let is_port = port.is_empty() || port.starts_with(':');
            (is_port && name.eq_ignore_ascii_case(host)).then_some(())
        };
        let mut targets = self.ring().into_iter().flat_map(|ring| &ring.targets);
        targets.any(|target| is_there(target).is_some())
    }
}

/// What is wrong with a step, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

impl Step {
    /// Reads a step.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Step, Wrong> {
        if text.len() > STEP_BYTES_MAX {
            return Err(wrong("a step of at most 512 bytes"));
        }
        let mut words = text.split_whitespace().peekable();
        let step = read(&mut words, 0)?;
        match words.next() {
            None => Ok(step),
            Some(word) => Err(Wrong(format!("nothing after the step (there is `{word}`)"))),
        }
    }

    /// Whether nothing after it in the same list is ever done.
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            Step::Goto(_)
                | Step::Extension(_)
                | Step::Music(_)
                | Step::Echo
                | Step::Milliwatt
                | Step::Menu(_)
                | Step::Queue(_)
                | Step::Voicemail(_)
                | Step::Mailbox(_)
                | Step::Room(_)
                | Step::Park
                | Step::Unpark(_)
                | Step::PickUp(_)
                | Step::Hangup(_)
        )
    }

    /// Whether a call cannot pass it in no time.
    pub fn takes_time(&self) -> bool {
        !matches!(
            self,
            Step::Answer
                | Step::Goto(_)
                | Step::Record
                | Step::When { .. }
                | Step::On { .. }
                | Step::Forwards(_)
                | Step::Diverted(..)
        )
    }
}

fn wrong(text: &str) -> Wrong {
    Wrong(text.to_owned())
}

fn read(words: &mut Words<'_>, depth: u8) -> Result<Step, Wrong> {
    let verb = words
        .next()
        .ok_or_else(|| wrong("a step, as \"ring 101 for 20s\""))?;
    Ok(match verb {
        "answer" => Step::Answer,
        "ring" => Step::Ring(ring(words)?),
        "extension" => Step::Extension(template(words, "extension 101")?),
        "goto" => Step::Goto(template(words, "goto 101")?),
        "play" => Step::Play(pieces(words)?),
        "announce" => Step::Announce(pieces(words)?),
        "tone" => {
            let tone = name(words, "tone busy 5s")?;
            Step::Tone(tone, seconds(words, "tone busy 5s")?)
        }
        "wait" => Step::Wait(seconds(words, "wait 2s")?),
        "music" => Step::Music(match words.peek() {
            Some(_) => name(words, "music default")?,
            None => "default".to_owned(),
        }),
        "echo" => Step::Echo,
        "milliwatt" => Step::Milliwatt,
        "menu" => Step::Menu(name(words, "menu main")?),
        "queue" => Step::Queue(name(words, "queue sales")?),
        "voicemail" => Step::Voicemail(template(words, "voicemail 101")?),
        "mailbox" => Step::Mailbox(optional(words)?),
        "room" => Step::Room(template(words, "room 200")?),
        "park" => Step::Park,
        "unpark" => Step::Unpark(template(words, "unpark 701")?),
        "pickup" => Step::PickUp(optional(words)?),
        "pin" => Step::Pin(name(words, "pin abroad")?),
        "record" => Step::Record,
        "login" | "logout" => Step::Agent {
            is_login: verb == "login",
            queue: match words.peek() {
                Some(_) => Some(name(words, "login sales")?),
                None => None,
            },
        },
        "hangup" => Step::Hangup(match words.next() {
            None => None,
            Some(word) => Some(status(word)?),
        }),
        "when" | "unless" => Step::When {
            hours: name(words, "when office goto 101")?,
            is_open: verb == "when",
            step: Box::new(inner(words, depth)?),
        },
        "on" => Step::On {
            outcome: outcome(words)?,
            step: Box::new(inner(words, depth)?),
        },
        "forwards" => Step::Forwards(name(words, "forwards 101")?),
        "diverted" => {
            let extension = name(words, "diverted 101 busy")?;
            Step::Diverted(extension, reason(words.next())?)
        }
        other => {
            return Err(Wrong(format!(
                "a step (there is none named `{other}`): answer, ring, extension, goto, play, announce, tone, wait, music, echo, \
                 milliwatt, menu, queue, voicemail, mailbox, room, park, unpark, pickup, pin, record, login, logout, hangup, \
                 when, unless, on"
            )));
        }
    })
}

fn inner(words: &mut Words<'_>, depth: u8) -> Result<Step, Wrong> {
    if depth > 2 {
        return Err(wrong("at most three conditions before a step"));
    }
    read(words, depth + 1)
}

fn ring(words: &mut Words<'_>) -> Result<Ring, Wrong> {
    const FORM: &str = "ring 101 102 in order for 20s";
    let mut ring = Ring {
        for_s: 30,
        ..Ring::default()
    };
    while let Some(word) = words.next() {
        match word {
            "in" if words.next() == Some("order") => ring.order = Order::InOrder,
            "least" if words.next() == Some("recent") => ring.order = Order::LeastRecent,
            "all" => ring.order = Order::All,
            "for" => ring.for_s = seconds(words, FORM)?,
            "confirm" => ring.confirm = true,
            "auto" => ring.auto_answer = true,
            "in" | "least" => return Err(wrong("`in order` or `least recent`")),
            target => ring.targets.push(Template::parse(target).map_err(wrong)?),
        }
    }
    match ring.targets.len() {
        1..=TARGETS_MAX => Ok(ring),
        _ => Err(wrong("`ring` with 1 to 16 targets")),
    }
}

fn template(words: &mut Words<'_>, form: &str) -> Result<Template, Wrong> {
    let word = words.next().ok_or_else(|| as_in(form))?;
    Template::parse(word).map_err(wrong)
}

fn optional(words: &mut Words<'_>) -> Result<Option<Template>, Wrong> {
    match words.next() {
        None => Ok(None),
        Some(word) => Template::parse(word).map(Some).map_err(wrong),
    }
}

/// A name of the operator's: it becomes part of paths.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NUMBER_CHARS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// A name of a prompt or file: names with `/` between, which lead nowhere else.
pub(super) fn is_path(text: &str) -> bool {
    text.len() <= 200
        && text.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        })
}

fn name(words: &mut Words<'_>, form: &str) -> Result<String, Wrong> {
    let word = words.next().ok_or_else(|| as_in(form))?;
    if is_name(word) {
        Ok(word.to_owned())
    } else {
        Err(as_in(form))
    }
}

fn as_in(form: &str) -> Wrong {
    Wrong(format!("a step as \"{form}\""))
}

fn seconds(words: &mut Words<'_>, form: &str) -> Result<u32, Wrong> {
    words
        .next()
        .and_then(|word| word.strip_suffix('s'))
        .and_then(|number| number.parse().ok())
        .filter(|seconds| (1..=3600).contains(seconds))
        .ok_or_else(|| Wrong(format!("1s to 3600s, as in \"{form}\"")))
}

fn status(word: &str) -> Result<u16, Wrong> {
    match word {
        "busy" => return Ok(486),
        "congestion" => return Ok(503),
        "unavailable" => return Ok(480),
        "declined" => return Ok(603),
        _ => {}
    }
    word.parse()
        .ok()
        .filter(|status| (400..=699).contains(status))
        .ok_or_else(|| wrong("`hangup` with busy, congestion, unavailable, declined or 400 to 699"))
}

fn outcome(words: &mut Words<'_>) -> Result<Outcome, Wrong> {
    match (words.next(), words.peek().copied()) {
        (Some("busy"), _) => Ok(Outcome::Busy),
        (Some("unreachable"), _) => Ok(Outcome::Unreachable),
        (Some("no"), Some("answer")) => {
            words.next();
            Ok(Outcome::NoAnswer)
        }
        _ => Err(wrong("`on busy`, `on unreachable` or `on no answer`")),
    }
}

fn reason(word: Option<&str>) -> Result<DiversionReason, Wrong> {
    match word {
        Some("always") => Ok(DiversionReason::Unconditional),
        Some("busy") => Ok(DiversionReason::Busy),
        Some("no-answer") => Ok(DiversionReason::NoAnswer),
        Some("unreachable") => Ok(DiversionReason::Unavailable),
        _ => Err(wrong("always, busy, no-answer or unreachable")),
    }
}

fn pieces(words: &mut Words<'_>) -> Result<Vec<Piece>, Wrong> {
    let mut pieces = Vec::new();
    for word in words {
        pieces.push(Piece::parse(word).map_err(wrong)?);
    }
    match pieces.len() {
        1..=PIECES_MAX => Ok(pieces),
        _ => Err(wrong("1 to 16 sounds")),
    }
}

impl Piece {
    /// Reads `welcome`, `digits:123`, `number:12`, `tone:beep`, `file:a/b.wav` or `silence:500`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(word: &str) -> Result<Piece, &'static str> {
        const WANTED: &str = "a prompt's name, digits:, number:, tone:, file: or silence:";
        match word.split_once(':') {
            None if is_path(word) => Ok(Piece::Prompt(word.to_owned())),
            Some(("digits", text)) => Template::parse(text).map(Piece::Digits),
            Some(("number", text)) => text.parse().map(Piece::Number).map_err(|_| WANTED),
            Some(("tone", text)) if is_name(text) => Ok(Piece::Tone(text.to_owned())),
            Some(("file", text)) if is_path(text) => Ok(Piece::File(text.to_owned())),
            Some(("silence", text)) => text
                .parse()
                .ok()
                .filter(|ms| *ms <= 60_000)
                .map(Piece::Silence)
                .ok_or(WANTED),
            _ => Err(WANTED),
        }
    }

    /// The sound of it in a call.
    pub fn sound(&self, values: Values<'_>) -> Sound {
        match self {
            Piece::Prompt(name) => Sound::Prompt(name.clone()),
            Piece::Digits(text) => Sound::Digits(text.fill(values)),
            Piece::Number(number) => Sound::Number(*number),
            Piece::Tone(name) => Sound::Tone(name.clone()),
            Piece::File(path) => Sound::File(path.clone()),
            Piece::Silence(ms) => Sound::Silence(*ms),
        }
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Prompt(name) => f.write_str(name),
            Piece::Digits(text) => write!(f, "digits:{}", text.0),
            Piece::Number(number) => write!(f, "number:{number}"),
            Piece::Tone(name) => write!(f, "tone:{name}"),
            Piece::File(path) => write!(f, "file:{path}"),
            Piece::Silence(ms) => write!(f, "silence:{ms}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::NoAnswer => "no answer",
            Outcome::Busy => "busy",
            Outcome::Unreachable => "unreachable",
        })
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ring")?;
        for target in &self.targets {
            write!(f, " {}", target.0)?;
        }
        f.write_str(match self.order {
            Order::All => "",
            Order::InOrder => " in order",
            Order::LeastRecent => " least recent",
        })?;
        write!(f, " for {}s", self.for_s)?;
        if self.confirm {
            f.write_str(" confirm")?;
        }
        if self.auto_answer {
            f.write_str(" auto")?;
        }
        Ok(())
    }
}

fn join(f: &mut fmt::Formatter<'_>, verb: &str, pieces: &[Piece]) -> fmt::Result {
    f.write_str(verb)?;
    for piece in pieces {
        write!(f, " {piece}")?;
    }
    Ok(())
}

/// As [`Step::parse`] reads it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Answer => f.write_str("answer"),
            Step::Ring(ring) => ring.fmt(f),
            Step::Extension(text) => write!(f, "extension {}", text.0),
            Step::Goto(text) => write!(f, "goto {}", text.0),
            Step::Play(pieces) => join(f, "play", pieces),
            Step::Announce(pieces) => join(f, "announce", pieces),
            Step::Tone(name, for_s) => write!(f, "tone {name} {for_s}s"),
            Step::Wait(for_s) => write!(f, "wait {for_s}s"),
            Step::Music(name) => write!(f, "music {name}"),
            Step::Echo => f.write_str("echo"),
            Step::Milliwatt => f.write_str("milliwatt"),
            Step::Menu(name) => write!(f, "menu {name}"),
            Step::Queue(name) => write!(f, "queue {name}"),
            Step::Voicemail(text) => write!(f, "voicemail {}", text.0),
            Step::Mailbox(None) => f.write_str("mailbox"),
            Step::Mailbox(Some(text)) => write!(f, "mailbox {}", text.0),
            Step::Room(text) => write!(f, "room {}", text.0),
            Step::Park => f.write_str("park"),
            Step::Unpark(text) => write!(f, "unpark {}", text.0),
            Step::PickUp(None) => f.write_str("pickup"),
            Step::PickUp(Some(text)) => write!(f, "pickup {}", text.0),
            Step::Pin(name) => write!(f, "pin {name}"),
            Step::Record => f.write_str("record"),
            Step::Agent { is_login, queue } => {
                f.write_str(if *is_login { "login" } else { "logout" })?;
                queue.iter().try_for_each(|queue| write!(f, " {queue}"))
            }
            Step::Hangup(None) => f.write_str("hangup"),
            Step::Hangup(Some(status)) => write!(f, "hangup {status}"),
            Step::When {
                hours,
                is_open,
                step,
            } => {
                let word = if *is_open { "when" } else { "unless" };
                write!(f, "{word} {hours} {step}")
            }
            Step::On { outcome, step } => write!(f, "on {outcome} {step}"),
            Step::Forwards(name) => write!(f, "forwards {name}"),
            Step::Diverted(name, reason) => write!(f, "diverted {name} {}", word_of(*reason)),
        }
    }
}

fn word_of(reason: DiversionReason) -> &'static str {
    match reason {
        DiversionReason::NoAnswer => "no-answer",
        DiversionReason::Busy => "busy",
        DiversionReason::Unavailable => "unreachable",
        DiversionReason::Unconditional | DiversionReason::Unknown => "always",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_read_as_it_is_written() {
        for text in [
            "answer",
            "ring 101 ann@example.org 0$rest@trunk in order for 20s confirm auto",
            "ring 101 for 30s",
            "ring 101 102 least recent for 5s",
            "extension $number",
            "goto 1$rest",
            "play welcome digits:$number number:12 tone:beep file:a/b.wav silence:500",
            "announce closed",
            "tone busy 5s",
            "wait 2s",
            "music default",
            "echo",
            "milliwatt",
            "menu main",
            "queue sales",
            "voicemail 101",
            "mailbox",
            "mailbox own",
            "room 200",
            "park",
            "unpark $number",
            "pickup",
            "pickup $rest",
            "pin abroad",
            "record",
            "login",
            "logout sales",
            "hangup",
            "hangup 486",
            "when office unless lunch goto 101",
            "on no answer on busy voicemail 101",
            "forwards 101",
            "diverted 101 no-answer",
        ] {
            let step = Step::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
            assert_eq!(step.to_string(), text);
        }
        assert_eq!(
            Step::parse("hangup busy").unwrap().to_string(),
            "hangup 486"
        );
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for text in [
            "",
            "rung 101",
            "ring",
            "ring 101 for 20",
            "ring 101 in disorder",
            "answer now",
            "wait 0s",
            "wait 99999s",
            "play file:../secret",
            "play file:/etc/passwd",
            "menu a/b",
            "goto 1;2",
            "goto a$b",
            "hangup 200",
            "on fire echo",
            "when a when b when c when d echo",
            "queue",
        ] {
            assert!(Step::parse(text).is_err(), "{text}");
        }
    }
}
