//! What can go wrong in this crate.

/// What can go wrong with a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The peer's fault: a request is numbered lower than one before (RFC 3261 section 12.2.2).
    OldCSeq {
        /// What the last one had.
        last: u32,
        /// What this one has.
        number: u32,
    },
    /// The peer's fault: a message lacks a tag or a Contact, or has one that cannot be read.
    Malformed(sip::HeaderName),
    /// A limit: more Record-Route values than [`crate::Dialog::ROUTES_MAX`].
    TooManyRoutes,
    /// A record that cannot be read.
    Record(records::Error),
}

impl Error {
    /// The status code that a request with this fault is answered with.
    pub fn status(self) -> u16 {
        match self {
            Error::OldCSeq { .. } | Error::Record(_) => 500,
            Error::Malformed(_) => 400,
            Error::TooManyRoutes => 513,
        }
    }
}

impl From<records::Error> for Error {
    fn from(error: records::Error) -> Error {
        Error::Record(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Error {}
