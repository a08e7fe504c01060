//! How much a worker has to do.

use std::time::{Duration, Instant};

use edge::overload::Load;

use super::{Turn, Worker};
use crate::event::Event;

/// How often a worker asks the kernel what it dropped.
const DROPS_INTERVAL: Duration = Duration::from_millis(100);
/// Memory of the kernel that one waiting message takes up, about.
const WAITING_BYTES: u64 = 2_304;

/// What one turn is measured by.
#[derive(Debug, Default)]
pub(super) struct Strain {
    /// Messages handled in this turn.
    pub(super) handled: u64,
    /// Whether a socket had more than a turn takes.
    pub(super) is_behind: bool,
    /// What the kernel had dropped when it was last asked, and when that was.
    drops: u64,
    asked: Option<Instant>,
}

impl Worker {
    /// Tells the core how the turn that began at `began` went. Who came at its beginning waited for its end, and
    /// what waits in the sockets beyond what a turn takes waits as much longer.
    pub(super) fn observe(&self, began: Instant, turn: &mut Turn) {
        let ended = Instant::now();
        let took_us = ended.saturating_duration_since(began).as_micros() as u64;
        let mut load = Load {
            lag_us: took_us,
            handled: turn.strain.handled,
            dropped: self.dropped(ended, &mut turn.strain),
        };
        if turn.strain.is_behind {
            let ports = self.ports.iter();
            let waiting = ports.filter_map(|port| port.socket.waiting_bytes().ok());
            let messages = waiting.map(u64::from).sum::<u64>() / WAITING_BYTES;
            load.lag_us += took_us * messages / load.handled.max(1);
        }
        (turn.strain.handled, turn.strain.is_behind) = (0, false);
        let now = self.shared.clock.at(ended).time;
        if turn.edge.observe(&turn.settings, now, load) {
            self.tell_overload(turn);
        }
        if self.shared.inboxes.len() > 1 {
            self.with_core(ended, turn, |edge, settings, surface, _| {
                edge.share_calls(settings, surface);
            });
        }
    }

    /// What the kernel has dropped since it was last asked.
    fn dropped(&self, now: Instant, strain: &mut Strain) -> u64 {
        let is_early = |asked| now.saturating_duration_since(asked) < DROPS_INTERVAL;
        if strain.asked.is_some_and(is_early) {
            return 0;
        }
        strain.asked = Some(now);
        let ports = self.ports.iter();
        let drops = ports.filter_map(|port| port.socket.dropped_by_kernel().ok());
        let drops = drops.map(u64::from).sum();
        drops - std::mem::replace(&mut strain.drops, drops).min(drops)
    }

    fn tell_overload(&self, turn: &Turn) {
        let throttle = turn.edge.throttle();
        let (is_refusing, lag_ms) = (throttle.is_refusing(), throttle.lag_us() / 1_000);
        let worker = self.number;
        if is_refusing {
            tracing::warn!(
                worker,
                lag_ms,
                "overloaded: new calls and registrations are turned away"
            );
        } else {
            tracing::info!(worker, lag_ms, "no longer overloaded");
        }
        // Nobody listening is no error.
        let _ = self.shared.events.send(Event::Overload {
            is_refusing,
            lag_ms,
        });
    }
}
