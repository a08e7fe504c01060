//! What there is, for those who look.

use edge::{Counted, Edge, Now};
use proxy::media::Anchored;
use proxy::{Call, Counters, Stage};
use registrar::{BindingView, Cursor};
use transaction::Transport;

use crate::event::printable;
use crate::media::RelaySnapshot;
use crate::shared::{LOCATION_SHARDS, Shared};
use crate::worker::WorkerCounters;

/// What one worker said.
pub(crate) struct WorkerSnapshot {
    counters: WorkerCounters,
    proxy: Counters,
    counted: Counted,
    transactions: (usize, usize),
    calls: u64,
    listed: Vec<CallRow>,
    kernel_drops: u64,
    share_permille: u32,
    lag_us: u64,
    is_idle: bool,
}

/// One call in progress.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRow {
    /// Its Call-ID.
    pub call_id: String,
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// How far it is.
    pub stage: Stage,
    /// Milliseconds since its INVITE.
    pub age_ms: u64,
    /// Milliseconds since its answer.
    pub answered_ms: Option<u64>,
    /// How its media are, where they are relayed.
    pub media: Option<relay::Report>,
    /// Where its media are.
    pub(crate) anchored: Option<Anchored>,
}

impl WorkerSnapshot {
    pub(crate) fn of(
        edge: &Edge,
        counters: WorkerCounters,
        kernel_drops: u64,
        now: Now,
        calls_max: usize,
    ) -> WorkerSnapshot {
        let row = |call: &Call| CallRow {
            call_id: printable(&call.call_id),
            from: printable(&call.from),
            to: printable(&call.to),
            stage: call.stage,
            age_ms: now.time.ms_since(call.started),
            answered_ms: call.answered.map(|answered| now.time.ms_since(answered)),
            media: None,
            anchored: call.media,
        };
        WorkerSnapshot {
            counters,
            proxy: edge.counters(),
            counted: edge.counted().clone(),
            transactions: edge.transactions(),
            calls: edge.calls().len() as u64,
            listed: edge.calls().iter().take(calls_max).map(row).collect(),
            kernel_drops,
            share_permille: edge.throttle().share_permille(),
            lag_us: edge.throttle().lag_us(),
            is_idle: edge.is_idle(),
        }
    }
}

/// What the node is doing, all workers together.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Messages received.
    pub received: u64,
    /// Messages sent.
    pub sent: u64,
    /// Keep-alives received.
    pub keep_alives: u64,
    /// STUN requests received.
    pub stun: u64,
    /// Datagrams that were longer than can be.
    pub truncated: u64,
    /// Messages that could not be sent.
    pub send_failures: u64,
    /// Messages dropped since the kernel took no more.
    pub send_drops: u64,
    /// Datagrams that the kernel dropped before we took them.
    pub kernel_drops: u64,
    /// Messages dropped since their sources are banned.
    pub banned_drops: u64,
    /// The part of what is new that the busiest worker lets in, in thousandths.
    pub share_permille: u32,
    /// The longest lag of a worker, in microseconds.
    pub lag_us: u64,
    /// Bans since the start.
    pub bans_begun: u64,
    /// Sources that are banned.
    pub bans: u64,
    /// Messages dropped since a worker had too many.
    pub inbox_overflows: u64,
    /// Rounds of the workers' loops.
    pub turns: u64,
    /// What the proxies counted.
    pub proxy: Counters,
    /// What was dropped or refused, by reason.
    pub counted: Vec<(&'static str, u64)>,
    /// Server transactions.
    pub server_transactions: u64,
    /// Client transactions.
    pub client_transactions: u64,
    /// Calls in progress.
    pub calls: u64,
    /// The calls themselves, as many as were asked for.
    pub listed: Vec<CallRow>,
    /// Users known.
    pub users: u64,
    /// Addresses-of-record that have a binding.
    pub aors: u64,
    /// Bindings.
    pub bindings: u64,
    /// Whether nothing waits for an answer and no call's media are relayed.
    pub is_idle: bool,
    /// Workers that did not answer in time.
    pub silent_workers: usize,
    /// What the relay of media is doing.
    pub relay: RelaySnapshot,
}

impl Snapshot {
    pub(crate) fn add(&mut self, worker: WorkerSnapshot) {
        let WorkerCounters {
            received,
            sent,
            keep_alives,
            stun,
            truncated,
            send_failures,
            send_drops,
            turns,
            ignored: _,
        } = worker.counters;
        self.received += received;
        self.sent += sent;
        self.keep_alives += keep_alives;
        self.stun += stun;
        self.truncated += truncated;
        self.send_failures += send_failures;
        self.send_drops += send_drops;
        self.turns += turns;
        self.kernel_drops += worker.kernel_drops;
        self.share_permille = self.share_permille.min(worker.share_permille);
        self.lag_us = self.lag_us.max(worker.lag_us);
        self.add_proxy(worker.proxy);
        for (reason, count) in worker.counted.iter() {
            match self.counted.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, total)) => *total += count,
                None => self.counted.push((reason, count)),
            }
        }
        self.server_transactions += worker.transactions.0 as u64;
        self.client_transactions += worker.transactions.1 as u64;
        self.calls += worker.calls;
        self.listed.extend(worker.listed);
        self.is_idle &= worker.is_idle;
    }

    /// Notes a worker that did not answer: nobody knows what waits there.
    pub(crate) fn miss(&mut self) {
        self.silent_workers += 1;
        self.is_idle = false;
    }

    fn add_proxy(&mut self, counters: Counters) {
        let total = &mut self.proxy;
        total.forwarded += counters.forwarded;
        total.responses += counters.responses;
        total.strays += counters.strays;
        total.calls_started += counters.calls_started;
        total.calls_answered += counters.calls_answered;
        total.calls_failed += counters.calls_failed;
        total.calls_ended += counters.calls_ended;
        total.timeouts += counters.timeouts;
        total.cancelled += counters.cancelled;
        total.calls_silent += counters.calls_silent;
        total.descriptions_refused += counters.descriptions_refused;
        total.ports_lacking += counters.ports_lacking;
        total.moved_on += counters.moved_on;
        total.pool_shortages += counters.pool_shortages;
        total.hung_up_late += counters.hung_up_late;
    }
}

/// One binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Whose.
    pub aor: String,
    /// Where it is reached.
    pub contact: String,
    /// Seconds until it ends.
    pub expires_in_s: u64,
    /// Preference in thousandths.
    pub q: u16,
    /// The transport of its REGISTER.
    pub transport: Transport,
    /// Where its REGISTER came from.
    pub source: std::net::SocketAddr,
    /// Route values to it.
    pub path: String,
    /// `+sip.instance`.
    pub instance: String,
    /// `reg-id`.
    pub reg_id: Option<u32>,
    /// What the phone calls itself.
    pub user_agent: String,
}

/// Some registrations and where the next ones begin.
#[derive(Debug, Clone, Default)]
pub struct RegistrationPage {
    /// The registrations.
    pub items: Vec<Registration>,
    /// To be given back for the next page; `None` after the last.
    pub next: Option<u64>,
}

fn registration(aor: &[u8], binding: &BindingView<'_>, now_unix_s: u64) -> Registration {
    let flow = binding.flow();
    Registration {
        aor: printable(aor),
        contact: printable(binding.contact()),
        expires_in_s: binding.expires_at_unix_s().saturating_sub(now_unix_s),
        q: binding.q_thousandths().unwrap_or(1_000),
        transport: flow.transport,
        source: flow.remote,
        path: printable(binding.path()),
        instance: printable(binding.instance()),
        reg_id: binding.reg_id(),
        user_agent: printable(binding.user_agent()),
    }
}

impl Shared {
    /// The bindings of one address-of-record.
    pub(crate) fn registrations_of(&self, aor: &str) -> Vec<Registration> {
        let now = self.clock.unix_s();
        let location = self.location(aor.as_bytes());
        location
            .lookup(aor.as_bytes(), now)
            .map(|binding| registration(aor.as_bytes(), &binding, now))
            .collect()
    }

    /// A page of all bindings, in the order of the table.
    pub(crate) fn registrations(&self, after: Option<u64>, limit: usize) -> RegistrationPage {
        let now = self.clock.unix_s();
        let mut place = after.unwrap_or(0);
        let mut items = Vec::new();
        while items.len() < limit {
            let (shard, cursor) = ((place >> 32) as usize, Cursor::from_number(place as u32));
            if shard >= LOCATION_SHARDS {
                return RegistrationPage { items, next: None };
            }
            let location = self.locations[shard]
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let next = location.page(now, cursor, limit - items.len(), |aor, binding| {
                items.push(registration(aor, &binding, now));
            });
            place = match next {
                Some(next) => (shard as u64) << 32 | u64::from(next.to_number()),
                None => (shard as u64 + 1) << 32,
            };
        }
        RegistrationPage {
            items,
            next: Some(place),
        }
    }

    /// How many addresses-of-record and bindings there are.
    pub(crate) fn location_counts(&self) -> (u64, u64) {
        let lock = |shard: &std::sync::Mutex<registrar::Location>| {
            let location = shard
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            (location.aors() as u64, location.bindings() as u64)
        };
        self.locations
            .iter()
            .map(lock)
            .fold((0, 0), |(aors, bindings), (a, b)| (aors + a, bindings + b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_with_a_worker_that_is_silent_is_not_idle() {
        let mut snapshot = Snapshot {
            is_idle: true,
            ..Snapshot::default()
        };
        snapshot.miss();
        assert!(!snapshot.is_idle);
        assert_eq!(snapshot.silent_workers, 1);
    }
}
