//! What can be wrong.

/// What can be wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The writer's fault: the bytes end inside a field.
    Truncated,
    /// The writer's fault: a number takes more bytes than its type.
    Number,
    /// The writer's fault: a field is absent that has no default.
    Missing {
        /// The field's tag.
        tag: u64,
    },
    /// The writer's fault: a field holds what it may not.
    Field {
        /// The field's tag.
        tag: u64,
    },
    /// A limit: the thing is larger than it may be.
    TooLarge {
        /// How large it is, in bytes.
        size_bytes: usize,
        /// How large it may be, in bytes.
        size_bytes_max: usize,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Error {}
