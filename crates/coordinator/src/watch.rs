//! Changes of a record, as soon as they are known.

use std::time::Duration;

use cluster::Version;
use etcd_client::{EventType, WatchOptions, WatchStream};
use sqlx::SqliteConnection;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::coordinator::version_of;
use crate::entry::{Entry, Found, Key};
use crate::error::Error;
use crate::etcd::{Etcd, as_unsigned, in_time};
use crate::sqlite::Sqlite;

/// How often an endpoint is asked whether it still watches. A hung one says nothing, as does one with no news.
const ASK: Duration = Duration::from_millis(250);
/// How long it may be silent before the next endpoint is watched.
const SILENCE_MAX: Duration = Duration::from_millis(1000);
/// How long a watch may take to be set up.
const BEGIN: Duration = Duration::from_millis(1000);
/// Between attempts when none of the endpoints watches.
const PAUSE: Duration = Duration::from_millis(100);
/// Between looks at a database file where the machine does not tell of writes to it.
const LOOK: Duration = Duration::from_millis(10);
/// The same where it does: it may not tell of those that another machine makes.
const LOOK_ANYWAY: Duration = Duration::from_millis(250);
/// How long after a write there is a look: a transaction is several, and is there shortly after the last of them.
const WRITTEN: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];

/// The versions of one record. It ends with its value.
#[derive(Debug)]
pub struct Watch {
    versions: watch::Receiver<Option<Version>>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Waits for the next version, the first time for the current one. `None`: the runtime ends.
    ///
    /// May be dropped at any time without losing one.
    pub async fn next(&mut self) -> Option<Version> {
        loop {
            self.versions.changed().await.ok()?;
            if let Some(version) = *self.versions.borrow_and_update() {
                return Some(version);
            }
        }
    }

    pub(crate) fn of_etcd(etcd: Etcd, key: Key) -> Watch {
        Watch::spawn(|shown| follow_etcd(etcd, key, shown))
    }

    pub(crate) fn of_sqlite(sqlite: Sqlite, key: Key) -> Watch {
        Watch::spawn(|shown| follow_sqlite(sqlite, key, shown))
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(follow: impl FnOnce(Shown) -> F) -> Watch {
        let (versions, receiver) = watch::channel(None);
        let task = tokio::spawn(follow(Shown { versions }));
        Watch {
            versions: receiver,
            task,
        }
    }
}

/// What a watch has shown.
struct Shown {
    versions: watch::Sender<Option<Version>>,
}

impl Shown {
    /// Shows what lies under the key, if it is news and can be read.
    fn show(&self, key: &Key, entry: Option<&Entry>) {
        match version_of(key, entry) {
            Ok(version) => {
                self.versions.send_if_modified(|shown| {
                    let news = *shown != Some(version);
                    *shown = Some(version);
                    news
                });
            }
            Err(error) => tracing::error!(%error, "a record that cannot be read"),
        }
    }
}

/// Watches one endpoint after the other, for ever.
async fn follow_etcd(etcd: Etcd, key: Key, shown: Shown) {
    let mut turn = 0;
    loop {
        let begun = Instant::now();
        if let Err(reason) = follow_endpoint(&etcd, turn, &key, &shown).await {
            tracing::debug!(key = key.as_str(), reason, "the watch moves on");
        }
        turn = (turn + 1) % etcd.endpoints();
        if begun.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
    }
}

/// Watches one endpoint until it fails.
async fn follow_endpoint(etcd: &Etcd, turn: usize, key: &Key, shown: &Shown) -> Result<(), String> {
    let path = etcd.path(key);
    let begin = async {
        let options = WatchOptions::new();
        let mut watch = etcd.client(turn).await?.watch_client();
        watch.watch(path, Some(options)).await
    };
    let mut stream = in_time(BEGIN, begin).await?;
    // What came before the watch began is read after it has begun, so that nothing falls between.
    let found = etcd.read(key, BEGIN).await;
    let Found { entry, .. } = found.map_err(|error| error.to_string())?;
    let mut newest = entry.as_ref().map_or(0, |entry| entry.revision);
    shown.show(key, entry.as_ref());
    let mut ask = interval(ASK);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            message = stream.message() => {
                heard = Instant::now();
                let Some(response) = message.map_err(|error| error.to_string())? else {
                    return Err("ended".to_owned());
                };
                if response.canceled() {
                    return Err(response.cancel_reason().to_owned());
                }
                for event in response.events() {
                    let Some(kv) = event.kv() else { continue };
                    let revision = as_unsigned(kv.mod_revision());
                    if revision <= newest {
                        continue;
                    }
                    newest = revision;
                    let entry = (event.event_type() == EventType::Put).then(|| Entry {
                        revision,
                        bytes: kv.value().to_vec(),
                    });
                    shown.show(key, entry.as_ref());
                }
            }
            _ = ask.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return Err("silent".to_owned());
                }
                ask_for_progress(&mut stream).await?;
            }
        }
    }
}

async fn ask_for_progress(stream: &mut WatchStream) -> Result<(), String> {
    in_time(ASK, stream.request_progress()).await
}

/// Looks at the file's version when there were writes, and reads when it has changed.
async fn follow_sqlite(sqlite: Sqlite, key: Key, shown: Shown) {
    loop {
        let result = async {
            let mut connection = sqlite.connect().await?;
            follow_file(&sqlite, &mut connection, &key, &shown).await
        };
        if let Err(error) = result.await {
            tracing::debug!(key = key.as_str(), %error, "the watch begins anew");
        }
        sleep(PAUSE).await;
    }
}

async fn follow_file(
    sqlite: &Sqlite,
    connection: &mut SqliteConnection,
    key: &Key,
    shown: &Shown,
) -> Result<(), Error> {
    let mut seen = None;
    let writes = sqlite.writes();
    if let Err(error) = &writes {
        tracing::debug!(key = key.as_str(), %error, "writes are looked for, since nobody tells of them");
    }
    let mut looks = 0;
    loop {
        // Before the reading: what is written between is seen the next time.
        let version = Sqlite::data_version(connection).await?;
        if seen != Some(version) {
            let found = sqlite.read(key, BEGIN).await?;
            shown.show(key, found.entry.as_ref());
            seen = Some(version);
        }
        match (&writes, WRITTEN.get(looks)) {
            (Err(_), _) => sleep(LOOK).await,
            (Ok(_), Some(after)) => {
                looks += 1;
                sleep(*after).await;
            }
            (Ok(writes), None) => match timeout(LOOK_ANYWAY, writes.next()).await {
                Ok(Ok(())) => {
                    sleep(WRITTEN[0]).await;
                    looks = 1;
                }
                Ok(Err(error)) => {
                    return Err(Error::Unreachable {
                        reason: error.to_string(),
                    });
                }
                Err(_) => {}
            },
        }
    }
}
