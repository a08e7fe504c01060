//! What can be wrong with a dialplan.

use std::fmt;
use std::ops::Range;

/// A mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Which of the sources.
    pub source: usize,
    /// Where in its text, in bytes.
    pub span: Range<usize>,
    /// What.
    pub fault: Fault,
}

impl Mistake {
    /// The line, from 1, in the source's text.
    pub fn line(&self, text: &str) -> usize {
        let before = text.as_bytes().get(..self.span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// What is wrong; it prints as that, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The text is not TOML.
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// A key that there is not.
    UnknownKey {
        /// The key with its section.
        path: String,
        /// The keys that there are.
        known: String,
    },
    /// A key that has to be there.
    Missing {
        /// The section.
        path: String,
        /// The key.
        key: &'static str,
    },
    /// A value that cannot be.
    Malformed {
        /// The key with its section.
        path: String,
        /// The value as written.
        found: String,
        /// What would be right.
        want: String,
    },
    /// A name that nothing has.
    Unknown {
        /// What is missing: a menu, a queue.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A name that two things have.
    Duplicate {
        /// What they are.
        kind: &'static str,
        /// Their name.
        name: String,
    },
    /// It never has its turn.
    Unreachable {
        /// What it is.
        what: String,
        /// What comes before it.
        because: String,
    },
    /// Steps that lead back to themselves without taking time.
    Loop {
        /// From where to where.
        path: String,
    },
    /// A prompt that there is not.
    MissingPrompt {
        /// Its name.
        name: String,
    },
    /// A route that leads outside and is for everybody.
    Open {
        /// Where it leads.
        target: String,
    },
    /// More than there may be.
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax { message } => write!(f, "not TOML: {message}"),
            Fault::UnknownKey { path, known } => {
                write!(f, "unknown key `{path}`; there are {known}")
            }
            Fault::Missing { path, key } => write!(f, "`{path}` lacks `{key}`"),
            Fault::Malformed { path, found, want } => {
                write!(f, "`{path}` cannot be \"{found}\"; write {want}")
            }
            Fault::Unknown { kind, name } => {
                write!(
                    f,
                    "there is no {kind} `{name}`; add it, or correct the name"
                )
            }
            Fault::Duplicate { kind, name } => {
                write!(f, "there are two of {kind} `{name}`; rename or remove one")
            }
            Fault::Unreachable { what, because } => {
                write!(
                    f,
                    "{what} is never reached: {because}; remove it, or move it up"
                )
            }
            Fault::Loop { path } => write!(
                f,
                "a loop without end: {path}; let one of them ring, play or wait"
            ),
            Fault::MissingPrompt { name } => write!(
                f,
                "there is no prompt `{name}`; add it to the folder of prompts, or correct the name"
            ),
            Fault::Open { target } => write!(
                f,
                "everybody could call `{target}` at your cost; write `for = [\"known\"]` or other classes"
            ),
            Fault::TooMany { what, max } => write!(f, "too many {what}; there may be {max}"),
        }
    }
}
