//! What can be wrong in a configuration file, and how an operator is told.

use std::fmt;
use std::ops::Range;

/// One thing wrong with the file.
///
/// Every variant prints as "what is wrong; what would be right".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The text is not TOML.
    Syntax {
        /// What the TOML parser says.
        message: String,
    },
    /// A key that no version of the program knows.
    UnknownKey {
        /// The key with its section, as in `edge.listn`.
        path: String,
        /// The full name of the known key that looks most like it.
        nearest: Option<String>,
    },
    /// A key of the design that this version does not implement.
    NotInThisVersion {
        /// The key with its section.
        path: String,
        /// What to do about it.
        instead: &'static str,
    },
    /// A value of the wrong TOML type.
    WrongType {
        /// The key with its section.
        path: String,
        /// What is there.
        found: &'static str,
        /// What would be right.
        want: String,
    },
    /// A number outside its range.
    OutOfRange {
        /// The key with its section.
        path: String,
        /// The number as written.
        found: String,
        /// The smallest allowed value.
        min: u64,
        /// The largest allowed value.
        max: u64,
    },
    /// A text that does not have the form the key needs.
    Malformed {
        /// The key with its section.
        path: String,
        /// The text as written; empty where it is a secret.
        found: String,
        /// What would be right.
        want: String,
    },
    /// Two values that cannot both hold.
    Contradiction {
        /// The key with its section.
        path: String,
        /// What contradicts what.
        what: String,
        /// What would be right.
        want: String,
    },
    /// A mistake in the dialplan.
    Dialplan {
        /// What is wrong, and what would be right.
        message: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax { message } => {
                write!(
                    f,
                    "not TOML: {message}; see docs/configuration.md for the shape of the file"
                )
            }
            Fault::UnknownKey {
                path,
                nearest: Some(nearest),
            } => {
                write!(f, "unknown key `{path}`; did you mean `{nearest}`?")
            }
            Fault::UnknownKey {
                path,
                nearest: None,
            } => {
                write!(
                    f,
                    "unknown key `{path}`; remove it, or see docs/configuration.md for the keys there are"
                )
            }
            Fault::NotInThisVersion { path, instead } => {
                write!(f, "`{path}` is not in this version; {instead}")
            }
            Fault::WrongType { path, found, want } => {
                write!(f, "`{path}` is {found}; write {want}")
            }
            Fault::OutOfRange {
                path,
                found,
                min,
                max,
            } => {
                write!(f, "`{path}` is {found}; write a number from {min} to {max}")
            }
            Fault::Malformed { path, found, want } if found.is_empty() => {
                write!(f, "`{path}` has the wrong form; write {want}")
            }
            Fault::Malformed { path, found, want } => {
                write!(f, "`{path}` cannot be \"{found}\"; write {want}")
            }
            Fault::Contradiction { path, what, want } => {
                write!(f, "`{path}`: {what}; {want}")
            }
            Fault::Dialplan { message } => f.write_str(message),
        }
    }
}

/// A fault and where it stands in the text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where the fault stands.
    pub span: Range<usize>,
    /// What it is.
    pub fault: Fault,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The path as given.
        file: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`](super::FILE_BYTES_MAX).
    TooLarge {
        /// The path as given.
        file: String,
        /// Its size.
        size_bytes: u64,
    },
    /// The file has mistakes: all that were found, in the order of the file.
    Mistakes {
        /// The path as given.
        file: String,
        /// The text of the file.
        text: String,
        /// At least one.
        mistakes: Vec<Mistake>,
    },
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { file, error } => write!(
                f,
                "{file}: cannot be read: {error}; name a readable file with --config FILE"
            ),
            ConfigError::TooLarge { file, size_bytes } => write!(
                f,
                "{file}: {size_bytes} bytes; a configuration is at most {} bytes, so this is probably another file",
                super::FILE_BYTES_MAX
            ),
            ConfigError::Mistakes {
                file,
                text,
                mistakes,
            } => {
                for (index, mistake) in mistakes.iter().enumerate() {
                    if index > 0 {
                        writeln!(f)?;
                    }
                    render(f, file, text, mistake)?;
                }
                Ok(())
            }
        }
    }
}

impl ConfigError {
    /// The same facts one a line, `FILE:LINE:COLUMN: ...` without the source
    /// lines, for logs and for machines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            ConfigError::Mistakes {
                file,
                text,
                mistakes,
            } => mistakes
                .iter()
                .map(|mistake| {
                    let place = Place::of(text, mistake.span.start);
                    format!("{file}:{}:{}: {}", place.line, place.column, mistake.fault)
                })
                .collect(),
            other => vec![other.to_string()],
        }
    }
}

/// Line and column, both from one, the column in characters.
struct Place<'t> {
    line: usize,
    column: usize,
    /// The whole line, without its end.
    text: &'t str,
    /// The byte offset of the line's first character.
    start: usize,
}

impl<'t> Place<'t> {
    fn of(text: &'t str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_text = text[start..].lines().next().unwrap_or("");
        Place {
            line: before.matches('\n').count() + 1,
            column: text[start..offset].chars().count() + 1,
            text: line_text,
            start,
        }
    }
}

/// `FILE:LINE:COLUMN: what; what would be right`, the line, and a caret.
fn render(f: &mut fmt::Formatter<'_>, file: &str, text: &str, mistake: &Mistake) -> fmt::Result {
    let place = Place::of(text, mistake.span.start);
    writeln!(
        f,
        "{file}:{}:{}: {}",
        place.line, place.column, mistake.fault
    )?;
    let number = place.line.to_string();
    writeln!(f, "  {number} | {}", place.text)?;
    // Tabs stay tabs so that the caret stands under what it means.
    let pad: String = place
        .text
        .chars()
        .take(place.column - 1)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let line_end = place.start + place.text.len();
    let end = mistake.span.end.min(line_end).max(mistake.span.start);
    let width = text
        .get(mistake.span.start..end)
        .map_or(1, |marked| marked.chars().count().max(1));
    writeln!(f, "  {:1$} | {pad}{2}", "", number.len(), "^".repeat(width))
}
