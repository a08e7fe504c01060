//! How long a service is away when one thing goes wrong.

use crate::world::Blow;
use crate::{Plan, Violation, World};

/// What goes wrong with the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Its process dies, and a supervisor sees it.
    Killed,
    /// Its machine goes dark.
    Node,
    /// Its process stands still.
    Frozen,
    /// It is cut off from the other members.
    CutPeers,
    /// It is cut off from the coordinator.
    CutCoordinator,
    /// It is cut off from both.
    CutBoth,
    /// The coordinator is down for everybody.
    CoordinatorDown,
    /// The other member's machine goes dark.
    StandbyNode,
    /// An operator moves the service.
    Switchover,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Scenario; 9] = [
        Scenario::Killed,
        Scenario::Node,
        Scenario::Frozen,
        Scenario::CutPeers,
        Scenario::CutCoordinator,
        Scenario::CutBoth,
        Scenario::CoordinatorDown,
        Scenario::StandbyNode,
        Scenario::Switchover,
    ];
}

/// For how long the fault lasts, and is looked at.
const LASTS_US: u64 = 3_000_000;
const STEP_US: u64 = 500;

/// The longest time between two outputs of the service around the fault, in microseconds: what callers
/// notice. The owner has some output every 2 ms or so.
///
/// # Errors
/// A violation, or a cluster that did not settle before the fault.
pub fn gap_us(scenario: Scenario, seed: u64) -> Result<u64, Violation> {
    let plan = Plan::quiet(seed, 3, vec![vec![0, 1]]);
    let begins_us = 2_500_000 + (seed % 997) * 301;
    let mut world = World::new(plan);
    world.run_until(begins_us)?;
    world.settled(0)?;
    let owner = world.owner(0).unwrap_or(0);
    let around = world.ways_around(owner);
    let reach = [false, false];
    let blows = match scenario {
        Scenario::Killed => vec![Blow::Kill {
            node: owner,
            back_us: LASTS_US,
        }],
        Scenario::Node => vec![Blow::Crash {
            node: owner,
            back_us: LASTS_US,
        }],
        Scenario::Frozen => vec![Blow::Freeze {
            node: owner,
            span_us: LASTS_US,
        }],
        Scenario::CutPeers => vec![Blow::Cut { ways: around }],
        Scenario::CutCoordinator => vec![Blow::CutCoordinator { node: owner, reach }],
        Scenario::CutBoth => vec![
            Blow::Cut { ways: around },
            Blow::CutCoordinator { node: owner, reach },
        ],
        Scenario::CoordinatorDown => vec![Blow::CoordinatorDown],
        Scenario::StandbyNode => vec![Blow::Crash {
            node: 1 - owner,
            back_us: LASTS_US,
        }],
        Scenario::Switchover => vec![Blow::Switchover { service: 0 }],
    };
    blows.iter().for_each(|blow| world.strike(blow));
    let mut longest_us = 0;
    let mut at_us = begins_us;
    let (_, mut last_us) = world.left(0);
    while at_us < begins_us + LASTS_US {
        at_us += STEP_US;
        world.run_until(at_us)?;
        let (_, left_us) = world.left(0);
        if left_us > last_us {
            longest_us = longest_us.max(left_us - last_us);
            last_us = left_us;
        }
    }
    Ok(longest_us.max(at_us - last_us))
}
