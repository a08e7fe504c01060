//! Sockets: UDP in batches, readiness, framed TCP, name resolution, STUN on the SIP port.
//!
//! The problem: SIP is many small messages, and the cost of a message through a socket is mostly
//! the cost of entering the kernel. The approach: datagrams go in and out in batches over memory
//! that is allocated once, a thread sleeps in one place ([`poll::Poller`]) and is woken without a
//! system call when it is already awake. Media have a socket a stream, where one socket has no batch
//! to give: there it is made by letting packets gather for a moment ([`media`]). Streams, which are
//! few and need no batching of their own, run on tokio behind a hub that is called without waiting.
//!
//! The address of a service moves between machines and is dumb without a lease that the kernel keeps
//! ([`address`]).
//!
//! The nodes of a cluster are linked with each other, and with nobody else ([`peer`]).
//!
//! This is the only crate that contains `unsafe`, all of it in the module `sys`: the system
//! calls for which the standard library has no function. Linux only.
//!
//! Not attempted: io_uring (measured for media, and no cheaper), kernel bypass, segmentation
//! offload for UDP (SIP messages to one destination are rarely of one size), and other operating
//! systems.

pub mod address;
pub mod clock;
pub mod descriptors;
pub mod media;
pub mod peer;
pub mod poll;
pub mod priority;
pub mod resolve;
pub mod route;
pub mod stun;
pub mod tcp;
pub mod udp;

mod sys;
