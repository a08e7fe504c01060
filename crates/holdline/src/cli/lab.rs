//! `holdline lab`: the published experiments and faults, and what phones notice of them.

mod published;
mod stress;
mod takeover;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use lab::{Plan, cage};

use super::Failure;
use published::Published;
use stress::Stress;
use takeover::Takeover;

/// What folders of laboratories are called, before the process that has them.
const FOLDER: &str = "holdline-lab-";

/// Arguments of `holdline lab`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Lab {
    #[command(subcommand)]
    experiment: Option<Experiment>,
    #[command(flatten)]
    published: Published,
}

#[derive(Debug, Subcommand)]
enum Experiment {
    /// Kill, freeze and cut off the owner of a service, and measure what phones notice
    Takeover(Takeover),
    /// So many calls and registrations a second, as they were published, at ten times that, and while nodes fail
    Stress(Stress),
}

impl Lab {
    /// Makes the experiments; the status tells whether all went as it should.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        match &self.experiment {
            Some(Experiment::Takeover(takeover)) => takeover.run(out),
            Some(Experiment::Stress(stress)) => stress.run(out),
            None => self.published.run(out),
        }
    }
}

/// Where experiments are made.
#[derive(Debug, Args)]
struct Place {
    /// The lease of the cluster in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300)]
    lease_ms: u64,
    /// On loopback, without hosts of its own, as it is done where there are no rights
    #[arg(long)]
    loopback: bool,
    /// Let the etcds write to this machine's disk, and not to memory
    #[arg(long)]
    disk: bool,
    /// Keep configurations, data and logs
    #[arg(long)]
    keep: bool,
    /// The folder of a laboratory that is inside its cage
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

impl Place {
    /// Makes a folder, and has the work done in a cage if that is possible; `work` hears of the folder, and whether all is on loopback.
    fn with(
        &self,
        mut work: impl FnMut(&Path, bool) -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        if let Some(folder) = &self.inside {
            return locked(folder, || work(folder, false));
        }
        sweep();
        let path = std::env::temp_dir().join(format!("{FOLDER}{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| {
            Failure::Lab(lab::Error::File {
                path: path.clone(),
                error,
            })
        })?;
        let may = (!self.loopback).then(cage::may);
        let done = match may {
            Some(Ok(())) => enter(&path),
            Some(Err(error)) => {
                eprintln!(
                    "{error}\nall is on loopback: nobody can judge who sends, and nothing can be cut"
                );
                locked(&path, || work(&path, true))
            }
            None => locked(&path, || work(&path, true)),
        };
        let is_good = matches!(&done, Ok(code) if *code == ExitCode::SUCCESS);
        match self.keep || !is_good {
            true => {
                // So that the next laboratory leaves it.
                let _ = File::create(path.join("keep"));
                eprintln!("logs are in {}", path.display());
            }
            false => drop(fs::remove_dir_all(&path)),
        }
        done
    }

    fn plan(&self, folder: PathBuf, is_loopback: bool) -> Result<Plan, Failure> {
        let program = std::env::current_exe().map_err(Failure::Input)?;
        Ok(Plan {
            is_loopback,
            lease_ms: self.lease_ms,
            is_on_disk: self.disk,
            ..Plan::of(program, folder)
        })
    }
}

/// Runs this program again inside a cage.
fn enter(folder: &Path) -> Result<ExitCode, Failure> {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    arguments.push("--inside".into());
    arguments.push(folder.into());
    let status = cage::enter(&arguments).map_err(Failure::Lab)?;
    let code = u8::try_from(status.code().unwrap_or(1)).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// A folder is in use as long as its lock is held.
fn locked(
    folder: &Path,
    work: impl FnOnce() -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let lock = File::create(folder.join("lock")).map_err(Failure::Input)?;
    lock.lock().map_err(Failure::Input)?;
    work()
}

/// The status that tells whether all went as it should.
fn verdict(is_good: bool) -> ExitCode {
    match is_good {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(super::EXIT_FAILED),
    }
}

/// Takes away what laboratories left that were killed: folders that nobody has locked, and that are not asked for.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(FOLDER));
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else {
            continue;
        };
        let is_alive = Path::new(&format!("/proc/{owner}")).exists();
        let lock = File::open(entry.path().join("lock"));
        let is_free = lock.is_ok_and(|lock| lock.try_lock().is_ok());
        let is_finished = entry.path().join("keep").exists();
        if !is_alive && is_free && !is_finished {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
