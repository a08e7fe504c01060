//! The holdline program: configuration, wiring, command line.
//!
//! [`config`] judges the one file a node is told by. [`cli`] is the command
//! line. Between them: the node's life in a process (start, signals, reload,
//! drain), the adapter between driver, store and admin API, and what all of
//! them log. Nothing here decides about SIP.

pub mod cli;
mod client;
mod cluster;
pub mod config;
pub mod directory;
mod hand_over;
mod lifecycle;
pub mod logging;
mod media;
mod metrics;
mod pbx;
mod pools;
mod private;
mod settings;
mod sources;
pub mod supervisor;
mod wiring;
mod words;

pub use cluster::ClusterError;
pub use lifecycle::StartError;
pub use private::{Private, show_private};
