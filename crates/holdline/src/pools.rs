//! Pools of media servers between the node and the API.

use admin::{
    AgentStatus, MetricFamily, MetricKind, PoolStatus, Refusal, Sample, TargetOrder, TargetStatus,
    TargetVerb, TargetsChanged,
};
use balancer::{AgentLoad, State, Wanted};
use driver::{FarmView, Node, NotSaid, PoolView, Snapshot, TargetView};

use crate::config::{Cluster, Role, Service};
use crate::metrics::Row;

/// The pools as the API tells them; `cluster` is where the names of services are found.
pub(crate) fn status(view: FarmView, cluster: Option<&Cluster>) -> Vec<PoolStatus> {
    let pool = |pool: PoolView| PoolStatus {
        pool: pool.name,
        policy: pool.policy.to_owned(),
        fallback: pool.fallback,
        targets: pool
            .targets
            .into_iter()
            .map(|view| target(view, cluster))
            .collect(),
    };
    view.pools.into_iter().map(pool).collect()
}

fn target(view: TargetView, cluster: Option<&Cluster>) -> TargetStatus {
    let service = cluster.zip(view.address);
    let service = service.and_then(|(cluster, address)| cluster.pbx_at(address));
    let status = view.status;
    let trust_permille = status.trust_permille;
    TargetStatus {
        target: status.name,
        service: service.map(|service| service.name.clone()),
        address: view.address.map(|address| address.to_string()),
        state: status.state.as_str().to_owned(),
        reason: status.reason.to_string(),
        since_ms: status.since_ms,
        calls: status.calls,
        limit: status.limit,
        picks: status.calls_begun,
        failures: view.failures,
        probes: view.probes,
        probe_answers: view.probe_answers,
        probe_rtt_ms: status.probe_rtt_ms,
        weight: status.weight,
        priority: status.priority,
        share_permille: status.share_permille,
        kept_out_ms: status.exiled_ms,
        agent: status.agent.map(|(load, age_ms)| AgentStatus {
            cpu_permille: load.cpu_permille,
            memory_permille: load.memory_permille,
            disk_permille: load.disk_permille,
            calls: load.calls,
            age_ms,
            trust_permille,
        }),
    }
}

/// Has an operator's word carried out.
pub(crate) fn order(
    node: &Node,
    order: &TargetOrder,
    cluster: Option<&Cluster>,
) -> Result<TargetsChanged, Refusal> {
    let wanted = match order.verb {
        TargetVerb::Drain => Wanted::Drained,
        TargetVerb::Disable => Wanted::Disabled,
        TargetVerb::Undrain | TargetVerb::Enable => Wanted::Open,
    };
    let services = cluster.iter().flat_map(|cluster| &cluster.services);
    let mut named = services.filter(|one| one.role == Role::Pbx && one.name == order.target);
    let uri = named.next().map(Service::uri);
    let target = uri.as_ref().unwrap_or(&order.target);
    match node.set_wanted(target, order.pool.as_deref(), wanted) {
        Ok(targets) => {
            let (verb, names) = (order.verb, targets.join(", "));
            tracing::info!(targets = names, %verb, "the operator's word about media servers");
            Ok(TargetsChanged { targets })
        }
        Err(NotSaid::TooMany(error)) => Err(Refusal::Invalid {
            what: error.to_string(),
            want: "take back those that hold no more: undrain, enable".to_owned(),
        }),
        Err(NotSaid::NotOwner) => Err(Refusal::Invalid {
            what: "another node owns the service, and has the word".to_owned(),
            want: "say it to that node: `holdline status` shows the owner".to_owned(),
        }),
        Err(NotSaid::Unknown { known }) => Err(Refusal::Invalid {
            what: match &order.pool {
                None => format!("no pool has a target {}", order.target),
                Some(pool) => format!("no pool {pool} has a target {}", order.target),
            },
            want: match known.is_empty() {
                true => "`holdline status` shows the pools there are".to_owned(),
                false => format!("there are {}", known.join(", ")),
            },
        }),
    }
}

/// Takes in the load of a media server's host.
pub(crate) fn report_load(node: &Node, report: agent::Report) -> Result<(), Refusal> {
    let load = AgentLoad {
        cpu_permille: report.cpu_permille,
        memory_permille: report.memory_permille,
        disk_permille: report.disk_permille,
        calls: report.calls,
    };
    match node.report_load(&report.target, load) {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::NotFound {
            kind: "target",
            name: report.target,
        }),
    }
}

/// What the proxies count about pools.
pub(crate) fn rows(s: &Snapshot) -> [Row; 3] {
    [
        (
            "holdline_calls_moved_on_total",
            "Requests sent to another target of their pool.",
            MetricKind::Counter,
            s.proxy.moved_on as f64,
        ),
        (
            "holdline_pool_shortages_total",
            "Requests that found no target in their pool.",
            MetricKind::Counter,
            s.proxy.pool_shortages as f64,
        ),
        (
            "holdline_calls_hung_up_late_total",
            "Targets that answered after they were given up, and were hung up.",
            MetricKind::Counter,
            s.proxy.hung_up_late as f64,
        ),
    ]
}

/// What is counted of each target.
pub(crate) fn metrics(view: &FarmView) -> Vec<MetricFamily> {
    let family = |name: &'static str,
                  help: &'static str,
                  kind: MetricKind,
                  number: &dyn Fn(&TargetView) -> f64| {
        let samples = view.pools.iter().flat_map(|pool| {
            pool.targets.iter().map(|target| Sample {
                suffix: "",
                labels: labels(pool, target),
                value: number(target),
            })
        });
        MetricFamily {
            name: name.into(),
            help: help.into(),
            kind,
            samples: samples.collect(),
        }
    };
    use MetricKind::{Counter, Gauge};
    vec![
        states(view),
        family(
            "holdline_target_calls",
            "Active calls of a media server, those being set up included.",
            Gauge,
            &|target| f64::from(target.status.calls),
        ),
        family(
            "holdline_target_picks_total",
            "Calls given to a media server.",
            Counter,
            &|target| target.status.calls_begun as f64,
        ),
        family(
            "holdline_target_failures_total",
            "Calls and probes that failed by a media server's fault.",
            Counter,
            &|target| target.failures as f64,
        ),
        family(
            "holdline_target_probes_total",
            "OPTIONS sent to a media server.",
            Counter,
            &|target| target.probes as f64,
        ),
        family(
            "holdline_target_probe_answers_total",
            "Answers to them.",
            Counter,
            &|target| target.probe_answers as f64,
        ),
        family(
            "holdline_target_probe_rtt_seconds",
            "The usual time of such an answer.",
            Gauge,
            &|target| f64::from(target.status.probe_rtt_ms) / 1e3,
        ),
    ]
}

type Label = (
    std::borrow::Cow<'static, str>,
    std::borrow::Cow<'static, str>,
);

fn labels(pool: &PoolView, target: &TargetView) -> Vec<Label> {
    vec![
        ("pool".into(), pool.name.clone().into()),
        ("target".into(), target.status.name.clone().into()),
    ]
}

/// One number for each state that a target can be in, 1 for the one that it is in.
fn states(view: &FarmView) -> MetricFamily {
    let mut samples = Vec::new();
    for pool in &view.pools {
        for target in &pool.targets {
            for state in State::ALL.into_iter().filter(|one| *one != State::Absent) {
                let mut labels = labels(pool, target);
                labels.push(("state".into(), state.as_str().into()));
                samples.push(Sample {
                    suffix: "",
                    labels,
                    value: f64::from(u8::from(target.status.state == state)),
                });
            }
        }
    }
    MetricFamily {
        name: "holdline_target_state".into(),
        help: "Whether a media server stands so: 1 or 0.".into(),
        kind: MetricKind::Gauge,
        samples,
    }
}
