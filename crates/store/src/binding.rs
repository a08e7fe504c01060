//! Bindings as rows, and changes of them.

use std::fmt;
use std::ops::ControlFlow;

use crate::backend::{Args, Row, Sql};
use crate::error::StoreError;
use crate::store::Store;
use crate::text;

/// The most bytes that the texts of one row may have together. A larger change is refused before
/// it can make a group fail; the longest statement stays under what MySQL accepts by default.
pub const ROW_BYTES_MAX: usize = 8 * 1024;

/// A binding's row number: assigned by the process, rising, so that new rows are appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingId(pub i64);

/// One binding of an address of record to a contact (RFC 3261 section 10), as it is stored.
///
/// Texts are bytes as they came in SIP; an empty one means that there was none. `Debug` shows the
/// number only, since the rest is users' data.
#[derive(Clone, PartialEq, Eq)]
pub struct BindingRow {
    /// The row number.
    pub id: BindingId,
    /// The address of record, in the form the location table uses as its key.
    pub aor: Vec<u8>,
    /// The contact URI.
    pub contact: Vec<u8>,
    /// The address and port that the REGISTER came from.
    pub received: Vec<u8>,
    /// The transport and flow on which it came.
    pub flow: Vec<u8>,
    /// The Path header's values (RFC 3327).
    pub path: Vec<u8>,
    /// The `+sip.instance` value (RFC 5626).
    pub instance: Vec<u8>,
    /// The `reg-id` value (RFC 5626).
    pub reg_id: Option<u32>,
    /// The `q` value in thousandths (RFC 3261 section 20.10), 0 to 1000.
    pub q_thousandths: Option<u16>,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at_unix_s: i64,
    /// The Call-ID of the REGISTER that last touched it.
    pub call_id: Vec<u8>,
    /// The CSeq number of that REGISTER.
    pub cseq: u32,
    /// The User-Agent header's value.
    pub user_agent: Vec<u8>,
    /// The methods the contact allows.
    pub methods: Vec<u8>,
    /// Other contact parameters.
    pub params: Vec<u8>,
}

/// A registration renewed with nothing changed but when it ends and which request said so.
#[derive(Clone, PartialEq, Eq)]
pub struct BindingRefresh {
    /// Which row. A refresh of a row that is not there does nothing.
    pub id: BindingId,
    /// When it expires now, in seconds since the Unix epoch.
    pub expires_at_unix_s: i64,
    /// The CSeq number of the REGISTER.
    pub cseq: u32,
    /// Its Call-ID, where that is another than before.
    pub call_id: Option<Box<[u8]>>,
}

/// A change that is answered when it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most changes that are waited for are puts, and a box would be one more allocation"
)]
pub enum BindingChange {
    /// Inserts the row, or replaces the one of the same number.
    Put(BindingRow),
    /// Renews a row.
    Refresh(BindingRefresh),
    /// Removes a row, if it is there.
    Delete(BindingId),
}

/// A change that nobody waits for: merged with others of the same row, written within a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeferredChange {
    /// Renews a row.
    Refresh(BindingRefresh),
    /// Removes a row, if it is there: one that has expired, say.
    Delete(BindingId),
}

impl fmt::Debug for BindingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindingRow")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BindingRefresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindingRefresh")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl BindingChange {
    /// The row it concerns.
    #[must_use]
    pub fn id(&self) -> BindingId {
        match self {
            Self::Put(row) => row.id,
            Self::Refresh(refresh) => refresh.id,
            Self::Delete(id) => *id,
        }
    }

    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Put(row) => row.texts().iter().map(|text| text.len()).sum(),
            Self::Refresh(refresh) => refresh.text_bytes(),
            Self::Delete(_) => 0,
        }
    }
}

impl DeferredChange {
    /// The row it concerns.
    #[must_use]
    pub fn id(&self) -> BindingId {
        match self {
            Self::Refresh(refresh) => refresh.id,
            Self::Delete(id) => *id,
        }
    }

    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Refresh(refresh) => refresh.text_bytes(),
            Self::Delete(_) => 0,
        }
    }

    /// What the two amount to when `later` comes after this one.
    pub(crate) fn then(self, later: Self) -> Self {
        match (self, later) {
            (Self::Refresh(earlier), Self::Refresh(mut later)) => {
                later.call_id = later.call_id.or(earlier.call_id);
                Self::Refresh(later)
            }
            // What is deleted stays so: a row number is not used twice.
            (Self::Delete(id), _) | (_, Self::Delete(id)) => Self::Delete(id),
        }
    }
}

impl BindingRefresh {
    fn text_bytes(&self) -> usize {
        self.call_id.as_ref().map_or(0, |text| text.len())
    }
}

/// A column, and what stands for a value where none of a group's rows has one: such a column takes no
/// arguments, which are most of what a row costs.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// Which bit of [`Named`] it goes by, and the SQL for "none".
    none: Option<(u8, &'static str)>,
}

/// Columns that few phones fill.
const RARE: u8 = 1;
/// Columns of RFC 5626.
const OUTBOUND: u8 = 2;

impl Column {
    const fn always(name: &'static str) -> Self {
        Self { name, none: None }
    }

    const fn rare(name: &'static str, none: &'static str) -> Self {
        let none = Some((RARE, none));
        Self { name, none }
    }

    const fn outbound(name: &'static str, none: &'static str) -> Self {
        let none = Some((OUTBOUND, none));
        Self { name, none }
    }

    /// Its value in a row of a statement: an argument or "none".
    pub(crate) fn value(&self, named: Named) -> &'static str {
        match self.none {
            Some((bit, none)) if named.0 & bit == 0 => none,
            _ => "?",
        }
    }
}

/// The columns in the order in which [`BindingRow::bind`] and [`read`] take them.
pub(crate) const COLUMNS: [Column; 15] = [
    Column::always("id"),
    Column::always("aor"),
    Column::always("contact"),
    Column::always("received"),
    Column::always("flow"),
    Column::rare("path", "''"),
    Column::outbound("instance", "''"),
    Column::outbound("reg_id", "NULL"),
    Column::rare("q_thousandths", "NULL"),
    Column::always("expires_at"),
    Column::always("call_id"),
    Column::always("cseq"),
    Column::always("user_agent"),
    Column::rare("methods", "''"),
    Column::rare("params", "''"),
];

/// Which columns a statement has arguments for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named(u8);

impl Named {
    pub(crate) const ALL: Self = Self(RARE | OUTBOUND);
    /// How many there are.
    pub(crate) const COUNT: usize = 4;

    /// Those that one of `rows` fills.
    pub(crate) fn by<'a>(rows: impl Iterator<Item = &'a BindingRow>) -> Self {
        Self(rows.fold(0, |bits, row| {
            let rare = !(row.path.is_empty() && row.methods.is_empty() && row.params.is_empty())
                || row.q_thousandths.is_some();
            let outbound = !row.instance.is_empty() || row.reg_id.is_some();
            bits | (u8::from(rare) * RARE) | (u8::from(outbound) * OUTBOUND)
        }))
    }

    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

impl BindingRow {
    fn texts(&self) -> [&[u8]; 10] {
        [
            &self.aor,
            &self.contact,
            &self.received,
            &self.flow,
            &self.path,
            &self.instance,
            &self.call_id,
            &self.user_agent,
            &self.methods,
            &self.params,
        ]
    }

    /// Adds the row's values to `args`, with a later refresh laid over them.
    pub(crate) fn bind(
        &self,
        named: Named,
        refresh: Option<&Renewal<'_>>,
        args: &mut Args,
    ) -> Result<(), sqlx::Error> {
        let call_id = refresh.and_then(|refresh| refresh.call_id);
        args.int(self.id.0)?;
        args.bytes(&self.aor)?;
        args.bytes(&self.contact)?;
        args.bytes(&self.received)?;
        args.bytes(&self.flow)?;
        if named.has(RARE) {
            args.bytes(&self.path)?;
        }
        if named.has(OUTBOUND) {
            args.bytes(&self.instance)?;
            args.int_or_null(self.reg_id.map(i64::from))?;
        }
        if named.has(RARE) {
            args.int_or_null(self.q_thousandths.map(i64::from))?;
        }
        args.int(refresh.map_or(self.expires_at_unix_s, |refresh| refresh.expires_at_unix_s))?;
        args.bytes(call_id.unwrap_or(&self.call_id))?;
        args.int(refresh.map_or(self.cseq, |refresh| refresh.cseq).into())?;
        args.bytes(&self.user_agent)?;
        if named.has(RARE) {
            args.bytes(&self.methods)?;
            args.bytes(&self.params)?;
        }
        Ok(())
    }
}

/// A refresh, or several of one row merged.
#[derive(Clone, Copy)]
pub(crate) struct Renewal<'a> {
    pub(crate) expires_at_unix_s: i64,
    pub(crate) cseq: u32,
    pub(crate) call_id: Option<&'a [u8]>,
}

impl<'a> From<&'a BindingRefresh> for Renewal<'a> {
    fn from(refresh: &'a BindingRefresh) -> Self {
        Self {
            expires_at_unix_s: refresh.expires_at_unix_s,
            cseq: refresh.cseq,
            call_id: refresh.call_id.as_deref(),
        }
    }
}

fn read(row: &Row) -> Result<BindingRow, StoreError> {
    let text = |index: usize| -> Result<Vec<u8>, StoreError> {
        text::from_column(row.text(index)?).ok_or(bad(index))
    };
    let int = |index: usize| row.int_or_null(index);
    let small = |index: usize| -> Result<Option<u32>, StoreError> {
        match int(index)? {
            None => Ok(None),
            Some(value) => u32::try_from(value).map(Some).map_err(|_| bad(index)),
        }
    };
    Ok(BindingRow {
        id: BindingId(row.int(0)?),
        aor: text(1)?,
        contact: text(2)?,
        received: text(3)?,
        flow: text(4)?,
        path: text(5)?,
        instance: text(6)?,
        reg_id: small(7)?,
        q_thousandths: match small(8)? {
            None => None,
            Some(value) => Some(u16::try_from(value).map_err(|_| bad(8))?),
        },
        expires_at_unix_s: row.int(9)?,
        call_id: text(10)?,
        cseq: small(11)?.ok_or(bad(11))?,
        user_agent: text(12)?,
        methods: text(13)?,
        params: text(14)?,
    })
}

fn bad(index: usize) -> StoreError {
    StoreError::BadRow {
        table: "binding",
        column: COLUMNS[index].name,
    }
}

impl Store {
    /// Shows every binding to `visit`, in the order of row numbers, expired ones included. Rows
    /// pass one at a time; nothing is collected. Returns how many rows were passed over because
    /// they cannot be read back (each is logged by its number).
    ///
    /// # Errors
    /// The database's own.
    pub async fn load_bindings(
        &self,
        mut visit: impl FnMut(BindingRow) + Send,
    ) -> Result<u64, StoreError> {
        let columns: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
        let query = format!("SELECT {} FROM binding ORDER BY id", columns.join(", "));
        let mut unreadable = 0;
        self.scan("loading bindings", &query, &[], &mut |row| {
            match read(&row) {
                Ok(binding) => visit(binding),
                Err(StoreError::BadRow { column, .. }) => {
                    unreadable += 1;
                    let id = row.int(0)?;
                    tracing::warn!(id, column, "binding passed over: it cannot be read back");
                }
                Err(error) => return Err(error),
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(unreadable)
    }

    /// The number for the next new binding: one above the highest in the table.
    ///
    /// # Errors
    /// The database's own.
    pub async fn next_binding_id(&self) -> Result<BindingId, StoreError> {
        let sql = Sql::new(
            self.dialect(),
            "SELECT COALESCE(MAX(id), 0) + 1 FROM binding",
        );
        let next = self
            .number("finding the next binding number", &sql, &[])
            .await?;
        Ok(BindingId(next.unwrap_or(1)))
    }
}

/// A row for unit tests.
#[cfg(test)]
pub(crate) fn tests_row(id: i64) -> BindingRow {
    BindingRow {
        id: BindingId(id),
        aor: b"sip:alice@example.org".to_vec(),
        contact: b"sip:alice@192.0.2.1:5060".to_vec(),
        received: Vec::new(),
        flow: Vec::new(),
        path: Vec::new(),
        instance: Vec::new(),
        reg_id: None,
        q_thousandths: None,
        expires_at_unix_s: 0,
        call_id: b"call".to_vec(),
        cseq: 1,
        user_agent: Vec::new(),
        methods: Vec::new(),
        params: Vec::new(),
    }
}
