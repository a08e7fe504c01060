//! Users and domains in the store: what the admin API and the command line
//! do to them, the node running or not.

use std::ops::ControlFlow;

use admin::{Credential, ImportMistake, Imported, NewUser, Page, Query, Refusal, User};
use sip::digest::{Algorithm, Ha1};
use store::{Credentials, NewSubscriber, Store, StoreError};

use crate::config;

/// The users and domains of one store.
#[derive(Debug, Clone)]
pub struct Directory {
    store: Store,
}

/// An address of record taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aor {
    /// The user part, unescaped.
    pub user: String,
    /// The domain, in small letters.
    pub domain: String,
}

impl Aor {
    /// Reads `user@domain`, also with `sip:` before it.
    ///
    /// # Errors
    /// [`Refusal::Invalid`]
    pub fn parse(text: &str) -> Result<Aor, Refusal> {
        let bare = text.strip_prefix("sip:").unwrap_or(text);
        let invalid = |what: String| Refusal::Invalid {
            what,
            want: "write USER@DOMAIN, as in alice@example.org".to_owned(),
        };
        let (user, domain) = bare
            .rsplit_once('@')
            .ok_or_else(|| invalid(format!("\"{text}\" is not an address of a user")))?;
        if user.is_empty() || user.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(invalid(format!(
                "\"{text}\" has no user before the @, or one with blanks"
            )));
        }
        // A colon would end the name in the text that HA1 hashes.
        if user.contains(':') {
            return Err(invalid(format!(
                "\"{text}\" has a colon in the user's name"
            )));
        }
        let domain = config::Domain::parse(domain)
            .map_err(|_| invalid(format!("\"{domain}\" is not a domain")))?;
        Ok(Aor {
            user: user.to_owned(),
            domain: domain.as_str().to_owned(),
        })
    }
}

impl std::fmt::Display for Aor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.user, self.domain)
    }
}

impl Directory {
    /// The users and domains of `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Directory { store }
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`Refusal::Exists`], [`Refusal::Invalid`], and the store's own.
    pub async fn add_user(&self, new: &NewUser) -> Result<(), Refusal> {
        let aor = Aor::parse(&new.aor)?;
        let credentials = credentials(&aor, &new.credential)?;
        let added = self
            .store
            .user_add(&aor.user, &aor.domain, &credentials)
            .await;
        added.map_err(|error| refusal(error, &aor.to_string()))
    }

    /// Adds many users in one transaction: all that are valid, or on an error none. Those that are
    /// there already are left alone, or get the new credentials if `replace` says so. Gives those that are valid, as they were stored, too.
    ///
    /// # Errors
    /// The store's own.
    pub async fn import_users(
        &self,
        new: &[NewUser],
        replace: bool,
    ) -> Result<(Imported, Vec<NewSubscriber>), Refusal> {
        let mut users = Vec::with_capacity(new.len());
        let mut mistakes = Vec::new();
        for (index, user) in new.iter().enumerate() {
            match subscriber(user) {
                Ok(user) => users.push(user),
                Err(refusal) => mistakes.push(ImportMistake {
                    index,
                    what: refusal.to_string(),
                }),
            }
        }
        let added = self.store.users_add(&users, replace).await;
        let added = added.map_err(|error| refusal(error, ""))?;
        let imported = Imported {
            added: added.added,
            replaced: added.replaced,
            there: added.there,
            mistakes,
        };
        Ok((imported, users))
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], and the store's own.
    pub async fn delete_user(&self, aor: &str) -> Result<(), Refusal> {
        let aor = Aor::parse(aor)?;
        let deleted = self.store.user_delete(&aor.user, &aor.domain).await;
        deleted.map_err(|error| refusal(error, &aor.to_string()))
    }

    /// Replaces a user's credentials.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Invalid`], and the store's own.
    pub async fn set_credential(&self, aor: &str, credential: &Credential) -> Result<(), Refusal> {
        let aor = Aor::parse(aor)?;
        let credentials = credentials(&aor, credential)?;
        let set = self
            .store
            .user_set_credentials(&aor.user, &aor.domain, &credentials)
            .await;
        set.map_err(|error| refusal(error, &aor.to_string()))
    }

    /// A page of users, ordered by domain and name. The cursor is the last
    /// address of record of the page before.
    ///
    /// # Errors
    /// The store's own; [`Refusal::Invalid`] for a cursor that is none.
    pub async fn users(&self, query: &Query) -> Result<Page<User>, Refusal> {
        let after = query.after.as_deref().map(Aor::parse).transpose()?;
        let only = query.aor.as_deref().map(Aor::parse).transpose()?;
        let after = after.map(|aor| (aor.domain, aor.user));
        let mut items = Vec::new();
        let mut more = false;
        let domain = only.as_ref().map(|aor| aor.domain.as_str());
        let visited = self.store.users(domain, |user| {
            let passed = only.as_ref().is_some_and(|aor| aor.user != user.username)
                || after.as_ref().is_some_and(|(domain, name)| {
                    (domain.as_str(), name.as_str())
                        >= (user.domain.as_str(), user.username.as_str())
                });
            if passed {
                return ControlFlow::Continue(());
            }
            if items.len() == query.limit {
                more = true;
                return ControlFlow::Break(());
            }
            let algorithms = algorithms(&user.credentials);
            items.push(User {
                aor: format!("{}@{}", user.username, user.domain),
                algorithms,
            });
            ControlFlow::Continue(())
        });
        visited.await.map_err(|error| refusal(error, ""))?;
        let next = items.last().filter(|_| more).map(|user| user.aor.clone());
        Ok(Page { items, next })
    }

    /// The domains of the store, in order.
    ///
    /// # Errors
    /// The store's own.
    pub async fn domains(&self) -> Result<Vec<String>, Refusal> {
        let mut domains = Vec::new();
        let visited = self.store.domains(|domain| domains.push(domain));
        visited.await.map_err(|error| refusal(error, ""))?;
        Ok(domains)
    }

    /// Adds a domain.
    ///
    /// # Errors
    /// [`Refusal::Exists`], [`Refusal::Invalid`], and the store's own.
    pub async fn add_domain(&self, domain: &str) -> Result<(), Refusal> {
        let domain = config::Domain::parse(domain).map_err(|want| Refusal::Invalid {
            what: format!("\"{domain}\" is not a domain"),
            want: format!("write {want}"),
        })?;
        let added = self.store.domain_add(domain.as_str()).await;
        added.map_err(|error| refusal(error, domain.as_str()))
    }

    /// Deletes a domain that has no users left.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Invalid`], and the store's own.
    pub async fn delete_domain(&self, domain: &str) -> Result<(), Refusal> {
        let deleted = self.store.domain_delete(domain).await;
        deleted.map_err(|error| refusal(error, domain))
    }
}

fn subscriber(new: &NewUser) -> Result<NewSubscriber, Refusal> {
    let aor = Aor::parse(&new.aor)?;
    let credentials = credentials(&aor, &new.credential)?;
    let user = NewSubscriber {
        username: aor.user,
        domain: aor.domain,
        credentials,
    };
    user.check().map_err(|error| refusal(error, &new.aor))?;
    Ok(user)
}

/// HA1 for every algorithm, the domain as realm, so that the configuration
/// may change the algorithms it offers.
fn credentials(aor: &Aor, credential: &Credential) -> Result<Credentials, Refusal> {
    let mut kept = Credentials::default();
    match credential {
        Credential::Password(password) => {
            if password.reveal().is_empty() {
                return Err(Refusal::Invalid {
                    what: "the password is empty".to_owned(),
                    want: "give one".to_owned(),
                });
            }
            for algorithm in Algorithm::ALL {
                let (user, realm) = (aor.user.as_bytes(), aor.domain.as_bytes());
                let password = password.reveal().as_bytes();
                keep(&mut kept, Ha1::compute(algorithm, user, realm, password));
            }
        }
        Credential::Ha1(values) => {
            let invalid = |what: String| Refusal::Invalid {
                what,
                want: "give HA1 in hexadecimal for MD5, SHA-256 or SHA-512-256".to_owned(),
            };
            for (name, value) in values {
                let algorithm = Algorithm::parse(name.as_bytes())
                    .ok_or_else(|| invalid(format!("no algorithm \"{name}\"")))?;
                let ha1 = Ha1::from_hex(algorithm, value.reveal().as_bytes())
                    .ok_or_else(|| invalid(format!("the HA1 for {name} has the wrong form")))?;
                keep(&mut kept, ha1);
            }
            if values.is_empty() {
                return Err(invalid("no HA1".to_owned()));
            }
        }
    }
    Ok(kept)
}

fn keep(kept: &mut Credentials, ha1: Ha1) {
    // The length of the bytes is that of the algorithm.
    match ha1.algorithm() {
        Algorithm::Md5 => kept.ha1_md5 = ha1.as_bytes().try_into().ok(),
        Algorithm::Sha256 => kept.ha1_sha256 = ha1.as_bytes().try_into().ok(),
        Algorithm::Sha512_256 => kept.ha1_sha512_256 = ha1.as_bytes().try_into().ok(),
    }
}

fn algorithms(credentials: &Credentials) -> Vec<String> {
    let there = [
        (credentials.ha1_md5.is_some(), Algorithm::Md5),
        (credentials.ha1_sha256.is_some(), Algorithm::Sha256),
        (credentials.ha1_sha512_256.is_some(), Algorithm::Sha512_256),
    ];
    let there = there.into_iter().filter(|(there, _)| *there);
    there
        .map(|(_, algorithm)| algorithm.name().to_owned())
        .collect()
}

/// The store's errors in the words of the API.
fn refusal(error: StoreError, name: &str) -> Refusal {
    let name = name.to_owned();
    match error {
        StoreError::UserExists => Refusal::Exists { kind: "user", name },
        StoreError::DomainExists => Refusal::Exists {
            kind: "domain",
            name,
        },
        StoreError::NoSuchUser => Refusal::NotFound { kind: "user", name },
        StoreError::NoSuchDomain => Refusal::NotFound {
            kind: "domain",
            name,
        },
        StoreError::DomainInUse { users } => Refusal::Invalid {
            what: format!("{name} still has {users} users"),
            want: "delete them first".to_owned(),
        },
        StoreError::NameLength { field, bytes_max } => Refusal::Invalid {
            what: format!("the {field} is empty or too long"),
            want: format!("use 1 to {bytes_max} bytes"),
        },
        StoreError::TooManyUsers { users_max } => Refusal::Invalid {
            what: "too many users at once".to_owned(),
            want: format!("send at most {users_max}"),
        },
        StoreError::TimedOut { .. } => Refusal::Unavailable {
            reason: error.to_string(),
        },
        other => Refusal::Failed {
            what: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
