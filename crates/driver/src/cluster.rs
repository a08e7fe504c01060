//! The node's place in a cluster: one thread that runs the pure machines of `cluster` for all services of the node.
//!
//! The thread owns the links to the other nodes and sleeps in one place, so that heartbeats wait for nothing else that the
//! node does. Workers leave what changed on the service's [`Desk`]; the thread streams it in batches that all workers share
//! and says when what depends on it may leave. The coordinator lives on tokio and answers through the thread's inbox.
//!
//! What a service *is* is its [`Crew`]: the workers of the edge, or the thread of a PBX. A node is a member of one edge and of any
//! number of PBXs; all of them share the thread, the links and the coordinator, and each has an epoch, a stream and an address of its own.

mod address;
mod coordination;
mod crew;
mod desk;
mod inbox;
mod memory;
mod post;
mod roster;
mod seat;
mod settings;
mod tenure;
mod thread;
mod view;

pub use roster::Roster;
pub use settings::{ClusterPulse, ClusterSettings, MoverSettings, ServiceSettings};
pub use view::{ClusterView, LinkView, ServiceView, TakeoverView};

pub(crate) use coordination::attend;
pub(crate) use crew::{Crew, EdgeCrew};
pub(crate) use desk::{Desk, Ticket};
pub(crate) use inbox::{ClusterInbox, Order};
pub(crate) use thread::ClusterThread;
