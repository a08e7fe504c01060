//! Why an experiment could not be made.

use std::path::PathBuf;

/// Why an experiment could not be made; that something was lost in one is a result and no error.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The machine does not give the rights for hosts of its own.
    Rights {
        /// What it said.
        what: String,
    },
    /// The fault needs hosts of their own, and all is on loopback.
    OnLoopback {
        /// The fault's name.
        fault: &'static str,
    },
    /// A program of the system, or a node, could not be started or failed.
    Program {
        /// Its command line.
        command: String,
        /// What it or the system said.
        what: String,
    },
    /// A file could not be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A socket could not be opened.
    Socket {
        /// What the system says.
        error: std::io::Error,
    },
    /// Something did not come about in time.
    InVain {
        /// What was waited for.
        what: String,
        /// The folder with the logs, which is kept.
        logs: PathBuf,
    },
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Rights { what } => write!(f, "no hosts of its own can be made here: {what}"),
            Error::OnLoopback { fault } => {
                write!(
                    f,
                    "the fault {fault} needs hosts of their own: run it as root"
                )
            }
            Error::Program { command, what } => write!(f, "{command}: {what}"),
            Error::File { path, error } => write!(f, "{}: {error}", path.display()),
            Error::Socket { error } => write!(f, "a socket: {error}"),
            Error::InVain { what, logs } => {
                write!(f, "waited in vain: {what}; logs are in {}", logs.display())
            }
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::Socket { error }
    }
}
