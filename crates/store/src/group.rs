//! A group of changes as one transaction.
//!
//! Changes are first folded by row number into what they amount to, which keeps their order per row
//! and leaves three sets that touch disjoint rows: rows to put, rows to refresh, rows to delete.
//! Each set is written by statements of many rows, in rising order of row numbers, so that
//! neighbouring rows dirty a page once. Statements come in a few sizes, so that their text is
//! prepared once per connection.

use std::time::Duration;

use crate::backend::{Args, Connection, Dialect, Sql};
use crate::binding::{BindingChange, BindingId, BindingRow, COLUMNS, DeferredChange, Renewal};

/// Up to this many rows of one kind are one statement on SQLite, which is then a transaction of its
/// own: each further statement costs two changes of threads, more than several rows do.
const SQLITE_EXACT_MAX: usize = 64;

/// Rows per statement, largest first: a number of rows is made up of these. Servers keep every
/// prepared statement in memory and are given fewer.
fn sizes(dialect: Dialect) -> Vec<usize> {
    match dialect {
        Dialect::Sqlite => [256, 128]
            .into_iter()
            .chain((1..=SQLITE_EXACT_MAX).rev())
            .collect(),
        Dialect::Postgres | Dialect::MySql => vec![256, 64, 16, 8, 4, 2, 1],
    }
}

/// Arguments per row of a refresh.
const REFRESH_ARGS: usize = 4;

/// A change of either kind, borrowed.
#[derive(Clone, Copy)]
pub(crate) enum Change<'a> {
    Put(&'a BindingRow),
    Refresh(BindingId, Renewal<'a>),
    Delete(BindingId),
}

impl Change<'_> {
    fn id(&self) -> BindingId {
        match self {
            Self::Put(row) => row.id,
            Self::Refresh(id, _) | Self::Delete(id) => *id,
        }
    }
}

impl<'a> From<&'a BindingChange> for Change<'a> {
    fn from(change: &'a BindingChange) -> Self {
        match change {
            BindingChange::Put(row) => Self::Put(row),
            BindingChange::Refresh(refresh) => Self::Refresh(refresh.id, refresh.into()),
            BindingChange::Delete(id) => Self::Delete(*id),
        }
    }
}

impl<'a> From<&'a DeferredChange> for Change<'a> {
    fn from(change: &'a DeferredChange) -> Self {
        match change {
            DeferredChange::Refresh(refresh) => Self::Refresh(refresh.id, refresh.into()),
            DeferredChange::Delete(id) => Self::Delete(*id),
        }
    }
}

/// What a group amounts to. No row number is in it twice; each list is in rising order.
#[derive(Default)]
pub(crate) struct Folded<'a> {
    puts: Vec<(&'a BindingRow, Option<Renewal<'a>>)>,
    refreshes: Vec<(BindingId, Renewal<'a>)>,
    deletes: Vec<BindingId>,
}

impl<'a> Folded<'a> {
    /// Folds changes given in the order in which they were made.
    pub(crate) fn new(mut changes: Vec<Change<'a>>) -> Self {
        // Stable, and a single pass over new rows, whose numbers rise.
        changes.sort_by_key(Change::id);
        let mut folded = Self::default();
        let mut changes = changes.into_iter().peekable();
        while let Some(first) = changes.next() {
            let id = first.id();
            let mut whole = (first, None);
            while let Some(next) = changes.next_if(|next| next.id() == id) {
                whole = after(whole, next);
            }
            match whole {
                (Change::Put(row), renewal) => folded.puts.push((row, renewal)),
                (Change::Refresh(id, renewal), _) => folded.refreshes.push((id, renewal)),
                (Change::Delete(id), _) => folded.deletes.push(id),
            }
        }
        folded
    }

    /// How many rows it touches.
    pub(crate) fn rows(&self) -> usize {
        self.puts.len() + self.refreshes.len() + self.deletes.len()
    }
}

/// What one row's changes amount to so far: a change, and a renewal laid over it if it is a put.
type Whole<'a> = (Change<'a>, Option<Renewal<'a>>);

fn after<'a>((so_far, laid_over): Whole<'a>, next: Change<'a>) -> Whole<'a> {
    match (so_far, next) {
        (_, Change::Put(_)) | (_, Change::Delete(_)) => (next, None),
        (Change::Put(_), Change::Refresh(_, renewal)) => (so_far, Some(merged(laid_over, renewal))),
        (Change::Refresh(id, earlier), Change::Refresh(_, renewal)) => {
            (Change::Refresh(id, merged(Some(earlier), renewal)), None)
        }
        // A refresh of a row that is gone does nothing.
        (Change::Delete(_), Change::Refresh(..)) => (so_far, None),
    }
}

fn merged<'a>(earlier: Option<Renewal<'a>>, later: Renewal<'a>) -> Renewal<'a> {
    Renewal {
        call_id: later
            .call_id
            .or(earlier.and_then(|earlier| earlier.call_id)),
        ..later
    }
}

/// The statements' texts for one dialect, made when first used.
pub(crate) struct Statements {
    dialect: Dialect,
    sizes: Vec<usize>,
    put: Shapes,
    refresh: Shapes,
    delete: Shapes,
}

/// One kind of statement in every size.
struct Shapes {
    build: fn(Dialect, usize) -> String,
    made: Vec<Option<Sql>>,
}

impl Shapes {
    fn of(&mut self, dialect: Dialect, rows: usize) -> Sql {
        if self.made.len() <= rows {
            self.made.resize(rows + 1, None);
        }
        let text = || Sql::new(dialect, &(self.build)(dialect, rows));
        self.made[rows].get_or_insert_with(text).clone()
    }
}

impl Statements {
    pub(crate) fn new(dialect: Dialect) -> Self {
        let sized = |build| Shapes {
            build,
            made: Vec::new(),
        };
        Self {
            dialect,
            sizes: sizes(dialect),
            put: sized(put),
            refresh: sized(refresh),
            delete: sized(delete),
        }
    }

    /// How many statements so many rows take.
    fn pieces(&self, mut rows: usize) -> usize {
        let mut count = 0;
        for size in &self.sizes {
            count += rows / size;
            rows %= size;
        }
        count
    }
}

/// Cuts rows into pieces of the sizes that have statements.
fn split<'a, T>(sizes: &[usize], rows: &'a [T]) -> impl Iterator<Item = &'a [T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let size = sizes.iter().find(|size| **size <= rest.len())?;
        let (piece, after) = rest.split_at(*size);
        rest = after;
        Some(piece)
    })
}

fn repeated(item: &str, times: usize) -> String {
    vec![item; times].join(", ")
}

fn put(dialect: Dialect, rows: usize) -> String {
    let row = format!("({})", repeated("?", COLUMNS.len()));
    let (clause, from) = match dialect {
        Dialect::Sqlite | Dialect::Postgres => ("ON CONFLICT (id) DO UPDATE SET", "excluded."),
        Dialect::MySql => ("ON DUPLICATE KEY UPDATE", "VALUES("),
    };
    let close = if dialect == Dialect::MySql { ")" } else { "" };
    let sets: Vec<_> = COLUMNS[1..]
        .iter()
        .map(|column| format!("{column} = {from}{column}{close}"))
        .collect();
    format!(
        "INSERT INTO binding ({}) VALUES {} {clause} {}",
        COLUMNS.join(", "),
        repeated(&row, rows),
        sets.join(", ")
    )
}

fn refresh(dialect: Dialect, rows: usize) -> String {
    let sets = "expires_at = fresh.column2, cseq = fresh.column3,
        call_id = COALESCE(fresh.column4, binding.call_id)";
    if dialect == Dialect::MySql {
        let row = "SELECT CAST(? AS SIGNED) AS column1, CAST(? AS SIGNED) AS column2,
            CAST(? AS SIGNED) AS column3, CAST(? AS CHAR) AS column4";
        let rows = vec![row; rows].join(" UNION ALL ");
        return format!(
            "UPDATE binding JOIN ({rows}) AS fresh ON binding.id = fresh.column1 SET {sets}"
        );
    }
    let rows = repeated("(?, ?, ?, ?)", rows);
    format!(
        "UPDATE binding SET {sets} FROM (VALUES {rows}) AS fresh WHERE binding.id = fresh.column1"
    )
}

fn delete(_: Dialect, rows: usize) -> String {
    format!("DELETE FROM binding WHERE id IN ({})", repeated("?", rows))
}

/// Writes the group in one transaction: all of it is durable on success, and on an error either
/// none of it or, when the answer to the commit was lost, possibly all of it.
pub(crate) async fn write(
    connection: &mut Connection,
    statements: &mut Statements,
    group: &Folded<'_>,
) -> Result<(), sqlx::Error> {
    let lens = [group.puts.len(), group.refreshes.len(), group.deletes.len()];
    let count: usize = lens.iter().map(|rows| statements.pieces(*rows)).sum();
    // A single statement is a transaction of its own.
    if count <= 1 {
        return write_rows(connection, statements, group).await;
    }
    connection.begin().await?;
    match write_rows(connection, statements, group).await {
        Ok(()) => connection.run("COMMIT").await,
        Err(error) => {
            // If this fails too, the connection is given up, which has the same effect.
            let _ = tokio::time::timeout(Duration::from_secs(1), connection.run("ROLLBACK")).await;
            Err(error)
        }
    }
}

async fn write_rows(
    connection: &mut Connection,
    statements: &mut Statements,
    group: &Folded<'_>,
) -> Result<(), sqlx::Error> {
    let dialect = statements.dialect;
    for rows in split(&statements.sizes, &group.puts) {
        let mut args = Args::new(dialect, rows.len() * COLUMNS.len());
        for (row, renewal) in rows {
            row.bind(renewal.as_ref(), &mut args)?;
        }
        let sql = statements.put.of(dialect, rows.len());
        connection.execute(&sql, args).await?;
    }
    for rows in split(&statements.sizes, &group.refreshes) {
        let mut args = Args::new(dialect, rows.len() * REFRESH_ARGS);
        for (id, renewal) in rows {
            args.int(id.0)?;
            args.int(renewal.expires_at_unix_s)?;
            args.int(renewal.cseq.into())?;
            args.bytes_or_null(renewal.call_id)?;
        }
        let sql = statements.refresh.of(dialect, rows.len());
        connection.execute(&sql, args).await?;
    }
    for rows in split(&statements.sizes, &group.deletes) {
        let mut args = Args::new(dialect, rows.len());
        for id in rows {
            args.int(id.0)?;
        }
        let sql = statements.delete.of(dialect, rows.len());
        connection.execute(&sql, args).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_the_sizes_that_have_statements() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
            let statements = Statements::new(dialect);
            for count in 0..600 {
                let rows = vec![(); count];
                let lens: Vec<_> = split(&statements.sizes, &rows).map(<[_]>::len).collect();
                assert_eq!(lens.iter().sum::<usize>(), count);
                assert_eq!(lens.len(), statements.pieces(count));
                assert!(lens.iter().all(|len| statements.sizes.contains(len)));
            }
        }
        assert_eq!(Statements::new(Dialect::Sqlite).pieces(SQLITE_EXACT_MAX), 1);
    }

    #[test]
    fn a_delete_after_a_put_leaves_a_delete_and_a_put_after_it_a_put() {
        let row = crate::binding::tests_row(7);
        let folded = Folded::new(vec![Change::Put(&row), Change::Delete(row.id)]);
        assert_eq!((folded.puts.len(), folded.deletes.len()), (0, 1));
        let folded = Folded::new(vec![Change::Delete(row.id), Change::Put(&row)]);
        assert_eq!((folded.puts.len(), folded.deletes.len()), (1, 0));
        assert_eq!(folded.rows(), 1);
    }

    #[test]
    fn refreshes_of_a_row_merge_and_keep_the_last_call_id_named() {
        let renewal = |cseq, call_id: Option<&'static [u8]>| Renewal {
            expires_at_unix_s: i64::from(cseq) * 10,
            cseq,
            call_id,
        };
        let row = crate::binding::tests_row(7);
        let first = Change::Refresh(row.id, renewal(1, Some(b"one")));
        let second = Change::Refresh(row.id, renewal(2, None));
        let folded = Folded::new(vec![first, second]);
        let (id, merged) = folded.refreshes[0];
        assert_eq!(
            (id, merged.cseq, merged.call_id),
            (row.id, 2, Some(&b"one"[..]))
        );
        let folded = Folded::new(vec![Change::Put(&row), first, second]);
        let merged = folded.puts[0].1.expect("a renewal over the put");
        assert_eq!((merged.cseq, merged.call_id), (2, Some(&b"one"[..])));
        let folded = Folded::new(vec![first, Change::Put(&row)]);
        assert!(folded.puts[0].1.is_none() && folded.refreshes.is_empty());
        let folded = Folded::new(vec![Change::Delete(row.id), first]);
        assert_eq!((folded.deletes.len(), folded.rows()), (1, 1));
    }
}
