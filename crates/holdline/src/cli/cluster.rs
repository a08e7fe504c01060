//! `holdline switchover`, `leave` and `join`: services and who has them. What `status` shows of them.

use std::io::Write;
use std::process::ExitCode;

use admin::{ClusterStatus, ServiceStatus};
use clap::Args;
use serde_json::json;

use super::{Failure, Output, Target, table};
use crate::client::escaped;

/// Arguments of `holdline switchover`.
#[derive(Debug, Args)]
pub(crate) struct Switchover {
    /// The service
    service: String,
    /// The node that is to have it [default: the most preferred one that is in sync]
    node: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Switchover {
    /// Has the owner hand a service over; it answers before it has.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let node = self.node.as_deref().map(escaped);
        let node = node.map_or_else(String::new, |node| format!("?node={node}"));
        let service = escaped(&self.service);
        let path = format!("/api/services/{service}/switchover{node}");
        self.target
            .client()?
            .post::<serde_json::Value>(&path, &json!({}))?;
        if self.output.json {
            writeln!(out, "{}", json!({ "ok": true }))?;
        } else {
            writeln!(out, "{} is being handed over", self.service)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `holdline leave` and `holdline join`.
#[derive(Debug, Args)]
pub(crate) struct Part {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
}

impl Part {
    /// Has a node leave its services to others, or take part again.
    pub(crate) fn run(&self, leaves: bool, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let path = if leaves {
            "/api/cluster/leave"
        } else {
            "/api/cluster/join"
        };
        self.target
            .client()?
            .post::<serde_json::Value>(path, &json!({}))?;
        if self.output.json {
            writeln!(out, "{}", json!({ "ok": true }))?;
        } else if leaves {
            writeln!(
                out,
                "the node hands its services over, and claims none until it joins"
            )?;
        } else {
            writeln!(out, "the node takes part")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints what a node says of its cluster.
pub(super) fn print(cluster: &ClusterStatus, out: &mut impl Write) -> Result<(), Failure> {
    let coordinator = match cluster.coordinator_answers {
        true => "answers",
        false => "does not answer",
    };
    writeln!(
        out,
        "cluster {}: the coordinator {coordinator}",
        cluster.name
    )?;
    for link in &cluster.links {
        let state = match (link.up, &link.reason) {
            (true, _) => "linked".to_owned(),
            (false, Some(reason)) => format!("not linked: {reason}"),
            (false, None) => "not linked".to_owned(),
        };
        writeln!(out, "  {} ({}): {state}", link.node, link.address)?;
    }
    let head = [
        "SERVICE",
        "OWNER",
        "THIS NODE",
        "EPOCH",
        "IN SYNC",
        "RECORDS",
        "LAG",
        "COMMIT",
        "LEASE",
    ];
    table(out, &head, cluster.services.iter().map(row).collect())?;
    for service in &cluster.services {
        if let Some(takeover) = &service.last_takeover {
            let away = takeover.away_ms.map_or_else(String::new, |ms| {
                format!(", {ms} ms after the owner was last heard")
            });
            writeln!(
                out,
                "  {}: taken with epoch {}: {}{away}",
                service.name, takeover.epoch, takeover.cause
            )?;
        }
    }
    Ok(())
}

fn row(service: &ServiceStatus) -> Vec<String> {
    let whole = if service.whole { "" } else { " (not whole)" };
    let is_owner = service.authority_left_ms.is_some();
    let of_owner = |text: String| if is_owner { text } else { "-".to_owned() };
    vec![
        service.name.clone(),
        service.owner.clone().unwrap_or_else(|| "nobody".to_owned()),
        service.phase.clone(),
        service.epoch.to_string(),
        service.in_sync.join(", "),
        format!("{}{whole}", service.records),
        of_owner(format!("{} batches", service.lag_batches)),
        of_owner(format!("{} µs", service.commit_us)),
        service.lease_kept_by.clone(),
    ]
}
