//! The schema: one text, a few substitutions per dialect, applied in numbered steps.
//!
//! Each step runs once, under a lock that makes programs that start together wait for each other,
//! and is recorded in `schema_version`. SQLite and PostgreSQL run all steps in one transaction.
//! MySQL commits at each DDL statement, so steps are written to be repeatable (`IF NOT EXISTS`),
//! and one that was cut short is run again.
//!
//! A released step is never edited; a change is a new step at the end.

use crate::backend::{Args, Connection, Dialect, Sql};
use crate::error::StoreError;

struct Step {
    version: i64,
    statements: &'static [&'static str],
}

/// The newest schema version this program knows.
pub const SCHEMA_VERSION: i64 = STEPS[STEPS.len() - 1].version;

const STEPS: &[Step] = &[FIRST, CALLS];

const FIRST: Step = Step {
    version: 1,
    statements: &[
        "CREATE TABLE IF NOT EXISTS domain (
            name {name} NOT NULL PRIMARY KEY
        ){keyed}",
        // One row: a number that rises with every change of domains and subscribers.
        "CREATE TABLE IF NOT EXISTS revision (
            id {id},
            number BIGINT NOT NULL
        ){heap}",
        "INSERT INTO revision (id, number)
            SELECT 1, 0 FROM (SELECT COUNT(*) AS present FROM revision) AS counted
            WHERE counted.present = 0",
        // HA1 per algorithm in hex (RFC 7616 section 3.4.2, RFC 8760), never a clear password.
        "CREATE TABLE IF NOT EXISTS subscriber (
            username {name} NOT NULL,
            domain {name} NOT NULL,
            ha1_md5 VARCHAR(32),
            ha1_sha256 VARCHAR(64),
            ha1_sha512_256 VARCHAR(64),
            created_at BIGINT NOT NULL,
            PRIMARY KEY (domain, username)
        ){keyed}",
        // Bindings are loaded whole into memory at start and looked up there, so there is no index
        // on aor: every index would add a page to dirty per row. The id rises, so new rows are
        // appended to the last page.
        "CREATE TABLE IF NOT EXISTS binding (
            id {id},
            aor {text} NOT NULL,
            contact {text} NOT NULL,
            received {text} NOT NULL,
            flow {text} NOT NULL,
            path {text} NOT NULL,
            instance {text} NOT NULL,
            reg_id BIGINT,
            q_thousandths BIGINT,
            expires_at BIGINT NOT NULL,
            call_id {text} NOT NULL,
            cseq BIGINT NOT NULL,
            user_agent {text} NOT NULL,
            methods {text} NOT NULL,
            params {text} NOT NULL
        ){rows}",
    ],
};

const CALLS: Step = Step {
    version: 2,
    statements: &[
        // Records of calls. Their names rise with time for the most part, so new rows are neighbours.
        "CREATE TABLE IF NOT EXISTS cdr (
            id VARCHAR(64) NOT NULL PRIMARY KEY,
            began_ms BIGINT NOT NULL,
            answered_ms BIGINT NOT NULL,
            ended_ms BIGINT NOT NULL,
            caller {text} NOT NULL,
            called {text} NOT NULL,
            status BIGINT NOT NULL,
            q850 BIGINT NOT NULL,
            detail {long} NOT NULL
        ){heap}",
        "CREATE TABLE IF NOT EXISTS dialplan (
            name {name} NOT NULL PRIMARY KEY,
            content {long} NOT NULL,
            changed_at BIGINT NOT NULL
        ){keyed}",
    ],
};

const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (
    version {id},
    applied_at BIGINT NOT NULL
){heap}";

/// The most characters of a user's or a domain's name: two of them fit a key of InnoDB.
pub(crate) const NAME_CHARS_MAX: usize = 255;

const MYSQL_TABLE: &str =
    " ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

fn build(dialect: Dialect, text: &str) -> Sql {
    let (id, string, keyed, heap, rows) = match dialect {
        Dialect::Sqlite => ("INTEGER PRIMARY KEY", "TEXT", " WITHOUT ROWID", "", ""),
        // Room on each page for the new version of a refreshed row, which then touches no index.
        Dialect::Postgres => (
            "BIGINT PRIMARY KEY",
            "TEXT",
            "",
            "",
            " WITH (fillfactor = 80)",
        ),
        Dialect::MySql => (
            "BIGINT PRIMARY KEY",
            "TEXT",
            MYSQL_TABLE,
            MYSQL_TABLE,
            MYSQL_TABLE,
        ),
    };
    let long = match dialect {
        Dialect::MySql => "MEDIUMTEXT",
        Dialect::Sqlite | Dialect::Postgres => "TEXT",
    };
    let text = text
        .replace("{long}", long)
        .replace("{id}", id)
        .replace("{text}", string)
        .replace("{name}", &format!("VARCHAR({NAME_CHARS_MAX})"))
        .replace("{keyed}", keyed)
        .replace("{heap}", heap)
        .replace("{rows}", rows);
    Sql::new(dialect, &text)
}

/// Brings the database to [`SCHEMA_VERSION`]. Returns the version it had.
///
/// # Errors
/// [`StoreError::SchemaNewer`] when the database is ahead of this program; nothing is changed then.
pub(crate) async fn migrate(
    connection: &mut Connection,
    dialect: Dialect,
    now_unix_s: i64,
) -> Result<i64, StoreError> {
    if let Ok(found) = version(connection, dialect).await
        && found >= SCHEMA_VERSION
    {
        return checked(found);
    }
    lock(connection, dialect).await.map_err(failed)?;
    let result = apply(connection, dialect, now_unix_s).await;
    let unlocked = unlock(connection, dialect, result.is_ok()).await;
    // If the steps failed, that is what there is to tell.
    let found = result?;
    unlocked.map_err(failed)?;
    Ok(found)
}

async fn apply(
    connection: &mut Connection,
    dialect: Dialect,
    now_unix_s: i64,
) -> Result<i64, StoreError> {
    let sql = build(dialect, VERSION_TABLE);
    connection.run_built(&sql).await.map_err(failed)?;
    let found = version(connection, dialect).await.map_err(failed)?;
    checked(found)?;
    for step in STEPS.iter().filter(|step| step.version > found) {
        for statement in step.statements {
            let sql = build(dialect, statement);
            connection.run_built(&sql).await.map_err(failed)?;
        }
        let mut args = Args::new(dialect, 2);
        args.int(step.version).map_err(failed)?;
        args.int(now_unix_s).map_err(failed)?;
        let text = "INSERT INTO schema_version (version, applied_at) VALUES (?, ?)";
        connection
            .execute(&Sql::new(dialect, text), args)
            .await
            .map_err(failed)?;
        tracing::info!(version = step.version, "database schema migrated");
    }
    Ok(found)
}

async fn version(connection: &mut Connection, dialect: Dialect) -> Result<i64, sqlx::Error> {
    let sql = Sql::new(
        dialect,
        "SELECT COALESCE(MAX(version), 0) FROM schema_version",
    );
    let version = connection.number(&sql, Args::new(dialect, 0)).await?;
    Ok(version.unwrap_or(0))
}

fn checked(found: i64) -> Result<i64, StoreError> {
    if found > SCHEMA_VERSION {
        return Err(StoreError::SchemaNewer {
            found,
            known: SCHEMA_VERSION,
        });
    }
    Ok(found)
}

async fn lock(connection: &mut Connection, dialect: Dialect) -> Result<(), sqlx::Error> {
    match dialect {
        Dialect::Sqlite => connection.begin().await,
        Dialect::Postgres => {
            connection.begin().await?;
            // Released by the end of the transaction. The number is this program's own choice.
            connection
                .run("SELECT pg_advisory_xact_lock(4850172301)")
                .await
        }
        // 1 when taken, 0 when the wait was in vain.
        Dialect::MySql => {
            let text = "SELECT CAST(GET_LOCK(CONCAT(DATABASE(), '.schema'), 60) AS SIGNED)";
            let sql = Sql::new(dialect, text);
            match connection.number(&sql, Args::new(dialect, 0)).await? {
                Some(1) => Ok(()),
                _ => Err(sqlx::Error::PoolTimedOut),
            }
        }
    }
}

async fn unlock(
    connection: &mut Connection,
    dialect: Dialect,
    done: bool,
) -> Result<(), sqlx::Error> {
    match (dialect, done) {
        (Dialect::MySql, _) => {
            connection
                .run("DO RELEASE_LOCK(CONCAT(DATABASE(), '.schema'))")
                .await
        }
        (_, true) => connection.run("COMMIT").await,
        (_, false) => connection.run("ROLLBACK").await,
    }
}

fn failed(source: sqlx::Error) -> StoreError {
    StoreError::Database {
        operation: "migrating the schema",
        source,
    }
}
