//! A laboratory: nodes, coordinators and phones on hosts of their own, what befalls them, and what the phones notice.
//!
//! # The problem
//!
//! That a service survives the death of its owner can be believed only of real processes with real addresses on a real (if small) network,
//! seen from outside: by phones that hold calls, and by somebody who listens on the wire. Such an experiment has to be able to fail, to be run by one command, and to leave nothing behind.
//!
//! # The approach
//!
//! - [`cage`]: the program starts itself again within namespaces of processes, networks and mounts of its own. They end with its first process,
//!   however that ends, and with them go all that it has started. Nothing has a name outside, so any number of laboratories run side by side.
//! - [`Host`] is a network namespace, [`World`] builds them on one bridge, and one behind a translator of addresses, and starts etcd, edges and PBXs. Without the rights for that, all is on loopback, with fewer faults.
//! - [`Fault`] is what befalls the owner of the service.
//! - Phones ([`phones`]) are one thread of our own, with the retransmissions of RFC 3261, that asks the service address every few milliseconds, holds calls in all phases, and sends and hears RTP.
//! - The judge ([`judge`]) listens on the bridge, and sees which host sends as the service address.
//! - [`takeover`] repeats one fault of a pair of edges, and gives a [`Row`].
//! - [`Published`] makes the published experiments: the contingency ([`contingency`]: PBXs and edges fail, three tests at once), the transactional situations
//!   ([`situation`]), and gives a [`report::Report`], whose rows have their limits and the published figures beside ours.
//!
//! # Not attempted
//!
//! Load (that is for `load`), phones with TCP or TLS, delay and loss on the links, and clocks that differ: all hosts have the machine's one clock and one kernel.

pub mod cage;
pub mod contingency;
mod error;
mod fault;
mod host;
pub mod judge;
mod machine;
mod message;
pub mod phones;
mod published;
pub mod report;
pub mod situation;
mod stress;
mod takeover;
mod world;

pub use error::Error;
pub use fault::Fault;
pub use host::Host;
pub use published::Published;
pub use stress::Stress;
pub use takeover::{Options, Row, takeover};
pub use world::{Farm, Lack, Plan, Tenure, World};
