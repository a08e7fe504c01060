//! Records in a file, for members on one machine.
//!
//! Each write is one statement, so the time in which the file is locked has no step of ours in it. A process that is
//! stopped right there holds the lock all the same, and stops the others' writes, until its supervisor has killed it.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row, SqliteConnection};
use tokio::time::timeout;

use crate::entry::{Entry, Found, Key, Write, Written, checked};
use crate::error::Error;
use crate::writes::Writes;

/// Requests that are served at the same time.
const CONNECTIONS_MAX: u32 = 4;
/// How long a statement waits for another process's write.
const BUSY: Duration = Duration::from_millis(1000);
/// How long opening the file may take.
const OPEN: Duration = Duration::from_secs(5);

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS entry (
    key TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID";
const READ: &str = "SELECT key, revision, value FROM entry WHERE key IN (?1, ?2)";
const CREATE: &str = "INSERT INTO entry (key, revision, value)
    SELECT ?1, 1, ?2 WHERE ?3 IS NULL OR EXISTS (SELECT 1 FROM entry WHERE key = ?4 AND value = ?3)
    ON CONFLICT (key) DO NOTHING RETURNING revision";
const REPLACE: &str = "UPDATE entry SET revision = revision + 1, value = ?2
    WHERE key = ?1 AND revision = ?5 AND value = ?6
    AND (?3 IS NULL OR EXISTS (SELECT 1 FROM entry WHERE key = ?4 AND value = ?3))
    RETURNING revision";

/// An open file. Clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Sqlite {
    pool: SqlitePool,
    options: SqliteConnectOptions,
    /// `<cluster>/`.
    prefix: String,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path, cluster: &str) -> Result<Sqlite, Error> {
        let prefix = format!("{}/", checked(cluster)?);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A crash of the machine may undo the last writes. It ends all members, too, and with them what they promised.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let failed = |error: sqlx::Error| Error::File {
            path: path.to_owned(),
            error: std::io::Error::other(error),
        };
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(OPEN)
            // Asking a local file whether it is there costs a step of its thread.
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        sqlx::query(SCHEMA).execute(&pool).await.map_err(failed)?;
        Ok(Sqlite {
            pool,
            options,
            prefix,
        })
    }

    /// A connection of one's own, for looking at the file's version.
    pub(crate) async fn connect(&self) -> Result<SqliteConnection, Error> {
        self.options.connect().await.map_err(|error| away(&error))
    }

    /// A number that changes when another connection has written.
    pub(crate) async fn data_version(connection: &mut SqliteConnection) -> Result<i64, Error> {
        sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(connection)
            .await
            .map_err(|error| away(&error))
    }

    /// Word of writes to the file.
    pub(crate) fn writes(&self) -> std::io::Result<Writes> {
        Writes::of(self.options.get_filename())
    }

    fn path(&self, key: &Key) -> String {
        format!("{}{}", self.prefix, key.as_str())
    }

    pub(crate) async fn read(&self, key: &Key, within: Duration) -> Result<Found, Error> {
        match timeout(within, self.look(key)).await {
            Ok(found) => found.map_err(|error| away(&error)),
            Err(_) => Err(Error::TimedOut { within }),
        }
    }

    async fn look(&self, key: &Key) -> Result<Found, sqlx::Error> {
        let (path, id) = (self.path(key), self.path(&Key::cluster_id()));
        let rows = sqlx::query(READ)
            .bind(&path)
            .bind(&id)
            .fetch_all(&self.pool)
            .await?;
        let mut found = Found::default();
        for row in &rows {
            let name: String = row.try_get(0)?;
            let entry = Entry {
                revision: u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0),
                bytes: row.try_get(2)?,
            };
            if name == id {
                found.id = Some(entry.bytes.clone());
            }
            if name == path {
                found.entry = Some(entry);
            }
        }
        Ok(found)
    }

    pub(crate) async fn write(&self, write: &Write, within: Duration) -> Result<Written, Error> {
        match timeout(within, self.replace(write)).await {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(error)) if took_nothing(&error) => Err(away(&error)),
            Ok(Err(error)) => Ok(Written::Unknown(away(&error))),
            Err(_) => Ok(Written::Unknown(Error::TimedOut { within })),
        }
    }

    async fn replace(&self, write: &Write) -> Result<Written, sqlx::Error> {
        let statement = match write.expected {
            None => CREATE,
            Some(_) => REPLACE,
        };
        let mut query = sqlx::query(statement)
            .bind(self.path(&write.key))
            .bind(&write.bytes)
            .bind(write.id.map(|id| id.to_string().into_bytes()))
            .bind(self.path(&Key::cluster_id()));
        if let Some(entry) = &write.expected {
            query = query
                .bind(i64::try_from(entry.revision).unwrap_or(i64::MAX))
                .bind(&entry.bytes);
        }
        // All rows, though there is one at most: the statement has to run to its end to be committed.
        let rows = query.fetch_all(&self.pool).await?;
        match rows.first() {
            Some(row) => {
                let revision: i64 = row.try_get(0)?;
                Ok(Written::Taken(u64::try_from(revision).unwrap_or(0)))
            }
            None => Ok(Written::Refused(self.look(&write.key).await?)),
        }
    }
}

fn away(error: &sqlx::Error) -> Error {
    Error::Unreachable {
        reason: error.to_string(),
    }
}

/// Whether an error says that nothing was written: BUSY, LOCKED, READONLY, FULL, CANTOPEN.
fn took_nothing(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(inner) = error else {
        return matches!(error, sqlx::Error::PoolTimedOut);
    };
    let code = inner.code().and_then(|code| code.parse::<i32>().ok());
    matches!(code.map(|code| code & 0xff), Some(5 | 6 | 8 | 13 | 14))
}
