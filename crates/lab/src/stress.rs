//! The published stress: so many calls or registrations a second, through one PBX and through the pair with two, at ten times that, and while nodes fail.

mod experiment;
mod failures;
mod meter;
mod run;

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::report::StressRow;
use crate::world::Plan;
use crate::{Error, World};
use experiment::{Experiment, Stage, experiments};

/// How long the published runs took, in seconds.
const PUBLISHED_S: f64 = 3_600.0;
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
    /// All rates that were published, in place of the least, the usual and the largest, and each of them ten times.
    pub is_whole: bool,
    /// Names of rows, which may have any rate, or how they begin; empty is all.
    pub only: Vec<String>,
}

impl Stress {
    /// Names of the rows, in the order in which they are made.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.asked().iter().map(Experiment::id).collect()
    }

    /// Rows that are begun by a name, and those of whole names, which may have any rate.
    fn asked(&self) -> Vec<Experiment> {
        let mut all = experiments(self.is_whole);
        if self.only.is_empty() {
            return all;
        }
        let mut named: Vec<_> = self
            .only
            .iter()
            .map(|only| (only, Experiment::named(only)))
            .collect();
        all.retain(|experiment| {
            let id = experiment.id();
            named.iter().any(|(only, whole)| match whole {
                Some(whole) => whole == experiment,
                None => id.starts_with(&***only),
            })
        });
        for (_, whole) in named.drain(..) {
            all.extend(whole.filter(|whole| !all.contains(whole)));
        }
        all
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
        World::build(stage.plan(&self.plan, folder, descriptors()))
    }
}

/// Ten thousand calls have twenty thousand ports: this process and those that it starts may have as many as the system lets them.
fn raise_limits() {
    let most = fs::read_to_string("/proc/sys/fs/nr_open").ok();
    let most = most.and_then(|most| most.trim().parse().ok());
    let wanted = descriptors().max(DESCRIPTORS.min(most.unwrap_or(DESCRIPTORS)));
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_err() {
        // Where that is not allowed, PBXs have fewer ports.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, descriptors(), descriptors());
    }
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
        "{}: {:.0}/s begun, {:.0}/s carried, {} begun, {} done, {} failed ({:.1} %), {} sent again, {} at once, response p50 {:.1} ms, p99 {:.1}, CPU {:.0} us each, processors {:.0} % in use; {verdict}",
        row.id,
        row.achieved_per_s,
        row.carried_per_s(),
        row.count.attempted,
        row.count.succeeded,
        row.count.failed,
        row.failed_percent(),
        row.retransmissions,
        row.active_max.unwrap_or(0),
        response[0],
        response[1],
        row.cpu_us.unwrap_or(0.0),
        row.busy_percent.unwrap_or(0.0),
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
        assert_eq!(names("stress-register").len(), 4);
        assert_eq!(names("stress-register-7500"), ["stress-register-7500"]);
        assert_eq!(names("scenario"), Vec::<String>::new());
    }
}
