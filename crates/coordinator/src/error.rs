//! What can go wrong, as data.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::entry::ClusterId;

/// Why something about the coordinator failed. Unless it says otherwise nothing was written.
#[derive(Debug)]
pub enum Error {
    /// Ours: a setting that cannot be used.
    Setting {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Ours: a file of the settings cannot be read, or the database's not be opened.
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Ours: a name that has characters other than letters, digits, `-`, `_` and `.`, none, or too many.
    Name {
        /// The name.
        name: String,
    },
    /// No endpoint could be reached, or the ones that could have no majority.
    Unreachable {
        /// What was met last.
        reason: String,
    },
    /// No answer came in time.
    TimedOut {
        /// How long was waited.
        within: Duration,
    },
    /// The coordinator refuses us: credentials, rights, or what it is asked for.
    Denied {
        /// What it says.
        reason: String,
    },
    /// What lies under a service's key is no record that this program can read.
    Garbage {
        /// The key.
        key: String,
        /// Its revision.
        revision: u64,
        /// What is wrong with it.
        error: cluster::Error,
    },
    /// What lies under another key cannot be read.
    BadEntry {
        /// The key.
        key: String,
    },
    /// The coordinator's records belong to another cluster of the same name.
    OtherCluster {
        /// The cluster that it holds.
        found: ClusterId,
        /// The cluster that this node belongs to.
        own: ClusterId,
    },
    /// The coordinator knows nothing of this cluster: it was emptied, or is another one.
    NoCluster,
    /// No cluster id: sixteen hexadecimal digits.
    BadClusterId,
    /// Members do not agree on something that all of them have to have the same.
    Disagreement {
        /// On what.
        name: String,
        /// What is agreed on.
        found: String,
        /// What this node has.
        own: String,
    },
    /// All numbers of nodes are given out.
    MembersFull,
    /// Others wrote between each reading and writing.
    Contended,
    /// Ours: an option of a fence agent that cannot be said to it.
    FenceOption {
        /// Its name.
        name: String,
    },
    /// A fence agent could not be run.
    FenceStart {
        /// The program.
        program: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A fence agent took too long and was killed; what it did is not known.
    FenceTimedOut {
        /// The program.
        program: PathBuf,
        /// How long it had.
        within: Duration,
    },
    /// A fence agent did not succeed.
    FenceFailed {
        /// The program.
        program: PathBuf,
        /// Its exit status; `None`: a signal ended it.
        status: Option<i32>,
        /// What it printed, as far as it was kept.
        output: String,
    },
}

impl Error {
    /// Whether trying again by itself can help: the coordinator is away, slow, or busy.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. } | Error::TimedOut { .. } | Error::Contended
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Setting { name, reason } => write!(f, "coordinator: {name}: {reason}"),
            Error::File { path, error } => write!(f, "coordinator: {}: {error}", path.display()),
            Error::Name { name } => write!(
                f,
                "coordinator: {name:?} cannot be a name there: letters, digits, '-', '_' and '.' only"
            ),
            Error::Unreachable { reason } => write!(f, "the coordinator is away: {reason}"),
            Error::TimedOut { within } => {
                write!(f, "the coordinator gave no answer within {within:?}")
            }
            Error::Denied { reason } => write!(
                f,
                "the coordinator refuses: {reason}; look at user, password and certificate, and at the user's rights on the prefix"
            ),
            Error::Garbage {
                key,
                revision,
                error,
            } => write!(
                f,
                "the coordinator's {key} (revision {revision}) is no record that this version can read ({error}): was it \
                 written by hand, or by a newer version? It is left alone; delete it if no newer version runs"
            ),
            Error::BadEntry { key } => write!(
                f,
                "the coordinator's {key} cannot be read: was it written by hand? It is left alone; put it right or delete it"
            ),
            Error::OtherCluster { found, own } => write!(
                f,
                "the coordinator holds another cluster of this name ({found}, this node is of {own}): give the clusters \
                 different names or coordinators, or, if this node is to change clusters, delete its file cluster-id"
            ),
            Error::NoCluster => f.write_str(
                "the coordinator knows nothing of this cluster: it was emptied, or is another one than before",
            ),
            Error::BadClusterId => f.write_str("a cluster id has sixteen hexadecimal digits"),
            Error::Disagreement { name, found, own } => write!(
                f,
                "the cluster has {name} = {found}, this node {own}: all members need the same"
            ),
            Error::MembersFull => write!(
                f,
                "all {} numbers of nodes are given out",
                cluster::node::NODES_MAX
            ),
            Error::Contended => f.write_str("the coordinator's entry changed each time it was written"),
            fencing => fencing.tell_fencing(f),
        }
    }
}

impl Error {
    /// What the variants of fence agents say.
    fn tell_fencing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::FenceOption { name } => write!(
                f,
                "fence agent: the option {name:?} cannot be said in a line of name=value: a name is of letters, digits, '-' and '_', \
                 a value without line breaks"
            ),
            Error::FenceStart { program, error } => {
                write!(
                    f,
                    "fence agent {}: cannot be run: {error}",
                    program.display()
                )
            }
            Error::FenceTimedOut { program, within } => write!(
                f,
                "fence agent {}: not done within {within:?}, killed",
                program.display()
            ),
            Error::FenceFailed {
                program,
                status,
                output,
            } => {
                let program = program.display();
                match status {
                    Some(status) => {
                        write!(f, "fence agent {program}: exit status {status}: {output}")
                    }
                    None => write!(f, "fence agent {program}: ended by a signal: {output}"),
                }
            }
            other => fmt::Debug::fmt(other, f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::File { error, .. } => Some(error),
            Error::Garbage { error, .. } => Some(error),
            _ => None,
        }
    }
}
