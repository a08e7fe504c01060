//! What an operator is shown of the cluster.

/// The cluster as this node sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterView {
    /// The cluster's name.
    pub name: String,
    /// This node's.
    pub node: String,
    /// Links to other nodes.
    pub links: Vec<LinkView>,
    /// The services that this node is a member of.
    pub services: Vec<ServiceView>,
    /// Whether this node has left its services to others, until it joins.
    pub has_left: bool,
    /// Whether the coordinator answered last time it was asked.
    pub coordinator_answers: bool,
    /// How late the thread that keeps the heartbeats woke at most, in microseconds, since the start.
    pub late_us_max: u64,
    /// The same of 99 of 100 times it woke.
    pub late_us_p99: u64,
    /// When this node's certificate ends, in seconds since 1970.
    pub certificate_ends_unix_s: u64,
    /// When that of the cluster's authority does.
    pub authority_ends_unix_s: u64,
}

/// A link to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// The node.
    pub node: String,
    /// Its address.
    pub address: String,
    /// Whether it is there.
    pub is_up: bool,
    /// Why it is not, if that is known.
    pub reason: Option<String>,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// What this node does about it, in a word.
    pub phase: &'static str,
    /// Who owns it, as far as is known.
    pub owner: Option<String>,
    /// Member: for how many milliseconds the owner was not heard.
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
    pub is_whole: bool,
    /// Owner: bytes that wait for members.
    pub backlog_bytes: u64,
    /// Owner: batches that are not committed.
    pub lag_batches: u64,
    /// Owner: how long a batch took to be committed, the last 64 at p50, in microseconds.
    pub commit_us: u64,
    /// What keeps an owner from acting after its time: `kernel` or `process`.
    pub lease_kept_by: &'static str,
    /// Milliseconds that this node may act for, if it may.
    pub authority_left_ms: Option<u64>,
    /// How the service got its owner, if this node is it or saw the change.
    pub last_takeover: Option<TakeoverView>,
    /// How often it did since it started.
    pub takeovers: u64,
}

/// How a node became the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeoverView {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The term of office.
    pub epoch: u64,
    /// By what right, in words, which the new owner knows alone.
    pub cause: &'static str,
    /// Milliseconds since the owner before was last heard; none if there was none.
    pub away_ms: Option<u64>,
}
