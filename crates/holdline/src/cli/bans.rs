//! `holdline bans` and `holdline unban`: sources whose messages are dropped.

use std::io::Write;
use std::process::ExitCode;

use admin::Ban;
use clap::Args;
use serde_json::json;

use super::show::span;
use super::{Failure, Output, Target, table};
use crate::client::escaped;

/// Arguments of `holdline bans`.
#[derive(Debug, Args)]
pub(crate) struct Bans {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Bans {
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let bans: Vec<Ban> = self.target.client()?.get("/api/bans")?;
        if self.output.json {
            writeln!(out, "{}", json!(bans))?;
        } else if bans.is_empty() {
            writeln!(out, "nobody is banned")?;
        } else {
            let head = ["SOURCE", "REASON", "HOLDS FOR", "LEFT", "TIMES", "DROPPED"];
            table(out, &head, bans.iter().map(row).collect())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(ban: &Ban) -> Vec<String> {
    let holds_for = match ban.proved {
        true => "everything",
        false => "datagrams",
    };
    vec![
        ban.source.clone(),
        ban.reason.clone(),
        holds_for.to_owned(),
        span(ban.left_s),
        ban.times.to_string(),
        ban.dropped.to_string(),
    ]
}

/// Arguments of `holdline unban`.
#[derive(Debug, Args)]
pub(crate) struct Unban {
    /// The address, as `holdline bans` shows it
    address: String,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Unban {
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let path = format!("/api/bans/{}", escaped(&self.address));
        self.target.client()?.delete(&path)?;
        if self.output.json {
            writeln!(out, "{}", json!({ "ok": true }))?;
        } else {
            writeln!(out, "{} is no longer banned", self.address)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_a_ban_holds_for() {
        let ban = Ban {
            source: "192.0.2.66".into(),
            reason: "challenged".into(),
            proved: false,
            times: 1,
            left_s: 59,
            dropped: 12,
        };
        assert_eq!(row(&ban)[..3], ["192.0.2.66", "challenged", "datagrams"]);
    }
}
