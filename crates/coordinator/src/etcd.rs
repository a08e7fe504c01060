//! Records in etcd.

use std::error::Error as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Identity, TlsOptions, Txn, TxnOp,
    TxnOpResponse, TxnResponse,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep_until, timeout};

use crate::entry::{Entry, Found, Key, Write, Written, checked};
use crate::error::Error;
use crate::options::{EtcdOptions, Tls};

/// Most endpoints.
const ENDPOINTS_MAX: usize = 16;
/// How long a connection to one may take to come up. Requests have limits of their own.
const CONNECT: Duration = Duration::from_secs(1);
/// When a silent connection is asked whether it lives. etcd takes more often than each 5 s for an attack.
const KEEP_ALIVE: Duration = Duration::from_secs(6);
/// How long it has for the answer.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(2);

/// Requests in a row that an endpoint leaves without any answer, after which its client is made anew. A server that was restored from
/// an old copy does not refuse a token of before: it waits until it has written as much as the one that gave it.
const SILENT_MAX: u32 = 8;
/// How long that may take; etcd makes passwords slow on purpose.
const RENEW: Duration = Duration::from_secs(5);

/// An etcd with its endpoints. Clones share the connections.
#[derive(Clone)]
pub(crate) struct Etcd {
    shared: Arc<Shared>,
}

struct Shared {
    endpoints: Vec<Endpoint>,
    /// Who answered last, and is asked first.
    preferred: AtomicUsize,
    /// `<prefix>/<cluster>/`.
    prefix: String,
}

struct Endpoint {
    url: String,
    options: ConnectOptions,
    client: OnceCell<Client>,
    /// What stands in for it since it was made anew.
    renewed: Mutex<Option<Client>>,
    is_renewing: AtomicBool,
    /// Requests in a row without any answer.
    silent: AtomicU32,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls = self.shared.endpoints.iter().map(|endpoint| &endpoint.url);
        f.debug_list().entries(urls).finish()
    }
}

impl Endpoint {
    /// The client of this endpoint alone. A balanced one over all endpoints would give requests to hung ones.
    pub(crate) async fn client(&self) -> Result<Client, etcd_client::Error> {
        match self.renewed() {
            Some(client) => Ok(client),
            None => self
                .client
                .get_or_try_init(|| self.connect())
                .await
                .cloned(),
        }
    }

    async fn connect(&self) -> Result<Client, etcd_client::Error> {
        // It is large, and rarely used.
        Box::pin(Client::connect([&self.url], Some(self.options.clone()))).await
    }

    fn renewed(&self) -> Option<Client> {
        let renewed = self.renewed.lock();
        renewed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes its client anew, with another token.
    async fn renew(&self) {
        if let Ok(Ok(client)) = timeout(RENEW, self.connect()).await {
            let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            *renewed = Some(client);
        }
        self.silent.store(0, Ordering::Relaxed);
        self.is_renewing.store(false, Ordering::Release);
    }
}

/// Why one endpoint gave no result.
enum Failure {
    /// It took nothing: it cannot be reached.
    Away(String),
    /// It took nothing: it does not want to.
    Denied(String),
    /// It took nothing: it has forgotten who we are.
    Stale(String),
    /// What it did is not known.
    Lost(String),
}

impl Etcd {
    pub(crate) fn open(options: &EtcdOptions) -> Result<Etcd, Error> {
        let setting = |name, reason: &str| Error::Setting {
            name,
            reason: reason.to_owned(),
        };
        if options.endpoints.is_empty() || options.endpoints.len() > ENDPOINTS_MAX {
            return Err(setting("endpoints", "one to sixteen URLs are needed"));
        }
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_ANSWER)
            // Without a request under way etcd takes them for an attack, too.
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(KEEP_ALIVE)
            // A member that was cut off from the majority says so, instead of waiting with us.
            .with_require_leader(true);
        if let Some((user, password)) = &options.user {
            // A token that was forgotten is fetched anew beside the requests, once ([`Endpoint::renew`]). Where each request did so, all of
            // them would wait for etcd's slow look at the password, and be given up before it has ended, again and again.
            connect = connect.with_user(user, password.reveal());
        }
        if let Some(tls) = &options.tls {
            connect = connect.with_tls(read_tls(tls)?);
        }
        let mut endpoints = Vec::new();
        for url in &options.endpoints {
            match (url.split_once("://"), &options.tls) {
                (Some(("https", _)), Some(_)) | (Some(("http", _)), None) => {}
                (Some(("https", _)), None) => {
                    return Err(setting("endpoints", "https needs the file of a CA"));
                }
                (Some(("http", _)), Some(_)) => {
                    return Err(setting("endpoints", "with TLS every URL begins with https"));
                }
                _ => return Err(setting("endpoints", "URLs begin with http:// or https://")),
            }
            endpoints.push(Endpoint {
                url: url.clone(),
                options: connect.clone(),
                client: OnceCell::new(),
                renewed: Mutex::new(None),
                is_renewing: AtomicBool::new(false),
                silent: AtomicU32::new(0),
            });
        }
        let cluster = checked(&options.cluster)?;
        let prefix = format!("{}/{cluster}/", options.prefix.trim_end_matches('/'));
        Ok(Etcd {
            shared: Arc::new(Shared {
                endpoints,
                preferred: AtomicUsize::new(0),
                prefix,
            }),
        })
    }

    /// The whole key.
    pub(crate) fn path(&self, key: &Key) -> String {
        format!("{}{}", self.shared.prefix, key.as_str())
    }

    /// How many endpoints there are.
    pub(crate) fn endpoints(&self) -> usize {
        self.shared.endpoints.len()
    }

    /// The client of the endpoint that is `turn` places after the preferred one.
    pub(crate) async fn client(&self, turn: usize) -> Result<Client, etcd_client::Error> {
        let shared = &self.shared;
        let first = shared.preferred.load(Ordering::Relaxed);
        shared.endpoints[(first + turn) % shared.endpoints.len()]
            .client()
            .await
    }

    pub(crate) async fn read(&self, key: &Key, within: Duration) -> Result<Found, Error> {
        let txn = Txn::new().and_then(self.look(key));
        match self.ask(txn, within).await {
            Ok(response) => Ok(found(&response)),
            Err((error, _)) => Err(error),
        }
    }

    pub(crate) async fn write(&self, write: &Write, within: Duration) -> Result<Written, Error> {
        let path = self.path(&write.key);
        let mut conditions = match &write.expected {
            None => vec![Compare::mod_revision(path.clone(), CompareOp::Equal, 0)],
            Some(entry) => vec![
                Compare::mod_revision(path.clone(), CompareOp::Equal, as_signed(entry.revision)),
                Compare::value(path.clone(), CompareOp::Equal, entry.bytes.clone()),
            ],
        };
        if let Some(id) = write.id {
            let place = self.path(&Key::cluster_id());
            conditions.push(Compare::value(place, CompareOp::Equal, id.to_string()));
        }
        let txn = Txn::new()
            .when(conditions)
            .and_then([TxnOp::put(path, write.bytes.clone(), None)])
            .or_else(self.look(&write.key));
        match self.ask(txn, within).await {
            Ok(response) if response.succeeded() => {
                let revision = response.header().map_or(0, |header| header.revision());
                Ok(Written::Taken(as_unsigned(revision)))
            }
            Ok(response) => Ok(Written::Refused(found(&response))),
            Err((error, true)) => Ok(Written::Unknown(error)),
            Err((error, false)) => Err(error),
        }
    }

    /// What reads an entry and the cluster's id in one look.
    fn look(&self, key: &Key) -> [TxnOp; 2] {
        [
            TxnOp::get(self.path(key), None),
            TxnOp::get(self.path(&Key::cluster_id()), None),
        ]
    }

    /// Puts a transaction to one endpoint after the other, without waiting long for a silent one, until one has answered.
    /// Beside an error stands whether the transaction may have been done.
    ///
    /// That it may reach two of them is harmless: it compares the revision that it changes.
    async fn ask(&self, txn: Txn, within: Duration) -> Result<TxnResponse, (Error, bool)> {
        let shared = &self.shared;
        let count = shared.endpoints.len();
        let begun = Instant::now();
        let patience = within / (count as u32 + 1);
        let first = shared.preferred.load(Ordering::Relaxed);
        let mut attempts = FuturesUnordered::new();
        let mut failures = Vec::new();
        // Those that have failed, as bits; there are few endpoints.
        let mut failed = 0_u32;
        let mut next = 0;
        let mut next_at = begun;
        loop {
            if next < count && (attempts.is_empty() || Instant::now() >= next_at) {
                let place = (first + next) % count;
                attempts.push(attempt(&shared.endpoints[place], place, txn.clone()));
                next += 1;
                next_at = begun + patience * next as u32;
            }
            if attempts.is_empty() {
                return Err(verdict(failures));
            }
            tokio::select! {
                Some((place, result)) = attempts.next() => match result {
                    Ok(response) => {
                        shared.endpoints[place].silent.store(0, Ordering::Relaxed);
                        shared.preferred.store(place, Ordering::Relaxed);
                        return Ok(response);
                    }
                    Err(failure) => {
                        failed |= 1 << place;
                        if let Failure::Stale(_) = failure {
                            self.renew(place);
                        }
                        failures.push(failure);
                        // The next one at once.
                        next_at = Instant::now();
                    }
                },
                () = sleep_until(next_at), if next < count => {}
                () = sleep_until(begun + within) => {
                    let asked = (0..next).map(|turn| (first + turn) % count);
                    asked.filter(|place| failed & 1 << place == 0).for_each(|place| self.was_silent(place));
                    return Err((Error::TimedOut { within }, true));
                }
            }
        }
    }

    /// Notes that an endpoint has left a request without an answer.
    fn was_silent(&self, place: usize) {
        let silent = &self.shared.endpoints[place].silent;
        if silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_MAX {
            self.renew(place);
        }
    }

    /// Has the client of an endpoint made anew, once at a time.
    fn renew(&self, place: usize) {
        if !self.shared.endpoints[place]
            .is_renewing
            .swap(true, Ordering::AcqRel)
        {
            let shared = self.shared.clone();
            tokio::spawn(async move { shared.endpoints[place].renew().await });
        }
    }
}

async fn attempt(
    endpoint: &Endpoint,
    place: usize,
    txn: Txn,
) -> (usize, Result<TxnResponse, Failure>) {
    let client = match endpoint.client().await {
        Ok(client) => client,
        Err(error) => {
            // Nothing but the user's name was sent so far.
            let failure = match judge(&endpoint.url, &error) {
                Failure::Lost(reason) => Failure::Away(reason),
                other => other,
            };
            return (place, Err(failure));
        }
    };
    let result = client.kv_client().txn(txn).await;
    (place, result.map_err(|error| judge(&endpoint.url, &error)))
}

/// What all failures together say, and whether the transaction may have been done.
fn verdict(failures: Vec<Failure>) -> (Error, bool) {
    let mut error = Error::Unreachable {
        reason: "no endpoint".to_owned(),
    };
    let mut unknown = false;
    for failure in failures {
        match failure {
            Failure::Denied(reason) => error = Error::Denied { reason },
            // What somebody who can be reached says is worth more to know.
            Failure::Away(_) | Failure::Stale(_) | Failure::Lost(_)
                if matches!(error, Error::Denied { .. }) => {}
            Failure::Away(reason) | Failure::Stale(reason) => error = Error::Unreachable { reason },
            Failure::Lost(reason) => {
                unknown = true;
                error = Error::Unreachable { reason };
            }
        }
    }
    (error, unknown)
}

/// Tells failures apart by whether the request can have been done.
fn judge(url: &str, error: &etcd_client::Error) -> Failure {
    use std::io::ErrorKind as Kind;
    let mut reason = format!("{url}: {error}");
    let mut away = false;
    let mut cause = match error {
        etcd_client::Error::GRpcStatus(status) => {
            // Codes of gRPC, by their numbers: Unauthenticated; then InvalidArgument, PermissionDenied, ResourceExhausted,
            // FailedPrecondition, Unimplemented.
            if status.code() as i32 == 16 {
                return Failure::Stale(format!("{url}: {}", status.message()));
            }
            if matches!(status.code() as i32, 3 | 7 | 8 | 9 | 12) {
                return Failure::Denied(format!("{url}: {}", status.message()));
            }
            reason = format!("{url}: {}", status.message());
            status.source()
        }
        other => other.source(),
    };
    while let Some(inner) = cause {
        reason = format!("{url}: {inner}");
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            away |= matches!(
                io.kind(),
                Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable
            );
        }
        cause = inner.source();
    }
    if away {
        Failure::Away(reason)
    } else {
        Failure::Lost(reason)
    }
}

/// The two answers of [`Etcd::look`].
fn found(response: &TxnResponse) -> Found {
    let mut entries = response.op_responses().into_iter().map(|answer| {
        let TxnOpResponse::Get(get) = answer else {
            return None;
        };
        get.kvs().first().map(|kv| Entry {
            revision: as_unsigned(kv.mod_revision()),
            bytes: kv.value().to_vec(),
        })
    });
    Found {
        entry: entries.next().flatten(),
        id: entries.next().flatten().map(|entry| entry.bytes),
    }
}

/// etcd counts from one, in signed numbers.
pub(crate) fn as_unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

fn as_signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn read_tls(tls: &Tls) -> Result<TlsOptions, Error> {
    let mut options = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&tls.ca)?));
    if let Some((certificate, key)) = &tls.identity {
        options = options.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(options)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::File {
        path: path.to_owned(),
        error,
    })
}

/// A result within a limit.
pub(crate) async fn in_time<T>(
    within: Duration,
    work: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, String> {
    match timeout(within, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
