//! `holdline lab`: faults, and what phones notice of them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use lab::{Fault, Options, Plan, cage, takeover};
use serde_json::json;

use super::{Failure, Output};

/// What folders of laboratories are called, before the process that has them.
const FOLDER: &str = "holdline-lab-";

/// Arguments of `holdline lab`.
#[derive(Debug, Args)]
pub(crate) struct Lab {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Debug, Subcommand)]
enum Experiment {
    /// Kill, freeze and cut off the owner of a service, and measure what phones notice
    Takeover(Takeover),
}

/// Arguments of `holdline lab takeover`.
#[derive(Debug, Args)]
struct Takeover {
    /// What befalls the owner: killed, unwatched, node, frozen, cut-peers, cut-coordinator, cut-both [default: all]
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    fault: Vec<Fault>,
    /// How often each
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
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
    #[command(flatten)]
    output: Output,
}

fn fault(name: &str) -> Result<Fault, String> {
    Fault::named(name).ok_or_else(|| {
        let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

impl Lab {
    /// Makes the experiment; the status tells whether all went as it should.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let Experiment::Takeover(takeover) = &self.experiment;
        match &takeover.inside {
            Some(folder) => takeover.make(folder, false, out),
            None => takeover.begin(out),
        }
    }
}

impl Takeover {
    /// Makes a folder, and goes on in a cage if that is possible.
    fn begin(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        sweep();
        let path = std::env::temp_dir().join(format!("{FOLDER}{}", std::process::id()));
        let failed = |error| {
            Failure::Lab(lab::Error::File {
                path: path.clone(),
                error,
            })
        };
        fs::create_dir(&path).map_err(failed)?;
        let may = if self.loopback {
            None
        } else {
            Some(cage::may())
        };
        let done = match may {
            Some(Ok(())) => {
                let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
                arguments.push("--inside".into());
                arguments.push(path.clone().into());
                let status = cage::enter(&arguments).map_err(Failure::Lab);
                status.map(|status| {
                    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
                })
            }
            Some(Err(error)) => {
                eprintln!(
                    "{error}\nall is on loopback: nobody can judge who sends, and nothing can be cut"
                );
                self.make(&path, true, out)
            }
            None => self.make(&path, true, out),
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

    fn make(
        &self,
        folder: &Path,
        is_loopback: bool,
        out: &mut impl Write,
    ) -> Result<ExitCode, Failure> {
        let program = std::env::current_exe().map_err(Failure::Input)?;
        let asked = match self.fault.is_empty() {
            true => &Fault::ALL[..],
            false => &self.fault,
        };
        // In use as long as this file is locked.
        let lock = File::create(folder.join("lock")).map_err(Failure::Input)?;
        lock.lock().map_err(Failure::Input)?;
        let (mut rows, mut is_good) = (Vec::new(), true);
        for fault in asked {
            if self.fault.is_empty() && !fault.is_possible(is_loopback) {
                continue;
            }
            let own = folder.join(fault.name());
            fs::create_dir(&own).map_err(Failure::Input)?;
            let options = Options {
                fault: *fault,
                runs: self.runs,
                plan: Plan {
                    program: program.clone(),
                    is_loopback,
                    lease_ms: self.lease_ms,
                    is_on_disk: self.disk,
                    folder: own,
                },
            };
            let row = takeover(&options, &mut |line| eprintln!("{line}")).map_err(Failure::Lab)?;
            is_good &= row.is_good();
            let row = row.json();
            if !self.output.json {
                writeln!(
                    out,
                    "{}: service p50 {} ms, p99 {}, max {}; media p99 {} ms; lost {} of {}; owners at once {}; {} runs",
                    row["id"].as_str().unwrap_or_default(),
                    row["service_p50_ms"],
                    row["service_p99_ms"],
                    row["service_max_ms"],
                    row["media_gap_p99_ms"],
                    row["lost"],
                    row["calls"],
                    row["owners_at_once_max"],
                    row["runs"],
                )?;
                out.flush()?;
            }
            rows.push(row);
        }
        if self.output.json {
            writeln!(out, "{}", json!({ "rows": rows }))?;
        }
        Ok(match is_good {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(super::EXIT_FAILED),
        })
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
