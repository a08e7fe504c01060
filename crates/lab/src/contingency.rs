//! The published contingency: a PBX, the active edge, or both fail, and calls in three phases are there to notice it.

mod calls;
mod experiment;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::judge::{Judge, owners_at_once};
use crate::phones::{Noticed, Phones, Story};
use crate::report::Row;
use crate::world::{Farm, Plan, Tenure};
use crate::{Error, Fault, World};
pub use experiment::{Experiment, Failure, Scenario, TESTS, experiments};

/// Ports for sound of each PBX: twelve calls need few, and each costs a node at its start.
const PBX_PORTS: [u16; 2] = [40_000, 40_199];
/// How long calls may take to be set up, when nothing is wrong.
const SET_UP: Duration = Duration::from_secs(8);
/// How long those that were hit may take to end: INVITE and BYE are resent after 0.5, 1.5, 3.5, 7.5 s.
const END: Duration = Duration::from_secs(16);
/// The same where something was taken away from the platform: calls are lost then, and nobody waits for what was found out.
const END_OF_LACK: Duration = Duration::from_secs(4);
/// How long everything is watched before the fault.
const BEFORE: Duration = Duration::from_millis(300);
/// From the moment that times are given to the fault: some calls are dialled before it.
const AHEAD: Duration = Duration::from_millis(60);
/// How long everything is watched afterwards.
const WATCHED: Duration = Duration::from_millis(2_500);
/// How long who is frozen is frozen, and watched once it is awake.
const FROZEN: [Duration; 2] = [Duration::from_secs(2), Duration::from_millis(1_500)];

/// A laboratory for the contingency, which makes one run after the other.
#[derive(Debug)]
pub struct Contingency {
    phones: Phones,
    /// One for each service address.
    judges: Vec<(String, Judge)>,
    world: World,
    placed: usize,
    /// How long calls may take to end.
    end: Duration,
}

impl Contingency {
    /// Builds it.
    ///
    /// # Errors
    /// No rights, no etcd, or something does not come up.
    pub fn build(mut plan: Plan) -> Result<Contingency, Error> {
        plan.farm = Farm::Pbxs(2);
        plan.users = calls::users();
        plan.pbx_ports = PBX_PORTS;
        let end = plan.lack.map_or(END, |_| END_OF_LACK);
        let world = World::build(plan)?;
        let mut judges = Vec::new();
        if let Some(bridge) = world.bridge() {
            for (service, at) in world.services() {
                if let IpAddr::V4(address) = at.ip() {
                    judges.push((service, Judge::listen(bridge, address)?));
                }
            }
        }
        let phones = calls::phones(&world)?;
        Ok(Contingency {
            phones,
            judges,
            world,
            placed: 0,
            end,
        })
    }

    /// Makes one run, which is added to the rows of the three tests; gives a line that tells of it.
    ///
    /// # Errors
    /// Something of the laboratory itself fails, or it does not come to rest: it is of no more use then.
    pub fn run(&mut self, experiment: Experiment, rows: &mut [Row; 3]) -> Result<String, Error> {
        let before = self.world.settled()?;
        let victims = victims(experiment.scenario, &before);
        calls::place(&self.world, &mut self.phones, &mut self.placed)?;
        within(SET_UP, || self.phones.are_ready());
        let was_ready = self.phones.are_ready();
        self.judges.iter().for_each(|(_, judge)| drop(judge.take()));
        self.phones.watch();
        let fault = experiment.failure.fault();
        self.strike(fault, &victims)?;
        self.follow(fault, &victims);
        let noticed = self.phones.unwatch();
        self.phones.answer_all();
        within(self.end, || self.phones.have_all_answered());
        self.phones.hang_up_all();
        within(self.end, || self.phones.have_all_ended());
        let outcome = self.phones.outcome();
        for victim in &victims {
            fault.heal(&mut self.world, *victim)?;
            if experiment.is_fenced {
                self.world.link(*victim)?;
                self.world.begin(*victim)?;
            }
        }
        let after = self.world.settled();
        let owners = match &after {
            Ok(after) => self.owners(&before, after),
            Err(_) => None,
        };
        let run = Run {
            noticed,
            stories: outcome.stories,
            owners,
            was_ready,
        };
        let line = note(experiment, &run, rows);
        after?;
        Ok(line)
    }

    /// Everything at once that is to fail.
    fn strike(&mut self, fault: Fault, victims: &[usize]) -> Result<(), Error> {
        std::thread::sleep(BEFORE);
        let mut prepared = Vec::new();
        for victim in victims {
            prepared.push((*victim, fault.prepare(&self.world, *victim)?));
        }
        let at = Instant::now() + AHEAD;
        self.phones.fault_at(at);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        for (victim, prepared) in prepared {
            fault.befall(&mut self.world, victim, prepared)?;
        }
        Ok(())
    }

    /// Looks on; who was frozen goes on meanwhile.
    fn follow(&self, fault: Fault, victims: &[usize]) {
        if fault != Fault::Frozen {
            std::thread::sleep(WATCHED);
            return;
        }
        std::thread::sleep(FROZEN[0]);
        for victim in victims {
            let both = [self.world.process(*victim), self.world.watcher(*victim)];
            for process in both.into_iter().flatten() {
                // It may have been killed by a fence agent.
                let _ = kill(process, Signal::SIGCONT);
            }
        }
        std::thread::sleep(FROZEN[1]);
    }

    /// Most hosts that sent as one address at a time.
    fn owners(&self, before: &[Tenure], after: &[Tenure]) -> Option<u64> {
        let epoch = |all: &[Tenure], service: &str| {
            let tenure = all.iter().find(|tenure| tenure.service == service);
            tenure.map_or(0, |tenure| tenure.epoch)
        };
        let each = self.judges.iter().map(|(service, judge)| {
            let begun = epoch(after, service).saturating_sub(epoch(before, service));
            owners_at_once(&judge.take(), begun)
        });
        each.max()
    }
}

/// Waits until something is so, or for as long as it may take.
fn within(patience: Duration, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The nodes that are to fail: those that own the services now.
fn victims(scenario: Scenario, tenures: &[Tenure]) -> Vec<usize> {
    let names: &[&str] = match scenario {
        Scenario::Pbx => &["pbx1"],
        Scenario::Edge => &["edge"],
        Scenario::Both => &["pbx1", "edge"],
    };
    let owner = |name: &&str| tenures.iter().find(|tenure| tenure.service == *name);
    names
        .iter()
        .filter_map(owner)
        .map(|tenure| tenure.owner)
        .collect()
}

/// What a run came to.
struct Run {
    noticed: Noticed,
    stories: Vec<Story>,
    owners: Option<u64>,
    was_ready: bool,
}

/// The service that failed: how long it was away, and whether it came back.
fn service(scenario: Scenario, noticed: &Noticed) -> Option<(Duration, bool)> {
    let edge = (noticed.service_gap, noticed.is_back);
    let pbx = noticed.others.first().copied();
    match scenario {
        Scenario::Pbx => pbx,
        Scenario::Edge => Some(edge),
        Scenario::Both => Some(pbx.map_or(edge, |pbx| (pbx.0.max(edge.0), pbx.1 && edge.1))),
    }
}

fn note(experiment: Experiment, run: &Run, rows: &mut [Row; 3]) -> String {
    let service = service(experiment.scenario, &run.noticed);
    let mut line = match service {
        Some((gap, is_back)) => format!(
            "service {} ms{}",
            gap.as_millis(),
            if is_back { "" } else { ", not back" }
        ),
        None => "service not asked".to_owned(),
    };
    for (test, row) in (1..).zip(rows.iter_mut()) {
        row.runs += 1;
        if let Some((gap, is_back)) = service {
            row.service.add(gap);
            row.never_back += usize::from(!is_back);
        }
        row.owners_at_once_max = row.owners_at_once_max.max(run.owners);
        if !run.was_ready {
            let note = "not all calls were set up before the failure";
            row.notes.push(note.to_owned());
        }
        let stories = || run.stories.iter().filter(|story| story.test == test);
        for story in stories() {
            row.calls += 1;
            match &story.loss {
                Some(loss) => {
                    // Whoever was in that call dials again.
                    row.user_actions += 1;
                    row.lost.push(loss.clone());
                    line += &format!("\n    lost: {loss}");
                }
                None => story
                    .waited()
                    .into_iter()
                    .for_each(|waited| row.user.add(waited)),
            }
            if test == 3 {
                story.gaps.iter().for_each(|gap| row.media_gap.add(*gap));
            }
            for (is_so, note) in [
                (
                    story.answered_in_vain,
                    "a phone rang once more after it was answered",
                ),
                (story.is_silent, "the sound of a call did not come back"),
            ] {
                if is_so {
                    row.user_actions += usize::from(story.loss.is_none());
                    row.notes.push(note.to_owned());
                    line += &format!("\n    {note}");
                }
            }
        }
        let waited = stories().filter_map(Story::waited).max();
        line += &format!(
            ", test {test} {} ms",
            waited.unwrap_or_default().as_millis()
        );
    }
    if let Some(owners @ 2..) = run.owners {
        line += &format!("; {owners} OWNERS");
    }
    line
}

#[cfg(test)]
mod tests;
