//! One connection to whichever database it is: arguments in, rows out.
//!
//! The three drivers differ in types only, so each function here is one line of substance in three
//! copies. Everything above this file is written once.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Either, Executor, Row as _};

use crate::text;

/// Which SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded database.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

/// A statement's text. Built from constants of this crate only: values always travel as arguments.
#[derive(Debug, Clone)]
pub(crate) struct Sql(Arc<str>);

impl Sql {
    /// Takes text with `?` for each argument and numbers them where the dialect wants it.
    pub(crate) fn new(dialect: Dialect, text: &str) -> Self {
        if dialect != Dialect::Postgres {
            return Self(text.into());
        }
        let mut out = String::with_capacity(text.len() * 2);
        for (index, part) in text.split('?').enumerate() {
            if index > 0 {
                out.push_str(&format!("${index}"));
            }
            out.push_str(part);
        }
        Self(out.into())
    }

    fn safe(&self) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(Arc::clone(&self.0))
    }
}

/// Where and how to connect.
#[derive(Clone)]
pub(crate) enum Target {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
    MySql(MySqlConnectOptions),
}

impl Target {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
        }
    }

    /// Connects within `limit`.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<Connection, sqlx::Error> {
        let connecting = async {
            Ok(match self {
                Self::Sqlite(options) => Connection::Sqlite(options.connect().await?),
                Self::Postgres(options) => Connection::Postgres(options.connect().await?),
                Self::MySql(options) => Connection::MySql(options.connect().await?),
            })
        };
        // Boxed: the drivers' connection futures are kilobytes.
        match tokio::time::timeout(limit, Box::pin(connecting)).await {
            Ok(result) => result,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }
}

/// The arguments of one statement, in order.
pub(crate) enum Args {
    Sqlite(SqliteArguments),
    Postgres(PgArguments),
    MySql(MySqlArguments),
}

macro_rules! add {
    ($self:expr, $value:expr) => {
        match $self {
            Args::Sqlite(args) => args.add($value),
            Args::Postgres(args) => args.add($value),
            Args::MySql(args) => args.add($value),
        }
        .map_err(sqlx::Error::Encode)
    };
}

impl Args {
    pub(crate) fn new(dialect: Dialect, count: usize) -> Self {
        let bytes = count * 16;
        match dialect {
            Dialect::Sqlite => {
                let mut args = SqliteArguments::default();
                args.reserve(count, bytes);
                Self::Sqlite(args)
            }
            Dialect::Postgres => {
                let mut args = PgArguments::default();
                args.reserve(count, bytes);
                Self::Postgres(args)
            }
            Dialect::MySql => {
                let mut args = MySqlArguments::default();
                args.reserve(count, bytes);
                Self::MySql(args)
            }
        }
    }

    pub(crate) fn int(&mut self, value: i64) -> Result<(), sqlx::Error> {
        add!(self, value)
    }

    pub(crate) fn int_or_null(&mut self, value: Option<i64>) -> Result<(), sqlx::Error> {
        add!(self, value)
    }

    /// Text that is known to need no escaping.
    pub(crate) fn text(&mut self, value: &str) -> Result<(), sqlx::Error> {
        match self {
            // The one form that this driver takes with a single allocation.
            Self::Sqlite(args) => args.add(Arc::<str>::from(value)),
            Self::Postgres(args) => args.add(value),
            Self::MySql(args) => args.add(value),
        }
        .map_err(sqlx::Error::Encode)
    }

    pub(crate) fn text_or_null(&mut self, value: Option<&str>) -> Result<(), sqlx::Error> {
        match value {
            Some(value) => self.text(value),
            None => add!(self, None::<&str>),
        }
    }

    /// Any bytes, escaped by [`text::to_column`].
    pub(crate) fn bytes(&mut self, value: &[u8]) -> Result<(), sqlx::Error> {
        self.text(&text::to_column(value))
    }

    pub(crate) fn bytes_or_null(&mut self, value: Option<&[u8]>) -> Result<(), sqlx::Error> {
        match value {
            Some(value) => self.bytes(value),
            None => self.text_or_null(None),
        }
    }
}

/// A row as it passes by.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    MySql(MySqlRow),
}

macro_rules! column {
    ($self:expr, $index:expr, $type:ty) => {
        match $self {
            Row::Sqlite(row) => row.try_get_unchecked::<$type, usize>($index),
            Row::Postgres(row) => row.try_get_unchecked::<$type, usize>($index),
            Row::MySql(row) => row.try_get_unchecked::<$type, usize>($index),
        }
    };
}

impl Row {
    pub(crate) fn int(&self, index: usize) -> Result<i64, sqlx::Error> {
        column!(self, index, i64)
    }

    pub(crate) fn int_or_null(&self, index: usize) -> Result<Option<i64>, sqlx::Error> {
        column!(self, index, Option<i64>)
    }

    /// The column's text, as stored.
    pub(crate) fn text(&self, index: usize) -> Result<&[u8], sqlx::Error> {
        column!(self, index, &[u8])
    }

    pub(crate) fn text_or_null(&self, index: usize) -> Result<Option<&[u8]>, sqlx::Error> {
        column!(self, index, Option<&[u8]>)
    }
}

/// A connection.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// What a caller does with each row: go on, or have seen enough.
pub(crate) type Visit<'a, E> = &'a mut (dyn FnMut(Row) -> Result<ControlFlow<()>, E> + Send);

macro_rules! each {
    ($stream:expr, $wrap:path, $visit:expr) => {{
        let mut stream = $stream;
        while let Some(row) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            if $visit($wrap(row?))?.is_break() {
                break;
            }
        }
    }};
}

impl Connection {
    /// Runs a statement without arguments that returns nothing of interest (BEGIN, DDL).
    pub(crate) async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => connection.execute(sql).await.map(drop),
            Self::Postgres(connection) => connection.execute(sql).await.map(drop),
            Self::MySql(connection) => connection.execute(sql).await.map(drop),
        }
    }

    /// Runs text made at run time from this crate's constants, as [`Connection::run`] does.
    pub(crate) async fn run_built(&mut self, sql: &Sql) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(sql.safe());
        match self {
            Self::Sqlite(connection) => sql.execute(connection).await.map(drop),
            Self::Postgres(connection) => sql.execute(connection).await.map(drop),
            Self::MySql(connection) => sql.execute(connection).await.map(drop),
        }
    }

    /// Runs a prepared statement and returns how many rows it changed. The prepared form is kept
    /// with the connection.
    pub(crate) async fn execute(&mut self, sql: &Sql, args: Args) -> Result<u64, sqlx::Error> {
        let sql = sql.safe();
        match (self, args) {
            (Self::Sqlite(connection), Args::Sqlite(args)) => {
                let mut answers = connection.fetch_many(sqlx::query_with(sql, args));
                // The first answer that is no row says that all is done. Waiting for the end of the
                // answers as well would cost another change of threads.
                loop {
                    match std::future::poll_fn(|cx| answers.as_mut().poll_next(cx)).await {
                        Some(Ok(Either::Left(done))) => return Ok(done.rows_affected()),
                        Some(Ok(Either::Right(_))) => {}
                        Some(Err(error)) => return Err(error),
                        None => return Ok(0),
                    }
                }
            }
            (Self::Postgres(connection), Args::Postgres(args)) => {
                let done = sqlx::query_with(sql, args).execute(connection).await?;
                Ok(done.rows_affected())
            }
            (Self::MySql(connection), Args::MySql(args)) => {
                let done = sqlx::query_with(sql, args).execute(connection).await?;
                Ok(done.rows_affected())
            }
            _ => Err(mixed()),
        }
    }

    /// Runs a prepared query and shows each row to `visit` as it arrives.
    pub(crate) async fn fetch<E: From<sqlx::Error>>(
        &mut self,
        sql: &Sql,
        args: Args,
        visit: Visit<'_, E>,
    ) -> Result<(), E> {
        let sql = sql.safe();
        match (self, args) {
            (Self::Sqlite(connection), Args::Sqlite(args)) => {
                each!(
                    sqlx::query_with(sql, args).fetch(connection),
                    Row::Sqlite,
                    visit
                );
            }
            (Self::Postgres(connection), Args::Postgres(args)) => {
                each!(
                    sqlx::query_with(sql, args).fetch(connection),
                    Row::Postgres,
                    visit
                );
            }
            (Self::MySql(connection), Args::MySql(args)) => {
                each!(
                    sqlx::query_with(sql, args).fetch(connection),
                    Row::MySql,
                    visit
                );
            }
            _ => return Err(mixed().into()),
        }
        Ok(())
    }

    /// Runs a prepared query whose answer is one number in one row; `None` without a row.
    pub(crate) async fn number(
        &mut self,
        sql: &Sql,
        args: Args,
    ) -> Result<Option<i64>, sqlx::Error> {
        let mut answer = None;
        self.fetch::<sqlx::Error>(sql, args, &mut |row| {
            answer = Some(row.int(0)?);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(answer)
    }

    /// Asks a server whether it is there. A file always is.
    pub(crate) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(connection) => connection.ping().await,
            Self::MySql(connection) => connection.ping().await,
        }
    }

    /// Begins a transaction that is going to write.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        match self {
            // Takes the write lock at once, so that waiting for it happens here, where the busy
            // timeout works, and not in the middle.
            Self::Sqlite(_) => self.run("BEGIN IMMEDIATE").await,
            _ => self.run("BEGIN").await,
        }
    }

    /// Closes in an orderly way.
    pub(crate) async fn close(self) {
        // A failure to say goodbye changes nothing for anyone.
        let _ = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
            Self::MySql(connection) => connection.close().await,
        };
    }
}

fn mixed() -> sqlx::Error {
    sqlx::Error::Protocol("arguments of one dialect given to a connection of another".into())
}
