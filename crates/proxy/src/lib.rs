//! The decisions of a stateful SIP proxy (RFC 3261 section 16).
//!
//! The problem: a request comes in, it may have to go to several places at once or one after the other,
//! and exactly one answer has to come out, whatever those places, the caller and the network do meanwhile.
//!
//! The approach: [`route`] reads the Route headers, [`forward`] writes a request for its next hop as
//! splices over what came, [`Proxy`] keeps a response context for each request that is being answered
//! and moves it by responses, timers and CANCELs. State that a dialog needs later rides in its
//! Record-Route as a signed [`cookie`]. Authentication and the location table are the caller's.
//!
//! Not attempted: recursion on 3xx (the caller is told), stateless proxying of requests other than ACK.

mod ack;
mod anchor;
mod anchoring;
pub mod calls;
mod context;
pub mod cookie;
pub mod event;
mod failover;
pub mod forward;
mod identity;
pub mod loops;
pub mod media;
mod negotiate;
pub mod pool;
mod proxy;
pub mod record;
mod respond;
pub mod route;
pub mod settings;
mod side;
pub mod target;

pub use calls::{Call, Calls, Stage};
pub use event::{CallNote, Counters, Event};
pub use identity::remove_identities;
pub use media::{Anchored, MediaPort, MediaPorts, NoPorts};
pub use pool::{Chosen, Farm};
pub use proxy::{Forward, ForwardAck, Network, Proxy, Resolve, Surroundings};
pub use route::{Preprocessed, Unroutable, preprocess};
pub use settings::{Listener, Settings};
pub use target::{NextHop, Target, Targets};
