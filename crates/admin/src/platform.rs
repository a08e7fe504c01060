//! The node as the API sees it.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use tokio::sync::broadcast;

use crate::ban::Ban;
use crate::cluster::ClusterOrder;
use crate::metrics::MetricFamily;
use crate::model::{
    Binding, Call, Credential, Domain, Health, Imported, NewUser, Page, Query, Reloaded, Stamped,
    Status, User, UserImport,
};
use crate::pool::{PoolStatus, TargetOrder, TargetsChanged};

/// What a question to the node becomes.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// The node as the API sees it. The program's wiring implements it over the
/// driver and the store; tests over a table.
pub trait Platform: Send + Sync + 'static {
    /// Whether the node takes work. Cheap: probes ask every second.
    fn health(&self) -> Health;
    /// All metrics now.
    fn metrics(&self) -> Answer<'_, Vec<MetricFamily>>;
    /// The node in short.
    fn status(&self) -> Answer<'_, Status>;
    /// Bindings in force, ordered by address of record.
    fn registrations(&self, query: Query) -> Answer<'_, Page<Binding>>;
    /// Calls in progress, the oldest first.
    fn calls(&self, query: Query) -> Answer<'_, Page<Call>>;
    /// Pools of media servers, by name.
    fn pools(&self) -> Answer<'_, Vec<PoolStatus>>;
    /// Has a media server drained, taken out, or taken back.
    fn order_target(&self, order: TargetOrder) -> Answer<'_, TargetsChanged>;
    /// Takes in the load of a media server's host.
    fn report_load(&self, report: agent::Report) -> Answer<'_, ()>;
    /// Sources that are banned, the ban that ends first being the first.
    fn bans(&self) -> Answer<'_, Vec<Ban>>;
    /// Ends the ban of an address, or of the network that it is in.
    fn unban(&self, address: IpAddr) -> Answer<'_, ()>;
    /// Users, ordered by address of record.
    fn users(&self, query: Query) -> Answer<'_, Page<User>>;
    /// Adds a user; the node knows him when this returns.
    fn add_user(&self, user: NewUser) -> Answer<'_, ()>;
    /// Adds many users, all valid ones or on an error none; the node knows them within seconds.
    fn import_users(&self, import: UserImport) -> Answer<'_, Imported>;
    /// Deletes a user and his bindings.
    fn delete_user(&self, aor: String) -> Answer<'_, ()>;
    /// Replaces a user's credentials.
    fn set_credential(&self, aor: String, credential: Credential) -> Answer<'_, ()>;
    /// The domains the node answers for.
    fn domains(&self) -> Answer<'_, Vec<Domain>>;
    /// Adds a domain to the store.
    fn add_domain(&self, domain: String) -> Answer<'_, ()>;
    /// Deletes a domain of the store that has no users.
    fn delete_domain(&self, domain: String) -> Answer<'_, ()>;
    /// Reads the configuration again.
    fn reload(&self) -> Answer<'_, Reloaded>;
    /// Moves a service of the cluster, or leaves or joins it.
    fn order_cluster(&self, order: ClusterOrder) -> Answer<'_, ()>;
    /// Takes nothing new, ends what was accepted, then ends the process.
    fn drain(&self) -> Answer<'_, ()>;
    /// What happens from now on.
    fn events(&self) -> broadcast::Receiver<Stamped>;
}

/// Why the node did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such thing.
    NotFound {
        /// `user`, `domain`, `target`, `ban of`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There is one already.
    Exists {
        /// `user`, `domain`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The request contradicts itself or the state of the node.
    Invalid {
        /// What is wrong.
        what: String,
        /// What would be right.
        want: String,
    },
    /// The configuration file has these mistakes; the old one holds.
    BadConfig {
        /// `FILE:LINE:COLUMN: ...`, one each.
        mistakes: Vec<String>,
    },
    /// Not now: draining, or the store is away.
    Unavailable {
        /// Why.
        reason: String,
    },
    /// Ours.
    Failed {
        /// What failed, for the operator.
        what: String,
    },
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotFound { kind, name } => write!(f, "no {kind} {name}"),
            Refusal::Exists { kind, name } => write!(f, "{kind} {name} exists already"),
            Refusal::Invalid { what, want } => write!(f, "{what}; {want}"),
            Refusal::BadConfig { mistakes } => {
                write!(f, "the configuration is bad and the old one holds:")?;
                mistakes
                    .iter()
                    .try_for_each(|mistake| write!(f, "\n{mistake}"))
            }
            Refusal::Unavailable { reason } => write!(f, "not now: {reason}"),
            Refusal::Failed { what } => write!(f, "failed: {what}"),
        }
    }
}
