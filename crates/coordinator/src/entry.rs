//! What both stores have in common: bytes under a key, with a revision.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Most bytes of a name that becomes part of a key.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// Tells clusters apart: drawn at random when one is created, and compared with each write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ClusterId {
    type Err = Error;

    fn from_str(text: &str) -> Result<ClusterId, Error> {
        let number = u64::from_str_radix(text.trim(), 16).ok();
        number
            .filter(|_| text.trim().len() == 16)
            .map(ClusterId)
            .ok_or(Error::BadClusterId)
    }
}

/// Where something lies, below the cluster's own prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(String);

impl Key {
    /// The cluster's id.
    pub(crate) fn cluster_id() -> Key {
        Key("id".to_owned())
    }

    /// The members and their numbers.
    pub(crate) fn members() -> Key {
        Key("members".to_owned())
    }

    /// A service's record.
    pub(crate) fn service(name: &str) -> Result<Key, Error> {
        Ok(Key(format!("services/{}", checked(name)?)))
    }

    /// What all members have to agree on.
    pub(crate) fn agreed(name: &str) -> Result<Key, Error> {
        Ok(Key(format!("agreed/{}", checked(name)?)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lets only such names into a key as cannot leave their place.
pub(crate) fn checked(name: &str) -> Result<&str, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(Error::Name {
            name: name.to_owned(),
        });
    }
    Ok(name)
}

/// What lies under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Greater than zero; greater after each write.
    pub(crate) revision: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A key's entry, and whose cluster it was read from, in one look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) entry: Option<Entry>,
    /// The bytes of the cluster's id.
    pub(crate) id: Option<Vec<u8>>,
}

/// A compare-and-set.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) key: Key,
    /// What has to be there; `None`: nothing.
    pub(crate) expected: Option<Entry>,
    pub(crate) bytes: Vec<u8>,
    /// The cluster whose id has to be there, but while that is being written itself.
    pub(crate) id: Option<ClusterId>,
}

/// What became of a compare-and-set.
#[derive(Debug)]
pub(crate) enum Written {
    /// It was taken, with this revision.
    Taken(u64),
    /// It was not: this is there.
    Refused(Found),
    /// No answer came after it had been sent.
    Unknown(Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place() {
        assert_eq!(Key::service("edge").unwrap().as_str(), "services/edge");
        for name in ["", "a/b", "..\n", "ü", &"x".repeat(129)] {
            assert!(matches!(Key::service(name), Err(Error::Name { .. })));
        }
    }

    #[test]
    fn a_cluster_id_is_read_as_it_was_written() {
        let id = ClusterId(0xab);
        assert_eq!(id.to_string().parse::<ClusterId>().unwrap(), id);
        assert!("ab".parse::<ClusterId>().is_err());
    }
}
