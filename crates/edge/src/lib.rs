//! The edge's core: what one thread does with each message.
//!
//! The problem: proxy, registrar and transactions each know their own RFC; somebody has to decide which
//! of them a message is for, who may ask for what, and in which order the questions are put.
//!
//! The approach: [`Edge::receive`] takes one message and the flow it came on and leaves what is to be
//! done in an [`Output`]; [`Edge::poll`] does what time brings. Users and bindings, which all threads
//! share, are reached through a [`Directory`]. Requests are admitted by RFC 3261 section 16.3: syntax,
//! scheme and Proxy-Require; of what is to be forwarded Max-Forwards and loops; then credentials.
//!
//! Not attempted: sockets, clocks, storage; they are the driver's.

mod admit;
mod auth;
mod conduct;
mod directory;
mod edge;
mod office;
mod output;
pub mod overload;
mod pools;
pub mod record;
mod register;
mod settings;
pub mod sources;
mod timers;

pub use directory::Directory;
pub use edge::{Edge, Tables};
pub use office::{Office, REVIVAL_SPREAD_MS};
pub use output::{BANS_MAX, BindingNote, Counted, Now, Output, Renewals};
pub use pools::{PoolRoute, Probe};
pub use settings::{AuthSettings, Settings};
