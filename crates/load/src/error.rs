//! Why a run does not begin or go on.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why a run does not begin or go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// One of our own addresses cannot be used.
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// There are not as many sockets as streams.
    Streams {
        /// How many were wanted.
        streams: u32,
        /// What the system says.
        error: io::Error,
    },
    /// A thread cannot be started, or has ended.
    Thread(io::Error),
    /// Calls or registrations without anybody to make them.
    NoUsers,
    /// There is no address to send from.
    NoSources,
    /// Fewer fixed addresses than threads: responses would come to the wrong one.
    FixedPorts {
        /// Addresses with a port.
        sources: usize,
        /// Threads.
        threads: usize,
    },
    /// The system gives no random numbers.
    Random,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind { address, error } => write!(f, "cannot use {address}: {error}"),
            Error::Streams { streams, error } => write!(
                f,
                "cannot open sockets for {streams} streams: {error}; raise the limit of open files (ulimit -n) or lower --active-max"
            ),
            Error::Thread(error) => write!(f, "a thread has failed: {error}"),
            Error::NoUsers => write!(
                f,
                "nobody to call or register: name users with --users and --user"
            ),
            Error::NoSources => write!(f, "no address to send from: name one with --from"),
            Error::FixedPorts { sources, threads } => write!(
                f,
                "{threads} threads cannot share {sources} addresses with fixed ports: give one a thread, or --threads {sources}"
            ),
            Error::Random => write!(f, "the system gives no random numbers"),
        }
    }
}
