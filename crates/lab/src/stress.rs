//! The published stress: so many calls or registrations a second, through one PBX and through the pair with two, at ten times that, and while nodes fail.

mod experiment;
mod failures;
mod meter;
mod run;

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::report::StressRow;
use crate::world::{NODES, Plan};
use crate::{Error, World};
use experiment::{Experiment, Stage, experiments};

/// How long the published runs took, in seconds.
const PUBLISHED_S: f64 = 3_600.0;
/// How long edges may take to know users that were put into the store.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
/// Descriptors that each process may have.
const DESCRIPTORS: u64 = 200_000;
/// The shortest run that says something, in seconds.
const SPAN_S_MIN: f64 = 5.0;

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Stress {
    /// How each laboratory is built; folders of their own are made in its folder.
    pub plan: Plan,
    /// How long each run is, as a part of the published hour.
    pub scale: f64,
    /// All rates that were published, in place of the least, the usual and the largest.
    pub is_whole: bool,
    /// Names of rows, or how they begin; empty is all.
    pub only: Vec<String>,
}

impl Stress {
    /// Names of the rows, in the order in which they are made.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.asked().iter().map(Experiment::id).collect()
    }

    fn asked(&self) -> Vec<Experiment> {
        let whole: Vec<String> = experiments(true).iter().map(Experiment::id).collect();
        let is_asked = |experiment: &Experiment| {
            let id = experiment.id();
            let mut only = self.only.iter();
            // `stress-register-1000` is not `stress-register-10000`.
            self.only.is_empty()
                || only.any(|only| match whole.contains(only) {
                    true => id == *only,
                    false => id.starts_with(&**only),
                })
        };
        let all = experiments(self.is_whole);
        all.into_iter().filter(is_asked).collect()
    }

    /// How long work is begun, in seconds.
    fn span_s(&self) -> f64 {
        (PUBLISHED_S * self.scale).max(SPAN_S_MIN)
    }

    /// Makes them all; `tell` hears a line of each. That a laboratory could not be built is told by the rows that are empty.
    pub fn run(&self, tell: &mut dyn FnMut(&str)) -> Vec<StressRow> {
        raise_limits();
        let mut rows = Vec::new();
        let mut world: Option<(Stage, World)> = None;
        for (number, experiment) in self.asked().into_iter().enumerate() {
            let standing = world.take().filter(|(stage, _)| *stage == experiment.stage);
            let made = match standing {
                Some((_, world)) => Ok(world),
                None => self.build(number, experiment.stage),
            };
            let done = made.and_then(|mut built| {
                let row = self.make(&mut built, &experiment)?;
                world = Some((experiment.stage, built));
                Ok(row)
            });
            let row = done.unwrap_or_else(|error| StressRow {
                notes: vec![error.to_string()],
                ..experiment.row(self.span_s())
            });
            tell(&line(&row));
            rows.push(row);
        }
        rows
    }

    fn build(&self, number: usize, stage: Stage) -> Result<World, Error> {
        let folder = self.plan.folder.join(format!("stress-{number}"));
        fs::create_dir(&folder).map_err(|error| Error::File {
            path: folder.clone(),
            error,
        })?;
        let world = World::build(stage.plan(&self.plan, folder, descriptors()))?;
        known(&world, stage.users());
        Ok(world)
    }
}

/// Waits until every edge knows so many users: they are in the store before that. Who does not know them refuses them, and the rows show it.
fn known(world: &World, users: u64) {
    let deadline = Instant::now() + KNOWN_WITHIN;
    let knows = |number: usize| {
        let status = world.status(number);
        status.is_none_or(|status| status["users"].as_u64() >= Some(users))
    };
    while !(0..NODES).all(knows) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Ten thousand calls have twenty thousand ports: this process and those that it starts may have as many as the system lets them.
fn raise_limits() {
    let wanted = descriptors().max(DESCRIPTORS);
    // Where that is not allowed, PBXs have fewer ports.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted);
}

/// How many a process may have.
fn descriptors() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(_, hard)| hard)
}

/// A row for who watches.
fn line(row: &StressRow) -> String {
    let response = row.response_ms.unwrap_or_default();
    let verdict = match row.faults().as_slice() {
        [] => "good".to_owned(),
        faults => format!("BAD: {}", faults.join("; ")),
    };
    let mut line = format!(
        "{}: {:.0}/s, {} begun, {} done, {} failed ({:.1} %), {} sent again, {} at once, response p50 {:.1} ms, p99 {:.1}, CPU {:.0} us each; {verdict}",
        row.id,
        row.achieved_per_s,
        row.count.attempted,
        row.count.succeeded,
        row.count.failed,
        row.failed_percent(),
        row.retransmissions,
        row.active_max.unwrap_or(0),
        response[0],
        response[1],
        row.cpu_us.unwrap_or(0.0),
    );
    for note in &row.notes {
        line += &format!("\n    {note}");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_row_is_asked_for_by_its_name_and_rows_by_a_beginning() {
        let names = |only: &str| {
            let stress = Stress {
                plan: Plan::of(PathBuf::new(), PathBuf::new()),
                scale: 0.0,
                is_whole: false,
                only: vec![only.to_owned()],
            };
            stress.names()
        };
        assert_eq!(names("stress-register-1000"), ["stress-register-1000"]);
        assert_eq!(names("stress-register").len(), 5);
        assert_eq!(names("scenario"), Vec::<String>::new());
    }
}
