//! `holdline lab stress`: the published stress, as a table.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Place, verdict};
use crate::cli::{Failure, Output};

/// Arguments of `holdline lab stress`.
#[derive(Debug, Args)]
pub(super) struct Stress {
    /// How long each run is, as a part of the published hour; five seconds at least
    #[arg(long, value_name = "PART", default_value_t = 0.0014)]
    scale: f64,
    /// All published rates, and each at ten times
    #[arg(long)]
    whole: bool,
    /// Only rows whose names begin so, as `stress-invite-proposed`, or of these names at any rate, as `stress-invite-proposed-600` [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Only name the rows
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

impl Stress {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        if self.list {
            for name in self.stress(Path::new(""), true)?.names() {
                writeln!(out, "{name}")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        self.place
            .with(|folder, is_loopback| self.make(folder, is_loopback, out))
    }

    fn stress(&self, folder: &Path, is_loopback: bool) -> Result<lab::Stress, Failure> {
        Ok(lab::Stress {
            plan: self.place.plan(folder.to_owned(), is_loopback)?,
            scale: self.scale,
            is_whole: self.whole,
            only: self.only.clone(),
        })
    }

    fn make(
        &self,
        folder: &Path,
        is_loopback: bool,
        out: &mut impl Write,
    ) -> Result<ExitCode, Failure> {
        let stress = self.stress(folder, is_loopback)?;
        let rows = stress.run(&mut |line| eprintln!("{line}"));
        let is_good = rows.iter().all(|row| row.faults().is_empty());
        if self.output.json {
            let rows: Vec<_> = rows.iter().map(lab::report::StressRow::json).collect();
            writeln!(out, "{:#}", json!({ "rows": rows }))?;
            return Ok(verdict(is_good));
        }
        writeln!(
            out,
            "{:<40} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>9} {:>9} {:>8} {:>6}  as it should be",
            "row",
            "offered",
            "per s",
            "carried",
            "begun",
            "failed",
            "again",
            "at once",
            "p50 ms",
            "p99 ms",
            "CPU us",
            "busy"
        )?;
        for row in &rows {
            let [p50, p99, _] = row.response_ms.unwrap_or_default();
            let faults = row.faults();
            let verdict = match faults.is_empty() {
                true => "yes".to_owned(),
                false => format!("NO: {}", faults.join("; ")),
            };
            writeln!(
                out,
                "{:<40} {:>8.0} {:>8.0} {:>8.0} {:>8} {:>7.1}% {:>7} {:>7} {p50:>9.2} {p99:>9.2} {:>8.0} {:>5.0}%  {verdict}",
                row.id,
                row.offered_per_s,
                row.achieved_per_s,
                row.carried_per_s(),
                row.count.attempted,
                row.failed_percent(),
                row.retransmissions,
                row.active_max.unwrap_or(0),
                row.cpu_us.unwrap_or(0.0),
                row.busy_percent.unwrap_or(0.0),
            )?;
        }
        Ok(verdict(is_good))
    }
}
