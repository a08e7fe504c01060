//! What the API says of pools of media servers, and what an operator does to these.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub pool: String,
    /// How it chooses: the word of the configuration.
    pub policy: String,
    /// The pool after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Its media servers.
    pub targets: Vec<TargetStatus>,
}

/// A media server of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// What the verbs know it by: its URI.
    pub target: String,
    /// The service of the cluster that is there: the verbs know it by that, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where it is; absent while its name leads nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How it stands: `up`, `warming`, `busy`, `out`, `draining`, `disabled`.
    pub state: String,
    /// Why, in words.
    pub reason: String,
    /// For how long, in milliseconds.
    pub since_ms: u64,
    /// Active calls, those being set up included.
    pub calls: u32,
    /// From how many on it is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Calls given to it since the start.
    pub picks: u64,
    /// Calls that it did not answer or refused as a broken server does, and probes that could not reach it.
    pub failures: u64,
    /// Probes sent.
    pub probes: u64,
    /// Answers to them.
    pub probe_answers: u64,
    /// The usual time of such an answer, in milliseconds.
    pub probe_rtt_ms: u32,
    /// Its weight.
    pub weight: u32,
    /// Its priority: the configuration's, then the SRV record's.
    pub priority: (u16, u16),
    /// The part of its share that it gets while it is warming up, in thousandths.
    pub share_permille: u32,
    /// For how much longer it is kept out though it may answer, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept_out_ms: u64,
    /// What its agent said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentStatus>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A host's load as its agent told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// CPU in use, in thousandths, as other figures are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_permille: Option<u16>,
    /// Memory in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_permille: Option<u16>,
    /// Time the busiest disk was busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_permille: Option<u16>,
    /// Calls as the media server counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u32>,
    /// How long ago, in milliseconds.
    pub age_ms: u64,
    /// How far that is believed, in thousandths.
    pub trust_permille: u32,
}

/// What an operator wants of a media server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetVerb {
    /// No new calls; those there are go on.
    Drain,
    /// New calls again.
    Undrain,
    /// No calls and no probes, as if it were dead: what it has not answered moves on.
    Disable,
    /// Calls and probes again.
    Enable,
}

impl TargetVerb {
    /// All of them.
    pub const ALL: [TargetVerb; 4] = [
        TargetVerb::Drain,
        TargetVerb::Undrain,
        TargetVerb::Disable,
        TargetVerb::Enable,
    ];
}

impl fmt::Display for TargetVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TargetVerb::Drain => "drain",
            TargetVerb::Undrain => "undrain",
            TargetVerb::Disable => "disable",
            TargetVerb::Enable => "enable",
        })
    }
}

/// An operator's word about a media server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetOrder {
    /// What is wanted.
    pub verb: TargetVerb,
    /// Its URI, with or without `sip:`, or the service that is there.
    pub target: String,
    /// Only where it is a target of this pool.
    pub pool: Option<String>,
}

/// What an order did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetsChanged {
    /// The media servers it was for.
    pub targets: Vec<String>,
}
