//! What the API says of media that are relayed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The relay in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Threads that relay.
    pub threads: u64,
    /// Those of them that did not answer in time; what they count is missing.
    pub silent_threads: u64,
    /// Calls whose media are relayed.
    pub sessions: u64,
    /// Pairs of ports that belong to calls.
    pub ports_in_use: u64,
    /// Pairs of ports that are free.
    pub ports_free: u64,
    /// Packets relayed in the last second.
    pub packets_per_s: u64,
    /// Packets relayed since the start.
    pub packets: u64,
    /// Their bytes, without UDP and IP headers.
    pub bytes: u64,
    /// Packets dropped since the start, by reason; reasons without any are left out.
    pub dropped: BTreeMap<String, u64>,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// Who called.
    Caller,
    /// Who was called: one of those that the call was forked to.
    Callee,
}

/// One way of one stream of a call: what a party sent, as the relay received it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediaLeg {
    /// Which party.
    pub party: Party,
    /// The branch of the call: 0 is the caller, 1 and up are callees.
    pub side: u8,
    /// The m-line, from 0.
    pub stream: u8,
    /// Whether the call talks, or talked last, with this party.
    pub selected: bool,
    /// Packets taken.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that should have come and did not.
    pub lost: u64,
    /// The same in per cent of those that should have come.
    pub loss_percent: f64,
    /// Variation of the packets' delay (RFC 3550), in milliseconds.
    pub jitter_ms: f64,
    /// An estimate of how it sounds, from 1 to 4.5 (ITU-T G.107); absent where nothing can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// From the relay to the party and back, in milliseconds, where RTCP has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    /// The payload type that was sent last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_type: Option<u8>,
    /// Where its packets come from; a short code where `log.private` is `"hide"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How many times it was learned where its packets come from.
    pub sources_learned: u32,
    /// Packets dropped on its ports, by reason; reasons without any are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
}
