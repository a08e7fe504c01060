//! What can go wrong, as data.

use std::fmt;
use std::path::PathBuf;

/// Why an operation of the store failed.
#[derive(Debug)]
pub enum StoreError {
    /// The connection string names no database this crate can use. Holds the reason and never the
    /// string itself, which may carry a password.
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The SQLite file or its folder could not be made.
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The database refused, or could not be reached.
    Database {
        /// What was being done.
        operation: &'static str,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The database gave no answer in time.
    TimedOut {
        /// What was being done.
        operation: &'static str,
    },
    /// A newer Holdline has migrated this database further than this one understands.
    SchemaNewer {
        /// The version found in the database.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The user is there already.
    UserExists,
    /// There is no such user.
    NoSuchUser,
    /// The domain is there already.
    DomainExists,
    /// There is no such domain.
    NoSuchDomain,
    /// The domain still has users.
    DomainInUse {
        /// How many.
        users: u64,
    },
    /// More users at once than a transaction takes.
    TooManyUsers {
        /// The most.
        users_max: usize,
    },
    /// A name is empty or longer than the column that would hold it.
    NameLength {
        /// Which name.
        field: &'static str,
        /// The most bytes it may have, as stored.
        bytes_max: usize,
    },
    /// A row in the database holds what this crate would never have written.
    BadRow {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { reason } => write!(f, "the database URL cannot be used: {reason}"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Database { operation, source } => {
                write!(f, "database: {operation} failed: {source}")
            }
            Self::TimedOut { operation } => {
                write!(f, "database: {operation}: no answer in time")
            }
            Self::SchemaNewer { found, known } => write!(
                f,
                "the database has schema version {found} and this program knows versions up to \
                 {known}: run the newer program, or point this one at another database"
            ),
            Self::UserExists => f.write_str("the user exists already"),
            Self::NoSuchUser => f.write_str("there is no such user"),
            Self::DomainExists => f.write_str("the domain exists already"),
            Self::NoSuchDomain => f.write_str("there is no such domain"),
            Self::DomainInUse { users } => {
                write!(
                    f,
                    "the domain still has {users} users: delete them or move them first"
                )
            }
            Self::TooManyUsers { users_max } => {
                write!(f, "more than {users_max} users at once")
            }
            Self::NameLength { field, bytes_max } => {
                write!(f, "a {field} has between 1 and {bytes_max} bytes")
            }
            Self::BadRow { table, column } => write!(
                f,
                "table {table} holds a value in column {column} that cannot be read back"
            ),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Database { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What a failed statement says about whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The rows themselves: writing them again fails again, others are not concerned.
    Rows,
    /// The database or the way to it: the same rows may be written later.
    Database,
}

/// Tells a fault of the rows (SQLSTATE classes 22 and 23; SQLite's TOOBIG, CONSTRAINT, MISMATCH
/// and RANGE) from all others.
pub(crate) fn fault(error: &sqlx::Error) -> Fault {
    let rows = match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(inner) => match inner.code() {
            Some(code)
                if inner
                    .try_downcast_ref::<sqlx::sqlite::SqliteError>()
                    .is_some() =>
            {
                let primary = code.parse::<i32>().map(|code| code & 0xff);
                matches!(primary, Ok(18 | 19 | 20 | 25))
            }
            Some(code) => code.starts_with("22") || code.starts_with("23"),
            None => false,
        },
        _ => false,
    };
    if rows { Fault::Rows } else { Fault::Database }
}
