//! All published experiments, one after the other, and what they came to.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use crate::contingency::{Contingency, Experiment, experiments};
use crate::report::{Report, Row};
use crate::situation::{Situation, Situations};
use crate::world::Plan;
use crate::{Error, Stress, machine};

/// How long runs of the published stress were.
const PUBLISHED_MINUTES: f64 = 60.0;
/// A frozen and a killed media server for each run.
const DEATHS: usize = 2;

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Published {
    /// How each laboratory is built; folders of their own are made in its folder.
    pub plan: Plan,
    /// How often each.
    pub runs: usize,
    /// Names of rows, or how they begin; empty is all.
    pub only: Vec<String>,
    /// How long each run of the stress is, in minutes; an hour in the published work.
    pub minutes: f64,
    /// Whether the stress is made at all published rates, each at ten times too.
    pub is_whole: bool,
}

impl Published {
    /// Whether one of these names is asked for: by itself, or by its beginning where that is no name of its own.
    fn is_asked(&self, names: &[&str]) -> bool {
        let is_it = |only: &String| match is_name(only) {
            true => names.contains(&&**only),
            false => names.iter().any(|name| name.starts_with(&**only)),
        };
        self.only.is_empty() || self.only.iter().any(is_it)
    }

    /// The experiments that are asked for, those without fencing first.
    fn asked(&self) -> Vec<Experiment> {
        let is_asked = |experiment: &Experiment| {
            let [one, two, three] = [1, 2, 3].map(|test| experiment.id(test));
            self.is_asked(&[&experiment.name(), &one, &two, &three])
        };
        experiments().into_iter().filter(is_asked).collect()
    }

    /// Makes them all; `tell` hears a line of each run.
    ///
    /// # Errors
    /// No folder can be made. That a laboratory could not be built is told by the rows that lack their runs.
    pub fn run(&self, tell: &mut dyn FnMut(&str)) -> Result<Report, Error> {
        let mut report = Report {
            machine: machine::describe(&self.plan),
            ..Report::default()
        };
        let begun = Instant::now();
        self.contingency(&mut report, tell)?;
        self.situations(&mut report, tell)?;
        self.stress(&mut report, tell);
        let took = format!("{} s", begun.elapsed().as_secs());
        report.machine.push(("took".to_owned(), took));
        Ok(report)
    }

    fn stress(&self, report: &mut Report, tell: &mut dyn FnMut(&str)) {
        let stress = Stress {
            plan: self.plan.clone(),
            scale: self.minutes / PUBLISHED_MINUTES,
            is_whole: self.is_whole,
            only: self.only.clone(),
        };
        if self.plan.is_loopback {
            let why = "the generator and the nodes would have one address";
            let names = stress.names().into_iter();
            report
                .absent
                .extend(names.map(|name| (name, why.to_owned())));
            return;
        }
        report.stress = stress.run(tell);
    }

    fn situations(&self, report: &mut Report, tell: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let asked = Situation::ALL.into_iter();
        let asked: Vec<_> = asked
            .filter(|situation| self.is_asked(&[situation.id()]))
            .collect();
        if asked.is_empty() {
            return Ok(());
        }
        let mut stage = Situations::build(self.plan_of("situations", false)?);
        for situation in asked {
            let mut row = situation.row();
            for number in 0..self.runs * DEATHS {
                let id = situation.id();
                let done = match &mut stage {
                    Ok(stage) => stage.run(situation, number, &mut row),
                    Err(error) => {
                        row.notes.push(error.to_string());
                        break;
                    }
                };
                match done {
                    Ok(line) => tell(&format!("{id} {}: {line}", number + 1)),
                    Err(error) => {
                        tell(&format!("{id} {}: {error}", number + 1));
                        row.never_back += 1;
                        stage = Err(error);
                    }
                }
            }
            report.rows.push(row);
        }
        Ok(())
    }

    fn contingency(&self, report: &mut Report, tell: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let mut stage: Option<Contingency> = None;
        let (mut was_fenced, mut built) = (false, 0);
        for experiment in self.asked() {
            if !experiment.is_possible(self.plan.is_loopback) {
                let why = "it needs hosts of their own, and all is on loopback";
                report.absent.push((experiment.name(), why.to_owned()));
                continue;
            }
            if experiment.is_fenced != was_fenced {
                stage = None;
                was_fenced = experiment.is_fenced;
            }
            let mut rows = experiment.rows();
            for number in 0..self.runs {
                let made = match stage.take() {
                    Some(stage) => Ok(stage),
                    None => {
                        built += 1;
                        let name = format!("contingency-{built}");
                        Contingency::build(self.plan_of(&name, experiment.is_fenced)?)
                    }
                };
                let done = made.and_then(|mut made| {
                    let line = made.run(experiment, &mut rows)?;
                    stage = Some(made);
                    Ok(line)
                });
                let name = experiment.name();
                match done {
                    Ok(line) => tell(&format!("{name} {}: {line}", number + 1)),
                    Err(error) => {
                        tell(&format!("{name} {}: {error}", number + 1));
                        spoil(&mut rows, &error);
                        break;
                    }
                }
            }
            report.rows.extend(rows);
        }
        Ok(())
    }

    /// A laboratory in a folder of its own.
    fn plan_of(&self, name: &str, is_fenced: bool) -> Result<Plan, Error> {
        let folder: PathBuf = self.plan.folder.join(name);
        fs::create_dir(&folder).map_err(|error| Error::File {
            path: folder.clone(),
            error,
        })?;
        Ok(Plan {
            folder,
            is_fenced,
            ..self.plan.clone()
        })
    }
}

/// Whether it is the whole name of a row, or of the rows that one failure makes.
fn is_name(text: &str) -> bool {
    let mut all = experiments().into_iter();
    all.any(|one| one.name() == text || (1..=3).any(|test| one.id(test) == text))
}

/// A laboratory that could not be built, or did not come to rest, makes its rows red.
fn spoil(rows: &mut [Row; 3], error: &Error) {
    for row in rows {
        row.never_back += 1;
        row.notes.push(error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(only: &[&str]) -> Vec<String> {
        let published = Published {
            plan: Plan::of(PathBuf::new(), PathBuf::new()),
            runs: 1,
            only: only.iter().map(|name| (*name).to_owned()).collect(),
            minutes: 0.1,
            is_whole: false,
        };
        let all = published.asked();
        all.iter().map(Experiment::name).collect()
    }

    #[test]
    fn without_names_all_are_asked_for() {
        assert_eq!(asked(&[]).len(), 24);
    }

    #[test]
    fn rows_and_what_makes_them_can_be_named_or_begun() {
        assert_eq!(asked(&["scenario-1-node"]), ["scenario-1-node"]);
        assert_eq!(
            asked(&["scenario-2-test-3-node-fenced"]),
            ["scenario-2-node-fenced"]
        );
        assert_eq!(asked(&["scenario-3"]).len(), 8);
        assert_eq!(asked(&["stress"]), Vec::<String>::new());
    }
}
