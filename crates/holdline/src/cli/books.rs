//! Users and domains from the command line: through the node when one runs,
//! else straight in the store.

use admin::{BODY_BYTES_MAX, Credential, Domain, Imported, NewUser, Page, Password, Query, User};
use serde_json::{Value, json};

use super::Failure;
use crate::client::{Client, escaped};
use crate::config::Config;
use crate::directory::Directory;
use crate::lifecycle::{StartError, open_store};

/// How many users are asked for at once.
const PAGE_USERS: usize = 500;

/// The users and domains of one node.
pub(crate) enum Books {
    /// A node runs: it is told, and knows at once.
    Node(Client),
    /// None runs.
    Store {
        /// Drives the store.
        runtime: tokio::runtime::Runtime,
        /// The store's users and domains.
        directory: Directory,
        /// Domains of the configuration file.
        configured: Vec<String>,
    },
}

impl Books {
    /// Opens the store of a configuration.
    pub(crate) fn open(config: &Config) -> Result<Books, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StartError::Process { error })?;
        let store = runtime.block_on(open_store(config))?;
        let configured = config
            .edge
            .domains
            .iter()
            .map(ToString::to_string)
            .collect();
        Ok(Books::Store {
            runtime,
            directory: Directory::new(store),
            configured,
        })
    }

    /// `node` or `store`: where a change went.
    pub(crate) fn place(&self) -> &'static str {
        match self {
            Books::Node(_) => "node",
            Books::Store { .. } => "store",
        }
    }

    pub(crate) fn add_user(&self, user: &NewUser) -> Result<(), Failure> {
        match self {
            Books::Node(client) => {
                let mut body = credential_body(&user.credential);
                body["aor"] = json!(user.aor);
                body["later"] = json!(user.later);
                client.post::<Value>("/api/users", &body)?;
            }
            Books::Store {
                runtime, directory, ..
            } => {
                runtime.block_on(directory.add_user(user))?;
            }
        }
        Ok(())
    }

    /// Adds many users: in one transaction straight in the store, in as many as there are
    /// requests through a node.
    pub(crate) fn import_users(&self, new: &[NewUser], replace: bool) -> Result<Imported, Failure> {
        match self {
            Books::Node(client) => import_through(client, new, replace),
            Books::Store {
                runtime, directory, ..
            } => Ok(runtime.block_on(directory.import_users(new, replace))?.0),
        }
    }

    pub(crate) fn delete_user(&self, aor: &str) -> Result<(), Failure> {
        match self {
            Books::Node(client) => client.delete(&format!("/api/users/{}", escaped(aor)))?,
            Books::Store {
                runtime, directory, ..
            } => {
                runtime.block_on(directory.delete_user(aor))?;
            }
        }
        Ok(())
    }

    pub(crate) fn set_credential(&self, aor: &str, credential: &Credential) -> Result<(), Failure> {
        match self {
            Books::Node(client) => {
                let path = format!("/api/users/{}/password", escaped(aor));
                client.put(&path, &credential_body(credential))?;
            }
            Books::Store {
                runtime, directory, ..
            } => {
                runtime.block_on(directory.set_credential(aor, credential))?;
            }
        }
        Ok(())
    }

    /// Users after a cursor.
    pub(crate) fn users(&self, after: Option<&str>) -> Result<Page<User>, Failure> {
        match self {
            Books::Node(client) => {
                let after =
                    after.map_or(String::new(), |after| format!("&after={}", escaped(after)));
                Ok(client.get(&format!("/api/users?limit={PAGE_USERS}{after}"))?)
            }
            Books::Store {
                runtime, directory, ..
            } => {
                let after = after.map(str::to_owned);
                let query = Query {
                    aor: None,
                    after,
                    limit: PAGE_USERS,
                };
                Ok(runtime.block_on(directory.users(&query))?)
            }
        }
    }

    pub(crate) fn domains(&self) -> Result<Vec<Domain>, Failure> {
        match self {
            Books::Node(client) => Ok(client.get("/api/domains")?),
            Books::Store {
                runtime,
                directory,
                configured,
            } => {
                let stored = runtime.block_on(directory.domains())?;
                let stored = stored
                    .into_iter()
                    .filter(|domain| !configured.contains(domain));
                let stored = stored.map(|domain| Domain {
                    domain,
                    configured: false,
                });
                let configured = configured.iter().map(|name| Domain {
                    domain: name.clone(),
                    configured: true,
                });
                Ok(configured.chain(stored).collect())
            }
        }
    }

    pub(crate) fn add_domain(&self, domain: &str) -> Result<(), Failure> {
        match self {
            Books::Node(client) => {
                client.post::<Value>("/api/domains", &json!({ "domain": domain }))?;
            }
            Books::Store {
                runtime, directory, ..
            } => {
                runtime.block_on(directory.add_domain(domain))?;
            }
        }
        Ok(())
    }

    pub(crate) fn delete_domain(&self, domain: &str) -> Result<(), Failure> {
        match self {
            Books::Node(client) => client.delete(&format!("/api/domains/{}", escaped(domain)))?,
            Books::Store {
                runtime, directory, ..
            } => {
                runtime.block_on(directory.delete_domain(domain))?;
            }
        }
        Ok(())
    }
}

/// The only place where a password is written: the request to the node.
fn credential_body(credential: &Credential) -> Value {
    match credential {
        Credential::Password(password) => json!({ "password": password.reveal() }),
        Credential::Ha1(values) => {
            let values = values
                .iter()
                .map(|(name, value)| (name.clone(), json!(value.reveal())));
            json!({ "ha1": values.collect::<serde_json::Map<String, Value>>() })
        }
    }
}

/// Sends users in requests that the node takes.
fn import_through(client: &Client, new: &[NewUser], replace: bool) -> Result<Imported, Failure> {
    /// What a request has beside its users.
    const FRAME_BYTES: usize = 64;
    let mut all = Imported::default();
    let mut users = Vec::new();
    let (mut first, mut size_bytes) = (0, FRAME_BYTES);
    for (index, user) in new.iter().enumerate() {
        let mut body = credential_body(&user.credential);
        body["aor"] = json!(user.aor);
        let body_bytes = body.to_string().len() + 1;
        if size_bytes + body_bytes > BODY_BYTES_MAX && !users.is_empty() {
            send(client, std::mem::take(&mut users), replace, first, &mut all)?;
            (first, size_bytes) = (index, FRAME_BYTES);
        }
        size_bytes += body_bytes;
        users.push(body);
    }
    if !users.is_empty() {
        send(client, users, replace, first, &mut all)?;
    }
    Ok(all)
}

fn send(
    client: &Client,
    users: Vec<Value>,
    replace: bool,
    first: usize,
    all: &mut Imported,
) -> Result<(), Failure> {
    let body = json!({ "users": users, "replace": replace });
    let part: Imported = client.post("/api/users/import", &body)?;
    all.added += part.added;
    all.replaced += part.replaced;
    all.there += part.there;
    for mut mistake in part.mistakes {
        mistake.index += first;
        all.mistakes.push(mistake);
    }
    Ok(())
}

/// A password as a credential.
pub(crate) fn password(text: String) -> Credential {
    Credential::Password(Password::new(text))
}
