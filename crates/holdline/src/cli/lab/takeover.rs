//! `holdline lab takeover`: one fault of the owner of a service, over and over.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use lab::{Fault, Options, takeover};
use serde_json::json;

use super::{Place, verdict};
use crate::cli::{Failure, Output};

/// Arguments of `holdline lab takeover`.
#[derive(Debug, Args)]
pub(super) struct Takeover {
    /// What befalls the owner: killed, unwatched, node, frozen, cut-peers, cut-coordinator, cut-both [default: all]
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    fault: Vec<Fault>,
    /// How often each
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

fn fault(name: &str) -> Result<Fault, String> {
    Fault::named(name).ok_or_else(|| {
        let names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

impl Takeover {
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
        let asked = match self.fault.is_empty() {
            true => &Fault::ALL[..],
            false => &self.fault,
        };
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
                plan: self.place.plan(own, is_loopback)?,
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
        Ok(verdict(is_good))
    }
}
