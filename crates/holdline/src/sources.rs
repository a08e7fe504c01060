//! Sources of messages, and how much the node takes on, between the node and the API.

use std::net::IpAddr;

use admin::{Ban, Event, MetricKind, Refusal};
use driver::{BanView, Node, Snapshot};

use crate::metrics::Row;

/// The bans in force.
pub(crate) fn bans(node: &Node) -> Vec<Ban> {
    node.bans().into_iter().map(ban).collect()
}

fn ban(view: BanView) -> Ban {
    Ban {
        source: view.source,
        reason: view.offence.to_owned(),
        proved: view.is_proved,
        times: view.times,
        left_s: view.left_ms.div_ceil(1_000),
        dropped: view.dropped,
    }
}

/// Ends a ban at an operator's word.
pub(crate) fn unban(node: &Node, address: IpAddr) -> Result<(), Refusal> {
    match node.unban(address) {
        true => Ok(()),
        false => Err(Refusal::NotFound {
            kind: "ban of",
            name: address.to_string(),
        }),
    }
}

/// A ban as listeners are told of it.
pub(crate) fn banned(
    source: String,
    offence: &'static str,
    proved: bool,
    duration_s: u64,
) -> Event {
    Event::SourceBanned {
        source,
        reason: offence.to_owned(),
        proved,
        duration_s,
    }
}

/// What is counted of bans and of overload.
pub(crate) fn rows(s: &Snapshot) -> [Row; 5] {
    [
        (
            "holdline_bans",
            "Sources that are banned.",
            MetricKind::Gauge,
            s.bans as f64,
        ),
        (
            "holdline_bans_total",
            "Bans since the start.",
            MetricKind::Counter,
            s.bans_begun as f64,
        ),
        (
            "holdline_banned_messages_total",
            "Messages dropped since their sources are banned.",
            MetricKind::Counter,
            s.banned_drops as f64,
        ),
        (
            "holdline_admitted_share",
            "The part of new calls and registrations that the busiest worker lets in, from 0 to 1.",
            MetricKind::Gauge,
            f64::from(s.share_permille) / 1e3,
        ),
        (
            "holdline_worker_lag_seconds",
            "How long a message waits for the busiest worker.",
            MetricKind::Gauge,
            s.lag_us as f64 / 1e6,
        ),
    ]
}
