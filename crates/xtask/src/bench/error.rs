//! Why a benchmark could not be run.

use std::fmt;
use std::io;

/// Why a benchmark could not be run.
#[derive(Debug)]
pub(crate) enum Error {
    /// Only the usage was asked for.
    Help,
    /// The command line is wrong.
    Usage(String),
    /// The machine refused something.
    Io {
        doing: &'static str,
        error: io::Error,
    },
    /// A program is not there and could not be installed.
    Missing(Vec<&'static str>),
    /// A program ended or answered otherwise than it should, with what it said.
    Program { name: String, said: String },
    /// A program did not become ready or finish in time.
    Late { name: String, limit_s: u64 },
}

impl Error {
    /// For `map_err`: an error of the machine while `doing` something.
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io { doing, error }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => Ok(()),
            Self::Usage(what) => f.write_str(what),
            Self::Io { doing, error } => write!(f, "{doing}: {error}"),
            Self::Missing(programs) => write!(
                f,
                "not installed: {}; on Debian: apt-get install sip-tester kamailio rtpengine-daemon",
                programs.join(", ")
            ),
            Self::Program { name, said } => write!(f, "{name} failed:\n{said}"),
            Self::Late { name, limit_s } => write!(f, "{name} was not done after {limit_s} s"),
        }
    }
}
