//! Domains, users and their credentials.

use std::fmt;
use std::ops::ControlFlow;

use crate::backend::{Row, Sql};
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
