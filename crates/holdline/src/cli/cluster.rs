//! `holdline switchover`, `leave` and `join`: services and who has them. What `status` shows of them.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use admin::{ClusterStatus, ServiceStatus, Status, Takeover};
use clap::Args;
use serde_json::json;

use super::show::span;
use super::{EXIT_FAILED, Failure, Output, Target, table, wrapped};
use crate::client::{Client, escaped};

/// How long a service may take to be another node's.
const MOVE_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it is.
const MOVE_LOOK: Duration = Duration::from_millis(50);

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
    /// Has the owner hand a service over, and waits until it has.
    pub(crate) fn run(&self, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let client = self.target.client()?;
        let node = self.node.as_deref().map(escaped);
        let node = node.map_or_else(String::new, |node| format!("?node={node}"));
        let path = format!("/api/services/{}/switchover{node}", escaped(&self.service));
        client.post::<serde_json::Value>(&path, &json!({}))?;
        let moved = Moved::wait(&client, |service| service.name == self.service)?;
        moved.tell(self.output.json, out)
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
    /// Has a node leave its services to others, and waits until it has; or take part again.
    pub(crate) fn run(&self, leaves: bool, out: &mut impl Write) -> Result<ExitCode, Failure> {
        let client = self.target.client()?;
        if leaves {
            client.post::<serde_json::Value>("/api/cluster/leave", &json!({}))?;
            let moved = Moved::wait(&client, |_| true)?;
            let code = moved.tell(self.output.json, out)?;
            if !self.output.json && moved.stay.is_empty() {
                let what = "the node has no service now and claims none until `holdline join`, or until it is started again: it can be stopped";
                writeln!(out, "{}", wrapped(what, 0))?;
            }
            return Ok(code);
        }
        client.post::<serde_json::Value>("/api/cluster/join", &json!({}))?;
        if self.output.json {
            writeln!(out, "{}", json!({ "ok": true }))?;
        } else {
            writeln!(out, "the node takes part")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What became of services that a node was to hand over.
#[derive(Debug, Default)]
struct Moved {
    /// Those that another node has now.
    gone: Vec<ServiceStatus>,
    /// Those that are this node's still.
    stay: Vec<ServiceStatus>,
}

impl Moved {
    /// Looks until none of the services stays here and each has an owner, or that has taken too long.
    fn wait(client: &Client, which: impl Fn(&ServiceStatus) -> bool) -> Result<Moved, Failure> {
        let begun = Instant::now();
        loop {
            let status: Status = client.get("/api/status")?;
            let node = status.node;
            let services = status.cluster.into_iter();
            let services = services.flat_map(|cluster| cluster.services).filter(&which);
            let is_here = |service: &ServiceStatus| match service.owner.as_deref() {
                Some(owner) => owner == node || service.phase != "member",
                None => service.members.contains(&node),
            };
            let (stay, gone): (Vec<_>, Vec<_>) = services.partition(is_here);
            if stay.is_empty() || begun.elapsed() > MOVE_PATIENCE {
                return Ok(Moved { gone, stay });
            }
            std::thread::sleep(MOVE_LOOK);
        }
    }

    /// Says it; fails when one stays.
    fn tell(&self, as_json: bool, out: &mut impl Write) -> Result<ExitCode, Failure> {
        if as_json {
            let owners = self.gone.iter().chain(&self.stay);
            let owners: serde_json::Map<_, _> = owners
                .map(|service| (service.name.clone(), json!(service.owner)))
                .collect();
            writeln!(
                out,
                "{}",
                json!({ "ok": self.stay.is_empty(), "owners": owners })
            )?;
        } else {
            for service in &self.gone {
                let owner = service.owner.as_deref().unwrap_or("nobody");
                writeln!(
                    out,
                    "{} is {owner}'s (epoch {})",
                    service.name, service.epoch
                )?;
            }
            for service in &self.stay {
                writeln!(out, "{}", wrapped(&why_it_stays(service), 2))?;
            }
        }
        Ok(match self.stay.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(EXIT_FAILED),
        })
    }
}

fn why_it_stays(service: &ServiceStatus) -> String {
    let name = &service.name;
    match (&service.owner, service.in_sync.len()) {
        (None, _) => format!("{name}: nobody owns it yet; see `holdline status` and the log"),
        (Some(owner), 0..=1) => format!(
            "{name} stays at {owner}: no other member is in sync; stopped now, it would lose its calls; `holdline status` shows what \
             keeps the others away"
        ),
        (Some(owner), _) => format!(
            "{name} is at {owner} still: no other member takes it (one that has left does not until `holdline join` there); the log says more"
        ),
    }
}

/// Prints what `node` says of its cluster; `now_ms` is since 1970.
pub(super) fn print(
    cluster: &ClusterStatus,
    node: &str,
    now_ms: u64,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let coordinator = match cluster.coordinator_answers {
        true => "answers",
        false => "does not answer",
    };
    let links = cluster.links.iter().filter(|link| link.up);
    let links: Vec<&str> = links.map(|link| link.node.as_str()).collect();
    let linked = match links.as_slice() {
        [] => "linked to nobody".to_owned(),
        links => format!("linked to {}", links.join(", ")),
    };
    let first = format!(
        "cluster {}: the coordinator {coordinator}; {linked}",
        cluster.name
    );
    writeln!(out, "{}", wrapped(&first, 2))?;
    let head = [
        "SERVICE", "OWNER", "EPOCH", "IN SYNC", "RECORDS", "LAG", "COMMIT",
    ];
    let rows = cluster.services.iter().map(|service| row(service, node));
    table(out, &head, rows.collect())?;
    for service in &cluster.services {
        let text = format!("  {}: {}", service.name, history(service, now_ms));
        writeln!(out, "{}", wrapped(&text, 4))?;
    }
    Ok(())
}

fn row(service: &ServiceStatus, node: &str) -> Vec<String> {
    let is_owner = service.authority_left_ms.is_some();
    let of_owner = |text: String| if is_owner { text } else { "-".to_owned() };
    let owner = service.owner.as_deref().unwrap_or("nobody");
    let here = match service.phase.as_str() {
        "member" => String::new(),
        "owner" => " (here)".to_owned(),
        // On its way, to this node or from it.
        phase => format!(" ({node} {phase})"),
    };
    let whole = if service.whole { "" } else { " (not whole)" };
    vec![
        service.name.clone(),
        format!("{owner}{here}"),
        service.epoch.to_string(),
        service.in_sync.join(" "),
        format!("{}{whole}", service.records),
        of_owner(service.lag_batches.to_string()),
        of_owner(format!("{} µs", service.commit_us)),
    ]
}

/// How a service got its owner, as far as this node knows, and what holds an owner here to its time.
fn history(service: &ServiceStatus, now_ms: u64) -> String {
    let current = |takeover: &&Takeover| takeover.epoch == service.epoch;
    let owner = service.owner.as_deref().unwrap_or("nobody");
    let lease = match service.authority_left_ms {
        Some(_) => format!("; lease kept by the {}", service.lease_kept_by),
        None => String::new(),
    };
    let Some(takeover) = service.last_takeover.as_ref().filter(current) else {
        let seen = "was taken before this node looked";
        return format!("epoch {} of {owner} {seen}{lease}", service.epoch);
    };
    let ago = span(now_ms.saturating_sub(takeover.at_ms) / 1_000);
    let at_s = takeover.at_ms / 1_000;
    let (hour, minute, second) = (at_s / 3_600 % 24, at_s / 60 % 60, at_s % 60);
    let away = takeover.away_ms.map_or_else(String::new, |ms| {
        format!(", {ms} ms after the one before was last heard")
    });
    format!(
        "taken by {owner} {ago} ago, at {hour:02}:{minute:02}:{second:02} UTC{away}: {}{lease}",
        takeover.cause
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(owner: Option<&str>, in_sync: &[&str]) -> ServiceStatus {
        ServiceStatus {
            name: "edge".to_owned(),
            owner: owner.map(str::to_owned),
            in_sync: in_sync.iter().map(|name| (*name).to_owned()).collect(),
            epoch: 3,
            ..ServiceStatus::default()
        }
    }

    fn told(moved: &Moved, as_json: bool) -> String {
        let mut out = Vec::new();
        moved.tell(as_json, &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_service_that_moved_is_told_with_its_owner_and_epoch() {
        let moved = Moved {
            gone: vec![service(Some("edge2"), &["edge1", "edge2"])],
            stay: Vec::new(),
        };
        assert_eq!(told(&moved, false), "edge is edge2's (epoch 3)\n");
        assert_eq!(
            told(&moved, true),
            "{\"ok\":true,\"owners\":{\"edge\":\"edge2\"}}\n"
        );
    }

    #[test]
    fn a_service_that_nobody_can_take_is_told_with_what_that_means() {
        let moved = Moved {
            gone: Vec::new(),
            stay: vec![service(Some("edge1"), &["edge1"])],
        };
        let text = told(&moved, false);
        assert!(text.contains("no other member is in sync"), "{text}");
        assert!(told(&moved, true).contains("\"ok\":false"));
    }
}
