//! A group of changes as one transaction.
//!
//! Changes are first folded by row number into what they amount to, which keeps their order per row
//! and leaves three sets that touch disjoint rows: rows to put, rows to refresh, rows to delete.
//! Each set is written by statements of many rows, in rising order of row numbers, so that
//! neighbouring rows dirty a page once. Statements come in a few sizes, so that their text is
//! prepared once per connection.

use std::collections::HashMap;
use std::time::Duration;

use crate::backend::{Args, Connection, Dialect, Sql};
use crate::binding::{
    BindingChange, BindingId, BindingRow, COLUMNS, DeferredChange, Named, Renewal,
};

/// Rows per statement, largest first: a number of rows is made up of these. Servers keep every
/// prepared statement in memory and are given few. SQLite leaves arguments that are not bound NULL and
/// its statements pass over rows of these, so there a few rows less than a size take its statement:
/// a single one is a transaction of its own, and each further one costs two changes of threads.
fn sizes(dialect: Dialect) -> &'static [usize] {
    match dialect {
        Dialect::Sqlite => &[
            512, 384, 256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1,
        ],
        Dialect::Postgres | Dialect::MySql => &[256, 64, 16, 8, 4, 2, 1],
    }
}

/// The size of the statement for the next of so many rows, and how many of them it takes.
fn next_piece(dialect: Dialect, rows: usize) -> Option<(usize, usize)> {
    let sizes = sizes(dialect);
    let mut largest_first = sizes.iter().copied();
    let size = match dialect {
        _ if rows == 0 => None,
        Dialect::Sqlite => largest_first
            .rfind(|size| *size >= rows)
            .or(sizes.first().copied()),
        Dialect::Postgres | Dialect::MySql => largest_first.find(|size| *size <= rows),
    }?;
    Some((size, size.min(rows)))
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
    /// By which columns they name.
    puts: [Shapes; Named::COUNT],
    refresh: Shapes,
    delete: Shapes,
}

/// One kind of statement in every size.
#[derive(Default)]
struct Shapes(HashMap<usize, Sql>);

impl Shapes {
    fn of(&mut self, dialect: Dialect, rows: usize, build: impl FnOnce() -> String) -> Sql {
        let made = self.0.entry(rows);
        made.or_insert_with(|| Sql::new(dialect, &build())).clone()
    }
}

impl Statements {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            puts: Default::default(),
            refresh: Shapes::default(),
            delete: Shapes::default(),
        }
    }

    /// How many statements so many rows take.
    fn pieces(&self, mut rows: usize) -> usize {
        let mut count = 0;
        while let Some((_, taken)) = next_piece(self.dialect, rows) {
            count += 1;
            rows -= taken;
        }
        count
    }
}

/// Cuts rows into pieces, each with the size of its statement.
fn split<T>(dialect: Dialect, rows: &[T]) -> impl Iterator<Item = (usize, &[T])> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let (size, taken) = next_piece(dialect, rest.len())?;
        let (piece, after) = rest.split_at(taken);
        rest = after;
        Some((size, piece))
    })
}

fn repeated(item: &str, times: usize) -> String {
    vec![item; times].join(", ")
}

fn put(dialect: Dialect, named: Named, rows: usize) -> String {
    let values: Vec<_> = COLUMNS.iter().map(|column| column.value(named)).collect();
    let rows = repeated(&format!("({})", values.join(", ")), rows);
    let (clause, from) = match dialect {
        Dialect::Sqlite | Dialect::Postgres => ("ON CONFLICT (id) DO UPDATE SET", "excluded."),
        Dialect::MySql => ("ON DUPLICATE KEY UPDATE", "VALUES("),
    };
    let close = if dialect == Dialect::MySql { ")" } else { "" };
    let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
    let sets: Vec<_> = names[1..]
        .iter()
        .map(|name| format!("{name} = {from}{name}{close}"))
        .collect();
    let source = match dialect {
        Dialect::Sqlite => format!("SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL"),
        Dialect::Postgres | Dialect::MySql => format!("VALUES {rows}"),
    };
    let (names, sets) = (names.join(", "), sets.join(", "));
    format!("INSERT INTO binding ({names}) {source} {clause} {sets}")
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

fn delete(rows: usize) -> String {
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
    let named = match dialect {
        Dialect::Sqlite => Named::by(group.puts.iter().map(|(row, _)| *row)),
        // One statement of each size is prepared there.
        Dialect::Postgres | Dialect::MySql => Named::ALL,
    };
    for (size, rows) in split(dialect, &group.puts) {
        let mut args = Args::new(dialect, rows.len() * COLUMNS.len());
        for (row, renewal) in rows {
            row.bind(named, renewal.as_ref(), &mut args)?;
        }
        let shapes = &mut statements.puts[named.index()];
        let sql = shapes.of(dialect, size, || put(dialect, named, size));
        connection.execute(&sql, args).await?;
    }
    for (size, rows) in split(dialect, &group.refreshes) {
        let mut args = Args::new(dialect, rows.len() * REFRESH_ARGS);
        for (id, renewal) in rows {
            args.int(id.0)?;
            args.int(renewal.expires_at_unix_s)?;
            args.int(renewal.cseq.into())?;
            args.bytes_or_null(renewal.call_id)?;
        }
        let sql = statements
            .refresh
            .of(dialect, size, || refresh(dialect, size));
        connection.execute(&sql, args).await?;
    }
    for (size, rows) in split(dialect, &group.deletes) {
        let mut args = Args::new(dialect, rows.len());
        for id in rows {
            args.int(id.0)?;
        }
        let sql = statements.delete.of(dialect, size, || delete(size));
        connection.execute(&sql, args).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_pieces_that_fit_their_statements() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
            let statements = Statements::new(dialect);
            for count in 0..1200 {
                let rows = vec![(); count];
                let pieces: Vec<_> = split(dialect, &rows)
                    .map(|(size, piece)| (size, piece.len()))
                    .collect();
                assert_eq!(pieces.iter().map(|(_, len)| len).sum::<usize>(), count);
                assert_eq!(pieces.len(), statements.pieces(count));
                for (size, len) in pieces {
                    assert!(sizes(dialect).contains(&size));
                    match dialect {
                        Dialect::Sqlite => assert!(len <= size && size < 2 * len.max(1)),
                        Dialect::Postgres | Dialect::MySql => assert_eq!(len, size),
                    }
                }
            }
        }
        assert_eq!(Statements::new(Dialect::Sqlite).pieces(512), 1);
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
