//! One run: faults, then healing.

use crate::{Coverage, Plan, Violation, World};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The first violation, if there was one.
    pub violation: Option<Violation>,
    /// What it reached.
    pub coverage: Coverage,
    /// A hash of all that happened.
    pub trace: u64,
    /// How long the world ran, in microseconds of its own.
    pub ran_us: u64,
    /// What happened, in words, if the plan was verbose.
    pub text: Vec<String>,
}

/// Runs what a seed stands for.
pub fn seed(seed: u64) -> Report {
    plan(Plan::of_seed(seed))
}

/// Runs a plan: its faults, then healing, then a while in which nothing may be lost.
pub fn plan(plan: Plan) -> Report {
    let seed = plan.seed;
    let mut world = World::new(plan.clone());
    let violation = whole(&mut world, &plan).err();
    Report {
        seed,
        violation,
        coverage: world.coverage().clone(),
        trace: world.trace(),
        ran_us: world.now_us(),
        text: match plan.verbose {
            true => [world.text(), &world.standing()].concat(),
            false => Vec::new(),
        },
    }
}

/// How long a cluster may take to settle after the last fault: connections are back within their retries;
/// a claim by a member not in sync waits for two graces; the rest is a few leases; then members join, one
/// of them after its patience, and a service may move back to its first member.
fn settles_within_us(plan: &Plan) -> u64 {
    let settings = &plan.settings;
    let graces_us = 2 * settings.grace_us.unwrap_or(0);
    graces_us + 12 * settings.lease_us + settings.failback_us.unwrap_or(0) + 1_000_000
}

fn whole(world: &mut World, plan: &Plan) -> Result<(), Violation> {
    world.run_until(plan.chaos_us)?;
    world.heal_all();
    let mut at_us = plan.chaos_us + settles_within_us(plan);
    world.run_until(at_us)?;
    let services = 0..plan.services.len();
    let before: Vec<u64> = services
        .clone()
        .map(|service| world.left(service).0)
        .collect();
    // Nothing may change any more, and outputs have to leave.
    for _ in 0..10 {
        at_us += 100_000;
        world.run_until(at_us)?;
        for service in services.clone() {
            world.settled(service)?;
        }
    }
    for service in services {
        if world.left(service).0 == before[service] && !world.is_given_up(service) {
            let why = "no output leaves";
            return Err(Violation::Unsettled { service, why });
        }
    }
    Ok(())
}
