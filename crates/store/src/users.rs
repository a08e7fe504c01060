//! Domains, users and their credentials.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;

use crate::backend::{Args, Connection, Dialect, Row, Sql};
use crate::error::StoreError;
use crate::schema::NAME_CHARS_MAX;
use crate::store::{Store, Value, name_column, now_unix_s};
use crate::text;

/// What a user can prove to know: `H(username:realm:password)` per digest algorithm (RFC 7616
/// section 3.4.2, RFC 8760). An algorithm without a value cannot be used by this user.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Credentials {
    /// For MD5.
    pub ha1_md5: Option<[u8; 16]>,
    /// For SHA-256.
    pub ha1_sha256: Option<[u8; 32]>,
    /// For SHA-512-256.
    pub ha1_sha512_256: Option<[u8; 32]>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// The user part of the address of record, unescaped; upper and lower case differ.
    pub username: String,
    /// The domain, in lower case.
    pub domain: String,
    /// The credentials.
    pub credentials: Credentials,
    /// When the user was added, in seconds since the Unix epoch.
    pub created_at_unix_s: i64,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscriber(hidden)")
    }
}

/// A user to be added with many others.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSubscriber {
    /// As in [`Subscriber::username`].
    pub username: String,
    /// The domain, in lower case.
    pub domain: String,
    /// The credentials.
    pub credentials: Credentials,
}

impl fmt::Debug for NewSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewSubscriber(hidden)")
    }
}

/// What became of many users added at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsersAdded {
    /// How many are new.
    pub added: u64,
    /// How many were there already (or came before in the same call) and have new credentials now.
    pub replaced: u64,
    /// How many were there already, or came before in the same call, and were left alone.
    pub there: u64,
}

/// The most users that one call adds: a transaction that others wait for.
pub const USERS_ADDED_MAX: usize = 10_000;

const SUBSCRIBER: &str = "SELECT username, domain, ha1_md5, ha1_sha256, ha1_sha512_256, created_at
    FROM subscriber";

impl Store {
    /// Adds a user. The domain need not be in the table of domains: it may come from the
    /// configuration.
    ///
    /// # Errors
    /// [`StoreError::UserExists`], [`StoreError::NameLength`], and the database's own.
    pub async fn user_add(
        &self,
        username: &str,
        domain: &str,
        credentials: &Credentials,
    ) -> Result<(), StoreError> {
        let domain = checked_domain(domain)?;
        checked_name("username", username)?;
        let [md5, sha256, sha512_256] = hex(credentials);
        let text = "INSERT INTO subscriber
            (username, domain, ha1_md5, ha1_sha256, ha1_sha512_256, created_at)
            VALUES (?, ?, ?, ?, ?, ?)";
        let values = [
            Value::Bytes(username.as_bytes()),
            Value::Bytes(domain.as_bytes()),
            Value::TextOrNull(md5.as_deref()),
            Value::TextOrNull(sha256.as_deref()),
            Value::TextOrNull(sha512_256.as_deref()),
            Value::Int(now_unix_s()),
        ];
        let added = self.change("adding a user", text, &values).await;
        unless_there(added, StoreError::UserExists)
    }

    /// Adds many users in one transaction: all of them, or on an error none. Those that are there
    /// already are left alone, or get the new credentials if `replace` says so.
    ///
    /// # Errors
    /// [`StoreError::TooManyUsers`] for more than [`USERS_ADDED_MAX`], [`StoreError::NameLength`] (see
    /// [`NewSubscriber::check`]), and the database's own.
    pub async fn users_add(
        &self,
        users: &[NewSubscriber],
        replace: bool,
    ) -> Result<UsersAdded, StoreError> {
        if users.len() > USERS_ADDED_MAX {
            let users_max = USERS_ADDED_MAX;
            return Err(StoreError::TooManyUsers { users_max });
        }
        users.iter().try_for_each(NewSubscriber::check)?;
        let rows = Rows {
            dialect: self.dialect(),
            now_unix_s: now_unix_s(),
        };
        let in_one = async |connection: &mut Connection| {
            let mut all: Vec<_> = users.iter().collect();
            let added = rows.write(connection, &all, Existing::Stay).await?;
            let rest = users.len() as u64 - added;
            if replace && rest > 0 {
                // PostgreSQL does not take a row twice in a statement; the last one counts.
                let mut last = HashMap::new();
                for user in users {
                    last.insert((&user.domain, &user.username), user);
                }
                all = last.into_values().collect();
                rows.write(connection, &all, Existing::Replace).await?;
            }
            let (replaced, there) = if replace { (rest, 0) } else { (0, rest) };
            let done = UsersAdded {
                added,
                replaced,
                there,
            };
            Ok((added + replaced > 0, done))
        };
        self.transaction("adding users", in_one).await
    }

    /// Replaces all of a user's credentials.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUser`], and the database's own.
    pub async fn user_set_credentials(
        &self,
        username: &str,
        domain: &str,
        credentials: &Credentials,
    ) -> Result<(), StoreError> {
        if self.user(username, domain).await?.is_none() {
            return Err(StoreError::NoSuchUser);
        }
        let domain = domain.to_ascii_lowercase();
        let [md5, sha256, sha512_256] = hex(credentials);
        let text = "UPDATE subscriber SET ha1_md5 = ?, ha1_sha256 = ?, ha1_sha512_256 = ?
            WHERE username = ? AND domain = ?";
        let values = [
            Value::TextOrNull(md5.as_deref()),
            Value::TextOrNull(sha256.as_deref()),
            Value::TextOrNull(sha512_256.as_deref()),
            Value::Bytes(username.as_bytes()),
            Value::Bytes(domain.as_bytes()),
        ];
        // MySQL counts no row when the credentials are the ones it had, so none is no error here.
        self.change("setting credentials", text, &values).await?;
        Ok(())
    }

    /// Removes a user. Bindings of the user's address of record are not touched.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUser`], and the database's own.
    pub async fn user_delete(&self, username: &str, domain: &str) -> Result<(), StoreError> {
        let domain = domain.to_ascii_lowercase();
        let text = "DELETE FROM subscriber WHERE username = ? AND domain = ?";
        let values = [
            Value::Bytes(username.as_bytes()),
            Value::Bytes(domain.as_bytes()),
        ];
        match self.change("deleting a user", text, &values).await? {
            0 => Err(StoreError::NoSuchUser),
            _ => Ok(()),
        }
    }

    /// Looks one user up.
    ///
    /// # Errors
    /// [`StoreError::BadRow`], and the database's own.
    pub async fn user(
        &self,
        username: &str,
        domain: &str,
    ) -> Result<Option<Subscriber>, StoreError> {
        let domain = domain.to_ascii_lowercase();
        let query = format!("{SUBSCRIBER} WHERE username = ? AND domain = ?");
        let values = [
            Value::Bytes(username.as_bytes()),
            Value::Bytes(domain.as_bytes()),
        ];
        let mut found = None;
        self.scan("looking a user up", &query, &values, &mut |row| {
            found = Some(read(&row)?);
            Ok(ControlFlow::Break(()))
        })
        .await?;
        Ok(found)
    }

    /// Shows every user (or every user of one domain) to `visit` until it has seen enough, ordered
    /// by domain and name. Rows pass one at a time; nothing is collected. Returns how many rows
    /// were passed over because they cannot be read back.
    ///
    /// # Errors
    /// The database's own.
    pub async fn users(
        &self,
        domain: Option<&str>,
        mut visit: impl FnMut(Subscriber) -> ControlFlow<()> + Send,
    ) -> Result<u64, StoreError> {
        let domain = domain.map(str::to_ascii_lowercase);
        let order = "ORDER BY domain, username";
        let (query, values) = match &domain {
            Some(domain) => (
                format!("{SUBSCRIBER} WHERE domain = ? {order}"),
                vec![Value::Bytes(domain.as_bytes())],
            ),
            None => (format!("{SUBSCRIBER} {order}"), Vec::new()),
        };
        let mut unreadable = 0;
        self.scan("listing users", &query, &values, &mut |row| {
            match read(&row) {
                Ok(user) => return Ok(visit(user)),
                Err(StoreError::BadRow { column, .. }) => {
                    unreadable += 1;
                    tracing::warn!(column, "user passed over: the row cannot be read back");
                }
                Err(error) => return Err(error),
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(unreadable)
    }

    /// Adds a domain, in lower case.
    ///
    /// # Errors
    /// [`StoreError::DomainExists`], [`StoreError::NameLength`], and the database's own.
    pub async fn domain_add(&self, name: &str) -> Result<(), StoreError> {
        let name = checked_domain(name)?;
        let text = "INSERT INTO domain (name) VALUES (?)";
        let values = [Value::Bytes(name.as_bytes())];
        let added = self.change("adding a domain", text, &values).await;
        unless_there(added, StoreError::DomainExists)
    }

    /// Removes a domain that has no users left.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`], [`StoreError::DomainInUse`], and the database's own.
    pub async fn domain_delete(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_ascii_lowercase();
        let name = name.as_bytes();
        let text = "DELETE FROM domain WHERE name = ?
            AND NOT EXISTS (SELECT 1 FROM subscriber WHERE subscriber.domain = ?)";
        let values = [Value::Bytes(name), Value::Bytes(name)];
        if self.change("deleting a domain", text, &values).await? > 0 {
            return Ok(());
        }
        let text = "SELECT COUNT(*) FROM subscriber WHERE domain = ?
            AND EXISTS (SELECT 1 FROM domain WHERE name = ?)";
        let sql = Sql::new(self.dialect(), text);
        let users = self.number("counting users", &sql, &values).await?;
        match users.and_then(|users| u64::try_from(users).ok()) {
            None | Some(0) => Err(StoreError::NoSuchDomain),
            Some(users) => Err(StoreError::DomainInUse { users }),
        }
    }

    /// Shows every domain to `visit`, in order.
    ///
    /// # Errors
    /// [`StoreError::BadRow`], and the database's own.
    pub async fn domains(&self, mut visit: impl FnMut(String) + Send) -> Result<(), StoreError> {
        let query = "SELECT name FROM domain ORDER BY name";
        self.scan("listing domains", query, &[], &mut |row| {
            visit(name_column(&row, 0, "domain", "name")?);
            Ok(ControlFlow::Continue(()))
        })
        .await
    }
}

impl NewSubscriber {
    /// Whether it can be stored.
    ///
    /// # Errors
    /// [`StoreError::NameLength`]
    pub fn check(&self) -> Result<(), StoreError> {
        checked_name("domain", &self.domain)?;
        checked_name("username", &self.username)
    }
}

/// What becomes of users that are there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Stay,
    Replace,
}

/// Writes users by statements of many rows.
struct Rows {
    dialect: Dialect,
    now_unix_s: i64,
}

/// Rows per statement, so that few statements are prepared.
const ROWS: [usize; 3] = [512, 32, 1];

impl Rows {
    /// Returns how many rows the database counts as changed: with [`Existing::Stay`], those added.
    async fn write(
        &self,
        connection: &mut Connection,
        users: &[&NewSubscriber],
        existing: Existing,
    ) -> Result<u64, sqlx::Error> {
        let mut rest = users;
        let mut changed = 0;
        while let Some(size) = ROWS.into_iter().find(|size| *size <= rest.len()) {
            let (piece, after) = rest.split_at(size);
            rest = after;
            let mut args = Args::new(self.dialect, size * 6);
            for user in piece {
                let [md5, sha256, sha512_256] = hex(&user.credentials);
                args.bytes(user.username.as_bytes())?;
                args.bytes(user.domain.to_ascii_lowercase().as_bytes())?;
                args.text_or_null(md5.as_deref())?;
                args.text_or_null(sha256.as_deref())?;
                args.text_or_null(sha512_256.as_deref())?;
                args.int(self.now_unix_s)?;
            }
            let sql = Sql::new(self.dialect, &self.statement(size, existing));
            changed += connection.execute(&sql, args).await?;
        }
        Ok(changed)
    }

    fn statement(&self, rows: usize, existing: Existing) -> String {
        let rows = vec!["(?, ?, ?, ?, ?, ?)"; rows].join(", ");
        let (ignore, clause) = match (self.dialect, existing) {
            (Dialect::MySql, Existing::Stay) => (" IGNORE", ""),
            (Dialect::MySql, Existing::Replace) => (
                "",
                "ON DUPLICATE KEY UPDATE ha1_md5 = VALUES(ha1_md5),
                    ha1_sha256 = VALUES(ha1_sha256), ha1_sha512_256 = VALUES(ha1_sha512_256)",
            ),
            (_, Existing::Stay) => ("", "ON CONFLICT (domain, username) DO NOTHING"),
            (_, Existing::Replace) => (
                "",
                "ON CONFLICT (domain, username) DO UPDATE SET ha1_md5 = excluded.ha1_md5,
                    ha1_sha256 = excluded.ha1_sha256, ha1_sha512_256 = excluded.ha1_sha512_256",
            ),
        };
        format!(
            "INSERT{ignore} INTO subscriber
                (username, domain, ha1_md5, ha1_sha256, ha1_sha512_256, created_at)
                VALUES {rows} {clause}"
        )
    }
}

fn read(row: &Row) -> Result<Subscriber, StoreError> {
    Ok(Subscriber {
        username: name_column(row, 0, "subscriber", "username")?,
        domain: name_column(row, 1, "subscriber", "domain")?,
        credentials: Credentials {
            ha1_md5: ha1(row, 2, "ha1_md5")?,
            ha1_sha256: ha1(row, 3, "ha1_sha256")?,
            ha1_sha512_256: ha1(row, 4, "ha1_sha512_256")?,
        },
        created_at_unix_s: row.int(5)?,
    })
}

fn ha1<const N: usize>(
    row: &Row,
    index: usize,
    column: &'static str,
) -> Result<Option<[u8; N]>, StoreError> {
    let Some(hex) = row.text_or_null(index)? else {
        return Ok(None);
    };
    let bad = StoreError::BadRow {
        table: "subscriber",
        column,
    };
    text::from_hex(hex).map(Some).ok_or(bad)
}

fn hex(credentials: &Credentials) -> [Option<String>; 3] {
    [
        credentials.ha1_md5.map(|ha1| text::to_hex(&ha1)),
        credentials.ha1_sha256.map(|ha1| text::to_hex(&ha1)),
        credentials.ha1_sha512_256.map(|ha1| text::to_hex(&ha1)),
    ]
}

fn checked_name(field: &'static str, name: &str) -> Result<(), StoreError> {
    let stored_chars = text::to_column(name.as_bytes()).chars().count();
    if stored_chars == 0 || stored_chars > NAME_CHARS_MAX {
        let bytes_max = NAME_CHARS_MAX;
        return Err(StoreError::NameLength { field, bytes_max });
    }
    Ok(())
}

fn checked_domain(domain: &str) -> Result<String, StoreError> {
    checked_name("domain", domain)?;
    Ok(domain.to_ascii_lowercase())
}

fn unless_there(added: Result<u64, StoreError>, there: StoreError) -> Result<(), StoreError> {
    match added {
        Ok(_) => Ok(()),
        Err(StoreError::Database { source, .. })
            if source
                .as_database_error()
                .is_some_and(|error| error.is_unique_violation()) =>
        {
            Err(there)
        }
        Err(error) => Err(error),
    }
}
