//! `holdline status`: how a node stands, what is to be looked at first.

use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use admin::{ClusterStatus, PbxStatus, RelayStatus, State, Status as NodeStatus, TargetStatus};
use clap::Args;
use serde_json::json;

use super::show::{counts, span};
use super::{EXIT_FAILED, Failure, Output, Target, wrapped};

/// Before the end of a certificate it is told of.
const EXPIRY_S: u64 = 30 * 86_400;
/// A silence of an owner that is told of: ten of the default leases.
const SILENT_MS: u64 = 5_000;
/// Between the names of facts and what is said of them.
const GAP: usize = 2;

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
        if self.output.json {
            writeln!(out, "{}", json!(status))?;
        } else {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            print(
                &status,
                since.map_or(0, |since| since.as_millis() as u64),
                out,
            )?;
        }
        Ok(match status.state {
            State::Ready => ExitCode::SUCCESS,
            _ => ExitCode::from(EXIT_FAILED),
        })
    }
}

/// All of it; `now_ms` is since 1970.
fn print(status: &NodeStatus, now_ms: u64, out: &mut impl Write) -> std::io::Result<()> {
    let mut facts = node_facts(status);
    let concerns = concerns(status, now_ms / 1_000);
    let none = || vec!["nothing".to_owned()];
    let to_look_at = if concerns.is_empty() {
        none()
    } else {
        concerns
    };
    facts.splice(2..2, to_look_at.into_iter().map(|what| ("look at", what)));
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + GAP;
    let mut last = "";
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let shown = if *name == last { "" } else { *name };
        writeln!(out, "{}", wrapped(&format!("{shown:width$}{value}"), width))?;
        last = *name;
    }
    if !status.pbxs.is_empty() {
        writeln!(out)?;
    }
    for pbx in &status.pbxs {
        writeln!(out, "{}", pbx_lines(pbx, status.cluster.as_ref()))?;
    }
    if let Some(cluster) = &status.cluster {
        writeln!(out)?;
        super::cluster::print(cluster, &status.node, now_ms, out)?;
    }
    if !status.pools.is_empty() {
        writeln!(out)?;
        super::target::print(&status.pools, out)?;
    }
    Ok(())
}

/// The node by itself. The first two are its name and its state.
fn node_facts(status: &NodeStatus) -> Vec<(&'static str, String)> {
    let state = json!(status.state);
    let state = state.as_str().unwrap_or_default();
    let reason = status.reason.as_ref();
    let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
    let mut facts = vec![
        (
            "node",
            format!("{} (holdline {})", status.node, status.version),
        ),
        ("state", format!("{state}{reason}")),
        ("up for", span(status.uptime_s)),
        ("listening on", status.listeners.join(", ")),
        ("domains", status.domains.join(", ")),
        ("store", status.store.clone()),
        ("users", status.users.to_string()),
    ];
    // A node that is a PBX alone has no phones of its own.
    if !status.listeners.is_empty() || status.pbxs.is_empty() {
        facts.extend([
            ("bindings", status.bindings.to_string()),
            ("calls", status.calls.to_string()),
            ("transactions", status.transactions.to_string()),
        ]);
    }
    facts.extend(status.relay.iter().flat_map(relay_facts));
    facts
}

/// The relay in words.
fn relay_facts(relay: &RelayStatus) -> Vec<(&'static str, String)> {
    let media = format!("{} calls, {} relay threads", relay.sessions, relay.threads);
    let ports = format!(
        "{} pairs in use, {} free",
        relay.ports_in_use, relay.ports_free
    );
    let packets = format!(
        "{}/s, {} in all ({} bytes)",
        relay.packets_per_s, relay.packets, relay.bytes
    );
    vec![
        ("media", media),
        ("media ports", ports),
        ("media packets", packets),
        ("media dropped", counts(&relay.dropped)),
    ]
}

/// One PBX in words.
fn pbx_lines(pbx: &PbxStatus, cluster: Option<&ClusterStatus>) -> String {
    let mut services = cluster.iter().flat_map(|cluster| &cluster.services);
    let service = services.find(|service| service.name == pbx.name);
    let part = match service {
        Some(service) if service.authority_left_ms.is_none() => {
            let owner = service.owner.as_deref().unwrap_or("nobody");
            format!(" (its owner is {owner})")
        }
        Some(_) => " (owned here)".to_owned(),
        None => String::new(),
    };
    let now = format!(
        "pbx {} at {}{part}: {} legs, {} subscriptions, {} of {} pairs of ports in use",
        pbx.name,
        pbx.listener,
        pbx.legs,
        pbx.subscriptions,
        pbx.ports_in_use,
        pbx.ports_in_use + pbx.ports_free
    );
    let counted = format!(
        "  since the start: {} calls in, {} out, {} refused; {} packets in, {} out, {} late by a frame or more",
        pbx.incoming,
        pbx.outgoing,
        pbx.refused,
        pbx.packets_received,
        pbx.packets_sent,
        pbx.packets_late
    );
    format!("{}\n{}", wrapped(&now, 2), wrapped(&counted, 2))
}

/// What is not as it should be, the worst first: what an operator looks for.
fn concerns(status: &NodeStatus, now_s: u64) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(cluster) = &status.cluster {
        found.extend(cluster_concerns(cluster, &status.node, now_s));
    }
    for pool in &status.pools {
        let is_well = |target: &&TargetStatus| matches!(target.state.as_str(), "up" | "warming");
        for target in pool.targets.iter().filter(|target| !is_well(target)) {
            let name = super::target::name(target);
            let (state, reason) = (&target.state, &target.reason);
            found.push(format!("pool {}: {name} is {state}: {reason}", pool.pool));
        }
    }
    let silent = status
        .relay
        .as_ref()
        .map_or(0, |relay| relay.silent_threads);
    if silent > 0 {
        found.push(format!("{silent} of the relay threads do not answer"));
    }
    for pbx in &status.pbxs {
        for (count, what) in [
            (
                pbx.recordings_lost,
                "recordings or voice messages were not saved whole",
            ),
            (
                pbx.hand_overs_given_up,
                "voice messages were taken by nobody in time",
            ),
        ] {
            if count > 0 {
                found.push(format!("pbx {}: {count} {what}; see the log", pbx.name));
            }
        }
    }
    found
}

fn cluster_concerns(cluster: &ClusterStatus, node: &str, now_s: u64) -> Vec<String> {
    let mut found = Vec::new();
    for service in &cluster.services {
        let name = &service.name;
        let is_out = |member: &&String| !service.in_sync.contains(member);
        let out: Vec<&str> = service
            .members
            .iter()
            .filter(is_out)
            .map(String::as_str)
            .collect();
        match &service.owner {
            None => found.push(format!("{name}: nobody owns it")),
            // The record outlives who it names.
            Some(owner) if owner == node && service.phase == "member" => {
                found.push(format!("{name}: nobody serves it: {node} had it last"));
            }
            Some(owner) if service.phase == "member" && service.owner_silent_ms > SILENT_MS => {
                let silent = span(service.owner_silent_ms / 1_000);
                found.push(format!(
                    "{name}: its owner {owner} was not heard for {silent}"
                ));
            }
            Some(owner) if !out.is_empty() => found.push(format!(
                "{name}: {} not in sync: if {owner} fails, calls are lost",
                match out.as_slice() {
                    [one] => format!("{one} is"),
                    more => format!("{} are", more.join(", ")),
                }
            )),
            Some(_) => {}
        }
    }
    if !cluster.coordinator_answers {
        let what = "the coordinator does not answer: services stay where they are; restart no node until it does";
        found.push(what.to_owned());
    }
    for link in cluster.links.iter().filter(|link| !link.up) {
        let reason = link.reason.as_deref().unwrap_or("it is not reached");
        found.push(format!(
            "no link to {} ({}): {reason}",
            link.node, link.address
        ));
    }
    if cluster.has_left {
        found.push(format!(
            "{node} has left its services to others, until `holdline join`"
        ));
    }
    for (what, ends_s) in [
        ("this node's certificate", cluster.certificate_ends_s),
        (
            "the cluster authority's certificate",
            cluster.authority_ends_s,
        ),
    ] {
        // A node of an earlier version does not tell.
        if ends_s > 0 && ends_s < now_s + EXPIRY_S {
            let left = span(ends_s.saturating_sub(now_s));
            found.push(format!("{what} ends in {left}: `holdline certs renew`"));
        }
    }
    found
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
