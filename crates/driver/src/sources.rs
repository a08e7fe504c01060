//! Sources of messages, as all threads of a node share them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use edge::sources::{Ban, FLOWS_MAX, SOURCES_MAX, Sources, shard_of};
use transaction::{Flow, Time};

use crate::event::Event;
use crate::shared::Shared;

/// Shards of the table, so that workers seldom meet.
const SHARDS: usize = 64;

/// The table in shards, each behind a lock that is held for one operation.
pub(crate) struct SourceShards {
    shards: Vec<Mutex<Sources>>,
    seed: (u64, u64),
    /// Nobody is banned from then on: messages are not looked at meanwhile.
    banned_until_ms: AtomicU64,
    /// Messages dropped since their sources are banned.
    dropped: AtomicU64,
    /// Bans that were told of.
    begun: AtomicU64,
}

impl SourceShards {
    pub(crate) fn new(seed: (u64, u64)) -> SourceShards {
        let shard = |_| Mutex::new(Sources::new(seed, SOURCES_MAX / SHARDS, FLOWS_MAX / SHARDS));
        SourceShards {
            shards: (0..SHARDS).map(shard).collect(),
            seed,
            banned_until_ms: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            begun: AtomicU64::new(0),
        }
    }

    /// Works on the shard of an address.
    pub(crate) fn with<R>(&self, address: IpAddr, work: impl FnOnce(&mut Sources) -> R) -> R {
        let shard = &self.shards[shard_of(self.seed, address, SHARDS)];
        let mut sources = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut sources);
        let until_ms = sources.banned_until().as_ms();
        if until_ms > self.banned_until_ms.load(Ordering::Relaxed) {
            self.banned_until_ms.fetch_max(until_ms, Ordering::Relaxed);
        }
        result
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    fn bans(&self, now: Time) -> Vec<Ban> {
        let mut bans = Vec::new();
        for shard in &self.shards {
            let sources = shard.lock().unwrap_or_else(PoisonError::into_inner);
            bans.extend(sources.bans(now));
        }
        bans.sort_by_key(|ban| (ban.until.as_ms(), ban.source));
        bans
    }
}

impl Shared {
    /// Whether what comes on a flow is to be dropped unread.
    pub(crate) fn is_banned(&self, now: Time, flow: &Flow) -> bool {
        let sources = &self.sources;
        if now.as_ms() >= sources.banned_until_ms.load(Ordering::Relaxed) {
            return false;
        }
        let address = flow.remote.ip();
        let is_banned = sources.with(address, |shard| shard.is_banned(now, flow));
        // What is spared now may not have been when it was banned.
        if !is_banned || self.settings().is_spared(address) || self.is_target(flow) {
            return false;
        }
        sources.dropped.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Bans in force, with the milliseconds that each of them still lasts.
    pub(crate) fn bans(&self) -> Vec<(Ban, u64)> {
        let now = self.clock.now().time;
        let bans = self.sources.bans(now).into_iter();
        bans.map(|ban| (ban, ban.until.ms_since(now))).collect()
    }

    /// Notes that a phone had registered on this flow before the node started.
    pub(crate) fn welcome_back(&self, flow: &Flow) {
        let now = self.clock.now().time;
        let address = flow.remote.ip();
        self.sources
            .with(address, |shard| shard.authenticated(now, flow));
    }

    pub(crate) fn unban(&self, address: IpAddr) -> bool {
        let now = self.clock.now().time;
        let is_ended = self
            .sources
            .with(address, |shard| shard.unban(now, address));
        if is_ended {
            tracing::info!(%address, "a ban was ended by an operator");
        }
        is_ended
    }

    /// Tells of bans that began.
    pub(crate) fn tell_bans(&self, bans: &mut Vec<Ban>, now: Time) {
        self.sources
            .begun
            .fetch_add(bans.len() as u64, Ordering::Relaxed);
        for ban in bans.drain(..) {
            let duration_s = ban.until.ms_since(now).div_ceil(1_000);
            let source = source_name(&ban);
            let (offence, is_proved) = (ban.offence.as_str(), ban.is_proved);
            tracing::warn!(%source, offence, is_proved, duration_s, "a source is banned");
            // Nobody listening is no error.
            let _ = self.events.send(Event::Banned {
                source,
                offence,
                is_proved,
                duration_s,
            });
        }
    }
}

/// A ban in force, for those who look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanView {
    /// The address, or the /64.
    pub source: String,
    /// The offence that was one too many.
    pub offence: &'static str,
    /// Whether only the holder of the address can have done it; if not, it holds for datagrams only.
    pub is_proved: bool,
    /// Which one it is, of this source.
    pub times: u8,
    /// How long it still lasts, in milliseconds.
    pub left_ms: u64,
    /// Messages dropped by it.
    pub dropped: u32,
}

impl BanView {
    pub(crate) fn of(ban: &Ban, left_ms: u64) -> BanView {
        BanView {
            source: source_name(ban),
            offence: ban.offence.as_str(),
            is_proved: ban.is_proved,
            times: ban.times,
            left_ms,
            dropped: ban.dropped,
        }
    }
}

/// The address of a ban, or its network where that is one.
fn source_name(ban: &Ban) -> String {
    match ban.source.addr() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(_) => ban.source.to_string(),
    }
}
