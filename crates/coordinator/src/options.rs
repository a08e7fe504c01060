//! Where the coordinator is.

use std::fmt;
use std::path::PathBuf;

/// Which coordinator, and which cluster of it.
#[derive(Clone, Debug)]
pub enum Options {
    /// etcd.
    Etcd(EtcdOptions),
    /// A file, for members on one machine.
    Sqlite {
        /// The database; its folder exists.
        path: PathBuf,
        /// The cluster's name.
        cluster: String,
    },
}

/// An etcd, version 3.4 or later.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// URLs, `http` or `https`, of its members. More than one, so that one may die.
    pub endpoints: Vec<String>,
    /// What all keys begin with, such as `/holdline`.
    pub prefix: String,
    /// The cluster's name, which the prefix is followed by.
    pub cluster: String,
    /// User and password, where etcd asks for them.
    pub user: Option<(String, Password)>,
    /// For `https`.
    pub tls: Option<Tls>,
}

/// The files of TLS, in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority that has signed the servers' certificates.
    pub ca: PathBuf,
    /// The client's certificate and key, where the servers want one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A password, which no log line shows.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Wraps it.
    pub fn new(password: impl Into<String>) -> Password {
        Password(password.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}
