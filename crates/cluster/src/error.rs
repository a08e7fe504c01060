//! What can be wrong.

use crate::node::{Epoch, NodeId};

/// What can be wrong with an input, a request or a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer's fault: the bytes end inside a field.
    Truncated,
    /// The peer's fault: a number takes more bytes than its type.
    Number,
    /// The peer's fault: not our protocol, or a version that promises no compatibility.
    Version {
        /// What stood in its place.
        found: u8,
    },
    /// The peer's fault: a field is absent that has no default.
    Missing {
        /// The field's tag.
        tag: u64,
    },
    /// The peer's fault: a field holds what it may not.
    Field {
        /// The field's tag.
        tag: u64,
    },
    /// The connection's fault: a frame of a session is missing or out of turn; the session begins anew.
    Gap {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The peer's fault: it speaks for an epoch that is over.
    StaleEpoch {
        /// Its epoch.
        found: Epoch,
        /// The epoch that we know of.
        known: Epoch,
    },
    /// The peer is no member of this service.
    Stranger {
        /// The peer.
        node: NodeId,
    },
    /// A limit: the thing is larger than it may be.
    TooLarge {
        /// How large it is, in bytes.
        size_bytes: usize,
        /// How large it may be, in bytes.
        size_bytes_max: usize,
    },
    /// A limit: the table can take no more.
    TableFull,
    /// A limit: too much waits for the members in sync. Hold back new work.
    BacklogFull,
    /// A limit: too many outputs wait.
    HeldFull,
    /// Ours: this node is not the owner, or no longer.
    NotOwner,
    /// Ours: no member in sync can take over.
    NoSuccessor,
    /// Ours: a setting contradicts another; its name.
    Setting {
        /// The setting.
        name: &'static str,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<records::Error> for Error {
    fn from(error: records::Error) -> Error {
        match error {
            records::Error::Truncated => Error::Truncated,
            records::Error::Number => Error::Number,
            records::Error::Missing { tag } => Error::Missing { tag },
            records::Error::Field { tag } => Error::Field { tag },
            records::Error::TooLarge {
                size_bytes,
                size_bytes_max,
            } => Error::TooLarge {
                size_bytes,
                size_bytes_max,
            },
        }
    }
}
