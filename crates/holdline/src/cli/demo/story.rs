//! The story that the demo plays by itself: a table of steps, each done when the platform stands as it should. A pure machine.

use super::layout::EDGE_SERVICE;
use super::snapshot::{NodeState, Snapshot, clock};

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

struct Step {
    told: &'static str,
    act: Option<(Verb, Whom)>,
    until: Until,
}

const fn step(told: &'static str, act: Option<(Verb, Whom)>, until: Until) -> Step {
    Step { told, act, until }
}

/// The story.
const STEPS: &[Step] = &[
    step("two edges and two PBXs start", None, Until::Whole),
    step("phones register and call", None, Until::CallsUp),
    step(
        "the edge in office is killed",
        Some((Verb::Kill, Whom::Owner)),
        Until::Taken,
    ),
    step(
        "it comes back, and learns what it missed",
        Some((Verb::Heal, Whom::Same)),
        Until::Whole,
    ),
    step(
        "the other edge loses its power",
        Some((Verb::Cut, Whom::Owner)),
        Until::Taken,
    ),
    step(
        "its power comes back",
        Some((Verb::Heal, Whom::Same)),
        Until::Whole,
    ),
    step(
        "a PBX is killed in the middle of its calls",
        Some((Verb::Kill, Whom::Node("pbx1"))),
        Until::Taken,
    ),
    step(
        "it comes back",
        Some((Verb::Heal, Whom::Same)),
        Until::Whole,
    ),
    step(
        "the other PBX is frozen",
        Some((Verb::Freeze, Whom::Node("pbx2"))),
        Until::Taken,
    ),
    step(
        "it comes back",
        Some((Verb::Heal, Whom::Same)),
        Until::Whole,
    ),
    step(
        "the edge in office is drained",
        Some((Verb::Drain, Whom::Owner)),
        Until::Taken,
    ),
    step(
        "it takes part again",
        Some((Verb::Heal, Whom::Same)),
        Until::Whole,
    ),
];

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
        if let Some(step) = self.begun.checked_sub(1).and_then(|at| STEPS.get(at)) {
            // A PBX gets back what was taken after a while.
            let was_taken = step.until == Until::Taken && self.there_ms.is_some();
            let is_there = was_taken || self.is_there(step.until, snapshot);
            if !is_there {
                self.there_ms = None;
                if snapshot.at_ms > self.at_ms + PATIENCE_MS {
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
        let Some(next) = STEPS.get(self.begun) else {
            return Turn::End;
        };
        self.begun += 1;
        (self.at_ms, self.there_ms) = (snapshot.at_ms, None);
        let act = match next.act {
            Some((verb, whom)) => {
                match whom {
                    Whom::Owner => match owner(snapshot) {
                        Some(owner) => self.whom = owner,
                        None => return Turn::Fail("the edge has no owner".to_owned()),
                    },
                    Whom::Node(name) => self.whom = name.to_owned(),
                    Whom::Same => {}
                }
                Some((verb, self.whom.clone()))
            }
            None => None,
        };
        let whom = act
            .as_ref()
            .map_or(String::new(), |(_, whom)| format!(" ({whom})"));
        Turn::Begin(format!("{}{whom}", next.told), act)
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
