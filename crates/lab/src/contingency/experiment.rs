//! What is tried: which failure of what, and the names of its rows.

use crate::Fault;
use crate::report::{Row, published_contingency};

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// A PBX: scenario 1.
    Pbx,
    /// The active edge: scenario 2.
    Edge,
    /// Both at once: scenario 3.
    Both,
}

impl Scenario {
    /// Its number in the published work.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Scenario::Pbx => 1,
            Scenario::Edge => 2,
            Scenario::Both => 3,
        }
    }
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The process is killed; the one that watches it lives.
    Killed,
    /// All processes of the node are killed, and its link is taken.
    Node,
    /// All processes of the node stand still for two seconds.
    Frozen,
    /// No packet passes between the node, the others, and the coordinators; phones reach it.
    Partitioned,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 4] = [
        Failure::Killed,
        Failure::Node,
        Failure::Frozen,
        Failure::Partitioned,
    ];

    /// Its name in rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Failure::Killed => "killed",
            Failure::Node => "node",
            Failure::Frozen => "frozen",
            Failure::Partitioned => "partitioned",
        }
    }

    pub(super) fn fault(self) -> Fault {
        match self {
            Failure::Killed => Fault::Killed,
            Failure::Node => Fault::Node,
            Failure::Frozen => Fault::Frozen,
            Failure::Partitioned => Fault::CutBoth,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Failure::Killed => "its process is killed",
            Failure::Node => "its machine dies",
            Failure::Frozen => "it stands still for two seconds",
            Failure::Partitioned => "it is cut off from all other nodes",
        }
    }
}

/// The tests of every scenario.
pub const TESTS: [(u8, &str); 3] = [
    (1, "INVITE right after the failure"),
    (2, "INVITE before it, the call not yet set up"),
    (3, "call established, with sound"),
];

/// One failure, with or without fencing; all three tests are made of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experiment {
    /// What fails.
    pub scenario: Scenario,
    /// How.
    pub failure: Failure,
    /// Whether who claims a service switches its owner off first.
    pub is_fenced: bool,
}

impl Experiment {
    /// The name of a test's row.
    #[must_use]
    pub fn id(&self, test: u8) -> String {
        let fenced = if self.is_fenced { "-fenced" } else { "" };
        let (number, failure) = (self.scenario.number(), self.failure.name());
        format!("scenario-{number}-test-{test}-{failure}{fenced}")
    }

    /// The name of all three: `scenario-1-node`.
    #[must_use]
    pub fn name(&self) -> String {
        let fenced = if self.is_fenced { "-fenced" } else { "" };
        format!(
            "scenario-{}-{}{fenced}",
            self.scenario.number(),
            self.failure.name()
        )
    }

    /// The rows of the three tests, without any run.
    #[must_use]
    pub fn rows(&self) -> [Row; 3] {
        TESTS.map(|(test, words)| {
            let what = match self.scenario {
                Scenario::Pbx => "A PBX fails",
                Scenario::Edge => "The active edge fails",
                Scenario::Both => "A PBX and the active edge fail",
            };
            let title = format!("{what}: {}. {words}.", self.failure.words());
            let mut row = Row::new(self.id(test), title);
            if matches!(self.failure, Failure::Killed | Failure::Node) {
                row.published = published_contingency(self.scenario.number(), test, self.is_fenced);
            }
            row
        })
    }

    /// Whether it can be made on loopback.
    #[must_use]
    pub fn is_possible(&self, on_loopback: bool) -> bool {
        let needs_hosts = matches!(self.failure, Failure::Node | Failure::Partitioned);
        !(on_loopback && (needs_hosts || self.is_fenced))
    }
}

/// All of them: those without fencing first, so that the laboratory is built twice only.
#[must_use]
pub fn experiments() -> Vec<Experiment> {
    let mut all = Vec::new();
    for is_fenced in [false, true] {
        for scenario in [Scenario::Pbx, Scenario::Edge, Scenario::Both] {
            for failure in Failure::ALL {
                all.push(Experiment {
                    scenario,
                    failure,
                    is_fenced,
                });
            }
        }
    }
    all
}
