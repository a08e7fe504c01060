//! What the relay of media says, as the admin API and Prometheus have it.

use admin::{MediaLeg, MetricFamily, MetricKind, Party, RelayStatus, Sample};
use driver::{MOS_BOUNDS, RelaySnapshot};
use relay::{LegReport, Report};

use crate::metrics::{Row, labelled, singles};
use crate::private::Private;

use MetricKind::{Counter, Gauge};

/// The relay in short; none where there is none.
pub(crate) fn status(snapshot: &RelaySnapshot) -> Option<RelayStatus> {
    let dropped = dropped(snapshot).filter(|(_, count)| *count > 0);
    (snapshot.threads > 0).then(|| RelayStatus {
        threads: snapshot.threads,
        silent_threads: snapshot.silent_threads,
        sessions: snapshot.sessions,
        ports_in_use: snapshot.ports_in_use,
        ports_free: snapshot.ports_free,
        packets_per_s: snapshot.packets_per_s,
        packets: snapshot.totals.packets,
        bytes: snapshot.totals.bytes,
        dropped: dropped
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect(),
    })
}

/// Everything that was received and not sent on, by reason.
fn dropped(snapshot: &RelaySnapshot) -> impl Iterator<Item = (&'static str, u64)> {
    let unsent = [
        ("congested", snapshot.congested),
        ("unsendable", snapshot.unsent),
    ];
    snapshot.dropped.iter().copied().chain(unsent)
}

/// The ways of a call's media.
pub(crate) fn legs(report: &Report) -> Vec<MediaLeg> {
    report.legs.iter().map(leg).collect()
}

fn leg(report: &LegReport) -> MediaLeg {
    let dropped = report.dropped.iter().filter(|(_, count)| *count > 0);
    MediaLeg {
        party: if report.side == 0 {
            Party::Caller
        } else {
            Party::Callee
        },
        side: report.side,
        stream: report.stream,
        selected: report.is_selected,
        packets: report.packets,
        bytes: report.bytes,
        lost: report.lost,
        loss_percent: hundredths(report.loss_percent),
        jitter_ms: hundredths(report.jitter_ms),
        mos: report.mos.map(hundredths),
        round_trip_ms: report.round_trip_ms.map(hundredths),
        payload_type: report.payload_type,
        // A user's address like any other.
        source: report.source.map(|at| Private(at.to_string()).to_string()),
        sources_learned: report.sources_learned,
        dropped: dropped
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect(),
    }
}

/// As exact as it is meant.
fn hundredths(number: f32) -> f64 {
    (f64::from(number) * 100.0).round() / 100.0
}

/// What the relay counts; nothing where there is none.
pub(crate) fn metrics(snapshot: &RelaySnapshot) -> Vec<MetricFamily> {
    if snapshot.threads == 0 {
        return Vec::new();
    }
    let mut families = singles(&gauges(snapshot));
    families.extend(singles(&counters(snapshot)));
    families.push(labelled(
        (
            "holdline_relay_dropped_total",
            "Packets not relayed, by reason.",
            Counter,
        ),
        "reason",
        dropped(snapshot),
    ));
    families.push(mos(snapshot));
    families
}

fn gauges(s: &RelaySnapshot) -> [Row; 5] {
    [
        (
            "holdline_relay_threads",
            "Threads that relay media.",
            Gauge,
            s.threads as f64,
        ),
        (
            "holdline_relay_silent_threads",
            "Relay threads that did not answer in time.",
            Gauge,
            s.silent_threads as f64,
        ),
        (
            "holdline_relay_sessions",
            "Calls whose media are relayed.",
            Gauge,
            s.sessions as f64,
        ),
        (
            "holdline_relay_ports_in_use",
            "Pairs of ports that belong to calls.",
            Gauge,
            s.ports_in_use as f64,
        ),
        (
            "holdline_relay_ports_free",
            "Pairs of ports that are free.",
            Gauge,
            s.ports_free as f64,
        ),
    ]
}

fn counters(s: &RelaySnapshot) -> [Row; 11] {
    [
        (
            "holdline_relay_packets_total",
            "Packets relayed, RTCP included.",
            Counter,
            s.totals.packets as f64,
        ),
        (
            "holdline_relay_bytes_total",
            "Bytes relayed, without UDP and IP headers.",
            Counter,
            s.totals.bytes as f64,
        ),
        (
            "holdline_relay_rtcp_packets_total",
            "Packets of RTCP among those relayed.",
            Counter,
            s.totals.rtcp_packets as f64,
        ),
        (
            "holdline_relay_received_total",
            "Packets received on ports for media.",
            Counter,
            s.received as f64,
        ),
        (
            "holdline_relay_kernel_drops_total",
            "Packets the kernel dropped before us.",
            Counter,
            s.kernel_drops as f64,
        ),
        (
            "holdline_relay_sessions_opened_total",
            "Calls whose media were relayed.",
            Counter,
            s.totals.sessions_opened as f64,
        ),
        (
            "holdline_relay_sessions_silent_total",
            "Calls whose media were given up: nobody sent.",
            Counter,
            s.totals.sessions_silent as f64,
        ),
        (
            "holdline_relay_ports_exhausted_total",
            "Times that all ports were taken.",
            Counter,
            s.ports_exhausted as f64,
        ),
        (
            "holdline_relay_sources_learned_total",
            "Times that a source was learned.",
            Counter,
            s.totals.sources_learned as f64,
        ),
        (
            "holdline_relay_commands_dropped_total",
            "Commands dropped: a relay thread had too many.",
            Counter,
            s.commands_dropped as f64,
        ),
        (
            "holdline_relay_turns_total",
            "Rounds of the relay threads' loops.",
            Counter,
            s.turns as f64,
        ),
    ]
}

/// How calls sounded that have ended, as cumulative buckets.
fn mos(snapshot: &RelaySnapshot) -> MetricFamily {
    let bounds = MOS_BOUNDS.iter().map(ToString::to_string);
    let bounds = bounds.chain(["+Inf".to_owned()]);
    let mut count = 0;
    let mut samples: Vec<Sample> = bounds
        .zip(snapshot.mos.counts)
        .map(|(bound, more)| {
            count += more;
            Sample {
                suffix: "_bucket",
                labels: vec![("le".into(), bound.into())],
                value: count as f64,
            }
        })
        .collect();
    for (suffix, value) in [("_sum", snapshot.mos.sum), ("_count", count as f64)] {
        let labels = Vec::new();
        samples.push(Sample {
            suffix,
            labels,
            value,
        });
    }
    MetricFamily {
        name: "holdline_relay_mos".into(),
        help:
            "Estimates of how calls sounded that have ended (MOS, ITU-T G.107), one for each way."
                .into(),
        kind: MetricKind::Histogram,
        samples,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_is_a_histogram_with_rising_buckets() {
        let mut snapshot = RelaySnapshot {
            threads: 1,
            ..RelaySnapshot::default()
        };
        snapshot.mos.counts[7] = 3;
        snapshot.mos.counts[8] = 2;
        snapshot.mos.sum = 21.5;
        let text = admin::encode(&metrics(&snapshot));
        for line in [
            "holdline_relay_mos_bucket{le=\"4\"} 0",
            "holdline_relay_mos_bucket{le=\"4.3\"} 3",
            "holdline_relay_mos_bucket{le=\"+Inf\"} 5",
            "holdline_relay_mos_sum 21.5",
            "holdline_relay_mos_count 5",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(metrics(&RelaySnapshot::default()).is_empty());
        assert!(status(&RelaySnapshot::default()).is_none());
    }
}
