//! What a worker does for the pools.

use std::time::Instant;

use balancer::TargetId;

use super::{Turn, Worker};
use crate::farm::Probe;

impl Worker {
    /// Sends a probe.
    pub(super) fn probe(&self, probe: &Probe, now: Instant, turn: &mut Turn) {
        let probe = edge::Probe {
            target: probe.target,
            number: probe.number,
            uri: &probe.uri,
            call_id: &probe.call_id,
            transport: probe.transport,
            remote: probe.remote,
        };
        self.with_core(now, turn, |edge, settings, surface, output| {
            edge.probe(settings, &probe, surface, output);
        });
    }

    /// Lets what waits for a dead target move on.
    pub(super) fn target_lost(&self, target: TargetId, now: Instant, turn: &mut Turn) {
        let core_now = self.shared.clock.at(now);
        self.with_core(now, turn, |edge, settings, surface, output| {
            edge.target_lost(settings, core_now, target, surface, output);
        });
    }
}
