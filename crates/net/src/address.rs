//! The address of a service: moving it to this machine and away, telling the neighbours, and the lease
//! without which the kernel lets nothing out.
//!
//! An owner installs the [`lease::Lease`] when it starts, which makes the address dumb. On winning the service it
//! extends the lease, has the [`Mover`] add the address and announces it at the times of
//! [`ANNOUNCE_AFTER_MS`]. On losing it, it revokes the lease and has the address removed. Sockets are bound
//! beforehand (`freebind` of `UdpOptions`, `ListenOptions` and `MediaOptions`).
//!
//! ```no_run
//! # fn main() -> Result<(), net::address::AddressError> {
//! use net::address::{Mover, NetlinkMover};
//! let mut mover = Mover::Netlink(NetlinkMover::new("10.0.0.100".parse().expect("an address"), None, "eth0")?);
//! mover.add(net::clock::Boottime::now())?;
//! mover.announce()?;
//! # Ok(()) }
//! ```
//!
//! No call blocks, except [`probe::who_uses`]: the kernel carries out a request before the call that makes it returns, and
//! the operator's program of [`ExecMover`] is looked after in [`Mover::poll`].

mod announce;
mod error;
mod exec;
mod frame;
mod interface;
pub mod keeper;
pub mod lease;
mod mover;
mod netlink;
pub mod probe;

pub use announce::{ANNOUNCE_AFTER_MS, Announcer};
pub use error::{AddressError, Exit, Step};
pub use exec::{ExecMover, OUTPUT_BYTES_MAX};
pub use frame::Mac;
pub use interface::Interface;
pub use mover::{Mover, NetlinkMover, Progress};
