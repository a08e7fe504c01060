//! `holdline status`, `registrations`, `calls`: what a running node knows.

use std::io::Write;
use std::process::ExitCode;

use admin::{Binding, Call, Page, Reloaded, Status as NodeStatus};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{EXIT_FAILED, Failure, Output, Target, table};
use crate::client::{Client, escaped};

/// How many items are asked for at once.
const PAGE_ITEMS: usize = 500;

/// Arguments of `holdline status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Status {
    /// Prints the node in short. Fails when the node is not ready, so that a
    /// script can wait for it.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let status: NodeStatus = self.target.client()?.get("/api/status")?;
        let ready = status.state == admin::State::Ready;
        if self.output.json {
            writeln!(out, "{}", json!(status))?;
        } else {
            let state = json!(status.state).as_str().unwrap_or_default().to_owned();
            let reason = status
                .reason
                .map_or(String::new(), |reason| format!(" ({reason})"));
            let rows = [
                (
                    "node",
                    format!("{} (holdline {})", status.node, status.version),
                ),
                ("state", format!("{state}{reason}")),
                ("up for", span(status.uptime_s)),
                ("listening on", status.listeners.join(", ")),
                ("domains", status.domains.join(", ")),
                ("store", status.store),
                ("users", status.users.to_string()),
                ("bindings", status.bindings.to_string()),
                ("calls", status.calls.to_string()),
                ("transactions", status.transactions.to_string()),
            ];
            table(
                out,
                &[],
                rows.map(|(key, value)| vec![key.to_owned(), value]).into(),
            )?;
        }
        Ok(if ready {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_FAILED)
        })
    }
}

/// Arguments of `holdline registrations`.
#[derive(Debug, Args)]
pub(crate) struct Registrations {
    /// Only those of USER@DOMAIN
    aor: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Registrations {
    /// Prints the bindings in force.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let client = self.target.client()?;
        let only = self
            .aor
            .as_ref()
            .map_or(String::new(), |aor| format!("&aor={}", escaped(aor)));
        let path = format!("/api/registrations?limit={PAGE_ITEMS}{only}");
        let head = ["USER", "CONTACT", "EXPIRES", "OVER", "FROM", "PHONE"];
        pages(
            out,
            &client,
            &path,
            self.output.json,
            &head,
            |binding: &Binding| {
                vec![
                    binding.aor.clone(),
                    binding.contact.clone(),
                    span(binding.expires_in_s),
                    binding.transport.clone(),
                    binding.source.clone(),
                    binding.user_agent.clone().unwrap_or_default(),
                ]
            },
        )
    }
}

/// Arguments of `holdline calls`.
#[derive(Debug, Args)]
pub(crate) struct Calls {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Calls {
    /// Prints the calls in progress.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let client = self.target.client()?;
        let path = format!("/api/calls?limit={PAGE_ITEMS}");
        let head = ["FROM", "TO", "STATE", "SINCE", "CALL-ID"];
        pages(
            out,
            &client,
            &path,
            self.output.json,
            &head,
            |call: &Call| {
                vec![
                    call.from.clone(),
                    call.to.clone(),
                    call.state.to_string(),
                    span(call.answered_s.unwrap_or(call.age_s)),
                    call.call_id.clone(),
                ]
            },
        )
    }
}

/// Arguments of `holdline drain`.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Drain {
    /// Tells the node to end; it answers before it has.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        self.target
            .client()?
            .post::<serde_json::Value>("/api/drain", &json!({}))?;
        if self.output.json {
            writeln!(out, "{}", json!({ "ok": true }))?;
        } else {
            writeln!(
                out,
                "draining; the node ends when what it accepted has ended"
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `holdline reload`.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Reload {
    /// Tells the node to read its configuration again.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let done: Reloaded = self.target.client()?.post("/api/reload", &json!({}))?;
        if self.output.json {
            writeln!(
                out,
                "{}",
                json!({ "ok": true, "needs_restart": done.needs_restart })
            )?;
        } else if done.needs_restart.is_empty() {
            writeln!(out, "reloaded")?;
        } else {
            let keys = done.needs_restart.join(", ");
            writeln!(
                out,
                "reloaded; these changes hold from the next start: {keys}"
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a list page by page: a table, or one JSON object with `items`.
fn pages<T: Serialize + DeserializeOwned>(
    out: &mut impl Write,
    client: &Client,
    path: &str,
    as_json: bool,
    head: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<ExitCode, Failure> {
    let mut after = String::new();
    let mut head = Some(head);
    let mut first = true;
    if as_json {
        write!(out, "{{\"items\":[")?;
    }
    loop {
        let page: Page<T> = client.get(&format!("{path}{after}"))?;
        if as_json {
            for item in &page.items {
                write!(out, "{}{}", if first { "" } else { "," }, json!(item))?;
                first = false;
            }
        } else {
            table(
                out,
                head.take().unwrap_or_default(),
                page.items.iter().map(&row).collect(),
            )?;
        }
        match page.next {
            Some(next) => after = format!("&after={}", escaped(&next)),
            None => break,
        }
    }
    if as_json {
        writeln!(out, "]}}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Seconds as people read them.
pub(crate) fn span(seconds: u64) -> String {
    let (hours, minutes, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{s}s"),
        (0, _) => format!("{minutes}m {s:02}s"),
        (1..48, _) => format!("{hours}h {minutes:02}m"),
        _ => format!("{}d {}h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn a_span_is_shown_in_its_two_largest_units() {
        let shown = [59, 61, 3600, 172_800 + 7200].map(span);
        assert_eq!(shown, ["59s", "1m 01s", "1h 00m", "2d 2h"]);
    }
}
