//! `holdline target`: media servers of pools, listed, drained and taken out.

use std::io::Write;
use std::process::ExitCode;

use admin::{AgentStatus, PoolStatus, TargetStatus, TargetVerb, TargetsChanged};
use clap::{Args, Subcommand};
use serde_json::json;

use super::show::span;
use super::{Failure, Output, Target as Node, table, wrapped};
use crate::client::escaped;

/// Arguments of `holdline target`.
#[derive(Debug, Args)]
pub(crate) struct Target {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the pools and their media servers
    List(List),
    /// Give a media server no new calls; those it has go on
    Drain(Order),
    /// Give a drained media server new calls again
    Undrain(Order),
    /// Take a media server out: no calls, no probes; calls that it has not answered go to another
    Disable(Order),
    /// Take a media server back in
    Enable(Order),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    node: Node,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Order {
    /// Its URI as in the configuration (`sip:10.0.0.30:5060`, or without `sip:`)
    name: String,
    /// Only where it is a target of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    #[command(flatten)]
    node: Node,
    #[command(flatten)]
    output: Output,
}

impl Target {
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        match &self.verb {
            Verb::List(list) => list.run(out),
            Verb::Drain(order) => order.run(TargetVerb::Drain, out),
            Verb::Undrain(order) => order.run(TargetVerb::Undrain, out),
            Verb::Disable(order) => order.run(TargetVerb::Disable, out),
            Verb::Enable(order) => order.run(TargetVerb::Enable, out),
        }
    }
}

impl List {
    fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let pools: Vec<PoolStatus> = self.node.client()?.get("/api/pools")?;
        if self.output.json {
            writeln!(out, "{}", json!(pools))?;
        } else if pools.is_empty() {
            writeln!(
                out,
                "no pools; [[edge.pool]] in the configuration makes one"
            )?;
        } else {
            print(&pools, out)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Order {
    fn run(&self, verb: TargetVerb, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let pool = self.pool.as_ref();
        let only = pool.map_or(String::new(), |pool| format!("?pool={}", escaped(pool)));
        let path = format!("/api/targets/{}/{verb}{only}", escaped(&self.name));
        let changed: TargetsChanged = self.node.client()?.post(&path, &json!({}))?;
        if self.output.json {
            writeln!(out, "{}", json!(changed))?;
        } else {
            let did = match verb {
                TargetVerb::Drain => "gets no new calls",
                TargetVerb::Undrain => "gets new calls again",
                TargetVerb::Disable => "is taken out",
                TargetVerb::Enable => "is taken back in",
            };
            for target in &changed.targets {
                writeln!(out, "{target} {did}")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The pools, each with its media servers below it.
pub(crate) fn print(pools: &[PoolStatus], out: &mut impl Write) -> std::io::Result<()> {
    for (index, pool) in pools.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let fallback = pool.fallback.as_ref();
        let fallback = fallback.map_or(String::new(), |name| format!(", then {name}"));
        writeln!(out, "pool {} ({}{fallback})", pool.pool, pool.policy)?;
        let head = [
            "TARGET", "STATE", "FOR", "CALLS", "PICKS", "FAILED", "PROBE",
        ];
        table(out, &head, pool.targets.iter().map(row).collect())?;
        let by_load = pool.policy == "load";
        for target in &pool.targets {
            let text = format!("  {}: {}", name(target), why(target, by_load));
            writeln!(out, "{}", wrapped(&text, 4))?;
        }
    }
    Ok(())
}

/// `cpu 42 % mem 31 % 12 calls, 0s ago`; where the pool goes by load, how far that is believed if not wholly.
fn load(agent: &AgentStatus, by_load: bool) -> String {
    let figures = [
        ("cpu", agent.cpu_permille),
        ("mem", agent.memory_permille),
        ("disk", agent.disk_permille),
    ];
    let figures = figures.into_iter();
    let mut told: Vec<String> = figures
        .filter_map(|(what, permille)| Some(format!("{what} {} %", permille? / 10)))
        .collect();
    told.extend(agent.calls.map(|calls| format!("{calls} calls")));
    let trust = match agent.trust_permille {
        permille if permille >= 1_000 || !by_load => String::new(),
        permille => format!(", trust {} %", permille / 10),
    };
    let age = span(agent.age_ms / 1_000);
    format!("{}, {age} ago{trust}", told.join(" "))
}

/// What people know it by.
pub(crate) fn name(target: &TargetStatus) -> &str {
    target.service.as_deref().unwrap_or(&target.target)
}

/// Why it stands as it does, and what its agent says.
fn why(target: &TargetStatus, by_load: bool) -> String {
    let mut why = target.reason.clone();
    if target.address.is_none() {
        why.push_str("; its name leads nowhere");
    }
    if target.kept_out_ms > 0 {
        let seconds = target.kept_out_ms.div_ceil(1_000);
        why.push_str(&format!("; kept out for {}", span(seconds)));
    }
    if let Some(agent) = &target.agent {
        why.push_str(&format!("; load {}", load(agent, by_load)));
    }
    why
}

fn row(target: &TargetStatus) -> Vec<String> {
    let limit = target.limit;
    let state = match target.state.as_str() {
        "warming" => format!("warming ({} %)", target.share_permille / 10),
        state => state.to_owned(),
    };
    vec![
        name(target).to_owned(),
        state,
        span(target.since_ms / 1_000),
        limit.map_or_else(
            || target.calls.to_string(),
            |limit| format!("{} of {limit}", target.calls),
        ),
        target.picks.to_string(),
        target.failures.to_string(),
        format!("{} ms", target.probe_rtt_ms),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_has_its_age_and_how_far_it_is_believed() {
        let agent = AgentStatus {
            cpu_permille: Some(425),
            memory_permille: None,
            disk_permille: Some(3),
            calls: Some(12),
            age_ms: 12_900,
            trust_permille: 630,
        };
        assert_eq!(
            load(&agent, true),
            "cpu 42 % disk 0 % 12 calls, 12s ago, trust 63 %"
        );
        assert_eq!(load(&agent, false), "cpu 42 % disk 0 % 12 calls, 12s ago");
        let fresh = AgentStatus {
            trust_permille: 1_000,
            ..agent
        };
        assert!(load(&fresh, true).ends_with(" ago"));
    }

    #[test]
    fn a_pool_is_a_table_with_states_and_reasons() {
        let target = TargetStatus {
            target: "sip:10.0.0.30:5060".into(),
            service: None,
            address: Some("10.0.0.30:5060".into()),
            state: "out".into(),
            reason: "no reply, 3 times in a row".into(),
            since_ms: 61_000,
            calls: 2,
            limit: Some(500),
            picks: 40,
            failures: 1,
            probes: 100,
            probe_answers: 97,
            probe_rtt_ms: 1,
            weight: 1,
            priority: (0, 0),
            share_permille: 1_000,
            kept_out_ms: 1_500,
            agent: None,
        };
        let pool = PoolStatus {
            pool: "pbx".into(),
            policy: "least-calls".into(),
            fallback: Some("voicemail".into()),
            targets: vec![target],
        };
        let mut out = Vec::new();
        print(&[pool], &mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("pool pbx (least-calls, then voicemail)\nTARGET"));
        assert!(text.contains("2 of 500"), "{text}");
        assert!(text.contains("in a row; kept out for 2"), "{text}");
    }
}
