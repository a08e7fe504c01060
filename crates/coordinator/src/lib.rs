//! What ownership asks of the outside: one record a service that all members agree on, and programs that make sure
//! that a machine is off.
//!
//! The problem: who owns a service is decided by whoever replaces its record first, so the record has to lie where
//! writes are taken one after the other, and where it can still be read when machines die, hang and are cut off.
//!
//! The approach: [`Coordinator`] keeps the records in etcd (several endpoints, TLS, authentication) or, for members
//! on one machine, in a SQLite file. Both have the same few primitives (`entry`): read, compare-and-set of
//! revision *and* content, watch. Every request has a time limit and waits for no other; a request that gets no answer
//! goes to the next endpoint beside the first. Each write names the cluster it is meant for ([`ClusterId`]), so that two
//! clusters that were mixed up by mistake refuse each other. [`fence`] runs an operator's fence agent.
//!
//! Not attempted: deciding anything (`cluster` does), consensus (etcd's), retrying after a conflict, removing a member's
//! number (records may name it), leases of etcd (the record is the lease).

mod coordinator;
mod entry;
mod error;
mod etcd;
pub mod fence;
mod member;
mod options;
mod sqlite;
mod watch;
mod writes;

pub use coordinator::{CasOutcome, Coordinator, read_outcome};
pub use entry::ClusterId;
pub use error::Error;
pub use member::{MEMBERS_BYTES_MAX, Member, Registration};
pub use options::{EtcdOptions, Options, Password, Tls};
pub use watch::Watch;
