//! The admin HTTP API: health, metrics, an operator's verbs.
//!
//! The API sees the node through one trait, [`Platform`], and knows neither
//! SIP nor SQL. [`serve`] answers until it is told to stop. What stands
//! between a request and the node: a bound on connections and bodies, a check
//! of the Host header against DNS rebinding, no writes from web pages, and a
//! bearer token where one is configured.
//!
//! Not attempted: TLS (a reverse proxy does it), roles (who may speak to the
//! API may do everything, but for agents, who have a token of their own and
//! only report), a user interface.

mod ban;
mod cluster;
mod guard;
mod media;
mod metrics;
mod model;
mod platform;
mod pool;
mod serve;

pub use ban::Ban;
pub use cluster::{ClusterOrder, ClusterStatus, LinkStatus, ServiceStatus, Takeover};
pub use guard::Access;
pub use media::{MediaLeg, Party, RelayStatus};
pub use metrics::{CONTENT_TYPE, MetricFamily, MetricKind, Sample, encode};
pub use model::{
    Binding, Call, CallState, Credential, Domain, Event, Health, ImportMistake, Imported, NewUser,
    Page, Password, PbxStatus, Query, Reloaded, Stamped, State, Status, User, UserImport,
};
pub use platform::{Answer, Platform, Refusal};
pub use pool::{AgentStatus, PoolStatus, TargetOrder, TargetStatus, TargetVerb, TargetsChanged};
pub use serve::{
    BODY_BYTES_MAX, CONNECTIONS_MAX, EVENT_STREAMS_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, serve,
};
