//! Runs the edge's core on threads with sockets, clock, timers and queues.
//!
//! The problem: the core decides in a microsecond; what costs is getting messages in and out, and keeping
//! what the threads share out of each other's way.
//!
//! The approach: each worker thread owns a core, its UDP sockets and an inbox; it takes datagrams in
//! batches, gives each to the core (or to the worker that its Call-ID belongs to), then hands over what is
//! to be stored, looked up and sent, once a turn. Streams, look-ups and the store live on tokio and speak
//! to the workers through their inboxes. Relay threads own the sockets of media; workers take ports for calls
//! from a table in memory and tell the relay threads by commands what they are for. The pools of media servers lie
//! behind a lock; a task has their targets probed. [`Node`] is the whole.
//!
//! Not attempted: deciding anything about a message; that is the core's.

mod clock;
mod cluster;
mod endings;
mod event;
mod farm;
mod inbox;
mod inspect;
mod media;
mod network;
mod node;
pub mod pbx;
mod rows;
mod settings;
mod shared;
mod sources;
mod streams;
mod tasks;
mod users;
pub mod voice;
mod worker;

pub use crate::cluster::{
    ClusterPulse, ClusterSettings, ClusterView, LinkView, MoverSettings, Roster, ServiceSettings,
    ServiceView, TakeoverView,
};
pub use edge::overload::OverloadLimits;
pub use edge::sources::{Ban, Offence, SourceLimits};
pub use event::Event;
pub use farm::{
    FarmSettings, FarmView, NotSaid, PoolView, RouteSettings, TargetView, UnknownTarget,
};
pub use inspect::{CallRow, Registration, RegistrationPage, Snapshot};
pub use media::{
    MEDIA_ADDRESSES_MAX, MOS_BOUNDS, MediaError, MosHistogram, RelaySettings, RelaySnapshot,
};
pub use node::{Node, StartError};
pub use settings::Settings;
pub use sources::BanView;
