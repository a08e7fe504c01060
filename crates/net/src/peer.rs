//! Links to the other nodes of a cluster: mutually authenticated, encrypted, and served by one thread.
//!
//! A link is one TCP connection with TLS 1.3. Both ends show a certificate of the cluster's own authority
//! ([`authority`]) in the name of their node, then greet each other: cluster, name, number, and what both have to
//! agree on. Handshakes run on threads of their own, so that a stranger's garbage or slowness costs the thread that
//! keeps the heartbeats nothing; a link that is made is given to that thread, which owns it from then on ([`Peers`]).
//!
//! Frames begin with their length in four bytes (big-endian, without themselves); an empty one only says that the
//! sender is there. Frames of [`Lane::Urgent`] go before those of [`Lane::Bulk`] that are still here, and the kernel
//! is given little ahead of time, so that heartbeats do not queue behind a snapshot. What is sent in a lane arrives in
//! order, or the link ends.

pub mod authority;
mod credentials;
mod der;
mod error;
mod greeting;
mod handshake;
mod link;
mod peers;

pub use credentials::Credentials;
pub use error::PeerError;
pub use greeting::PEERS_MAX;
pub use link::{BULK_BYTES_MAX, Lane, URGENT_BYTES_MAX};
pub use peers::{News, PeerOptions, Peers, Place};

#[cfg(test)]
mod tests;
