//! What an operator says about pools.

use crate::error::Error;

/// Pools of one node.
pub const POOLS_MAX: usize = 256;
/// Targets of one node, all pools together, those that vanished and still have calls included.
pub const TARGETS_MAX: usize = 4_096;
/// Priorities of one pool; further ones share the last.
pub const PRIORITIES_MAX: usize = 64;
/// Pools that are asked one after the other before a call finds no target.
pub const FALLBACKS_MAX: usize = 4;
/// The largest weight (RFC 2782 has 16 bits).
pub const WEIGHT_MAX: u32 = 65_535;

/// All pools of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The pools. A pool keeps its [`PoolId`](crate::PoolId) over reloads by its name.
    pub pools: Vec<PoolSettings>,
    /// The key of the hash policies: the same on all nodes of a cluster, so that they agree about
    /// which target a caller belongs to, and secret, so that no caller can choose.
    pub hash_key: [u64; 2],
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// Its name, by which it is asked for.
    pub name: String,
    /// How a target is chosen.
    pub policy: Policy,
    /// Where its targets are from.
    pub targets: Vec<TargetSettings>,
    /// The pool that is asked when this one has no target for a call.
    pub fallback: Option<String>,
    /// Whether targets that are out are tried all the same when nothing else is left.
    pub last_resort: bool,
    /// How health is watched. A target of several pools is watched as the first that names it says.
    pub health: HealthSettings,
    /// How long a target that comes back takes to carry its full share, ms; 0 for at once.
    pub slow_start_ms: u64,
    /// Retry-After of the answer to a call that found no target, s.
    pub retry_after_s: u32,
}

impl PoolSettings {
    /// A pool of these targets with everything else as it is by default.
    #[must_use]
    pub fn new(name: &str, policy: Policy, targets: Vec<TargetSettings>) -> Self {
        Self {
            name: name.to_owned(),
            policy,
            targets,
            fallback: None,
            last_resort: false,
            health: HealthSettings::default(),
            slow_start_ms: 10_000,
            retry_after_s: 2,
        }
    }
}

/// How a pool chooses among the targets of the lowest priority number that can take a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Each in turn, weights aside.
    RoundRobin,
    /// In turn, each as often as its weight says.
    Weighted,
    /// The one with the fewest calls for its weight.
    LeastCalls,
    /// The one with the least load.
    Load(LoadFormula),
    /// Always the same one for the same caller's address, Call-ID or user.
    Hash(HashBy),
    /// The first in the order in which they are listed that is not full. Targets with the same
    /// `priority` share by weight.
    Priority,
}

/// What a hash policy looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashBy {
    /// The address that the request came from.
    Source,
    /// The Call-ID.
    CallId,
    /// The user that is called.
    User,
}

/// How figures become one load: a mean weighted by these parts. A part of 0 is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadFormula {
    /// CPU in use, from the agent.
    pub cpu: u32,
    /// Memory in use, from the agent.
    pub memory: u32,
    /// Time the disk was busy, from the agent.
    pub disk: u32,
    /// Active calls, of the number that is full load.
    pub calls: u32,
    /// Calls begun a second, of the number that is full load.
    pub call_rate: u32,
    /// Active calls that are full load for a target without a limit: for those of the largest
    /// weight; in proportion for others.
    pub calls_full: u32,
    /// Calls a second that are full load for a target of the largest weight.
    pub call_rate_full: u32,
    /// For how long an agent's figures are taken as they are, ms.
    pub fresh_ms: u64,
    /// From when on they count for nothing, ms; between the two, trust falls evenly.
    pub stale_ms: u64,
}

impl Default for LoadFormula {
    fn default() -> Self {
        Self {
            cpu: 4,
            memory: 1,
            disk: 1,
            calls: 4,
            call_rate: 0,
            calls_full: 500,
            call_rate_full: 50,
            fresh_ms: 3_000,
            stale_ms: 30_000,
        }
    }
}

/// One entry in a pool's list of targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// What it is.
    pub source: Source,
    /// Its share where the policy knows weights, 1 to [`WEIGHT_MAX`]. SRV records bring their own
    /// instead.
    pub weight: u32,
    /// Lower numbers first. SRV records bring their own, within this one.
    pub priority: Option<u16>,
    /// Active calls from which on it is full (of each target, where the entry is an SRV name).
    pub limit: Option<u32>,
}

impl TargetSettings {
    /// An entry of weight 1 without a limit.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            weight: 1,
            priority: None,
            limit: None,
        }
    }

    /// The same with this limit of calls.
    #[must_use]
    pub fn with_limit(mut self, calls: u32) -> Self {
        self.limit = Some(calls);
        self
    }

    /// The same with this weight.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The same with this priority.
    #[must_use]
    pub fn with_priority(mut self, priority: u16) -> Self {
        self.priority = Some(priority);
        self
    }
}

/// Where targets are from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// One target: this URI.
    Uri(String),
    /// One target: whoever owns the service of this name now
    /// ([`Pools::set_service`](crate::Pools::set_service)).
    Service(String),
    /// As many as this name has SRV records ([`Pools::set_records`](crate::Pools::set_records)).
    Srv(String),
}

/// How a target's health is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSettings {
    /// Between probes, ms, give or take [`JITTER_PERMILLE`]; 0 for no probes.
    pub probe_interval_ms: u64,
    /// How long an answer to a probe may take, ms; longer (twice the usual) where answers are slow.
    /// After a miss the next probe leaves at once.
    pub probe_timeout_ms: u64,
    /// Misses in a row that take a target out. A call without any reply counts as one.
    pub misses_out: u32,
    /// Answers in a row that bring it back.
    pub answers_back: u32,
    /// The window in which failing calls are counted, ms.
    pub window_ms: u64,
    /// Failing calls in the window that may take a target out; 0 for never.
    pub failures_out: u32,
    /// The share of the window's calls that must have failed too, in thousandths.
    pub failures_permille: u32,
    /// How long a target stays out that failed calls, that has no probes, or that was out a second
    /// time, ms; it doubles each further time.
    pub exile_ms: u64,
    /// The longest it grows to, ms.
    pub exile_max_ms: u64,
    /// Time in service for which one failure is forgotten, ms.
    pub forgive_ms: u64,
    /// The longest Retry-After that is believed, s.
    pub retry_after_max_s: u32,
}

/// How far, in thousandths, the time between two probes is from the interval, so that targets are
/// not probed in step.
pub const JITTER_PERMILLE: u64 = 150;

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            probe_interval_ms: 250,
            probe_timeout_ms: 150,
            misses_out: 3,
            answers_back: 2,
            window_ms: 10_000,
            failures_out: 5,
            failures_permille: 500,
            exile_ms: 2_000,
            exile_max_ms: 120_000,
            forgive_ms: 60_000,
            retry_after_max_s: 300,
        }
    }
}

impl Settings {
    /// Whether they can be taken.
    ///
    /// # Errors
    /// What cannot be: too many pools, a name twice, a fallback that is not there or leads back.
    pub fn check(&self) -> Result<(), Error> {
        if self.pools.len() > POOLS_MAX {
            return Err(Error::TooManyPools {
                pools: self.pools.len(),
            });
        }
        let entries: usize = self.pools.iter().map(|pool| pool.targets.len()).sum();
        if entries > TARGETS_MAX {
            return Err(Error::TooManyTargets { targets: entries });
        }
        for (index, pool) in self.pools.iter().enumerate() {
            if self.pools[..index].iter().any(|one| one.name == pool.name) {
                return Err(Error::PoolTwice {
                    pool: pool.name.clone(),
                });
            }
            self.check_fallback(pool)?;
            pool.check()?;
        }
        Ok(())
    }

    fn check_fallback(&self, pool: &PoolSettings) -> Result<(), Error> {
        let mut at = pool;
        for _ in 0..FALLBACKS_MAX {
            let Some(name) = &at.fallback else {
                return Ok(());
            };
            let Some(next) = self.pools.iter().find(|one| one.name == *name) else {
                return Err(Error::NoSuchFallback {
                    pool: at.name.clone(),
                    fallback: name.clone(),
                });
            };
            at = next;
        }
        Err(Error::FallbacksTooDeep {
            pool: pool.name.clone(),
        })
    }
}

impl PoolSettings {
    fn check(&self) -> Result<(), Error> {
        for (index, target) in self.targets.iter().enumerate() {
            if !(1..=WEIGHT_MAX).contains(&target.weight) {
                return Err(Error::WeightOutOfRange {
                    pool: self.name.clone(),
                    weight: target.weight,
                });
            }
            let before = &self.targets[..index];
            if before.iter().any(|one| one.source == target.source) {
                return Err(Error::TargetTwice {
                    pool: self.name.clone(),
                    source: target.source.clone(),
                });
            }
        }
        let health = &self.health;
        let zero = [
            ("probe_timeout_ms", health.probe_timeout_ms),
            ("misses_out", u64::from(health.misses_out)),
            ("answers_back", u64::from(health.answers_back)),
            ("window_ms", health.window_ms),
            ("exile_ms", health.exile_ms),
            ("forgive_ms", health.forgive_ms),
        ];
        match zero.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::Zero {
                pool: self.name.clone(),
                name,
            }),
            None => Ok(()),
        }
    }
}
