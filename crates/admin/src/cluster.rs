//! What the API says of the cluster.

use serde::{Deserialize, Serialize};

/// The cluster as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Whether the coordinator answered last time it was asked.
    pub coordinator_answers: bool,
    /// Whether this node has left its services to others, until `join`.
    #[serde(default)]
    pub has_left: bool,
    /// Links to other nodes.
    pub links: Vec<LinkStatus>,
    /// The services that this node is a member of.
    pub services: Vec<ServiceStatus>,
    /// How late the thread that keeps the heartbeats woke at most since the start, in microseconds.
    pub late_us_max: u64,
    /// The same of 99 of 100 times, to the next power of two.
    pub late_us_p99: u64,
    /// When the certificate ends that this node shows the others, in seconds since 1970.
    #[serde(default)]
    pub certificate_ends_s: u64,
    /// When that of the cluster's authority does.
    #[serde(default)]
    pub authority_ends_s: u64,
}

/// A link to another node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The node.
    pub node: String,
    /// Its address.
    pub address: String,
    /// Whether it is there.
    pub up: bool,
    /// Why it is not, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What this node does about it: `member`, `fencing`, `claiming`, `owner`, `draining`, `releasing`.
    pub phase: String,
    /// Who owns it, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Member: for how many milliseconds the owner was not heard.
    #[serde(default)]
    pub owner_silent_ms: u64,
    /// The term of office.
    pub epoch: u64,
    /// Who may claim it.
    pub members: Vec<String>,
    /// Who has all that was committed.
    pub in_sync: Vec<String>,
    /// Records in this node's table.
    pub records: u64,
    /// Whether this node's table is whole.
    pub whole: bool,
    /// Owner: batches that are not committed.
    pub lag_batches: u64,
    /// Owner: bytes that wait for members.
    pub backlog_bytes: u64,
    /// Owner: how long a batch takes to be committed, in microseconds.
    pub commit_us: u64,
    /// What keeps an owner from acting after its time: `kernel (absolute)`, `kernel (relative)` or `process`.
    pub lease_kept_by: String,
    /// Owner: for how many milliseconds it may act unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_left_ms: Option<u64>,
    /// How it got its owner, if this node is it or saw the change; that of an earlier epoch is history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_takeover: Option<Takeover>,
    /// How often this node became the owner since it started.
    pub takeovers: u64,
}

/// How a node became the owner of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The term of office.
    pub epoch: u64,
    /// By what right.
    pub cause: String,
    /// Milliseconds since the owner before was last heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_ms: Option<u64>,
}

/// What is asked of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterOrder {
    /// Move a service to a node, or to the most preferred one in sync.
    Switchover {
        /// The service.
        service: String,
        /// The node.
        node: Option<String>,
    },
    /// Leave all services to other members.
    Leave,
    /// Take part again.
    Join,
}
