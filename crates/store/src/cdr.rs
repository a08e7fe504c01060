//! Records of calls, each kept once.

use std::ops::ControlFlow;

use crate::backend::{Args, Dialect, Row, Sql};
use crate::error::StoreError;
use crate::store::{Store, Value, now_unix_s};

/// The most records that one statement keeps.
pub const CDRS_PER_STATEMENT_MAX: usize = 64;

/// The most bytes of a dialplan.
pub const DIALPLAN_BYTES_MAX: usize = 1 << 20;

/// The record of a call (a call detail record).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdrRow {
    /// Names the call among all of the cluster's. A record of the same name is kept once, the first.
    pub id: String,
    /// When it began, in milliseconds since 1970.
    pub began_unix_ms: i64,
    /// When it was answered; `None`: never.
    pub answered_unix_ms: Option<i64>,
    /// When it ended.
    pub ended_unix_ms: i64,
    /// `user@host` of who called.
    pub caller: String,
    /// `user@host` that was called.
    pub called: String,
    /// The SIP status that it ended with; 200 for a call that was answered and hung up.
    pub status: i64,
    /// The Q.850 cause.
    pub q850: i64,
    /// All else, as JSON: steps, legs, codecs, quality.
    pub detail: String,
}

impl Store {
    /// Keeps records of calls. Those whose names are there already are passed over. Returns how many are new.
    ///
    /// # Errors
    /// The database's own; the records of the statement that failed are not kept.
    pub async fn add_cdrs(&self, rows: &[CdrRow]) -> Result<u64, StoreError> {
        let mut added = 0;
        for rows in rows.chunks(CDRS_PER_STATEMENT_MAX) {
            let text = insert(self.dialect(), rows.len());
            let values: Vec<_> = rows.iter().flat_map(columns).collect();
            added += self
                .execute("keeping records of calls", &text, &values)
                .await?;
        }
        Ok(added)
    }

    /// Shows records of calls to `visit`, the latest first, those that began before `before_unix_ms`.
    ///
    /// # Errors
    /// The database's own, and [`StoreError::BadRow`].
    pub async fn cdrs(
        &self,
        before_unix_ms: i64,
        visit: &mut (dyn FnMut(CdrRow) -> ControlFlow<()> + Send),
    ) -> Result<(), StoreError> {
        let text =
            "SELECT id, began_ms, answered_ms, ended_ms, caller, called, status, q850, detail
            FROM cdr WHERE began_ms < ? ORDER BY began_ms DESC, id DESC";
        self.scan(
            "reading records of calls",
            text,
            &[Value::Int(before_unix_ms)],
            &mut |row| Ok(visit(cdr(&row)?)),
        )
        .await
    }

    /// The dialplan that was last put there under a name, and when, in seconds since 1970.
    ///
    /// # Errors
    /// The database's own.
    pub async fn dialplan(&self, name: &str) -> Result<Option<(String, i64)>, StoreError> {
        let mut found = None;
        let text = "SELECT content, changed_at FROM dialplan WHERE name = ?";
        self.scan(
            "reading the dialplan",
            text,
            &[Value::Bytes(name.as_bytes())],
            &mut |row| {
                found = Some((plain(&row, ("dialplan", "content"), 0)?, row.int(1)?));
                Ok(ControlFlow::Break(()))
            },
        )
        .await?;
        Ok(found)
    }

    /// Puts a dialplan there in place of what was there; `None` removes it. The revision rises.
    ///
    /// # Errors
    /// [`StoreError::NameLength`] for a text beyond [`DIALPLAN_BYTES_MAX`], and the database's own.
    pub async fn set_dialplan(&self, name: &str, content: Option<&str>) -> Result<(), StoreError> {
        if content.is_some_and(|content| content.len() > DIALPLAN_BYTES_MAX) {
            return Err(StoreError::NameLength {
                field: "dialplan",
                bytes_max: DIALPLAN_BYTES_MAX,
            });
        }
        let dialect = self.dialect();
        self.transaction("changing the dialplan", async |connection| {
            let mut args = Args::new(dialect, 1);
            args.bytes(name.as_bytes())?;
            let sql = Sql::new(dialect, "DELETE FROM dialplan WHERE name = ?");
            let mut changed = connection.execute(&sql, args).await?;
            if let Some(content) = content {
                let mut args = Args::new(dialect, 3);
                args.bytes(name.as_bytes())?;
                args.text(content)?;
                args.int(now_unix_s())?;
                let text = "INSERT INTO dialplan (name, content, changed_at) VALUES (?, ?, ?)";
                changed += connection.execute(&Sql::new(dialect, text), args).await?;
            }
            Ok((changed > 0, ()))
        })
        .await
    }
}

fn insert(dialect: Dialect, rows: usize) -> String {
    let (verb, end) = match dialect {
        Dialect::MySql => ("INSERT IGNORE", ""),
        Dialect::Sqlite | Dialect::Postgres => ("INSERT", " ON CONFLICT (id) DO NOTHING"),
    };
    let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; rows].join(", ");
    format!(
        "{verb} INTO cdr (id, began_ms, answered_ms, ended_ms, caller, called, status, q850, detail)
        VALUES {values}{end}"
    )
}

fn columns(row: &CdrRow) -> [Value<'_>; 9] {
    [
        Value::TextOrNull(Some(&row.id)),
        Value::Int(row.began_unix_ms),
        // A call that was never answered has -1: the statement's arguments have one type each.
        Value::Int(row.answered_unix_ms.unwrap_or(-1)),
        Value::Int(row.ended_unix_ms),
        Value::Bytes(row.caller.as_bytes()),
        Value::Bytes(row.called.as_bytes()),
        Value::Int(row.status),
        Value::Int(row.q850),
        // JSON has no characters that a column does not take.
        Value::TextOrNull(Some(&row.detail)),
    ]
}

fn cdr(row: &Row) -> Result<CdrRow, StoreError> {
    let answered = row.int(2)?;
    Ok(CdrRow {
        id: plain(row, ("cdr", "id"), 0)?,
        began_unix_ms: row.int(1)?,
        answered_unix_ms: (answered >= 0).then_some(answered),
        ended_unix_ms: row.int(3)?,
        caller: lossy(row, "caller", 4)?,
        called: lossy(row, "called", 5)?,
        status: row.int(6)?,
        q850: row.int(7)?,
        detail: plain(row, ("cdr", "detail"), 8)?,
    })
}

/// Text that was written as it is.
fn plain(
    row: &Row,
    (table, column): (&'static str, &'static str),
    index: usize,
) -> Result<String, StoreError> {
    String::from_utf8(row.text(index)?.to_vec()).map_err(|_| StoreError::BadRow { table, column })
}

/// A name as SIP had it; bytes that are no text are shown as such.
fn lossy(row: &Row, column: &'static str, index: usize) -> Result<String, StoreError> {
    let bytes = crate::text::from_column(row.text(index)?);
    let bytes = bytes.ok_or(StoreError::BadRow {
        table: "cdr",
        column,
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
