//! `holdline lab`: the published experiments, and a report of them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use lab::Lack;
use lab::report::{Limits, page};

use super::{Place, verdict};
use crate::cli::{Failure, Output};

/// Arguments of `holdline lab`.
#[derive(Debug, Args)]
pub(super) struct Published {
    /// How often each failure is made
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
    /// How long each run of the stress is, in minutes; an hour in the published work
    #[arg(long, value_name = "MINUTES", default_value_t = 0.085)]
    minutes: f64,
    /// The stress at all published rates, each at ten times too
    #[arg(long)]
    whole: bool,
    /// Only rows of these names, or whose names begin so, as `scenario-2` or `stress-invite`; of the stress at any rate, as `stress-register-2000` [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// The folder for report.html and report.json
    #[arg(long, value_name = "FOLDER", default_value = "target/lab")]
    out: PathBuf,
    /// Widens the limits of time by this factor, for machines that do other work meanwhile
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    slack: f64,
    /// Takes something away from the platform, to see that the report shows it: failover, standby, relay; of a debug build commit, too
    #[arg(long, value_name = "WHAT", value_parser = lack)]
    without: Option<Lack>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

fn lack(name: &str) -> Result<Lack, String> {
    let found = Lack::named(name).filter(|lack| lack.is_possible());
    found.ok_or_else(|| {
        let possible = Lack::ALL.iter().filter(|(_, lack)| lack.is_possible());
        let names: Vec<_> = possible.map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    })
}

impl Published {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        self.place
            .with(|folder, is_loopback| self.make(folder, is_loopback, out))
    }

    fn make(
        &self,
        folder: &Path,
        is_loopback: bool,
        out: &mut impl Write,
    ) -> Result<ExitCode, Failure> {
        let mut plan = self.place.plan(folder.to_owned(), is_loopback)?;
        plan.lack = self.without;
        let published = lab::Published {
            plan,
            runs: self.runs,
            only: self.only.clone(),
            minutes: self.minutes,
            is_whole: self.whole,
        };
        let report = published
            .run(&mut |line| eprintln!("{line}"))
            .map_err(Failure::Lab)?;
        let limits = Limits::of(self.slack);
        let json = report.json(&limits);
        fs::create_dir_all(&self.out).map_err(Failure::Input)?;
        fs::write(self.out.join("report.json"), format!("{json:#}\n")).map_err(Failure::Input)?;
        fs::write(self.out.join("report.html"), page(&report, &limits)).map_err(Failure::Input)?;
        if self.output.json {
            writeln!(out, "{json}")?;
        } else {
            self.tell(&report, &limits, out)?;
        }
        Ok(verdict(report.failed(&limits) == 0))
    }

    fn tell(
        &self,
        report: &lab::report::Report,
        limits: &Limits,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let rows = report.rows.iter().map(|row| (&row.id, row.faults(limits)));
        let stress = report.stress.iter().map(|row| (&row.id, row.faults()));
        for (id, faults) in rows.chain(stress) {
            match faults.is_empty() {
                true => writeln!(out, "good  {id}")?,
                false => writeln!(out, "BAD   {id}: {}", faults.join("; "))?,
            }
        }
        for (id, why) in &report.absent {
            writeln!(out, "none  {id}: {why}")?;
        }
        let all = report.rows.len() + report.stress.len();
        let failed = report.failed(limits);
        let page = self.out.join("report.html");
        writeln!(
            out,
            "{failed} of {all} rows are not as they should be; {}",
            page.display()
        )?;
        Ok(())
    }
}
