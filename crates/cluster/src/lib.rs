//! Who owns a service, and what a standby knows.
//!
//! The problem: any node may die, freeze or be cut off at any moment, and the service that it owned is to
//! go on elsewhere within a lease, with everything that was promised to a peer, and never at two places.
//!
//! The approach: [`ownership`] holds one record a service in a coordinator and lets its owner act for a
//! lease after either the coordinator or all other members have confirmed it; [`checkpoint`] streams what the
//! owner knows to the members and says when an output may leave. [`Service`] joins the two for a driver: it
//! takes frames, answers and a node's own monotonic time, and returns effects. `docs/ownership.md` has the
//! proof, and the crate `sim` attacks it.
//!
//! Not attempted: consensus (the coordinator's), encryption and connections (`net`'s), what a record means
//! (the application's).

pub mod checkpoint;
pub mod error;
pub mod invariant;
pub mod node;
pub mod output;
pub mod ownership;
pub mod record;
pub mod rule;
mod service;
pub mod time;
pub mod wire;

pub use checkpoint::{Apply, Batch, Held};
pub use error::Error;
pub use node::{Epoch, Identity, Incarnation, NodeId, NodeSet, Revision, Seq};
pub use output::{Effect, Output, RequestId};
pub use ownership::{Basis, Event, Outcome, Phase, Settings};
pub use record::{Record, Tenure, Version};
pub use service::{Options, Service, Status};
pub use time::Time;
pub use wire::message::ServiceId;
