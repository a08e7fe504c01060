//! What can go wrong in this crate.

use core::fmt;

/// Why an agent cannot begin, or a report cannot be taken.
#[derive(Debug)]
pub enum Error {
    /// No edge to report to.
    NoEdges,
    /// More edges than [`EDGES_MAX`](crate::EDGES_MAX).
    TooManyEdges {
        /// How many there are.
        edges: usize,
    },
    /// An edge that is not `http://HOST:PORT`.
    NotHttp {
        /// What was given.
        edge: String,
    },
    /// An interval shorter than [`INTERVAL_MIN`](crate::INTERVAL_MIN).
    TooOften {
        /// What was asked for, ms.
        interval_ms: u128,
    },
    /// No name by which the edges know the target.
    NoTarget,
    /// A report that is too long.
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A report that is no JSON object of the right form.
    Form(serde_json::Error),
    /// A figure that is more than all there is.
    OutOfRange {
        /// Which.
        figure: &'static str,
        /// What it was.
        permille: u16,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoEdges => {
                f.write_str("no edge to report to: name the admin API of one or more with --edge")
            }
            Error::TooManyEdges { edges } => {
                write!(f, "{edges} edges, {} is the limit", crate::EDGES_MAX)
            }
            Error::NotHttp { edge } => {
                write!(f, "the edge {edge:?} is not of the form http://HOST:PORT")
            }
            Error::TooOften { interval_ms } => write!(
                f,
                "a report every {interval_ms} ms, at most one every {} ms is sent",
                crate::INTERVAL_MIN.as_millis()
            ),
            Error::NoTarget => f.write_str(
                "no target: name this host's as the edges' pools do, by its URI or service name",
            ),
            Error::TooLong { bytes } => write!(f, "a report of {bytes} bytes"),
            Error::Form(error) => write!(f, "not a report: {error}"),
            Error::OutOfRange { figure, permille } => {
                write!(f, "{figure} is {permille}, 1000 is the most")
            }
        }
    }
}

impl core::error::Error for Error {}

/// Why a figure is not known for now. The others are reported all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A file of `/proc` cannot be read.
    Unreadable {
        /// Which.
        path: &'static str,
        /// What the system says.
        what: String,
    },
    /// A file of `/proc` is not of the known form.
    Unknown {
        /// Which.
        path: &'static str,
    },
    /// The command that counts calls cannot be started, or failed.
    Command {
        /// What it or the system says.
        what: String,
    },
    /// It did not end in time and was killed.
    CommandSlow {
        /// The time it had, ms.
        timeout_ms: u128,
    },
    /// The URL that tells the calls did not answer as it should.
    Query {
        /// What went wrong.
        what: String,
    },
    /// What was answered holds no number where one was looked for.
    NoNumber {
        /// The beginning of what was answered.
        answer: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Unreadable { path, what } => write!(f, "{path} cannot be read: {what}"),
            Trouble::Unknown { path } => write!(f, "{path} has a form that is not known"),
            Trouble::Command { what } => write!(f, "the command for calls failed: {what}"),
            Trouble::CommandSlow { timeout_ms } => {
                write!(f, "the command for calls took more than {timeout_ms} ms")
            }
            Trouble::Query { what } => write!(f, "the query for calls failed: {what}"),
            Trouble::NoNumber { answer } => {
                write!(f, "no number of calls was found in {answer:?}")
            }
        }
    }
}
