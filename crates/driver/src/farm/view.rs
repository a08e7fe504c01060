//! What an operator sees of the pools, and what he does to them.

use std::net::SocketAddr;

use balancer::{Counters, PoolStatus, TargetId, TargetStatus, Wanted};

use super::Inner;
use super::places::is_meant;
use crate::shared::Shared;

/// All pools now.
#[derive(Debug, Clone, Default)]
pub struct FarmView {
    /// By name.
    pub pools: Vec<PoolView>,
    /// What was counted over all of them.
    pub counters: Counters,
}

/// A pool now.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// The word of the configuration for how it chooses.
    pub policy: &'static str,
    /// The pool after it.
    pub fallback: Option<String>,
    /// Its targets, in the order in which they joined.
    pub targets: Vec<TargetView>,
}

/// A target of a pool now.
#[derive(Debug, Clone)]
pub struct TargetView {
    /// How the balancer sees it.
    pub status: TargetStatus,
    /// Where it is; none while its name leads nowhere.
    pub address: Option<SocketAddr>,
    /// Probes sent.
    pub probes: u64,
    /// Answers to them.
    pub probe_answers: u64,
    /// Calls that it did not answer, refused as a server does, or could not be reached for; probes that could not
    /// reach it.
    pub failures: u64,
}

/// A name that no target has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownTarget {
    /// The names that there are.
    pub known: Vec<String>,
}

/// Why the operator's word about targets does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSaid {
    /// No target has this name.
    Unknown {
        /// The names that there are.
        known: Vec<String>,
    },
    /// There are [`balancer::WORDS_MAX`] words about others.
    TooMany(balancer::Error),
    /// Another node owns the service: its word counts.
    NotOwner,
}

impl From<balancer::Error> for NotSaid {
    fn from(error: balancer::Error) -> NotSaid {
        NotSaid::TooMany(error)
    }
}

fn word(policy: balancer::Policy) -> &'static str {
    use balancer::{HashBy, Policy};
    match policy {
        Policy::RoundRobin => "round-robin",
        Policy::Weighted => "weighted",
        Policy::LeastCalls => "least-calls",
        Policy::Load(_) => "load",
        Policy::Hash(HashBy::Source) => "hash-source",
        Policy::Hash(HashBy::CallId) => "hash-call-id",
        Policy::Hash(HashBy::User) => "hash-user",
        Policy::Priority => "priority",
    }
}

impl Inner {
    fn view(&self, pool: PoolStatus) -> PoolView {
        let target = |status: TargetStatus| {
            let counts = self.places.counts(status.id);
            TargetView {
                address: self.places.address(status.id).map(|(_, address)| address),
                probes: counts.probes,
                probe_answers: counts.probe_answers,
                failures: counts.failures,
                status,
            }
        };
        PoolView {
            name: pool.name,
            policy: word(pool.policy),
            fallback: pool.fallback,
            targets: pool.targets.into_iter().map(target).collect(),
        }
    }
}

impl Shared {
    pub(crate) fn farm_view(&self) -> FarmView {
        self.with_farm(|inner, now| {
            let pools = inner.pools.snapshot(now).into_iter();
            FarmView {
                pools: pools.map(|pool| inner.view(pool)).collect(),
                counters: inner.pools.counters(),
            }
        })
    }

    /// Says what the operator wants of the targets of this name; gives their names.
    pub(crate) fn set_wanted(
        &self,
        name: &str,
        pool: Option<&str>,
        wanted: Wanted,
    ) -> Result<Vec<String>, NotSaid> {
        self.with_farm(|inner, now| {
            let pools = inner.pools.snapshot(now);
            let of_pool = pools
                .iter()
                .filter(|one| pool.is_none_or(|pool| pool == one.name))
                .flat_map(|pool| &pool.targets);
            let mut meant: Vec<(TargetId, &str)> = Vec::new();
            let mut known: Vec<String> = Vec::new();
            for status in of_pool {
                if is_meant(name, &status.name) && meant.iter().all(|(id, _)| *id != status.id) {
                    meant.push((status.id, &status.name));
                }
                if !known.contains(&status.name) {
                    known.push(status.name.clone());
                }
            }
            if meant.is_empty() {
                // A word may be taken back of one that is not there at present.
                let words = inner.pools.words().map(|(name, _)| name.to_owned());
                let gone: Vec<String> = words.filter(|word| is_meant(name, word)).collect();
                if pool.is_some() || gone.is_empty() {
                    return Err(NotSaid::Unknown { known });
                }
                for name in &gone {
                    inner.pools.set_wanted_of(now, name, wanted)?;
                }
                return Ok(gone);
            }
            for (target, _) in &meant {
                inner.pools.set_wanted(now, *target, wanted)?;
            }
            Ok(meant.into_iter().map(|(_, name)| name.to_owned()).collect())
        })
    }

    /// What the operator wants of whom, by name.
    pub(crate) fn words(&self) -> Vec<(String, Wanted)> {
        let inner = self.farm.lock();
        let words = inner.pools.words();
        words.map(|(name, word)| (name.to_owned(), word)).collect()
    }
}
