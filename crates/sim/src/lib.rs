//! Whole clusters, simulated on one thread from one seed.
//!
//! The problem: the protocol of `cluster` has to be safe whatever nodes, network, coordinator and clocks do,
//! and no set of examples shows that.
//!
//! The approach: a [`World`] of real machines (`cluster::Service`) under a made-up clock, network and
//! coordinator, driven by a queue of events. Chance comes from the seed alone, so that a run can be had again.
//! At every step it is checked that nobody may act beside another ([`Violation`]); then everything heals, and
//! the cluster has to settle. [`run::seed`] does all of it.
//!
//! Not attempted: SIP, RTP, bytes on a disk, the driver's code.

pub mod availability;
mod coordinator;
mod network;
mod oracle;
pub mod plan;
pub mod random;
pub mod run;
mod world;

pub use oracle::Violation;
pub use plan::{Faults, Plan};
pub use world::{Blow, Coverage, World};
