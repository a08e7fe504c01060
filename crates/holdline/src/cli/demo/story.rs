//! The story that the demo plays by itself: a table of steps, each done when the platform stands as it should. A pure machine.

use super::layout::EDGE_SERVICE;
use super::snapshot::{NodeState, NodeView, Snapshot, clock};

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Its process is killed; who watches it starts it again.
    Kill,
    /// Its process and the one that watches it are killed.
    Cut,
    /// Its process is stopped.
    Freeze,
    /// It goes on.
    Thaw,
    /// It leaves its work to others.
    Drain,
    /// It is started, goes on, or takes part again: whatever it needs.
    Heal,
}

impl Verb {
    /// What was done, in a word.
    pub(super) fn done(self) -> &'static str {
        match self {
            Verb::Kill => "killed",
            Verb::Cut => "cut off its power",
            Verb::Freeze => "frozen",
            Verb::Thaw => "thawed",
            Verb::Drain => "drained",
            Verb::Heal => "healed",
        }
    }
}

/// Who something is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// The owner of the edge's service.
    Owner,
    /// The node of this name.
    Node(&'static str),
    /// Whoever it was done to last.
    Same,
}

/// What a step waits for before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// All nodes answer, and all services are whole.
    Whole,
    /// As many calls as are wanted.
    CallsUp,
    /// It answers, and other nodes own what was this one's.
    Taken,
}

/// A step of the story: what is told, what is done to whom, and what it waits for.
struct Step {
    told: &'static str,
    act: Option<(Verb, Whom)>,
    until: Until,
}

/// How it begins.
const OPENING: [(&str, Until); 2] = [
    ("two edges and two PBXs start", Until::Whole),
    ("phones register and call", Until::CallsUp),
];

/// Then: what is done to whom, and how its healing is told.
const TRIALS: [(&str, Verb, Whom, &str); 5] = [
    (
        "the edge in office is killed",
        Verb::Kill,
        Whom::Owner,
        "it comes back, and learns what it missed",
    ),
    (
        "the other edge loses its power",
        Verb::Cut,
        Whom::Owner,
        "its power comes back",
    ),
    (
        "a PBX is killed in the middle of its calls",
        Verb::Kill,
        Whom::Node("pbx1"),
        "it comes back",
    ),
    (
        "the other PBX is frozen",
        Verb::Freeze,
        Whom::Node("pbx2"),
        "it comes back",
    ),
    (
        "the edge in office is drained",
        Verb::Drain,
        Whom::Owner,
        "it takes part again",
    ),
];

/// The step of this number; none after the last.
fn step(number: usize) -> Option<Step> {
    if let Some((told, until)) = OPENING.get(number).copied() {
        let act = None;
        return Some(Step { told, act, until });
    }
    let number = number - OPENING.len();
    let (told, verb, whom, healed) = *TRIALS.get(number / 2)?;
    let (told, act, until) = match number % 2 {
        0 => (told, (verb, whom), Until::Taken),
        _ => (healed, (Verb::Heal, Whom::Same), Until::Whole),
    };
    let act = Some(act);
    Some(Step { told, act, until })
}

/// How long a step may take, in milliseconds.
const PATIENCE_MS: u64 = 60_000;

/// What the story wants done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing: it waits.
    Wait,
    /// A step began: a line about it, and what is to be done to whom.
    Begin(String, Option<(Verb, String)>),
    /// It is over.
    End,
    /// It cannot go on; why.
    Fail(String),
}

/// Where the story is.
#[derive(Debug)]
pub(super) struct Story {
    /// How long each step lasts at least, in milliseconds.
    pace_ms: u64,
    /// How many steps have begun.
    begun: usize,
    /// When the last one did.
    at_ms: u64,
    /// When what it waits for was first there.
    there_ms: Option<u64>,
    whom: String,
}

impl Story {
    pub(super) fn new(pace_ms: u64) -> Story {
        Story {
            pace_ms,
            begun: 0,
            at_ms: 0,
            there_ms: None,
            whom: String::new(),
        }
    }

    /// Looks at how the platform stands, and says what is next.
    pub(super) fn turn(&mut self, snapshot: &Snapshot) -> Turn {
        if let Some(step) = self.begun.checked_sub(1).and_then(step) {
            // A PBX gets back what was taken after a while.
            let was_taken = step.until == Until::Taken && self.there_ms.is_some();
            let is_there = was_taken || self.is_there(step.until, snapshot);
            if !is_there {
                self.there_ms = None;
                if self.is_out_of_patience(snapshot) {
                    return Turn::Fail(format!("\"{}\" did not come to an end", step.told));
                }
                return Turn::Wait;
            }
            let there_ms = *self.there_ms.get_or_insert(snapshot.at_ms);
            // A moment in which it stays so, and time for who looks on.
            if snapshot.at_ms < there_ms + self.pace_ms / 2
                || snapshot.at_ms < self.at_ms + self.pace_ms
            {
                return Turn::Wait;
            }
        }
        let Some(next) = step(self.begun) else {
            return Turn::End;
        };
        match next.act {
            Some((_, Whom::Owner)) => match owner(snapshot) {
                Some(owner) => self.whom = owner,
                // Somebody else has done something to it.
                None if self.is_out_of_patience(snapshot) => {
                    return Turn::Fail("the edge has no owner".to_owned());
                }
                None => return Turn::Wait,
            },
            Some((_, Whom::Node(name))) => self.whom = name.to_owned(),
            Some((_, Whom::Same)) | None => {}
        }
        self.begun += 1;
        (self.at_ms, self.there_ms) = (snapshot.at_ms, None);
        let act = next.act.map(|(verb, _)| (verb, self.whom.clone()));
        let whom = act
            .as_ref()
            .map_or(String::new(), |(_, whom)| format!(" ({whom})"));
        Turn::Begin(format!("{}{whom}", next.told), act)
    }

    fn is_out_of_patience(&self, snapshot: &Snapshot) -> bool {
        snapshot.at_ms > self.at_ms + self.pace_ms + PATIENCE_MS
    }

    fn is_there(&self, until: Until, snapshot: &Snapshot) -> bool {
        let felt = snapshot.felt.as_ref();
        match until {
            Until::Whole => {
                snapshot
                    .nodes
                    .iter()
                    .all(|node| node.state == NodeState::Up)
                    && snapshot.services.iter().all(|service| service.is_whole())
                    && !snapshot.services.is_empty()
                    && snapshot.targets.iter().all(|target| target.state == "up")
            }
            Until::CallsUp => snapshot.calls.active >= snapshot.calls.wanted,
            Until::Taken => {
                let mut services = snapshot.services.iter();
                let are_taken = services.all(|service| {
                    let owner = service.owner.as_ref();
                    owner.is_some_and(|owner| *owner != self.whom)
                });
                are_taken && felt.is_some_and(|felt| felt.is_back)
            }
        }
    }
}

fn owner(snapshot: &Snapshot) -> Option<String> {
    snapshot.service(EDGE_SERVICE)?.owner.clone()
}

/// What to say of calls that were lost when the machine had no time for its nodes: heartbeats of two of them or more came late by half a
/// lease or more, which what is done to one node at a time does not bring about.
pub(super) fn excuse(snapshot: &Snapshot, lease_ms: u64) -> Option<String> {
    let is_late = |node: &&NodeView| node.late_us / 1_000 >= lease_ms / 2;
    let late: Vec<&NodeView> = snapshot.nodes.iter().filter(is_late).collect();
    let worst_us = late.iter().map(|node| node.late_us).max()?;
    let names: Vec<&str> = late.iter().map(|node| node.name.as_str()).collect();
    (late.len() > 1).then(|| {
        format!(
            "This machine was too busy: heartbeats of {} came up to {} ms late, with a lease of {lease_ms} ms. Try --lease {} or fewer --calls.",
            names.join(", "),
            worst_us / 1_000,
            format_args!("{}s", (worst_us / 1_000 * 4).div_ceil(1_000).max(2))
        )
    })
}

/// What the whole came to, in lines.
pub(super) fn result(snapshot: &Snapshot, felt: &[super::snapshot::Felt]) -> Vec<String> {
    let calls = &snapshot.calls;
    let mut lines: Vec<String> = felt
        .iter()
        .map(|felt| format!("{:>6}  {}", clock(felt.at_ms), felt.line()))
        .collect();
    let why = match calls.failures.as_str() {
        "" => String::new(),
        failures => format!(" ({failures})"),
    };
    lines.push(format!(
        "{} calls begun, {} ended well, {} lost{why}; answered in {} ms (p99 {} ms)",
        calls.begun,
        calls.completed,
        calls.lost,
        calls.set_up_us.0.div_ceil(1_000),
        calls.set_up_us.1.div_ceil(1_000)
    ));
    lines
}

#[cfg(test)]
#[path = "story_tests.rs"]
mod tests;
