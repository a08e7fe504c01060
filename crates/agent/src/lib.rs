//! A reporter of a host's load to the edges: `holdline agent`.
//!
//! The problem: a balancer that chooses by load has to know how busy the hosts of its targets are,
//! whatever media server runs there, and the report must neither load the host nor stop calls when
//! it fails to come.
//!
//! The approach: the texts of `/proc` are read once an interval ([`proc`]), the number of calls comes
//! from a command or an HTTP query that the operator names ([`calls`]), and a small JSON object
//! ([`Report`]) is posted to the admin API of every edge ([`run`]). Each edge is spoken to by a thread
//! of its own, which always sends the newest figures and never a backlog. What makes a load of the
//! figures, and how far old ones are believed, is `balancer`'s.
//!
//! Not attempted: limits of control groups (an agent in a container sees its host), other systems
//! than Linux, TLS (as the admin API itself).

pub mod calls;
mod error;
pub mod proc;
mod report;
mod run;

pub use calls::CallsSource;
pub use error::{Error, Trouble};
pub use report::{REPORT_BYTES_MAX, Report};
pub use run::{EDGES_MAX, INTERVAL_MIN, Notice, Options, REPORT_PATH, run};
