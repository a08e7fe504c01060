//! The store of records, whichever it is made of.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cluster::{Outcome, Record, Revision, Version};
use tokio::time::Instant;

use crate::entry::{ClusterId, Entry, Found, Key, Write, Written};
use crate::error::Error;
use crate::etcd::Etcd;
use crate::member::{self, Member, Registration};
use crate::options::Options;
use crate::sqlite::Sqlite;
use crate::watch::Watch;

/// How often what is read and then written is tried again when others write between.
const TRIES_MAX: usize = 32;

/// What became of a compare-and-set.
#[derive(Debug)]
pub enum CasOutcome {
    /// It was taken.
    Written {
        /// The new revision.
        revision: Revision,
    },
    /// It was not: the record is at another version, this one.
    Conflict(Version),
    /// It was sent, and no answer came: it may have been taken, or be taken later.
    Unknown(Error),
}

impl CasOutcome {
    /// What the machine is told. A request that failed before it was sent is to it what one of unknown fate is.
    pub fn outcome(cas: &Result<CasOutcome, Error>) -> Outcome {
        match cas {
            Ok(CasOutcome::Written { revision }) => Outcome::Written {
                revision: *revision,
            },
            Ok(CasOutcome::Conflict(version)) => Outcome::Conflict {
                revision: version.revision,
                record: version.record,
            },
            Ok(CasOutcome::Unknown(_)) | Err(_) => Outcome::Failed,
        }
    }
}

/// What the machine is told of a reading.
pub fn read_outcome(read: &Result<Version, Error>) -> Outcome {
    match read {
        Ok(version) => Outcome::Read {
            revision: version.revision,
            record: version.record,
        },
        Err(_) => Outcome::Failed,
    }
}

/// The coordinator. Requests may be made at the same time from any task of a tokio runtime, each with its own limit.
#[derive(Debug)]
pub struct Coordinator {
    store: Store,
    /// The cluster that this node belongs to, once it has joined.
    id: Mutex<Option<ClusterId>>,
    /// The bytes of each service's version that was seen last. A newer program may have written more than a
    /// [`Record`] of this one holds, and the bytes are what is compared.
    seen: Mutex<HashMap<Key, (Version, Entry)>>,
}

#[derive(Debug)]
pub(crate) enum Store {
    Etcd(Etcd),
    Sqlite(Box<Sqlite>),
}

impl Store {
    async fn read(&self, key: &Key, within: Duration) -> Result<Found, Error> {
        match self {
            Store::Etcd(etcd) => etcd.read(key, within).await,
            Store::Sqlite(sqlite) => sqlite.read(key, within).await,
        }
    }

    async fn write(&self, write: &Write, within: Duration) -> Result<Written, Error> {
        match self {
            Store::Etcd(etcd) => etcd.write(write, within).await,
            Store::Sqlite(sqlite) => sqlite.write(write, within).await,
        }
    }
}

impl Coordinator {
    /// Prepares the coordinator. Nothing is asked of etcd yet; a database file is made where there is none.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::File`], [`Error::Name`].
    pub async fn open(options: &Options) -> Result<Coordinator, Error> {
        let store = match options {
            Options::Etcd(options) => Store::Etcd(Etcd::open(options)?),
            Options::Sqlite { path, cluster } => {
                Store::Sqlite(Box::new(Sqlite::open(path, cluster).await?))
            }
        };
        Ok(Coordinator {
            store,
            id: Mutex::new(None),
            seen: Mutex::new(HashMap::new()),
        })
    }

    /// Joins the cluster: before anything else. `own` is the id that this node keeps from the last time; `fresh` a
    /// random one, by which the cluster is created where there is none. What is returned is to be kept.
    ///
    /// # Errors
    /// [`Error::OtherCluster`] where the coordinator's records are those of another cluster than `own`.
    pub async fn join(
        &self,
        own: Option<ClusterId>,
        fresh: ClusterId,
        within: Duration,
    ) -> Result<ClusterId, Error> {
        let proposed = own.unwrap_or(fresh);
        let key = Key::cluster_id();
        let bytes = self
            .settle(&key, proposed.to_string().into_bytes(), within)
            .await?;
        let found = read_id(&bytes)?;
        match own {
            Some(own) if own != found => Err(Error::OtherCluster { found, own }),
            _ => {
                *lock(&self.id) = Some(found);
                Ok(found)
            }
        }
    }

    /// Makes sure that all members have the same value of something: the first to ask writes it.
    ///
    /// # Errors
    /// [`Error::Disagreement`] with what is agreed on; what a request may have.
    pub async fn agree(&self, name: &str, own: &str, within: Duration) -> Result<(), Error> {
        let bytes = self
            .settle(&Key::agreed(name)?, own.as_bytes().to_vec(), within)
            .await?;
        if bytes == own.as_bytes() {
            return Ok(());
        }
        Err(Error::Disagreement {
            name: name.to_owned(),
            found: String::from_utf8_lossy(&bytes).into_owned(),
            own: own.to_owned(),
        })
    }

    /// Reads the record of a service. A record that a node cannot decode is not read.
    ///
    /// # Errors
    /// [`Error::Garbage`]; [`Error::OtherCluster`] and [`Error::NoCluster`]; what a request may have.
    pub async fn read(&self, service: &str, within: Duration) -> Result<Version, Error> {
        let key = Key::service(service)?;
        let found = self.store.read(&key, within).await?;
        self.check(&found)?;
        self.see(&key, found.entry)
    }

    /// Replaces the record of a service if it is still `expected`, by its revision and by what it says.
    ///
    /// # Errors
    /// Those of [`Coordinator::read`]: nothing was written. Where that is not known, the outcome says so.
    pub async fn cas(
        &self,
        service: &str,
        expected: &Version,
        record: &Record,
        within: Duration,
    ) -> Result<CasOutcome, Error> {
        let key = Key::service(service)?;
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        let write = Write {
            expected: self.bytes_of(&key, expected),
            id: *lock(&self.id),
            key,
            bytes,
        };
        match self.store.write(&write, within).await? {
            Written::Taken(revision) => {
                let revision = Revision(revision);
                let entry = Entry {
                    revision: revision.0,
                    bytes: write.bytes,
                };
                self.see(&write.key, Some(entry))?;
                Ok(CasOutcome::Written { revision })
            }
            Written::Refused(found) => {
                self.check(&found)?;
                let version = self.see(&write.key, found.entry)?;
                // Each writing has a count of its own, so this one is it: taken where the answer got lost.
                Ok(if version.record == Some(*record) {
                    let revision = version.revision;
                    CasOutcome::Written { revision }
                } else {
                    CasOutcome::Conflict(version)
                })
            }
            Written::Unknown(error) => Ok(CasOutcome::Unknown(error)),
        }
    }

    /// Watches the record of a service: the current version, then each later one as soon as it is known. Where many come at
    /// once only the last is shown.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn watch(&self, service: &str) -> Result<Watch, Error> {
        let key = Key::service(service)?;
        Ok(match &self.store {
            Store::Etcd(etcd) => Watch::of_etcd(etcd.clone(), key),
            Store::Sqlite(sqlite) => Watch::of_sqlite(Sqlite::clone(sqlite), key),
        })
    }

    /// Enters this node among the members, or its new life and address, and gives it its number.
    ///
    /// # Errors
    /// [`Error::MembersFull`], [`Error::BadEntry`], [`Error::Contended`]; what a request may have.
    pub async fn register(
        &self,
        registration: &Registration,
        within: Duration,
    ) -> Result<Member, Error> {
        registration.check()?;
        let key = Key::members();
        let deadline = Instant::now() + within;
        for _ in 0..TRIES_MAX {
            let found = self.store.read(&key, left(deadline)).await?;
            self.check(&found)?;
            let mut members = member::read(found.entry.as_ref())?;
            let own = member::enter(&mut members, registration)?;
            let write = Write {
                key: key.clone(),
                expected: found.entry,
                bytes: member::write(&members),
                id: *lock(&self.id),
            };
            match self.store.write(&write, left(deadline)).await? {
                Written::Taken(_) => return Ok(own),
                // The next reading shows whether it was taken.
                Written::Refused(_) | Written::Unknown(_) => {}
            }
        }
        Err(Error::Contended)
    }

    /// All members that ever registered.
    ///
    /// # Errors
    /// [`Error::BadEntry`]; what a request may have.
    pub async fn members(&self, within: Duration) -> Result<Vec<Member>, Error> {
        let found = self.store.read(&Key::members(), within).await?;
        self.check(&found)?;
        member::read(found.entry.as_ref())
    }

    /// Writes `bytes` where nothing is, and returns what is there then.
    async fn settle(&self, key: &Key, bytes: Vec<u8>, within: Duration) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + within;
        let id = if *key == Key::cluster_id() {
            None
        } else {
            *lock(&self.id)
        };
        for _ in 0..TRIES_MAX {
            let found = self.store.read(key, left(deadline)).await?;
            if id.is_some() {
                self.check(&found)?;
            }
            if let Some(entry) = found.entry {
                return Ok(entry.bytes);
            }
            let write = Write {
                key: key.clone(),
                expected: None,
                bytes: bytes.clone(),
                id,
            };
            // Whatever became of it, the next reading shows.
            self.store.write(&write, left(deadline)).await?;
        }
        Err(Error::Contended)
    }

    /// Whether what was found is of the cluster that this node belongs to.
    fn check(&self, found: &Found) -> Result<(), Error> {
        let Some(own) = *lock(&self.id) else {
            return Ok(());
        };
        match &found.id {
            None => Err(Error::NoCluster),
            Some(bytes) => match read_id(bytes)? {
                found if found == own => Ok(()),
                found => Err(Error::OtherCluster { found, own }),
            },
        }
    }

    /// Notes what lies under a service's key.
    fn see(&self, key: &Key, entry: Option<Entry>) -> Result<Version, Error> {
        let version = version_of(key, entry.as_ref())?;
        if let Some(entry) = entry {
            lock(&self.seen).insert(key.clone(), (version, entry));
        }
        Ok(version)
    }

    /// The bytes that a version has there, as far as is known.
    fn bytes_of(&self, key: &Key, version: &Version) -> Option<Entry> {
        let record = version.record?;
        if let Some((seen, entry)) = lock(&self.seen).get(key)
            && seen == version
        {
            return Some(entry.clone());
        }
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        let revision = version.revision.0;
        Some(Entry { revision, bytes })
    }
}

/// What an entry under a service's key says.
pub(crate) fn version_of(key: &Key, entry: Option<&Entry>) -> Result<Version, Error> {
    let Some(entry) = entry else {
        return Ok(Version {
            revision: Revision(0),
            record: None,
        });
    };
    let record = Record::read(&entry.bytes).map_err(|error| Error::Garbage {
        key: key.as_str().to_owned(),
        revision: entry.revision,
        error,
    })?;
    Ok(Version {
        revision: Revision(entry.revision),
        record: Some(record),
    })
}

fn read_id(bytes: &[u8]) -> Result<ClusterId, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::BadClusterId)?;
    text.parse()
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// What these hold is whole after every statement, so a panic elsewhere has spoilt nothing.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
