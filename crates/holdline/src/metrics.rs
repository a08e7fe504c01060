//! What the driver, its streams, the store and the process count, as
//! Prometheus metrics.

use admin::{MetricFamily, MetricKind, Sample};
use driver::{Node, Snapshot};
use store::StoreHealth;

use crate::media;
use crate::pools;
use crate::sources;
use MetricKind::{Counter, Gauge};

/// A row: name, help, kind, number.
pub(crate) type Row = (&'static str, &'static str, MetricKind, f64);

/// What the node counts.
pub(crate) fn of_node(node: &Node) -> Vec<MetricFamily> {
    let snapshot = node.snapshot(0);
    let mut families = singles(&of_messages(&snapshot));
    families.extend(singles(&of_calls(&snapshot)));
    families.extend(singles(&of_call_media(&snapshot)));
    families.extend(singles(&pools::rows(&snapshot)));
    families.extend(singles(&sources::rows(&snapshot)));
    families.extend(pools::metrics(&node.farm()));
    families.extend(singles(&of_streams(node)));
    let sides = [
        ("server", snapshot.server_transactions),
        ("client", snapshot.client_transactions),
    ];
    families.push(labelled(
        ("holdline_transactions", "Transactions in progress.", Gauge),
        "side",
        sides,
    ));
    families.push(labelled(
        (
            "holdline_refused_total",
            "Messages dropped or refused, by reason.",
            Counter,
        ),
        "reason",
        snapshot.counted,
    ));
    families.extend(media::metrics(&snapshot.relay));
    if let Some(view) = node.cluster() {
        families.extend(crate::cluster::metrics(&view));
    }
    families
}

fn of_messages(s: &Snapshot) -> [Row; 12] {
    [
        (
            "holdline_messages_received_total",
            "SIP messages received.",
            Counter,
            s.received as f64,
        ),
        (
            "holdline_messages_sent_total",
            "SIP messages sent.",
            Counter,
            s.sent as f64,
        ),
        (
            "holdline_keep_alives_total",
            "CRLF keep-alives received.",
            Counter,
            s.keep_alives as f64,
        ),
        (
            "holdline_stun_requests_total",
            "STUN requests received.",
            Counter,
            s.stun as f64,
        ),
        (
            "holdline_datagrams_truncated_total",
            "Datagrams longer than can be.",
            Counter,
            s.truncated as f64,
        ),
        (
            "holdline_send_failures_total",
            "Messages that could not be sent.",
            Counter,
            s.send_failures as f64,
        ),
        (
            "holdline_send_drops_total",
            "Messages dropped: the kernel took no more.",
            Counter,
            s.send_drops as f64,
        ),
        (
            "holdline_kernel_drops_total",
            "Datagrams the kernel dropped before us.",
            Counter,
            s.kernel_drops as f64,
        ),
        (
            "holdline_inbox_overflows_total",
            "Messages dropped: a worker had too many.",
            Counter,
            s.inbox_overflows as f64,
        ),
        (
            "holdline_turns_total",
            "Rounds of the workers' loops.",
            Counter,
            s.turns as f64,
        ),
        (
            "holdline_requests_forwarded_total",
            "Requests forwarded.",
            Counter,
            s.proxy.forwarded as f64,
        ),
        (
            "holdline_responses_forwarded_total",
            "Responses forwarded.",
            Counter,
            s.proxy.responses as f64,
        ),
    ]
}

fn of_calls(s: &Snapshot) -> [Row; 12] {
    [
        (
            "holdline_stray_responses_total",
            "Responses that belong to nothing.",
            Counter,
            s.proxy.strays as f64,
        ),
        (
            "holdline_calls_started_total",
            "Calls begun.",
            Counter,
            s.proxy.calls_started as f64,
        ),
        (
            "holdline_calls_answered_total",
            "Calls answered.",
            Counter,
            s.proxy.calls_answered as f64,
        ),
        (
            "holdline_calls_failed_total",
            "Calls that were not answered.",
            Counter,
            s.proxy.calls_failed as f64,
        ),
        (
            "holdline_calls_ended_total",
            "Answered calls that ended.",
            Counter,
            s.proxy.calls_ended as f64,
        ),
        (
            "holdline_branch_timeouts_total",
            "Branches that did not answer in time.",
            Counter,
            s.proxy.timeouts as f64,
        ),
        (
            "holdline_branches_cancelled_total",
            "Branches cancelled.",
            Counter,
            s.proxy.cancelled as f64,
        ),
        (
            "holdline_calls",
            "Calls in progress.",
            Gauge,
            s.calls as f64,
        ),
        ("holdline_users", "Users known.", Gauge, s.users as f64),
        (
            "holdline_registered_users",
            "Users with a binding.",
            Gauge,
            s.aors as f64,
        ),
        (
            "holdline_bindings",
            "Bindings in force.",
            Gauge,
            s.bindings as f64,
        ),
        (
            "holdline_silent_workers",
            "Workers that did not answer in time.",
            Gauge,
            s.silent_workers as f64,
        ),
    ]
}

fn of_call_media(s: &Snapshot) -> [Row; 2] {
    [
        (
            "holdline_calls_silent_total",
            "Answered calls that ended: nobody was heard.",
            Counter,
            s.proxy.calls_silent as f64,
        ),
        (
            "holdline_descriptions_refused_total",
            "Session descriptions taken out of responses.",
            Counter,
            s.proxy.descriptions_refused as f64,
        ),
    ]
}

fn of_streams(node: &Node) -> [Row; 7] {
    let now = node.stream_counters();
    let (opened, unframed) = node.stream_totals();
    [
        (
            "holdline_tcp_connections",
            "TCP connections open.",
            Gauge,
            now.connections as f64,
        ),
        (
            "holdline_tcp_connections_opened_total",
            "TCP connections opened.",
            Counter,
            opened as f64,
        ),
        (
            "holdline_tcp_framing_errors_total",
            "TCP connections closed: no SIP.",
            Counter,
            unframed as f64,
        ),
        (
            "holdline_tcp_refused_total",
            "TCP connections turned away: too many.",
            Counter,
            now.refused_total as f64,
        ),
        (
            "holdline_tcp_refused_source_total",
            "TCP connections turned away: too many of one source.",
            Counter,
            now.refused_source as f64,
        ),
        (
            "holdline_tcp_accept_failures_total",
            "Failures of accept.",
            Counter,
            now.accept_failures as f64,
        ),
        (
            "holdline_tcp_queue_overflows_total",
            "TCP connections closed: queue full.",
            Counter,
            now.queue_overflows as f64,
        ),
    ]
}

/// How the store is doing.
pub(crate) fn of_store(health: &StoreHealth) -> Vec<MetricFamily> {
    singles(&[
        (
            "holdline_store_up",
            "Whether the database answers: 1 or 0.",
            Gauge,
            f64::from(u8::from(health.up)),
        ),
        (
            "holdline_store_queued",
            "Changes queued or being written.",
            Gauge,
            health.queued as f64,
        ),
        (
            "holdline_store_deferred",
            "Refreshes waiting to be written.",
            Gauge,
            health.deferred as f64,
        ),
        (
            "holdline_store_commits_total",
            "Groups committed.",
            Counter,
            health.commits as f64,
        ),
        (
            "holdline_store_rows_total",
            "Rows written by them.",
            Counter,
            health.rows as f64,
        ),
        (
            "holdline_store_last_commit_seconds",
            "How long the last commit took.",
            Gauge,
            health.last_commit_us as f64 / 1e6,
        ),
        (
            "holdline_store_rejected_total",
            "Changes turned away: queue full.",
            Counter,
            health.rejected as f64,
        ),
        (
            "holdline_store_failed_total",
            "Changes not known to be durable.",
            Counter,
            health.failed as f64,
        ),
        (
            "holdline_store_deferred_dropped_total",
            "Refreshes given up.",
            Counter,
            health.deferred_dropped as f64,
        ),
        (
            "holdline_store_connects_total",
            "Connections of the writer.",
            Counter,
            health.connects as f64,
        ),
    ])
}

/// What the system says of this process; nothing where it says nothing.
pub(crate) fn of_process() -> Vec<MetricFamily> {
    let mut rows: Vec<Row> = Vec::new();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().split(' ').next()?.parse::<u64>().ok());
    if let Some(kib) = kib {
        let help = "Resident memory, in bytes.";
        rows.push((
            "process_resident_memory_bytes",
            help,
            Gauge,
            (kib * 1024) as f64,
        ));
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(seconds) = cpu_seconds(&stat) {
        let help = "Processor time, user and system, in seconds.";
        rows.push(("process_cpu_seconds_total", help, Counter, seconds));
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        let help = "Open file descriptors.";
        rows.push(("process_open_fds", help, Gauge, descriptors.count() as f64));
    }
    let help = "Lines of the log that were lost, because nobody read standard error in time.";
    let lost = crate::logging::lines_lost() as f64;
    rows.push(("holdline_log_lines_lost_total", help, Counter, lost));
    singles(&rows)
}

/// User and system time from `/proc/self/stat`; Linux counts them in
/// hundredths of a second towards programs on every machine.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

pub(crate) fn singles(rows: &[Row]) -> Vec<MetricFamily> {
    rows.iter()
        .map(|&(name, help, kind, value)| MetricFamily::single(name, help, kind, value))
        .collect()
}

pub(crate) fn labelled(
    (name, help, kind): (&'static str, &'static str, MetricKind),
    label: &'static str,
    values: impl IntoIterator<Item = (&'static str, u64)>,
) -> MetricFamily {
    let samples = values.into_iter().map(|(value, count)| Sample {
        suffix: "",
        labels: vec![(label.into(), value.into())],
        value: count as f64,
    });
    MetricFamily {
        name: name.into(),
        help: help.into(),
        kind,
        samples: samples.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "1 (a) b) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds(""), None);
        assert!(!of_process().is_empty());
    }
}
