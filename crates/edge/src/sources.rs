//! Who sends, and whether he may: rates per source, and bans of those who do harm.
//!
//! The problem: scanners, password guessers and floods cost others their service; but most of what they do over
//! UDP could be done in anybody's name, so that a ban is a weapon too.
//!
//! The approach: a source is an IPv4 address or an IPv6 /64. Each offence adds to one of two scores, which
//! fade with time: to the *proved* one what only the holder of the address can do (anything over a stream; a wrong
//! password with a nonce that was given to that address), to the *unproved* one what anybody could have sent in its
//! name. Either score bans the source when it passes the threshold:
//!
//! - a proved ban holds for everything from there, and each further one for twice as long;
//! - an unproved ban holds for datagrams only, and never grows.
//!
//! A *flow* (address and port) whose credentials were right lately is good: no ban of its address holds for it, and it
//! has a rate of its own, so that neither its neighbours behind a NAT nor forgers take its service. An address with
//! good flows also bears more offences before it is banned. A good flow that guesses passwords is no longer good.
//!
//! Tables are bounded and made once; sets of eight are searched by keyed hash, and the most idle entry goes.
//!
//! Not attempted: guesses that are spread over many addresses; datagrams that never come to be parsed.

mod flows;
mod offence;
#[cfg(test)]
mod tests;

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use siphasher::sip::SipHasher13;
use transaction::{Flow, Time};

use flows::Flows;
pub use offence::Offence;

/// Sources remembered, over all shards of a node.
pub const SOURCES_MAX: usize = 65_536;
/// Good flows remembered, over all shards of a node.
pub const FLOWS_MAX: usize = 262_144;
/// Entries of which a hash names the set.
const WAYS: usize = 8;
/// A score fades by one thousandth of a point in so many milliseconds: ten points in a minute.
const FADE_MS: u64 = 6;
/// An address bears as many times more offences as it has good flows, divided by this, plus one; at most
/// [`FORBEARANCE_MAX`] times.
const FLOWS_PER_FORBEARANCE: u32 = 4;
const FORBEARANCE_MAX: u32 = 32;
/// The count of an address's good flows is halved in this time.
const GOOD_HALVED_MS: u64 = 3_600_000;
/// A source that was not banned for so long begins with the shortest ban again.
const REFORM_MS: u64 = 6 * 3_600_000;

/// What the operator says of sources.
#[derive(Debug, Clone)]
pub struct SourceLimits {
    /// Whether anybody is banned.
    pub bans: bool,
    /// Requests a second outside dialogs that one source, or one good flow, may send for long; 0 for any number.
    pub requests_per_s: u32,
    /// Requests that it may send at once after a quiet time.
    pub requests_burst: u32,
    /// Points at which a source is banned.
    pub threshold: u32,
    /// Length of the first ban, and of every one that cannot be proved, in milliseconds.
    pub ban_ms: u64,
    /// Longest ban, in milliseconds.
    pub ban_ms_max: u64,
    /// Sources that are neither limited nor banned, beside the trusted ones.
    pub allow: Vec<IpNet>,
}

impl Default for SourceLimits {
    fn default() -> SourceLimits {
        SourceLimits {
            bans: true,
            requests_per_s: 200,
            requests_burst: 1_000,
            threshold: 100,
            ban_ms: 60_000,
            ban_ms_max: 3_600_000,
            allow: Vec::new(),
        }
    }
}

/// A ban in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ban {
    /// The address, or the /64.
    pub source: IpNet,
    /// When it ends.
    pub until: Time,
    /// The offence that was one too many.
    pub offence: Offence,
    /// Whether only the holder of the address can have done it.
    pub is_proved: bool,
    /// Which one it is, of this source.
    pub times: u8,
    /// Messages dropped by it so far.
    pub dropped: u32,
}

/// What becomes of a request by its source's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// It is within.
    Within,
    /// It is over; the source may have been banned for it.
    Over(Option<Ban>),
}

/// One source.
#[derive(Debug, Clone, Copy, Default)]
struct Source {
    /// Its address; see [`key_of`].
    key: u64,
    /// When it last did something that was counted; zero in an empty place.
    seen_ms: u64,
    bucket: Bucket,
    /// When the scores were last made to fade.
    scored_ms: u64,
    /// Thousandths of points.
    proved: u32,
    unproved: u32,
    banned_until_ms: u64,
    good_since_ms: u64,
    dropped: u32,
    /// Flows of it that became good, halved now and then.
    good: u16,
    /// Source port of the last request that was challenged.
    challenged_port: u16,
    times: u8,
    offence: Offence,
    is_ban_proved: bool,
}

/// Requests that may still come, in thousandths, at a point of time.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    filled_ms: u64,
    used_thousandths: u64,
}

impl Bucket {
    /// Takes one request, if there is room.
    fn take(&mut self, limits: &SourceLimits, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        let drained = passed_ms.saturating_mul(u64::from(limits.requests_per_s));
        self.filled_ms = now_ms;
        self.used_thousandths = self.used_thousandths.saturating_sub(drained);
        let is_within =
            self.used_thousandths + 1_000 <= u64::from(limits.requests_burst.max(1)) * 1_000;
        if is_within {
            self.used_thousandths += 1_000;
        }
        is_within
    }
}

/// The sources of one shard.
#[derive(Debug)]
pub struct Sources {
    seed: (u64, u64),
    /// Sets of [`WAYS`], one after the other.
    table: Vec<Source>,
    flows: Flows,
    /// No ban lasts longer than this.
    banned_until_ms: u64,
}

impl Sources {
    /// An empty table for about `sources` sources and `flows` good flows. `seed` is the secret key of its hash.
    pub fn new(seed: (u64, u64), sources: usize, flows: usize) -> Sources {
        let sets = sources.div_ceil(WAYS).max(1);
        Sources {
            seed,
            table: vec![Source::default(); sets * WAYS],
            flows: Flows::new(seed, flows),
            banned_until_ms: 0,
        }
    }

    /// Until when somebody may be banned; no message need be looked at after that.
    pub fn banned_until(&self) -> Time {
        Time::from_ms(self.banned_until_ms)
    }

    /// Whether what comes on a flow is to be dropped; if so, it is counted.
    pub fn is_banned(&mut self, now: Time, flow: &Flow) -> bool {
        let now_ms = now.as_ms();
        if now_ms >= self.banned_until_ms {
            return false;
        }
        let key = key_of(flow.remote.ip());
        let set = self.set_of(key);
        let Some(source) = self.table[set..set + WAYS]
            .iter_mut()
            .find(|source| source.key == key && source.banned_until_ms > now_ms)
        else {
            return false;
        };
        let is_elsewhere = !source.is_ban_proved && flow.transport.is_reliable();
        if is_elsewhere || self.flows.is_good(now_ms, flow) {
            return false;
        }
        source.dropped = source.dropped.saturating_add(1);
        true
    }

    /// Charges a request outside dialogs to its flow, if that is good, else to its source.
    pub fn charge(&mut self, limits: &SourceLimits, now: Time, flow: &Flow) -> Charge {
        if limits.requests_per_s == 0 {
            return Charge::Within;
        }
        let (now_ms, key) = (now.as_ms(), key_of(flow.remote.ip()));
        let is_within = match self.flows.bucket(now_ms, flow) {
            Some(bucket) => bucket.take(limits, now_ms),
            None => self.source(now_ms, key).bucket.take(limits, now_ms),
        };
        if is_within {
            return Charge::Within;
        }
        Charge::Over(self.offended(limits, now, flow, Offence::Rate, false))
    }

    /// Notes an offence. `is_proved` says that a nonce showed the sender to be where he says; over a stream
    /// the stream shows it. Gives the ban that begins with it.
    pub fn offended(
        &mut self,
        limits: &SourceLimits,
        now: Time,
        flow: &Flow,
        offence: Offence,
        is_proved: bool,
    ) -> Option<Ban> {
        if !limits.bans {
            return None;
        }
        let (now_ms, key) = (now.as_ms(), key_of(flow.remote.ip()));
        let is_proved = is_proved || flow.transport.is_reliable();
        if is_proved && offence == Offence::Password {
            self.flows.strike(now_ms, flow);
        }
        let port = flow.remote.port();
        let source = self.source(now_ms, key);
        source.fade(now_ms);
        let mut points = offence.points_thousandths();
        if offence == Offence::Challenged {
            // Phones behind one NAT that start together have ports of their own; a scanner has one.
            if source.challenged_port != port {
                points /= 10;
            }
            source.challenged_port = port;
        }
        let points = points / source.forbearance();
        let score = match is_proved {
            true => &mut source.proved,
            false => &mut source.unproved,
        };
        *score = score.saturating_add(points);
        let is_too_much = u64::from(*score) >= u64::from(limits.threshold) * 1_000;
        // A ban in force is not prolonged by what its exceptions let through; a proved one goes before the other.
        let is_covered = source.banned_until_ms > now_ms && (source.is_ban_proved || !is_proved);
        if !is_too_much || is_covered {
            return None;
        }
        source.ban(limits, now_ms, offence, is_proved);
        let ban = source.as_ban();
        self.banned_until_ms = self.banned_until_ms.max(ban.until.as_ms());
        Some(ban)
    }

    /// Notes that right credentials came on a flow: it is good, and the challenge before is made up for.
    pub fn authenticated(&mut self, now: Time, flow: &Flow) {
        let (now_ms, key) = (now.as_ms(), key_of(flow.remote.ip()));
        let is_new = self.flows.mark(now_ms, flow);
        let source = self.source(now_ms, key);
        source.fade(now_ms);
        let refund = 2 * Offence::Challenged.points_thousandths();
        source.unproved = source.unproved.saturating_sub(refund);
        if flow.transport.is_reliable() {
            source.proved = source.proved.saturating_sub(refund);
        }
        if is_new {
            source.good = source.good.saturating_add(1);
        }
    }

    /// Ends the ban of an address, or of its /64, and forgets what led to it; whether there was one.
    pub fn unban(&mut self, now: Time, address: IpAddr) -> bool {
        let key = key_of(address);
        let set = self.set_of(key);
        let mut sources = self.table[set..set + WAYS].iter_mut();
        let Some(source) = sources.find(|source| source.seen_ms > 0 && source.key == key) else {
            return false;
        };
        let was_banned = source.banned_until_ms > now.as_ms();
        *source = Source {
            key,
            seen_ms: source.seen_ms,
            good: source.good,
            good_since_ms: source.good_since_ms,
            ..Source::default()
        };
        was_banned
    }

    /// The bans in force.
    pub fn bans(&self, now: Time) -> impl Iterator<Item = Ban> + '_ {
        let in_force = move |source: &&Source| source.banned_until_ms > now.as_ms();
        self.table.iter().filter(in_force).map(Source::as_ban)
    }

    /// How many sources are remembered.
    pub fn len(&self) -> usize {
        self.table
            .iter()
            .filter(|source| source.seen_ms > 0)
            .count()
    }

    /// Whether no source is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn set_of(&self, key: u64) -> usize {
        hash(self.seed, key) as usize % (self.table.len() / WAYS) * WAYS
    }

    /// The entry of a source, which it is given if it has none: an empty one, else that of the most idle source
    /// that is not banned, else that of the ban that ends first.
    fn source(&mut self, now_ms: u64, key: u64) -> &mut Source {
        let set = self.set_of(key);
        let sources = &mut self.table[set..set + WAYS];
        let found = sources
            .iter()
            .position(|source| source.key == key && source.seen_ms > 0);
        let at = found.unwrap_or_else(|| {
            let worth = |source: &Source| match source.banned_until_ms > now_ms {
                true => (true, source.banned_until_ms),
                false => (false, source.seen_ms),
            };
            let at = (0..WAYS).min_by_key(|&at| worth(&sources[at])).unwrap_or(0);
            sources[at] = Source {
                key,
                ..Source::default()
            };
            at
        });
        let source = &mut sources[at];
        source.seen_ms = now_ms.max(1);
        source
    }
}

impl Source {
    /// Lets the scores, and the memory of good flows, fade.
    fn fade(&mut self, now_ms: u64) {
        let faded = now_ms.saturating_sub(self.scored_ms) / FADE_MS;
        if faded > 0 {
            let faded = u32::try_from(faded).unwrap_or(u32::MAX);
            self.proved = self.proved.saturating_sub(faded);
            self.unproved = self.unproved.saturating_sub(faded);
            self.scored_ms = now_ms - now_ms.saturating_sub(self.scored_ms) % FADE_MS;
        }
        let halvings = now_ms.saturating_sub(self.good_since_ms) / GOOD_HALVED_MS;
        if halvings > 0 {
            self.good = self.good.checked_shr(halvings as u32).unwrap_or(0);
            self.good_since_ms = now_ms;
        }
    }

    /// How many times more than a lone address this one bears.
    fn forbearance(&self) -> u32 {
        (1 + u32::from(self.good) / FLOWS_PER_FORBEARANCE).min(FORBEARANCE_MAX)
    }

    fn ban(&mut self, limits: &SourceLimits, now_ms: u64, offence: Offence, is_proved: bool) {
        if now_ms.saturating_sub(self.banned_until_ms) > REFORM_MS {
            self.times = 0;
        }
        let doublings = match is_proved {
            true => u32::from(self.times).min(32),
            false => 0,
        };
        let length_ms = limits
            .ban_ms
            .saturating_mul(1 << doublings)
            .min(limits.ban_ms_max.max(limits.ban_ms));
        // What anybody could have caused does not count against the source later.
        if is_proved {
            self.times = self.times.saturating_add(1);
        }
        self.banned_until_ms = self.banned_until_ms.max(now_ms.saturating_add(length_ms));
        self.is_ban_proved = is_proved;
        self.offence = offence;
        self.dropped = 0;
        match is_proved {
            true => self.proved = 0,
            false => self.unproved = 0,
        }
    }

    fn as_ban(&self) -> Ban {
        Ban {
            source: net_of(self.key),
            until: Time::from_ms(self.banned_until_ms),
            offence: self.offence,
            is_proved: self.is_ban_proved,
            times: self.times.max(1),
            dropped: self.dropped,
        }
    }
}

/// IPv4 addresses lie among the numbers of an IPv6 network that is not given to anybody (multicast).
const IPV4: u64 = 0xffff_ffff_0000_0000;

/// The number of a source: its IPv4 address, or the first 64 bits of its IPv6 address.
fn key_of(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => IPV4 | u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

fn net_of(key: u64) -> IpNet {
    let (address, bits) = match key & IPV4 == IPV4 {
        true => (IpAddr::V4(Ipv4Addr::from_bits(key as u32)), 32),
        false => (IpAddr::V6(Ipv6Addr::from_bits(u128::from(key) << 64)), 64),
    };
    IpNet::new_assert(address, bits)
}

fn hash(seed: (u64, u64), key: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed.0, !seed.1);
    hasher.write_u64(key);
    hasher.finish()
}

/// The shard of an address, of so many.
pub fn shard_of(seed: (u64, u64), address: IpAddr, shards: usize) -> usize {
    // The lower bits choose the set within the shard.
    ((hash(seed, key_of(address)) >> 32) % shards.max(1) as u64) as usize
}
