//! Opening a store and asking it things.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::ConnectOptions;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use tokio::sync::Mutex;

use crate::backend::{Args, Connection, Dialect, Row, Sql, Target, Visit};
use crate::error::StoreError;
use crate::health::{Health, StoreHealth};
use crate::schema;

/// Prepared statements kept per connection: the shapes in use and room for the administration's.
const STATEMENTS_MAX: usize = 256;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for one administrative operation (not for a scan of a table).
    pub operation_timeout: Duration,
    /// SQLite: how long to wait for another process's transaction.
    pub sqlite_busy_timeout: Duration,
    /// SQLite: the page cache of each connection, in KiB.
    pub sqlite_cache_kib: u32,
    /// SQLite: pages in the write-ahead log before they are copied into the database file. More
    /// pages mean fewer copies of a page that is changed again and again, and a longer copy.
    pub sqlite_checkpoint_pages: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            operation_timeout: Duration::from_secs(10),
            sqlite_busy_timeout: Duration::from_millis(1500),
            sqlite_cache_kib: 16 * 1024,
            sqlite_checkpoint_pages: 4000,
        }
    }
}

/// An open store. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    options: StoreOptions,
    /// The administration's one connection. Operations wait their turn; scans use their own.
    shared: Mutex<Option<Connection>>,
    health: Health,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("dialect", &self.dialect())
            .finish_non_exhaustive()
    }
}

/// One argument of an administrative statement.
pub(crate) enum Value<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    TextOrNull(Option<&'a str>),
}

fn bound(dialect: Dialect, values: &[Value<'_>]) -> Result<Args, sqlx::Error> {
    let mut args = Args::new(dialect, values.len());
    for value in values {
        match value {
            Value::Int(number) => args.int(*number)?,
            Value::Bytes(bytes) => args.bytes(bytes)?,
            Value::TextOrNull(text) => args.text_or_null(*text)?,
        }
    }
    Ok(args)
}

impl Store {
    /// Opens the database that `url` names and brings its schema up to date. Programs that do so
    /// at the same time wait for each other.
    ///
    /// - `sqlite:///var/lib/holdline/holdline.db` or `sqlite:holdline.db`: a file, made with mode
    ///   0600 (its folder 0700) if it is not there. The path is taken literally.
    /// - `postgres://user:password@host:5432/database` (or `postgresql:`).
    /// - `mysql://user:password@host:3306/database` (or `mariadb:`).
    ///
    /// Must be called in a tokio runtime with timers and I/O.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the string names none of these, [`StoreError::SchemaNewer`] when a
    /// newer program has been there, and whatever the file system or the database says.
    pub async fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let target = target(url, &options)?;
        let inner = Inner {
            target,
            options,
            shared: Mutex::new(None),
            health: Health::default(),
        };
        let store = Self {
            inner: Arc::new(inner),
        };
        let mut connection = store.connect("connecting").await?;
        if let Connection::Sqlite(_) = connection {
            write_ahead(&mut connection).await?;
        }
        let migrating = Box::pin(schema::migrate(
            &mut connection,
            store.dialect(),
            now_unix_s(),
        ));
        migrating.await?;
        store.inner.health.works();
        *store.inner.shared.lock().await = Some(connection);
        Ok(store)
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.inner.target.dialect()
    }

    /// How the store is doing.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.inner.health.snapshot()
    }

    /// A number that rises whenever a user or domain is changed through any store on this
    /// database: poll it to learn of changes. Asking it is also a check of the database.
    ///
    /// # Errors
    /// The database's own.
    pub async fn revision(&self) -> Result<i64, StoreError> {
        let sql = Sql::new(self.dialect(), "SELECT number FROM revision WHERE id = 1");
        let number = self.number("reading the revision", &sql, &[]).await?;
        number.ok_or(StoreError::BadRow {
            table: "revision",
            column: "number",
        })
    }

    pub(crate) fn counters(&self) -> &Health {
        &self.inner.health
    }

    /// A new connection for a use of its own.
    pub(crate) async fn connect(&self, operation: &'static str) -> Result<Connection, StoreError> {
        let limit = self.inner.options.connect_timeout;
        let connected = self.inner.target.connect(limit).await;
        connected.map_err(|source| self.failed(operation, source))
    }

    /// Runs one statement and, if it changed a row, raises the revision in the same transaction.
    /// Returns how many rows it changed.
    pub(crate) async fn change(
        &self,
        operation: &'static str,
        text: &str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let dialect = self.dialect();
        let args = bound(dialect, values).map_err(|source| self.failed(operation, source))?;
        let sql = Sql::new(dialect, text);
        self.transaction(operation, async |connection| {
            let changed = connection.execute(&sql, args).await?;
            Ok((changed > 0, changed))
        })
        .await
    }

    /// Runs `work` in a transaction. If it says that it changed something, the revision is raised in
    /// the same transaction and all is committed; else, and on an error, nothing is.
    pub(crate) async fn transaction<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut Connection) -> Result<(bool, T), sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut connection = self.take(operation).await?;
        let all = async {
            connection.begin().await?;
            match work(&mut connection).await {
                Ok((true, value)) => {
                    let raise = "UPDATE revision SET number = number + 1 WHERE id = 1";
                    connection.run(raise).await?;
                    connection.run("COMMIT").await?;
                    Ok(value)
                }
                other => {
                    connection.run("ROLLBACK").await?;
                    other.map(|(_, value)| value)
                }
            }
        };
        let done = self.limited(operation, all).await;
        self.give_back(connection, &done).await;
        done
    }

    /// Runs one statement; the revision stays as it is. Returns how many rows it changed.
    pub(crate) async fn execute(
        &self,
        operation: &'static str,
        text: &str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let dialect = self.dialect();
        let args = bound(dialect, values).map_err(|source| self.failed(operation, source))?;
        let sql = Sql::new(dialect, text);
        let mut connection = self.take(operation).await?;
        let done = self
            .limited(operation, connection.execute(&sql, args))
            .await;
        self.give_back(connection, &done).await;
        done
    }

    /// Asks for one number.
    pub(crate) async fn number(
        &self,
        operation: &'static str,
        sql: &Sql,
        values: &[Value<'_>],
    ) -> Result<Option<i64>, StoreError> {
        let args =
            bound(self.dialect(), values).map_err(|source| self.failed(operation, source))?;
        let mut connection = self.take(operation).await?;
        let done = self.limited(operation, connection.number(sql, args)).await;
        self.give_back(connection, &done).await;
        done
    }

    /// Shows the rows of a query to `visit`, on a connection of its own and for as long as it
    /// takes.
    pub(crate) async fn scan(
        &self,
        operation: &'static str,
        text: &str,
        values: &[Value<'_>],
        visit: Visit<'_, StoreError>,
    ) -> Result<(), StoreError> {
        let args =
            bound(self.dialect(), values).map_err(|source| self.failed(operation, source))?;
        let sql = Sql::new(self.dialect(), text);
        let mut connection = self.connect(operation).await?;
        let scanned = connection.fetch(&sql, args, visit).await;
        connection.close().await;
        match scanned {
            Err(StoreError::Database { source, .. }) => Err(self.failed(operation, source)),
            other => other,
        }
    }

    /// The shared connection if it still works, or else a new one.
    async fn take(&self, operation: &'static str) -> Result<Connection, StoreError> {
        let idle = self.inner.shared.lock().await.take();
        if let Some(mut connection) = idle {
            let limit = self.inner.options.connect_timeout;
            if let Ok(Ok(())) = tokio::time::timeout(limit, connection.ping()).await {
                return Ok(connection);
            }
        }
        self.connect(operation).await
    }

    /// Keeps a connection for the next operation unless its state is in doubt.
    async fn give_back<T>(&self, connection: Connection, done: &Result<T, StoreError>) {
        let sound = match done {
            Ok(_) => true,
            Err(StoreError::Database { source, .. }) => source
                .as_database_error()
                .is_some_and(|error| error.is_unique_violation()),
            Err(_) => false,
        };
        if sound {
            *self.inner.shared.lock().await = Some(connection);
        }
    }

    async fn limited<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.inner.options.operation_timeout, work).await {
            Ok(Ok(value)) => {
                self.inner.health.works();
                Ok(value)
            }
            Ok(Err(source)) => Err(self.failed(operation, source)),
            Err(_) => {
                let error = StoreError::TimedOut { operation };
                self.inner.health.fails(operation, &error);
                Err(error)
            }
        }
    }

    fn failed(&self, operation: &'static str, source: sqlx::Error) -> StoreError {
        if crate::error::fault(&source) == crate::error::Fault::Database {
            self.inner.health.fails(operation, &source);
        }
        StoreError::Database { operation, source }
    }
}

impl From<sqlx::Error> for StoreError {
    /// For rows read in the middle of a scan, which names the operation afterwards.
    fn from(source: sqlx::Error) -> Self {
        Self::Database {
            operation: "reading a row",
            source,
        }
    }
}

pub(crate) fn now_unix_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Turns the write-ahead log on, which the file then remembers. Several programs that find a new
/// file at once get in each other's way here and SQLite does not wait, so this does.
async fn write_ahead(connection: &mut Connection) -> Result<(), StoreError> {
    const TRIES: u32 = 50;
    for _ in 0..TRIES {
        if connection.run("PRAGMA journal_mode = WAL").await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(StoreError::TimedOut {
        operation: "turning the write-ahead log on",
    })
}

fn target(url: &str, options: &StoreOptions) -> Result<Target, StoreError> {
    let bad = |reason: &str| StoreError::Url {
        reason: reason.to_owned(),
    };
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(bad(
            "it has no scheme; expected sqlite:, postgres: or mysql:",
        ));
    };
    match scheme {
        "sqlite" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path.starts_with(':') || path.contains('?') {
                return Err(bad("expected sqlite: and the path of a file"));
            }
            sqlite(Path::new(path), options)
        }
        "postgres" | "postgresql" => {
            let parsed =
                PgConnectOptions::from_str(url).map_err(|error| bad(&error.to_string()))?;
            Ok(Target::Postgres(
                parsed
                    .application_name("holdline")
                    .statement_cache_capacity(STATEMENTS_MAX)
                    .disable_statement_logging(),
            ))
        }
        "mysql" | "mariadb" => {
            let parsed = MySqlConnectOptions::from_str(&format!("mysql:{rest}"))
                .map_err(|error| bad(&error.to_string()))?;
            Ok(Target::MySql(
                parsed
                    .statement_cache_capacity(STATEMENTS_MAX)
                    .disable_statement_logging(),
            ))
        }
        other => Err(bad(&format!(
            "{other}: is not known; expected sqlite:, postgres: or mysql:"
        ))),
    }
}

fn sqlite(path: &Path, options: &StoreOptions) -> Result<Target, StoreError> {
    make_private(path).map_err(|(path, source)| StoreError::File { path, source })?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        // A commit is on the disk before it is acknowledged.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(options.sqlite_busy_timeout)
        .pragma("cache_size", format!("-{}", options.sqlite_cache_kib))
        .pragma(
            "wal_autocheckpoint",
            options.sqlite_checkpoint_pages.to_string(),
        )
        .statement_cache_capacity(STATEMENTS_MAX)
        .thread_name(|_| "store".into())
        .disable_statement_logging();
    Ok(Target::Sqlite(options))
}

/// Makes the file and its folder, readable by this user only. What is there already is left as it
/// is. SQLite gives its side files the mode of the database.
fn make_private(path: &Path) -> Result<(), (PathBuf, std::io::Error)> {
    #[cfg(unix)]
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
    {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        builder.mode(0o700);
        builder
            .create(folder)
            .map_err(|error| (folder.to_owned(), error))?;
    }
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(false);
    #[cfg(unix)]
    open.mode(0o600);
    open.open(path)
        .map(drop)
        .map_err(|error| (path.to_owned(), error))
}

/// Reads a text column that holds a name.
pub(crate) fn name_column(
    row: &Row,
    index: usize,
    table: &'static str,
    column: &'static str,
) -> Result<String, StoreError> {
    crate::text::from_column(row.text(index)?)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or(StoreError::BadRow { table, column })
}
