//! What an operator sees.

use crate::event::{AgentLoad, Reason, State, TargetId};
use crate::pools::Pools;
use crate::settings::Policy;
use crate::target::Wanted;
use crate::time::Time;

/// A pool as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// How it chooses.
    pub policy: Policy,
    /// The pool after it.
    pub fallback: Option<String>,
    /// Its targets, in the order in which they joined.
    pub targets: Vec<TargetStatus>,
}

/// A target of a pool as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStatus {
    /// Which.
    pub id: TargetId,
    /// What the verbs know it by: its URI or service name.
    pub name: String,
    /// Where it is reached.
    pub uri: String,
    /// How it stands.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// For how long, ms.
    pub since_ms: u64,
    /// What the operator wants.
    pub wanted: Wanted,
    /// Active calls, those being set up included.
    pub calls: u32,
    /// Calls begun altogether.
    pub calls_begun: u64,
    /// From how many on it is full.
    pub limit: Option<u32>,
    /// Its weight.
    pub weight: u32,
    /// Its priority: the entry's, and the SRV record's.
    pub priority: (u16, u16),
    /// The share that slow start gives it, in thousandths.
    pub share_permille: u32,
    /// What its agent said last, and how long ago, ms.
    pub agent: Option<(AgentLoad, u64)>,
    /// How far that is believed, in thousandths.
    pub trust_permille: u32,
    /// The usual time of an answer to a probe, ms.
    pub probe_rtt_ms: u32,
    /// The usual time of a first response to a call, ms.
    pub reply_ms: u32,
    /// For how much longer it is kept out although it may answer, ms.
    pub exiled_ms: u64,
    /// Times it went out that still count against it.
    pub flaps: u32,
}

impl Pools {
    /// All pools, by name.
    #[must_use]
    pub fn snapshot(&self, now: Time) -> Vec<PoolStatus> {
        let pools = self.names.iter();
        let pools = pools.filter_map(|(name, id)| Some((name, self.pools[id.index()].as_ref()?)));
        pools
            .map(|(name, pool)| PoolStatus {
                name: name.clone(),
                policy: pool.settings.policy,
                fallback: pool.settings.fallback.clone(),
                targets: pool
                    .members()
                    .filter_map(|member| {
                        let target = self.slot(member.wish.target)?;
                        let agent = target.figures.agent();
                        Some(TargetStatus {
                            id: target.id,
                            name: target.key.as_str().to_owned(),
                            uri: target.endpoint.uri.clone(),
                            state: target.state,
                            reason: target.reason,
                            since_ms: now.ms_since(target.since),
                            wanted: target.wanted,
                            calls: target.active,
                            calls_begun: target.begun,
                            limit: member.wish.limit,
                            weight: member.wish.weight,
                            priority: (
                                (member.wish.priority >> 16) as u16,
                                member.wish.priority as u16,
                            ),
                            share_permille: target.share,
                            agent: agent.map(|(load, at)| (load, now.ms_since(at))),
                            trust_permille: target.figures.trust,
                            probe_rtt_ms: target.health.rtt_ms,
                            reply_ms: target.health.reply_ms,
                            exiled_ms: target.health.exiled_until.ms_since(now),
                            flaps: target.health.flaps,
                        })
                    })
                    .collect(),
            })
            .collect()
    }
}
